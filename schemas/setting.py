"""Settings of an environment: the shape of each key with its defaults (platform.md 7).

A value is read as a request is, and kept as JSON: exact decimals are texts. What the keys mean is
said where they are obeyed; `billing/settings.py` changes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, field_validator, model_validator

from schemas.alert import AlertSettingsRequest, ThresholdRequest
from schemas.decimals import plain
from schemas.doors import DOOR, IntegerField, read_lower, read_upper
from schemas.errors import ValidationFailed
from schemas.subscription import ProrationStrategy
from schemas.tax import TaxBase
from schemas.zones import zone

SECONDS_MAX = 366 * 24 * 3600
DAYS_MAX = 3650
# An invoice number is a text that people read out.
SUFFIX_LENGTH_MAX = 20
TEXT_CHARACTERS_MAX = 50

Text = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)]


class SettingKey(StrEnum):
    """The keys that there are."""

    INVOICE = "invoice_config"
    SUBSCRIPTION = "subscription_config"
    WALLET_ALERT = "wallet_balance_alert_config"
    EVENT_FILTER = "event_ingestion_filter"
    WEBHOOK = "webhook_config"


class InvoiceConfig(BaseModel):
    """How invoices are numbered, dated and closed; no `due_date_days` is at once."""

    model_config = DOOR

    prefix: Text = "INV"
    format: Annotated[
        Literal["YYYYMM", "YYYYMMDD", "YYMMDD", "YY", "YYYY"], BeforeValidator(read_upper)
    ] = "YYYYMM"
    separator: Text = "-"
    start_sequence: Annotated[IntegerField, Field(ge=0)] = 1
    suffix_length: Annotated[IntegerField, Field(ge=1, le=SUFFIX_LENGTH_MAX)] = 5
    timezone: str = "UTC"
    due_date_days: Annotated[IntegerField, Field(ge=0, le=DAYS_MAX)] | None = 1
    auto_complete_purchased_credit_transaction: StrictBool = False
    finalization_delay_seconds: Annotated[IntegerField, Field(ge=0, le=SECONDS_MAX)] = 7200
    tax_base: Annotated[TaxBase, BeforeValidator(read_lower)] = TaxBase.BEFORE_CREDITS

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        """Refuse what is no time zone."""
        try:
            return zone(name).key
        except ValidationFailed as error:
            raise ValueError(str(error)) from error


class SubscriptionConfig(BaseModel):
    """How long a payment may be late, what comes of it, and in what parts of periods are counted."""

    model_config = DOOR

    grace_period_days: Annotated[IntegerField, Field(ge=0, le=DAYS_MAX)] = 3
    auto_cancellation_enabled: StrictBool = False
    proration_strategy: Annotated[ProrationStrategy, BeforeValidator(read_lower)] = (
        ProrationStrategy.SECOND_BASED
    )


class WalletAlertConfig(AlertSettingsRequest):
    """The alerts of wallets without settings of their own; null takes a level away."""

    critical: ThresholdRequest | None = ThresholdRequest.model_validate(
        {"threshold": 0, "condition": "below"}
    )

    _given = model_validator(mode="before")(lambda body: body)


class EventFilterConfig(BaseModel):
    """Whose events raw intake keeps, while it is enabled."""

    model_config = DOOR

    enabled: StrictBool = False
    allowed_external_customer_ids: tuple[str, ...] = ()


class WebhookConfig(BaseModel):
    """Where webhooks may go."""

    model_config = DOOR

    allow_private_urls: StrictBool = False


SHAPES: Mapping[SettingKey, type[BaseModel]] = {
    SettingKey.INVOICE: InvoiceConfig,
    SettingKey.SUBSCRIPTION: SubscriptionConfig,
    SettingKey.WALLET_ALERT: WalletAlertConfig,
    SettingKey.EVENT_FILTER: EventFilterConfig,
    SettingKey.WEBHOOK: WebhookConfig,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as it is obeyed: what was stored over the defaults.

    `members` are those that somebody has set. Version 0 was never written, and has no instants.
    """

    key: SettingKey
    value: Mapping[str, Any]
    members: Mapping[str, Any]
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    created_by: str = ""
    updated_by: str = ""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A change of a setting: its members from then on, who made it and when."""

    key: SettingKey
    version: int
    members: Mapping[str, Any]
    changed_at: datetime
    changed_by: str


def as_json(value: Any) -> Any:
    """Return a value of a shape as JSON has it.

    >>> as_json({"threshold": Decimal("0.50"), "condition": TaxBase.AFTER_CREDITS})
    {'threshold': '0.5', 'condition': 'after_credits'}
    """
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {name: as_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value
