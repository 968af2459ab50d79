"""Answers about prices, with the fields of api-fields.md."""

from typing import TYPE_CHECKING

from schemas.api.answers.groups import GroupResponse
from schemas.api.answers.meters import MeterResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireTime
from schemas.api.words import (
    BillingCadence,
    BillingModel,
    BillingPeriod,
    BillingTier,
    InvoiceCadence,
    PriceEntityType,
    PriceType,
    PriceUnitType,
    RoundType,
    WindowSize,
)

if TYPE_CHECKING:
    from schemas.api.answers.plans import PlanResponse


class AnsweredTransformQuantity(ApiAnswer):
    """The size of a package; 1 for a price that is none."""

    divide_by: int
    round: IfSet[RoundType] = None


class PriceTier(ApiAnswer):
    """A tier up to and including its bound; the last one is open."""

    up_to: int | None
    unit_amount: WireDecimal
    flat_amount: IfSet[WireDecimal] = None


class Price(Record):
    """A price inside another answer, without the objects around it."""

    entity_type: PriceEntityType
    entity_id: str
    type: PriceType
    billing_model: BillingModel
    billing_cadence: BillingCadence
    billing_period: BillingPeriod
    billing_period_count: int
    invoice_cadence: InvoiceCadence
    currency: str
    amount: WireDecimal
    display_amount: str
    price_unit_type: PriceUnitType
    tier_mode: IfSet[BillingTier] = None
    tiers: IfSet[list[PriceTier]] = None
    transform_quantity: AnsweredTransformQuantity
    meter_id: str
    min_quantity: IfSet[WireDecimal] = None
    trial_period_days: int
    start_date: IfSet[WireTime] = None
    end_date: IfSet[WireTime] = None
    lookup_key: str
    display_name: str
    description: str
    group_id: IfSet[str] = None
    parent_price_id: IfSet[str] = None
    sequence: IfSet[int] = None
    metadata: dict[str, str]


class PriceResponse(Price):
    """A price; the objects around it are there where they were asked for.

    `warnings` are ours: what was accepted and is worth a word (billing.md 3.1).
    """

    meter: IfSet[MeterResponse] = None
    group: IfSet[GroupResponse] = None
    plan: "IfSet[PlanResponse]" = None
    warnings: IfSet[list[str]] = None
    bucket_size: IfSet[WindowSize] = None
    conversion_rate: IfSet[WireDecimal] = None
    price_unit: IfSet[str] = None
    price_unit_id: IfSet[str] = None
    price_unit_amount: IfSet[WireDecimal] = None
    display_price_unit_amount: IfSet[str] = None
    price_unit_tiers: IfSet[list[PriceTier]] = None


class CreateBulkPriceResponse(ApiAnswer):
    """The prices that were added together, in the order of the request."""

    items: list[PriceResponse]


class ListPricesResponse(ApiAnswer):
    """A page of prices."""

    items: list[PriceResponse]
    pagination: PaginationResponse
