"""Requests about plans, with the fields of api-fields.md."""

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.doors import IntegerField, MetadataField


class CreatePlanRequest(ApiRequest):
    """A plan as it is added: its name and how it is found; prices and grants are added to it."""

    name: RequiredText
    lookup_key: str = ""
    description: str = ""
    display_order: IntegerField | None = None
    metadata: MetadataField = {}


class UpdatePlanRequest(ApiUpdate):
    """What is to be different about a plan; "" clears a text, and a map is replaced whole."""

    name: str | None = None
    lookup_key: str | None = None
    description: str | None = None
    display_order: IntegerField | None = None
    metadata: MetadataField | None = None


class PlanFilter(ApiSearch):
    """Which plans a search is after."""

    plan_ids: list[str] = []
    lookup_key: str | None = None
    metadata: MetadataField | None = None
