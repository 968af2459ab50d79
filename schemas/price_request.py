"""The door that new prices come through, and the rules of a price (billing.md 3.2).

`PriceRequest` reads a create request, `price_faults` says what is wrong with one, and `price_from`
makes the immutable `Price` that rating uses. A finite last tier is accepted, treated as open, and
warned of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ValidationError, model_validator

from schemas.doors import (
    DOOR,
    DecimalField,
    InstantField,
    IntegerField,
    MetadataField,
    given,
    read_lower,
    read_upper,
)
from schemas.errors import ValidationFailed
from schemas.money import MINOR_UNITS
from schemas.price import (
    BillingModel,
    BillingPeriod,
    InvoiceCadence,
    Price,
    PriceType,
    PriceUnitType,
    Rounding,
    Tier,
    TierMode,
    TransformQuantity,
)

FINITE_LAST_TIER = "finite_last_tier"


class TierRequest(BaseModel):
    """A tier as a request names it; an absent `up_to` is open."""

    model_config = DOOR

    up_to: IntegerField | None = None
    unit_amount: DecimalField
    flat_amount: DecimalField = Decimal(0)

    _given = model_validator(mode="before")(given)


class TransformQuantityRequest(BaseModel):
    """A package size as a request names it."""

    model_config = DOOR

    divide_by: IntegerField
    round: Annotated[Rounding, BeforeValidator(read_lower)] = Rounding.UP

    _given = model_validator(mode="before")(given)


class PriceRequest(BaseModel):
    """The body of a request that creates a price, read exactly; the rules are in `price_faults`.

    Words are taken in any case. Only shapes and types are checked here, so that every fault can be
    named in the order of billing.md 3.2 and not in that of the fields. Source: api-fields.md.
    """

    model_config = DOOR

    entity_type: str = ""
    entity_id: str = ""
    plan_id: str = ""
    type: Annotated[PriceType, BeforeValidator(read_upper)]
    billing_model: Annotated[BillingModel, BeforeValidator(read_upper)]
    currency: Annotated[str, BeforeValidator(read_lower)]
    billing_period: Annotated[BillingPeriod, BeforeValidator(read_upper)]
    billing_period_count: IntegerField = 1
    billing_cadence: Annotated[Literal["RECURRING"], BeforeValidator(read_upper)] = "RECURRING"
    invoice_cadence: Annotated[InvoiceCadence, BeforeValidator(read_upper)] = InvoiceCadence.ARREAR
    price_unit_type: Annotated[PriceUnitType, BeforeValidator(read_upper)] = PriceUnitType.FIAT
    amount: DecimalField | None = None
    meter_id: str | None = None
    tier_mode: Annotated[TierMode, BeforeValidator(read_upper)] | None = None
    tiers: list[TierRequest] | None = None
    transform_quantity: TransformQuantityRequest | None = None
    min_quantity: IntegerField | None = None
    trial_period_days: IntegerField = 0
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    lookup_key: str = ""
    display_name: str = ""
    description: str = ""
    group_id: str | None = None
    metadata: MetadataField = {}
    filter_values: dict[str, list[str]] | None = None
    bucket_size: str | None = None
    price_unit_config: dict[str, object] | None = None

    _given = model_validator(mode="before")(given)


@dataclass(frozen=True, slots=True)
class PriceFault:
    """What is wrong with a request, and the member that the refusal must name."""

    field: str
    problem: str


def _sound_tiers(request: PriceRequest) -> bool:
    """Tell whether tiers are there, rise strictly, and only the last may be open."""
    tiers = request.tiers or []
    bounds = [tier.up_to for tier in tiers]
    finite = [bound for bound in bounds if bound is not None]
    rising = all(low < high for low, high in zip([0, *finite], finite, strict=False))
    amounts = [amount for tier in tiers for amount in (tier.unit_amount, tier.flat_amount)]
    return bool(tiers) and None not in bounds[:-1] and rising and min(amounts) >= 0


@dataclass(frozen=True, slots=True)
class _Rule:
    """A line of the table of billing.md 3.2: the field named, what is read, and when it holds."""

    field: str
    problem: str
    reads: tuple[str, ...] = ()
    holds: Callable[[PriceRequest], bool] = lambda _: True


# The table of billing.md 3.2, in its order. A rule without a condition stands for the shape of its
# field alone: a word that is not known, or a value of another type.
_RULES = (
    _Rule(
        "currency",
        "must be an ISO 4217 currency with minor units",
        ("currency",),
        lambda p: p.currency.upper() in MINOR_UNITS,
    ),
    _Rule("type", "must be USAGE or FIXED"),
    _Rule("billing_model", "must be FLAT_FEE, PACKAGE or TIERED"),
    _Rule("billing_period", f"must be one of {', '.join(BillingPeriod)}"),
    _Rule("invoice_cadence", "must be ARREAR or ADVANCE"),
    _Rule("billing_cadence", "must be RECURRING"),
    _Rule(
        "price_unit_type",
        "must be FIAT: prices in units of their own are not offered yet",
        ("price_unit_type",),
        lambda p: p.price_unit_type is PriceUnitType.FIAT,
    ),
    _Rule(
        "billing_period_count",
        "must be 1 or more",
        ("billing_period_count",),
        lambda p: p.billing_period_count >= 1,
    ),
    _Rule(
        "amount",
        "must be given and not negative for FLAT_FEE and PACKAGE",
        ("billing_model", "amount"),
        lambda p: (
            p.billing_model is BillingModel.TIERED or (p.amount is not None and p.amount >= 0)
        ),
    ),
    _Rule(
        "transform_quantity",
        "must be given for PACKAGE, with divide_by of 1 or more and round up or down",
        ("billing_model", "transform_quantity"),
        lambda p: (
            p.billing_model is not BillingModel.PACKAGE
            or (p.transform_quantity is not None and p.transform_quantity.divide_by >= 1)
        ),
    ),
    _Rule(
        "tier_mode",
        "must be SLAB or VOLUME for TIERED",
        ("billing_model", "tier_mode"),
        lambda p: p.billing_model is not BillingModel.TIERED or p.tier_mode is not None,
    ),
    _Rule(
        "tiers",
        "must rise strictly above 0, be open at most at the last, and have amounts of 0 or more",
        ("billing_model", "tiers"),
        lambda p: p.billing_model is not BillingModel.TIERED or _sound_tiers(p),
    ),
    _Rule(
        "meter_id",
        "must be given for USAGE and only there",
        ("type", "meter_id"),
        lambda p: (p.type is PriceType.USAGE) == (p.meter_id is not None),
    ),
    _Rule(
        "invoice_cadence",
        "must be ARREAR for USAGE",
        ("type", "invoice_cadence"),
        lambda p: p.type is not PriceType.USAGE or p.invoice_cadence is not InvoiceCadence.ADVANCE,
    ),
    _Rule(
        "min_quantity",
        "must be 0 or more, and is for FIXED only",
        ("type", "min_quantity"),
        # 0 counts as absent (billing.md 20), so USAGE may carry it.
        lambda p: not p.min_quantity or (p.min_quantity > 0 and p.type is PriceType.FIXED),
    ),
    _Rule(
        "invoice_cadence",
        "must be ADVANCE for ONETIME",
        ("billing_period", "invoice_cadence"),
        lambda p: (
            p.billing_period is not BillingPeriod.ONETIME
            or p.invoice_cadence is InvoiceCadence.ADVANCE
        ),
    ),
    _Rule(
        "trial_period_days",
        "must be 0 or more, and is for recurring FIXED prices only",
        ("trial_period_days", "type", "billing_period"),
        lambda p: (
            p.trial_period_days == 0
            or (
                p.trial_period_days > 0
                and p.type is PriceType.FIXED
                and p.billing_period is not BillingPeriod.ONETIME
            )
        ),
    ),
    _Rule(
        "end_date",
        "must not be before start_date",
        ("start_date", "end_date"),
        lambda p: p.start_date is None or p.end_date is None or p.end_date >= p.start_date,
    ),
    _Rule(
        "price_unit_config",
        "is for CUSTOM price units only",
        ("price_unit_config",),
        lambda p: p.price_unit_config is None,
    ),
)

# What stands in for a required member that cannot be read, so that the rest is still judged.
_STAND_INS = {
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "currency": "usd",
    "billing_period": "MONTHLY",
}


def price_faults(body: Mapping[str, object]) -> tuple[PriceFault, ...]:
    """Return everything that is wrong with a create request, in the order of billing.md 3.2.

    Each field is named once at most. Unknown members are no fault here.

    >>> [fault.field for fault in price_faults({"type": "OTHER", "currency": "XYZ"})]
    ['currency', 'type', 'billing_model', 'billing_period']
    """
    unread: dict[str, str] = {}
    try:
        request = PriceRequest.model_validate(body)
    except ValidationError as error:
        for detail in error.errors():
            unread.setdefault(str(detail["loc"][0]) if detail["loc"] else "", detail["msg"])
        rest = {name: value for name, value in body.items() if name not in unread}
        request = PriceRequest.model_validate({**_STAND_INS, **rest})
    found: dict[str, str] = {}
    for rule in _RULES:
        judged = unread.keys().isdisjoint(rule.reads)
        if rule.field in unread or (judged and not rule.holds(request)):
            found.setdefault(rule.field, rule.problem)
    # What no rule names comes last: a text that is a number, a date without a zone.
    ordered = found | {name: text for name, text in unread.items() if name not in found}
    return tuple(PriceFault(field, problem) for field, problem in ordered.items())


def validate_price(body: Mapping[str, object]) -> PriceFault | None:
    """Return the first fault of a create request, or None if the price may be created.

    >>> validate_price({"type": "FIXED", "billing_model": "FLAT_FEE", "currency": "usd",
    ...                 "billing_period": "MONTHLY"}).field
    'amount'
    """
    return next(iter(price_faults(body)), None)


def price_warnings(request: PriceRequest) -> tuple[str, ...]:
    """Return what is accepted but worth a word: `finite_last_tier` (billing.md 3.2).

    >>> tier = {"up_to": 10, "unit_amount": "1"}
    >>> price_warnings(PriceRequest(type="FIXED", billing_model="TIERED", currency="usd",
    ...                             billing_period="MONTHLY", tier_mode="SLAB", tiers=[tier]))
    ('finite_last_tier',)
    """
    tiered = request.billing_model is BillingModel.TIERED and request.tiers
    return (FINITE_LAST_TIER,) if tiered and tiered[-1].up_to is not None else ()


def price_from(request: PriceRequest, *, id: str, meter_id: str | None = None) -> Price:  # noqa: A002 (the field)
    """Make the price of a request that was read, under an id, for the meter it resolved to.

    `meter_id`, where given, takes the place of the request's own, which a catalog may not know.
    Members that the billing model has no use for are dropped. Raises ValidationFailed with the
    field of the first rule that is broken.

    >>> body = {"type": "USAGE", "billing_model": "FLAT_FEE", "currency": "USD", "amount": "0.1",
    ...         "billing_period": "MONTHLY", "meter_id": "tokens"}
    >>> price = price_from(PriceRequest.model_validate(body), id="price_1")
    >>> price.currency, price.amount, price.meter_id
    ('usd', Decimal('0.1'), 'tokens')
    """
    request = request.model_copy(update={"meter_id": meter_id or request.meter_id})
    for rule in _RULES:
        if not rule.holds(request):
            raise ValidationFailed(f"{rule.field} {rule.problem}", field=rule.field)
    tiered = request.billing_model is BillingModel.TIERED
    size = request.transform_quantity
    packed = request.billing_model is BillingModel.PACKAGE and size is not None
    return Price(
        id=id,
        type=request.type,
        billing_model=request.billing_model,
        currency=request.currency,
        amount=Decimal(0) if tiered or request.amount is None else request.amount,
        tiers=tuple(Tier(t.up_to, t.unit_amount, t.flat_amount) for t in request.tiers or ())
        if tiered
        else (),
        tier_mode=request.tier_mode if tiered else None,
        transform_quantity=TransformQuantity(size.divide_by, size.round)
        if packed and size
        else None,
        meter_id=request.meter_id,
        billing_period=request.billing_period,
        billing_period_count=request.billing_period_count,
        invoice_cadence=request.invoice_cadence,
        min_quantity=request.min_quantity or None,
        trial_period_days=request.trial_period_days,
        start_date=request.start_date,
        end_date=request.end_date,
        display_name=request.display_name,
        warnings=price_warnings(request),
        lookup_key=request.lookup_key,
        description=request.description,
        group_id=request.group_id,
        metadata=request.metadata,
    )
