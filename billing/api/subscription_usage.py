"""Usage of a subscription: what its usage lines count and cost in a time (api.md 4.11).

Every part of a billing period of the line that lies in the time is priced as an invoice would price
it, and the commitment of the subscription is applied billing period by billing period. What is
missing to a commitment is not part of it: the preview has that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.api.price_answers import display_amount, nested_price_answer
from billing.api.reading import read
from billing.api.routing import Built, Call
from billing.api.subscription_answers import found_by_id
from billing.api.wire import Answer, shown
from billing.periods.schedules import Span, billing_periods
from billing.periods.services import (
    Service,
    Window,
    as_known,
    grid_of,
    never_billed,
    schedule_of,
    services,
)
from billing.ports import UsageReader
from billing.pricing.charging import Charge, Charging
from billing.pricing.committing import charges
from billing.subscriptions.current import current_period
from schemas.api.answers.subscription_usage import (
    GetUsageBySubscriptionResponse,
    SubscriptionUsageCharge,
)
from schemas.api.requests.subscriptions import GetUsageBySubscriptionRequest
from schemas.doors import read_interval
from schemas.invoice import BillingReason, InvoiceKind, Role
from schemas.money import LOSSLESS, total
from schemas.period import Interval
from schemas.price import PriceType
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Subscription, SubscriptionLine

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Used:
    """What a usage line counts and costs; `is_overage` is what of it lies above a commitment."""

    line: SubscriptionLine
    quantity: Decimal
    amount: Decimal
    is_overage: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """What a subscription has used: by line, and how that stands to its commitment."""

    lines: tuple[Used, ...]
    within: Decimal = ZERO
    overage: Decimal = ZERO


def usage_of_subscription(call: Call) -> Answer:
    """Show what the usage of a subscription costs, in its current period unless times are given."""
    asked = read(GetUsageBySubscriptionRequest, call.json)
    subscription = found_by_id(call.environment, asked.subscription_id)
    at = call.services.clock()
    within = _interval(subscription, asked, at)
    spent = spent_in(subscription, call.environment.usage, within, at)
    return shown(_answer(subscription, spent, within, call.scope))


def _interval(
    subscription: Subscription, asked: GetUsageBySubscriptionRequest, at: datetime
) -> Interval:
    """Return the time that is asked for. Raises ValidationFailed where it ends before it starts."""
    current = current_period(subscription, at)
    start = subscription.start_date if asked.lifetime_usage else current.start
    return read_interval(asked.start_time or start, asked.end_time or current.end, field="end_time")


def spent_in(
    subscription: Subscription, usage: UsageReader, within: Interval, at: datetime
) -> Spent:
    """Return what a subscription has used in a time, as known at an instant."""
    known = _without_true_up(as_known(subscription, at))
    if never_billed(known):
        return Spent(())
    charging = Charging(known, usage, at)
    found = list(_services(known, within))
    charged: list[tuple[Service, Charge]] = []
    for period in _periods(known, within):
        begun = [each for each in found if period.holds(max(each.period.start, within.start))]
        charged += charges(charging, begun, period)
    return _summed(charged)


def _without_true_up(subscription: Subscription) -> Subscription:
    """Return a subscription that is not charged for what is missing to its commitments."""
    lines = tuple(
        replace(line, commitment=replace(line.commitment, true_up=False))
        if line.commitment
        else line
        for line in subscription.lines
    )
    promised = subscription.commitment
    whole = replace(promised, true_up=False) if promised else None
    return replace(subscription, lines=lines, commitment=whole)


def _periods(subscription: Subscription, within: Interval) -> Iterator[Interval]:
    """Yield the billing periods that a time meets."""
    schedule = schedule_of(subscription)
    for span in billing_periods(schedule, since=max(within.start, schedule.start)):
        if span.period.start >= within.end:
            return
        yield span.period


def _services(subscription: Subscription, within: Interval) -> Iterator[Service]:
    """Yield the service periods of usage lines, cut to a time, by (start, id) of their lines."""
    schedule = schedule_of(subscription)
    metered = [line for line in subscription.lines if line.price.type is PriceType.USAGE]
    ends = [grid_of(subscription, schedule, line).around(within.end).end for line in metered]
    horizon = Interval(within.start, max([within.end, *ends]))
    window = Window(
        InvoiceKind.PREVIEW,
        BillingReason.SUBSCRIPTION_CYCLE,
        horizon,
        horizon,
        None,
        horizon.end,
    )
    for each in services(replace(subscription, lines=tuple(metered)), window):
        period, span = each.period.cut(within), each.span
        assert span is not None, "usage is never ONETIME"
        whole = span.period.cut(within)
        if period is not None and whole is not None:
            yield Service(each.line, period, Span(whole, span.full))


def _summed(charged: list[tuple[Service, Charge]]) -> Spent:
    """Return what each line comes to over all periods, its overage by itself."""
    lines: dict[tuple[str, bool], Used] = {}
    inside, over = [], []
    for service, charge in charged:
        is_overage = charge.role is Role.OVERAGE
        key = service.line.id, is_overage
        before = lines.get(key) or Used(service.line, ZERO, ZERO, is_overage)
        lines[key] = replace(
            before,
            # What entitlements cover was metered too.
            quantity=total([before.quantity, charge.quantity, charge.covered]),
            amount=LOSSLESS.add(before.amount, charge.amount),
        )
        told = charge.explanation.get("commitment")
        if isinstance(told, Mapping) and told["level"] == "subscription" and not is_overage:
            inside.append(Decimal(told["within"]))
            over.append(Decimal(told["overage"]))
    return Spent(tuple(lines.values()), total(inside), total(over))


def _answer(
    subscription: Subscription, spent: Spent, within: Interval, scope: Scope
) -> GetUsageBySubscriptionResponse:
    """Return the usage as the wire shows it."""
    amount = total(each.amount for each in spent.lines)
    currency, promised = subscription.currency.lower(), subscription.commitment
    return GetUsageBySubscriptionResponse(
        amount=amount,
        currency=currency,
        display_amount=display_amount(amount, currency),
        start_time=within.start,
        end_time=within.end,
        charges=[_charge(subscription, each, scope) for each in spent.lines],
        has_overage=spent.overage > 0,
        commitment_amount=promised.value if promised else None,
        commitment_utilized=spent.within if promised else None,
        overage_amount=spent.overage if promised else None,
        overage_factor=promised.overage_factor if promised else None,
    )


def _charge(subscription: Subscription, used: Used, scope: Scope) -> SubscriptionUsageCharge:
    """Return what one line counts and costs."""
    line, promised = used.line, subscription.commitment
    price = made(line.price, subscription.created_at or line.start_date, subscription.created_by)
    currency = subscription.currency.lower()
    return SubscriptionUsageCharge(
        subscription_line_item_id=line.id,
        meter_id=line.price.meter_id or "",
        meter_display_name=line.meter.name if line.meter else "",
        price=nested_price_answer(price, scope),
        quantity=used.quantity,
        amount=used.amount,
        currency=currency,
        display_amount=display_amount(used.amount, currency),
        filter_values={},
        is_overage=used.is_overage,
        overage_factor=promised.overage_factor if promised and used.is_overage else None,
    )


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/subscriptions/usage"): Built(
        usage_of_subscription,
        takes=GetUsageBySubscriptionRequest,
        gives=GetUsageBySubscriptionResponse,
    ),
}
