"""Requests about alerts, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import Any

from pydantic import StrictBool, model_validator

from schemas.alert import AlertSettingsRequest
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import AlertEntityTypeWord, AlertStateWord, AlertTypeWord
from schemas.errors import NotBuiltYet


class AlertSettings(AlertSettingsRequest, ApiRequest):
    """Thresholds of a watched number; those in percent come later."""

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, body: Any) -> Any:
        """Refuse thresholds that would be read as something else."""
        kind = body.get("alert_threshold_type") if isinstance(body, Mapping) else None
        if isinstance(kind, str) and kind.lower() == "percentage":
            raise NotBuiltYet("thresholds in percent belong to M2: not built yet")
        if kind not in (None, "") and str(kind).lower() != "absolute":
            raise ValueError("alert_threshold_type is absolute or percentage")
        return body


class CreateAlertSettingsRequest(ApiRequest):
    """Watch what a subscription, a line or a group spends."""

    entity_type: AlertEntityTypeWord
    entity_id: RequiredText
    config: AlertSettings
    parent_entity_type: AlertEntityTypeWord | None = None
    parent_entity_id: str | None = None


class UpdateAlertSettingsRequest(ApiUpdate):
    """Replace the thresholds of a spend alert."""

    config: AlertSettings


class AlertSettingsFilter(ApiSearch):
    """Search spend alerts."""

    entity_type: AlertEntityTypeWord | None = None
    entity_id: str | None = None
    entity_ids: list[str] | None = None
    parent_entity_type: AlertEntityTypeWord | None = None
    parent_entity_id: str | None = None
    parent_entity_ids: list[str] | None = None
    enabled: StrictBool | None = None


class AlertLogFilter(ApiSearch):
    """Search changes of state of all kinds of alerts."""

    entity_type: AlertEntityTypeWord | None = None
    entity_id: str | None = None
    alert_type: AlertTypeWord | None = None
    alert_status: AlertStateWord | None = None
    customer_id: str | None = None
