"""Answers: the worked example of metering.md, then laws, against a plain reading of the rules."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any, TypeAlias

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.answers import Answer, answer, totals_by_customer
from operators.cells import cut_minutes
from operators.partials import merge, start
from operators.quantities import buckets, quantities
from operators.usage import Usage, by_customer, of_customers, of_meter, usage_of_pairs
from operators.windows import window_of
from schemas.decimals import EXACT, rounded
from schemas.errors import ValidationFailed
from schemas.meter import Aggregation, AggregationType, Meter, ResetUsage, WindowSize
from schemas.period import Interval
from schemas.usage import PAIRS

Row: TypeAlias = dict[str, Any]

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# Cuts base windows: clocks of anchors count (metering.md 8).
ANCHOR = datetime(2025, 3, 31, 0, 0, 30, 1, tzinfo=UTC)


def meter_of(
    kind: str,
    *,
    multiplier: str | None = None,
    bucket: WindowSize | None = None,
    group_by: str | None = None,
    never: bool = False,
) -> Meter:
    field = None if kind == "COUNT" else "v"
    factor = None if multiplier is None else Decimal(multiplier)
    return Meter(
        "m",
        "t",
        "e",
        "Meter",
        "event",
        Aggregation(AggregationType(kind), field, None, factor, bucket, group_by),
        reset_usage=ResetUsage.NEVER if never else ResetUsage.BILLING_PERIOD,
    )


METERS = [
    *(meter_of(kind) for kind in AggregationType if kind != "SUM_WITH_MULTIPLIER"),
    *(meter_of(kind, never=True) for kind in AggregationType if kind != "SUM_WITH_MULTIPLIER"),
    meter_of("SUM_WITH_MULTIPLIER", multiplier="0.333333333333333333"),
    meter_of("SUM_WITH_MULTIPLIER", multiplier="3", never=True),
    meter_of("SUM", bucket=WindowSize.HOUR),
    meter_of("MAX", bucket=WindowSize.DAY),
    meter_of("MAX", bucket=WindowSize.MONTH),
    meter_of("MAX", bucket=WindowSize.QUARTER_HOUR, group_by="r"),
]
WINDOWS = [WindowSize.MINUTE, WindowSize.HOUR, WindowSize.DAY, WindowSize.WEEK, WindowSize.MONTH]


def pair(at: datetime, value: str, name: str, customer: str = "acme", group: str = "") -> Row:
    return {
        "meter_id": "m",
        "external_customer_id": customer,
        "group": group,
        "timestamp": at,
        "event_id": name,
        "value": Decimal(value),
        "member": name[:1].encode().ljust(16),
    }


def table_of(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=PAIRS)


def minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def usage_of(meter: Meter, rows: Sequence[Row], cuts: Sequence[datetime] = ()) -> Usage:
    """Return usage as stores give it: partial rows, and pairs of the base windows that are cut."""
    kind = meter.aggregation.type
    minutes = {minute(at) for at in cuts}
    cut = [row for row in rows if minute(row["timestamp"]) in minutes]
    return Usage(start(kind, table_of(rows)), table_of(cut))


def signed(meter: Meter, rows: Sequence[Row], period: Interval) -> Decimal:
    """Read the formulas of metering.md 7.1 event by event; `rows` are those that take part."""
    kind = meter.aggregation.type
    values = [Fraction(row["value"]) for row in rows]
    total: Fraction | int
    if kind == "WEIGHTED_SUM":
        length = (period.end - period.start) // MICROSECOND
        total = Fraction(0)
        for row, value in zip(rows, values, strict=True):
            left = (period.end - max(row["timestamp"], period.start)) // MICROSECOND
            total += value * left / length if length else value
    elif not rows:
        total = 0
    elif kind == "COUNT":
        total = len(rows)
    elif kind == "COUNT_UNIQUE":
        total = len({row["member"] for row in rows})
    elif kind == "LATEST":
        latest = max(rows, key=lambda row: (row["timestamp"], row["event_id"].encode()))
        total = Fraction(latest["value"])
    elif kind in {"MAX", "MIN"}:
        total = max(values) if kind == "MAX" else min(values)
    else:
        total = sum(values, Fraction(0))
        if kind == "AVG":
            total /= len(rows)
        total *= Fraction(meter.aggregation.multiplier or 1)
    exact = Fraction(total)
    return rounded(EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator)))


def expected(
    meter: Meter, rows: Sequence[Row], period: Interval, timezone: str
) -> tuple[Decimal, Decimal, int]:
    """Return value, signed quantity and count by a plain reading of metering.md 7.1."""
    never = meter.reset_usage is ResetUsage.NEVER
    inside = [
        row
        for row in rows
        if row["timestamp"] < period.end and (never or row["timestamp"] >= period.start)
    ]
    size = meter.aggregation.bucket_size
    if size is None:
        quantity = signed(meter, inside, period)
        return max(quantity, Decimal(0)), quantity, len(inside)

    def cell(row: Row) -> tuple[datetime, str]:
        window = window_of(size, row["timestamp"], timezone=timezone, anchor=ANCHOR)
        return window.start, row["group"] if meter.aggregation.group_by else ""

    value = quantity = Decimal(0)
    for _, held in groupby(sorted(inside, key=cell), key=cell):
        each = signed(meter, list(held), period)
        value = EXACT.add(value, max(each, Decimal(0)))
        quantity = EXACT.add(quantity, each)
    return value, quantity, len(inside)


VALUES = st.integers(-(10**38) + 1, 10**38 - 1) | st.integers(-(10**20), 10**20)
MOMENTS = st.integers(0, 40 * 24 * 60) | st.sampled_from([0, 1, 24 * 60, 31 * 24 * 60])
SECONDS = st.sampled_from([timedelta(0), timedelta(0), MICROSECOND, timedelta(seconds=30)])


@st.composite
def instants(draw: st.DrawFn) -> datetime:
    """Draw an instant of forty days: often an edge, or beside one, or inside a minute."""
    return NEW_YEAR + timedelta(minutes=draw(MOMENTS)) + draw(SECONDS)


@st.composite
def events(draw: st.DrawFn, events_max: int = 10) -> list[Row]:
    names = draw(st.lists(st.text("abé", min_size=1, max_size=3), max_size=events_max, unique=True))
    return [
        pair(
            draw(instants()),
            f"{Decimal(draw(VALUES)).scaleb(-18, EXACT):f}",
            name,
            draw(st.sampled_from(["acme", "bolt"])),
            draw(st.sampled_from(["", "eu"])),
        )
        for name in names
    ]


@st.composite
def periods(draw: st.DrawFn) -> Interval:
    return Interval(*sorted([draw(instants()), draw(instants())]))


def test_the_worked_example() -> None:
    days = [NEW_YEAR + timedelta(days=day - 1) for day in (1, 3, 6, 6)]
    values, groups = ["10", "4", "-2", "7"], ["eu", "eu", "eu", "us"]
    rows = [
        {**pair(at, value, name, group=group), "member": member.encode().ljust(16)}
        for at, value, name, group, member in zip(days, values, "abcd", groups, "xyx1", strict=True)
    ]
    period = Interval(NEW_YEAR, NEW_YEAR + timedelta(days=10))

    def value(meter: Meter) -> str:
        # Meters without groups do not tell them apart.
        own = rows if meter.aggregation.group_by else [{**row, "group": ""} for row in rows]
        return f"{answer(meter, usage_of(meter, own), period).value.normalize():f}"

    day = WindowSize.DAY
    plain = [value(meter_of(kind)) for kind in ("SUM", "AVG", "MAX", "MIN", "LATEST")]
    assert plain == ["19", "4.75", "10", "0", "7"]
    assert value(meter_of("COUNT_UNIQUE")) == "3"
    assert value(meter_of("SUM_WITH_MULTIPLIER", multiplier="0.5")) == "9.5"
    assert value(meter_of("WEIGHTED_SUM")) == "15.7"
    assert value(meter_of("SUM", bucket=day)) == "19"
    assert value(meter_of("MAX", bucket=day)) == "21"
    grouped = meter_of("MAX", bucket=day, group_by="r")
    found = answer(grouped, usage_of(grouped, rows), period)
    assert measures(found) == (21, 19, 4)
    assert [(each.start.day, each.group, int(each.value)) for each in found.buckets] == [
        (1, "eu", 10),
        (3, "eu", 4),
        (6, "eu", 0),
        (6, "us", 7),
    ]


def test_nothing_is_answered_with_zero() -> None:
    for meter in METERS:
        for usage in (usage_of(meter, []), usage_of_pairs(PAIRS.empty_table())):
            found = answer(
                meter,
                usage,
                Interval(NEW_YEAR, NEW_YEAR + timedelta(days=1)),
                window=WindowSize.DAY,
            )
            assert measures(found) == (0, 0, 0)
            assert [*found.windows, *found.buckets] == []


def test_a_cut_base_window_without_its_pairs_is_a_bug() -> None:
    meter = meter_of("SUM")
    usage = Usage(start("SUM", table_of([pair(NEW_YEAR, "1", "a")])), None)
    with pytest.raises(AssertionError, match="no pairs"):
        answer(meter, usage, Interval(NEW_YEAR + MICROSECOND, NEW_YEAR + timedelta(days=1)))


def test_an_unknown_zone_is_refused_also_where_nothing_is_cut() -> None:
    usage = usage_of_pairs(PAIRS.empty_table())
    with pytest.raises(ValidationFailed, match="Mars"):
        answer(meter_of("SUM"), usage, Interval(NEW_YEAR, NEW_YEAR), timezone="Mars/Olympus")


def test_usage_of_two_centuries_is_answered_in_quarters_of_an_hour() -> None:
    meter = meter_of("SUM", bucket=WindowSize.QUARTER_HOUR)
    first, last = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    rows = [pair(first, "1", "a"), pair(last - MICROSECOND, "2", "b")]
    found = answer(meter, usage_of(meter, rows), Interval(first, last), timezone="Europe/Berlin")
    assert measures(found) == (3, 3, 2)
    assert [each.counted for each in found.buckets] == [1, 1]


@given(st.sampled_from(METERS), events(), periods(), st.sampled_from(["UTC", "America/New_York"]))
def test_an_answer_is_what_a_reading_of_the_definitions_gives(
    meter: Meter, rows: list[Row], period: Interval, timezone: str
) -> None:
    cuts = cut_minutes(meter, period, timezone=timezone, anchor=ANCHOR)
    usage = usage_of(meter, rows, cuts)
    found = answer(meter, usage, period, timezone=timezone, anchor=ANCHOR)
    value, quantity, counted = expected(meter, rows, period, timezone)
    assert (found.value, found.quantity_signed, found.counted) == (value, quantity, counted)
    bare = answer(meter, usage_of_pairs(table_of(rows)), period, timezone=timezone, anchor=ANCHOR)
    assert bare == found


@given(
    st.sampled_from(METERS),
    events(),
    periods(),
    st.sampled_from(WINDOWS),
    st.sampled_from(["UTC", "Australia/Lord_Howe"]),
    st.booleans(),
)
def test_a_window_equals_the_query_for_it_alone(
    meter: Meter, rows: list[Row], period: Interval, size: WindowSize, timezone: str, fill: bool
) -> None:
    # Minutes of forty days are many: with them listed one by one the test would only be slow.
    fill = fill and size is not WindowSize.MINUTE
    usage = usage_of_pairs(table_of(rows))
    zoned: Row = {"timezone": timezone, "anchor": ANCHOR}
    found = answer(meter, usage, period, window=size, fill=fill, **zoned)
    for point in found.windows[:20]:
        alone = period.cut(Interval(point.start, point.end))
        assert alone is not None
        asked = answer(meter, usage, alone, **zoned)
        assert (point.value, point.quantity_signed) == (asked.value, asked.quantity_signed)
        assert point.counted == asked.counted
    inside = {row["timestamp"] for row in rows if period.holds(row["timestamp"])}
    used = found.window
    assert used is not None
    starts = {window_of(used, at, **zoned).start for at in inside}
    listed = {point.start for point in found.windows}
    assert starts <= listed if fill else starts == listed


@given(st.sampled_from(METERS), st.data())
def test_splitting_and_permuting_changes_nothing(meter: Meter, data: st.DataObject) -> None:
    rows, period = data.draw(events()), data.draw(periods())
    cuts = cut_minutes(meter, period, window=WindowSize.DAY, anchor=ANCHOR)
    minutes = {minute(at) for at in cuts}
    whole = usage_of(meter, rows, cuts)
    shuffled = data.draw(st.permutations(rows))
    middle = data.draw(st.integers(0, len(rows)))
    kind = meter.aggregation.type
    parts = [start(kind, table_of(part)) for part in (shuffled[middle:], shuffled[:middle])]
    pairs = table_of(row for row in shuffled if minute(row["timestamp"]) in minutes)
    again = Usage(merge(kind, parts), pairs)
    ask: Row = {"window": WindowSize.DAY, "anchor": ANCHOR}
    assert answer(meter, again, period, **ask) == answer(meter, whole, period, **ask)


@given(st.sampled_from(["COUNT", "SUM"]), events(), periods(), instants())
def test_adjacent_periods_share_no_event_and_lose_none(
    kind: str, rows: list[Row], period: Interval, at: datetime
) -> None:
    meter = meter_of(kind)
    middle = min(max(at, period.start), period.end)
    halves = [Interval(period.start, middle), Interval(middle, period.end)]
    usage = usage_of(meter, rows, [period.start, middle, period.end])
    whole = answer(meter, usage, period)
    parts = [answer(meter, usage, half) for half in halves]
    assert sum(part.counted for part in parts) == whole.counted
    assert EXACT.add(parts[0].quantity_signed, parts[1].quantity_signed) == whole.quantity_signed


@given(events(), periods(), st.sampled_from([None, WindowSize.HOUR]))
def test_negating_every_event_of_a_sum_negates_its_signed_quantity(
    rows: list[Row], period: Interval, bucket: WindowSize | None
) -> None:
    meter = meter_of("SUM", bucket=bucket)
    negated = [{**row, "value": row["value"].copy_negate()} for row in rows]
    found, other = (
        answer(meter, usage_of_pairs(table_of(each)), period).quantity_signed
        for each in (rows, negated)
    )
    assert found == other.copy_negate()


@given(events(), st.lists(instants(), min_size=3, max_size=3, unique=True))
def test_the_level_of_a_period_is_the_weighted_mean_of_its_halves(
    rows: list[Row], moments: list[datetime]
) -> None:
    meter = meter_of("WEIGHTED_SUM", never=True)
    first, middle, last = sorted(moments)
    usage = usage_of_pairs(table_of(rows))

    def level(begin: datetime, end: datetime) -> Fraction:
        return Fraction(answer(meter, usage, Interval(begin, end)).quantity_signed)

    mean = (
        level(first, middle) * ((middle - first) // MICROSECOND)
        + level(middle, last) * ((last - middle) // MICROSECOND)
    ) / ((last - first) // MICROSECOND)
    # Each of the three is rounded once, at the 18th digit.
    assert abs(level(first, last) - mean) <= Fraction(1, 10**18)


def measures(found: Answer | Row) -> tuple[Decimal | int, Decimal | int, int]:
    if isinstance(found, Answer):
        return found.value, found.quantity_signed, found.counted
    return found["value"], found["quantity_signed"], found["counted"]


@given(st.sampled_from(METERS), events(), periods(), st.sampled_from([None, *WINDOWS]))
def test_all_customers_at_once_are_each_customer_alone(
    meter: Meter, rows: list[Row], period: Interval, window: WindowSize | None
) -> None:
    usage = usage_of_pairs(table_of(rows))
    zoned: Row = {"timezone": "Asia/Kathmandu", "anchor": ANCHOR}
    table = totals_by_customer(meter, usage, period, window=window, **zoned).to_pylist()
    order = [
        (row["external_customer_id"], row["group"] or "", row["window_start"]) for row in table
    ]
    assert order == sorted(order)
    for customer in ("acme", "bolt"):
        own = of_customers(usage, {customer})
        rows_of_it = [row for row in table if row["external_customer_id"] == customer]
        for group, held in groupby(rows_of_it, key=lambda row: row["group"]):
            found = list(held)
            part = own
            if group is not None:
                named = [row for row in rows if row["group"] == group]
                part = of_customers(usage_of_pairs(table_of(named)), {customer})
            asked = answer(meter, part, period, window=window, **zoned)
            if window is None:
                assert [measures(row) for row in found] == [measures(asked)]
                assert found[0]["window_start"] == period.start
                assert found[0]["window_end"] == period.end
            else:
                points = [(each.start, each.value, each.counted) for each in asked.windows]
                assert points == [
                    (row["window_start"], row["value"], row["counted"]) for row in found
                ]
        if not rows_of_it and window is None:
            assert measures(answer(meter, own, period, **zoned)) == (0, 0, 0)


@given(st.sampled_from(METERS), events())
def test_slices_by_customer_are_the_whole(meter: Meter, rows: list[Row]) -> None:
    usage = of_meter(usage_of(meter, rows, [NEW_YEAR]), "m")
    period = Interval(NEW_YEAR, NEW_YEAR + timedelta(days=40))
    asked = answer(meter, usage, period)
    parts = dict(by_customer(usage))
    assert list(parts) == sorted({row["external_customer_id"] for row in rows})
    found = {name: answer(meter, part, period) for name, part in parts.items()}
    assert sum(each.counted for each in found.values()) == asked.counted
    for name, each in found.items():
        assert each == answer(meter, of_customers(usage, {name}), period)
    assert list(by_customer(of_meter(usage, "another"))) == []


@given(events(), periods())
def test_buckets_add_up_to_what_the_meter_bills(rows: list[Row], period: Interval) -> None:
    for meter in METERS:
        if meter.aggregation.bucket_size is None:
            continue
        found = answer(meter, usage_of_pairs(table_of(rows)), period, anchor=ANCHOR)
        value = quantity = Decimal(0)
        for each in found.buckets:
            value = EXACT.add(value, each.value)
            quantity = EXACT.add(quantity, each.quantity_signed)
        assert (value, quantity) == (found.value, found.quantity_signed)
        by = buckets(meter, usage_of_pairs(table_of(rows)), period, by=["external_customer_id"])
        assert sum(row["counted"] for row in by.to_pylist()) == found.counted


@given(st.sampled_from(METERS), events(), periods())
def test_every_window_is_listed_for_every_key_when_filled(
    meter: Meter, rows: list[Row], period: Interval
) -> None:
    usage = usage_of_pairs(table_of(rows))
    alone = quantities(meter, usage, period, window=WindowSize.DAY, fill=True)
    starts = alone["window_start"].to_pylist()
    by = ["external_customer_id"]
    table = quantities(meter, usage, period, by=by, window=WindowSize.DAY, fill=True)
    for _, own in groupby(table.to_pylist(), key=lambda row: row["external_customer_id"]):
        assert [row["window_start"] for row in own] == starts


def test_groups_of_a_query_are_columns_of_its_pairs() -> None:
    meter = meter_of("AVG")
    rows = [pair(NEW_YEAR, value, name) for value, name in (("1", "a"), ("2", "b"), ("9", "c"))]
    pairs = table_of(rows).append_column("source", pa.array(["x", "x", "y"]))
    day = Interval(NEW_YEAR, NEW_YEAR + timedelta(days=1))
    found = answer(meter, usage_of_pairs(pairs), day, group_by=["source"])
    assert found.value == 4
    assert {each.group: each.value for each in found.groups} == {("x",): Decimal("1.5"), ("y",): 9}
