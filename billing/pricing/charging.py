"""Charging: from the usage of a period to the charge of a line, with its explanation.

The order is fixed: quantity, allowance, cost on the ladder, commitment of the line, settle
(billing.md 11); what a subscription has promised follows in `billing.pricing.committing`. A period keeps
one allowance and one ladder, whatever versions of a line it is split into (billing.md 4 and 12).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile

from billing.periods.schedules import Schedule, Span, reset_windows, spans
from billing.periods.services import Service, grid_of, life_of, schedule_of
from billing.ports import UsageBucket, UsageQuantity, UsageReader
from billing.pricing import explanation as explain
from billing.pricing.allowances import (
    Allowance,
    CoveredWindow,
    WindowUsage,
    cover_in_order,
    cover_windows,
)
from billing.pricing.commitment_terms import measured
from billing.pricing.commitments import commit, shares, worth
from billing.pricing.entitlements import combine
from billing.pricing.explanation import Explained
from billing.pricing.proration import prorate
from billing.pricing.rating import Segment, cost, price_buckets, price_segments
from schemas.commitment import CommitmentLevel
from schemas.invoice import Role
from schemas.meter import AggregationType, Meter, ResetUsage
from schemas.money import Exact, settle, total
from schemas.period import Interval
from schemas.subscription import (
    FeatureType,
    ProrationBehavior,
    ResetPeriod,
    Subscription,
    SubscriptionLine,
)

ZERO = Decimal(0)

# Sums over events: what a part of the period used is known without the rest.
SUMS = frozenset({AggregationType.COUNT, AggregationType.SUM, AggregationType.SUM_WITH_MULTIPLIER})


@dataclass(frozen=True, slots=True)
class Charge:
    """What a line charges for a service period: `exact` until it was settled to `amount`.

    `metadata` marks the lines that a commitment makes.
    """

    role: Role
    quantity: Decimal
    covered: Decimal
    exact: Decimal | Fraction
    amount: Decimal
    explanation: Explained
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Included:
    """The one allowance of a meter: what all its entitlements add up to.

    `limit` None is unlimited; `reset` None is the billing period, whatever its count.
    """

    limit: int | None
    reset: ResetPeriod | None


@dataclass(frozen=True, slots=True)
class _Part:
    """The usage of one version of a line in a period, with what the allowance covers of it."""

    line: SubscriptionLine
    period: Interval
    usage: Decimal
    windows: tuple[CoveredWindow, ...]
    covered: Decimal
    buckets: tuple[UsageBucket, ...]
    bucket_covered: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class _Rated:
    """The usage of a line in a period at list price, and how it was priced."""

    part: _Part
    quantity: Decimal
    cost: Exact
    pricing: Sequence[Explained] = ()
    bucketed: Sequence[Explained] | None = None


def included(subscription: Subscription, meter: Meter) -> Included | None:
    """Return the allowance of a meter, None if nothing is included.

    All enabled entitlements of the meter's features are one allowance. Bucketed MAX has none.
    Source: billing.md 12.
    """
    found = [
        entitlement
        for entitlement in subscription.entitlements
        if entitlement.meter_id == meter.id
        and entitlement.is_enabled
        and entitlement.feature_type is FeatureType.METERED
    ]
    bucketed_maximum = (
        meter.aggregation.bucket_size is not None and meter.aggregation.type is AggregationType.MAX
    )
    if not found or bucketed_maximum:
        return None
    granted = combine(found, ResetPeriod(subscription.billing_period.value))
    by_period = all(entitlement.usage_reset_period is None for entitlement in found)
    return Included(granted.limit, None if by_period else granted.reset_period)


class Charging:
    """The charges of one subscription, from a usage reader and up to one instant.

    Usage at or after `as_of` is not read. What was read is kept, so that the versions of a line
    and the reset windows that they share are read once.
    """

    def __init__(self, subscription: Subscription, usage: UsageReader, as_of: datetime) -> None:
        self.subscription = subscription
        self.as_of = as_of
        self._usage = usage
        self._made: Schedule = schedule_of(subscription)
        self._read: dict[tuple[str, Interval], UsageQuantity] = {}
        self._parts: dict[tuple[str, Interval], list[_Part]] = {}

    def charge(self, service: Service) -> Charge:
        """Return the charge of a service period of a line."""
        if service.line.meter is None:
            return self._fixed(service)
        return self._metered(service, service.line.meter)

    def _fixed(self, service: Service) -> Charge:
        """Charge the cost of a quantity, in part where the service is a part of the full period."""
        line, subscription = service.line, self.subscription
        part = None
        prorated = subscription.proration_behavior is ProrationBehavior.CREATE_PRORATIONS
        if service.span is not None and prorated:
            full, timezone = service.span.full, subscription.timezone
            part = prorate(service.period, full, subscription.proration_strategy, timezone)
            part = part if part.coefficient < 1 else None
        whole = cost(line.price, line.quantity)
        exact = Fraction(whole.amount) * (part.coefficient if part else 1)
        amount = settle(exact, subscription.currency)
        how = explain.priced(
            line.price, service.period, line.quantity, whole.components, whole.amount
        )
        told = explain.explained(
            Role.FIXED, subscription.currency, exact, amount, pricing=[how], prorated=part
        )
        return Charge(Role.FIXED, line.quantity, ZERO, exact, amount, told)

    def _metered(self, service: Service, meter: Meter) -> Charge:
        """Charge usage: its part of the ladder and the allowance that the whole period shares."""
        assert service.span is not None, "usage is never ONETIME"
        rated = self._rated(service.line, meter, service.span)
        assert rated is not None, "a line is in force in its service period"
        currency = self.subscription.currency
        exact, share = self._committed(service, meter, rated.cost)
        amount = settle(exact, currency)
        told = explain.explained(
            Role.USAGE,
            currency,
            exact,
            amount,
            used=explain.usage(meter.id, rated.part.usage, rated.part.windows, rated.quantity),
            pricing=rated.pricing,
            bucketed=rated.bucketed,
            price=rated.part.line.price,
            committed=share and share(amount),
        )
        return Charge(Role.USAGE, rated.quantity, rated.part.covered, exact, amount, told)

    def _rated(self, line: SubscriptionLine, meter: Meter, span: Span) -> _Rated | None:
        """Rate the usage of a line in a period at list price, None where it is not in force."""
        parts = self._parts_of(line, meter, span)
        index = next((i for i, part in enumerate(parts) if part.line.id == line.id), None)
        if index is None:
            return None
        part = parts[index]
        if meter.aggregation.bucket_size is not None:
            return _rated_buckets(part)
        segments = [Segment(each.line.price, each.usage) for each in parts]
        rated = price_segments(segments, [each.covered for each in parts])[index]
        return _Rated(part, rated.billable, rated.amount, [explain.segment(rated, part.period)])

    def _committed(
        self, service: Service, meter: Meter, used: Exact
    ) -> tuple[Exact, Callable[[Decimal], Explained] | None]:
        """Apply the commitment of a line to its cost; with how to explain what it was settled to.

        Source: billing.md 10, "Line level".
        """
        line, promised = service.line, service.line.commitment
        if promised is None:
            return used, None
        assert service.span is not None, "usage is never ONETIME"
        life, price = life_of(self.subscription, line), line.price
        assert life is not None, "what is charged is in force"
        when = measured(
            self.subscription,
            self._made,
            promised,
            (price.billing_period, price.billing_period_count),
            Span(service.period, service.span.full),
            life=life,
        )
        committed = Fraction(worth(price, promised)) * when.share
        prior = self._before(line, meter, service.span, when.inside.start)
        due = promised.true_up and when.last
        left = max(committed - prior, Fraction(0))
        parts = commit(used, left, promised.overage_factor, true_up=due)

        def told(amount: Decimal) -> Explained:
            spread = shares(amount, parts, self.subscription.currency)
            return explain.commitment(
                CommitmentLevel.LINE,
                promised,
                committed,
                prior,
                spread,
                true_up=due,
                share=when.share,
            )

        return parts.exact, told

    def _before(
        self, line: SubscriptionLine, meter: Meter, span: Span, since: datetime
    ) -> Fraction:
        """Return what a line used at list price from an instant to the start of a period.

        Nothing where the commitment is not cumulative: then there is no time between the two.
        """
        made = self._made
        grid, first = grid_of(self.subscription, made, line), max(line.chain_start, made.start)
        earlier = spans(grid, first, span.period.start, since=since)
        rated = [self._rated(line, meter, each) for each in earlier]
        # A period that began before the commitment's time belongs to the time before it.
        counted = [each for each in rated if each and each.part.period.start >= since]
        return sum((Fraction(each.cost) for each in counted), Fraction(0))

    def _parts_of(self, line: SubscriptionLine, meter: Meter, span: Span) -> list[_Part]:
        """Return the usage of every version of a chain in one period, in time order."""
        key = (line.chain_id, span.period)
        if key not in self._parts:
            parts: list[_Part] = []
            for version in self.subscription.lines:
                if version.chain_id != line.chain_id:
                    continue
                life = life_of(self.subscription, version)
                if life is None:
                    continue
                whole = Interval(life[0], life[1] or max(life[0], span.period.end))
                in_force = span.period.cut(whole)
                if in_force is not None:
                    parts.append(self._part(version, meter, in_force, span.period))
            self._parts[key] = sorted(parts, key=lambda part: part.period.start)
        return self._parts[key]

    def _part(
        self, line: SubscriptionLine, meter: Meter, period: Interval, whole: Interval
    ) -> _Part:
        """Read the usage of one version and cover it by the windows that it lies in."""
        allowance = included(self.subscription, meter)
        if meter.aggregation.bucket_size is not None:
            return self._bucketed_part(line, meter, period, allowance)
        used = self._quantity(meter, period).value
        if allowance is None:
            return _Part(line, period, used, (), ZERO, (), ())
        rows = [
            WindowUsage(
                window.start,
                window.end,
                Allowance(allowance.limit, self._between(meter, window.start, inside.start)),
                self._quantity(meter, inside).value,
            )
            for window, inside in self._windows(meter, allowance, period, whole)
        ]
        found = cover_windows(rows)
        # Parts that cancel each other out may be covered for more than there is in the end.
        return _Part(line, period, used, found.windows, min(found.covered, used), (), ())

    def _bucketed_part(
        self,
        line: SubscriptionLine,
        meter: Meter,
        period: Interval,
        allowance: Included | None,
    ) -> _Part:
        """Read the buckets of one version; each window's allowance covers its own in time order."""
        used = self._quantity(meter, period)
        if allowance is None:
            return _Part(
                line, period, used.value, (), ZERO, used.buckets, (ZERO,) * len(used.buckets)
            )
        buckets: list[UsageBucket] = []
        taken: list[Decimal] = []
        rows = []
        for window, inside in self._windows(meter, allowance, period, period):
            read = self._quantity(meter, inside)
            before = self._between(meter, window.start, inside.start)
            limit = Allowance(allowance.limit, before)
            values = [bucket.value for bucket in read.buckets]
            rows.append(WindowUsage(window.start, window.end, limit, total(values)))
            buckets += read.buckets
            taken += cover_in_order(limit, values)
        windows = cover_windows(rows).windows
        return _Part(line, period, used.value, windows, total(taken), tuple(buckets), tuple(taken))

    def _windows(
        self, meter: Meter, allowance: Included, period: Interval, whole: Interval
    ) -> Sequence[tuple[Interval, Interval]]:
        """Return the reset windows that a part of a period meets, each with what lies inside.

        What is no sum over events has its allowance in the service period (billing.md 12). The open
        end of a window that never resets is shown as the end of the period.
        """
        sums = meter.aggregation.type in SUMS and meter.reset_usage is not ResetUsage.NEVER
        if not sums:
            return [(whole, period)]
        made = self._made
        if allowance.reset is None:
            found = [
                span.period
                for span in takewhile(
                    lambda span: span.period.start < period.end,
                    spans(made.grid, made.start, made.end, since=period.start),
                )
            ]
        else:
            found = [
                Interval(window.start, window.end or period.end)
                for window in reset_windows(
                    made.grid, allowance.reset.value, made.start, made.end, period
                )
            ]
        return [(window, inside) for window in found if (inside := window.cut(period))]

    def _between(self, meter: Meter, start: datetime, end: datetime) -> Decimal:
        """Return the value between two instants, 0 where there is no time between them."""
        return self._quantity(meter, Interval(start, end)).value if start < end else ZERO

    def _quantity(self, meter: Meter, interval: Interval) -> UsageQuantity:
        """Read an interval up to `as_of`, once."""
        key = (meter.id, interval)
        if key not in self._read:
            end = min(interval.end, self.as_of)
            if end <= interval.start:
                self._read[key] = UsageQuantity(ZERO, ZERO, 0)
            else:
                self._read[key] = self._usage.quantities(
                    meter,
                    (self.subscription.external_customer_id,),
                    Interval(interval.start, end),
                    timezone=self.subscription.timezone,
                    billing_anchor=self._made.grid.first,
                )
        return self._read[key]


def _rated_buckets(part: _Part) -> _Rated:
    """Rate each bucket of a part on its own; the line is settled once for all of them."""
    values = [bucket.value for bucket in part.buckets]
    rated = price_buckets(part.line.price, values, part.bucket_covered)
    places = [(bucket.start, bucket.group) for bucket in part.buckets]
    return _Rated(part, rated.quantity, rated.amount, bucketed=explain.buckets(places, rated.rows))
