"""Subscriptions of many kinds with their usage, drawn for the laws of pricing and of invoices.

What is drawn is small and plain, so that a law that fails shows an example that can be worked by
hand: cents, whole hours, few lines. Zones, months and anchors are those where calendars go wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, product

from hypothesis import strategies as st

from billing.periods.services import Window, windows
from billing.ports import UsageBucket, UsageQuantity
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import TopUp, top_up
from schemas.commitment import Commitment, CommitmentType
from schemas.coupon import (
    Coupon,
    CouponAttachment,
    CouponAttachmentId,
    CouponCadence,
    CouponId,
    CouponType,
)
from schemas.ids import (
    CustomerId,
    EntitlementId,
    FeatureId,
    SubscriptionId,
    SubscriptionLineId,
    WalletId,
)
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.period import Interval
from schemas.price import (
    BillingModel,
    BillingPeriod,
    InvoiceCadence,
    Price,
    PriceType,
    Rounding,
    Tier,
    TierMode,
    TransformQuantity,
)
from schemas.subscription import (
    BillingCycle,
    Entitlement,
    ProrationBehavior,
    ResetPeriod,
    Subscription,
    SubscriptionLine,
)
from schemas.tax import TaxAttachment, TaxAttachmentId, TaxRate, TaxRateId, TaxRateType
from schemas.wallet import AllowedType, Reason, Wallet, WalletType

HOUR = timedelta(hours=1)
CUSTOMER = CustomerId("acme")

# Month ends, a leap day, a day before the clocks change, the second half of a month.
STARTS = [
    datetime(2026, 1, 31, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    datetime(2026, 3, 7, 7, 30, tzinfo=UTC),
    datetime(2026, 1, 15, tzinfo=UTC),
]
ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]
# Invoices are looked at so long after the start: three months and what waits for finalization.
DAYS = 95

TOKENS = Meter("tokens", "t", "e", "tokens", "e", Aggregation(AggregationType.SUM, "n"))
CALLS = Meter("calls", "t", "e", "calls", "e", Aggregation(AggregationType.SUM, "n"))
PEAKS = Meter("peaks", "t", "e", "peaks", "e", replace(TOKENS.aggregation, bucket_size="DAY"))
METERS = {meter.id: meter for meter in (TOKENS, CALLS, PEAKS)}

Reading = tuple[str, int, int]


class Listed:
    """Usage as a list of readings: a meter, the hours since a start, and a number of units.

    Buckets are UTC days.
    """

    def __init__(self, start: datetime, readings: Iterable[Reading]) -> None:
        self.start = start
        self.readings = list(readings)

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return the sum of the readings of a meter inside an interval."""
        inside = sorted(
            (self.start + HOUR * hours, units)
            for name, hours, units in self.readings
            if name == meter.id and interval.holds(self.start + HOUR * hours)
        )
        signed = Decimal(sum(units for _, units in inside))
        buckets: tuple[UsageBucket, ...] = ()
        if meter.aggregation.bucket_size is not None:
            by_day = groupby(inside, key=lambda each: each[0].date())
            buckets = tuple(
                UsageBucket(
                    datetime.combine(day, datetime.min.time(), UTC),
                    "",
                    Decimal(sum(units for _, units in rows)),
                )
                for day, rows in by_day
            )
        return UsageQuantity(max(signed, Decimal(0)), signed, len(inside), buckets)


@dataclass(frozen=True, slots=True)
class Sold:
    """A subscription, the usage of its customer, and what is in the customer's wallets."""

    subscription: Subscription
    readings: tuple[Reading, ...]
    wallets: tuple[Holdings, ...]

    @property
    def usage(self) -> Listed:
        return Listed(self.subscription.start_date, self.readings)

    @property
    def until(self) -> datetime:
        """Return the instant by which everything is looked at."""
        return self.subscription.start_date + DAYS * 24 * HOUR

    def windows(self) -> list[Window]:
        """Return the windows of all invoices that are due by then."""
        return list(windows(self.subscription, self.until))


amounts = st.integers(0, 5_000).map(lambda thousandths: Decimal(thousandths).scaleb(-3))
fees = st.integers(0, 10_000).map(lambda cents: Decimal(cents).scaleb(-2))


def usage_price(
    model: BillingModel, mode: TierMode | None, rates: Sequence[Decimal], size: int
) -> Price:
    """Return a usage price of a model; `rates` and `size` are those of its tiers or packages."""
    tiers: tuple[Tier, ...] = ()
    if model is BillingModel.TIERED:
        tiers = (
            Tier(size, rates[0], rates[2]),
            Tier(3 * size, rates[1], rates[0]),
            Tier(None, rates[2]),
        )
    return Price(
        f"{model.value}{mode or ''}",
        PriceType.USAGE,
        model,
        "usd",
        amount=Decimal(0) if tiers else rates[0],
        tiers=tiers,
        tier_mode=mode,
        transform_quantity=TransformQuantity(size, Rounding.UP)
        if model is BillingModel.PACKAGE
        else None,
    )


MODELS: list[tuple[BillingModel, TierMode | None]] = [
    (BillingModel.TIERED, TierMode.SLAB),
    (BillingModel.TIERED, TierMode.VOLUME),
    (BillingModel.PACKAGE, None),
    (BillingModel.FLAT_FEE, None),
]
three_rates = st.tuples(amounts, amounts, amounts)
usage_prices: st.SearchStrategy[Price] = st.builds(
    lambda model, rates, size: usage_price(*model, rates, size),
    st.sampled_from(MODELS),
    three_rates,
    st.integers(1, 900),
)
slab_prices: st.SearchStrategy[Price] = st.builds(
    lambda rates, size: usage_price(BillingModel.TIERED, TierMode.SLAB, rates, size),
    three_rates,
    st.integers(1, 900),
)

readings_of: st.SearchStrategy[list[Reading]] = st.lists(
    st.tuples(
        st.sampled_from(sorted(METERS)), st.integers(0, 24 * DAYS - 1), st.integers(-200, 2000)
    ),
    max_size=6,
)


def line_of(
    name: str,
    price: Price,
    start: datetime,
    *,
    meter: Meter | None = None,
    quantity: int = 1,
    end: datetime | None = None,
    replaces: SubscriptionLine | None = None,
) -> SubscriptionLine:
    """Return a line of a price, as a version of another where that is given."""
    return SubscriptionLine(
        id=SubscriptionLineId(name),
        chain_id=replaces.chain_id if replaces else SubscriptionLineId(name),
        price=replace(price, id=f"{price.id} {name}", meter_id=meter.id if meter else None),
        display_name=name,
        start_date=start,
        chain_start=replaces.chain_start if replaces else start,
        end_date=end,
        quantity=Decimal(0) if meter else Decimal(quantity),
        meter=meter,
        replaces=replaces.id if replaces else None,
    )


@st.composite
def versions(draw: st.DrawFn, name: str, start: datetime) -> list[SubscriptionLine]:
    """Draw a line of usage or of a fee, sometimes in two versions."""
    kind = draw(st.integers(0, 9))
    meter = METERS[draw(st.sampled_from(sorted(METERS)))] if kind < 6 else None
    if meter is not None:
        price = draw(usage_prices)
    else:
        price = Price(
            "fee",
            PriceType.FIXED,
            BillingModel.FLAT_FEE,
            "usd",
            amount=draw(fees),
            invoice_cadence=draw(st.sampled_from(InvoiceCadence)),
            billing_period=draw(st.sampled_from([BillingPeriod.MONTHLY] * 3 + OWN_PERIODS)),
        )
    first = line_of(name, price, start, meter=meter, quantity=draw(st.integers(1, 3)))
    if kind % 3 or price.billing_period is BillingPeriod.ONETIME:
        return [first]
    cut = start + HOUR * draw(st.integers(1, 24 * DAYS))
    changed = replace(price, amount=price.amount * 2) if price.amount else price
    second = line_of(f"{name}'", changed, cut, meter=meter, quantity=2, replaces=first)
    return [replace(first, end_date=cut), second]


OWN_PERIODS = [BillingPeriod.QUARTERLY, BillingPeriod.WEEKLY, BillingPeriod.ONETIME]


@st.composite
def subscriptions(draw: st.DrawFn, *, agreed: bool = True) -> Subscription:
    """Draw a monthly subscription of one to three lines, with coupons and taxes where `agreed`."""
    start = draw(st.sampled_from(STARTS))
    lines: list[SubscriptionLine] = []
    for number in range(draw(st.integers(1, 3))):
        lines += draw(versions(f"line {number}", start))
    over = draw(st.integers(0, 3))
    ends = start + HOUR * draw(st.integers(1, 24 * DAYS)) if over == 0 else None
    return Subscription(
        SubscriptionId("s"),
        CUSTOMER,
        "acme",
        "usd",
        start,
        billing_cycle=draw(st.sampled_from(BillingCycle)),
        timezone=draw(st.sampled_from(ZONES)),
        proration_behavior=draw(st.sampled_from(ProrationBehavior)),
        end_date=ends,
        lines=tuple(lines),
        entitlements=draw(allowances),
        commitment=draw(commitments),
        coupons=draw(coupons(start, lines)) if agreed else (),
        taxes=draw(taxes) if agreed else (),
    )


def allowance(limit: int | None, reset: ResetPeriod | None) -> tuple[Entitlement, ...]:
    """Return what a plan includes of tokens."""
    return (
        Entitlement(
            EntitlementId("included"),
            FeatureId("tokens"),
            meter_id="tokens",
            usage_limit=limit,
            usage_reset_period=reset,
        ),
    )


RESETS = [None, ResetPeriod.MONTHLY, ResetPeriod.DAILY, ResetPeriod.WEEKLY, ResetPeriod.NEVER]
allowances: st.SearchStrategy[tuple[Entitlement, ...]] = st.one_of(
    st.just(()), st.builds(allowance, st.integers(0, 3000), st.sampled_from(RESETS))
)
commitments: st.SearchStrategy[Commitment | None] = st.one_of(
    st.none(),
    st.none(),
    st.builds(
        lambda value, factor, true_up, duration: Commitment(
            CommitmentType.AMOUNT, value, factor, true_up=true_up, duration=duration
        ),
        fees,
        st.sampled_from([Decimal(1), Decimal("1.5"), Decimal(2)]),
        st.booleans(),
        st.sampled_from([None, BillingPeriod.QUARTERLY]),
    ),
)


def tax(percent: str, *, inclusive: bool = False) -> tuple[TaxAttachment, ...]:
    """Return the one tax of a subscription, of so many percent."""
    rate = TaxRate(TaxRateId("rate"), TaxRateType.PERCENTAGE, Decimal(percent))
    return (TaxAttachment(TaxAttachmentId("tax"), rate, inclusive=inclusive),)


taxes: st.SearchStrategy[tuple[TaxAttachment, ...]] = st.sampled_from(
    [(), tax("8.25"), tax("20", inclusive=True)]
)


@st.composite
def coupons(
    draw: st.DrawFn, start: datetime, lines: Sequence[SubscriptionLine]
) -> tuple[CouponAttachment, ...]:
    """Draw up to two coupons, of the invoice or of the first line."""
    found = []
    for number in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(CouponType))
        percent = kind is CouponType.PERCENTAGE
        coupon = Coupon(
            CouponId(f"coupon {number}"),
            kind,
            Decimal(draw(st.integers(1, 100))) if percent else draw(fees) + 1,
            draw(st.sampled_from([CouponCadence.ONCE, CouponCadence.FOREVER])),
            currency="" if percent else "usd",
        )
        found.append(
            CouponAttachment(
                CouponAttachmentId(f"attachment {number}"),
                coupon,
                start,
                subscription_id=SubscriptionId("s"),
                chain_id=lines[0].chain_id if draw(st.booleans()) else None,
            )
        )
    return tuple(found)


def filled(
    name: str,
    kind: WalletType,
    cents: int,
    allowed: AllowedType,
    at: datetime,
    *,
    rate: str = "1",
) -> Posted:
    """Return the first write of a wallet: one lot that so many cents buy."""
    wallet = Wallet(
        WalletId(name),
        CUSTOMER,
        "usd",
        kind,
        at,
        conversion_rate=Decimal(rate),
        topup_conversion_rate=Decimal(rate),
        allowed_price_types=(allowed,),
    )
    bought = TopUp(Reason.CREDIT_NOTE, amount=Decimal(cents).scaleb(-2))
    return top_up(Holdings(wallet), bought, at)


def purses(
    cents: tuple[int, int], allowed: tuple[AllowedType, AllowedType], at: datetime
) -> tuple[Holdings, ...]:
    """Return a prepaid and a postpaid wallet; without cents there is none."""
    kinds = (WalletType.PRE_PAID, WalletType.POST_PAID)
    return tuple(
        filled(kind.value, kind, held, types, at).holdings
        for kind, held, types in zip(kinds, cents, allowed, strict=True)
        if held
    )


cents_held = st.tuples(st.integers(0, 20_000), st.integers(0, 20_000))
allowed_types = st.sampled_from(list(product(AllowedType, AllowedType)))


@st.composite
def sold(draw: st.DrawFn, *, agreed: bool = True) -> Sold:
    """Draw a subscription with usage and wallets."""
    subscription = draw(subscriptions(agreed=agreed))
    held = purses(draw(cents_held), draw(allowed_types), subscription.start_date)
    # Usage that no line bills would only take time.
    meters = [line.meter.id for line in subscription.lines if line.meter] or sorted(METERS)
    known = sorted(METERS)
    readings = tuple(
        (meters[known.index(name) % len(meters)], hours, units)
        for name, hours, units in draw(readings_of)
    )
    return Sold(subscription, readings, held)
