"""One-off invoices: made once for a key, their coupons redeemed, finalized at once unless asked."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from billing.invoices.coupons import redeem
from billing.invoices.one_off import (
    OneOffRequest,
    check_one_off,
    coupons_of,
    keyed_id,
    one_off,
    one_off_id,
    same_content,
)
from billing.ports import Changes, FirstAnswer, Redemption, Stores
from billing.use_cases.finalizing import finalized
from billing.use_cases.payments import recorded
from billing.use_cases.transactions import merged
from schemas.errors import AlreadyExists, NotFound
from schemas.ids import InvoiceId
from schemas.invoice import Invoice

INVOICES = "invoices"


@dataclass(frozen=True, slots=True)
class MadeInvoice:
    """An invoice that was asked for; `answer` is what the first request with its key was answered."""

    invoice: Invoice
    answer: str | None = None
    is_replay: bool = False


def create_one_off(stores: Stores, request: OneOffRequest, at: datetime) -> Invoice:
    """Make an invoice that is asked for, as `make_one_off` does, and return it as it is now."""
    return make_one_off(stores, request, at).invoice


def make_one_off(
    stores: Stores,
    request: OneOffRequest,
    at: datetime,
    *,
    answering: Callable[[Invoice], str] | None = None,
) -> MadeInvoice:
    """Make an invoice that is asked for, and finalize it at once unless a draft is asked for.

    A repeated key gives the invoice that it stands for; with other content it raises AlreadyExists.
    What `answering` makes of a new one is kept with its key, and given again. Each coupon is
    redeemed once, and what was paid already is recorded. Raises ValidationFailed naming the field,
    NotFound for the customer. Source: billing.md 13, 14 and 15.5.
    """
    check_one_off(request)
    key = request.idempotency_key
    with stores.deciding(request.customer_id) as held:
        if held.customer(request.customer_id) is None:
            raise NotFound(f"there is no customer {request.customer_id}")
        number = len(held.invoices_for(request.customer_id)) if key is None else 0
        name = one_off_id(request, at, number)
        known = held.invoice(name)
        if known is not None:
            if not same_content(known, request):
                raise _reused(key)
            answer = None if key is None else held.answer_of(INVOICES, key)
            return MadeInvoice(known, answer, is_replay=True)
        invoice = _made(held, request, name, at)
        answer = None if answering is None else answering(invoice)
        if key is not None and answer is not None:
            held.commit(Changes(answers=(FirstAnswer(INVOICES, key, answer, at),)))
        return MadeInvoice(invoice, answer)


def replay_of(stores: Stores, key: str, content: str) -> MadeInvoice | None:
    """Return what a key stands for already, None if nothing; whatever has become of what it named.

    Raises AlreadyExists where it came with other content.
    """
    known = stores.invoice(keyed_id(key))
    if known is None:
        return None
    if known.content != content:
        raise _reused(key)
    return MadeInvoice(known, stores.answer_of(INVOICES, key), is_replay=True)


def _reused(key: str | None) -> AlreadyExists:
    return AlreadyExists(
        f"idempotency key {key!r} was used for another invoice",
        field="idempotency_key",
        reason="idempotency_key_reused",
    )


def _made(held: Stores, request: OneOffRequest, name: InvoiceId, at: datetime) -> Invoice:
    """Make, and commit, an invoice that is new."""
    draft = one_off(
        request,
        name,
        at,
        wallets=held.wallets_of(request.customer_id),
        tax_base=held.config().tax_base,
    )
    redeemed = Changes(redemptions=_redeemed(held, request, name, at))
    if request.draft:
        held.commit(merged(redeemed, Changes(invoices=(draft,))))
        return draft
    invoice, changes = finalized(held, draft, at, due_at=request.due_date)
    held.commit(merged(redeemed, changes))
    if request.payment_status is None:
        return invoice
    return recorded(held, invoice, request.payment_status, at, amount=request.amount_paid)


def _redeemed(
    held: Stores, request: OneOffRequest, name: InvoiceId, at: datetime
) -> tuple[Redemption, ...]:
    """Return the redemptions of an invoice's coupons; raises ValidationFailed as `redeem` does."""
    for coupon in coupons_of(request):
        redeem(coupon, held.redeemed_by(coupon.id), name, at)
    return tuple(Redemption(coupon.id, name, at) for coupon in coupons_of(request))
