"""Alerts: worked stories as tables, then what is told for any values in any order."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.alerts.levels import SettingsKind, check_settings, level, observe
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
from schemas.errors import ValidationFailed
from schemas.ids import AlertStreamId

DAY = datetime(2026, 1, 1, tzinfo=UTC)
STREAM = AlertStream(AlertStreamId("s"), AlertType.LOW_ONGOING_BALANCE, "wallet", "w", "c")


def below(
    critical: str | None, warning: str | None = None, info: str | None = None
) -> AlertSettings:
    levels = [
        None if text is None else Threshold(Decimal(text), AlertCondition.BELOW)
        for text in (critical, warning, info)
    ]
    return AlertSettings(True, levels[0], levels[1], levels[2])


def told(settings: AlertSettings, values: list[str]) -> list[str]:
    stream, found = STREAM, []
    for value in values:
        stream, alert = observe(stream, settings, Decimal(value), DAY)
        found.append(f"{stream.state}{' !' if alert else ''}")
    return found


def test_the_worked_story_of_three_levels() -> None:
    assert told(below("0", "10", "20"), ["50", "20", "10", "0", "-2", "15", "50", "60"]) == [
        "ok",
        "info !",
        "warning !",
        "in_alarm !",
        "in_alarm",
        "info !",
        "ok !",
        "ok",
    ]


def test_leaving_a_level_waits_for_the_band() -> None:
    settings = replace(below("100"), hysteresis_percent=Decimal(10))
    assert told(settings, ["105", "100", "105", "110", "110.01"]) == [
        "ok",
        "in_alarm !",
        "in_alarm",
        "in_alarm",
        "ok !",
    ]


def test_switching_off_forgets_the_alarm_in_silence() -> None:
    stream, alert = observe(STREAM, below("10"), Decimal(5), DAY)
    assert alert is not None
    off, silence = observe(stream, replace(below("10"), alert_enabled=False), Decimal(5), DAY)
    assert (off.state, silence) == (AlertState.OK, None)
    assert off.version == stream.version + 1
    assert observe(off, below("10"), Decimal(50), DAY) == (off, None)


def test_a_new_period_re_arms_in_silence_and_then_judges() -> None:
    above = AlertSettings(True, Threshold(Decimal(100), AlertCondition.ABOVE))
    spend = replace(STREAM, alert_type=AlertType.SUBSCRIPTION_SPEND)
    reached, first = observe(spend, above, Decimal(120), DAY, period="1")
    calm, silence = observe(reached, above, Decimal(0), DAY, period="2")
    again, second = observe(calm, above, Decimal(150), DAY, period="2")
    assert first is not None
    assert (calm.state, silence) == (AlertState.OK, None)
    assert second is not None
    assert (again.state, second.event) == (
        AlertState.IN_ALARM,
        "subscription.spend.threshold_reached",
    )


@pytest.mark.parametrize(
    "settings",
    [
        AlertSettings(alert_enabled=True),
        below(None, "10"),
        below("0", "10", "5"),
        below("0", None, "-1"),
        replace(below("0"), warning=Threshold(Decimal(1), AlertCondition.ABOVE)),
        replace(below("0"), hysteresis_percent=Decimal(-1)),
        replace(below("10", "5"), alert_enabled=False),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: AlertSettings) -> None:
    with pytest.raises(ValidationFailed):
        check_settings(settings)


def test_spend_is_watched_above_and_in_currency() -> None:
    above = AlertSettings(True, Threshold(Decimal(100), AlertCondition.ABOVE))
    check_settings(above, SettingsKind.SPEND)
    for refused in (below("100"), replace(above, unit=AlertUnit.CREDITS)):
        with pytest.raises(ValidationFailed):
            check_settings(refused, SettingsKind.SPEND)


values = st.lists(st.integers(-50, 150).map(Decimal), max_size=20)
bands = st.sampled_from(["0", "10", "50"]).map(
    lambda h: replace(below("0", "10", "20"), hysteresis_percent=Decimal(h))
)


@given(values, bands)
def test_alerts_are_the_changes_of_state_each_once(
    values: list[Decimal], settings: AlertSettings
) -> None:
    stream, alerts, states = STREAM, [], [STREAM.state]
    for value in values:
        stream, alert = observe(stream, settings, value, DAY)
        assert observe(stream, settings, value, DAY) == (stream, None)
        states.append(stream.state)
        alerts += [alert] if alert else []
    changes = [now for before, now in pairwise(states) if now != before]
    assert [alert.status for alert in alerts] == changes
    assert [alert.version for alert in alerts] == list(range(1, len(alerts) + 1))


@given(values, bands)
def test_a_recovered_follows_a_dropped(values: list[Decimal], settings: AlertSettings) -> None:
    stream, names = STREAM, []
    for value in values:
        stream, alert = observe(stream, settings, value, DAY)
        names += [alert.event] if isinstance(alert, Alert) else []
    for before, now in pairwise([None, *names]):
        if now == "wallet.ongoing_balance.recovered":
            assert before == "wallet.ongoing_balance.dropped"


@given(st.integers(-50, 150).map(Decimal), st.integers(-50, 150).map(Decimal))
def test_less_is_never_milder(one: Decimal, other: Decimal) -> None:
    order = list(AlertState)
    less, more = sorted((one, other))
    settings = below("0", "10", "20")
    assert order.index(level(settings, less)) >= order.index(level(settings, more))
