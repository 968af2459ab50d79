"""Prices: what a quantity costs (billing.md 3). The door is in `schemas/price_request.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class PriceType(StrEnum):
    """Whether the quantity comes from a meter or is agreed."""

    USAGE = "USAGE"
    FIXED = "FIXED"


class BillingModel(StrEnum):
    """How a cost follows from a quantity."""

    FLAT_FEE = "FLAT_FEE"
    PACKAGE = "PACKAGE"
    TIERED = "TIERED"


class TierMode(StrEnum):
    """Whether each unit costs what its own tier says, or all what the last one reached says."""

    SLAB = "SLAB"
    VOLUME = "VOLUME"


class BillingPeriod(StrEnum):
    """The length of a billing period, before its count."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    ONETIME = "ONETIME"


class InvoiceCadence(StrEnum):
    """Whether a period is charged when it has ended or when it begins."""

    ARREAR = "ARREAR"
    ADVANCE = "ADVANCE"


class Rounding(StrEnum):
    """What a started package counts for: a whole one, or nothing."""

    UP = "up"
    DOWN = "down"


class PriceUnitType(StrEnum):
    """Whether a price is in a currency or in units of its own."""

    FIAT = "FIAT"
    CUSTOM = "CUSTOM"


class PriceEntityType(StrEnum):
    """What a price belongs to."""

    PLAN = "PLAN"
    SUBSCRIPTION = "SUBSCRIPTION"
    ADDON = "ADDON"
    COSTSHEET = "COSTSHEET"


@dataclass(frozen=True, slots=True)
class Tier:
    """A band of quantity with its rates, up to and including `up_to`."""

    up_to: int | None
    unit_amount: Decimal
    flat_amount: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class TransformQuantity:
    """The size of a package, and what a started one counts for."""

    divide_by: int
    round: Rounding = Rounding.UP


@dataclass(frozen=True, slots=True)
class Price:
    """A price as rating sees it: valid, exact, immutable; valid in [start_date, end_date).

    The last tier is treated as open whatever its bound. The currency is in lower case. Versions of
    one price are a chain: `parent_price_id` is its first price, None for that one itself, and
    `replaced_by` the next version. `sequence` grows with every change of a plan's prices.

    >>> fee = Price("p", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(20))
    >>> fee.invoice_cadence
    <InvoiceCadence.ARREAR: 'ARREAR'>
    """

    id: str
    type: PriceType
    billing_model: BillingModel
    currency: str
    amount: Decimal = Decimal(0)
    tiers: tuple[Tier, ...] = ()
    tier_mode: TierMode | None = None
    transform_quantity: TransformQuantity | None = None
    meter_id: str | None = None
    billing_period: BillingPeriod = BillingPeriod.MONTHLY
    billing_period_count: int = 1
    invoice_cadence: InvoiceCadence = InvoiceCadence.ARREAR
    min_quantity: int | None = None
    trial_period_days: int = 0
    start_date: datetime | None = None
    end_date: datetime | None = None
    display_name: str = ""
    warnings: tuple[str, ...] = ()
    parent_price_id: str | None = None
    entity_type: PriceEntityType = PriceEntityType.PLAN
    entity_id: str = ""
    lookup_key: str = ""
    description: str = ""
    group_id: str | None = None
    sequence: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    replaced_by: str | None = None
