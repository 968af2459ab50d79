"""Subscriptions: what a customer has agreed to, as records that billing reads.

A feature is what a plan grants, an entitlement how much of it, a line one priced item of a
subscription. The meaning of each is in billing.md 7 (lines), 5 (periods) and 12 (entitlements).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from schemas.alert import AlertSettings
from schemas.collection import CollectionMethod, PaymentBehavior, PaymentTerms
from schemas.commitment import Commitment
from schemas.coupon import CouponAttachment
from schemas.credit_grant import CreditGrant
from schemas.entitlement_grant import EntitlementGrant
from schemas.errors import InvalidOperation
from schemas.ids import (
    CustomerId,
    EntitlementId,
    FeatureId,
    PlanId,
    SubscriptionId,
    SubscriptionLineId,
)
from schemas.meter import Meter
from schemas.period import Interval
from schemas.price import BillingPeriod, Price
from schemas.tax import TaxAttachment


class FeatureType(StrEnum):
    """What a feature grants; only metered ones touch money."""

    METERED = "metered"
    BOOLEAN = "boolean"
    STATIC = "static"
    CONFIG = "config"


class BillingCycle(StrEnum):
    """Whether periods follow the start of the subscription or the calendar."""

    ANNIVERSARY = "anniversary"
    CALENDAR = "calendar"


class ProrationBehavior(StrEnum):
    """Whether parts of periods are charged in part."""

    CREATE_PRORATIONS = "create_prorations"
    NONE = "none"


class ProrationStrategy(StrEnum):
    """In what a part of a period is measured (setting subscription_config.proration_strategy)."""

    SECOND_BASED = "second_based"
    DAY_BASED = "day_based"


class ResetPeriod(StrEnum):
    """When an allowance starts anew, in rising length."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    NEVER = "NEVER"


class EntitlementEntityType(StrEnum):
    """What grants a feature."""

    PLAN = "PLAN"
    SUBSCRIPTION = "SUBSCRIPTION"
    ADDON = "ADDON"


class SubscriptionStatus(StrEnum):
    """Where a subscription is in its life; cancelled is final."""

    DRAFT = "draft"
    INCOMPLETE = "incomplete"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class SubscriptionAction(StrEnum):
    """What can happen to a subscription."""

    ACTIVATE = "activate"
    AWAIT_PAYMENT = "await_payment"
    START_TRIAL = "start_trial"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


# The whole state machine (billing.md 7). What is not in this table cannot happen.
TRANSITIONS = {
    (SubscriptionStatus.DRAFT, SubscriptionAction.ACTIVATE): SubscriptionStatus.ACTIVE,
    (SubscriptionStatus.DRAFT, SubscriptionAction.AWAIT_PAYMENT): SubscriptionStatus.INCOMPLETE,
    (SubscriptionStatus.DRAFT, SubscriptionAction.START_TRIAL): SubscriptionStatus.TRIALING,
    (SubscriptionStatus.INCOMPLETE, SubscriptionAction.ACTIVATE): SubscriptionStatus.ACTIVE,
    (SubscriptionStatus.INCOMPLETE, SubscriptionAction.CANCEL): SubscriptionStatus.CANCELLED,
    (SubscriptionStatus.TRIALING, SubscriptionAction.ACTIVATE): SubscriptionStatus.ACTIVE,
    (SubscriptionStatus.TRIALING, SubscriptionAction.AWAIT_PAYMENT): SubscriptionStatus.INCOMPLETE,
    (SubscriptionStatus.TRIALING, SubscriptionAction.CANCEL): SubscriptionStatus.CANCELLED,
    (SubscriptionStatus.ACTIVE, SubscriptionAction.PAUSE): SubscriptionStatus.PAUSED,
    (SubscriptionStatus.ACTIVE, SubscriptionAction.CANCEL): SubscriptionStatus.CANCELLED,
    (SubscriptionStatus.PAUSED, SubscriptionAction.RESUME): SubscriptionStatus.ACTIVE,
    (SubscriptionStatus.PAUSED, SubscriptionAction.CANCEL): SubscriptionStatus.CANCELLED,
}


def after(status: SubscriptionStatus, action: SubscriptionAction) -> SubscriptionStatus:
    """Return the status that an action leads to; any other pair raises InvalidOperation.

    >>> after(SubscriptionStatus.ACTIVE, SubscriptionAction.PAUSE).value
    'paused'
    """
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise InvalidOperation(f"cannot {action} a subscription that is {status}") from None


@dataclass(frozen=True, slots=True)
class ReportingUnit:
    """The unit that a quantity is shown in: quantity × conversion_rate."""

    unit_singular: str
    unit_plural: str
    conversion_rate: Decimal


@dataclass(frozen=True, slots=True)
class Feature:
    """What a plan grants; a metered one is counted by its meter.

    `alert_settings` watch the balances of wallets for this feature.
    """

    id: FeatureId
    name: str
    type: FeatureType
    lookup_key: str = ""
    meter_id: str | None = None
    description: str = ""
    unit_singular: str = ""
    unit_plural: str = ""
    reporting_unit: ReportingUnit | None = None
    group_id: str | None = None
    alert_settings: AlertSettings | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entitlement:
    """How much of a feature is included; a `usage_limit` of None is unlimited.

    `usage_reset_period` None means the billing period. It holds from the start of its subscription
    to the end, or within the dates that an add-on gave it. `entity_id` is what grants it;
    `parent_entitlement_id` is the entitlement of a plan that it replaces on a subscription.
    """

    id: EntitlementId
    feature_id: FeatureId
    feature_type: FeatureType = FeatureType.METERED
    meter_id: str | None = None
    is_enabled: bool = True
    usage_limit: int | None = None
    usage_reset_period: ResetPeriod | None = None
    is_soft_limit: bool = False
    static_value: str = ""
    config_value: Mapping[str, Any] | None = None
    entity_type: EntitlementEntityType = EntitlementEntityType.PLAN
    entity_id: str = ""
    display_order: int = 0
    parent_entitlement_id: EntitlementId | None = None
    grant: EntitlementGrant | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: its prices, and what it includes. `meters` holds those that its prices count."""

    id: PlanId
    name: str
    lookup_key: str = ""
    prices: tuple[Price, ...] = ()
    entitlements: tuple[Entitlement, ...] = ()
    meters: Mapping[str, Meter] = field(default_factory=dict)
    credit_grants: tuple[CreditGrant, ...] = ()
    description: str = ""
    display_order: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubscriptionLine:
    """A priced item of a subscription, in force in [start_date, end_date).

    `chain_id` is the first line of the versions that replace each other; the chain keeps its
    ladder, its allowance and its own grid, which is anchored at `chain_start`.
    """

    id: SubscriptionLineId
    chain_id: SubscriptionLineId
    price: Price
    display_name: str
    start_date: datetime
    chain_start: datetime
    end_date: datetime | None = None
    quantity: Decimal = Decimal(0)
    meter: Meter | None = None
    replaces: SubscriptionLineId | None = None
    commitment: Commitment | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FormerEnd:
    """When a line was to end before a change ended it, or let it go on; None was open."""

    line_id: SubscriptionLineId
    end_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class NettedPart:
    """What a change charged for a part of a line, or gave back (below 0), on no invoice.

    Where credits outweigh charges there is no invoice that would say what was charged.
    """

    line_id: SubscriptionLineId
    period: Interval
    amount: Decimal


@dataclass(frozen=True, slots=True)
class FormerCancellation:
    """A planned cancellation that was dropped or planned anew: for when, and since when."""

    cancelled_at: datetime
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """What was changed, and when that was decided: an invoice of a date before does not know it.

    `opened` are the lines that it added, `closed` those whose end it moved, `netted` what it settled
    without an invoice.
    """

    id: str
    decided_at: datetime
    effective_at: datetime
    opened: tuple[SubscriptionLineId, ...] = ()
    closed: tuple[FormerEnd, ...] = ()
    netted: tuple[NettedPart, ...] = ()
    dropped: FormerCancellation | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a customer has agreed to; periods are cut in its own time zone.

    `trial_end` is where billing begins, if there is a trial. `cancelled_at` ends it at once,
    `end_date` as agreed; `ends_at` is the earlier of the two. A planned cancellation is a
    `cancelled_at` that has not come, under a status that is not cancelled; `cancel_decided_at` is
    when it was asked for. `invoicing_customer_id` None is the customer. `version` grows with every
    change, so that a writer who has read an older one is refused. `changes` are those of its lines
    inside periods, in the order in which they were decided. `cancel_proration_behavior` is that of
    a cancellation, None the subscription's.
    """

    id: SubscriptionId
    customer_id: CustomerId
    external_customer_id: str
    currency: str
    start_date: datetime
    billing_period: BillingPeriod = BillingPeriod.MONTHLY
    billing_period_count: int = 1
    billing_cycle: BillingCycle = BillingCycle.ANNIVERSARY
    billing_anchor: datetime | None = None
    end_date: datetime | None = None
    cancelled_at: datetime | None = None
    trial_end: datetime | None = None
    timezone: str = "UTC"
    proration_behavior: ProrationBehavior = ProrationBehavior.NONE
    proration_strategy: ProrationStrategy = ProrationStrategy.SECOND_BASED
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    lookup_key: str = ""
    plan_id: PlanId | None = None
    lines: tuple[SubscriptionLine, ...] = ()
    entitlements: tuple[Entitlement, ...] = ()
    commitment: Commitment | None = None
    credit_grants: tuple[CreditGrant, ...] = ()
    coupons: tuple[CouponAttachment, ...] = ()
    taxes: tuple[TaxAttachment, ...] = ()
    invoicing_customer_id: CustomerId | None = None
    collection_method: CollectionMethod = CollectionMethod.CHARGE_AUTOMATICALLY
    payment_behavior: PaymentBehavior = PaymentBehavior.DEFAULT_ACTIVE
    payment_terms: PaymentTerms | None = None
    activated_at: datetime | None = None
    cancel_decided_at: datetime | None = None
    cancel_reason: str = ""
    skip_final_invoice: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    version: int = 1
    changes: tuple[SubscriptionChange, ...] = ()
    cancel_proration_behavior: ProrationBehavior | None = None
    line_item_grouping: str = ""
    created_by: str = ""

    @property
    def payer_id(self) -> CustomerId:
        """Return who is invoiced."""
        return self.invoicing_customer_id or self.customer_id

    @property
    def starts_at(self) -> datetime:
        """Return where billing begins: the start, or the end of the trial."""
        return self.trial_end or self.start_date

    @property
    def ends_at(self) -> datetime | None:
        """Return where it ends, None while that is open."""
        ends = [end for end in (self.end_date, self.cancelled_at) if end is not None]
        return min(ends, default=None)
