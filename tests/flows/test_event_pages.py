"""Pages of events: each accepted event once, in one order, counted exactly, whatever is asked."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.connectors.usage_answers import StoredAnswers
from flows.stores.clickhouse import Store, open_store
from flows.stores.cursors import Cursor, cursor_text
from flows.stores.tables import STORED_EVENTS, WITHDRAWN
from operators.digests import identity_digests
from operators.matching import matches
from operators.properties import property_columns
from schemas.errors import ValidationFailed
from schemas.event_query import EventPage, EventQuery, EventSort
from schemas.meter import Filter
from schemas.period import Interval
from schemas.scope import Scope

pytestmark = pytest.mark.requires("embedded")

START = datetime(2026, 1, 30, tzinfo=UTC)
WEEK = Interval(START, START + timedelta(days=7))
NASTY = [
    "it's",
    "back\\slash",
    "tab\tand\nline",
    "::",
    "",
    "é漢\U0001f600",
    "{tenant:String}",
    "%s",
]
OFFSETS = count(1)
ENVIRONMENTS = count(1)

Row = dict[str, Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(str(tmp_path_factory.mktemp("store")), "tally_pages") as opened:
        yield opened


@pytest.fixture
def scope() -> Scope:
    return Scope("t", f"pages_{next(ENVIRONMENTS)}")


def put(store: Store, scope: Scope, *rows: Row) -> pa.Table:
    """Store events, plain where nothing is said."""
    whole = [
        {
            "partition": 0,
            "offset": next(OFFSETS),
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "event_id": f"event_{number}",
            "event_name": "call",
            "external_customer_id": "acme",
            "customer_id": "",
            "source": "",
            "timestamp": START,
            "timestamp_given": True,
            "ingested_at": START,
            "properties": "{}",
            "event_digest": b" " * 16,
            "received_at": START,
        }
        | row
        for number, row in enumerate(rows)
    ]
    table = pa.Table.from_pylist(whole, STORED_EVENTS)
    place = STORED_EVENTS.get_field_index("event_digest")
    table = table.set_column(place, STORED_EVENTS.field(place), identity_digests(table))
    store.insert_events(table)
    return table


def beyond(query: EventQuery, cursor: str, key: str | None) -> EventQuery:
    """Return the query for the page on one side of a key."""
    newer, older = (key if cursor == name else None for name in ("newer_than", "older_than"))
    return replace(query, newer_than=newer, older_than=older)


def ids(page: EventPage) -> list[str]:
    return [each.event_id for each in page.events]


def expected(query: EventQuery, table: pa.Table) -> list[str]:
    """Return the ids of all pages together, by a plain reading of the rules."""
    columns = property_columns(table["properties"], [each.key for each in query.property_filters])
    passed = matches(query.property_filters, table, columns).to_pylist()
    rows = [
        row
        for row, passes in zip(table.to_pylist(), passed, strict=True)
        if passes
        and query.period.holds(row["timestamp"])
        and query.external_customer_id in (None, row["external_customer_id"])
        and query.event_name in (None, row["event_name"])
        and query.event_id in (None, row["event_id"])
        and query.source in (None, row["source"])
    ]

    def key(row: Row) -> tuple[Any, bytes]:
        first = row[query.sort]
        return first.encode() if isinstance(first, str) else first, row["event_id"].encode()

    return [row["event_id"] for row in sorted(rows, key=key, reverse=query.descending)]


# Several hours, and several events at one instant.
SECONDS = st.sampled_from([0, 1, 1, 3599, 3600, 3601, 9000, 9000])


@st.composite
def rows_of(draw: st.DrawFn) -> list[Row]:
    names = draw(st.lists(st.sampled_from([*NASTY, *"abcdefgh"]), max_size=12, unique=True))
    return [
        {
            "event_id": name,
            "timestamp": START + timedelta(seconds=draw(SECONDS)),
            "event_name": draw(st.sampled_from(["call", "é", "it's"])),
            "external_customer_id": draw(st.sampled_from(["acme", "a\\b"])),
            "source": draw(st.sampled_from(["", "api"])),
            "properties": draw(
                st.sampled_from(
                    [
                        "{}",
                        '{"n": 10}',
                        '{"n": "10"}',
                        '{"n": 1e1, "source": "own"}',
                        '{"\\u006e": 10.0}',
                        '{"n": "te\\/xt"}',
                        '{"n": "te/xt"}',
                        '{"n": 0.1000000000000000055}',
                        '{"n": 0.1}',
                    ]
                )
            ),
        }
        for name in names
    ]


FILTERS = [
    (),
    (Filter("n", ("10",)),),
    (Filter("n", ("te/xt", "")),),
    (Filter("n", ("te/xt",)),),
    (Filter("n", ("0.1",)),),
    (Filter("source", ("api",)),),
    (Filter("source", ("own", "api")), Filter("n", ("10",))),
]


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "period": Interval(
            START, START + timedelta(seconds=draw(st.sampled_from([1, 3600, 3602, 20_000])))
        ),
        "external_customer_id": draw(st.sampled_from([None, None, "a\\b"])),
        "event_name": draw(st.sampled_from([None, None, "it's"])),
        "event_id": draw(st.sampled_from([None, None, None, "a", "it's", "back\\slash", ""])),
        "source": draw(st.sampled_from([None, None, "api", ""])),
        "property_filters": draw(st.sampled_from(FILTERS)),
        "page_size": draw(st.integers(1, 5)),
        "sort": draw(st.sampled_from(EventSort)),
        "descending": draw(st.booleans()),
    }


@given(rows_of(), queries())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_hold_each_event_once_in_one_order(
    store: Store, rows: list[Row], asked: dict[str, Any]
) -> None:
    scope = Scope("t", f"law_{next(ENVIRONMENTS)}")
    table = put(store, scope, *rows)
    query = EventQuery(scope, **asked)
    whole = expected(query, table)
    answers = StoredAnswers(store)

    by_offset: list[str] = []
    for offset in range(0, len(whole) + 1, query.page_size):
        page = answers.events(replace(query, offset=offset))
        assert page.total_count == len(whole)
        by_offset += ids(page)
        assert page.has_more == (len(by_offset) < len(whole))
    assert by_offset == whole

    onwards = "older_than" if query.descending else "newer_than"
    page = answers.events(query)
    by_cursor = ids(page)
    while page.has_more:
        page = answers.events(beyond(query, onwards, page.last_key))
        by_cursor += ids(page)
    assert by_cursor == whole

    back = "newer_than" if query.descending else "older_than"
    backwards = ids(page)
    page = answers.events(beyond(query, back, page.first_key)) if backwards else page
    while page.events:
        backwards = ids(page) + backwards
        page = answers.events(beyond(query, back, page.first_key))
    assert backwards == whole


def test_an_event_comes_back_as_it_was_sent(store: Store, scope: Scope) -> None:
    row = {
        "event_id": "it's",
        "customer_id": "cust_1",
        "source": "api",
        "timestamp": START + timedelta(microseconds=7),
        "ingested_at": START + timedelta(seconds=1),
        "properties": '{"n":0.1000000000000000055}',
    }
    put(store, scope, row)
    (found,) = StoredAnswers(store).events(EventQuery(scope, WEEK, event_id="it's")).events
    shown = {name: getattr(found, name) for name in row}
    assert shown == row
    assert (found.event_name, found.external_customer_id) == ("call", "acme")


def test_what_was_written_twice_or_withdrawn_is_not_listed_twice(
    store: Store, scope: Scope
) -> None:
    table = put(store, scope, {"event_id": "a"}, {"event_id": "b"})
    store.insert_events(table)
    (later,) = put(store, scope, {"event_id": "a", "partition": 1}).to_pylist()
    place = {"partition": later["partition"], "offset": later["offset"]}
    store.withdraw_events(pa.Table.from_pylist([place], WITHDRAWN))
    page = StoredAnswers(store).events(EventQuery(scope, WEEK))
    assert (ids(page), page.total_count, page.has_more) == (["b", "a"], 2, False)
    filtered = EventQuery(scope, WEEK, property_filters=(Filter("source", ("x",)),))
    empty = StoredAnswers(store).events(filtered)
    assert empty == EventPage((), 0, has_more=False, first_key=None, last_key=None)


def test_filters_by_property_are_judged_in_pieces(
    store: Store, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.stores.event_pages.EVENTS_TOGETHER", 2)
    rows = [
        {
            "event_id": f"{number:02d}",
            "timestamp": START + timedelta(minutes=7 * number),
            "properties": json.dumps({"n": number % 2}),
        }
        for number in range(20)
    ]
    put(store, scope, *rows)
    query = EventQuery(scope, WEEK, property_filters=(Filter("n", ("1",)),), page_size=3, offset=2)
    page = StoredAnswers(store).events(query)
    assert (ids(page), page.total_count, page.has_more) == (["15", "13", "11"], 10, True)


@pytest.mark.parametrize("field", ["newer_than", "older_than"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "no cursor",
        "é",
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b'[true,"a","b"]').decode(),
        base64.urlsafe_b64encode(b'[-1,"a","b"]').decode(),
        base64.urlsafe_b64encode(b'[99999999999999999999,"a","b"]').decode(),
        base64.urlsafe_b64encode(b'[1,"a","\\ud800"]').decode(),
        base64.urlsafe_b64encode(b'[1,"a","\\u0000"]').decode(),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff").decode(),
    ],
)
def test_a_cursor_that_names_no_place_is_refused(
    store: Store, scope: Scope, field: str, text: str
) -> None:
    query = EventQuery(scope, WEEK)
    with pytest.raises(ValidationFailed) as refused:
        StoredAnswers(store).events(beyond(query, field, text))
    assert refused.value.field in {"iter_first_key", "iter_last_key"}


@given(st.integers(0, 10**15), st.text(), st.text())
def test_a_cursor_is_plain_ascii_that_a_url_carries(at: int, name: str, event_id: str) -> None:
    try:
        (name + event_id).encode()
    except UnicodeEncodeError:
        return
    text = cursor_text(Cursor(at, name, event_id))
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
