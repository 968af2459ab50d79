"""The settings of an environment that billing obeys (platform.md 7); the defaults are those there."""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from billing.invoices.numbers import Numbering
from billing.periods.services import FINALIZATION_DELAY
from schemas.alert import AlertCondition, AlertSettings, Threshold
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
