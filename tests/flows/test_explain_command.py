"""`tally explain`: a line down to its events, from a folder and over HTTP, and what it refuses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from billing.invoices.drafting import draft
from billing.periods.services import windows
from billing.ports import Changes, UsageQuantity
from billing.stores.money import SqlStores
from billing.subscriptions.subscribing import subscribe
from flows.cli import explain as explain_command
from flows.cli.main import Commands
from flows.client.instance import Instance
from flows.client.invoice_lines import HttpLines
from flows.explaining import document_of, explain_line
from flows.settings import Settings
from flows.sql_store import open_sql
from flows.stores.clickhouse import open_store
from flows.stores.tables import STORED_EVENTS
from operators.digests import identity_digests
from schemas.customer import Customer
from schemas.errors import NotFound, StoreError
from schemas.ids import (
    CustomerId,
    EntitlementId,
    FeatureId,
    InvoiceLineId,
    PlanId,
    SubscriptionId,
)
from schemas.invoice import Invoice, InvoiceLine
from schemas.meter import Aggregation, AggregationType, Filter, Meter
from schemas.period import Interval
from schemas.price import BillingModel, InvoiceCadence, Price, PriceType, Tier, TierMode
from schemas.scope import Scope
from schemas.subscription import Entitlement, Plan, ResetPeriod, Subscription

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
TOKENS = Meter(
    "tokens",
    "tenant_default",
    "env_development",
    "Tokens",
    "llm",
    Aggregation(AggregationType.SUM_WITH_MULTIPLIER, "n", multiplier=Decimal(2)),
    (Filter("model", ("large",)),),
)
# Every day of January 40 of a large model, and of a small one that the meter does not look at.
EVENTS = [
    {
        "event_id": f"evt_{model}_{day:02}",
        "timestamp": JANUARY + timedelta(days=day, hours=6),
        "properties": json.dumps({"model": model, "n": 40}),
    }
    for day in range(31)
    for model in ("large", "small")
]


class Counted:
    """Usage as it was when the line was made: 2 × 40 a day, those in the interval."""

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        del meter, external_customer_ids, timezone, billing_anchor
        days = [each for each in EVENTS if interval.holds(each["timestamp"])]  # type: ignore[arg-type]  # of mixed values
        value = Decimal(80 * len(days) // 2)
        return UsageQuantity(value, value, len(days) // 2)


def sold() -> Subscription:
    usage = Price(
        "use",
        PriceType.USAGE,
        BillingModel.TIERED,
        "usd",
        tiers=(Tier(1000, Decimal("0.02")), Tier(None, Decimal("0.01"))),
        tier_mode=TierMode.SLAB,
        meter_id="tokens",
    )
    fee = Price(
        "fee",
        PriceType.FIXED,
        BillingModel.FLAT_FEE,
        "usd",
        amount=Decimal(20),
        invoice_cadence=InvoiceCadence.ADVANCE,
    )
    included = Entitlement(
        EntitlementId("e"),
        FeatureId("f"),
        meter_id="tokens",
        usage_limit=500,
        usage_reset_period=ResetPeriod.MONTHLY,
    )
    plan = Plan(
        PlanId("pro"),
        "Pro",
        prices=(usage, fee),
        entitlements=(included,),
        meters={"tokens": TOKENS},
    )
    blank = Subscription(SubscriptionId("s"), CustomerId("c"), "acme", "usd", JANUARY)
    return subscribe(blank, plan)


def renewal(subscription: Subscription) -> Invoice:
    window = list(windows(subscription, FEBRUARY))[1]
    return draft(subscription, window, Counted(), (), as_of=FEBRUARY)


SOLD = sold()
INVOICE = renewal(SOLD)


def line_of(*, usage: bool) -> InvoiceLine:
    return next(each for each in INVOICE.lines if (each.meter_id is not None) is usage)


USAGE, FEE = line_of(usage=True), line_of(usage=False)


def stored(events: list[dict[str, Any]]) -> pa.Table:
    """Return events as the store keeps them."""
    whole = [
        {
            "partition": 0,
            "offset": number,
            "tenant_id": "tenant_default",
            "environment_id": "env_development",
            "event_name": "llm",
            "external_customer_id": "acme",
            "customer_id": "",
            "source": "",
            "timestamp_given": True,
            "ingested_at": JANUARY,
            "event_digest": b" " * 16,
            "received_at": JANUARY,
        }
        | event
        for number, event in enumerate(events)
    ]
    table = pa.Table.from_pylist(whole, STORED_EVENTS)
    place = STORED_EVENTS.get_field_index("event_digest")
    return table.set_column(place, STORED_EVENTS.field(place), identity_digests(table))


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the program came to."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ran:
    app = typer.Typer(cls=Commands, rich_markup_mode=None)
    app.command("explain", epilog=explain_command.EXAMPLE)(explain_command.explain)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["explain", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(autouse=True)
def plain_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away the settings that the machine's user may have made."""
    for name in ("TALLY_API_KEY", "TALLY_URL", "TALLY_DATA", "TALLY_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with an invoice, and with the events that it was made of."""
    data = tmp_path_factory.mktemp("explain")
    settings = Settings(data=str(data))
    database = open_sql(settings, JANUARY)
    stores = SqlStores(database, Scope(settings.tenant, settings.environment))
    wrong = dict(USAGE.explanation) | {"amount": "99.00"}
    other = replace(USAGE, id=InvoiceLineId("wrong"), chain_id="other", explanation=wrong)
    stores.commit(
        Changes(
            customers=(Customer(CustomerId("c"), "acme"),),
            subscriptions=(SOLD,),
            invoices=(replace(INVOICE, lines=(*INVOICE.lines, other)),),
        )
    )
    database.close()
    with open_store(str(data / "store"), settings.clickhouse_database) as store:
        store.insert_events(stored(EVENTS))
    return data


@pytest.mark.requires("embedded")
def test_a_line_is_explained_down_to_its_events(folder: Path) -> None:
    ran = run(USAGE.id, "--data", str(folder), "--events", "2")
    assert (ran.code, ran.err) == (0, "")
    text = ran.out
    # 31 days of 80, 500 of them included: 1000 at 0.02 and 980 at 0.01.
    for words in (
        "Tokens, 2026-01-01 to 2026-02-01: 29.80 usd",
        "2480 − 500 included = 1980 to be priced",
        "tier 2, above 1000: 980 × 0.01 = 9.8",
        "re-priced independently: 29.80, agrees",
        "events of acme behind Tokens",
        "2026-01-01 to 2026-02-01: 31 events give 2480, as the line says",
        "evt_large_00 at 2026-01-01T06:00:00Z: 80",
        "… and 29 more",
    ):
        assert words in text
    assert "small" not in text


@pytest.mark.requires("embedded")
def test_all_events_of_a_line_add_up_to_its_usage(folder: Path) -> None:
    ran = run(
        f"{INVOICE.id}/{USAGE.id}", "--data", str(folder), "--events", "99", "--format", "json"
    )
    assert ran.code == 0
    found = json.loads(ran.out)
    assert (found["amount"], found["repriced"], found["agrees"]) == ("29.80", "29.80", True)
    (window,) = found["usage"]
    assert [window[name] for name in ("usage", "usage_now", "added_up")] == ["2480"] * 3
    assert window["event_count"] == len(window["events"]) == 31
    assert found["explanation"] == json.loads(json.dumps(USAGE.explanation))


@pytest.mark.requires("embedded")
def test_a_fee_has_no_events(folder: Path) -> None:
    ran = run(FEE.id, "--data", str(folder))
    assert ran.code == 0
    assert "20.00 usd" in ran.out
    assert "events" not in ran.out


@pytest.mark.requires("embedded")
def test_a_line_that_is_wrong_ends_with_1_and_says_what(folder: Path) -> None:
    ran = run("wrong", "--data", str(folder), "--events", "0")
    assert ran.code == 1
    assert "re-priced independently: 29.80, the line says 99.00" in ran.out
    assert "the amount is told as 99.00, but comes to 29.8" in ran.out


@pytest.mark.requires("embedded")
def test_events_that_came_since_are_told_of(folder: Path) -> None:
    late = {
        "event_id": "evt_late",
        "timestamp": FEBRUARY - timedelta(hours=1),
        "properties": '{"model": "large", "n": 1.25}',
        "offset": 1000,
    }
    skipped = late | {"event_id": "evt_without", "properties": '{"model": "large"}', "offset": 1001}
    with open_store(str(folder / "store"), Settings().clickhouse_database) as store:
        store.insert_events(stored([late, skipped]))
    ran = run(USAGE.id, "--data", str(folder), "--events", "99")
    assert ran.code == 0
    assert "33 events give 2482.5, 2.5 more than the line says: others have come since" in ran.out
    assert "added up one by one: 2482.5" in ran.out
    assert "evt_without at 2026-01-31T23:00:00Z: skipped" in ran.out


@pytest.mark.requires("embedded")
def test_what_there_is_not_is_said_in_one_line(folder: Path) -> None:
    for reference in ("nothing", f"{INVOICE.id}/nothing", f"nothing/{USAGE.id}"):
        ran = run(reference, "--data", str(folder))
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == f"tally: there is no invoice line {reference}\n"
    ran = run("line", "--data", "nowhere")
    assert (ran.code, ran.out) == (1, "")
    assert "there is no store in nowhere" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "LINE"),
        (["l"], "TALLY_API_KEY"),
        (["l", "--url", "http://x", "--data", "d"], "exclude each other"),
        (["l", "--events", "-1"], "--events"),
        (["l", "--format", "csv"], "--format"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], words: str) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_help_has_an_example() -> None:
    assert "Example: tally explain" in run("--help").out


def wire(line: InvoiceLine) -> dict[str, object]:
    return {
        "id": line.id,
        "display_name": line.display_name,
        "meter_id": line.meter_id,
        "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z",
        "explanation": dict(line.explanation),
    }


METER = {
    "id": "tokens",
    "tenant_id": "t",
    "environment_id": "e",
    "name": "Tokens",
    "event_name": "llm",
    "aggregation": {"type": "SUM_WITH_MULTIPLIER", "field": "n", "multiplier": "2"},
    "filters": [
        {"key": "model", "values": ["large", "huge"]},
        {"key": "model", "values": ["large"]},
    ],
    "reset_usage": "BILLING_PERIOD",
}
HELD = {
    "id": INVOICE.id,
    "customer_id": "payer",
    "subscription_customer_id": "c",
    "subscription_id": "s",
    "line_items": [wire(USAGE), wire(FEE)],
}


class Answering:
    """An instance of the wire: it keeps what it was asked."""

    def __init__(self, invoice: dict[str, Any]):
        self.invoice = invoice
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.url.path, body))
        return httpx.Response(200, json=self.answer(request.url.path, body))

    def answer(self, path: str, body: Any) -> Any:
        large = [each for each in EVENTS if "large" in str(each["event_id"])]
        answers = {
            f"/v1/invoices/{INVOICE.id}": self.invoice,
            "/v1/customers/c": {"external_id": "acme"},
            "/v1/subscriptions/s": {"timezone": "UTC", "billing_anchor": "2026-01-01T00:00:00Z"},
            "/v1/meters/tokens": METER,
            "/v1/events/usage/meter": {"value": 2480},
        }
        if path == "/v1/invoices/search":
            return {"items": [self.invoice]}
        if path == "/v1/events/query":
            page = large[body["offset"] : body["offset"] + body["page_size"]]
            events = [
                {
                    "id": each["event_id"],
                    "event_name": "llm",
                    "external_customer_id": "acme",
                    "customer_id": "",
                    "source": "",
                    "timestamp": "2026-01-01T06:00:00Z",
                    "ingested_at": "2026-01-01T06:00:00Z",
                    "properties": {"model": "large", "n": 40.0},
                }
                for each in page
            ]
            more = body["offset"] + len(page) < len(large)
            return {"events": events, "total_count": len(large), "has_more": more}
        return answers[path]


def over_http(invoice: dict[str, Any]) -> tuple[HttpLines, Answering]:
    answering = Answering(invoice)
    instance = Instance("http://x", "sk", transport=httpx.MockTransport(answering))
    return HttpLines(instance), answering


@pytest.mark.parametrize("reference", [USAGE.id, f"{INVOICE.id}/{USAGE.id}"], ids=["line", "both"])
def test_an_instance_answers_as_a_folder_does(reference: str) -> None:
    source, answering = over_http(HELD)
    found = document_of(explain_line(source, reference, events_max=99))
    assert json.loads(json.dumps(found["explanation"])) == USAGE.explanation
    assert (found["repriced"], found["agrees"]) == ("29.80", True)
    (window,) = json.loads(json.dumps(found["usage"]))
    assert (window["usage_now"], window["added_up"], window["event_count"]) == ("2480", "2480", 31)
    # Of two filters on one property both hold, and usage is asked for its own customer.
    queries = [body for path, body in answering.asked if path == "/v1/events/query"]
    assert [each["property_filters"] for each in queries] == [{"model": ["large"]}]
    assert queries[0]["external_customer_id"] == "acme"


def test_what_an_instance_does_not_tell_is_no_traceback() -> None:
    source, _ = over_http(HELD)
    with pytest.raises(NotFound, match="no invoice line nothing"):
        source.line("nothing")
    untold = [{name: each for name, each in wire(USAGE).items() if name != "explanation"}]
    source, _ = over_http(HELD | {"line_items": untold})
    with pytest.raises(NotFound, match="tells no explanation"):
        source.line(USAGE.id)
    source, _ = over_http({"line_items": [{}]})
    with pytest.raises(StoreError, match="does not answer as a tally does"):
        source.line(USAGE.id)
