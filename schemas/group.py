"""Groups: names under which prices or features are shown together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

GroupId = NewType("GroupId", str)


class GroupEntityType(StrEnum):
    """What the members of a group are."""

    PRICE = "price"
    FEATURE = "feature"


@dataclass(frozen=True, slots=True)
class Group:
    """A group; its members name it by their `group_id`."""

    id: GroupId
    name: str
    entity_type: GroupEntityType
    lookup_key: str
    metadata: Mapping[str, str] = field(default_factory=dict)
