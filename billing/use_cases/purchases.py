"""Purchases: credits that are bought by an invoice and come when it is paid (wallets-alerts.md 8)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.one_off import OneOffLine, OneOffRequest, one_off
from billing.ports import Changes, FirstAnswer, Stores
from billing.use_cases import telling
from billing.use_cases.finalizing import finalized
from billing.use_cases.paid import is_paid
from billing.use_cases.payments import applied
from billing.wallets.ledger import TopUp, bought, noted, unusable
from schemas.decimals import EXACT, plain
from schemas.errors import AlreadyExists, NotFound, ValidationFailed
from schemas.ids import InvoiceId, PaymentId, WalletId, derived
from schemas.invoice import Invoice, InvoiceKind, InvoiceType
from schemas.money import settle
from schemas.payment import InvoicePayment, PaymentMethod, PaymentState
from schemas.purchase import Purchase, PurchaseId
from schemas.tax import TaxAttachment
from schemas.wallet import Reason, Wallet, WalletStatus


@dataclass(frozen=True, slots=True)
class Bought:
    """A purchase with the invoice that pays it, and what its request was answered first."""

    purchase: Purchase
    invoice: Invoice
    answer: str | None = None
    is_replay: bool = field(default=False, compare=False)


# Ledger entries and purchases share one space of idempotency keys (platform.md 6).
WALLET_TRANSACTIONS = "wallet_transactions"


def buy_credits(
    stores: Stores,
    wallet_id: WalletId,
    request: TopUp,
    at: datetime,
    *,
    taxes: Sequence[TaxAttachment] = (),
    answering: Callable[[Stores, Bought], str] | None = None,
) -> Bought:
    """Make a pending purchase and the invoice of type CREDIT that pays it, or replay a repeated key.

    With the setting for it the invoice is paid at once and the credits are there. `taxes` are those
    of the customer; what `answering` makes of it is kept with a key, and given again. Raises
    ValidationFailed, AlreadyExists, NotFound and InvalidOperation in the order of wallets-alerts.md 5.
    Source: wallets-alerts.md 8.
    """
    if request.reason is not Reason.PURCHASED_CREDIT_INVOICED:
        raise ValidationFailed(f"{request.reason} is no purchase", field="transaction_reason")
    known = stores.holdings(wallet_id)
    if known is None:
        raise NotFound(f"there is no wallet {wallet_id}")
    with stores.deciding(known.wallet.customer_id) as held:
        into = held.holdings(wallet_id)
        assert into is not None, "a wallet stays"
        wallet = into.wallet
        added = bought(wallet, request)
        content = _content(wallet_id, added, request)
        replayed = _replayed(held, request.idempotency_key, content)
        if replayed is not None:
            return replayed
        if request.expires_at is not None and request.expires_at <= at:
            raise ValidationFailed(
                "the credits would have expired already", field="expiry_date_utc"
            )
        if wallet.wallet_status is WalletStatus.CLOSED:
            raise unusable(wallet)
        purchase = _purchase(held, wallet, request, at, added=added, content=content)
        draft = _draft(held, purchase, wallet, taxes, at)
        held.commit(
            Changes(
                purchases=(purchase,),
                invoices=(draft,),
                outbox=(telling.of_purchase(purchase, at),),
            )
        )
        # With the purchase there, what makes the invoice paid completes it.
        invoice, changes = finalized(held, draft, at)
        held.commit(changes)
        if held.config().auto_complete_purchases and not is_paid(invoice):
            invoice, changes = applied(held, invoice, _payment(invoice, at), at, was=None)
            held.commit(changes)
        (purchase,) = held.purchases_for(invoice.id)
        return _answered(held, Bought(purchase, invoice), at, answering)


def _answered(
    held: Stores, made: Bought, at: datetime, answering: Callable[[Stores, Bought], str] | None
) -> Bought:
    """Keep what a request with a key is answered."""
    if answering is None:
        return made
    told = replace(made, answer=answering(held, made))
    key = made.purchase.idempotency_key
    if key is not None and told.answer is not None:
        held.commit(Changes(answers=(FirstAnswer(WALLET_TRANSACTIONS, key, told.answer, at),)))
    return told


def _content(wallet_id: WalletId, added: Decimal, request: TopUp) -> str:
    """Return a name for what a request asks for, to tell a repeat from another one."""
    facts = (request.priority, request.expires_at, request.description, *noted(request.metadata))
    return derived("content", "purchase", wallet_id, added, *facts)


def _replayed(held: Stores, key: str | None, content: str) -> Bought | None:
    """Return what a repeated key stands for; one with other content is refused."""
    if key is None:
        return None
    recorded = held.purchase_of(key)
    # A purchase that is completed has an entry with the same key.
    other = held.entry_of(key) is not None if recorded is None else recorded.content != content
    if other:
        raise AlreadyExists(
            f"idempotency key {key!r} was used for another request", field="idempotency_key"
        )
    if recorded is None:
        return None
    invoice = held.invoice(recorded.invoice_id)
    assert invoice is not None, "a purchase has an invoice"
    answer = held.answer_of(WALLET_TRANSACTIONS, key)
    return Bought(recorded, invoice, answer, is_replay=True)


def _purchase(
    held: Stores, wallet: Wallet, request: TopUp, at: datetime, *, added: Decimal, content: str
) -> Purchase:
    """Return a new purchase; its id follows from its key, else from how many there are."""
    key = request.idempotency_key
    number = len(held.invoices_for(wallet.customer_id)) if key is None else None
    name = derived("wtxn", "purchase", wallet.id, key, None if key else at, number)
    return Purchase(
        id=PurchaseId(name),
        wallet_id=wallet.id,
        customer_id=wallet.customer_id,
        invoice_id=InvoiceId(derived("inv", "purchase", name)),
        credits=added,
        created_at=at,
        priority=request.priority,
        expires_at=request.expires_at,
        description=request.description,
        idempotency_key=key,
        content=content,
        metadata=request.metadata,
        created_by=request.created_by,
    )


def _draft(
    held: Stores,
    purchase: Purchase,
    wallet: Wallet,
    taxes: Sequence[TaxAttachment],
    at: datetime,
) -> Invoice:
    """Return the invoice of a purchase: one line, priced by the rate for top-ups."""
    price = settle(EXACT.multiply(purchase.credits, wallet.topup_conversion_rate), wallet.currency)
    request = OneOffRequest(
        customer_id=purchase.customer_id,
        currency=wallet.currency,
        lines=(OneOffLine(price, f"Purchase {plain(purchase.credits)} Credits"),),
        invoice_type=InvoiceType.CREDIT,
        taxes=tuple(taxes),
    )
    return one_off(
        request,
        purchase.invoice_id,
        at,
        kind=InvoiceKind.PURCHASE,
        tax_base=held.config().tax_base,
    )


def _payment(invoice: Invoice, at: datetime) -> InvoicePayment:
    """Return the payment of an invoice that counts as paid by a setting."""
    return InvoicePayment(
        id=PaymentId(derived("pay", "completed", invoice.id)),
        invoice_id=invoice.id,
        method=PaymentMethod.OFFLINE,
        amount=invoice.amount_remaining,
        currency=invoice.currency,
        created_at=at,
        state=PaymentState.SUCCEEDED,
        attempts=1,
        succeeded_at=at,
    )
