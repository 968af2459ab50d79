"""Answers about groups, with the fields of api-fields.md."""

from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record
from schemas.api.words import GroupEntityType


class GroupResponse(Record):
    """A group with the ids of its live members."""

    name: str
    lookup_key: str
    entity_type: str
    entity_ids: list[str]
    metadata: dict[str, str] | None


class Group(Record):
    """A group as analytics show it beside a feature."""

    name: str
    lookup_key: IfSet[str] = None
    entity_type: GroupEntityType
    metadata: IfSet[dict[str, str]] = None


class ListGroupsResponse(ApiAnswer):
    """A page of groups."""

    items: list[GroupResponse]
    pagination: PaginationResponse
