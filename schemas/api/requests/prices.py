"""Requests about prices, with the fields of api-fields.md.

The door of a new price is `schemas.price_request.PriceRequest`, which the catalog file shares.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate
from schemas.api.words import BillingPeriodWord, PriceEntityTypeWord
from schemas.doors import DecimalField, InstantField, MetadataField, read_upper
from schemas.price import BillingModel, TierMode
from schemas.price_request import PriceRequest, TierRequest, TransformQuantityRequest

BULK_MAX = 100


class CreateBulkPriceRequest(ApiRequest):
    """Several prices that are added together, or not at all."""

    items: Annotated[list[PriceRequest], Field(min_length=1, max_length=BULK_MAX)]


class UpdatePriceRequest(ApiUpdate):
    """What is to be different about a price.

    Money terms start a successor at `effective_from`; the other members are changed in place.
    """

    LATER: ClassVar[Mapping[str, str]] = {
        "bucket_size": "M2",
        "price_unit_amount": "M2",
        "price_unit_tiers": "M2",
    }

    amount: DecimalField | None = None
    billing_model: Annotated[BillingModel, BeforeValidator(read_upper)] | None = None
    tier_mode: Annotated[TierMode, BeforeValidator(read_upper)] | None = None
    tiers: list[TierRequest] | None = None
    transform_quantity: TransformQuantityRequest | None = None
    effective_from: InstantField | None = None
    display_name: str | None = None
    description: str | None = None
    lookup_key: str | None = None
    group_id: str | None = None
    metadata: MetadataField | None = None


class DeletePriceRequest(ApiRequest):
    """When a price ends, if not at once."""

    end_date: InstantField | None = None


class PriceFilter(ApiSearch):
    """Which prices a search is after; those that have ended are left out unless it says so."""

    price_ids: list[str] = []
    entity_type: PriceEntityTypeWord | None = None
    entity_ids: list[str] = []
    plan_ids: list[str] = []
    subscription_id: str | None = None
    parent_price_id: str | None = None
    meter_ids: list[str] = []
    billing_periods: list[BillingPeriodWord] = []
    allow_expired_prices: StrictBool = False
    start_date_lt: InstantField | None = None
    updated_after: InstantField | None = None
