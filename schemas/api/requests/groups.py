"""Requests about groups, with the fields of api-fields.md."""

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, RequiredText
from schemas.api.words import GroupEntityTypeWord


class CreateGroupRequest(ApiRequest):
    """What a request says of: create group."""

    name: RequiredText
    entity_type: GroupEntityTypeWord
    lookup_key: RequiredText


class GroupFilter(ApiSearch):
    """What a search asks of: group."""

    group_ids: list[str] | None = None
    entity_type: str | None = None
    lookup_key: str | None = None
    name: str | None = None
