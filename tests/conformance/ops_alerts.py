"""Adapters for alerts.json: levels, settings, the names of webhooks, and the story of a stream."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.alerts.levels import SettingsKind, check_settings, event_name, level, observe, watched
from billing.alerts.spend_settings import Subject, Watchable, check_spend_setting
from schemas.alert import AlertSettings, AlertSettingsRequest, AlertState, AlertStream, AlertType
from schemas.errors import Refused, ValidationFailed
from schemas.ids import AlertStreamId

FILES = ("alerts.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


def settings_of(body: Body) -> AlertSettings:
    """Read settings through the door; what it cannot read is refused."""
    try:
        return AlertSettingsRequest.model_validate(body).settings()
    except ValueError as error:
        raise ValidationFailed(str(error)) from error


def _alert_state(body: Body) -> Answer:
    return {"state": level(settings_of(body["settings"]), Decimal(body["value"]))}


def _alert_validate(body: Body) -> Answer:
    try:
        check_settings(settings_of(body["settings"]), SettingsKind(body["kind"]))
    except Refused as refused:
        return {"error": refused.code}
    return {"error": None}


def _alert_event(body: Body) -> Answer:
    return {"event": event_name(AlertType(body["alert_type"]), AlertState(body["to"]))}


def _alert_sequence(body: Body) -> Answer:
    settings = settings_of(body["settings"])
    rate = Decimal(body["conversion_rate"])
    stream = AlertStream(
        AlertStreamId("stream"), AlertType(body["alert_type"]), "wallet", "wallet", "customer"
    )
    answers = []
    for step in body["steps"]:
        if step["settings"] is not None:
            settings = settings_of(step["settings"])
        value = watched(settings, Decimal(step["value"]), rate)
        at = datetime.fromisoformat(step["at"])
        stream, alert = observe(stream, settings, value, at, period=step["period"])
        again, silent = observe(stream, settings, value, at, period=step["period"])
        assert (again, silent) == (stream, None), "the same observation twice tells nothing more"
        told = alert is not None and alert.event is not None
        answers.append(
            {
                "state": stream.state,
                "alert": {"status": alert.status, "event": alert.event} if alert and told else None,
            }
        )
    return {"steps": answers}


def _subject(body: Body) -> Subject:
    try:
        entity = Watchable(body["entity_type"])
    except ValueError as error:
        raise ValidationFailed(str(error), field="entity_type") from error
    return Subject(entity, body["entity_id"], body["parent_entity_id"])


def _alert_setting(body: Body) -> Answer:
    try:
        request = body["request"]
        check_spend_setting(
            _subject(request),
            settings_of(request["config"]),
            subscriptions=body["subscriptions"],
            groups=body["groups"],
            existing=[_subject(other) for other in body["existing"]],
        )
    except Refused as refused:
        return {"error": refused.code}
    return {"error": None}


OPS = {
    "alert_setting": _alert_setting,
    "alert_state": _alert_state,
    "alert_validate": _alert_validate,
    "alert_event": _alert_event,
    "alert_sequence": _alert_sequence,
}
