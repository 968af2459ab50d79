"""Settings of a process: read once, validated, frozen (platform.md 5: flag > environment > file).

A setting is a field of `Settings`. Its flag is the field with dashes, its environment variable
`TALLY_` and the field in capitals, its key in the settings file the field itself. A name that is no
setting is refused with the nearest one that is: a misspelt setting must not be a silent default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

import yaml

from schemas.errors import ValidationFailed

PREFIX = "TALLY_"
TRUTHS = {"true": True, "false": False}

# Variables of the same prefix that belong to other commands or say where the file is.
ELSEWHERE = ("TALLY_API_KEY", "TALLY_SETTINGS", "TALLY_URL")

# Smallest and greatest value of each number; a bound of zero would stop the flow or never end it.
BOUNDS = {
    "batch_events_max": (1, 1_000_000),
    "flush_milliseconds": (1, 60_000),
    "epoch_milliseconds": (1, 600_000),
    "lateness_seconds": (0, 31_536_000),
    "shards": (1, 4096),
    "event_bytes_max": (1, 32 * 1024 * 1024),
    "gather_milliseconds": (1, 10_000),
    "port": (0, 65_535),
    "metrics_port": (0, 65_535),
    "intake_events_max": (1, 100_000),
    "log_hours": (1, 1_000_000),
    "log_megabytes": (1, 1_000_000_000),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process needs to know before it starts; the defaults run on one machine."""

    data: str = "./.tally"
    kafka_brokers: str = "localhost:9092"
    kafka_group: str = "tally-metering"
    # Empty means the embedded engine in the data folder.
    clickhouse_url: str = ""
    clickhouse_database: str = "tally"
    topic_events: str = "events"
    topic_usage: str = "usage"
    topic_dead_letters: str = "events.dlq"
    topic_invoice_lines: str = "invoice_lines"
    topic_alerts: str = "alerts"
    # The scope of records that name neither tenant nor environment (metering.md 13).
    tenant: str = "tenant_default"
    environment: str = "env_development"
    batch_events_max: int = 50_000
    flush_milliseconds: int = 500
    epoch_milliseconds: int = 1000
    lateness_seconds: int = 60
    shards: int = 4
    event_bytes_max: int = 1_000_000
    # How long a source waits for more records before it hands over what it has.
    gather_milliseconds: int = 200
    # The API listens here; port 0 takes a free one.
    host: str = "127.0.0.1"
    port: int = 8080
    # `tally run` serves /metrics on this port, process i of a cluster on port + i; 0 serves none.
    metrics_port: int = 0
    # Empty means SQLite in the data folder.
    database_url: str = ""
    # Take the valid events of every bulk request, also without ?partial=true.
    intake_partial: bool = False
    intake_events_max: int = 1000
    # The embedded log keeps records so long and so many, and longer what is not stored yet.
    log_hours: int = 168
    log_megabytes: int = 10_240
    log_level: str = "info"
    catalog: str = ""

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValidationFailed(
                    f"setting {name} must be from {least} to {most}, not {value}", field=name
                )


KINDS = {field.name: type(field.default) for field in fields(Settings)}


def variable(name: str) -> str:
    """Return the environment variable of a setting.

    >>> variable("kafka_brokers")
    'TALLY_KAFKA_BROKERS'
    """
    return PREFIX + name.upper()


def environment_of(settings: "Settings") -> dict[str, str]:
    """Return the environment that gives a process these settings.

    >>> environment_of(Settings(intake_partial=True))["TALLY_INTAKE_PARTIAL"]
    'true'
    """
    given = {name: getattr(settings, name) for name in KINDS}
    return {
        variable(name): str(value).lower() if KINDS[name] is bool else str(value)
        for name, value in given.items()
    }


def resolve(
    *,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings of a process; a flag wins over the environment, that over the file.

    A flag of None was not given. `defaults` are those of one command where nothing is said. Raises
    ValidationFailed for an unknown name or a value that is of another kind than its setting; the
    message says where it came from.

    >>> resolve(flags={"shards": 4}, environment={"TALLY_SHARDS": "8", "HOME": "/"}).shards
    4
    """
    values: dict[str, str | int | bool] = {}
    for name, value in (defaults or {}).items():
        values[name] = converted(name, value, "a default")
    for name, value in (file or {}).items():
        known(name, KINDS, "the settings file")
        values[name] = converted(name, value, "the settings file")
    variables = {variable(name): name for name in KINDS}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in ELSEWHERE:
            known(name, variables, "the environment")
            values[variables[name]] = converted(variables[name], environment[name], name)
    for name, value in flags.items():
        if value is not None:
            values[name] = converted(name, value, f"--{name.replace('_', '-')}")
    return Settings(**values)  # type: ignore[arg-type]  # converted() gave each its kind.


def known(name: str, names: Mapping[str, object], where: str) -> None:
    """Refuse a name that is no setting, with the nearest one that is."""
    if name not in names:
        near = get_close_matches(name, list(names), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValidationFailed(f"unknown setting {name} in {where}{hint}", field=name)


def converted(name: str, value: object, where: str) -> str | int | bool:
    """Return a value as its setting needs it.

    >>> converted("shards", "8", "TALLY_SHARDS"), converted("intake_partial", "true", "a flag")
    (8, True)
    """
    if KINDS[name] is bool:
        word = str(value).lower()
        if word not in TRUTHS:
            raise ValidationFailed(
                f"setting {name} must be true or false, not {value!r} ({where})", field=name
            )
        return TRUTHS[word]
    if KINDS[name] is str:
        if isinstance(value, str):
            return value
        raise ValidationFailed(f"setting {name} must be text, not {value!r} ({where})", field=name)
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise ValidationFailed(
            f"setting {name} must be a whole number, not {text!r} ({where})", field=name
        )
    return int(text)


def read_settings_file(path: str) -> Mapping[str, object]:
    """Return what a settings file (YAML) says; an absent path says nothing.

    Raises ValidationFailed if it cannot be read or is no mapping.
    """
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValidationFailed(f"settings file {path}: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ValidationFailed(f"settings file {path}: expected a mapping of settings")
    return loaded
