"""Bad input, given to the installed program: each piece gets its word, and nothing else is lost."""

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.catalog import load_catalog
from flows.metering.files import meter_files

pytestmark = [pytest.mark.requires("embedded"), pytest.mark.timeout(180)]

CATALOG = """
meters:
  - {name: units, event_name: used, aggregation: {type: SUM, field: n}}
  - {name: times, event_name: used, aggregation: {type: COUNT}}
"""
TIME = "2026-01-05T10:00:00Z"

Done = subprocess.CompletedProcess[bytes]
Run = Callable[..., Done]


def line(name: str, number: bytes = b"1", customer: str = "acme") -> bytes:
    """Return the line of an event whose number is written just so."""
    fields = {
        "event_id": name,
        "event_name": "used",
        "external_customer_id": customer,
        "timestamp": TIME,
    }
    return json.dumps(fields).encode()[:-1] + b', "properties": {"n": ' + number + b"}}"


def without(field: str) -> bytes:
    body = json.loads(line("x"))
    del body[field]
    return json.dumps(body).encode()


def having(field: str, value: object) -> bytes:
    return json.dumps(json.loads(line("x")) | {field: value}).encode()


# Lines that are no events, each with the reason of its dead letter (metering.md 3).
REJECTED: list[tuple[bytes, str]] = [
    (b"{broken", "invalid_json"),
    (b"\x00\x01\x02", "invalid_json"),
    (line("x") + b" {}", "invalid_json"),
    (line("x", b"NaN"), "invalid_json"),
    (line("x", b"-Infinity"), "invalid_json"),
    (line("x", b"01"), "invalid_json"),
    (line("x", b".5"), "invalid_json"),
    (line("x", b'"\xff\xfe"'), "invalid_text"),
    (line("x", b'"\\ud800"'), "invalid_text"),
    (line("x", b"[" * 40 + b"]" * 40), "too_deep"),
    (line("x", b"[" * 100_000), "invalid_json"),
    (b'["not", "an", "object"]', "not_an_object"),
    (b"17", "not_an_object"),
    (b"null", "not_an_object"),
    (having("event_name", 5), "field_wrong_type"),
    (having("external_customer_id", ["acme"]), "field_wrong_type"),
    (having("properties", "n=1"), "field_wrong_type"),
    (without("event_name"), "event_name_required"),
    (having("event_name", " \t "), "event_name_required"),
    (without("external_customer_id"), "external_customer_id_required"),
    (having("external_customer_id", None), "external_customer_id_required"),
    (without("timestamp"), "timestamp_required"),
    (having("timestamp", "2026-01-05"), "timestamp_invalid"),
    (having("timestamp", "2026-01-05T10:00:00"), "timestamp_invalid"),
    (having("timestamp", 1767607200), "timestamp_invalid"),
    (having("timestamp", "1969-12-31T23:59:59Z"), "timestamp_out_of_range"),
    (having("event_id", "i" * 1025), "field_too_long"),
    (line("x", b'"' + b"x" * 10_000_000 + b'"'), "event_too_large"),
]

# Numbers that are no quantities: the event is accepted, and does not exist for a meter that sums.
SKIPPED: list[tuple[bytes, str]] = [
    (b"1e999999999", "out_of_range"),
    (b"-1e20", "out_of_range"),
    (b"9" * 5000, "out_of_range"),
    (b'"nan"', "not_finite"),
    (b'"-Infinity"', "not_finite"),
    (b'"many"', "not_a_number"),
    (b'""', "not_a_number"),
    (b'"1,000"', "not_a_number"),
    (b"true", "wrong_type"),
    (b"null", "wrong_type"),
    (b"[1]", "wrong_type"),
]

# Numbers of any length that are quantities, with what they count.
COUNTED: list[tuple[bytes, str]] = [
    (b"1e-999999999", "0"),
    (b"0." + b"0" * 5000 + b"1", "0"),
    (b"2." + b"0" * 5000, "2"),
    (b"99999999999999999999.000000000000000001", "99999999999999999999.000000000000000001"),
    (b'" 5e-1 "', "0.5"),
]


@pytest.fixture(scope="module")
def meter(tally: str, plain_environment: dict[str, str]) -> Run:
    def run(*arguments: object, stdin: bytes = b"") -> Done:
        return subprocess.run(
            [tally, "meter", *map(str, arguments), "--format", "json"],
            env=plain_environment,
            input=stdin,
            capture_output=True,
            timeout=150,
            check=False,
        )

    return run


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return written(tmp_path / "catalog.yaml", CATALOG.encode())


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def lines(*parts: bytes) -> bytes:
    return b"".join(part + b"\n" for part in parts)


def values(done: Done) -> dict[str, str]:
    """Return the value of each meter, of a run that ended well."""
    assert done.returncode == 0, done.stderr.decode()
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return {row["meter"]: row["value"] for row in rows}


def verdicts(accepted: int, rejected: int) -> str:
    marks = f"accepted {accepted} (late 0, unmatched 0)"
    return f"events: {marks} · duplicate 0 · conflict 0 · rejected {rejected}\n"


def refusal(done: Done, code: int = 1) -> str:
    """Return what a run that failed said; it printed no answer and no traceback."""
    told = done.stderr.decode()
    assert done.returncode == code, told
    assert done.stdout == b""
    assert "Traceback" not in told
    assert "panicked" not in told
    return told


def test_lines_that_are_no_events_are_counted_and_the_others_are_metered(
    meter: Run, catalog: Path, tmp_path: Path
) -> None:
    bad = [part for part, _ in REJECTED]
    mixed = lines(line("a", b"2"), *bad[:12], line("b", b"3"), *bad[12:], line("c", b"4"))

    done = meter(catalog, written(tmp_path / "events.ndjson", mixed))

    assert values(done) == {"units": "9", "times": "3"}
    assert verdicts(3, len(REJECTED)) in done.stderr.decode()


def test_each_dead_letter_has_its_reason_and_its_bytes(catalog: Path, tmp_path: Path) -> None:
    log = written(tmp_path / "events.ndjson", lines(*(part for part, _ in REJECTED)))

    with meter_files(load_catalog(str(catalog)), [str(log)]) as metered:
        letters = metered.dead_letters().to_pylist()

    assert [letter["reason"] for letter in letters] == [reason for _, reason in REJECTED]
    assert [letter["value"] for letter in letters] == [part for part, _ in REJECTED]


def test_a_number_that_is_no_quantity_is_skipped_with_its_reason(
    meter: Run, catalog: Path, tmp_path: Path
) -> None:
    numbered = [line(f"s{place}", number) for place, (number, _) in enumerate(SKIPPED)]

    done = meter(catalog, written(tmp_path / "events.ndjson", lines(line("a", b"2"), *numbered)))

    assert values(done) == {"units": "2", "times": str(1 + len(SKIPPED))}
    reasons = [reason for _, reason in SKIPPED]
    told = ", ".join(f"{each} {reasons.count(each)}" for each in sorted(set(reasons)))
    assert f"skipped {len(SKIPPED)} ({told})" in done.stderr.decode()


def test_a_number_of_any_length_counts_with_all_its_digits(
    meter: Run, catalog: Path, tmp_path: Path
) -> None:
    numbered = [line(f"e{place}", number, str(place)) for place, (number, _) in enumerate(COUNTED)]

    done = meter(catalog, written(tmp_path / "events.ndjson", lines(*numbered)))

    assert done.returncode == 0, done.stderr.decode()
    found = [row["value"] for row in json.loads(done.stdout) if row["meter"] == "units"]
    assert found == [value for _, value in COUNTED]


@pytest.mark.parametrize("content", [b"", b"\n\r\n\n"], ids=["no byte", "blank lines"])
def test_a_file_without_events_is_no_failure(
    meter: Run, catalog: Path, tmp_path: Path, content: bytes
) -> None:
    done = meter(catalog, written(tmp_path / "events.ndjson", content))

    assert values(done) == {}
    assert verdicts(0, 0) in done.stderr.decode()


@pytest.mark.parametrize("content", ["", "name,customer\nused,acme\n"], ids=["empty", "other"])
def test_a_csv_file_without_the_columns_that_are_needed_fails_with_one_line(
    meter: Run, catalog: Path, tmp_path: Path, content: str
) -> None:
    log = written(tmp_path / "events.csv", content.encode())

    told = refusal(meter(catalog, log))

    assert told.startswith(f"tally: {log}: ")
    assert told.endswith("the header names no column event_name\n")


def test_lines_may_end_as_windows_ends_them_and_the_last_one_not_at_all(
    meter: Run, catalog: Path, tmp_path: Path
) -> None:
    content = line("a", b"2") + b"\r\n\r\n" + line("b", b"3") + b"\r\n{broken\r\n" + line("c", b"4")

    done = meter(catalog, written(tmp_path / "events.ndjson", content))

    assert values(done) == {"units": "9", "times": "3"}
    assert verdicts(3, 1) in done.stderr.decode()


def test_standard_input_is_read_as_a_file(meter: Run, catalog: Path) -> None:
    done = meter(catalog, "-", stdin=lines(line("a", b"2"), b"{broken", line("b", b"3")))

    assert values(done) == {"units": "5", "times": "2"}
    assert verdicts(2, 1) in done.stderr.decode()


def test_a_blank_cell_is_absent_and_a_column_may_be_a_property(
    meter: Run, catalog: Path, tmp_path: Path
) -> None:
    rows = [
        "event_id,event_name,external_customer_id,timestamp,properties.n,source",
        f"a,used,acme,{TIME},2,",
        f",used,acme,{TIME},3,web",  # an id is made for it
        f"c,used,acme,{TIME},,",  # no number: one time and no units
        f"d,used,,{TIME},4,",  # no customer
        f"e,,acme,{TIME},4,",  # no name
        "f,used,acme,,4,",  # no time
        f'g,used,acme,{TIME},"1,5",',  # a comma is no decimal point
    ]

    done = meter(catalog, written(tmp_path / "events.csv", "\n".join(rows).encode()))

    assert values(done) == {"units": "5", "times": "4"}
    told = done.stderr.decode()
    assert verdicts(4, 3) in told
    assert "skipped 2 (missing_field 1, not_a_number 1)" in told


@pytest.mark.parametrize("cut", [12, 200, -9], ids=["in the header", "in the data", "at the end"])
def test_a_truncated_gzip_file_fails_with_one_line_that_names_it(
    meter: Run, catalog: Path, tmp_path: Path, cut: int
) -> None:
    whole = gzip.compress(lines(*(line(f"e{number}") for number in range(2000))))
    log = written(tmp_path / "events.ndjson.gz", whole[:cut])

    told = refusal(meter(catalog, log))

    assert told == f"tally: {log}: cannot be read to its end: the gzip data is cut off\n"


def test_a_file_that_only_calls_itself_gzip_fails_with_one_line(
    meter: Run, catalog: Path, tmp_path: Path
) -> None:
    log = written(tmp_path / "events.ndjson.gz", lines(line("a")))

    told = refusal(meter(catalog, log))

    assert told.startswith(f"tally: {log}: cannot be read to its end: ")
    assert told.count("\n") == 1


def test_a_file_that_is_not_there_fails_with_one_line(
    meter: Run, catalog: Path, tmp_path: Path
) -> None:
    absent = tmp_path / "absent.ndjson"

    assert refusal(meter(catalog, absent)) == f"tally: {absent}: no such file\n"


def test_a_folder_is_no_file_of_events(meter: Run, catalog: Path, tmp_path: Path) -> None:
    told = refusal(meter(catalog, tmp_path))

    assert told.startswith(f"tally: {tmp_path}: ")
    assert "directory" in told.lower()
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--window", "day"), "'day' is none of MINUTE, 15MIN"),
        (("--window", "2HOUR"), "'2HOUR' is none of MINUTE"),
        (("--from", "yesterday"), "'yesterday' is no time with a zone"),
        (("--to", "2026-01-05T10:00:00"), "is no time with a zone"),
        (("--to", "2026-13-01"), "is no time with a zone"),
        (("--processes", "none"), "Invalid value for '--processes'"),
    ],
)
def test_wrong_usage_says_what_was_expected(
    meter: Run, catalog: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refusal(meter(catalog, "-", *words), code=2)


PLAN = """
meters: [{name: units, event_name: used, aggregation: {type: SUM, field: n}}]
plans: [{name: Pro, prices: [%s]}]
"""
USAGE = "type: USAGE, meter: units, currency: usd, billing_period: MONTHLY"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("meters: [{name: units, event_name: used, agregation: {}}]", "meters[0].agregation"),
        (
            "meters: [{name: units, event_name: used, aggregation: {type: MEDIAN, field: n}}]",
            "meters[0].aggregation.type",
        ),
        (
            PLAN % f"{{{USAGE}, billing_model: TIERED, tier_mode: SLAB, "
            "tiers: [{up_to: 20, unit_amount: '1'}, {up_to: 10, unit_amount: '2'}]}",
            "plans[0].prices[0].tiers",
        ),
        (
            PLAN % f"{{{USAGE}, billing_model: TIERED, tier_mode: SLAB, tiers: []}}",
            "plans[0].prices[0].tiers",
        ),
        (PLAN % f"{{{USAGE}, billing_model: FLAT_FEE, amount: .inf}}", "plans[0].prices[0].amount"),
        (PLAN % f"{{{USAGE}, billing_model: FLAT_FEE, amount: '-1'}}", "plans[0].prices[0].amount"),
        ("meters: [{name: units, event_name: used", "line"),
        ("meters: []\nmeters: []\n", "the key meters is given twice"),
        ("- just a list\n", "expected a mapping"),
        ("meters: [{name: '\x00'}]\n", "catalog.yaml"),
    ],
)
def test_a_catalog_that_cannot_be_meant_is_refused_by_its_place(
    meter: Run, tmp_path: Path, content: str, message: str
) -> None:
    path = written(tmp_path / "catalog.yaml", content.encode())

    told = refusal(meter(path, "-"))

    assert told.count("\n") == 1
    assert told.startswith(f"tally: {path}: ")
    assert message in told


def test_a_price_that_yaml_reads_as_a_float_keeps_every_digit(tmp_path: Path) -> None:
    amount = "0.12345678901234567890123"
    content = PLAN % f"{{{USAGE}, billing_model: FLAT_FEE, amount: {amount}}}"
    path = written(tmp_path / "catalog.yaml", content.encode())

    (plan,) = load_catalog(str(path)).plans

    assert str(plan.prices[0].amount) == amount
