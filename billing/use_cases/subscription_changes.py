"""Changes of lines inside a period: quantity, price, a line added, a line ended, all idempotent.

What was charged in advance and is not used any more is given back, what begins is charged for the
rest, netted into one invoice or one wallet credit, in the transaction that changes the subscription
(billing.md 6 and 9.2).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.ports import Changes, Stores, UsageReader
from billing.subscriptions.added_lines import LineRequest, in_place, line_from
from billing.subscriptions.changing import SettledChange, settle_lines
from billing.subscriptions.current import current_period
from billing.subscriptions.overrides import LineTerms, PriceTerms, overridden
from billing.subscriptions.subscribing import line_quantity, reprice
from billing.subscriptions.versions import (
    change_of,
    check_changeable,
    line_of,
    recorded,
    with_end,
    with_line,
)
from billing.use_cases.settling_changes import (
    Came,
    bring_up_to_date,
    check_up_to_date,
    settlement,
)
from billing.use_cases.telling_subscriptions import UPDATED, subscription_row
from billing.use_cases.transactions import merged, retried
from schemas.errors import InvalidOperation, NotFound, ValidationFailed
from schemas.ids import Fact, SubscriptionId, SubscriptionLineId, derived
from schemas.invoice import Invoice
from schemas.price import Price, PriceType
from schemas.subscription import (
    ProrationBehavior,
    Subscription,
    SubscriptionLine,
    SubscriptionStatus,
)

# Nothing was charged for these yet, so that their lines change from the beginning on.
UNCHARGED = frozenset({SubscriptionStatus.DRAFT, SubscriptionStatus.TRIALING})


@dataclass(frozen=True, slots=True)
class When:
    """From when a change holds, and how it is asked for.

    `effective_from` None is the instant of the call. With a `key` a repetition does nothing; without
    one a repetition finds the values that it asks for. `behavior` None is the subscription's.
    """

    effective_from: datetime | None = None
    key: str | None = None
    behavior: ProrationBehavior | None = None


NOW = When()


@dataclass(frozen=True, slots=True)
class LineChanged:
    """A subscription after a change, the line that is valid afterwards, and what it came to.

    `settled` is None where nothing was to be settled: a repetition, or a line that nothing was
    charged for.
    """

    subscription: Subscription
    line: SubscriptionLine
    settled: SettledChange | None = None
    invoice: Invoice | None = None
    credit: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Altered:
    """What a subscription becomes, from when, and the line that is valid then."""

    subscription: Subscription
    line_id: SubscriptionLineId
    effective_at: datetime


def keyed_change_id(subscription_id: SubscriptionId, key: str) -> str:
    """Return the id of the change that was asked for with a key."""
    return derived("change", subscription_id, "key", key)


@dataclass(frozen=True, slots=True)
class _Asked:
    """When a change was asked for, from when it is to hold, and what tells it from others."""

    at: datetime
    when: When
    facts: tuple[Fact, ...]

    def change_id(self, subscription: Subscription) -> str:
        """Return the id of the change: by the key of its request, else by version and change.

        Source: billing.md 15.6.
        """
        if self.when.key is not None:
            return keyed_change_id(subscription.id, self.when.key)
        return derived("change", subscription.id, subscription.version, *self.facts)


# From a subscription and the id of the change.
_Alter = Callable[[Subscription, str], _Altered]


def change_quantity(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    line_id: SubscriptionLineId,
    quantity: Decimal,
    *,
    at: datetime,
    when: When = NOW,
) -> LineChanged:
    """Give a fixed line another quantity, from an instant of the current period on: `change_line`."""
    terms = LineTerms(quantity=quantity)
    return change_line(stores, usage, subscription_id, line_id, terms, at=at, when=when)


def change_price(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    line_id: SubscriptionLineId,
    terms: PriceTerms,
    *,
    at: datetime,
    when: When = NOW,
) -> LineChanged:
    """Give a line money terms of its own, an override price, from an instant on: `change_line`."""
    asked = LineTerms(price=terms)
    return change_line(stores, usage, subscription_id, line_id, asked, at=at, when=when)


def change_line(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    line_id: SubscriptionLineId,
    terms: LineTerms,
    *,
    at: datetime,
    when: When = NOW,
) -> LineChanged:
    """Give a line other terms from an instant on, as a version of its chain.

    The same terms change nothing. A usage line keeps its ladder and its allowance, and what was used
    before costs what it did. Raises NotFound, ValidationFailed (`quantity`, `effective_from`, and as
    new prices do) and InvalidOperation for a subscription or a line that is over.
    Source: billing.md 3.3, 4 and 9.2.
    """

    def alter(before: Subscription, change_id: str) -> _Altered:
        del change_id
        line = line_of(before, line_id)
        effective = _effective(before, line, at, when.effective_from)
        price, quantity = line.price, line.quantity
        if terms.price is not None:
            price = overridden(price, terms.price, before.id, effective)
        if terms.quantity is not None:
            if price.type is not PriceType.FIXED:
                raise ValidationFailed("the meter gives the quantity of usage", field="quantity")
            quantity = line_quantity(price, terms.quantity)
        return _versioned(before, line, effective, price, quantity)

    facts = ("line", line_id, terms.quantity, repr(terms.price), when.effective_from)
    return _changed(stores, usage, subscription_id, _Asked(at, when, facts), alter)


def add_line(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    request: LineRequest,
    *,
    at: datetime,
    when: When = NOW,
) -> LineChanged:
    """Add a line, from its start or now on; a fee in advance is charged for the rest of the period.

    A one-time fee comes with the next invoice that charges in advance. Raises as `line_from` does.
    Source: billing.md 9.2.
    """

    def alter(before: Subscription, change_id: str) -> _Altered:
        start = _effective(before, None, at, request.start_date or when.effective_from)
        line = line_from(before, request, start, *_added(change_id))
        return _Altered(with_line(before, line), line.id, line.start_date)

    facts = ("add", request.price.id, request.quantity, request.start_date)
    return _changed(stores, usage, subscription_id, _Asked(at, when, facts), alter)


def _added(change_id: str) -> tuple[Fact, ...]:
    """Return what the id of a line follows from that a change has added."""
    return "added", change_id


def added_line_id(subscription_id: SubscriptionId, key: str) -> SubscriptionLineId:
    """Return the id that a line gets which is added with a key, before it is."""
    facts = _added(keyed_change_id(subscription_id, key))
    return SubscriptionLineId(derived("subs_line", subscription_id, *facts))


def end_line(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    line_id: SubscriptionLineId,
    *,
    at: datetime,
    when: When = NOW,
) -> LineChanged:
    """End a line at an instant, now unless one is given; ending it there again changes nothing.

    Raises NotFound, ValidationFailed (`effective_from`) and InvalidOperation for a line that ended
    before. Source: billing.md 9.2.
    """

    def alter(before: Subscription, change_id: str) -> _Altered:
        del change_id
        line = line_of(before, line_id)
        effective = _effective(before, line, at, when.effective_from)
        return _Altered(with_end(before, line_id, effective), line.id, effective)

    facts = ("end", line_id, when.effective_from)
    return _changed(stores, usage, subscription_id, _Asked(at, when, facts), alter)


def _versioned(
    before: Subscription,
    line: SubscriptionLine,
    effective: datetime,
    price: Price,
    quantity: Decimal,
) -> _Altered:
    """Return a subscription one of whose lines ends, and is followed by a version."""
    if (price, quantity) == (line.price, line.quantity):
        return _Altered(before, line.id, effective)
    if before.status in UNCHARGED:
        return _Altered(in_place(before, line, price, quantity), line.id, effective)
    after = reprice(before, line.id, effective, price=price, quantity=quantity)
    return _Altered(after, after.lines[-1].id, effective)


def _effective(
    before: Subscription, line: SubscriptionLine | None, at: datetime, asked: datetime | None
) -> datetime:
    """Return from when a change holds: when it is asked for, in the current period or later.

    A line that has not begun changes from its beginning on. Bounds are whole seconds (billing.md 5).
    """
    wanted = (asked or at).replace(microsecond=0)
    if wanted < current_period(before, at).start:
        raise ValidationFailed("must not lie before the current period", field="effective_from")
    if before.ends_at is not None and wanted >= before.ends_at:
        raise ValidationFailed("must lie before the end", field="effective_from")
    return wanted if line is None else max(wanted, line.start_date)


def _changed(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    asked: _Asked,
    alter: _Alter,
) -> LineChanged:
    """Alter a subscription, settle what that comes to and tell of it, in one transaction."""

    def decide() -> LineChanged:
        known = stores.subscription(subscription_id)
        if known is None:
            raise NotFound(f"there is no subscription {subscription_id}")
        if known.status not in UNCHARGED:
            bring_up_to_date(stores, usage, known, asked.at)
        with stores.deciding(known.payer_id) as held:
            before = held.subscription(subscription_id) or known
            change_id = asked.change_id(before)
            done = change_of(before, change_id)
            if done is not None:
                name = (*done.opened, *(each.line_id for each in done.closed))[0]
                return LineChanged(before, line_of(before, name))
            _check_alive(before, asked.at)
            altered = alter(before, change_id)
            if altered.subscription == before:
                return LineChanged(before, line_of(before, altered.line_id))
            return _commit(held, before, altered, asked, change_id)

    return retried(decide)


def _check_alive(subscription: Subscription, at: datetime) -> None:
    """Refuse to change what is over."""
    check_changeable(subscription)
    if subscription.ends_at is not None and subscription.ends_at <= at:
        raise InvalidOperation(f"subscription {subscription.id} has ended")


def _commit(
    held: Stores,
    before: Subscription,
    altered: _Altered,
    asked: _Asked,
    change_id: str,
) -> LineChanged:
    """Settle a change, record it, and commit all of it."""
    at = asked.at
    invoices = held.invoices_of(before.id)
    settled, came, changes = None, Came(), Changes()
    decided_at = min(at, before.starts_at)
    if before.status not in UNCHARGED:
        decided_at = at
        check_up_to_date(before, invoices, at)
        settled = settle_lines(
            before,
            altered.subscription,
            invoices,
            decided_at=at,
            behavior=asked.when.behavior,
        )
        came, changes = settlement(
            held,
            altered.subscription,
            settled,
            invoices,
            at,
            change_id=change_id,
            effective_at=altered.effective_at,
        )
    after = recorded(
        before,
        replace(altered.subscription, version=before.version + 1),
        id=change_id,
        decided_at=decided_at,
        effective_at=altered.effective_at,
        netted=settled.netted() if settled else (),
    )
    told = Changes(
        subscriptions=(after,),
        outbox=(subscription_row(UPDATED, after, at),),
        wake={after.payer_id: at},
    )
    held.commit(merged(told, changes))
    line = line_of(after, altered.line_id)
    return LineChanged(after, line, settled, came.invoice, came.credit)
