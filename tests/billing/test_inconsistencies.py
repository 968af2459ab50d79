"""Inconsistencies: no figure of an explanation can be changed without being told apart."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.inconsistencies import problems
from billing.invoices.adjusting import adjustments
from billing.invoices.amounts import Terms
from billing.invoices.drafting import draft
from billing.periods.services import windows
from billing.ports import UsageReader
from billing.pricing.commitment_terms import commit_line, commit_subscription
from billing.subscriptions.subscribing import reprice as change_line
from billing.subscriptions.subscribing import subscribe
from billing.wallets.holdings import Holdings
from billing.wallets.ledger import TopUp, top_up
from schemas.commitment import Commitment, CommitmentType
from schemas.coupon import Coupon, CouponAttachment, CouponAttachmentId, CouponId, CouponType
from schemas.decimals import plain
from schemas.ids import CustomerId, InvoiceId, SubscriptionLineId, WalletId
from schemas.invoice import Invoice
from schemas.meter import Aggregation, AggregationType, Meter, WindowSize
from schemas.price import (
    BillingModel,
    BillingPeriod,
    Price,
    PriceType,
    Tier,
    TierMode,
    TransformQuantity,
)
from schemas.subscription import (
    BillingCycle,
    Plan,
    ProrationBehavior,
    ProrationStrategy,
    Subscription,
)
from schemas.wallet import Reason, Wallet, WalletType

Reading = tuple[datetime, Decimal]
Listed = Callable[[Sequence[Reading]], UsageReader]
Told = dict[str, Any]
Path = tuple[str | int, ...]

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
D = Decimal

TIERS = (Tier(1000, D("0.02"), D("0.5")), Tier(2000, D("0.01")), Tier(None, D("0.005"), D(1)))

# What is no figure of its own: names, words, and the times that figures belong to.
WORDS = frozenset({
    "price_id", "meter_id", "coupon_id", "wallet_id", "line_id", "currency", "role", "group",
    "billing_model", "tier_mode", "round", "strategy", "timezone", "level", "type", "start", "end",
})  # fmt: skip


def usage_price(
    model: BillingModel = BillingModel.TIERED, name: str = "use", **fields: Any
) -> Price:
    terms: dict[str, Any] = {"tiers": TIERS, "tier_mode": TierMode.SLAB}
    if model is BillingModel.PACKAGE:
        terms = {"amount": D(5), "transform_quantity": TransformQuantity(100)}
    return Price(name, PriceType.USAGE, model, "usd", meter_id="tokens", **(terms | fields))


VOLUME = usage_price(tier_mode=TierMode.VOLUME)
DAYS = Meter(
    "tokens",
    "t",
    "e",
    "tokens",
    "llm",
    Aggregation(AggregationType.SUM, "tokens", bucket_size=WindowSize.DAY),
)


def units(*readings: tuple[int, str]) -> list[Reading]:
    """Return readings from days of the year, counted from 1, and quantities."""
    return [(JANUARY + timedelta(days=day - 1, hours=12), D(value)) for day, value in readings]


def metered(acme: Subscription, pro: Plan, price: Price | None = None, **plan: Any) -> Subscription:
    """Return a subscription of usage alone, without an allowance unless the plan says so."""
    known: dict[str, Any] = {"prices": (price or usage_price(),), "entitlements": ()}
    return subscribe(acme, replace(pro, **(known | plan)))


def promise(value: str, factor: str = "1", **members: Any) -> Commitment:
    kind = members.pop("kind", CommitmentType.AMOUNT)
    return Commitment(kind, D(value), D(factor), **members)


def drafted(
    subscription: Subscription,
    usage: UsageReader,
    number: int = 1,
    wallets: Sequence[Holdings] = (),
    terms: Terms = Terms(),  # noqa: B008 - frozen, and the same for all
) -> Invoice:
    window = list(windows(subscription, MAY))[number]
    return draft(subscription, window, usage, wallets, as_of=MAY, terms=terms)


def with_allowance(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    """500 are included, 300 of them used before a change of price, so that the limit binds."""
    known = metered(acme, pro, entitlements=pro.entitlements)
    changed = usage_price(name="new")
    known = change_line(known, known.lines[0].id, JANUARY + timedelta(days=3), price=changed)
    made = drafted(known, listed(units((2, "300"), (5, "900.5"), (9, "3100"))))
    return told(made, 1)


def split_volume(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    known = metered(acme, pro, VOLUME)
    changed = replace(VOLUME, id="new", tiers=(Tier(1500, D(2)), Tier(None, D("1.5"), D(7))))
    known = change_line(known, known.lines[0].id, JANUARY + timedelta(days=9), price=changed)
    return told(drafted(known, listed(units((2, "700"), (12, "1100")))), 1)


def split_packages(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    known = metered(acme, pro, usage_price(BillingModel.PACKAGE))
    changed = usage_price(BillingModel.PACKAGE, "new", amount=D(7))
    known = change_line(known, known.lines[0].id, JANUARY + timedelta(days=9), price=changed)
    return told(drafted(known, listed(units((2, "100"), (12, "200.5")))), 1)


def in_buckets(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    known = metered(acme, pro, meters={"tokens": DAYS}, entitlements=pro.entitlements)
    return told(drafted(known, listed(units((2, "2700"), (5, "2100")))))


def in_many_buckets(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    annual = usage_price(billing_period=BillingPeriod.ANNUAL, billing_period_count=3)
    long = replace(acme, billing_period=BillingPeriod.ANNUAL, billing_period_count=3)
    known = metered(long, pro, annual, meters={"tokens": DAYS})
    usage = listed(units(*((day, "2100") for day in range(1, 1050))))
    window = list(windows(known, datetime(2029, 2, 1, tzinfo=UTC)))[1]
    return told(draft(known, window, usage, (), as_of=datetime(2029, 2, 1, tzinfo=UTC)))


def fee(acme: Subscription, pro: Plan, strategy: ProrationStrategy) -> Told:
    part = replace(
        acme,
        start_date=JANUARY + timedelta(days=14, hours=5),
        billing_cycle=BillingCycle.CALENDAR,
        proration_behavior=ProrationBehavior.CREATE_PRORATIONS,
        proration_strategy=strategy,
    )
    known = subscribe(part, replace(pro, prices=pro.prices[:1], entitlements=()))
    window = next(iter(windows(known, MAY)))
    return told(draft(known, window, _Nothing(), (), as_of=MAY))


class _Nothing:
    """Knows no usage, and is never asked."""

    def quantities(self, *asked: Any, **named: Any) -> Any:
        raise AssertionError((asked, named))


def by_seconds(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    del listed
    return fee(acme, pro, ProrationStrategy.SECOND_BASED)


def by_days(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    del listed
    return fee(acme, pro, ProrationStrategy.DAY_BASED)


def line_overage(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    """A quarter's commitment of which 40 days are in force, and January has used some."""
    known = replace(metered(acme, pro), end_date=JANUARY + timedelta(days=40))
    agreed = promise("800", "1.5", duration=BillingPeriod.QUARTERLY, kind=CommitmentType.QUANTITY)
    known = commit_line(known, "use", agreed)
    return told(drafted(known, listed(units((3, "100"), (35, "2500"))), 2))


def line_true_up(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    known = commit_line(metered(acme, pro), "use", promise("100", "2", true_up=True))
    return told(drafted(known, listed(units((3, "2500")))))


def committed(acme: Subscription, pro: Plan, listed: Listed, position: int) -> Told:
    known = replace(metered(acme, pro), end_date=JANUARY + timedelta(days=20))
    known = commit_subscription(known, promise("31", "1.5", true_up=True))
    units_used = "2500" if position < 2 else "700"
    return told(drafted(known, listed(units((3, units_used)))), min(position, 1))


def subscription_within(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    return committed(acme, pro, listed, 0)


def subscription_overage(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    return committed(acme, pro, listed, 1)


def subscription_true_up(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    return committed(acme, pro, listed, 2)


def adjustment(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    known = metered(acme, pro)
    early, late = units((3, "1500")), units((3, "1500"), (4, "900"))
    original, correct = drafted(known, listed(early)), drafted(known, listed(late))
    (line,) = adjustments(InvoiceId("next"), original, correct, original.lines)
    return dict(line.explanation)


def paid(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    """A tenth off the line, five off the invoice, and credits for all the rest."""
    known = metered(acme, pro)
    tenth = Coupon(CouponId("tenth"), CouponType.PERCENTAGE, D(10))
    five = Coupon(CouponId("five"), CouponType.FIXED, D(5), currency="usd")
    chain: SubscriptionLineId = known.lines[0].chain_id
    coupons = (
        CouponAttachment(CouponAttachmentId("a"), tenth, JANUARY, chain_id=chain),
        CouponAttachment(CouponAttachmentId("b"), five, JANUARY),
    )
    wallet = Wallet(WalletId("w"), CustomerId("acme"), "usd", WalletType.PRE_PAID, JANUARY)
    held = top_up(Holdings(wallet), TopUp(Reason.CREDIT_NOTE, D(500)), JANUARY).holdings
    usage = listed(units((3, "2500")))
    return told(drafted(known, usage, wallets=[held], terms=Terms(coupons=coupons)))


def given_back(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    """Half a month of a fee of 20 is not used."""
    whole = fee(acme, pro, ProrationStrategy.SECOND_BASED) | {"role": "adjustment"}
    del listed
    unused = whole["amount"]
    change = {"charged": "20.00", "credited_before": "0", "unused": unused}
    return whole | {"change": change, "amount": f"-{unused}", "exact": f"-{whole['exact']}"}


def given_back_in_part(acme: Subscription, pro: Plan, listed: Listed) -> Told:
    """Less was charged for it than is not used."""
    whole = given_back(acme, pro, listed)
    change = whole["change"] | {"charged": "9.00", "credited_before": "1.50"}
    return whole | {"change": change, "amount": "-7.50", "exact": "-7.5"}


# Of each kind a line, and the figures of it that do not bear on its amount.
KINDS: list[tuple[Callable[[Subscription, Plan, Listed], Told], tuple[str, ...]]] = [
    (with_allowance, ()),
    # By volume only the tier that is reached matters, and a part has no place on the ladder.
    (
        split_volume,
        (
            "pricing.0.tiers.0.up_to",
            "pricing.0.tiers.0.unit_amount",
            "pricing.0.tiers.0.flat_amount",
            "pricing.0.from",
        ),
    ),
    (split_packages, ()),
    (in_buckets, ()),
    (in_many_buckets, ()),
    # A flat price has no ladder; and an hour is no other day.
    (by_seconds, ("pricing.0.from",)),
    (by_days, ("pricing.0.from", "proration.service.0")),
    (line_overage, ()),
    # Below its commitment a line pays no overage, whatever the factor.
    (line_true_up, ("commitment.overage_factor",)),
    (subscription_within, ()),
    (subscription_overage, ()),
    (subscription_true_up, ("commitment.overage_factor",)),
    (adjustment, ()),
    (paid, ()),
    # What was charged beyond what is given back does not matter.
    (given_back, ("pricing.0.from", "change.charged", "change.credited_before")),
    (given_back_in_part, ("pricing.0.from",)),
]
BUILDERS = [build for build, _ in KINDS]


def told(invoice: Invoice, position: int = 0) -> Told:
    return dict(invoice.lines[position].explanation)


def figures(told: object, path: Path = ()) -> Iterator[Path]:
    """Yield the place of each figure, instants of a proration among them."""
    if isinstance(told, dict):
        for name, each in told.items():
            if name not in WORDS:
                yield from figures(each, (*path, name))
    elif isinstance(told, list):
        for index, each in enumerate(told):
            yield from figures(each, (*path, index))
    elif isinstance(told, str | int) and not isinstance(told, bool):
        yield path


def without_meaning(told: Told, path: Path) -> bool:
    """Tell whether a figure of a price means nothing in its model."""
    if path[-1] == "unit_amount" and not {"components", "tiers"}.intersection(path):
        # The rate of a price by tiers stands in its tiers.
        return bool(at(told, path[:-1])["tiers"])
    if path[-1] == "up_to":
        return at(told, path[:-2])[-1] is at(told, path[:-1])
    return False


def at(told: Any, path: Path) -> Any:
    for step in path:
        told = told[step]
    return told


def other(figure: str | int) -> str | int:
    """Return a figure that is one more, or an instant an hour earlier."""
    if isinstance(figure, int):
        return figure + 1
    if "T" in figure:
        earlier = datetime.fromisoformat(figure) - timedelta(hours=1)
        return earlier.isoformat().replace("+00:00", "Z")
    return f"{Decimal(figure) + 1:f}"


@pytest.mark.parametrize(("build", "ignored"), KINDS, ids=[each.__name__ for each in BUILDERS])
def test_no_figure_can_be_changed_unnoticed(
    acme: Subscription,
    pro: Plan,
    listed: Listed,
    build: Callable[[Subscription, Plan, Listed], Told],
    ignored: tuple[str, ...],
) -> None:
    right = build(acme, pro, listed)
    assert problems(right) == ()
    unnoticed = []
    for path in figures(right):
        wrong = deepcopy(right)
        place = at(wrong, path[:-1])
        place[path[-1]] = other(place[path[-1]])
        if not problems(wrong) and not without_meaning(right, path):
            unnoticed.append(".".join(map(str, path)))
    assert unnoticed == list(ignored)


@pytest.mark.parametrize("build", BUILDERS, ids=[each.__name__ for each in BUILDERS])
def test_an_amount_that_is_wrong_is_said_in_a_sentence(
    acme: Subscription,
    pro: Plan,
    listed: Listed,
    build: Callable[[Subscription, Plan, Listed], Told],
) -> None:
    right = build(acme, pro, listed)
    wrong = right | {"amount": "4711.00"}
    assert any(
        each == f"the amount is told as 4711.00, but comes to {plain(D(right['amount']))}"
        for each in problems(wrong)
    )
