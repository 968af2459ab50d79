"""Answers about plans, with the fields of api-fields.md."""

from schemas.api.answers.entitlements import EntitlementResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.answers.prices import PriceResponse
from schemas.api.values import ApiAnswer, IfSet, Record


class PlanResponse(Record):
    """A plan; its prices and what it grants are there where they were asked for."""

    name: str
    lookup_key: str
    description: str
    display_order: IfSet[int] = None
    metadata: dict[str, str]
    prices: IfSet[list[PriceResponse]] = None
    entitlements: IfSet[list[EntitlementResponse]] = None


class Plan(Record):
    """A plan inside another answer."""

    name: str
    lookup_key: str
    description: str
    display_order: IfSet[int] = None
    metadata: dict[str, str]


class ListPlansResponse(ApiAnswer):
    """A page of plans."""

    items: list[PlanResponse]
    pagination: PaginationResponse
