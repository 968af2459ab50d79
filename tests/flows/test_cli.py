"""The command line: what it prints, how it fails, and that asking for help costs nothing."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from flows.answering import COLUMNS, usage_rows, whole_days
from flows.cli.main import app
from flows.cli.output import Format, write_rows
from operators.columns import compute as pc
from operators.partials import Partials, start
from schemas.meter import Aggregation, AggregationType, Meter, WindowSize
from schemas.period import Interval
from schemas.usage import PAIRS

CATALOG = """
meters:
  - {name: tokens, event_name: llm, aggregation: {type: SUM, field: tokens}}
  - {name: peak, event_name: llm, aggregation: {type: MAX, field: tokens, bucket_size: DAY,
     group_by: region}}
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {type: FIXED, billing_model: FLAT_FEE, amount: "20", currency: usd,
         billing_period: MONTHLY, invoice_cadence: ADVANCE}
      - {type: USAGE, meter: tokens, billing_model: TIERED, tier_mode: SLAB, currency: usd,
         billing_period: MONTHLY, tiers: [{up_to: 10, unit_amount: "0.5"}, {unit_amount: "0.1"}]}
customers: [{external_id: acme}]
subscriptions: [{customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z"}]
wallets:
  - {customer: acme, currency: usd, top_ups: [{credits_to_add: 22, at: "2026-01-01T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 5, condition: below}}}
"""

Event = Mapping[str, Any]


def event(name: str, at: str, tokens: object, region: str = "eu", customer: str = "acme") -> Event:
    return {
        "event_id": name,
        "event_name": "llm",
        "external_customer_id": customer,
        "timestamp": at,
        "properties": {"tokens": tokens, "region": region},
    }


LOG = [
    event("a", "2026-01-02T10:00:00Z", 10),
    event("b", "2026-01-02T11:00:00Z", "2.5", "us"),
    event("c", "2026-01-03T10:00:00Z", 4),
    event("a", "2026-01-02T10:00:00Z", 10),
    event("d", "2026-01-03T10:00:00Z", "n/a"),
    event("e", "2026-01-03T12:00:00Z", 1, customer="zeta"),
]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    catalog, log = tmp_path / "catalog.yaml", tmp_path / "events.ndjson"
    catalog.write_text(CATALOG)
    log.write_text("".join(json.dumps(each) + "\n" for each in LOG) + "{broken\n")
    return [str(catalog), str(log)]


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.stdout, result.stderr


class Metered:
    """Counted pairs in memory, in the place of metered files."""

    def __init__(self, pairs: pa.Table):
        self.pairs = pairs
        self.first_event_at: datetime | None = None
        self.last_event_at: datetime | None = None

    def usage(self, meter: Meter) -> Partials:
        return start(meter.aggregation.type, self.edges(meter, None))

    def edges(self, meter: Meter, interval: Interval | None) -> pa.Table:
        del interval
        return self.pairs.filter(pc.equal(self.pairs["meter_id"], meter.id))


def test_rows_are_ordered_and_a_cut_minute_is_read_from_its_events() -> None:
    meter = Meter("m", "t", "e", "calls", "call", Aggregation(AggregationType.COUNT))
    at = datetime(2026, 1, 1, 9, 30, 59, 999999, tzinfo=UTC)
    rows = [
        {
            "meter_id": "m",
            "external_customer_id": each,
            "group": "",
            "timestamp": at,
            "event_id": each,
        }
        for each in ("b", "a")
    ]
    metered = Metered(pa.Table.from_pylist(rows, schema=PAIRS))
    day = whole_days(at, at)
    assert day is not None

    found = usage_rows(metered, [meter], {"m": "calls"}, day, window=WindowSize.HOUR)

    assert [row["external_customer_id"] for row in found] == ["a", "b"]
    assert found[0] == {
        "meter": "calls",
        "external_customer_id": "a",
        "group": None,
        "window_start": at.replace(minute=0, second=0, microsecond=0),
        "window_end": at.replace(hour=10, minute=0, second=0, microsecond=0),
        "value": Decimal(1),
        "event_count": 1,
    }
    assert usage_rows(metered, [meter], {"m": "calls"}, Interval(day.start, at)) == []


ROWS: list[dict[str, object]] = [
    {"name": "a,b [x]", "value": Decimal("1E+2"), "at": datetime(2026, 1, 1, tzinfo=UTC), "n": 1},
    {"name": None, "value": Decimal("-0.50"), "at": datetime(2026, 1, 2, tzinfo=UTC), "n": 2},
]


def written(form: Format, capfdbinary: pytest.CaptureFixture[bytes]) -> bytes:
    write_rows(("name", "value", "at", "n"), ROWS, form, title="Rows")
    sys.stdout.flush()
    return capfdbinary.readouterr().out


def test_json_is_one_array_with_decimals_as_text(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert json.loads(written(Format.JSON, capfdbinary)) == [
        {"name": "a,b [x]", "value": "100", "at": "2026-01-01T00:00:00Z", "n": 1},
        {"name": None, "value": "-0.5", "at": "2026-01-02T00:00:00Z", "n": 2},
    ]


def test_csv_quotes_what_must_be_quoted(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    text = written(Format.CSV, capfdbinary).decode()
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "value", "at", "n"],
        ["a,b [x]", "100", "2026-01-01T00:00:00Z", "1"],
        ["", "-0.5", "2026-01-02T00:00:00Z", "2"],
    ]


def test_parquet_holds_instants_and_decimal_texts(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    table = parquet.read_table(io.BytesIO(written(Format.PARQUET, capfdbinary)))
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    assert table["value"].to_pylist() == ["100", "-0.5"]
    assert table["n"].to_pylist() == [1, 2]


def test_a_table_shows_brackets_and_no_colours_in_a_pipe(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    text = written(Format.TABLE, capfdbinary).decode()
    assert "a,b [x]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--help",), 0, ""),
        (("meter", "--help"), 0, ""),
        (("bill", "--help"), 0, ""),
        (("demo", "--help"), 0, ""),
        (("run", "metering", "--help"), 0, ""),
        (("colour",), 2, "No such command"),
        (("meter", "catalog.yaml"), 2, "Missing argument"),
        (("meter", "c", "e", "--window", "day"), 2, "'day' is none of MINUTE"),
        (("meter", "c", "e", "--from", "yesterday"), 2, "is no time with a zone"),
        (("meter", "c", "e", "--from", "2026-01-01T00:00:00"), 2, "is no time with a zone"),
        (("meter", "c", "e", "--processes", "0"), 2, "'--processes'"),
        (("bill", "c", "e"), 2, "--as-of"),
        (("demo", "--format", "csv"), 2, "table or json"),
        (("run", "metering"), 2, "--catalog"),
        (("run", "metering", "--catalog", "c", "--process", "0"), 2, "go together"),
        (("meter", "absent.yaml", "e"), 1, "tally: absent.yaml: no such file or directory\n"),
    ],
)
def test_the_exit_code_says_what_went_wrong(
    words: tuple[str, ...], code: int, message: str
) -> None:
    found, out, err = run(*words)

    assert found == code
    assert message in err
    if code == 0:
        assert "Example: tally " in out
    else:
        assert out == ""


def test_the_version_is_that_of_the_distribution() -> None:
    assert run("--version") == (0, "tally 0.1.0\n", "")


def test_a_catalog_with_faults_fails_with_a_line_for_each(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("mters: []\nplans: [{}]\n")

    code, out, err = run("meter", str(catalog), "events.ndjson")

    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"tally: {catalog}: plans[0].name: is needed",
        f"tally: {catalog}: mters: unknown key; did you mean meters?",
    ]


def test_a_misspelt_setting_stops_the_program(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_SHARD", "4")

    code, _, err = run("run", "metering", "--catalog", files[0])

    assert code == 1
    assert err == (
        "tally: unknown setting TALLY_SHARD in the environment; did you mean TALLY_SHARDS?\n"
    )


def test_help_does_not_load_the_engine() -> None:
    heavy = {"bytewax", "pyarrow", "duckdb", "numpy", "pydantic", "rich", "yaml", "chdb"}
    program = f"import sys, flows.cli.main; print(sorted({heavy} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert found.stdout == b"[]\n"


@pytest.mark.requires("embedded")
def test_meter_prints_usage_and_says_what_became_of_the_events(files: list[str]) -> None:
    code, out, err = run("meter", *files, "--format", "json")

    assert code == 0, err
    rows = [tuple(row.values()) for row in json.loads(out)]
    span = ("2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z")
    assert [tuple(row) for row in json.loads(out)] == [COLUMNS] * len(rows)
    assert rows == [
        ("peak", "acme", "eu", *span, "14", 2),
        ("peak", "acme", "us", *span, "2.5", 1),
        ("peak", "zeta", "eu", *span, "1", 1),
        ("tokens", "acme", None, *span, "16.5", 3),
        ("tokens", "zeta", None, *span, "1", 1),
    ]
    assert "accepted 5 (late 0, unmatched 0) · duplicate 1 · conflict 0 · rejected 1\n" in err
    assert "counted 8 · skipped 2 (not_a_number 2)" in err
    assert "events/s" in err


@pytest.mark.requires("embedded")
def test_meter_answers_for_a_period_in_windows(files: list[str]) -> None:
    period = ("--from", "2026-01-02T10:30:00Z", "--to", "2026-01-04", "--window", "DAY")
    code, out, err = run("meter", *files, *period, "--format", "csv")

    assert code == 0, err
    tokens = [line for line in out.splitlines() if line.startswith("tokens,acme")]
    assert tokens == [
        "tokens,acme,,2026-01-02T00:00:00Z,2026-01-03T00:00:00Z,2.5,1",
        "tokens,acme,,2026-01-03T00:00:00Z,2026-01-04T00:00:00Z,4,1",
    ]


@pytest.mark.requires("embedded")
def test_bill_prints_invoices_wallets_and_alerts(files: list[str]) -> None:
    code, out, err = run("bill", *files, "--as-of", "2026-02-02T00:00:00Z", "--format", "json")

    assert code == 0, err
    report = json.loads(out)
    assert list(report) == ["invoices", "wallets", "alerts"]
    opening, renewal = report["invoices"]
    assert (opening["customer"], opening["total"]) == ("acme", "0")
    amounts = {line["display_name"]: line["amount"] for line in renewal["lines"]}
    # 16.5 tokens: 10 at 0.5 and 6.5 at 0.1.
    assert amounts == {"tokens": "5.65", "Pro": "20"}
    assert (renewal["total_prepaid_credits_applied"], renewal["total"]) == ("2", "23.65")
    (wallet,) = report["wallets"]
    assert (wallet["balance"], wallet["ongoing_balance"]) == ("0", "0")
    assert report["alerts"][0] == {
        "customer": "acme",
        "type": "low_credit_balance",
        "level": "in_alarm",
        "at": "2026-01-01T00:00:00Z",
    }


@pytest.mark.requires("embedded")
def test_bill_shows_people_the_arithmetic_of_each_line(files: list[str]) -> None:
    code, out, err = run("bill", *files, "--as-of", "2026-02-02T00:00:00Z")

    assert code == 0, err
    assert "10 × 0.5 + 6.5 × 0.1 = 5.65" in out
    for title in ("Invoice of acme/pro", "Wallet deductions", "Wallets", "Alerts"):
        assert title in out


@pytest.mark.requires("embedded")
def test_a_log_that_is_not_there_fails_with_one_line(files: list[str]) -> None:
    code, out, err = run("meter", files[0], files[1] + ".absent")

    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.endswith("events.ndjson.absent: no such file\n")


@pytest.mark.requires("embedded")
def test_a_log_without_events_gives_no_rows(files: list[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty.ndjson"
    empty.write_text("")

    code, out, err = run("meter", files[0], str(empty), "--format", "json")

    assert code == 0, err
    assert json.loads(out) == []
