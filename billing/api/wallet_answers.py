"""What answers say of wallets, of their balances, and of what moved in them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.alerts.watching import stream_of
from billing.api.environment import Environment
from billing.api.features import settings_answer
from billing.ports import AlertStore
from billing.use_cases.balances import BalanceReading
from billing.use_cases.wallets import Written
from billing.wallets.balances import Ongoing
from billing.wallets.holdings import Holdings, balance, settled_credits, value_of
from billing.wallets.lots import live, purchased_and_free
from billing.wallets.movements import (
    COMPLETED,
    PURCHASE_STATUSES,
    LedgerLine,
    running_before,
)
from schemas.alert import AlertSettings, AlertState, AlertStream, AlertType
from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.wallets import (
    AnsweredAutoTopup,
    AnsweredWalletConfig,
    CreditBreakdown,
    TopUpWalletResponse,
    WalletBalanceResponse,
    WalletResponse,
    WalletTransactionResponse,
    WalletTxConsumption,
)
from schemas.auto_topup import AutoTopup, Cap, Cooldown
from schemas.purchase import Purchase
from schemas.scope import Scope
from schemas.stored import Status
from schemas.wallet import EntryType, Reason, ReferenceType, Wallet, WalletStatus

BREAKDOWN = "credits_available_breakdown"
INVOICE = "INVOICE"
ZERO = Decimal(0)

Members = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Showing:
    """How wallets are shown: of which scope, at which instant, and with what else.

    `default` are the alert settings of wallets without their own; `streams` those of the ongoing
    balances, by their ids.
    """

    scope: Scope
    at: datetime
    default: AlertSettings
    streams: Mapping[str, AlertStream]
    has_breakdown: bool = False

    def state_of(self, wallet: Wallet) -> AlertState:
        """Return how the ongoing balance of a wallet stands: ok where it is not watched."""
        settings = wallet.alert_settings or self.default
        stream = self.streams.get(stream_of(wallet, AlertType.LOW_ONGOING_BALANCE).id)
        if stream is None or not settings.alert_enabled:
            return AlertState.OK
        return stream.state


def showing(
    environment: Environment,
    scope: Scope,
    at: datetime,
    wallets: Iterable[Holdings],
    expands: Iterable[str] = (),
) -> Showing:
    """Return how some wallets are shown, with their alert streams."""
    names = [stream_of(held.wallet, AlertType.LOW_ONGOING_BALANCE).id for held in wallets]
    streams = environment.reader.streams_by_id(names) if names else {}
    default = environment.stores.config().wallet_alerts
    return Showing(scope, at, default, streams, BREAKDOWN in expands)


def showing_inside(stores: AlertStore, how: Showing, held: Holdings) -> Showing:
    """Return how a wallet is shown by what stores say inside of a decision."""
    name = stream_of(held.wallet, AlertType.LOW_ONGOING_BALANCE).id
    found = stores.stream(name)
    return replace(how, streams={} if found is None else {name: found})


def wallet_answer(held: Holdings, how: Showing, ongoing: Ongoing | None = None) -> WalletResponse:
    """Return a wallet with its settled balance, and with the ongoing one where it is given."""
    members = _members(held, how)
    if ongoing is not None:
        members |= {
            "real_time_balance": ongoing.real_time_balance,
            "real_time_credit_balance": ongoing.real_time_credit_balance,
        }
    return WalletResponse(**members)


def balance_answer(held: Holdings, reading: BalanceReading, how: Showing) -> WalletBalanceResponse:
    """Return a wallet with what is used of its balance and not taken yet."""
    (now,) = (each for each in reading.balances if each.wallet_id == held.wallet.id)
    members = _members(held, how) | {
        "balance": now.balance,
        "credit_balance": now.credit_balance,
        "real_time_balance": now.real_time_balance,
        "real_time_credit_balance": now.real_time_credit_balance,
        "current_period_usage": now.current_period_usage,
        "unpaid_invoices_amount": now.unpaid_invoices_amount,
        "balance_updated_at": reading.updated_at,
        "is_cached_fallback": reading.is_fallback,
    }
    return WalletBalanceResponse(**members)


def _members(held: Holdings, how: Showing) -> Members:
    """Return the members that both answers of a wallet have; a closed one holds nothing."""
    wallet = held.wallet
    closed = wallet.wallet_status is WalletStatus.CLOSED
    changed_at = wallet.updated_at or wallet.created_at
    changed_by = wallet.updated_by if wallet.updated_at else wallet.created_by
    purchased, free = (ZERO, ZERO) if closed else purchased_and_free(held.lots, how.at)
    breakdown = CreditBreakdown(purchased=purchased, free=free) if how.has_breakdown else None
    return {
        **_life(how.scope, wallet.id, wallet.created_at, wallet.created_by),
        "updated_at": changed_at,
        "updated_by": changed_by,
        "customer_id": wallet.customer_id,
        "name": wallet.name or None,
        "description": wallet.description,
        "currency": wallet.currency,
        "wallet_type": wallet.wallet_type.value,
        "wallet_status": wallet.wallet_status.value,
        "balance": ZERO if closed else balance(held, how.at),
        "credit_balance": ZERO if closed else settled_credits(held, how.at),
        "conversion_rate": wallet.conversion_rate,
        "topup_conversion_rate": wallet.topup_conversion_rate,
        "config": AnsweredWalletConfig(
            allowed_price_types=[each.value for each in wallet.allowed_price_types],
            overdraft_limit=wallet.overdraft_limit or None,
        ),
        "auto_topup": _rule(wallet.auto_topup),
        "alert_settings": settings_answer(wallet.alert_settings),
        "alert_state": how.state_of(wallet).value,
        "priority": wallet.priority,
        "credits_available_breakdown": breakdown,
        "metadata": dict(wallet.metadata),
    }


def _life(scope: Scope, name: str, at: datetime, by: str) -> Members:
    """Return what every record says of itself, for one that never changes."""
    return {
        "id": name,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "status": Status.PUBLISHED.value,
        "created_at": at,
        "updated_at": at,
        "created_by": by,
        "updated_by": by,
    }


def _rule(rule: AutoTopup | None) -> AnsweredAutoTopup | None:
    """Return an auto top-up as it is kept."""
    if rule is None:
        return None
    return AnsweredAutoTopup(
        enabled=rule.enabled,
        threshold=rule.threshold,
        amount=rule.amount,
        invoicing=rule.invoicing,
        cooldown=_cooldown(rule.cooldown),
        max_per_period=_cap(rule.max_per_period),
    )


def _cooldown(cooldown: Cooldown | None) -> dict[str, object] | None:
    return None if cooldown is None else {"value": cooldown.value, "unit": cooldown.unit}


def _cap(cap: Cap | None) -> dict[str, object] | None:
    return None if cap is None else {"count": cap.count, "unit": cap.unit}


def transaction_answer(
    moved: LedgerLine | Purchase,
    held: Holdings,
    how: Showing,
    *,
    wallet: WalletResponse | None = None,
    customer: CustomerResponse | None = None,
) -> WalletTransactionResponse:
    """Return a ledger entry, or a purchase that has moved nothing yet, of a wallet."""
    if isinstance(moved, Purchase):
        members = _purchase(moved, held, how.scope)
    else:
        members = _entry(moved, held.wallet, how)
    return WalletTransactionResponse(**members, wallet=wallet, customer=customer)


def _entry(line: LedgerLine, wallet: Wallet, how: Showing) -> Members:
    """Return the members of an entry; what is available of a credit is what lives of its lot."""
    entry, lot = line.entry, line.lot
    source = entry.reference_id if entry.reference_type is ReferenceType.INVOICE else None
    source = line.invoice_id or source
    is_debit = entry.type is EntryType.DEBIT
    return {
        **_life(how.scope, entry.id, entry.created_at, entry.created_by),
        "wallet_id": wallet.id,
        "customer_id": wallet.customer_id,
        "type": entry.type.value,
        "transaction_status": COMPLETED,
        "transaction_reason": entry.reason.value,
        "credit_amount": entry.credits,
        "amount": entry.amount,
        "currency": wallet.currency,
        "credit_balance_before": line.before,
        "credit_balance_after": line.after,
        "credits_available": lot.remaining if lot is not None and live(lot, how.at) else ZERO,
        "expiry_date": lot and lot.expires_at,
        "priority": lot and lot.priority,
        "reference_type": entry.reference_type.value,
        "reference_id": entry.reference_id,
        "idempotency_key": entry.idempotency_key or "",
        "description": entry.description,
        "parent_transaction_id": entry.parent_id,
        "conversion_rate": wallet.conversion_rate if is_debit else None,
        "topup_conversion_rate": None if is_debit else wallet.topup_conversion_rate,
        "consumption_breakdown": _consumptions(line) if is_debit else None,
        "source_type": source and INVOICE,
        "source_id": source,
        "metadata": dict(entry.metadata),
    }


def _consumptions(line: LedgerLine) -> list[WalletTxConsumption]:
    """Return which credits a debit used, in the order in which it did."""
    return [
        WalletTxConsumption(credit_transaction_id=each.lot.entry_id, credits=each.credits)
        for each in line.taken
    ]


def _purchase(purchase: Purchase, held: Holdings, scope: Scope) -> Members:
    """Return the members of a purchase that is no entry: nothing moves, nothing is available."""
    wallet = held.wallet
    return {
        **_life(scope, purchase.id, purchase.created_at, purchase.created_by),
        "wallet_id": purchase.wallet_id,
        "customer_id": purchase.customer_id,
        "type": EntryType.CREDIT.value,
        "transaction_status": PURCHASE_STATUSES[purchase.status],
        "transaction_reason": Reason.PURCHASED_CREDIT_INVOICED.value,
        "credit_amount": purchase.credits,
        "amount": value_of(wallet, purchase.credits),
        "currency": wallet.currency,
        "credit_balance_before": held.running,
        "credit_balance_after": held.running,
        "credits_available": ZERO,
        "expiry_date": purchase.expires_at,
        "priority": purchase.priority,
        "reference_type": ReferenceType.EXTERNAL.value,
        "reference_id": purchase.idempotency_key or purchase.id,
        "idempotency_key": purchase.idempotency_key or "",
        "description": purchase.description,
        "topup_conversion_rate": wallet.topup_conversion_rate,
        "source_type": INVOICE,
        "source_id": purchase.invoice_id,
        "metadata": dict(purchase.metadata),
    }


def top_up_answer(
    written: Written, how: Showing, line: LedgerLine | None = None
) -> TopUpWalletResponse:
    """Return a wallet after a top-up, with what moved; `line` is the entry where it is read anew."""
    bought = written.bought
    moved: LedgerLine | Purchase | None = line or _line_of(written)
    if moved is None:
        assert bought is not None, "a top-up is an entry or a purchase"
        moved = bought.purchase
    return TopUpWalletResponse(
        wallet=wallet_answer(written.holdings, how),
        wallet_transaction=transaction_answer(moved, written.holdings, how),
        invoice_id=None if bought is None else bought.invoice.id,
    )


def _line_of(written: Written) -> LedgerLine | None:
    """Return the entry of a write with the sums around it: it is the last one that was appended."""
    entry, posted = written.entry, written.posted
    if entry is None or posted is None:
        return None
    after = posted.holdings.running
    lots = {each.entry_id: each for each in (*posted.lots, *posted.holdings.lots)}
    return LedgerLine(entry, running_before(entry, after), after, lots.get(entry.id))
