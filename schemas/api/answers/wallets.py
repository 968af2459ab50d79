"""Answers about wallets, with the fields of api-fields.md."""

from typing import TYPE_CHECKING

from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireNumber, WireTime
from schemas.api.words import (
    AlertState,
    TransactionReason,
    TransactionStatus,
    TransactionType,
    WalletConfigPriceType,
    WalletStatus,
    WalletTxReferenceType,
    WalletType,
)

if TYPE_CHECKING:
    from schemas.api.answers.alerts import AnsweredAlertSettings


class AnsweredWalletConfig(ApiAnswer):
    """Which lines the credits may cover, and how far a debit by hand may go below zero."""

    allowed_price_types: IfSet[list[WalletConfigPriceType]] = None
    overdraft_limit: IfSet[WireDecimal] = None


class AnsweredAutoTopup(ApiAnswer):
    """The rule by which a wallet buys credits by itself, as it is kept."""

    enabled: IfSet[bool] = None
    threshold: IfSet[WireNumber] = None
    amount: IfSet[WireNumber] = None
    invoicing: IfSet[bool] = None
    cooldown: IfSet[dict[str, object]] = None
    max_per_period: IfSet[dict[str, object]] = None


class CreditBreakdown(ApiAnswer):
    """Live credits that were bought, and those that were given."""

    purchased: WireDecimal
    free: WireDecimal


class WalletResponse(Record):
    """A wallet with its settled balance."""

    customer_id: str
    name: IfSet[str] = None
    description: str
    currency: str
    wallet_type: WalletType
    wallet_status: WalletStatus
    balance: WireDecimal
    credit_balance: WireDecimal
    conversion_rate: WireDecimal
    topup_conversion_rate: WireDecimal
    config: AnsweredWalletConfig
    auto_topup: IfSet[AnsweredAutoTopup] = None
    alert_settings: "IfSet[AnsweredAlertSettings]" = None
    alert_state: AlertState
    priority: IfSet[int] = None
    real_time_balance: IfSet[WireDecimal] = None
    real_time_credit_balance: IfSet[WireDecimal] = None
    credits_available_breakdown: IfSet[CreditBreakdown] = None
    metadata: dict[str, str]


class WalletBalanceResponse(Record):
    """A wallet with its live balance: the settled one less what is used and not taken yet."""

    customer_id: str
    name: IfSet[str] = None
    description: str
    currency: str
    wallet_type: WalletType
    wallet_status: WalletStatus
    balance: WireDecimal
    credit_balance: WireDecimal
    real_time_balance: WireDecimal
    real_time_credit_balance: WireDecimal
    current_period_usage: WireDecimal
    unpaid_invoices_amount: WireDecimal
    balance_updated_at: IfSet[WireTime] = None
    is_cached_fallback: bool
    conversion_rate: WireDecimal
    topup_conversion_rate: WireDecimal
    config: AnsweredWalletConfig
    auto_topup: IfSet[AnsweredAutoTopup] = None
    alert_settings: "IfSet[AnsweredAlertSettings]" = None
    alert_state: AlertState
    priority: IfSet[int] = None
    credits_available_breakdown: IfSet[CreditBreakdown] = None
    metadata: dict[str, str]


class WalletTxConsumption(ApiAnswer):
    """Credits that a debit used, and the credit that had brought them."""

    credit_transaction_id: str
    credits: WireDecimal


class WalletTransactionResponse(Record):
    """A ledger entry, or a purchase that waits for its invoice and has moved nothing."""

    wallet_id: str
    customer_id: str
    type: TransactionType
    transaction_status: TransactionStatus
    transaction_reason: TransactionReason
    credit_amount: WireDecimal
    amount: WireDecimal
    currency: str
    credit_balance_before: WireDecimal
    credit_balance_after: WireDecimal
    credits_available: WireDecimal
    expiry_date: WireTime | None
    priority: int | None
    reference_type: WalletTxReferenceType
    reference_id: str
    idempotency_key: str
    description: str
    parent_transaction_id: IfSet[str] = None
    conversion_rate: IfSet[WireDecimal] = None
    topup_conversion_rate: IfSet[WireDecimal] = None
    consumption_breakdown: IfSet[list[WalletTxConsumption]] = None
    source_type: IfSet[str] = None
    source_id: IfSet[str] = None
    metadata: dict[str, str]
    wallet: IfSet[WalletResponse] = None
    customer: IfSet[CustomerResponse] = None


class TopUpWalletResponse(ApiAnswer):
    """A wallet after a top-up, with the entry or the purchase that it made."""

    wallet: WalletResponse
    wallet_transaction: WalletTransactionResponse
    invoice_id: IfSet[str] = None


class ListWalletsResponse(ApiAnswer):
    """A page of wallets."""

    items: list[WalletResponse]
    pagination: PaginationResponse


class ListWalletTransactionsResponse(ApiAnswer):
    """A page of transactions, the newest first."""

    items: list[WalletTransactionResponse]
    pagination: PaginationResponse
