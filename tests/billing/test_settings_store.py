"""Settings: defaults, changes of members, and who made them; alike in memory and in SQL."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.configuration import BillingConfig, billing_config
from billing.invoices.numbers import NumberFormat, Numbering
from billing.ports.settings import SettingStore
from billing.settings import key_of
from billing.stores.database import Database, migrate
from billing.stores.memory_settings import MemorySettings
from billing.stores.scopes import ensure_scope
from billing.stores.settings import RememberedSettings, SqlSettings
from schemas.alert import AlertCondition, AlertSettings, Threshold
from schemas.errors import NotFound, Refused, ValidationFailed
from schemas.scope import Scope
from schemas.setting import SettingChange, SettingKey
from schemas.subscription import ProrationStrategy
from schemas.tax import TaxBase

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
SCOPE = Scope("tenant_default", "env_development")
POSTGRES = pytest.param("postgres", marks=pytest.mark.requires("postgres"))
INVOICE = SettingKey.INVOICE


@pytest.fixture(params=["memory", "sqlite", POSTGRES])
def settings(
    request: pytest.FixtureRequest,
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> SettingStore:
    if request.param == "memory":
        return MemorySettings()
    database = open_at(empty_database(request.param))
    migrate(database)
    return SqlSettings(database, SCOPE)


DEFAULTS: Mapping[SettingKey, Mapping[str, Any]] = {
    SettingKey.INVOICE: {
        "prefix": "INV",
        "format": "YYYYMM",
        "separator": "-",
        "start_sequence": 1,
        "suffix_length": 5,
        "timezone": "UTC",
        "due_date_days": 1,
        "auto_complete_purchased_credit_transaction": False,
        "finalization_delay_seconds": 7200,
        "tax_base": "before_credits",
    },
    SettingKey.SUBSCRIPTION: {
        "grace_period_days": 3,
        "auto_cancellation_enabled": False,
        "proration_strategy": "second_based",
    },
    SettingKey.WALLET_ALERT: {
        "alert_enabled": False,
        "critical": {"threshold": "0", "condition": "below"},
        "warning": None,
        "info": None,
        "hysteresis_percent": "0",
        "unit": "currency",
    },
    SettingKey.EVENT_FILTER: {"enabled": False, "allowed_external_customer_ids": []},
    SettingKey.WEBHOOK: {"allow_private_urls": False},
}


def test_before_the_first_write_there_are_the_defaults(settings: SettingStore) -> None:
    assert {key: each.value for key, each in settings.every().items()} == DEFAULTS
    assert {key: settings.get(key).value for key in SettingKey} == DEFAULTS
    assert settings.get(INVOICE).version == 0
    assert settings.get(INVOICE).created_at is None
    assert billing_config({}) == BillingConfig()


def test_a_change_replaces_members_and_says_who_and_when(settings: SettingStore) -> None:
    first = settings.put(INVOICE, {"prefix": "A", "due_date_days": 30}, NOON, "secret_1")
    assert first.value == {**DEFAULTS[INVOICE], "prefix": "A", "due_date_days": 30}
    second = settings.put(INVOICE, {"prefix": "B"}, LATER, "secret_2")
    assert second.value == {**DEFAULTS[INVOICE], "prefix": "B", "due_date_days": 30}
    assert (second.created_at, second.created_by) == (NOON, "secret_1")
    assert (second.updated_at, second.updated_by, second.version) == (LATER, "secret_2", 2)
    assert settings.get(INVOICE) == settings.every()[INVOICE] == second
    assert settings.history(INVOICE) == (
        SettingChange(INVOICE, 1, {"prefix": "A", "due_date_days": 30}, NOON, "secret_1"),
        SettingChange(INVOICE, 2, {"prefix": "B", "due_date_days": 30}, LATER, "secret_2"),
    )
    assert settings.history(SettingKey.WEBHOOK) == ()


def test_a_level_is_replaced_as_a_whole_and_taken_away_by_null(settings: SettingStore) -> None:
    key = SettingKey.WALLET_ALERT
    level = {"threshold": Decimal("10.50"), "condition": "BELOW"}
    enabled = settings.put(key, {"alert_enabled": True, "info": level}, NOON, "")
    assert enabled.value["info"] == {"threshold": "10.5", "condition": "below"}
    assert enabled.value["critical"] == {"threshold": "0", "condition": "below"}
    cleared = settings.put(key, {"critical": None}, NOON, "")
    assert cleared.value["critical"] is None
    assert settings.get(key) == cleared


REFUSED = (
    (SettingKey.INVOICE, {"suffix_length": 0}, "value.suffix_length"),
    (SettingKey.INVOICE, {"start_sequence": -1}, "value.start_sequence"),
    (SettingKey.INVOICE, {"format": "MMYY"}, "value.format"),
    (SettingKey.INVOICE, {"timezone": "Mars/Olympus"}, "value.timezone"),
    (
        SettingKey.INVOICE,
        {"finalization_delay_seconds": "7200"},
        "value.finalization_delay_seconds",
    ),
    (SettingKey.INVOICE, {"due_date_days": Decimal("1.5")}, "value.due_date_days"),
    (SettingKey.SUBSCRIPTION, {"grace_period_days": -1}, "value.grace_period_days"),
    (SettingKey.SUBSCRIPTION, {"proration_strategy": "monthly"}, "value.proration_strategy"),
    (SettingKey.WALLET_ALERT, {"alert_enabled": True, "critical": None}, "alert_settings"),
    (
        SettingKey.WALLET_ALERT,
        {"info": {"threshold": "-1", "condition": "below"}},
        "threshold",
    ),
    (SettingKey.WALLET_ALERT, {"info": {"threshold": "1"}}, "value.info.condition"),
    (SettingKey.EVENT_FILTER, {"allowed_external_customer_ids": [1]}, None),
    (SettingKey.WEBHOOK, {"allow_private_urls": "yes"}, "value.allow_private_urls"),
)


@pytest.mark.parametrize(("key", "given", "field"), REFUSED, ids=lambda each: str(each)[:40])
def test_what_a_setting_may_not_be_is_refused_and_nothing_is_changed(
    settings: SettingStore, key: SettingKey, given: Mapping[str, Any], field: str | None
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        settings.put(key, given, NOON, "secret_1")
    if field is not None:
        assert refused.value.field == field
    assert settings.get(key).value == DEFAULTS[key]
    assert settings.history(key) == ()


def test_all_problems_of_a_value_are_told_at_once() -> None:
    with pytest.raises(ValidationFailed) as refused:
        MemorySettings().put(INVOICE, {"suffix_length": 0, "format": "x"}, NOON, "")
    details = refused.value.details
    assert details is not None
    assert isinstance(details["fields"], list)
    told = [each["field"] for each in details["fields"]]
    assert sorted(told) == ["value.format", "value.suffix_length"]


def test_unknown_members_and_nulls_change_nothing(settings: SettingStore) -> None:
    changed = settings.put(INVOICE, {"colour": "red", "prefix": None}, NOON, "")
    assert changed.value == DEFAULTS[INVOICE]
    assert changed.members == {}
    at_once = settings.put(INVOICE, {"due_date_days": None}, NOON, "")
    assert at_once.value["due_date_days"] is None


def test_an_unknown_key_is_not_found() -> None:
    with pytest.raises(NotFound):
        key_of("invoice")
    assert [key_of(key.value) for key in SettingKey] == list(SettingKey)


def test_billing_obeys_what_was_set(settings: SettingStore) -> None:
    settings.put(
        INVOICE,
        {
            "prefix": "R",
            "format": "yyyy",
            "separator": "/",
            "start_sequence": 7,
            "suffix_length": 3,
            "timezone": "Europe/Berlin",
            "due_date_days": None,
            "auto_complete_purchased_credit_transaction": True,
            "finalization_delay_seconds": 60,
            "tax_base": "after_credits",
        },
        NOON,
        "",
    )
    settings.put(
        SettingKey.SUBSCRIPTION,
        {
            "grace_period_days": 9,
            "auto_cancellation_enabled": True,
            "proration_strategy": "day_based",
        },
        NOON,
        "",
    )
    settings.put(
        SettingKey.WALLET_ALERT,
        {"alert_enabled": True, "critical": {"threshold": "5", "condition": "below"}},
        NOON,
        "",
    )
    values = {key: each.value for key, each in settings.every().items()}
    assert billing_config(values) == BillingConfig(
        Numbering("R", NumberFormat.YYYY, "/", 7, 3, "Europe/Berlin"),
        timedelta(minutes=1),
        None,
        TaxBase.AFTER_CREDITS,
        auto_complete_purchases=True,
        proration_strategy=ProrationStrategy.DAY_BASED,
        grace_period_days=9,
        auto_cancellation=True,
        wallet_alerts=AlertSettings(
            alert_enabled=True, critical=Threshold(Decimal(5), AlertCondition.BELOW)
        ),
    )


def test_environments_have_settings_of_their_own(
    empty_database: Callable[[str], str], open_at: Callable[[str], Database]
) -> None:
    database = open_at(empty_database("sqlite"))
    migrate(database)
    other = Scope("tenant_default", "env_other")
    ensure_scope(database, other, NOON)
    SqlSettings(database, other).put(INVOICE, {"prefix": "B"}, NOON, "")
    assert SqlSettings(database, SCOPE).get(INVOICE).value == DEFAULTS[INVOICE]
    assert SqlSettings(database, SCOPE).history(INVOICE) == ()
    assert SqlSettings(database, other).get(INVOICE).value["prefix"] == "B"


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_change_takes_effect_at_once_here_and_soon_elsewhere() -> None:
    store, clock = MemorySettings(), Clock()
    here = RememberedSettings(store, seconds=2, clock=clock)
    elsewhere = RememberedSettings(store, seconds=2, clock=clock)
    assert elsewhere.config().due_date_days == here.config().due_date_days == 1
    here.put(INVOICE, {"due_date_days": 30}, NOON, "secret_1")
    assert here.config().due_date_days == 30
    assert here.get(INVOICE).value["due_date_days"] == 30
    assert elsewhere.config().due_date_days == 1
    clock.now = 2
    assert elsewhere.config().due_date_days == 30
    assert elsewhere.history(INVOICE) == store.history(INVOICE)


def test_a_refused_change_is_remembered_by_nobody() -> None:
    store = MemorySettings()
    remembered = RememberedSettings(store, seconds=2, clock=Clock())
    with pytest.raises(Refused):
        remembered.put(INVOICE, {"suffix_length": 0}, NOON, "")
    assert remembered.config() == BillingConfig()
