"""The demo's numbers against an independent calculation: SQL over what its generator meant, then
prices written out by hand. Nothing here is shared with operators or billing.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from billing.running import BillingRun
from flows.bill_report import report_of
from flows.demo.generator import END_AT, START_AT, Generated, generate
from flows.demo.report import DemoReport, demo_catalog, demo_report
from flows.metering.files import meter_files

pytestmark = [pytest.mark.requires("embedded"), pytest.mark.timeout(300)]

EVENTS, SEED = 120_000, 7
EXACT = Context(prec=100)
DAY = timedelta(days=1)


def day(month: int, number: int) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


CHANGE_AT = day(1, 20)
# Customer, plan, start and end of the first period.
SUBSCRIPTIONS = {
    "acme": ("team", day(1, 1), day(2, 1)),
    "brightloom": ("team", day(1, 1), day(2, 1)),
    "cedarworks": ("studio", day(1, 1), day(2, 1)),
    "duskfield": ("team", day(1, 5), day(2, 5)),
    "emberline": ("studio", day(1, 1), day(2, 1)),
}
FEES = {"team": ("Team fee", Decimal(20)), "studio": ("Studio fee", Decimal(45))}
WALLETS = ("acme", "brightloom", "cedarworks")


class Demo(NamedTuple):
    generated: Generated
    report: DemoReport
    counts: dict[str, int]


class Line(NamedTuple):
    name: str
    start: datetime
    end: datetime
    quantity: Decimal
    amount: Decimal


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    generated = generate(EVENTS, seed=SEED)
    log = tmp_path_factory.mktemp("demo") / "events.ndjson"
    generated.write(log)
    return Demo(generated, *metered(log))


def metered(log: Path) -> tuple[DemoReport, dict[str, int]]:
    catalog = demo_catalog()
    with meter_files(catalog, [str(log)]) as files:
        return demo_report(catalog, files), files.counts


@pytest.fixture(scope="module")
def sql(demo: Demo) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("meant", demo.generated.meant)
        yield connection


def rows_of(sql: duckdb.DuckDBPyConnection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return sql.execute(query, list(values)).fetchall()


def number(
    sql: duckdb.DuckDBPyConnection, what: str, where: str, customer: str, s: datetime, e: datetime
) -> Decimal:
    """One figure of one customer over [s, e)."""
    query = (
        f"SELECT coalesce({what}, 0) FROM meant WHERE {where} AND external_customer_id = ? "
        "AND timestamp >= ? AND timestamp < ?"
    )
    ((value,),) = rows_of(sql, query, customer, s, e)
    return Decimal(value)


LARGE = "event_name = 'llm.completion' AND model = 'large' AND value IS NOT NULL"
SMALL = "event_name = 'llm.completion' AND model IN ('small', 'tiny') AND value IS NOT NULL"
REQUESTS = "event_name = 'api.request'"
STORAGE = "event_name = 'storage.changed'"


def storage_level(
    sql: duckdb.DuckDBPyConnection, customer: str, s: datetime, e: datetime
) -> Decimal:
    """The average level over [s, e) of all changes so far, exact in microseconds."""
    ((moment,),) = rows_of(
        sql,
        "SELECT coalesce(sum((value * 1000)::HUGEINT * (epoch_us(?::TIMESTAMPTZ) - "
        "greatest(epoch_us(timestamp), epoch_us(?::TIMESTAMPTZ)))), 0) FROM meant "
        f"WHERE {STORAGE} AND external_customer_id = ? AND timestamp < ?",
        e,
        s,
        customer,
        e,
    )
    length = (e - s) // timedelta(microseconds=1)
    exact = Fraction(int(moment), 1000 * length)
    level = EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
    return max(level, Decimal(0)).quantize(Decimal("1e-18"), ROUND_HALF_EVEN, EXACT)


def seat_days(sql: duckdb.DuckDBPyConnection, customer: str, s: datetime, e: datetime) -> Decimal:
    ((value,),) = rows_of(
        sql,
        "SELECT coalesce(sum(highest), 0) FROM (SELECT max(value) AS highest FROM meant "
        "WHERE event_name = 'seats.counted' AND external_customer_id = ? AND timestamp >= ? "
        "AND timestamp < ? GROUP BY date_trunc('day', timestamp), workspace)",
        customer,
        s,
        e,
    )
    return Decimal(value)


def test_every_event_has_the_verdict_that_was_meant(demo: Demo) -> None:
    counts, generated = demo.counts, demo.generated
    assert counts["accepted"] == EVENTS
    assert 0 < counts["late"] < EVENTS
    assert counts["duplicate"] == generated.duplicates
    assert counts["conflict"] == generated.conflicts
    assert counts["rejected"] == generated.malformed
    assert counts["skipped"] == counts["skipped:not_a_number"] == generated.unusable


def test_usage_is_what_sql_finds_in_the_generators_own_table(
    demo: Demo, sql: duckdb.DuckDBPyConnection
) -> None:
    by_customer = "GROUP BY external_customer_id"
    expected: dict[tuple[str, str, str | None], tuple[Decimal, int]] = {}
    for meter, what, where in (
        ("tokens_large", "sum(value)", LARGE),
        ("tokens_small", "sum(value)", SMALL),
        ("requests", "count(*)", REQUESTS),
        ("users", 'count(DISTINCT "user")', REQUESTS),
    ):
        query = f"SELECT external_customer_id, {what}, count(*) FROM meant WHERE {where} "
        for customer, value, count in rows_of(sql, query + by_customer):
            expected[meter, customer, None] = (Decimal(value), count)
    query = f"SELECT external_customer_id, count(*) FROM meant WHERE {STORAGE} {by_customer}"
    for customer, count in rows_of(sql, query):
        level = storage_level(sql, customer, START_AT, END_AT)
        expected["storage", customer, None] = (level, count)
    query = (
        "SELECT external_customer_id, workspace, sum(highest), sum(readings) FROM "
        "(SELECT external_customer_id, workspace, max(value) AS highest, count(*) AS readings "
        "FROM meant WHERE event_name = 'seats.counted' "
        "GROUP BY external_customer_id, workspace, date_trunc('day', timestamp)) GROUP BY ALL"
    )
    for customer, workspace, value, count in rows_of(sql, query):
        expected["seats", customer, workspace] = (Decimal(value), int(count))

    found = {
        (row["meter"], row["external_customer_id"], row["group"]): (
            row["value"],
            row["event_count"],
        )
        for row in demo.report.usage
    }

    assert found == expected
    keys = [(m, c, g or "") for m, c, g in found]
    assert keys == sorted(keys)
    assert {(row["window_start"], row["window_end"]) for row in demo.report.usage} == {
        (START_AT, END_AT)
    }


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP, EXACT)


def slab(quantity: Decimal, *tiers: tuple[int | None, str, str]) -> Decimal:
    """Units of each tier at its own rate; the flat amount of each tier that has any unit."""
    cost, floor = Decimal(0), Decimal(0)
    for up_to, unit, flat in tiers:
        ceiling = quantity if up_to is None else min(quantity, Decimal(up_to))
        if ceiling > floor:
            cost += (ceiling - floor) * Decimal(unit) + Decimal(flat)
            floor = ceiling
    return cost


OLD = ((500000, "0.00003", "0"), (2000000, "0.00002", "0"), (None, "0.000012", "0"))
NEW = ((500000, "0.00003", "0"), (3000000, "0.000018", "0"), (None, "0.00001", "0"))


def request_cost(billable: Decimal) -> Decimal:
    if billable <= 0:
        return Decimal(0)
    if billable <= 5000:
        return billable * Decimal("0.004")
    if billable <= 20000:
        return billable * Decimal("0.0035") + 1
    return billable * Decimal("0.003") + 2


def team_lines(
    sql: duckdb.DuckDBPyConnection, customer: str, s: datetime, e: datetime
) -> Iterator[Line]:
    change = min(max(CHANGE_AT, s), e)
    before = number(sql, "sum(value)", LARGE, customer, s, change)
    after = number(sql, "sum(value)", LARGE, customer, change, e)
    first = max(before - 100000, Decimal(0))
    second = max(after - max(100000 - before, Decimal(0)), Decimal(0))
    if s < change:
        yield Line("Large tokens", s, change, first, cents(slab(first, *OLD)))
    if change < e:
        cost = slab(first + second, *NEW) - slab(first, *NEW)
        yield Line("Large tokens", change, e, second, cents(cost))
    small = number(sql, "sum(value)", SMALL, customer, s, e)
    packages = (small / 100000).to_integral_value(ROUND_CEILING)
    yield Line("Small tokens", s, e, small, cents(packages * Decimal("0.35")))
    requests = max(number(sql, "count(*)", REQUESTS, customer, s, e) - 1000, Decimal(0))
    yield Line("API requests", s, e, requests, cents(request_cost(requests)))
    seats = seat_days(sql, customer, s, e)
    yield Line("Seats", s, e, seats, cents(seats * Decimal("0.05")))
    level = storage_level(sql, customer, s, e)
    yield Line("Storage", s, e, level, cents(EXACT.multiply(level, Decimal("0.08"))))


def studio_lines(
    sql: duckdb.DuckDBPyConnection, customer: str, s: datetime, e: datetime
) -> Iterator[Line]:
    ((large,),) = rows_of(
        sql,
        "SELECT coalesce(sum(greatest(used - 20000, 0)), 0) FROM (SELECT sum(value) AS used "
        f"FROM meant WHERE {LARGE} AND external_customer_id = ? AND timestamp >= ? "
        "AND timestamp < ? GROUP BY date_trunc('day', timestamp))",
        customer,
        s,
        e,
    )
    billable = Decimal(large)
    yield Line("Large tokens", s, e, billable, cents(billable * Decimal("0.000018")))
    users = number(sql, 'count(DISTINCT "user")', REQUESTS, customer, s, e)
    cost = slab(users, (25, "0.60", "0"), (100, "0.40", "5"), (None, "0.25", "0"))
    yield Line("Active users", s, e, users, cents(cost))
    level = storage_level(sql, customer, s, e)
    yield Line("Storage", s, e, level, cents(EXACT.multiply(level, Decimal("0.07"))))


LINES: dict[str, Callable[..., Iterator[Line]]] = {"team": team_lines, "studio": studio_lines}


def fee_line(plan: str, s: datetime) -> Line:
    name, amount = FEES[plan]
    return Line(name, s, s.replace(month=s.month + 1), Decimal(1), amount)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def lines_of(invoice: dict[str, Any]) -> list[Line]:
    return sorted(
        Line(
            line["display_name"],
            instant(line["period_start"]),
            instant(line["period_end"]),
            Decimal(line["quantity"]),
            Decimal(line["amount"]),
        )
        for line in invoice["lines"]
    )


def invoices_of(run: BillingRun, customer: str) -> list[dict[str, Any]]:
    invoices: list[dict[str, Any]] = report_of(run)["invoices"]
    return [each for each in invoices if each["customer"] == customer]


@pytest.mark.parametrize("customer", SUBSCRIPTIONS)
def test_invoice_lines_are_the_prices_written_out_by_hand(
    demo: Demo, sql: duckdb.DuckDBPyConnection, customer: str
) -> None:
    plan, s, e = SUBSCRIPTIONS[customer]

    opening, renewal = invoices_of(demo.report.run, customer)

    assert lines_of(opening) == [fee_line(plan, s)]
    assert lines_of(renewal) == sorted([*LINES[plan](sql, customer, s, e), fee_line(plan, e)])
    for invoice in (opening, renewal):
        subtotal = sum(Decimal(line["amount"]) for line in invoice["lines"])
        taken = Decimal(invoice["total_prepaid_credits_applied"])
        assert Decimal(invoice["subtotal"]) == subtotal
        assert Decimal(invoice["total"]) == subtotal - taken


class Account(NamedTuple):
    """A wallet followed by hand: what is in it, and what the open period will ask of it."""

    settled: Decimal
    ongoing: Decimal


def balance(sql: duckdb.DuckDBPyConnection, customer: str, at: datetime) -> Account:
    plan, s, e = SUBSCRIPTIONS[customer]
    usage_only = customer == "cedarworks"
    fee = Decimal(0) if usage_only else FEES[plan][1]
    bought = {"acme": "250", "brightloom": "300", "cedarworks": "120"}[customer]
    settled = Decimal(bought) - fee
    if customer == "acme" and at >= day(1, 22):
        settled += 150
    if customer == "cedarworks" and at < day(1, 20):
        settled += 40
    if at >= e + timedelta(hours=2):
        due = sum((line.amount for line in LINES[plan](sql, customer, s, e)), fee)
        settled -= min(settled, due)
    asked = Decimal(0)
    if e <= at < e + timedelta(hours=2):
        asked = sum((line.amount for line in LINES[plan](sql, customer, s, e)), fee)
    start = e if at >= e else s
    if at > start:
        asked += sum(line.amount for line in LINES[plan](sql, customer, start, at))
    return Account(settled, settled - asked)


@pytest.mark.parametrize("customer", WALLETS)
def test_wallets_hold_what_the_invoices_left(
    demo: Demo, sql: duckdb.DuckDBPyConnection, customer: str
) -> None:
    (wallet,) = [
        each for each in report_of(demo.report.run)["wallets"] if each["customer"] == customer
    ]
    expected = balance(sql, customer, END_AT)

    assert Decimal(wallet["balance"]) == expected.settled
    assert Decimal(wallet["ongoing_balance"]) == expected.ongoing


LEVELS = {
    "acme": (("in_alarm", 10), ("warning", 40), ("info", 75)),
    "brightloom": (("in_alarm", 0), ("info", 50)),
    "cedarworks": (("in_alarm", 15),),
}


@pytest.mark.parametrize("customer", WALLETS)
def test_each_change_of_the_ongoing_balances_level_is_told_once(
    demo: Demo, sql: duckdb.DuckDBPyConnection, customer: str
) -> None:
    _, _, e = SUBSCRIPTIONS[customer]
    instants = {START_AT + DAY * count for count in range(41)} | {e, e + timedelta(hours=2)}
    state, expected = "ok", []
    for at in sorted(instants):
        ongoing = balance(sql, customer, at).ongoing
        reached = [name for name, threshold in LEVELS[customer] if ongoing <= threshold]
        level = reached[0] if reached else "ok"
        if level != state:
            expected.append((at, level))
            state = level

    alerts = [
        (instant(each["at"]), each["level"])
        for each in report_of(demo.report.run)["alerts"]
        if each["customer"] == customer and each["type"] == "low_ongoing_balance"
    ]

    assert alerts == expected
    assert alerts != []
