"""Wallets: the account, its ledger of entries, lots and consumptions, and the bodies that write it.

The ledger is append-only (wallets-alerts.md 3); the rules that write it are in `billing/wallets/ledger.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, model_validator

from schemas.alert import AlertSettings, AlertSettingsRequest
from schemas.api.fields import word_of
from schemas.auto_topup import AutoTopup
from schemas.doors import (
    DOOR,
    DecimalField,
    InstantField,
    IntegerField,
    MetadataField,
    given,
    read_lower,
)
from schemas.ids import CustomerId, EntryId, LotId, WalletId


class WalletType(StrEnum):
    """PRE_PAID credits go onto lines before tax; POST_PAID ones pay finalized invoices."""

    PRE_PAID = "PRE_PAID"
    POST_PAID = "POST_PAID"


class WalletStatus(StrEnum):
    """Where a wallet is in its life; closed is final."""

    ACTIVE = "active"
    FROZEN = "frozen"
    CLOSED = "closed"


class AllowedType(StrEnum):
    """Which lines the credits of a wallet may cover."""

    ALL = "ALL"
    USAGE = "USAGE"
    FIXED = "FIXED"


class EntryType(StrEnum):
    """Which way an entry moves credits."""

    CREDIT = "credit"
    DEBIT = "debit"


class Reason(StrEnum):
    """Why credits moved."""

    FREE_CREDIT_GRANT = "FREE_CREDIT_GRANT"
    SUBSCRIPTION_CREDIT_GRANT = "SUBSCRIPTION_CREDIT_GRANT"
    PURCHASED_CREDIT_DIRECT = "PURCHASED_CREDIT_DIRECT"
    PURCHASED_CREDIT_INVOICED = "PURCHASED_CREDIT_INVOICED"
    PURCHASED_CREDIT_BONUS = "PURCHASED_CREDIT_BONUS"
    CREDIT_NOTE = "CREDIT_NOTE"
    INVOICE_VOID_REFUND = "INVOICE_VOID_REFUND"
    MANUAL_BALANCE_DEBIT = "MANUAL_BALANCE_DEBIT"
    CREDIT_ADJUSTMENT = "CREDIT_ADJUSTMENT"
    INVOICE_PAYMENT = "INVOICE_PAYMENT"
    CREDIT_EXPIRED = "CREDIT_EXPIRED"
    WALLET_TERMINATION = "WALLET_TERMINATION"


# What may be asked for in a top-up: a bonus is an entry of its own, made with its purchase.
TOP_UP_REASONS = frozenset(
    {
        Reason.FREE_CREDIT_GRANT,
        Reason.SUBSCRIPTION_CREDIT_GRANT,
        Reason.PURCHASED_CREDIT_DIRECT,
        Reason.PURCHASED_CREDIT_INVOICED,
        Reason.CREDIT_NOTE,
        Reason.INVOICE_VOID_REFUND,
    }
)
# Live lots of these reasons are bought credits, all others are free ones.
PURCHASED = frozenset(
    {
        Reason.PURCHASED_CREDIT_DIRECT,
        Reason.PURCHASED_CREDIT_INVOICED,
        Reason.CREDIT_NOTE,
        Reason.INVOICE_VOID_REFUND,
    }
)


class ReferenceType(StrEnum):
    """What an entry refers to."""

    EXTERNAL = "EXTERNAL"
    INVOICE = "INVOICE"
    PAYMENT = "PAYMENT"
    REQUEST = "REQUEST"


@dataclass(frozen=True, slots=True)
class Wallet:
    """An account in credits of one customer and one currency; its balance is in the ledger.

    `updated_at` and `updated_by` are of the last change of what is here; None before the first.
    """

    id: WalletId
    customer_id: CustomerId
    currency: str
    wallet_type: WalletType
    created_at: datetime
    wallet_status: WalletStatus = WalletStatus.ACTIVE
    name: str = ""
    description: str = ""
    conversion_rate: Decimal = Decimal(1)
    topup_conversion_rate: Decimal = Decimal(1)
    allowed_price_types: tuple[AllowedType, ...] = (AllowedType.ALL,)
    overdraft_limit: Decimal = Decimal(0)
    priority: int | None = None
    alert_settings: AlertSettings | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    auto_topup: AutoTopup | None = None
    updated_at: datetime | None = None
    created_by: str = ""
    updated_by: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger, never changed and never deleted.

    `amount` is what it is worth in currency: for a debit of an invoice, what was settled there.
    `content` names the request that `idempotency_key` stands for, so that a repeat is known again.
    """

    id: EntryId
    wallet_id: WalletId
    sequence: int
    type: EntryType
    credits: Decimal
    amount: Decimal
    reason: Reason
    reference_type: ReferenceType
    reference_id: str
    created_at: datetime
    effective_at: datetime
    idempotency_key: str | None = None
    content: str | None = None
    parent_id: EntryId | None = None
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class Lot:
    """What one credit entry brought; `remaining` is kept in step with the consumptions."""

    id: LotId
    entry_id: EntryId
    credits: Decimal
    remaining: Decimal
    reason: Reason
    created_at: datetime
    priority: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Consumption:
    """How many credits a debit took from a lot."""

    entry_id: EntryId
    lot_id: LotId
    credits: Decimal


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of an entry in currency; the sides of an entry sum to 0."""

    entry_id: EntryId
    account: str
    currency: str
    value: Decimal


class WalletConfigRequest(BaseModel):
    """WalletConfig as a body gives it."""

    model_config = DOOR

    allowed_price_types: (
        list[Annotated[AllowedType, BeforeValidator(word_of(AllowedType, cased=str.upper))]] | None
    ) = None
    overdraft_limit: DecimalField | None = None

    _given = model_validator(mode="before")(given)


class WalletRequest(BaseModel):
    """CreateWalletRequest as a body gives it; `billing.wallets.opening.open_wallet` judges it."""

    model_config = DOOR

    customer_id: str | None = None
    external_customer_id: str | None = None
    currency: Annotated[str, BeforeValidator(read_lower)]
    wallet_type: Annotated[WalletType, BeforeValidator(word_of(WalletType, cased=str.upper))] = (
        WalletType.PRE_PAID
    )
    name: str | None = None
    description: str = ""
    conversion_rate: DecimalField | None = None
    topup_conversion_rate: DecimalField | None = None
    initial_credits_to_load: DecimalField = Decimal(0)
    initial_credits_to_load_expiry_date: IntegerField | None = None
    initial_credits_expiry_date_utc: InstantField | None = None
    alert_settings: AlertSettingsRequest | None = None
    config: WalletConfigRequest | None = None
    priority: IntegerField | None = None
    metadata: MetadataField = {}

    _given = model_validator(mode="before")(given)


class TopUpRequest(BaseModel):
    """TopUpWalletRequest: credits, or an amount of currency that buys them; credits win."""

    model_config = DOOR

    credits_to_add: DecimalField | None = None
    amount: DecimalField | None = None
    transaction_reason: Annotated[Reason, BeforeValidator(word_of(Reason, cased=str.upper))]
    idempotency_key: str | None = None
    description: str = ""
    expiry_date_utc: InstantField | None = None
    priority: IntegerField | None = None
    metadata: MetadataField = {}

    _given = model_validator(mode="before")(given)
