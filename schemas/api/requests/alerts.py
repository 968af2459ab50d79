"""Requests about alerts, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import AlertConditionWord, AlertEntityTypeWord, AlertStateWord, AlertTypeWord
from schemas.doors import DecimalField


class AlertThreshold(ApiRequest):
    """What a request says of: alert threshold."""

    threshold: DecimalField
    condition: AlertConditionWord


class AlertSettings(ApiRequest):
    """What a request says of: alert settings."""

    LATER: ClassVar[Mapping[str, str]] = {"alert_threshold_type": "M2"}

    alert_enabled: StrictBool = False
    critical: AlertThreshold | None = None
    warning: AlertThreshold | None = None
    info: AlertThreshold | None = None
    hysteresis_percent: DecimalField | None = None
    unit: str | None = None


class CreateAlertSettingsRequest(ApiRequest):
    """What a request says of: create alert settings."""

    entity_type: AlertEntityTypeWord
    entity_id: RequiredText
    config: AlertSettings
    parent_entity_type: AlertEntityTypeWord | None = None
    parent_entity_id: str | None = None


class UpdateAlertSettingsRequest(ApiUpdate):
    """What a request says of: update alert settings."""

    config: AlertSettings


class AlertSettingsFilter(ApiSearch):
    """What a search asks of: alert settings."""

    entity_type: AlertEntityTypeWord | None = None
    entity_id: str | None = None
    entity_ids: list[str] | None = None
    parent_entity_type: AlertEntityTypeWord | None = None
    parent_entity_id: str | None = None
    parent_entity_ids: list[str] | None = None
    enabled: StrictBool | None = None


class AlertLogFilter(ApiSearch):
    """What a search asks of: alert log."""

    entity_type: AlertEntityTypeWord | None = None
    entity_id: str | None = None
    alert_type: AlertTypeWord | None = None
    alert_status: AlertStateWord | None = None
    customer_id: str | None = None
