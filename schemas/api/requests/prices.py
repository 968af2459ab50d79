"""Requests about prices, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import (
    BillingModelWord,
    BillingPeriodWord,
    BillingTierWord,
    InvoiceCadenceWord,
    PriceEntityTypeWord,
    PriceTypeWord,
    RoundTypeWord,
)
from schemas.doors import DecimalField, InstantField, IntegerField, MetadataField


class CreatePriceTier(ApiRequest):
    """What a request says of: create price tier."""

    up_to: IntegerField | None = None
    unit_amount: DecimalField
    flat_amount: DecimalField | None = None


class TransformQuantity(ApiRequest):
    """What a request says of: transform quantity."""

    divide_by: IntegerField
    round: RoundTypeWord | None = None


class CreatePriceRequest(ApiRequest):
    """What a request says of: create price."""

    LATER: ClassVar[Mapping[str, str]] = {
        "price_unit_type": "M2",
        "bucket_size": "M2",
        "price_unit_config": "M2",
    }

    entity_type: PriceEntityTypeWord
    entity_id: RequiredText
    type: PriceTypeWord
    billing_model: BillingModelWord
    currency: RequiredText
    billing_period: BillingPeriodWord
    billing_period_count: IntegerField | None = None
    invoice_cadence: InvoiceCadenceWord | None = None
    amount: DecimalField | None = None
    meter_id: str | None = None
    tier_mode: BillingTierWord | None = None
    tiers: list[CreatePriceTier] | None = None
    transform_quantity: TransformQuantity | None = None
    min_quantity: IntegerField | None = None
    trial_period_days: IntegerField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    lookup_key: str | None = None
    display_name: str | None = None
    description: str | None = None
    group_id: str | None = None
    metadata: MetadataField = {}
    filter_values: dict[str, list[str]] | None = None


class CreateBulkPriceRequest(ApiRequest):
    """What a request says of: create bulk price."""

    items: list[CreatePriceRequest]


class UpdatePriceRequest(ApiUpdate):
    """What a request says of: update price."""

    LATER: ClassVar[Mapping[str, str]] = {
        "bucket_size": "M2",
        "price_unit_amount": "M2",
        "price_unit_tiers": "M2",
    }

    amount: DecimalField | None = None
    billing_model: BillingModelWord | None = None
    tier_mode: BillingTierWord | None = None
    tiers: list[CreatePriceTier] | None = None
    transform_quantity: TransformQuantity | None = None
    effective_from: InstantField | None = None
    display_name: str | None = None
    description: str | None = None
    lookup_key: str | None = None
    group_id: str | None = None
    metadata: MetadataField | None = None


class DeletePriceRequest(ApiRequest):
    """What a request says of: delete price."""

    end_date: InstantField | None = None


class PriceFilter(ApiSearch):
    """What a search asks of: price."""

    price_ids: list[str] | None = None
    entity_type: PriceEntityTypeWord | None = None
    entity_ids: list[str] | None = None
    plan_ids: list[str] | None = None
    subscription_id: str | None = None
    parent_price_id: str | None = None
    meter_ids: list[str] | None = None
    billing_periods: list[BillingPeriodWord] | None = None
    allow_expired_prices: StrictBool | None = None
    start_date_lt: InstantField | None = None
    updated_after: InstantField | None = None
