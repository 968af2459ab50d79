"""Money back: the wallet that takes what a customer gets back, and how it comes in.

Carried credits, proration credits, refunding credit notes and voided invoices all end here. A lot
that was consumed is never refilled: what comes back is a lot of its own (wallets-alerts.md 7).
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.wallets.holdings import Holdings, Posted, half_up_credits
from billing.wallets.opening import open_wallet
from billing.wallets.posting import Writing, swept
from schemas.ids import CustomerId, WalletId, derived
from schemas.wallet import (
    EntryType,
    Reason,
    ReferenceType,
    WalletRequest,
    WalletStatus,
    WalletType,
)


def money_back_wallet(
    wallets: Sequence[Holdings], customer_id: CustomerId, currency: str, at: datetime
) -> Holdings:
    """Return the customer's active PRE_PAID wallet of a currency, opened if there is none.

    `wallets` are all that the customer has, closed ones too, since they count in the id of a new
    one. A new one has rates of 1 and covers lines of all types. Source: wallets-alerts.md 7.
    """
    prepaid = [
        held
        for held in wallets
        if held.wallet.wallet_type is WalletType.PRE_PAID
        and held.wallet.currency.lower() == currency.lower()
    ]
    for held in prepaid:
        if held.wallet.wallet_status is WalletStatus.ACTIVE:
            return held
    opened = open_wallet(
        WalletRequest(currency=currency),
        wallet_id=WalletId(
            derived("wallet", customer_id, currency.lower(), "money back", len(prepaid))
        ),
        customer_id=customer_id,
        existing=[held.wallet for held in wallets],
        at=at,
    )
    return opened.holdings


def give_back(
    holdings: Holdings,
    amount: Decimal,
    at: datetime,
    *,
    key: str,
    reason: Reason = Reason.CREDIT_NOTE,
    reference_id: str | None = None,
    unfinalized_end: datetime | None = None,
) -> Posted:
    """Give an amount of currency back as one lot without expiry: amount ÷ conversion_rate credits.

    `key` is derived from the invoice, note or change that it comes from, so that giving it twice is
    refused by the store. Nothing to give is no write. Source: wallets-alerts.md 7.
    """
    if amount <= 0:
        return Posted(base=holdings.sequence, holdings=holdings)
    writing = swept(holdings, at, unfinalized_end)
    bring(writing, amount, key=key, reason=reason, reference_id=reference_id)
    return writing.posted()


def bring(
    writing: Writing,
    amount: Decimal,
    *,
    key: str,
    reason: Reason,
    reference_id: str | None = None,
    moved: Decimal | None = None,
    priority: int | None = None,
    expires_at: datetime | None = None,
) -> None:
    """Add one credit entry and its lot to a write; the wallet's debt is repaid out of it first.

    `moved` are its credits where they are known, else the amount divided by the wallet's rate. What
    they are worth beside the amount is posted to `rounding`. What rounds to no credit is no entry.
    """
    rate = writing.holdings.wallet.conversion_rate
    brought = half_up_credits(Fraction(amount) / Fraction(rate)) if moved is None else moved
    if brought <= 0:
        return
    entry = writing.entry(
        EntryType.CREDIT,
        brought,
        reason,
        (ReferenceType.INVOICE if reference_id else ReferenceType.REQUEST, reference_id),
        settled=amount,
        key=key,
    )
    writing.open_lot(entry, priority=priority, expires_at=expires_at)
