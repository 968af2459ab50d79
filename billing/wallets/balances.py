"""The ongoing balance: what a wallet holds, less what is used or owed and not taken yet.

It may be negative. Settling the claims at the same instant leaves exactly it in the wallet, within
one minor unit, because the same settlement is run on a copy of the lots (wallets-alerts.md 9).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.wallets import lots as rules
from billing.wallets.holdings import (
    Holdings,
    balance,
    half_up_credits,
    payable,
    settled_credits,
    value_of,
)
from billing.wallets.settlement import Due, NetLine, covers, due_of, net_of, prepaid_credits
from schemas.money import LOSSLESS, total
from schemas.price import PriceType
from schemas.wallet import WalletStatus, WalletType

ZERO = Decimal(0)


class ClaimState(StrEnum):
    """How far a claim on wallets has come; claims are settled in this order."""

    FINALIZED = "finalized"
    DRAFT = "draft"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Claim:
    """A period or invoice that will ask wallets for money.

    `lines` are those of the preview at the instant, each with the prepaid credits that a finalized
    invoice has on it already. Of an open claim only usage lines count, and no tax.
    """

    state: ClaimState
    currency: str
    period_end: datetime | None
    lines: tuple[NetLine, ...]
    credits_applied: tuple[Decimal, ...] = ()
    tax: Decimal = ZERO
    amount_paid: Decimal = ZERO
    subscription_id: str = ""
    invoice_id: str = ""

    def asking(self) -> tuple[NetLine, ...]:
        """Return the lines that ask for money now."""
        if self.state is not ClaimState.OPEN:
            return self.lines
        return tuple(line for line in self.lines if line.price_type is PriceType.USAGE)


@dataclass(frozen=True, slots=True)
class Ongoing:
    """The balances of one wallet at an instant, in currency but for the credits."""

    wallet_id: str
    credit_balance: Decimal = ZERO
    balance: Decimal = ZERO
    current_period_usage: Decimal = ZERO
    unpaid_invoices_amount: Decimal = ZERO
    real_time_balance: Decimal = ZERO
    real_time_credit_balance: Decimal = ZERO


@dataclass
class _Purse:
    """A copy of a wallet's lots that claims are settled on, and what was asked of it so far."""

    held: Holdings
    current: Decimal = ZERO
    unpaid: Decimal = ZERO
    from_claimable: Decimal = ZERO

    def spend(self, amount: Decimal, at: datetime, period_end: datetime | None) -> Decimal:
        """Take at most an amount from the copy; return what was taken."""
        taken = min(amount, payable(self.held, at, period_end))
        if taken <= 0:
            return ZERO
        wallet = self.held.wallet
        wanted = half_up_credits(Fraction(taken) / Fraction(wallet.conversion_rate))
        draws, _ = rules.draw(rules.spendable(self.held.lots, at, period_end), wanted)
        dead = [part.credits for part in draws if not rules.live(part.lot, at)]
        self.from_claimable = LOSSLESS.add(self.from_claimable, value_of(wallet, total(dead)))
        self.held = replace(self.held, lots=rules.drained(self.held.lots, draws))
        return taken


def claim_order(claim: Claim) -> tuple[int, bool, datetime, str, str]:
    """Return the order of claims: finalized, drafts, open; each by period end, absent last."""
    rank = list(ClaimState).index(claim.state)
    # What stands in for an absent end is only compared with itself: absent was told apart before.
    end = claim.period_end or datetime.max.replace(tzinfo=UTC)
    return rank, claim.period_end is None, end, claim.subscription_id, claim.invoice_id


def ongoing_balances(
    wallets: Sequence[Holdings], claims: Iterable[Claim], at: datetime
) -> tuple[Ongoing, ...]:
    """Return the balances of a customer's wallets at an instant, in the order given.

    `claims` are those of the customer, in any order and any currency. A closed wallet answers 0 for
    all, a frozen one is asked for nothing. Source: wallets-alerts.md 9.
    """
    purses = {held.wallet.id: _Purse(held) for held in wallets}
    active = [
        purse for purse in purses.values() if purse.held.wallet.wallet_status is WalletStatus.ACTIVE
    ]
    for claim in sorted(claims, key=claim_order):
        _ask([purse for purse in active if _same(purse, claim)], claim, at)
    return tuple(_answer(purses[held.wallet.id], held, at) for held in wallets)


def _same(purse: _Purse, claim: Claim) -> bool:
    return purse.held.wallet.currency.lower() == claim.currency.lower()


def _ask(purses: Sequence[_Purse], claim: Claim, at: datetime) -> None:
    """Settle one claim on the copies: prepaid credits on lines, then payments of what is due."""
    lines = claim.asking()
    if claim.state is ClaimState.FINALIZED:
        credits_on = claim.credits_applied or (ZERO,) * len(lines)
        due = due_of(lines, credits_on, claim.tax, claim.amount_paid)
        used = LOSSLESS.add(total(credits_on), claim.amount_paid)
        remaining = LOSSLESS.subtract(LOSSLESS.add(net_of(lines), claim.tax), used)
        _ask_postpaid(purses, due, remaining, claim, at)
        return
    end = claim.period_end if claim.state is ClaimState.DRAFT else None
    prepaid = [purse for purse in purses if purse.held.wallet.wallet_type is WalletType.PRE_PAID]
    given = prepaid_credits(
        lines, [purse.held for purse in prepaid], at, currency=claim.currency, period_end=end
    )
    takes = {take.wallet_id: take.amount for take in given.takes}
    for purse in prepaid:
        purse.current = LOSSLESS.add(purse.current, _asked(purse, lines))
        purse.spend(takes.get(purse.held.wallet.id, ZERO), at, end)
    tax = claim.tax if claim.state is ClaimState.DRAFT else ZERO
    due = due_of(lines, [given.on_line(index) for index in range(len(lines))], tax)
    rest = max(LOSSLESS.subtract(net_of(lines), given.total), ZERO)
    _ask_postpaid(purses, due, LOSSLESS.add(rest, tax), claim, at)


def _asked(purse: _Purse, lines: Sequence[NetLine]) -> Decimal:
    """Return what a prepaid wallet is asked for: the lines it covers, at most their sum of all."""
    wallet = purse.held.wallet
    asked = total(max(line.net, ZERO) for line in lines if covers(wallet, line.price_type))
    return min(asked, max(net_of(lines), ZERO))


def _ask_postpaid(
    purses: Sequence[_Purse], due: Due, remaining: Decimal, claim: Claim, at: datetime
) -> None:
    """Ask the postpaid wallets for what is due of a claim, within what they may pay."""
    end = claim.period_end if claim.state is ClaimState.DRAFT else None
    for purse in purses:
        wallet = purse.held.wallet
        if wallet.wallet_type is not WalletType.POST_PAID:
            continue
        asked = max(min(due.allowed(wallet), remaining), ZERO)
        if claim.state is ClaimState.FINALIZED:
            purse.unpaid = LOSSLESS.add(purse.unpaid, asked)
        else:
            purse.current = LOSSLESS.add(purse.current, asked)
        taken = purse.spend(asked, at, end)
        remaining = LOSSLESS.subtract(remaining, taken)
        due = due.bound(wallet, taken)


def _answer(purse: _Purse, held: Holdings, at: datetime) -> Ongoing:
    """Return the balances of a wallet once all claims were asked."""
    wallet = held.wallet
    if wallet.wallet_status is WalletStatus.CLOSED:
        return Ongoing(wallet.id)
    current = LOSSLESS.subtract(purse.current, purse.from_claimable)
    settled = balance(held, at)
    real = LOSSLESS.subtract(LOSSLESS.subtract(settled, current), purse.unpaid)
    return Ongoing(
        wallet_id=wallet.id,
        credit_balance=settled_credits(held, at),
        balance=settled,
        current_period_usage=current,
        unpaid_invoices_amount=purse.unpaid,
        real_time_balance=real,
        real_time_credit_balance=half_up_credits(Fraction(real) / Fraction(wallet.conversion_rate)),
    )
