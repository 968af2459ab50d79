"""Requests about groups, with the fields of api-fields.md."""

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, RequiredText
from schemas.api.words import GroupEntityTypeWord


class CreateGroupRequest(ApiRequest):
    """A name under which prices, or features, are shown together."""

    name: RequiredText
    entity_type: GroupEntityTypeWord
    lookup_key: RequiredText


class GroupFilter(ApiSearch):
    """Which groups are asked for; names and keys to the letter."""

    group_ids: list[str] | None = None
    entity_type: GroupEntityTypeWord | None = None
    lookup_key: str | None = None
    name: str | None = None
