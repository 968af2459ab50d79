"""Worked examples of billing as text, and that `tally bill` comes to the figures in them.

Each file of this folder holds a catalog (DESIGN section 8), events as a table, how many of them got
which verdict, and what is expected at one or more instants. The figures were worked out by hand
from the rules; the remarks say how. A table has a line of columns and a line a row, cells between
`|`, and `#` begins a remark; 00:00 UTC is written as its day. Scenarios run one after the other in
one process, because the embedded engine is one for each process.

An event may say when it `arrives`, which is later than anything that is billed before: then the
passes of the program are played in order of time on one store, each on what has arrived by then.
Without that column everything is in the log from the beginning, as `tally bill` has it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.inconsistencies import problems
from billing.repricing import reprice
from billing.running import BillingRun, WalletState
from billing.stores.memory import MemoryStore
from billing.use_cases.passes import pass_account
from billing.wallets.running_charges import running
from flows.bill_report import report_of
from flows.billing.metered import bill_metered
from flows.billing_usage import MeteredUsage
from flows.catalog import Catalog, load_catalog
from flows.documents import read_document
from flows.metering.files import meter_files
from schemas.ids import CustomerId

FILES = sorted(Path(__file__).parent.glob("*.yaml"))

MIDNIGHT = "T00:00:00Z"
EVENT_FIELDS = {
    "id": "event_id",
    "when": "timestamp",
    "event": "event_name",
    "customer": "external_customer_id",
}
MOMENT = timedelta(seconds=1)
VERDICTS = ("accepted", "late", "duplicate", "conflict", "rejected")
AMOUNTS = {
    "subtotal": "subtotal",
    "discounts": "total_discount",
    "credits": "total_prepaid_credits_applied",
    "tax": "total_tax",
    "total": "total",
}
# What an invoice has 0 of where a scenario does not say.
UNSAID = {"discounts": "0", "tax": "0"}

Shown = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """What is expected at an instant, in the form that `shown` gives to what was billed."""

    as_of: str
    expected: Shown

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.as_of)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One file: its catalog, the records of its log, and what is expected."""

    title: str
    catalog: Shown
    records: list[Shown]
    arrivals: list[str | None]
    counts: dict[str, int]
    statements: list[Statement]


def table(text: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table by column; remarks and empty lines are left out."""
    columns: list[str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.partition("#")[0].split("|")]
        if cells == [""]:
            continue
        if columns is None:
            columns = cells
            continue
        assert len(cells) == len(columns), f"{len(columns)} cells are expected in: {line}"
        yield dict(zip(columns, cells, strict=True))


def scenario(path: Path) -> Scenario:
    """Read a scenario file; a key that has no meaning is an error."""
    document = read_document(str(path))
    assert isinstance(document, dict)
    assert set(document) == {"scenario", "catalog", "events", "counts", "expected"}, path
    rows = list(table(document["events"]))
    arrivals = [instant(row.pop("arrives", "")) or None for row in rows]
    return Scenario(
        document["scenario"],
        document["catalog"],
        [record(number, row) for number, row in enumerate(rows)],
        arrivals,
        document["counts"],
        [statement(each) for each in document["expected"]],
    )


def record(number: int, row: dict[str, str]) -> Shown:
    """Return the record of an event: a column without a meaning of its own is a property."""
    given = {name: value for name, value in row.items() if value != ""}
    fields = {field: given.pop(name) for name, field in EVENT_FIELDS.items() if name in given}
    if "timestamp" in fields:
        fields["timestamp"] = instant(fields["timestamp"])
    return {"event_id": f"event {number}"} | fields | {"properties": given}


def statement(stated: Shown) -> Statement:
    """Return what a statement expects; wallets and alerts that it leaves out are none."""
    assert set(stated) <= {"as_of", "invoices", "wallets", "alerts"}, stated
    expected = {
        "invoices": by("of", [invoice(each) for each in stated["invoices"]]),
        "wallets": by(
            "customer",
            [figures(row, "balance", "ongoing") for row in table(stated.get("wallets", ""))],
        ),
        "alerts": list(table(stated.get("alerts", ""))),
    }
    return Statement(instant(stated["as_of"]), expected)


def invoice(stated: Shown) -> Shown:
    """Return an invoice as it is compared. The order of its lines is no matter of accounts."""
    stated = UNSAID | stated
    assert set(stated) == {"of", "period", "currency", "lines", *AMOUNTS}, stated
    lines = [figures(row, "quantity", "amount") for row in table(stated["lines"])]
    return figures(stated, *AMOUNTS) | {"lines": sorted(lines, key=line_order)}


def by(name: str, rows: Iterable[Shown]) -> list[Shown]:
    """Return rows by one of their members, those of one value in the order in which they came."""
    return sorted(rows, key=lambda row: row[name])


def figures(row: Shown, *names: str) -> Shown:
    """Return a row whose figures are compared by value."""
    return row | {name: Decimal(row[name]) for name in names}


def line_order(line: Shown) -> tuple[str, str]:
    return line["item"], line["service period"]


def instant(text: str) -> str:
    """Return an instant as the program writes it; none stays none."""
    return text if "T" in text or not text else text + MIDNIGHT


def period(of: Shown) -> str:
    """Return a period as scenarios write it."""
    start, end = (of[name].removesuffix(MIDNIGHT) for name in ("period_start", "period_end"))
    return f"{start} to {end}"


def shown(report: Shown) -> Shown:
    """Return the report of `tally bill --format json` in the form of a scenario."""
    return {
        "invoices": by(
            "of",
            (
                {
                    "of": each["subscription"],
                    "period": period(each),
                    "currency": each["currency"],
                    "lines": sorted(
                        (
                            {
                                "item": line["display_name"],
                                "service period": period(line),
                                "quantity": Decimal(line["quantity"]),
                                "amount": Decimal(line["amount"]),
                            }
                            for line in each["lines"]
                        ),
                        key=line_order,
                    ),
                    **{name: Decimal(each[member]) for name, member in AMOUNTS.items()},
                }
                for each in report["invoices"]
            ),
        ),
        "wallets": by(
            "customer",
            (
                {
                    "customer": each["customer"],
                    "currency": each["currency"],
                    "balance": Decimal(each["balance"]),
                    "ongoing": Decimal(each["ongoing_balance"]),
                }
                for each in report["wallets"]
            ),
        ),
        "alerts": [
            {
                "when": each["at"].removesuffix(MIDNIGHT),
                "customer": each["customer"],
                "alert": each["type"],
                "level": each["level"],
            }
            for each in report["alerts"]
        ],
    }


def billed(told: Scenario, catalog: Catalog, log: Path) -> tuple[dict[str, int], list[BillingRun]]:
    """Return how many events got which verdict, and what `tally bill` comes to at each instant."""
    write_log(log, told.records)
    with meter_files(catalog, [str(log)]) as metered:
        runs = [bill_metered(catalog, metered, each.at) for each in told.statements]
        return {name: metered.counts.get(name, 0) for name in VERDICTS}, runs


def played(told: Scenario, catalog: Catalog, log: Path) -> tuple[dict[str, int], list[BillingRun]]:
    """Return the same of a story whose events arrive while it is going on.

    Passes are made before each arrival and at each statement, all on one store, and each with the
    usage that has arrived by then. What a pass finds it does as a timely one would have done it.
    """
    assert not catalog.wallets, "wallets are opened by nobody where passes are played"
    names = {customer.id: customer.external_id for customer in catalog.customers}
    store = MemoryStore(catalog.subscriptions, names)
    runs, verdicts = [], {}
    arrivals = sorted({datetime.fromisoformat(each) for each in told.arrivals if each})
    statements = {each.at for each in told.statements}
    for now in sorted({*(each - MOMENT for each in arrivals), *statements}):
        write_log(
            log,
            [
                record
                for record, arrives in zip(told.records, told.arrivals, strict=True)
                if arrives is None or datetime.fromisoformat(arrives) <= now
            ],
        )
        with meter_files(catalog, [str(log)]) as metered:
            usage = MeteredUsage(metered)
            for customer in names:
                pass_account(store, usage, customer, now)
            verdicts = {name: metered.counts.get(name, 0) for name in VERDICTS}
            if now in statements:
                runs.append(run_of(store, usage, names, now))
    return verdicts, runs


def run_of(
    store: MemoryStore, usage: MeteredUsage, names: dict[CustomerId, str], now: datetime
) -> BillingRun:
    """Return what passes have left in a store, as `tally bill` reports it."""
    found = [running(store, usage, customer, now) for customer in names]
    balances = {each.wallet_id: each for one in found for each in one.balances}
    return BillingRun(
        invoices=tuple(store.invoices()),
        wallets=tuple(
            WalletState(held.wallet, balances[held.wallet.id]) for held in store.wallets()
        ),
        alerts=tuple(store.tables.alerts),
        debits=(),
        customers=names,
        subscriptions={each.id: each.lookup_key for each in store.live_subscriptions()},
    )


def write_log(log: Path, records: Sequence[Shown]) -> None:
    log.write_text("".join(json.dumps(each) + "\n" for each in records))


@pytest.mark.requires("embedded")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_program_comes_to_the_figures_worked_out_by_hand(path: Path, tmp_path: Path) -> None:
    told = scenario(path)
    catalog = tmp_path / "catalog.json"
    # A figure that the file writes without quotes is exact, and stays so as text.
    catalog.write_text(json.dumps(told.catalog, default=str))
    loaded = load_catalog(str(catalog))
    play = played if any(told.arrivals) else billed
    verdicts, runs = play(told, loaded, tmp_path / "events.ndjson")
    found = [shown(report_of(run)) for run in runs]
    assert verdicts == dict.fromkeys(VERDICTS, 0) | told.counts
    for each, came_to in zip(told.statements, found, strict=True):
        for part, expected in each.expected.items():
            assert came_to[part] == expected, f"{part} as of {each.as_of}"
    # The independent pricer agrees: from its explanation alone it comes to the amount of each line.
    for line in (line for run in runs for invoice in run.invoices for line in invoice.lines):
        assert reprice(line.explanation) == line.amount
        assert problems(line.explanation) == ()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_figures_of_a_scenario_add_up(path: Path) -> None:
    invoices = [each for told in scenario(path).statements for each in told.expected["invoices"]]
    for each in invoices:
        assert sum(line["amount"] for line in each["lines"]) == each["subtotal"]
        left = each["subtotal"] - each["discounts"] - each["credits"]
        # What is owed to the customer is carried over into a wallet, which then shows it.
        assert max(left + each["tax"], Decimal(0)) == each["total"]
