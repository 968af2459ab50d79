"""Settlement: what wallets give for an invoice, in one order and by one function.

Prepaid credits go onto lines, tax is added, wallets pay what is due. Finalization, previews, drafts
and the ongoing balance all call this, so they agree (wallets-alerts.md 7). Nothing is written here:
the takes say what `billing.wallets.ledger.take` would be asked for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.invoices.payments import Payment, PaymentState, paid_state
from billing.wallets.holdings import Holdings, payable
from schemas.invoice import PaymentStatus
from schemas.money import LOSSLESS, total
from schemas.price import PriceType
from schemas.wallet import AllowedType, Wallet, WalletStatus, WalletType

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class NetLine:
    """A line as a settlement sees it: its type, and its amount less line and invoice discounts."""

    price_type: PriceType
    net: Decimal


@dataclass(frozen=True, slots=True)
class Take:
    """What one wallet gives."""

    wallet_id: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Prepaid:
    """Prepaid credits: how much on each line from which wallets, and the sum of each wallet."""

    lines: tuple[tuple[Take, ...], ...]
    takes: tuple[Take, ...]

    def on_line(self, index: int) -> Decimal:
        """Return the credits on one line."""
        return total(take.amount for take in self.lines[index])

    @property
    def total(self) -> Decimal:
        """Return the credits on all lines, which is what the wallets give."""
        return total(take.amount for take in self.takes)


@dataclass(frozen=True, slots=True)
class Due:
    """What is still to be paid of an invoice, by type of line and of tax."""

    usage: Decimal
    fixed: Decimal
    tax: Decimal

    @property
    def total(self) -> Decimal:
        """Return everything that is due."""
        return total((self.usage, self.fixed, self.tax))

    def less(self, paid: Decimal) -> "Due":
        """Return what is due after a payment, which counts against usage, then fixed, then tax.

        >>> Due(Decimal(5), Decimal(3), Decimal(1)).less(Decimal(6)).fixed
        Decimal('2')
        """
        left = []
        for part in (self.usage, self.fixed, self.tax):
            counted = min(part, paid)
            left.append(LOSSLESS.subtract(part, counted))
            paid = LOSSLESS.subtract(paid, counted)
        return Due(*left)

    def allowed(self, wallet: Wallet) -> Decimal:
        """Return what a wallet may pay: its types, and tax only where it allows all of them."""
        match scope(wallet):
            case AllowedType.USAGE:
                return self.usage
            case AllowedType.FIXED:
                return self.fixed
            case _:
                return self.total

    def bound(self, wallet: Wallet, paid: Decimal) -> "Due":
        """Return what is due after a wallet paid: bound to its type if it has one."""
        match scope(wallet):
            case AllowedType.USAGE:
                return Due(LOSSLESS.subtract(self.usage, paid), self.fixed, self.tax)
            case AllowedType.FIXED:
                return Due(self.usage, LOSSLESS.subtract(self.fixed, paid), self.tax)
            case _:
                return self.less(paid)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What finalizing an invoice takes from wallets, and what remains of it."""

    prepaid: Prepaid
    net: Decimal
    total: Decimal
    carried_credit: Decimal
    payments: tuple[Take, ...]
    amount_paid: Decimal
    amount_remaining: Decimal
    payment_status: PaymentStatus


def scope(wallet: Wallet) -> AllowedType:
    """Return the one type that a wallet is narrowed to, ALL for any other list.

    >>> from datetime import UTC
    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> both = (AllowedType.USAGE, AllowedType.FIXED)
    >>> scope(Wallet("w", "c", "usd", WalletType.PRE_PAID, day, allowed_price_types=both)).value
    'ALL'
    """
    types = wallet.allowed_price_types
    return types[0] if types and all(each is types[0] for each in types) else AllowedType.ALL


def covers(wallet: Wallet, price_type: PriceType) -> bool:
    """Tell whether the credits of a wallet may go onto a line of a type."""
    only = scope(wallet)
    return only is AllowedType.ALL or only.value == price_type.value


def in_order(wallets: Iterable[Holdings]) -> list[Holdings]:
    """Return wallets as a settlement asks them: narrow ones first, then priority, age, id."""
    narrowness = (AllowedType.USAGE, AllowedType.FIXED, AllowedType.ALL)

    def order(held: Holdings) -> tuple[int, bool, int, datetime, str]:
        wallet = held.wallet
        rank = narrowness.index(scope(wallet))
        no_priority = wallet.priority is None
        return rank, no_priority, wallet.priority or 0, wallet.created_at, wallet.id

    return sorted(wallets, key=order)


def taking_part(
    wallets: Iterable[Holdings], wallet_type: WalletType, currency: str
) -> list[Holdings]:
    """Return the active wallets of a type and currency, in order; all others take no part."""
    return in_order(
        held
        for held in wallets
        if held.wallet.wallet_type is wallet_type
        and held.wallet.currency.lower() == currency.lower()
        and held.wallet.wallet_status is WalletStatus.ACTIVE
    )


def net_of(lines: Iterable[NetLine], price_type: PriceType | None = None) -> Decimal:
    """Return the sum of the nets, of all lines or of those of one type."""
    return total(line.net for line in lines if price_type in (None, line.price_type))


def prepaid_credits(
    lines: Sequence[NetLine],
    wallets: Iterable[Holdings],
    at: datetime,
    *,
    currency: str,
    period_end: datetime | None = None,
) -> Prepaid:
    """Put prepaid credits onto lines: in stored order, from wallets in order, never pro rata.

    A line takes no more than its net, all lines together no more than the sum of all nets; lines
    of 0 or less take nothing. Source: wallets-alerts.md 7 step 1.
    """
    purses = taking_part(wallets, WalletType.PRE_PAID, currency)
    left = {held.wallet.id: payable(held, at, period_end) for held in purses}
    budget = max(net_of(lines), ZERO)
    on_lines = []
    for line in lines:
        open_net, parts = max(line.net, ZERO), []
        for held in purses:
            name = held.wallet.id
            part = (
                min(open_net, left[name], budget) if covers(held.wallet, line.price_type) else ZERO
            )
            if part <= 0:
                continue
            parts.append(Take(name, part))
            open_net = LOSSLESS.subtract(open_net, part)
            left[name] = LOSSLESS.subtract(left[name], part)
            budget = LOSSLESS.subtract(budget, part)
        on_lines.append(tuple(parts))
    return Prepaid(tuple(on_lines), _by_wallet(purses, on_lines))


def _by_wallet(purses: Sequence[Holdings], lines: Sequence[Sequence[Take]]) -> tuple[Take, ...]:
    """Return one take for each wallet that gives anything, in their order."""
    names = [held.wallet.id for held in purses]
    sums = {
        name: total(take.amount for parts in lines for take in parts if take.wallet_id == name)
        for name in names
    }
    return tuple(Take(name, sums[name]) for name in names if sums[name])


def due_of(
    lines: Sequence[NetLine], credits_on: Sequence[Decimal], tax: Decimal, paid: Decimal = ZERO
) -> Due:
    """Return what is due of an invoice, by type, after the credits on its lines and payments.

    Each type is at least 0, so the parts may exceed what remains of an invoice with a negative
    line: who pays is limited by both. Source: wallets-alerts.md 7 step 3.
    """

    def rest(price_type: PriceType) -> Decimal:
        used = total(
            given
            for line, given in zip(lines, credits_on, strict=True)
            if line.price_type is price_type
        )
        return LOSSLESS.subtract(net_of(lines, price_type), used)

    usage, fixed = rest(PriceType.USAGE), rest(PriceType.FIXED)
    return Due(max(usage, ZERO), max(fixed, ZERO), tax).less(paid)


def settle_invoice(
    lines: Sequence[NetLine],
    wallets: Sequence[Holdings],
    at: datetime,
    *,
    currency: str,
    period_end: datetime | None = None,
    tax: Decimal = ZERO,
    amount_paid: Decimal = ZERO,
    prepaid: Prepaid | None = None,
) -> Settlement:
    """Settle an invoice at the instant of its finalization. It never fails because of a wallet.

    `prepaid` is what `prepaid_credits` gave for the same arguments, where the caller has asked.
    Source: wallets-alerts.md 7. Invoices of type CREDIT are not settled: pass no wallets.
    """
    if prepaid is None:
        prepaid = prepaid_credits(lines, wallets, at, currency=currency, period_end=period_end)
    net = net_of(lines)
    after_credits = LOSSLESS.subtract(net, prepaid.total)
    owed = LOSSLESS.add(max(after_credits, ZERO), tax)
    remaining = max(LOSSLESS.subtract(owed, amount_paid), ZERO)
    credits_on = [prepaid.on_line(index) for index in range(len(lines))]
    due = due_of(lines, credits_on, tax, amount_paid)
    payments = []
    for held in taking_part(wallets, WalletType.POST_PAID, currency):
        part = min(due.allowed(held.wallet), remaining, payable(held, at, period_end))
        if part <= 0:
            continue
        payments.append(Take(held.wallet.id, part))
        remaining = LOSSLESS.subtract(remaining, part)
        due = due.bound(held.wallet, part)
    paid = LOSSLESS.add(amount_paid, total(take.amount for take in payments))
    state = paid_state(owed, [Payment(paid, PaymentState.SUCCEEDED)])
    return Settlement(
        prepaid=prepaid,
        net=net,
        total=owed,
        carried_credit=max(LOSSLESS.minus(after_credits), ZERO),
        payments=tuple(payments),
        amount_paid=paid,
        amount_remaining=state.amount_remaining,
        payment_status=state.payment_status,
    )
