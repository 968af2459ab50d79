"""Alerts: which level a value has, where a stream goes from there, and what is told of it.

Entering a level is immediate, leaving it waits for the band of the hysteresis. Watching the same
value again changes nothing, so replaying usage emits nothing (wallets-alerts.md 11).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.wallets.holdings import half_up_credits
from schemas.alert import (
    Alert,
    AlertCondition,
    AlertSettings,
    AlertState,
    AlertStream,
    AlertType,
    AlertUnit,
    Threshold,
)
from schemas.decimals import EXACT
from schemas.errors import ValidationFailed

# From the most severe to the mildest, with the member of the settings that enters each.
LEVELS = (
    (AlertState.IN_ALARM, "critical"),
    (AlertState.WARNING, "warning"),
    (AlertState.INFO, "info"),
)
SEVERITY = {state: rank for rank, state in enumerate(AlertState)}

# The default of the setting wallet_balance_alert_config.
NEVER = AlertSettings(critical=Threshold(Decimal(0), AlertCondition.BELOW))

# The streams whose value is a balance, so that thresholds in credits mean something.
WALLET_STREAMS = frozenset(
    {
        AlertType.LOW_ONGOING_BALANCE,
        AlertType.LOW_CREDIT_BALANCE,
        AlertType.FEATURE_WALLET_BALANCE,
    }
)

# The webhook of entering a level, and of going back to ok; None where nothing is sent.
EVENTS: dict[AlertType, tuple[str, str | None]] = {
    AlertType.LOW_ONGOING_BALANCE: (
        "wallet.ongoing_balance.dropped",
        "wallet.ongoing_balance.recovered",
    ),
    AlertType.LOW_CREDIT_BALANCE: (
        "wallet.credit_balance.dropped",
        "wallet.credit_balance.recovered",
    ),
    AlertType.FEATURE_WALLET_BALANCE: (
        "feature.wallet_balance.alert",
        "feature.wallet_balance.alert",
    ),
    AlertType.SUBSCRIPTION_SPEND: (
        "subscription.spend.threshold_reached",
        "subscription.spend.threshold_recovered",
    ),
    AlertType.SUBSCRIPTION_LINE_ITEM_SPEND: (
        "subscription.line_item_spend.threshold_reached",
        "subscription.line_item_spend.threshold_recovered",
    ),
    AlertType.SUBSCRIPTION_GROUP_SPEND: (
        "subscription.group_spend.threshold_reached",
        "subscription.group_spend.threshold_recovered",
    ),
    AlertType.ENTITLEMENT_GRANT_THRESHOLD: (
        "entitlement.grant.threshold_reached",
        "entitlement.grant.threshold_recovered",
    ),
    AlertType.ENTITLEMENT_GRANT_EXHAUSTED: ("entitlement.grant.exhausted", None),
}


class SettingsKind(StrEnum):
    """What the settings belong to: spend is watched from below only."""

    WALLET = "wallet"
    SPEND = "spend"


def levels(settings: AlertSettings) -> list[tuple[AlertState, Threshold]]:
    """Return the levels that the settings have, the most severe first."""
    found = [(state, getattr(settings, name)) for state, name in LEVELS]
    return [(state, level) for state, level in found if level is not None]


def check_settings(settings: AlertSettings, kind: SettingsKind = SettingsKind.WALLET) -> None:
    """Refuse settings that contradict themselves, also while they are disabled.

    Raises ValidationFailed naming the member: enabled needs a level, warning needs critical, one
    condition for all (above for spend), and severity must rise with the thresholds; equal ones are
    allowed, the more severe wins. Source: wallets-alerts.md 11.
    """
    given = levels(settings)
    if settings.alert_enabled and not given:
        raise ValidationFailed("enabled alerts need at least one level", field="alert_settings")
    if settings.warning is not None and settings.critical is None:
        raise ValidationFailed("warning needs critical", field="critical")
    conditions = {level.condition for _, level in given}
    if len(conditions) > 1:
        raise ValidationFailed("all levels need the same condition", field="condition")
    if kind is SettingsKind.SPEND and conditions - {AlertCondition.ABOVE}:
        raise ValidationFailed("spend is watched with condition above", field="condition")
    if kind is SettingsKind.SPEND and settings.unit is not AlertUnit.CURRENCY:
        raise ValidationFailed("spend is watched in currency", field="unit")
    thresholds = [level.threshold for _, level in given]
    below = AlertCondition.BELOW in conditions
    if thresholds != sorted(thresholds, reverse=not below):
        raise ValidationFailed("thresholds must rise with severity", field="threshold")
    if settings.hysteresis_percent < 0:
        raise ValidationFailed("must not be negative", field="hysteresis_percent")


def _reached(value: Decimal, threshold: Decimal, condition: AlertCondition) -> bool:
    return value <= threshold if condition is AlertCondition.BELOW else value >= threshold


def _judged(
    settings: AlertSettings, value: Decimal, place: Callable[[Threshold], Decimal]
) -> AlertState:
    """Return the most severe level whose threshold, put where `place` says, the value reaches."""
    for state, level in levels(settings):
        if _reached(value, place(level), level.condition):
            return state
    return AlertState.OK


def level(settings: AlertSettings, value: Decimal) -> AlertState:
    """Return the level of a value, without history; thresholds are inclusive.

    >>> level(replace(NEVER, alert_enabled=True), Decimal(0))
    <AlertState.IN_ALARM: 'in_alarm'>
    """
    if not settings.alert_enabled:
        return AlertState.OK
    return _judged(settings, value, lambda level: level.threshold)


def next_state(settings: AlertSettings, present: AlertState, value: Decimal) -> AlertState:
    """Return where a stream goes: up at once, down only when the value has left the band.

    Source: wallets-alerts.md 11, "Next state".

    >>> banded = replace(NEVER, alert_enabled=True, hysteresis_percent=Decimal(10),
    ...                  critical=Threshold(Decimal(100), AlertCondition.BELOW))
    >>> next_state(banded, AlertState.IN_ALARM, Decimal(110)).value
    'in_alarm'
    >>> next_state(banded, AlertState.IN_ALARM, Decimal("110.01")).value
    'ok'
    """
    entered = level(settings, value)
    if not settings.alert_enabled or SEVERITY[entered] >= SEVERITY[present]:
        return entered

    def outwards(level: Threshold) -> Decimal:
        width = EXACT.multiply(abs(level.threshold), settings.hysteresis_percent).scaleb(-2, EXACT)
        move = EXACT.add if level.condition is AlertCondition.BELOW else EXACT.subtract
        return move(level.threshold, width)

    held = min(present, _judged(settings, value, outwards), key=SEVERITY.__getitem__)
    return max(entered, held, key=SEVERITY.__getitem__)


def event_name(alert_type: AlertType, present: AlertState) -> str | None:
    """Return the webhook of a change into a state, None where none is sent.

    >>> event_name(AlertType.LOW_CREDIT_BALANCE, AlertState.OK)
    'wallet.credit_balance.recovered'
    """
    entered, recovered = EVENTS[alert_type]
    return recovered if present is AlertState.OK else entered


def watched(settings: AlertSettings, value: Decimal, conversion_rate: Decimal) -> Decimal:
    """Return a balance in the unit of the thresholds: as it is, or as the credits it is worth.

    >>> watched(AlertSettings(unit=AlertUnit.CREDITS), Decimal(5), Decimal("0.01"))
    Decimal('500.000000000')
    """
    if settings.unit is AlertUnit.CURRENCY:
        return value
    return half_up_credits(Fraction(value) / Fraction(conversion_rate))


def observe(
    stream: AlertStream,
    settings: AlertSettings,
    value: Decimal,
    at: datetime,
    *,
    period: str | None = None,
) -> tuple[AlertStream, Alert | None]:
    """Judge a value: return the stream as it is now, and the alert if its state changed.

    Disabled settings and a new period take the stream to ok in silence, so nothing is recovered
    afterwards. The version grows with every change, the silent ones included; a repeated
    observation returns the stream that was passed in.
    """
    silenced = not settings.alert_enabled and stream.state is not AlertState.OK
    if silenced or period != stream.period:
        version = stream.version + 1
        stream = replace(stream, state=AlertState.OK, period=period, version=version)
    state = next_state(settings, stream.state, value)
    if state is stream.state:
        return stream, None
    changed = replace(stream, state=state, version=stream.version + 1)
    return changed, Alert(
        stream_id=stream.id,
        version=changed.version,
        alert_type=stream.alert_type,
        entity_type=stream.entity_type,
        entity_id=stream.entity_id,
        parent_id=stream.parent_id,
        customer_id=stream.customer_id,
        status=state,
        previous=stream.state,
        event=event_name(stream.alert_type, state),
        value=value,
        settings=settings,
        at=at,
    )
