"""Adapters for payments.json: what wallets give for an invoice, and how far it is paid."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.invoices.payments import Payment, PaymentState, may_become, paid_state
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import take
from billing.wallets.settlement import NetLine, settle_invoice
from schemas.decimals import plain
from schemas.ids import CustomerId, EntryId, LotId, WalletId
from schemas.price import PriceType
from schemas.wallet import AllowedType, Lot, Reason, Wallet, WalletStatus, WalletType

FILES = ("payments.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _lot(body: Body) -> Lot:
    left = Decimal(body["credits"])
    return Lot(
        id=LotId(body["lot"]),
        entry_id=EntryId(f"entry of {body['lot']}"),
        credits=left,
        remaining=left,
        reason=Reason.FREE_CREDIT_GRANT,
        created_at=datetime.fromisoformat(body["created_at"]),
        priority=None if body["priority"] is None else int(body["priority"]),
        expires_at=_instant(body["expires_at"]),
    )


def _holdings(body: Body) -> Holdings:
    wallet = Wallet(
        id=WalletId(body["wallet"]),
        customer_id=CustomerId("customer"),
        currency=body["currency"],
        wallet_type=WalletType(body["wallet_type"]),
        created_at=datetime.fromisoformat(body["created_at"]),
        wallet_status=WalletStatus(body["wallet_status"]),
        conversion_rate=Decimal(body["conversion_rate"]),
        allowed_price_types=tuple(AllowedType(word) for word in body["allowed_price_types"]),
        priority=None if body["priority"] is None else int(body["priority"]),
    )
    lots = tuple(_lot(lot) for lot in body["lots"] if Decimal(lot["credits"]))
    return Holdings(wallet, lots=lots)


def _line(body: Body) -> NetLine:
    net = Decimal(body["amount"])
    for discount in ("line_discount", "invoice_discount"):
        net -= Decimal(body[discount])
    return NetLine(PriceType(body["type"]), net)


def _settlement(body: Body) -> Answer:
    wallets = [_holdings(wallet) for wallet in body["wallets"]]
    lines = [_line(line) for line in body["lines"]]
    at = datetime.fromisoformat(body["at"]).astimezone(UTC)
    period_end = _instant(body["period_end"])
    answer = settle_invoice(
        lines,
        [] if body["invoice_type"] == "CREDIT" else wallets,
        at,
        currency=body["currency"],
        period_end=period_end,
        tax=Decimal(body["tax"]),
        amount_paid=Decimal(body["amount_paid"]),
    )
    wanted = {part.wallet_id: part.amount for part in (*answer.prepaid.takes, *answer.payments)}
    # What settlement promises is then taken for real, so that both are held to the vector.
    written = {
        held.wallet.id: take(
            held,
            wanted.get(held.wallet.id, Decimal(0)),
            at,
            invoice_id="invoice",
            period_end=period_end,
        )
        for held in wallets
    }
    return {
        "lines": [
            {"id": line["id"], "credits_applied": plain(answer.prepaid.on_line(index))}
            for index, line in enumerate(body["lines"])
        ],
        "total_prepaid_credits_applied": plain(answer.prepaid.total),
        "total": plain(answer.total),
        "payments": [
            {"wallet": part.wallet_id, "amount": plain(part.amount)} for part in answer.payments
        ],
        "amount_paid": plain(answer.amount_paid),
        "amount_remaining": plain(answer.amount_remaining),
        "payment_status": answer.payment_status,
        "wallets": [_after(wallet, written[wallet["wallet"]]) for wallet in body["wallets"]],
    }


def _after(body: Body, posted: Posted) -> Answer:
    """Return what one wallet gave, and what its lots have left whatever their expiry."""
    paid = [entry for entry in posted.entries if entry.reason is not Reason.CREDIT_EXPIRED]
    drawn = {
        part.lot_id: part.credits
        for part in posted.consumptions
        if part.entry_id in {entry.id for entry in paid}
    }
    return {
        "wallet": body["wallet"],
        "taken": plain(posted.taken),
        "credits": plain(sum((entry.credits for entry in paid), Decimal(0))),
        "lots_after": {
            lot["lot"]: plain(Decimal(lot["credits"]) - drawn.get(LotId(lot["lot"]), Decimal(0)))
            for lot in body["lots"]
        },
    }


def _payment_transition(body: Body) -> Answer:
    known = {state.value for state in PaymentState}
    if {body["from"], body["to"]} - known:
        return {"allowed": False}
    return {"allowed": may_become(PaymentState(body["from"]), PaymentState(body["to"]))}


def _invoice_payment_state(body: Body) -> Answer:
    rows = [
        Payment(Decimal(row["amount"]), PaymentState(row["status"])) for row in body["payments"]
    ]
    found = paid_state(Decimal(body["amount_due"]), rows)
    return {
        "amount_paid": plain(found.amount_paid),
        "amount_remaining": plain(found.amount_remaining),
        "payment_status": found.payment_status,
    }


OPS = {
    "settlement": _settlement,
    "payment_transition": _payment_transition,
    "invoice_payment_state": _invoice_payment_state,
}
