"""Settings: a flag wins over the environment, that over the file; a slip is never a default."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flows.settings import KINDS, Settings, read_settings_file, resolve, variable
from schemas.errors import ValidationFailed


@pytest.mark.parametrize(
    ("flags", "environment", "file", "shards"),
    [
        ({}, {}, {}, Settings().shards),
        ({}, {}, {"shards": 2}, 2),
        ({}, {"TALLY_SHARDS": "4"}, {"shards": 2}, 4),
        ({"shards": 8}, {"TALLY_SHARDS": "4"}, {"shards": 2}, 8),
        ({"shards": None}, {"TALLY_SHARDS": "4"}, {}, 4),
    ],
)
def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Mapping[str, object],
    shards: int,
) -> None:
    assert resolve(flags=flags, environment=environment, file=file).shards == shards


@pytest.mark.parametrize(
    ("environment", "file", "message"),
    [
        ({"TALLY_KAFKA_BROKER": "a"}, {}, "did you mean TALLY_KAFKA_BROKERS"),
        ({}, {"kafka_broker": "a"}, "did you mean kafka_brokers"),
        ({"TALLY_SHARDS": "many"}, {}, "shards must be a whole number, not 'many'"),
        ({"TALLY_SHARDS": "0"}, {}, "shards must be from 1 to 4096, not 0"),
        ({"TALLY_SHARDS": ""}, {}, "shards must be a whole number"),
        ({}, {"shards": True}, "shards must be a whole number"),
        ({}, {"data": 5}, "data must be text"),
    ],
)
def test_a_wrong_setting_is_refused(
    environment: Mapping[str, str], file: Mapping[str, object], message: str
) -> None:
    with pytest.raises(ValidationFailed, match=message):
        resolve(flags={}, environment=environment, file=file)


def test_variables_of_others_are_left_alone() -> None:
    environment = {"HOME": "/", "TALLY_API_KEY": "secret", "TALLY_SETTINGS": "file"}

    assert resolve(flags={}, environment=environment) == Settings()


def test_every_setting_can_come_from_the_environment() -> None:
    defaults = Settings()
    environment = {variable(name): str(getattr(defaults, name)) for name in KINDS}

    assert resolve(flags={}, environment=environment) == defaults


def test_a_settings_file_is_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("shards: 4\n")
    assert read_settings_file(str(path)) == {"shards": 4}

    path.write_text("- shards\n")
    with pytest.raises(ValidationFailed, match="expected a mapping of settings"):
        read_settings_file(str(path))
