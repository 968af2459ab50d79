"""Invoices: their lines, their amounts, and the table of their states (billing.md 8 and 15)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from schemas.coupon import Coupon, CouponAttachmentId, CouponId, CouponLevel
from schemas.errors import InvalidOperation
from schemas.ids import CustomerId, InvoiceId, InvoiceLineId, SubscriptionId, SubscriptionLineId
from schemas.period import Interval
from schemas.price import PriceType
from schemas.tax import TaxAttachmentId, TaxBase, TaxRate


class InvoiceType(StrEnum):
    """What an invoice is for; CREDIT buys credits and is never settled from wallets."""

    SUBSCRIPTION = "SUBSCRIPTION"
    ONE_OFF = "ONE_OFF"
    CREDIT = "CREDIT"


class InvoiceKind(StrEnum):
    """What an invoice bills: a window of a subscription, or something of its own.

    LATE corrects a subscription that has ended, CHANGE nets a change inside a period, ONE_OFF was
    asked for, PURCHASE buys credits.
    """

    OPENING = "opening"
    RENEWAL = "renewal"
    FINAL = "final"
    PREVIEW = "preview"
    LATE = "late"
    CHANGE = "change"
    ONE_OFF = "one_off"
    PURCHASE = "purchase"


class BillingReason(StrEnum):
    """Why an invoice was made."""

    SUBSCRIPTION_CREATE = "SUBSCRIPTION_CREATE"
    SUBSCRIPTION_TRIAL_END = "SUBSCRIPTION_TRIAL_END"
    SUBSCRIPTION_CYCLE = "SUBSCRIPTION_CYCLE"
    SUBSCRIPTION_UPDATE = "SUBSCRIPTION_UPDATE"
    PRORATION = "PRORATION"
    MANUAL = "MANUAL"


class Role(StrEnum):
    """What a line is on its invoice."""

    USAGE = "usage"
    FIXED = "fixed"
    OVERAGE = "overage"
    TRUE_UP = "true_up"
    ADJUSTMENT = "adjustment"


class PaymentStatus(StrEnum):
    """How far an invoice is paid: a function of its payments (wallets-alerts.md 14)."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    OVERPAID = "OVERPAID"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"


class InvoiceStatus(StrEnum):
    """Where an invoice is in its life."""

    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"
    SKIPPED = "SKIPPED"
    VOIDED = "VOIDED"


class InvoiceAction(StrEnum):
    """What can happen to an invoice."""

    COMPUTE = "compute"
    FINALIZE = "finalize"
    SKIP = "skip"
    VOID = "void"


# The whole state machine (billing.md 15.2). What is not in this table cannot happen.
TRANSITIONS = {
    (InvoiceStatus.DRAFT, InvoiceAction.COMPUTE): InvoiceStatus.DRAFT,
    (InvoiceStatus.DRAFT, InvoiceAction.FINALIZE): InvoiceStatus.FINALIZED,
    (InvoiceStatus.DRAFT, InvoiceAction.SKIP): InvoiceStatus.SKIPPED,
    (InvoiceStatus.DRAFT, InvoiceAction.VOID): InvoiceStatus.VOIDED,
    (InvoiceStatus.FINALIZED, InvoiceAction.VOID): InvoiceStatus.VOIDED,
    (InvoiceStatus.SKIPPED, InvoiceAction.VOID): InvoiceStatus.VOIDED,
}

# What is refused because it was done before, and the reason that the refusal names.
REPEATED = {
    (InvoiceStatus.FINALIZED, InvoiceAction.FINALIZE): "already_finalized",
    (InvoiceStatus.VOIDED, InvoiceAction.VOID): "already_voided",
}


def after(status: InvoiceStatus, action: InvoiceAction) -> InvoiceStatus:
    """Return the status that an action leads to; any other pair raises InvalidOperation.

    Its reason says so where that has been done already.

    >>> after(InvoiceStatus.DRAFT, InvoiceAction.FINALIZE).value
    'FINALIZED'
    """
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        text, reason = f"cannot {action} an invoice that is {status}", "illegal_transition"
        if (status, action) in REPEATED:
            text, reason = f"the invoice is already {status.lower()}", REPEATED[status, action]
        raise InvalidOperation(text, reason=reason) from None


@dataclass(frozen=True, slots=True)
class CreditOnLine:
    """What one wallet gave for a line."""

    wallet_id: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class DiscountOnLine:
    """What one coupon took off a line, or the line's share of what it took off the invoice.

    `base` is what was left of the line before.
    """

    attachment_id: CouponAttachmentId
    coupon_id: CouponId
    level: CouponLevel
    base: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CouponApplied:
    """What one coupon took off: more than 0, from what was there before it.

    `line_id` is the invoice line that it was for, None for the whole invoice.
    """

    attachment_id: CouponAttachmentId
    coupon: Coupon
    original_price: Decimal
    discounted_amount: Decimal
    line_id: InvoiceLineId | None = None


@dataclass(frozen=True, slots=True)
class TaxApplied:
    """A tax that takes part in an invoice, on its base; an inclusive one is a part of the base."""

    attachment_id: TaxAttachmentId
    rate: TaxRate
    inclusive: bool = False
    taxable_amount: Decimal = Decimal(0)
    tax_amount: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """A line: what was priced, for which time, and how its amount came about.

    `amount` is settled. `explanation` is data enough to compute it again (billing.md 18). A line
    that no subscription has names neither its line nor a price, and is a chain of its own.
    """

    id: InvoiceLineId
    subscription_line_id: SubscriptionLineId | None
    chain_id: str
    role: Role
    price_id: str | None
    price_type: PriceType
    display_name: str
    quantity: Decimal
    amount: Decimal
    period: Interval
    explanation: Mapping[str, object]
    covered_quantity: Decimal = Decimal(0)
    meter_id: str | None = None
    line_discount: Decimal = Decimal(0)
    invoice_discount: Decimal = Decimal(0)
    credits: tuple[CreditOnLine, ...] = ()
    discounts: tuple[DiscountOnLine, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice with its amounts, each a sum of settled parts (billing.md 15.1).

    `dated_at` is its invoice date, `finalize_at` the instant from which it may be finalized, and
    `version` grows with every change, so that a writer who has read an older one is refused.
    `total_tax` is what is added to the total, `included_tax` what the lines hold already;
    `adjustment_amount` is what credit notes take off what is due, `refunded_amount` what was given
    back. `generation` is the number of its voided predecessors. `requested` is set where somebody
    asked for it, so that it is finalized even if all its lines are 0. `edited_at` is when somebody
    changed what may be changed of it, `paid_at` when nothing remained to be paid. `content`
    names the request that `idempotency_key` stands for.
    """

    id: InvoiceId
    customer_id: CustomerId
    subscription_id: SubscriptionId | None
    kind: InvoiceKind
    billing_reason: BillingReason
    currency: str
    period: Interval
    dated_at: datetime
    finalize_at: datetime
    lines: tuple[InvoiceLine, ...]
    subtotal: Decimal
    total: Decimal
    invoice_type: InvoiceType = InvoiceType.SUBSCRIPTION
    status: InvoiceStatus = InvoiceStatus.DRAFT
    payment_status: PaymentStatus = PaymentStatus.PENDING
    total_discount: Decimal = Decimal(0)
    total_prepaid_credits_applied: Decimal = Decimal(0)
    total_tax: Decimal = Decimal(0)
    carried_credit: Decimal = Decimal(0)
    amount_paid: Decimal = Decimal(0)
    amount_remaining: Decimal = Decimal(0)
    computed_at: datetime | None = None
    finalized_at: datetime | None = None
    coupon_applications: tuple[CouponApplied, ...] = ()
    taxes: tuple[TaxApplied, ...] = ()
    tax_base: TaxBase = TaxBase.BEFORE_CREDITS
    included_tax: Decimal = Decimal(0)
    invoice_number: str | None = None
    due_date: datetime | None = None
    voided_at: datetime | None = None
    adjustment_amount: Decimal = Decimal(0)
    refunded_amount: Decimal = Decimal(0)
    generation: int = 0
    requested: bool = False
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    created_at: datetime | None = None
    edited_at: datetime | None = None
    paid_at: datetime | None = None
    pdf_url: str = ""
    idempotency_key: str | None = None
    content: str | None = None
