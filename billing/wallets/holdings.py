"""What a wallet holds: the part of its ledger that a balance or the next write needs.

No balance is stored: it is what the live lots hold, or minus the debt (wallets-alerts.md 3).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

from billing.wallets import lots as rules
from schemas.decimals import EXACT
from schemas.ids import EntryId
from schemas.money import minor_units, total
from schemas.wallet import Consumption, Entry, Lot, Posting, Wallet


@dataclass(frozen=True, slots=True)
class Debt:
    """Credits of an overdrawn debit that no lot has covered yet."""

    entry_id: EntryId
    credits: Decimal


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the ledger says of a wallet: as much as the next write needs, whatever the history.

    `running` is the sum of its credits less its debits; `lots` are those with something remaining,
    `debts` the uncovered debits, the oldest first.
    """

    wallet: Wallet
    sequence: int = 0
    running: Decimal = Decimal(0)
    lots: tuple[Lot, ...] = ()
    debts: tuple[Debt, ...] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """What a write appends, and what the wallet holds after it.

    `base` is the sequence that the write was decided on: a store that has moved on refuses it.
    `taken` is the amount that an invoice got; `replays` names the entry that a repeated key stands
    for, and then nothing is appended.
    """

    base: int
    holdings: Holdings
    entries: tuple[Entry, ...] = ()
    lots: tuple[Lot, ...] = ()
    consumptions: tuple[Consumption, ...] = ()
    postings: tuple[Posting, ...] = ()
    taken: Decimal = Decimal(0)
    replays: EntryId | None = None


def half_up_credits(number: Fraction) -> Decimal:
    """Round a quotient once to the 9 decimals of credits, a tie away from zero.

    >>> half_up_credits(Fraction(2, 3))
    Decimal('0.666666667')
    """
    scaled = abs(number) * 10**9
    units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(units if number >= 0 else -units).scaleb(-9, EXACT)


def settled_credits(holdings: Holdings, at: datetime) -> Decimal:
    """Return the settled balance in credits at an instant: the live lots, or minus the debt.

    It equals the running sum less what remains of lots that have expired and are not written off.
    Source: wallets-alerts.md 3.
    """
    alive = total(lot.remaining for lot in holdings.lots if rules.live(lot, at))
    return EXACT.subtract(alive, total(debt.credits for debt in holdings.debts))


def value_of(wallet: Wallet, held: Decimal) -> Decimal:
    """Return what credits are worth in the wallet's currency, exact and unrounded."""
    return EXACT.multiply(held, wallet.conversion_rate)


def balance(holdings: Holdings, at: datetime) -> Decimal:
    """Return the settled balance in currency, exact and unrounded.

    >>> from datetime import UTC
    >>> from schemas.ids import CustomerId, WalletId
    >>> from schemas.wallet import WalletType
    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> wallet = Wallet(WalletId("w"), CustomerId("c"), "usd", WalletType.PRE_PAID, day)
    >>> balance(Holdings(wallet), day)
    Decimal('0')
    """
    return value_of(holdings.wallet, settled_credits(holdings, at))


def payable(holdings: Holdings, at: datetime, ended_period: datetime | None) -> Decimal:
    """Return the most that an invoice may take: what is spendable, down to whole minor units.

    The dust stays in the wallet. Source: wallets-alerts.md 2.
    """
    lots = rules.spendable(holdings.lots, at, ended_period)
    worth = value_of(holdings.wallet, total(lot.remaining for lot in lots))
    unit = Decimal(1).scaleb(-minor_units(holdings.wallet.currency))
    return worth.quantize(unit, ROUND_DOWN, context=EXACT)
