"""Repricing: the amount of every line from its explanation alone, by a pricer of its own."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.inconsistencies import problems
from billing.invoices.adjusting import adjustments
from billing.invoices.amounts import Terms
from billing.invoices.drafting import draft
from billing.periods.services import windows
from billing.ports import UsageQuantity, UsageReader
from billing.pricing.commitment_terms import commit_line, commit_subscription
from billing.repricing import reprice
from billing.subscriptions.cancelling import ended_at_once
from billing.subscriptions.subscribing import reprice as change_line
from billing.subscriptions.subscribing import subscribe
from billing.wallets.holdings import Holdings
from billing.wallets.ledger import TopUp, top_up
from schemas.commitment import Commitment, CommitmentType
from schemas.coupon import Coupon, CouponAttachment, CouponAttachmentId, CouponId, CouponType
from schemas.errors import ValidationFailed
from schemas.ids import (
    CustomerId,
    EntitlementId,
    FeatureId,
    InvoiceId,
    PlanId,
    SubscriptionId,
    WalletId,
)
from schemas.invoice import Invoice
from schemas.meter import Aggregation, AggregationType, Meter, WindowSize
from schemas.money import MINOR_UNITS, settle, total
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
    Plan,
    ProrationBehavior,
    ProrationStrategy,
    ResetPeriod,
    Subscription,
)
from schemas.wallet import Reason, Wallet, WalletType

Reading = tuple[datetime, Decimal]
Listed = Callable[[Sequence[Reading]], UsageReader]

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
METERS = {
    "sum": Meter("sum", "t", "e", "sum", "e", Aggregation(AggregationType.SUM, "n")),
    "latest": Meter("latest", "t", "e", "latest", "e", Aggregation(AggregationType.LATEST, "n")),
    "days": Meter(
        "days",
        "t",
        "e",
        "days",
        "e",
        Aggregation(AggregationType.SUM, "n", bucket_size=WindowSize.DAY),
    ),
}

rates = st.decimals(0, 5, places=4)
quantities = st.decimals(-200, 3000, places=3)
factors = st.decimals(1, 3, places=2)


@st.composite
def ladders(draw: st.DrawFn) -> tuple[Tier, ...]:
    """Return tiers; the last may state a bound, which does not hold."""
    bounds = sorted(draw(st.sets(st.integers(1, 2000), max_size=3)))
    last = draw(st.sampled_from([None, 2001]))
    return tuple(Tier(bound, draw(rates), draw(rates)) for bound in (*bounds, last))


@st.composite
def prices(draw: st.DrawFn, /, name: str, currency: str, **fields: Any) -> Price:
    """Return a price of any model."""
    model = draw(st.sampled_from([*BillingModel, BillingModel.TIERED]))
    if model is BillingModel.TIERED:
        fields |= {"tiers": draw(ladders()), "tier_mode": draw(st.sampled_from(TierMode))}
    else:
        fields["amount"] = draw(rates)
    if model is BillingModel.PACKAGE:
        rounding = draw(st.sampled_from(Rounding))
        fields["transform_quantity"] = TransformQuantity(draw(st.integers(1, 300)), rounding)
    return Price(name, fields.pop("type"), model, currency, **fields)


@st.composite
def plans(draw: st.DrawFn, currency: str) -> Plan:
    """Return a plan with usage of each kind, fees in advance and in arrear, and allowances."""
    metered = draw(st.sets(st.sampled_from(sorted(METERS)), min_size=1))
    usage = [
        draw(prices(f"use {name}", currency, type=PriceType.USAGE, meter_id=name))
        for name in sorted(metered)
    ]
    fees = [
        draw(prices(f"fee {each}", currency, type=PriceType.FIXED, invoice_cadence=each))
        for each in InvoiceCadence
    ]
    included = [
        Entitlement(
            EntitlementId(f"included {name}"),
            FeatureId(name),
            meter_id=name,
            usage_limit=draw(st.none() | st.integers(0, 1500)),
            usage_reset_period=draw(st.none() | st.sampled_from(ResetPeriod)),
        )
        for name in sorted(metered)
        if draw(st.booleans())
    ]
    return Plan(
        PlanId("plan"),
        "Plan",
        prices=(*usage, *fees),
        entitlements=tuple(included),
        meters=METERS,
    )


@st.composite
def commitments(draw: st.DrawFn, *, of_line: bool) -> Commitment:
    """Return a commitment; that of a subscription is an amount."""
    kind = draw(st.sampled_from(CommitmentType)) if of_line else CommitmentType.AMOUNT
    duration = draw(st.sampled_from([None, BillingPeriod.QUARTERLY]))
    value = draw(st.decimals(0, 4000, places=2))
    return Commitment(kind, value, draw(factors), draw(st.booleans()), duration)


@st.composite
def subscriptions(draw: st.DrawFn) -> Subscription:
    """Return a subscription of some months, with changes, commitments and an end."""
    currency = draw(st.sampled_from(["usd", "JPY", "kwd", "clf"]))
    made = Subscription(
        SubscriptionId("s"),
        CustomerId("acme"),
        "acme",
        currency,
        JANUARY + timedelta(hours=draw(st.integers(0, 24 * 20))),
        billing_cycle=draw(st.sampled_from(BillingCycle)),
        timezone=draw(st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"])),
        proration_behavior=draw(st.sampled_from(ProrationBehavior)),
        proration_strategy=draw(st.sampled_from(ProrationStrategy)),
    )
    made = subscribe(made, draw(plans(currency)))
    promised = draw(st.sampled_from([None, "line", "subscription"]))
    usage = [line for line in made.lines if line.meter is not None]
    if promised == "line":
        of_line = draw(commitments(of_line=True))
        made = commit_line(made, draw(st.sampled_from(usage)).price.id, of_line)
    elif promised == "subscription":
        made = commit_subscription(made, draw(commitments(of_line=False)))
    if draw(st.booleans()):
        line = draw(st.sampled_from([*usage, *made.lines]))
        kept = {"type": line.price.type, "meter_id": line.price.meter_id}
        kept["invoice_cadence"] = line.price.invoice_cadence
        changed = draw(prices("changed", currency, **kept))
        moment = made.start_date + timedelta(hours=draw(st.integers(1, 24 * 30)))
        made = change_line(made, line.id, moment, price=changed)
    if draw(st.booleans()):
        made = ended_at_once(made, made.start_date + timedelta(hours=draw(st.integers(1, 24 * 80))))
    return made


@st.composite
def coupons(draw: st.DrawFn, subscription: Subscription) -> tuple[CouponAttachment, ...]:
    """Return coupons of both kinds and levels."""
    found = []
    for number in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(CouponType))
        value = draw(st.decimals("0.1", 60, places=1))
        fixed = subscription.currency if kind is CouponType.FIXED else ""
        chain = draw(st.none() | st.sampled_from([each.chain_id for each in subscription.lines]))
        coupon = Coupon(CouponId(f"c{number}"), kind, value, currency=fixed)
        name = CouponAttachmentId(f"a{number}")
        found.append(CouponAttachment(name, coupon, JANUARY, chain_id=chain))
    return tuple(found)


def funded(currency: str, amount: Decimal) -> Holdings:
    made = Wallet(WalletId("w"), CustomerId("acme"), currency.lower(), WalletType.PRE_PAID, JANUARY)
    credited = settle(amount, currency)
    if not credited:
        return Holdings(made)
    return top_up(Holdings(made), TopUp(Reason.CREDIT_NOTE, credited), JANUARY).holdings


@dataclass(frozen=True)
class Billed:
    """Usage as metering answers it: no bucket is below 0, and the value is the sum of them."""

    listed: UsageReader

    def quantities(self, meter: Meter, *asked: Any, **named: Any) -> UsageQuantity:
        found = self.listed.quantities(meter, *asked, **named)
        if meter.aggregation.bucket_size is None:
            return found
        buckets = tuple(replace(each, value=max(each.value, Decimal(0))) for each in found.buckets)
        return replace(found, value=total(each.value for each in buckets), buckets=buckets)


def daily(first: int, days: int, quantity: Decimal) -> list[Reading]:
    """Return a reading a day from an hour on."""
    start = JANUARY + timedelta(hours=first)
    return [(start + timedelta(days=day), quantity) for day in range(days)]


readings = st.lists(
    st.builds(daily, st.integers(0, 24 * 60), st.integers(1, 40), quantities), max_size=3
).map(lambda runs: [reading for run in runs for reading in run])


@settings(max_examples=500)
@given(st.data(), readings, readings, st.decimals(0, 500, places=2))
def test_the_independent_pricer_agrees(
    listed: Listed,
    data: st.DataObject,
    early: list[Reading],
    late: list[Reading],
    held: Decimal,
) -> None:
    """Whatever was agreed and used: originals, and what corrects them when more usage has come."""
    subscription = data.draw(subscriptions())
    terms = Terms(coupons=data.draw(coupons(subscription)))
    wallets = [funded(subscription.currency, held)]
    for window in windows(subscription, MAY):

        def drafted(usage: Sequence[Reading], window: Any = window) -> Invoice:
            read = Billed(listed(usage))
            return draft(subscription, window, read, wallets, as_of=MAY, terms=terms)

        original, correct = drafted(early), drafted([*early, *late])
        correcting = adjustments(InvoiceId("next"), original, correct, original.lines)
        for line in (*original.lines, *correct.lines, *correcting):
            assert reprice(line.explanation) == line.amount, line.explanation
            assert problems(line.explanation) == (), line.explanation


SLAB: dict[str, Any] = {
    "price_id": "p",
    "billing_model": "TIERED",
    "tier_mode": "SLAB",
    "unit_amount": "0",
    "tiers": [
        {"up_to": 10, "unit_amount": "5", "flat_amount": "1"},
        {"up_to": 20, "unit_amount": "4", "flat_amount": "2"},
        # The last tier goes on for ever, whatever it states.
        {"up_to": 30, "unit_amount": "3", "flat_amount": "3"},
    ],
    "package": None,
    "share": None,
    "from": "0",
}
VOLUME = SLAB | {"tier_mode": "VOLUME"}
UP: dict[str, Any] = SLAB | {
    "billing_model": "PACKAGE",
    "tier_mode": None,
    "unit_amount": "5",
    "tiers": [],
    "package": {"size": 100, "round": "up"},
}
DOWN = UP | {"package": {"size": 100, "round": "down"}}
FLAT = UP | {"billing_model": "FLAT_FEE", "package": None}


def explained(*pricing: dict[str, Any], **members: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"currency": "usd", "role": "usage", "pricing": list(pricing)}
    return told | members


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        (SLAB, "0", "0.00"),
        (SLAB, "0.5", "3.50"),
        (SLAB, "10", "51.00"),
        (SLAB, "10.001", "53.00"),
        (SLAB, "20", "93.00"),
        (SLAB, "20.5", "97.50"),
        (SLAB, "40", "156.00"),
        (SLAB | {"from": "5"}, "10", "47.00"),
        (SLAB | {"from": "10"}, "10", "42.00"),
        (VOLUME, "10", "51.00"),
        (VOLUME, "10.001", "42.00"),
        (VOLUME, "20.5", "64.50"),
        (VOLUME | {"share": ["1", "3"]}, "10", "31.00"),
        (UP, "0.5", "5.00"),
        (UP, "100", "5.00"),
        (UP, "100.001", "10.00"),
        (UP | {"from": "50"}, "50", "0.00"),
        (DOWN, "99.999", "0.00"),
        (DOWN, "100.001", "5.00"),
        (FLAT, "0.001", "0.01"),
    ],
)
def test_the_pricer_knows_every_model(price: dict[str, Any], quantity: str, amount: str) -> None:
    """The worked figures of billing.md 4."""
    assert f"{reprice(explained(price | {'quantity': quantity}))}" == amount


def promised(level: str, value: str, factor: str, **members: Any) -> dict[str, Any]:
    plain = {"type": "amount", "used_before": "0", "true_up_enabled": False, "share": None}
    return plain | {"level": level, "value": value, "overage_factor": factor} | members


FEE = FLAT | {"unit_amount": "31", "quantity": "1"}
HALF: dict[str, Any] = {"service": ["2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"]}
HALF |= {"full": ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"], "timezone": "UTC"}
HOUR: dict[str, Any] = {"service": ["2026-01-01T06:00:00Z", "2026-01-01T12:00:00Z"]}
HOUR |= {"full": ["2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z"], "timezone": "UTC"}


@pytest.mark.parametrize(
    ("members", "amount"),
    [
        ({"proration": HALF | {"strategy": "second_based"}}, "17.00"),
        ({"proration": HALF | {"strategy": "day_based"}}, "17.00"),
        # A period within one day has no whole one, so that its seconds count.
        ({"proration": HOUR | {"strategy": "day_based"}}, "15.50"),
        ({"commitment": promised("line", "20", "2")}, "42.00"),
        ({"commitment": promised("line", "40", "2", true_up_enabled=True)}, "40.00"),
        ({"commitment": promised("line", "2", "1.5", type="quantity")}, "31.00"),
        ({"commitment": promised("line", "31", "2", share=["1", "3"])}, "51.67"),
        ({"commitment": promised("line", "20", "2", used_before="15")}, "57.00"),
        ({"commitment": promised("subscription", "20", "2")}, "20.00"),
        ({"commitment": promised("subscription", "20", "1")}, "31.00"),
        ({"commitment": promised("subscription", "20", "2"), "role": "overage"}, "22.00"),
        (
            {
                "commitment": promised("subscription", "50", "2", true_up_enabled=True),
                "role": "true_up",
                "pricing": [],
            },
            "50.00",
        ),
        (
            {
                "role": "adjustment",
                "adjusts": {"role": "overage", "billed": ["20.00", "-3.00"]},
                "commitment": promised("subscription", "20", "2"),
            },
            "5.00",
        ),
        (
            {
                "role": "adjustment",
                "proration": HALF | {"strategy": "second_based"},
                "change": {"charged": "20.00", "credited_before": "5.00", "unused": "17.00"},
            },
            "-15.00",
        ),
        (
            {
                "role": "adjustment",
                "change": {"charged": "5.00", "credited_before": "5.00", "unused": "31.00"},
            },
            "0.00",
        ),
        ({"currency": "JPY"}, "31"),
        ({"currency": "kwd"}, "31.000"),
        ({"currency": "uyw"}, "31.0000"),
        ({"role": "fixed", "pricing": [], "exact": "7.125"}, "7.13"),
    ],
)
def test_the_pricer_knows_every_kind_of_line(members: dict[str, Any], amount: str) -> None:
    assert f"{reprice(explained(FEE) | members)}" == amount


@pytest.mark.parametrize("missing", ["currency", "tiers", "quantity"])
def test_an_explanation_that_lacks_something_is_refused(missing: str) -> None:
    told = explained({**SLAB, "quantity": "5"})
    for each in (told, told["pricing"][0]):
        each.pop(missing, None)
    with pytest.raises(ValidationFailed, match="lacks"):
        reprice(told)
    assert problems(told)


def test_the_pricer_is_small_and_stands_alone(root: Path) -> None:
    """Fewer than 200 lines, with nothing of ours but the errors (billing.md 19)."""
    source = (root / "billing" / "repricing.py").read_text()
    assert len(source.splitlines()) < 200
    imported = {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module
    } | {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    ours = {
        name
        for name in imported
        if name.split(".")[0] in {"schemas", "operators", "billing", "flows"}
    }
    assert ours == {"schemas.errors"}


@pytest.mark.parametrize("currency", sorted(MINOR_UNITS))
def test_every_currency_has_its_digits(currency: str) -> None:
    told = explained(FEE | {"unit_amount": "1.00005"}, currency=currency)
    assert f"{reprice(told)}" == f"{settle(Decimal('1.00005'), currency)}"
