"""Committing: the charges of an invoice once the subscription's commitment has been applied.

Usage lines use the commitment up in their order. With a factor above 1 what lies above it is a line
of its own; what is missing to it is one fixed line at the end (billing.md 10 and 11).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from billing.periods.schedules import Span, spans
from billing.periods.services import Service, Window, schedule_of, services
from billing.pricing import explanation as explain
from billing.pricing.charging import Charge, Charging
from billing.pricing.commitment_terms import measured
from billing.pricing.commitments import LineSplit, Shares, commit_lines
from billing.pricing.explanation import Explained
from schemas.commitment import Commitment, CommitmentLevel
from schemas.decimals import EXACT, plain, rounded
from schemas.ids import SubscriptionLineId, derived
from schemas.invoice import BillingReason, InvoiceKind, Role
from schemas.money import LOSSLESS, settle, total
from schemas.period import Interval
from schemas.price import BillingModel, Price, PriceType
from schemas.subscription import Subscription, SubscriptionLine

ZERO = Decimal(0)

# What the lines of a commitment are called (api.md 10).
OVERAGE_NAME = "{} (Overage)"
TRUE_UP_NAME = "Commitment True Up"

Charged = tuple[Service, Charge]


@dataclass(frozen=True, slots=True)
class _Period:
    """What a subscription has promised for a billing period: settled, and as far as it is used."""

    promised: Commitment
    committed: Decimal
    prior: Decimal
    true_up: bool
    share: Fraction


def charges(
    charging: Charging, found: Iterable[Service], period: Interval | None
) -> tuple[Charged, ...]:
    """Return the charge of each service, with the subscription's commitment for a billing period.

    In order: each service, a usage line followed by its overage, which has its service; then the
    true-up, whose service is made up. `period` is what the invoice charges in arrear, None on an
    opening. Without a commitment it is what `charging.charge` gives. Source: billing.md 8 and 10.
    """
    charged = [(service, charging.charge(service)) for service in found]
    promised = charging.subscription.commitment
    if promised is None or period is None:
        return tuple(charged)
    when = _promised(charging, promised, period)
    split = commit_lines(
        [charge.amount for _, charge in charged if charge.role is Role.USAGE],
        when.committed,
        promised.overage_factor,
        true_up=when.true_up,
        currency=charging.subscription.currency,
        prior=when.prior,
    )
    parts = iter(split.lines)
    lines: list[Charged] = []
    for service, charge in charged:
        if charge.role is Role.USAGE:
            lines += _split(service, charge, next(parts), when)
        else:
            lines.append((service, charge))
    if split.true_up:
        lines.append(_missing(charging.subscription, period, split.used, split.true_up, when))
    return tuple(lines)


def _promised(charging: Charging, promised: Commitment, period: Interval) -> _Period:
    """Return what counts for a billing period: the promise in part, and what was used before."""
    subscription = charging.subscription
    made = schedule_of(subscription)
    when = measured(
        subscription,
        made,
        promised,
        (subscription.billing_period, subscription.billing_period_count),
        Span(period, made.grid.around(period.start)),
        life=(made.start, made.end),
    )
    committed = settle(Fraction(promised.value) * when.share, subscription.currency)
    prior = ZERO
    if when.inside.start < period.start:
        prior = _used_before(charging, Interval(when.inside.start, period.start))
    return _Period(promised, committed, prior, promised.true_up and when.last, when.share)


def _used_before(charging: Charging, interval: Interval) -> Decimal:
    """Return the settled usage of the billing periods that start in an interval, at list price."""
    subscription = charging.subscription
    made = schedule_of(subscription)
    metered = [line for line in subscription.lines if line.price.type is PriceType.USAGE]
    usage_only = replace(subscription, lines=tuple(metered))
    amounts = []
    for span in spans(made.grid, made.start, interval.end, since=interval.start):
        if span.period.start >= interval.start:
            charged = services(usage_only, _in_arrear(span.period))
            amounts += [charging.charge(service).amount for service in charged]
    return total(amounts)


def _in_arrear(period: Interval) -> Window:
    """Return the window that charges what ends in a billing period, and nothing in advance."""
    reason = BillingReason.SUBSCRIPTION_CYCLE
    return Window(InvoiceKind.PREVIEW, reason, period, period, None, period.end)


def _split(service: Service, charge: Charge, split: LineSplit, when: _Period) -> Sequence[Charged]:
    """Return a usage line, and what of it lies above the commitment where that has its price.

    The quantity is split in proportion, for display. Nothing is taken off a line with factor 1.
    """
    factor = when.promised.overage_factor
    told = _explained(charge.explanation, when, split.used_before, split)
    if factor == 1 or not split.overage:
        return [(service, replace(charge, explanation=told))]
    inside = EXACT.multiply(charge.quantity, split.within)
    quantity = rounded(EXACT.divide(inside, charge.amount))
    over = Fraction(LOSSLESS.subtract(charge.amount, split.within)) * Fraction(factor)
    within = replace(
        charge,
        quantity=quantity,
        exact=split.within,
        amount=split.within,
        explanation=_shown(told, Role.USAGE, split.within, split.within),
    )
    overage = Charge(
        role=Role.OVERAGE,
        quantity=LOSSLESS.subtract(charge.quantity, quantity),
        covered=ZERO,
        exact=over,
        amount=split.overage,
        explanation=_shown(told, Role.OVERAGE, over, split.overage),
        metadata={"is_overage": "true", "overage_factor": plain(factor)},
    )
    named = OVERAGE_NAME.format(service.line.display_name)
    above = replace(service, line=replace(service.line, display_name=named))
    return [(service, within), (above, overage)]


def _missing(
    subscription: Subscription, period: Interval, used: Decimal, amount: Decimal, when: _Period
) -> Charged:
    """Return the fixed line that is charged for what is missing to a commitment."""
    name = SubscriptionLineId(derived("subs_line", subscription.id, Role.TRUE_UP.value))
    currency = subscription.currency
    # It has no price in the catalog, so its price has no id.
    price = Price("", PriceType.FIXED, BillingModel.FLAT_FEE, currency, amount=amount)
    line = SubscriptionLine(
        id=name,
        chain_id=name,
        price=price,
        display_name=TRUE_UP_NAME,
        start_date=period.start,
        chain_start=period.start,
        quantity=Decimal(1),
    )
    told = explain.explained(Role.TRUE_UP, currency, amount, amount)
    charge = Charge(
        role=Role.TRUE_UP,
        quantity=Decimal(1),
        covered=ZERO,
        exact=amount,
        amount=amount,
        explanation=_explained(told, when, used, true_up=amount),
        metadata={"is_commitment_trueup": "true"},
    )
    return Service(line, period, None), charge


def _explained(
    told: Explained,
    when: _Period,
    used_before: Decimal,
    split: LineSplit | None = None,
    *,
    true_up: Decimal = ZERO,
) -> Explained:
    """Return an explanation with how the line stands to the commitment."""
    parts = Shares(split.within if split else ZERO, split.overage if split else ZERO, true_up)
    shown = explain.commitment(
        CommitmentLevel.SUBSCRIPTION,
        when.promised,
        when.committed,
        used_before,
        parts,
        true_up=when.true_up,
        share=when.share,
    )
    return {**told, "commitment": shown}


def _shown(told: Explained, role: Role, exact: Decimal | Fraction, amount: Decimal) -> Explained:
    """Return an explanation of a part of a line: its role and its amount."""
    number, text = explain.number(exact), f"{amount:f}"
    return {**told, "role": role.value, "exact": number, "amount": text}
