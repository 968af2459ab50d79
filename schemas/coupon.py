"""Coupons: what takes off how much how often, and the door that new ones come through.

`CouponRequest` reads a create request, `coupon_faults` says what is wrong with one, and
`coupon_from` makes the immutable `Coupon` that discounts are computed from (billing.md 13).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NewType

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from schemas.doors import (
    DOOR,
    DecimalField,
    InstantField,
    IntegerField,
    MetadataField,
    given,
    read_lower,
)
from schemas.errors import ValidationFailed
from schemas.ids import SubscriptionId, SubscriptionLineId
from schemas.money import MINOR_UNITS

CouponId = NewType("CouponId", str)
CouponAttachmentId = NewType("CouponAttachmentId", str)

REDEMPTIONS_MAX = 1_000_000


class CouponType(StrEnum):
    """Whether a coupon takes off a part or an amount."""

    PERCENTAGE = "percentage"
    FIXED = "fixed"


class CouponCadence(StrEnum):
    """On how many invoices an attached coupon takes something off."""

    ONCE = "once"
    REPEATED = "repeated"
    FOREVER = "forever"


class CouponLevel(StrEnum):
    """Whether a coupon is for one line or for the whole invoice."""

    LINE = "line"
    INVOICE = "invoice"


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon that may be attached: `value` is its percentage or its amount.

    `currency` is that of a fixed one, "" otherwise; `redeem_after` ≤ use < `redeem_before`.
    """

    id: CouponId
    type: CouponType
    value: Decimal
    cadence: CouponCadence = CouponCadence.FOREVER
    name: str = ""
    coupon_code: str = ""
    currency: str = ""
    duration_in_periods: int | None = None
    max_redemptions: int | None = None
    redeem_after: datetime | None = None
    redeem_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    # Kept and shown, and without effect on amounts.
    rules: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CouponAttachment:
    """A coupon that was granted to a subscription, or to one of its lines, in [start, end).

    `chain_id` names the line by its chain, so that it goes on through the versions of the line.
    What is granted stays granted, so the coupon is kept as it was.
    """

    id: CouponAttachmentId
    coupon: Coupon
    start_date: datetime
    end_date: datetime | None = None
    subscription_id: SubscriptionId | None = None
    chain_id: SubscriptionLineId | None = None

    @property
    def level(self) -> CouponLevel:
        """Return whether it is for one line or for the whole invoice."""
        return CouponLevel.INVOICE if self.chain_id is None else CouponLevel.LINE


class CouponRequest(BaseModel):
    """The members of CreateCouponRequest that rules are about; the rules are in `coupon_faults`."""

    model_config = DOOR

    type: Annotated[CouponType, BeforeValidator(read_lower)]
    cadence: Annotated[CouponCadence, BeforeValidator(read_lower)]
    amount_off: DecimalField | None = None
    percentage_off: DecimalField | None = None
    currency: Annotated[str, BeforeValidator(read_lower)] = ""
    coupon_code: str = ""
    duration_in_periods: IntegerField | None = None
    max_redemptions: IntegerField | None = None
    redeem_after: InstantField | None = None
    redeem_before: InstantField | None = None
    rules: dict[str, Any] | None = None
    metadata: MetadataField = {}

    _given = model_validator(mode="before")(given)


class CreateCouponRequest(CouponRequest):
    """CreateCouponRequest as the API and the catalog file take it: with the name to show."""

    name: Annotated[str, Field(min_length=1)]


class SubscriptionCouponInput(BaseModel):
    """A coupon by its code, for a whole subscription or the line of one price of its plan."""

    model_config = DOOR

    coupon_code: Annotated[str, Field(min_length=1)]
    price_id: str | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None

    _given = model_validator(mode="before")(given)


@dataclass(frozen=True, slots=True)
class CouponFault:
    """What is wrong with a request, and the member that the refusal must name."""

    field: str
    problem: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """The field that is named, what is read, and when the rule holds."""

    field: str
    problem: str
    reads: tuple[str, ...] = ()
    holds: Callable[[CouponRequest], bool] = lambda _: True


# The rules of billing.md 13. Those without a condition stand for the shape of their field alone.
_RULES = (
    _Rule("type", "must be percentage or fixed"),
    _Rule("cadence", "must be once, repeated or forever"),
    _Rule(
        "percentage_off",
        "must be above 0 and at most 100 for a percentage",
        ("type", "percentage_off"),
        lambda c: (
            c.type is not CouponType.PERCENTAGE
            or (c.percentage_off is not None and 0 < c.percentage_off <= 100)
        ),
    ),
    _Rule(
        "amount_off",
        "must be above 0 for a fixed amount",
        ("type", "amount_off"),
        lambda c: c.type is not CouponType.FIXED or (c.amount_off is not None and c.amount_off > 0),
    ),
    _Rule(
        "currency",
        "must be an ISO 4217 currency with minor units for a fixed amount",
        ("type", "currency"),
        lambda c: c.type is not CouponType.FIXED or c.currency.upper() in MINOR_UNITS,
    ),
    _Rule(
        "duration_in_periods",
        "must be 1 or more for a repeated coupon, and is for those only",
        ("cadence", "duration_in_periods"),
        lambda c: (
            (c.duration_in_periods or 0) >= 1
            if c.cadence is CouponCadence.REPEATED
            else c.duration_in_periods is None
        ),
    ),
    _Rule(
        "max_redemptions",
        f"must be from 1 to {REDEMPTIONS_MAX:,}, or absent for no limit",
        ("max_redemptions",),
        lambda c: c.max_redemptions is None or 1 <= c.max_redemptions <= REDEMPTIONS_MAX,
    ),
    _Rule(
        "redeem_before",
        "must not be earlier than redeem_after",
        ("redeem_after", "redeem_before"),
        lambda c: (
            c.redeem_after is None or c.redeem_before is None or c.redeem_before >= c.redeem_after
        ),
    ),
)

# What stands in for a required member that cannot be read, so that the rest is still judged.
_STAND_INS = {"type": "percentage", "cadence": "once"}


def coupon_faults(body: Mapping[str, object]) -> tuple[CouponFault, ...]:
    """Return everything that is wrong with a create request, its name aside.

    Each field is named once at most. Unknown members are no fault here.

    >>> [fault.field for fault in coupon_faults({"type": "fixed", "cadence": "repeated"})]
    ['amount_off', 'currency', 'duration_in_periods']
    """
    unread: dict[str, str] = {}
    try:
        request = CouponRequest.model_validate(body)
    except ValidationError as error:
        for detail in error.errors():
            unread.setdefault(str(detail["loc"][0]) if detail["loc"] else "", detail["msg"])
        rest = {name: value for name, value in body.items() if name not in unread}
        request = CouponRequest.model_validate({**_STAND_INS, **rest})
    found: dict[str, str] = {}
    for rule in _RULES:
        judged = unread.keys().isdisjoint(rule.reads)
        if rule.field in unread or (judged and not rule.holds(request)):
            found.setdefault(rule.field, rule.problem)
    ordered = found | {name: text for name, text in unread.items() if name not in found}
    return tuple(CouponFault(name, problem) for name, problem in ordered.items())


def coupon_from(request: CreateCouponRequest, *, id: str) -> Coupon:  # noqa: A002 (the field)
    """Make the coupon of a request that was read, under an id.

    Members that its type has no use for are dropped. Raises ValidationFailed with the field of the
    first rule that is broken.

    >>> body = {"name": "Half", "type": "percentage", "percentage_off": "50", "cadence": "once"}
    >>> coupon = coupon_from(CreateCouponRequest.model_validate(body), id="coupon_1")
    >>> coupon.value, coupon.cadence.value
    (Decimal('50'), 'once')
    """
    for rule in _RULES:
        if not rule.holds(request):
            raise ValidationFailed(f"{rule.field} {rule.problem}", field=rule.field)
    fixed = request.type is CouponType.FIXED
    value = request.amount_off if fixed else request.percentage_off
    assert value is not None, "the rules ask for it"
    return Coupon(
        id=CouponId(id),
        type=request.type,
        value=value,
        cadence=request.cadence,
        name=request.name,
        coupon_code=request.coupon_code,
        currency=request.currency if fixed else "",
        duration_in_periods=request.duration_in_periods,
        max_redemptions=request.max_redemptions,
        redeem_after=request.redeem_after,
        redeem_before=request.redeem_before,
        metadata=request.metadata,
        rules=request.rules,
    )
