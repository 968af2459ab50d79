"""Requests about plans, with the fields of api-fields.md."""

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.doors import IntegerField, MetadataField


class CreatePlanRequest(ApiRequest):
    """What a request says of: create plan."""

    name: RequiredText
    lookup_key: str | None = None
    description: str | None = None
    display_order: IntegerField | None = None
    metadata: MetadataField = {}


class UpdatePlanRequest(ApiUpdate):
    """What a request says of: update plan."""

    name: str | None = None
    lookup_key: str | None = None
    description: str | None = None
    display_order: IntegerField | None = None
    metadata: MetadataField | None = None


class PlanFilter(ApiSearch):
    """What a search asks of: plan."""

    plan_ids: list[str] | None = None
    lookup_key: str | None = None
    metadata: MetadataField | None = None
