"""Alerts: the settings of a watched number, its stream with a state, and what is told of it.

The rules that move a stream from state to state are in `billing/alerts/levels.py` (wallets-alerts.md 11).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, StrictBool, model_validator

from schemas.api.fields import word_of
from schemas.doors import DOOR, DecimalField, given
from schemas.ids import AlertStreamId


class AlertState(StrEnum):
    """How grave it is, in rising severity."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    IN_ALARM = "in_alarm"


class AlertCondition(StrEnum):
    """On which side of its threshold a value alarms; the threshold itself is on it."""

    BELOW = "below"
    ABOVE = "above"


class AlertUnit(StrEnum):
    """What the thresholds of a wallet are compared with."""

    CURRENCY = "currency"
    CREDITS = "credits"


class AlertType(StrEnum):
    """Which number is watched."""

    LOW_ONGOING_BALANCE = "low_ongoing_balance"
    LOW_CREDIT_BALANCE = "low_credit_balance"
    FEATURE_WALLET_BALANCE = "feature_wallet_balance"
    SUBSCRIPTION_SPEND = "subscription_spend"
    SUBSCRIPTION_LINE_ITEM_SPEND = "subscription_line_item_spend"
    SUBSCRIPTION_GROUP_SPEND = "subscription_group_spend"
    ENTITLEMENT_GRANT_THRESHOLD = "entitlement_grant_threshold"
    ENTITLEMENT_GRANT_EXHAUSTED = "entitlement_grant_exhausted"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The value at which a level is entered."""

    threshold: Decimal
    condition: AlertCondition


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The levels that are watched; those that are absent are never entered."""

    alert_enabled: bool = False
    critical: Threshold | None = None
    warning: Threshold | None = None
    info: Threshold | None = None
    hysteresis_percent: Decimal = Decimal(0)
    unit: AlertUnit = AlertUnit.CURRENCY


@dataclass(frozen=True, slots=True)
class AlertStream:
    """One watched number of one entity: its state, and a version that grows with each change.

    `period` names the period that re-arms the stream; wallets have none.
    """

    id: AlertStreamId
    alert_type: AlertType
    entity_type: str
    entity_id: str
    customer_id: str
    parent_id: str | None = None
    state: AlertState = AlertState.OK
    period: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """A change of state that is told: the row of the log, unique by stream and version.

    `event` is the name of its webhook; None where the change has none.
    """

    stream_id: AlertStreamId
    version: int
    alert_type: AlertType
    entity_type: str
    entity_id: str
    parent_id: str | None
    customer_id: str
    status: AlertState
    previous: AlertState
    event: str | None
    value: Decimal
    settings: AlertSettings
    at: datetime


def log_id(alert: Alert) -> str:
    """Return the name of a change of state in the log: its stream's, which begins with `alert_`."""
    return f"{alert.stream_id}_{alert.version}"


class ThresholdRequest(BaseModel):
    """A level as a body gives it."""

    model_config = DOOR

    threshold: DecimalField
    condition: Annotated[AlertCondition, BeforeValidator(word_of(AlertCondition, cased=str.lower))]

    _given = model_validator(mode="before")(given)


class AlertSettingsRequest(BaseModel):
    """AlertSettings as a body gives them; `billing.alerts.levels.check_settings` judges the whole."""

    model_config = DOOR

    alert_enabled: StrictBool = False
    critical: ThresholdRequest | None = None
    warning: ThresholdRequest | None = None
    info: ThresholdRequest | None = None
    hysteresis_percent: DecimalField = Decimal(0)
    unit: Annotated[AlertUnit, BeforeValidator(word_of(AlertUnit, cased=str.lower))] = (
        AlertUnit.CURRENCY
    )

    _given = model_validator(mode="before")(given)

    def settings(self) -> AlertSettings:
        """Return the record of this body."""

        def level(request: ThresholdRequest | None) -> Threshold | None:
            if request is None:
                return None
            return Threshold(request.threshold, request.condition)

        return AlertSettings(
            self.alert_enabled,
            level(self.critical),
            level(self.warning),
            level(self.info),
            self.hysteresis_percent,
            self.unit,
        )
