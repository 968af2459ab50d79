"""Versions: the lines of a subscription over time, and what was known of them at an instant.

A line that changes ends, and a version of its chain starts at the same instant. Every change is
recorded with the instant at which it was decided, because an invoice of a date before that must
come to the same lines however often it is drafted again (billing.md 9.2 and 15.5).
"""

from dataclasses import replace
from datetime import datetime

from schemas.errors import InvalidOperation, NotFound, ValidationFailed
from schemas.ids import SubscriptionLineId
from schemas.subscription import (
    FormerCancellation,
    FormerEnd,
    NettedPart,
    Subscription,
    SubscriptionChange,
    SubscriptionLine,
    SubscriptionStatus,
)

# In these a subscription has lines that can be changed.
CHANGEABLE = frozenset(SubscriptionStatus) - {SubscriptionStatus.CANCELLED}


def line_of(subscription: Subscription, line_id: str) -> SubscriptionLine:
    """Return a line by its id; raises NotFound where the subscription has none of it."""
    for line in subscription.lines:
        if line.id == line_id:
            return line
    raise NotFound(f"subscription {subscription.id} has no line {line_id}")


def check_changeable(subscription: Subscription) -> None:
    """Refuse to change the lines of a subscription that is over: InvalidOperation."""
    if subscription.status not in CHANGEABLE:
        raise InvalidOperation(
            f"subscription {subscription.id} is {subscription.status}, so its lines stay as they are"
        )


def with_line(subscription: Subscription, line: SubscriptionLine) -> Subscription:
    """Return a subscription with one more line; a second one of the same id is refused."""
    if any(other.id == line.id for other in subscription.lines):
        raise InvalidOperation(f"subscription {subscription.id} has line {line.id} already")
    return replace(subscription, lines=(*subscription.lines, line))


def with_end(subscription: Subscription, line_id: str, at: datetime) -> Subscription:
    """Return a subscription one of whose lines ends at an instant, which must not lie before its start.

    Raises NotFound for an unknown line, ValidationFailed (`effective_from`) for an earlier instant,
    and InvalidOperation for a line that ends earlier. Source: billing.md 9.2.
    """
    line = line_of(subscription, line_id)
    if at < line.start_date:
        raise ValidationFailed("must not lie before the start of the line", field="effective_from")
    if line.end_date is not None and line.end_date < at:
        raise InvalidOperation(f"line {line.id} has ended")
    ended = replace(line, end_date=at)
    return replace(
        subscription, lines=tuple(ended if each is line else each for each in subscription.lines)
    )


def recorded(
    before: Subscription,
    after: Subscription,
    *,
    id: str,  # noqa: A002 (the field)
    decided_at: datetime,
    effective_at: datetime,
    netted: tuple[NettedPart, ...] = (),
) -> Subscription:
    """Return what a subscription became, with the record of what was changed.

    That is the lines that were opened and those whose ends moved, and the planned cancellation that
    was there before if it is not there any more.
    """
    known = {line.id: line.end_date for line in before.lines}
    opened = tuple(line.id for line in after.lines if line.id not in known)
    closed = tuple(
        FormerEnd(line.id, known[line.id])
        for line in after.lines
        if line.id in known and known[line.id] != line.end_date
    )
    planned = before.cancelled_at
    moved = planned is not None and planned != after.cancelled_at
    dropped = FormerCancellation(planned, before.cancel_decided_at) if planned and moved else None
    change = SubscriptionChange(id, decided_at, effective_at, opened, closed, netted, dropped)
    return replace(after, changes=(*after.changes, change))


def change_of(subscription: Subscription, change_id: str) -> SubscriptionChange | None:
    """Return the change of an id, None if it was not made: repeating it repeats nothing."""
    return next((each for each in subscription.changes if each.id == change_id), None)


def opened_at(subscription: Subscription, line_id: SubscriptionLineId) -> datetime | None:
    """Return when it was decided that a line opens, None for one that came with the subscription."""
    decided = (each.decided_at for each in subscription.changes if line_id in each.opened)
    return next(decided, None)


def known_at(subscription: Subscription, at: datetime) -> Subscription:
    """Return a subscription as it was known at an instant: what was decided later is not in it.

    A cancellation is known from the instant at which it was decided, or took effect if that is not
    known. Once it has taken effect all that was decided is known, since nothing follows.
    """
    if subscription.cancelled_at is not None and subscription.cancelled_at <= at:
        return subscription
    known = subscription
    for change in reversed(subscription.changes):
        if change.decided_at > at:
            known = _without(known, change)
    decided = known.cancel_decided_at
    if known.cancelled_at is None or (decided is not None and decided <= at):
        return known
    return known if known.cancelled_at <= at else replace(known, cancelled_at=None)


def _without(subscription: Subscription, change: SubscriptionChange) -> Subscription:
    """Return a subscription as it was before a change."""
    ends = {each.line_id: each.end_date for each in change.closed}
    lines = tuple(
        replace(line, end_date=ends[line.id]) if line.id in ends else line
        for line in subscription.lines
        if line.id not in change.opened
    )
    before = replace(subscription, lines=lines)
    former = change.dropped
    if former is None:
        return before
    return replace(before, cancelled_at=former.cancelled_at, cancel_decided_at=former.decided_at)
