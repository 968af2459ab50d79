"""Lots: which credits there are at an instant, and in which order they are spent.

Nothing here reads a clock: a lot is live, claimable or expired at the instant that is passed in
(wallets-alerts.md 6).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from schemas.decimals import EXACT
from schemas.money import total
from schemas.wallet import PURCHASED, Lot

# Credits carry at most 9 decimals (wallets-alerts.md 2).
CREDIT_SCALE = Decimal(1).scaleb(-9)


@dataclass(frozen=True, slots=True)
class Draw:
    """So many credits out of one lot."""

    lot: Lot
    credits: Decimal


def credits_of(number: Decimal) -> Decimal:
    """Round to the 9 decimals that credits carry, a tie away from zero.

    >>> credits_of(Decimal("0.0000000005"))
    Decimal('1E-9')
    """
    return number.quantize(CREDIT_SCALE, ROUND_HALF_UP, context=EXACT)


def live(lot: Lot, at: datetime) -> bool:
    """Tell whether the lot is in the settled balance: something remains and it has not expired.

    It is out of the balance from the instant of its expiry on.
    """
    return lot.remaining > 0 and (lot.expires_at is None or at < lot.expires_at)


def expired(lot: Lot, at: datetime) -> bool:
    """Tell whether the lot has expired with something remaining, so that an expiry is due."""
    return lot.remaining > 0 and lot.expires_at is not None and lot.expires_at <= at


def claimable(lot: Lot, at: datetime, unfinalized_end: datetime | None) -> bool:
    """Tell whether an expired lot may still pay for a period that ended before it expired.

    `unfinalized_end` is the earliest end of a period of the customer and currency that has ended
    and is not finalized, None if there is none.
    """
    return (
        unfinalized_end is not None
        and expired(lot, at)
        and lot.expires_at is not None
        and lot.expires_at >= unfinalized_end
    )


def spending_order(lot: Lot) -> tuple[bool, int, bool, datetime, datetime, str]:
    """Return the key by which a debit takes lots: priority, expiry, creation, id; absent last."""
    return (
        lot.priority is None,
        lot.priority or 0,
        lot.expires_at is None,
        lot.expires_at or lot.created_at,
        lot.created_at,
        lot.id,
    )


def expiry_order(lot: Lot) -> tuple[datetime, datetime, str]:
    """Return the key by which expiries are written: expiry, creation, id."""
    assert lot.expires_at is not None
    return lot.expires_at, lot.created_at, lot.id


def spendable(
    lots: Iterable[Lot], at: datetime, ended_period: datetime | None = None
) -> tuple[Lot, ...]:
    """Return what an invoice may take from at `at`, in the order in which it takes.

    Live lots, and for a service period that has ended at `ended_period` also lots that lived to
    its end. A period end in the future claims nothing.
    """
    end = ended_period if ended_period is not None and ended_period <= at else None
    eligible = (lot for lot in lots if live(lot, at) or claimable(lot, at, end))
    return tuple(sorted(eligible, key=spending_order))


def draw(lots: Sequence[Lot], wanted: Decimal) -> tuple[tuple[Draw, ...], Decimal]:
    """Take credits from lots in their order; return the draws and what no lot covered.

    >>> from datetime import UTC
    >>> from schemas.wallet import EntryId, LotId, Reason
    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> lot = Lot(LotId("a"), EntryId("e"), Decimal(5), Decimal(5), Reason.CREDIT_NOTE, day)
    >>> taken, uncovered = draw([lot], Decimal(7))
    >>> taken[0].credits, uncovered
    (Decimal('5'), Decimal('2'))
    """
    taken = []
    for lot in lots:
        if wanted <= 0:
            break
        part = min(lot.remaining, wanted)
        taken.append(Draw(lot, part))
        wanted = EXACT.subtract(wanted, part)
    return tuple(taken), wanted


def drained(lots: Iterable[Lot], draws: Iterable[Draw]) -> tuple[Lot, ...]:
    """Return the lots as they are after the draws; lots that nothing remains of are left out."""
    taken = {part.lot.id: part.credits for part in draws}
    after = (
        replace(lot, remaining=EXACT.subtract(lot.remaining, taken[lot.id]))
        if lot.id in taken
        else lot
        for lot in lots
    )
    return tuple(lot for lot in after if lot.remaining > 0)


def purchased_and_free(lots: Iterable[Lot], at: datetime) -> tuple[Decimal, Decimal]:
    """Return the live credits that were bought, and those that were given."""
    alive = [lot for lot in lots if live(lot, at)]
    return (
        total(lot.remaining for lot in alive if lot.reason in PURCHASED),
        total(lot.remaining for lot in alive if lot.reason not in PURCHASED),
    )
