"""One-off invoices: made once for a key, their coupons redeemed, finalized at once unless asked."""

from datetime import datetime

from billing.invoices.coupons import redeem
from billing.invoices.one_off import (
    OneOffRequest,
    check_one_off,
    coupons_of,
    one_off,
    one_off_id,
    same_content,
)
from billing.ports import Changes, Redemption, Stores
from billing.use_cases.finalizing import finalized
from billing.use_cases.payments import recorded
from billing.use_cases.transactions import merged
from schemas.errors import AlreadyExists, NotFound
from schemas.ids import InvoiceId
from schemas.invoice import Invoice


def create_one_off(stores: Stores, request: OneOffRequest, at: datetime) -> Invoice:
    """Make an invoice that is asked for, and finalize it at once unless a draft is asked for.

    A repeated key gives the invoice that it stands for as it is now; with other content it raises
    AlreadyExists. Each coupon is redeemed once, and what was paid already is recorded. Raises
    ValidationFailed naming the field, NotFound for the customer. Source: billing.md 13, 14 and 15.5.
    """
    check_one_off(request)
    with stores.deciding(request.customer_id) as held:
        if held.customer(request.customer_id) is None:
            raise NotFound(f"there is no customer {request.customer_id}")
        number = 0
        if request.idempotency_key is None:
            number = len(held.invoices_for(request.customer_id))
        name = one_off_id(request, at, number)
        known = held.invoice(name)
        if known is not None:
            if not same_content(known, request):
                raise AlreadyExists(
                    f"idempotency key {request.idempotency_key!r} was used for another invoice",
                    field="idempotency_key",
                )
            return known
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
