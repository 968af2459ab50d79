"""Answers about groups, with the fields of api-fields.md."""

from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record
from schemas.api.words import GroupEntityType


class GroupResponse(Record):
    """What an answer says of: group."""

    name: str
    lookup_key: str
    entity_type: str
    entity_ids: list[str]
    metadata: dict[str, str] | None


class Group(Record):
    """What an answer says of: group."""

    name: str
    lookup_key: IfSet[str] = None
    entity_type: GroupEntityType
    metadata: IfSet[dict[str, str]] = None


class ListGroupsResponse(ApiAnswer):
    """What an answer says of: list groups."""

    items: list[GroupResponse]
    pagination: PaginationResponse
