"""Where periods begin and end, and that they tile (billing.md 5 and 19)."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods.schedules import (
    Schedule,
    anchored,
    billing_periods,
    days_later,
    first_periods,
    line_periods,
    period_at,
    period_multiple,
    reset_window,
    reset_windows,
    schedule,
)
from schemas.errors import ValidationFailed
from schemas.period import Interval
from schemas.price import InvoiceCadence

RECURRING = ("DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL")
# Ordinary ones, half hours, southern summers, a midnight that is skipped, a day that was.
ZONES = (
    "UTC",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
)
DECEMBER_2011 = datetime(2011, 12, 28, 22, tzinfo=UTC)

# Twenty years of seconds, and often the days around the one that Apia skipped.
instants = st.one_of(
    st.integers(0, 20 * 366 * 86400).map(
        lambda seconds: datetime(2010, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    ),
    st.integers(-300, 300).map(lambda hours: DECEMBER_2011 + timedelta(hours=hours)),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + "Z")


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    start = draw(instants)
    cycle = draw(st.sampled_from(["anniversary", "calendar"]))
    anchor = draw(st.none() | instants) if cycle == "anniversary" else None
    length = draw(st.none() | st.integers(1, 10**8))
    return schedule(
        cycle,
        draw(st.sampled_from(RECURRING)),
        draw(st.integers(1, 4)),
        start,
        anchor=anchor,
        end=None if length is None else start + timedelta(seconds=length),
        timezone=draw(st.sampled_from(ZONES)),
    )


@pytest.mark.parametrize(
    ("start", "zone", "cycle", "bounds"),
    [
        ("2024-01-31T00:00", "UTC", "anniversary MONTHLY 1", "02-29 03-31 04-30 05-31"),
        ("2026-01-15T00:00", "UTC", "calendar MONTHLY 1", "02-01 03-01 04-01 05-01"),
        ("2026-01-01T00:00", "UTC", "calendar MONTHLY 1", "02-01 03-01 04-01 05-01"),
        ("2026-01-15T00:00", "UTC", "calendar WEEKLY 2", "01-19 02-02 02-16 03-02"),
        ("2026-01-15T00:00", "UTC", "calendar QUARTERLY 1", "04-01 07-01 10-01 01-01"),
        ("2026-08-15T00:00", "UTC", "calendar HALF_YEARLY 1", "01-01 07-01 01-01 07-01"),
        ("2025-12-31T20:00", "Asia/Kolkata", "calendar ANNUAL 1", "12-31 12-31 12-31 12-31"),
        ("2026-01-30T00:00", "UTC", "anniversary MONTHLY 3", "04-30 07-30 10-30 01-30"),
    ],
)
def test_boundaries_are_computed_from_the_anchor(
    start: str, zone: str, cycle: str, bounds: str
) -> None:
    name, period, count = cycle.split()
    made = schedule(name, period, int(count), at(start), timezone=zone)
    found = [span.period.end for span in first_periods(made, 4)]
    assert " ".join(f"{end:%m-%d}" for end in found) == bounds


@pytest.mark.parametrize(
    ("anchor", "count", "period", "bounds"),
    [
        ("2026-02-01T00:00", 3, "MONTHLY", "2026-02-01 2026-05-01 2026-08-01"),
        ("2026-06-15T00:00", 1, "ANNUAL", "2026-06-15 2027-06-15 2028-06-15"),
        ("2020-01-01T00:00", 1, "MONTHLY", "2026-02-01 2026-03-01 2026-04-01"),
    ],
)
def test_no_first_period_is_longer_than_a_full_one(
    anchor: str, count: int, period: str, bounds: str
) -> None:
    made = schedule("anniversary", period, count, at("2026-01-15T00:00"), anchor=at(anchor))
    found = [str(span.period.end.date()) for span in first_periods(made, 3)]
    assert " ".join(found) == bounds


def test_a_local_time_that_does_not_exist_moves_forward_by_the_gap() -> None:
    made = schedule(
        "anniversary", "MONTHLY", 1, at("2026-02-08T07:30"), timezone="America/New_York"
    )
    ends = [span.period.end for span in first_periods(made, 2)]
    assert ends == [at("2026-03-08T07:30"), at("2026-04-08T06:30")]


def test_a_local_time_that_happens_twice_is_the_first_but_for_the_anchor_itself() -> None:
    second = at("2026-11-01T06:30")
    grid = anchored(second, "ANNUAL", 1, "America/New_York")
    assert grid.boundary(0) == second
    daily = anchored(at("2026-10-31T05:30"), "DAILY", 1, "America/New_York")
    assert daily.boundary(1) == at("2026-11-01T05:30")


def test_a_calendar_grid_stays_at_midnight_where_the_first_one_does_not_exist() -> None:
    made = schedule("calendar", "DAILY", 1, at("2018-11-03T12:00"), timezone="America/Sao_Paulo")
    ends = [span.period.end for span in first_periods(made, 3)]
    assert ends == [at("2018-11-04T03:00"), at("2018-11-05T02:00"), at("2018-11-06T02:00")]


def test_a_day_that_was_skipped_has_no_period() -> None:
    made = schedule("anniversary", "DAILY", 1, DECEMBER_2011, timezone="Pacific/Apia")
    spans = first_periods(made, 4)
    assert [span.period.start.day for span in spans] == [28, 29, 30, 31]
    assert [period_at(made, span.period.start).index for span in spans] == [0, 1, 2, 3]


def test_bounds_are_cut_to_whole_seconds() -> None:
    made = schedule("anniversary", "MONTHLY", 1, datetime(2026, 1, 15, 1, 2, 3, 987654, UTC))
    assert made.start == made.grid.first == at("2026-01-15T01:02:03")


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("billing_cycle", {"cycle": "lunar"}),
        ("billing_period", {"period": "ONETIME"}),
        ("billing_period", {"period": "HOURLY"}),
        ("billing_period_count", {"count": 0}),
        ("billing_anchor", {"cycle": "calendar", "anchor": at("2026-02-01T00:00")}),
        ("end_date", {"end": at("2026-01-15T00:00")}),
        ("timezone", {"timezone": "Mars/Olympus"}),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(field: str, changed: dict[str, object]) -> None:
    usual: dict[str, object] = {
        "cycle": "anniversary",
        "period": "MONTHLY",
        "count": 1,
        "start": at("2026-01-15T00:00"),
    }
    with pytest.raises(ValidationFailed) as refused:
        schedule(**{**usual, **changed})  # type: ignore[arg-type]  # members by name
    assert refused.value.field == field


@pytest.mark.parametrize("instant", ["2026-01-14T23:59:59", "2026-03-01T00:00:00"])
def test_before_the_start_and_from_the_end_there_is_no_period(instant: str) -> None:
    made = schedule("anniversary", "MONTHLY", 1, at("2026-01-15T00:00"), end=at("2026-03-01T00:00"))
    with pytest.raises(ValidationFailed):
        period_at(made, at(instant))
    with pytest.raises(ValidationFailed):
        reset_window(made.grid, "MONTHLY", made.start, made.end, at(instant))


def test_one_can_look_to_the_end_of_the_calendar() -> None:
    made = schedule("anniversary", "ANNUAL", 10**30, at("2026-01-15T00:00"))
    assert len(list(billing_periods(made))) == 1
    daily = schedule("anniversary", "DAILY", 1, at("2026-01-15T00:00"), timezone="Asia/Kolkata")
    assert period_at(daily, at("9999-12-30T00:00")).index > 2_900_000


def test_a_line_is_charged_with_the_window_in_which_its_period_ends_or_starts() -> None:
    start, window = at("2026-01-01T00:00"), Interval(at("2026-03-01T00:00"), at("2026-04-01T00:00"))
    grid = anchored(start, "QUARTERLY", 1, "UTC")
    arrear = line_periods(grid, start, None, cadence=InvoiceCadence.ARREAR, window=window)
    advance = line_periods(grid, start, None, cadence=InvoiceCadence.ADVANCE, window=window)
    assert [span.period for span in arrear] == [Interval(start, at("2026-04-01T00:00"))]
    assert advance == ()


def test_a_version_of_a_line_is_charged_from_where_it_starts() -> None:
    chain, version = at("2026-01-10T00:00"), at("2026-02-20T00:00")
    grid = anchored(chain, "MONTHLY", 1, "UTC")
    window = Interval(at("2026-02-01T00:00"), at("2026-04-01T00:00"))
    (span,) = line_periods(grid, version, None, cadence=InvoiceCadence.ARREAR, window=window)
    assert span.period == Interval(version, at("2026-03-10T00:00"))
    assert span.full == Interval(at("2026-02-10T00:00"), at("2026-03-10T00:00"))


@pytest.mark.parametrize(
    ("longer", "shorter", "factor"),
    [
        (("QUARTERLY", 1), ("MONTHLY", 1), 3),
        (("ANNUAL", 1), ("QUARTERLY", 2), 2),
        (("WEEKLY", 2), ("DAILY", 7), 2),
        (("MONTHLY", 1), ("WEEKLY", 4), None),
        (("MONTHLY", 1), ("QUARTERLY", 1), None),
        (("QUARTERLY", 1), ("MONTHLY", 2), None),
    ],
)
def test_a_period_is_a_multiple_of_another_of_its_kind(
    longer: tuple[str, int], shorter: tuple[str, int], factor: int | None
) -> None:
    assert period_multiple(longer, shorter) == factor


def test_local_days_later_is_the_same_clock() -> None:
    assert days_later(at("2026-03-07T17:00"), 1, "America/New_York") == at("2026-03-08T16:00")
    assert days_later(at("2026-01-01T00:00"), 10**12, "UTC").year == 9999


@given(schedules())
def test_billing_periods_tile_and_none_is_longer_than_its_full_period(made: Schedule) -> None:
    spans = list(islice(billing_periods(made), 30))
    assert spans[0].period.start == made.start
    for before, after in pairwise(spans):
        assert before.period.end == after.period.start
        assert before.full.end == after.full.start
    for span in spans:
        assert span.period.start < span.period.end
        assert span.period.cut(span.full) == span.period
    if made.end is not None and len(spans) < 30:
        assert spans[-1].period.end == made.end


@given(schedules(), st.integers(0, 25))
def test_a_boundary_is_the_same_step_by_step_and_at_once(made: Schedule, steps: int) -> None:
    spans = list(islice(billing_periods(made), steps + 1))
    index, span = len(spans) - 1, spans[-1]
    for inside in (span.period.start, span.period.end - timedelta(microseconds=1)):
        found = period_at(made, inside)
        assert (found.period, found.full, found.index) == (span.period, span.full, index)


@given(schedules(), st.integers(-400, 400))
def test_boundaries_rise_with_their_number(made: Schedule, k: int) -> None:
    here, there = made.grid.boundary(k), made.grid.boundary(k + 1)
    assert here <= there
    assert made.grid.between(k, k + 1) == (1 if here < there else 0)
    assert made.grid.position(there) >= k + 1


@given(schedules(), st.sampled_from([*RECURRING, "NEVER"]), st.integers(0, 10**8))
def test_reset_windows_tile_each_service_period(
    made: Schedule, reset_period: str, offset: int
) -> None:
    instant = made.start + timedelta(seconds=offset)
    if made.end is not None:
        instant = min(instant, made.end - timedelta(seconds=1))
    period = period_at(made, instant).period
    period = Interval(period.start, min(period.end, period.start + timedelta(days=40)))
    windows = reset_windows(made.grid, reset_period, made.start, made.end, period)
    assert windows[0].start <= period.start
    assert windows[-1].end is None or windows[-1].end >= period.end
    assert all(one.end == other.start for one, other in pairwise(windows))
    for window in windows:
        inside = max(window.start, period.start)
        assert window == reset_window(made.grid, reset_period, made.start, made.end, inside)
