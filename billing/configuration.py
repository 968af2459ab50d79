"""The settings of an environment that billing obeys (platform.md 7); the defaults are those there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from billing.invoices.numbers import NumberFormat, Numbering
from billing.periods.services import FINALIZATION_DELAY
from schemas.alert import AlertCondition, AlertSettings, Threshold
from schemas.setting import InvoiceConfig, SettingKey, SubscriptionConfig, WalletAlertConfig
from schemas.subscription import ProrationStrategy
from schemas.tax import TaxBase


@dataclass(frozen=True, slots=True)
class BillingConfig:
    """invoice_config, subscription_config and wallet_balance_alert_config, as billing reads them.

    `wallet_alerts` hold for wallets without settings of their own.
    """

    numbering: Numbering = field(default_factory=Numbering)
    finalization_delay: timedelta = FINALIZATION_DELAY
    due_date_days: int | None = 1
    tax_base: TaxBase = TaxBase.BEFORE_CREDITS
    auto_complete_purchases: bool = False
    proration_strategy: ProrationStrategy = ProrationStrategy.SECOND_BASED
    grace_period_days: int = 3
    auto_cancellation: bool = False
    wallet_alerts: AlertSettings = field(
        default_factory=lambda: AlertSettings(critical=Threshold(Decimal(0), AlertCondition.BELOW))
    )


def billing_config(values: Mapping[SettingKey, Mapping[str, Any]]) -> BillingConfig:
    """Return what billing obeys under some settings; a key that is absent has its defaults.

    >>> billing_config({SettingKey.INVOICE: {"due_date_days": 30}}).due_date_days
    30
    """
    invoice = InvoiceConfig.model_validate(values.get(SettingKey.INVOICE, {}))
    subscription = SubscriptionConfig.model_validate(values.get(SettingKey.SUBSCRIPTION, {}))
    alerts = WalletAlertConfig.model_validate(values.get(SettingKey.WALLET_ALERT, {}))
    return BillingConfig(
        numbering=Numbering(
            invoice.prefix,
            NumberFormat(invoice.format),
            invoice.separator,
            invoice.start_sequence,
            invoice.suffix_length,
            invoice.timezone,
        ),
        finalization_delay=timedelta(seconds=invoice.finalization_delay_seconds),
        due_date_days=invoice.due_date_days,
        tax_base=invoice.tax_base,
        auto_complete_purchases=invoice.auto_complete_purchased_credit_transaction,
        proration_strategy=subscription.proration_strategy,
        grace_period_days=subscription.grace_period_days,
        auto_cancellation=subscription.auto_cancellation_enabled,
        wallet_alerts=alerts.settings(),
    )
