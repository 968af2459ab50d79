"""Answers about alerts, with the fields of api-fields.md."""

from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.features import FeatureResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.answers.wallets import WalletResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireTime
from schemas.api.words import AlertCondition, AlertEntityType, AlertState, AlertType


class AnsweredAlertThreshold(ApiAnswer):
    """The value at which a level is entered."""

    threshold: WireDecimal
    condition: AlertCondition


class AnsweredAlertSettings(ApiAnswer):
    """What is watched, and at which levels."""

    alert_enabled: IfSet[bool] = None
    critical: IfSet[AnsweredAlertThreshold] = None
    warning: IfSet[AnsweredAlertThreshold] = None
    info: IfSet[AnsweredAlertThreshold] = None
    hysteresis_percent: IfSet[WireDecimal] = None
    unit: IfSet[str] = None
    alert_threshold_type: IfSet[str] = None


class AlertSettingsResponse(Record):
    """A spend alert."""

    entity_type: AlertEntityType
    entity_id: str
    parent_entity_type: IfSet[str] = None
    parent_entity_id: IfSet[str] = None
    config: AnsweredAlertSettings
    enabled: bool


class ListAlertSettingsResponse(ApiAnswer):
    """A page of spend alerts."""

    items: list[AlertSettingsResponse]
    pagination: PaginationResponse


class AlertInfo(ApiAnswer):
    """What was judged, against which thresholds, and when."""

    alert_settings: IfSet[AnsweredAlertSettings] = None
    value_at_time: WireDecimal
    timestamp: WireTime


class AlertLogResponse(Record):
    """One change of state of what is watched."""

    entity_type: AlertEntityType
    entity_id: str
    parent_entity_type: IfSet[str] = None
    parent_entity_id: IfSet[str] = None
    customer_id: IfSet[str] = None
    alert_type: AlertType
    alert_status: AlertState
    alert_info: AlertInfo
    customer: IfSet[CustomerResponse] = None
    wallet: IfSet[WalletResponse] = None
    feature: IfSet[FeatureResponse] = None


class ListAlertLogsResponse(ApiAnswer):
    """A page of changes of state, the newest first."""

    items: list[AlertLogResponse]
    pagination: PaginationResponse
