"""Zones come from the pinned package, by their exact names."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.errors import ValidationFailed
from schemas.zones import zone, zone_names


@pytest.mark.parametrize(
    ("name", "at", "hours"),
    [
        ("UTC", datetime(2026, 7, 1, tzinfo=UTC), 0),
        ("Asia/Kolkata", datetime(2026, 7, 1, tzinfo=UTC), 5.5),
        ("America/New_York", datetime(2026, 3, 8, 6, 59, tzinfo=UTC), -5),
        ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC), -4),
        ("Pacific/Apia", datetime(2026, 7, 1, tzinfo=UTC), 13),
    ],
)
def test_a_zone_knows_its_offset(name: str, at: datetime, hours: float) -> None:
    assert at.astimezone(zone(name)).utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", "utc", "../zones", "/etc/localtime", "Europe", "Europe/Berlin\0"]
)
def test_an_unknown_zone_is_refused_and_never_taken_as_utc(name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        zone(name)
    assert (refused.value.field, refused.value.reason) == ("timezone", "unknown_timezone")


def test_a_zone_is_read_once() -> None:
    assert zone("Europe/Berlin") is zone("Europe/Berlin")


def test_every_listed_zone_can_be_read() -> None:
    assert len(zone_names()) > 500
    for name in zone_names():
        assert zone(name).key == name
