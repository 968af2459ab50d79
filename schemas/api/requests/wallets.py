"""Requests about wallets, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, model_validator

from schemas.api.requests.alerts import AlertSettings
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import (
    TransactionReasonWord,
    TransactionStatusWord,
    TransactionTypeWord,
    WalletStatusWord,
)
from schemas.auto_topup import AutoTopupRequest
from schemas.doors import DecimalField, InstantField, IntegerField, MetadataField
from schemas.wallet import TopUpRequest, WalletConfigRequest, WalletRequest

# What a wallet is made with and keeps.
FIXED = ("conversion_rate", "topup_conversion_rate", "currency", "wallet_type")

# What lists of wallets cannot be asked, other than all other lists.
UNASKED = ("start_time", "end_time", "filters")


def _number(value: Any) -> Any:
    """Return a whole number that a query gives as a text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _truth(value: Any) -> Any:
    """Return a truth that a query gives as a text."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


QueryInteger = Annotated[IntegerField, BeforeValidator(_number)]
QueryTruth = Annotated[StrictBool, BeforeValidator(_truth)]


class CreateWalletRequest(WalletRequest, ApiRequest):
    """Open a wallet for a customer, who is named by either id."""

    LATER: ClassVar[Mapping[str, str]] = {"price_unit": "M2"}

    alert_settings: AlertSettings | None = None
    auto_topup: AutoTopupRequest | None = None


class UpdateWalletRequest(ApiUpdate):
    """Change what may change of a wallet; rates, currency and type stay what they were made."""

    name: str | None = None
    description: str | None = None
    metadata: MetadataField | None = None
    auto_topup: AutoTopupRequest | None = None
    priority: IntegerField | None = None
    alert_settings: AlertSettings | None = None
    config: WalletConfigRequest | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_fixed(cls, body: Any) -> Any:
        """Refuse what would change the worth of credits that are there."""
        named = [name for name in FIXED if isinstance(body, Mapping) and body.get(name) is not None]
        if named:
            raise ValueError(f"a wallet keeps its {', '.join(named)}")
        return body


class TopUpWalletRequest(TopUpRequest, ApiRequest):
    """Add credits to a wallet."""

    LATER: ClassVar[Mapping[str, str]] = {
        "bonus_credits_to_add": "M2",
        "bonus_credits_expiry_date_utc": "M2",
        "effective_date": "M2",
        "coupons": "M2",
        "force_sync_invoice": "M4",
        "checkout": "M2",
    }


class WalletDebitRequest(ApiRequest):
    """Take credits out of a wallet by hand, once for each key."""

    credits: DecimalField
    transaction_reason: TransactionReasonWord
    idempotency_key: RequiredText
    description: str = ""
    metadata: MetadataField = {}


class WalletFilter(ApiSearch):
    """Search wallets; `status` is the wallet's own, and all are found without it."""

    wallet_ids: list[str] | None = None
    alert_enabled: StrictBool | None = None
    status: WalletStatusWord | None = None  # type: ignore[assignment]  # of a wallet it is its state

    @model_validator(mode="before")
    @classmethod
    def _refuse_unasked(cls, body: Any) -> Any:
        """Refuse conditions that wallets have not."""
        named = [name for name in UNASKED if isinstance(body, Mapping) and name in body]
        if named:
            raise ValueError(f"wallets are not searched by {', '.join(named)}")
        return body


class WalletTransactionFilter(ApiSearch):
    """Search ledger entries and purchases that wait for their invoices."""

    id: str | None = None
    type: TransactionTypeWord | None = None
    transaction_status: TransactionStatusWord | None = None
    transaction_reason: TransactionReasonWord | None = None
    reference_type: str | None = None
    reference_id: str | None = None
    created_by: str | None = None
    priority: QueryInteger | None = None
    credits_available_gt: DecimalField | None = None
    expiry_date_before: InstantField | None = None
    expiry_date_after: InstantField | None = None


class WalletQuery(BaseModel):
    """What is shown beside the balance of a wallet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expand: list[str] = []


class CustomerWalletsQuery(WalletQuery):
    """Whose wallets are asked for, by one of the two, and whether with what is used and not taken.

    Balances are never older than `from_cache` allows, so it changes nothing.
    """

    id: str | None = None
    lookup_key: str | None = None
    include_real_time_balance: QueryTruth = False
    from_cache: QueryTruth = False
