"""Requests about wallets, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.requests.alerts import AlertSettings
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import (
    TransactionReasonWord,
    TransactionStatusWord,
    TransactionTypeWord,
    WalletConfigPriceTypeWord,
    WalletStatusWord,
    WalletTypeWord,
)
from schemas.doors import DecimalField, InstantField, IntegerField, MetadataField


class AutoTopup(ApiRequest):
    """What a request says of: auto topup."""

    enabled: StrictBool | None = None
    threshold: DecimalField | None = None
    amount: DecimalField | None = None
    invoicing: StrictBool | None = None
    cooldown: dict[str, object] | None = None
    max_per_period: dict[str, object] | None = None


class WalletConfig(ApiRequest):
    """What a request says of: wallet config."""

    allowed_price_types: list[WalletConfigPriceTypeWord] | None = None
    overdraft_limit: DecimalField | None = None


class CreateWalletRequest(ApiRequest):
    """What a request says of: create wallet."""

    LATER: ClassVar[Mapping[str, str]] = {"price_unit": "M2"}

    customer_id: str | None = None
    external_customer_id: str | None = None
    currency: RequiredText
    wallet_type: WalletTypeWord | None = None
    description: str | None = None
    conversion_rate: DecimalField | None = None
    topup_conversion_rate: DecimalField | None = None
    initial_credits_to_load: DecimalField | None = None
    initial_credits_to_load_expiry_date: IntegerField | None = None
    initial_credits_expiry_date_utc: InstantField | None = None
    auto_topup: AutoTopup | None = None
    alert_settings: AlertSettings | None = None
    config: WalletConfig | None = None
    priority: IntegerField | None = None
    metadata: MetadataField = {}


class UpdateWalletRequest(ApiUpdate):
    """What a request says of: update wallet."""

    name: str | None = None
    description: str | None = None
    metadata: MetadataField | None = None
    auto_topup: AutoTopup | None = None
    priority: IntegerField | None = None
    alert_settings: AlertSettings | None = None
    config: WalletConfig | None = None


class TopUpWalletRequest(ApiRequest):
    """What a request says of: top up wallet."""

    LATER: ClassVar[Mapping[str, str]] = {
        "effective_date": "M2",
        "coupons": "M2",
        "force_sync_invoice": "M4",
        "checkout": "M2",
    }

    credits_to_add: DecimalField | None = None
    amount: DecimalField | None = None
    transaction_reason: TransactionReasonWord
    idempotency_key: str | None = None
    description: str | None = None
    metadata: MetadataField = {}
    expiry_date_utc: InstantField | None = None
    priority: IntegerField | None = None
    bonus_credits_to_add: DecimalField | None = None
    bonus_credits_expiry_date_utc: InstantField | None = None


class WalletDebitRequest(ApiRequest):
    """What a request says of: wallet debit."""

    credits: DecimalField
    transaction_reason: TransactionReasonWord
    idempotency_key: RequiredText
    description: str | None = None
    metadata: MetadataField = {}


class WalletFilter(ApiSearch):
    """What a search asks of: wallet."""

    wallet_ids: list[str] | None = None
    alert_enabled: StrictBool | None = None
    status: WalletStatusWord | None = None  # type: ignore[assignment]  # of a wallet it is its state


class WalletTransactionFilter(ApiSearch):
    """What a search asks of: wallet transaction."""

    id: str | None = None
    type: TransactionTypeWord | None = None
    transaction_status: TransactionStatusWord | None = None
    transaction_reason: TransactionReasonWord | None = None
    reference_type: str | None = None
    reference_id: str | None = None
    created_by: str | None = None
    priority: IntegerField | None = None
    credits_available_gt: DecimalField | None = None
    expiry_date_before: InstantField | None = None
    expiry_date_after: InstantField | None = None
