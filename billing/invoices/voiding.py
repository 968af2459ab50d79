"""Voiding: an invoice is taken back, and so is everything that it took (billing.md 15.5).

What came from wallets goes back where it came from, lot by lot; what was paid otherwise becomes
credits of the money-back wallet. Its number stays, and its periods are billed again only by a
recalculation (wallets-alerts.md 7).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.wallets.holdings import Holdings, Posted, half_up_credits
from billing.wallets.money_back import bring, money_back_wallet
from billing.wallets.posting import Writing, swept
from schemas.errors import InvalidOperation
from schemas.ids import LotId, WalletId, derived
from schemas.invoice import Invoice, InvoiceAction, InvoiceStatus, PaymentStatus, after
from schemas.money import LOSSLESS, allocate, total
from schemas.wallet import Consumption, Entry, Lot, Reason, WalletStatus

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class VoidRefund:
    """What a voided invoice gives back: of payments, and of credits on its lines."""

    refund: Decimal
    credits_returned: Decimal
    payment_status: PaymentStatus


@dataclass(frozen=True, slots=True)
class TakenLot:
    """What an invoice took from one lot: credits, and the amount that they were settled for."""

    wallet_id: WalletId
    reason: Reason
    lot: Lot
    credits: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Voided:
    """A voided invoice, and what came back to each wallet."""

    invoice: Invoice
    posted: tuple[Posted, ...]
    refund: VoidRefund


def void_refund(
    status: InvoiceStatus,
    payment_status: PaymentStatus,
    *,
    amount_paid: Decimal,
    credits_applied: Decimal,
    refunded: Decimal,
    carried_credit: Decimal = ZERO,
) -> VoidRefund:
    """Return what voiding gives back, and the payment status that it leaves.

    Once anything was or is returned that is REFUNDED, else unchanged. Raises InvalidOperation for
    an invoice that is void or refunded, has a payment under way, or carried a credit over.
    Source: billing.md 15.5.

    >>> found = void_refund(InvoiceStatus.FINALIZED, PaymentStatus.SUCCEEDED,
    ...     amount_paid=Decimal(30), credits_applied=Decimal(20), refunded=Decimal(0))
    >>> int(found.refund), int(found.credits_returned), found.payment_status.value
    (30, 20, 'REFUNDED')
    """
    after(status, InvoiceAction.VOID)
    if payment_status in {PaymentStatus.PROCESSING, PaymentStatus.REFUNDED}:
        raise InvalidOperation(f"an invoice whose payment is {payment_status} cannot be voided")
    if carried_credit:
        raise InvalidOperation("an invoice whose credit was carried over cannot be voided")
    refund = max(LOSSLESS.subtract(amount_paid, refunded), ZERO)
    returned = refund or credits_applied or refunded
    left = PaymentStatus.REFUNDED if returned else payment_status
    return VoidRefund(refund, credits_applied, left)


def taken_lots(
    entries: Iterable[Entry],
    consumptions: Iterable[Consumption],
    lots: Iterable[Lot],
    currency: str,
) -> tuple[TakenLot, ...]:
    """Return what an invoice took, one row a lot, in the order in which it took.

    `entries` are its debits: of reason CREDIT_ADJUSTMENT for its lines, INVOICE_PAYMENT for its
    payments. The amount that a debit was settled for is spread over its lots, so that what comes
    back sums to what the invoice counted.
    """
    known = {lot.id: lot for lot in lots}
    every = list(consumptions)
    found: dict[LotId, TakenLot] = {}
    for entry in entries:
        drawn = [part for part in every if part.entry_id == entry.id]
        amounts = allocate(entry.amount, [part.credits for part in drawn], currency)
        for part, amount in zip(drawn, amounts, strict=True):
            lot = known[part.lot_id]
            # Two tries to pay may have drawn on one lot, which comes back as one.
            row = found.get(lot.id) or TakenLot(entry.wallet_id, entry.reason, lot, ZERO, ZERO)
            found[lot.id] = replace(
                row,
                credits=LOSSLESS.add(row.credits, part.credits),
                amount=LOSSLESS.add(row.amount, amount),
            )
    return tuple(found.values())


def void(
    invoice: Invoice,
    taken: Sequence[TakenLot],
    wallets: Sequence[Holdings],
    at: datetime,
    *,
    refunded: Decimal = ZERO,
    unfinalized_end: datetime | None = None,
) -> Voided:
    """Void an invoice and return what it took from wallets, and what was paid otherwise.

    `taken` are its debits lot by lot, `wallets` all wallets of the invoiced customer, closed ones
    too, and `refunded` what was given back already: that counts against money from outside first.
    Each wallet that gets anything is one write. Raises InvalidOperation as `void_refund` does, and
    nothing is written then. Source: billing.md 15.5, wallets-alerts.md 7.
    """
    # What a draft shows is what it would take and carry over; it has done neither.
    settled = invoice.status is not InvoiceStatus.DRAFT
    decided = void_refund(
        invoice.status,
        invoice.payment_status,
        amount_paid=invoice.amount_paid,
        credits_applied=invoice.total_prepaid_credits_applied if settled else ZERO,
        refunded=refunded,
        carried_credit=invoice.carried_credit if settled else ZERO,
    )
    on_lines = [part for part in taken if part.reason is Reason.CREDIT_ADJUSTMENT]
    paying = [part for part in taken if part.reason is Reason.INVOICE_PAYMENT]
    by_wallets = total(part.amount for part in paying)
    assert total(part.amount for part in on_lines) == decided.credits_returned, "credits on lines"
    assert by_wallets <= invoice.amount_paid, "wallets paid no more than was paid"
    rates = {held.wallet.id: held.wallet.conversion_rate for held in wallets}
    giving = _Giving(invoice, wallets, at, unfinalized_end)
    for part in (*on_lines, *_up_to(min(decided.refund, by_wallets), paying, rates)):
        giving.give_lot(part)
    giving.give_money(LOSSLESS.subtract(decided.refund, min(decided.refund, by_wallets)))
    changed = replace(
        invoice,
        status=after(invoice.status, InvoiceAction.VOID),
        payment_status=decided.payment_status,
        refunded_amount=LOSSLESS.add(refunded, decided.refund),
        voided_at=at,
        version=invoice.version + 1,
    )
    return Voided(changed, giving.posted(), decided)


def _up_to(
    amount: Decimal, parts: Sequence[TakenLot], rates: Mapping[WalletId, Decimal]
) -> Iterator[TakenLot]:
    """Yield the lots that make up an amount, in the order in which they were taken.

    That is all of them, unless a part of what wallets paid was refunded before.
    """
    for part in parts:
        given = min(part.amount, amount)
        amount = LOSSLESS.subtract(amount, given)
        if given == part.amount:
            yield part
        elif given > 0:
            worth = half_up_credits(Fraction(given) / Fraction(rates[part.wallet_id]))
            yield replace(part, credits=min(worth, part.credits), amount=given)


class _Giving:
    """The writes of a void while they are decided: one for each wallet that gets anything."""

    def __init__(
        self,
        invoice: Invoice,
        wallets: Sequence[Holdings],
        at: datetime,
        unfinalized_end: datetime | None,
    ) -> None:
        self._invoice = invoice
        self._wallets = wallets
        self._at = at
        self._unfinalized_end = unfinalized_end
        self._writings: dict[WalletId, Writing] = {}

    def give_lot(self, part: TakenLot) -> None:
        """Give back what came from a lot, to its wallet or, if that is closed, as the same value.

        An expiry that has passed does not come back.
        """
        source = next(held for held in self._wallets if held.wallet.id == part.wallet_id)
        moved = part.credits
        if source.wallet.wallet_status is WalletStatus.CLOSED:
            writing = self._money_back()
            value = Fraction(moved) * Fraction(source.wallet.conversion_rate)
            moved = half_up_credits(value / Fraction(writing.holdings.wallet.conversion_rate))
        else:
            writing = self._writing(source)
        expires = part.lot.expires_at
        bring(
            writing,
            part.amount,
            key=derived("key", "void", self._invoice.id, part.lot.id),
            reason=Reason.INVOICE_VOID_REFUND,
            reference_id=self._invoice.id,
            moved=moved,
            priority=part.lot.priority,
            expires_at=expires if expires is not None and self._at < expires else None,
        )

    def give_money(self, amount: Decimal) -> None:
        """Give back money that came from outside, as one lot without expiry."""
        if amount > 0:
            bring(
                self._money_back(),
                amount,
                key=derived("key", "void", self._invoice.id, "money"),
                reason=Reason.INVOICE_VOID_REFUND,
                reference_id=self._invoice.id,
            )

    def posted(self) -> tuple[Posted, ...]:
        """Return the writes, in the order of their wallets, which is that of locking."""
        return tuple(self._writings[name].posted() for name in sorted(self._writings))

    def _money_back(self) -> Writing:
        """Return the write of the money-back wallet, which is opened if there is none."""
        invoice = self._invoice
        return self._writing(
            money_back_wallet(self._wallets, invoice.customer_id, invoice.currency, self._at)
        )

    def _writing(self, held: Holdings) -> Writing:
        """Return the one write of a wallet."""
        name = held.wallet.id
        if name not in self._writings:
            self._writings[name] = swept(held, self._at, self._unfinalized_end)
        return self._writings[name]
