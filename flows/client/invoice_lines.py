"""Invoice lines and the events behind them, over HTTP and from the stores of a folder alike."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.periods.services import schedule_of
from billing.ports import InvoiceStore, SubscriptionStore, UsageAnswers
from flows.cli.output import instant_text
from flows.client.instance import Instance
from flows.explaining import FoundLine
from schemas.errors import NotFound, StoreError
from schemas.event_query import EventPage, EventQuery, StoredEvent, UsageQuery
from schemas.ids import InvoiceId, InvoiceLineId
from schemas.invoice import Invoice, InvoiceLine
from schemas.meter import Aggregation, AggregationType, Filter, Meter, ResetUsage, WindowSize
from schemas.period import Interval
from schemas.scope import Scope

INVOICES_PATH = "/v1/invoices"
SEARCH_PATH = "/v1/invoices/search"
SUBSCRIPTIONS_PATH = "/v1/subscriptions"
METERS_PATH = "/v1/meters"
CUSTOMERS_PATH = "/v1/customers"
EVENTS_PATH = "/v1/events/query"
USAGE_PATH = "/v1/events/usage/meter"
PAGE_SIZE = 1000
STATUSES = ("DRAFT", "FINALIZED", "SKIPPED", "VOIDED")

Answered = Mapping[str, Any]
InvoiceOfLine = Callable[[InvoiceLineId], InvoiceId | None]


def divided(reference: str) -> tuple[str | None, str]:
    """Return the invoice and the line that a reference names; alone it may be either.

    >>> divided("inv_1/inv_line_2"), divided("inv_line_2")
    (('inv_1', 'inv_line_2'), (None, 'inv_line_2'))
    """
    invoice, slash, line = reference.rpartition("/")
    return (invoice, line) if slash else (None, line)


class StoredLines:
    """Lines of the SQL store, with the events of a folder or a server.

    `invoice_of` finds the invoice of a line.
    """

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        invoices: InvoiceStore,
        invoice_of: InvoiceOfLine,
        answers: UsageAnswers,
        scope: Scope,
    ):
        self._subscriptions = subscriptions
        self._invoices = invoices
        self._invoice_of = invoice_of
        self._answers = answers
        self._scope = scope

    def line(self, reference: str) -> FoundLine:
        """Return the line that a reference names. Raises NotFound and StoreError."""
        invoice_id, line_id = divided(reference)
        name = InvoiceId(invoice_id) if invoice_id else self._invoice_of(InvoiceLineId(line_id))
        invoice = None if name is None else self._invoices.invoice(name)
        found = [each for each in invoice.lines if each.id == line_id] if invoice else []
        if invoice is None or not found:
            raise NotFound(f"there is no invoice line {reference}")
        return self._found(invoice, found[0])

    def _found(self, invoice: Invoice, line: InvoiceLine) -> FoundLine:
        """Return a line with what its usage is read by: the meter that its subscription has."""
        subscription = None
        if invoice.subscription_id is not None:
            subscription = self._subscriptions.subscription(invoice.subscription_id)
        found = FoundLine(
            invoice.id,
            line.id,
            line.display_name,
            line.period,
            line.explanation,
            self._subscriptions.external_id_of(invoice.customer_id),
        )
        if subscription is None:
            return found
        meters = (each.meter for each in subscription.lines if each.meter is not None)
        return replace(
            found,
            # Usage is the subscription's own, whoever is invoiced for it.
            customer=subscription.external_customer_id,
            meter=next((each for each in meters if each.id == line.meter_id), None),
            timezone=subscription.timezone,
            anchor=schedule_of(subscription).grid.first,
        )

    def value(self, found: FoundLine, period: Interval) -> Decimal:
        """Return what the line's meter gives its customer for a period now."""
        assert found.meter is not None, "only usage is asked for"
        asked = UsageQuery(
            self._scope,
            found.meter,
            period,
            external_customer_ids=(found.customer,),
            timezone=found.timezone,
            anchor=found.anchor,
        )
        return self._answers.answer(asked).value

    def events(self, found: FoundLine, period: Interval, size: int, offset: int) -> EventPage:
        """Return a page of the events behind a line in a period, the oldest first."""
        assert found.meter is not None, "only usage is asked for"
        return self._answers.events(
            EventQuery(
                self._scope,
                period,
                external_customer_id=found.customer,
                event_name=found.meter.event_name,
                property_filters=found.meter.filters,
                page_size=size,
                offset=offset,
                descending=False,
            )
        )


class HttpLines:
    """Lines and events that an instance answers.

    A line without its invoice is looked for on all invoices, the newest first. Every method raises
    as `Instance` does, and StoreError for what no tally answers.
    """

    def __init__(self, instance: Instance):
        self._instance = instance

    def line(self, reference: str) -> FoundLine:
        """Return the line that a reference names. Raises NotFound."""
        invoice_id, line_id = divided(reference)
        try:
            invoice: Answered = self._holding(line_id) if invoice_id is None else {}
            if invoice_id is not None:
                invoice = self._instance.get(f"{INVOICES_PATH}/{invoice_id}")
            found = [each for each in invoice.get("line_items", ()) if each["id"] == line_id]
            if not found:
                raise NotFound(f"there is no invoice line {reference}")
            return self._found(invoice, found[0])
        except (KeyError, TypeError, ValueError) as cause:
            raise self._strange() from cause

    def _holding(self, line_id: str) -> Answered:
        """Return the invoice that has a line, or no invoice's members."""
        offset = 0
        while True:
            asked = {"limit": PAGE_SIZE, "offset": offset, "invoice_status": STATUSES}
            items = self._instance.ask(SEARCH_PATH, asked)["items"]
            for invoice in items:
                if any(each["id"] == line_id for each in invoice.get("line_items", ())):
                    found: Answered = invoice
                    return found
            if len(items) < PAGE_SIZE:
                return {}
            offset += PAGE_SIZE

    def _found(self, invoice: Answered, line: Answered) -> FoundLine:
        """Return a line of the wire with what its usage is read by."""
        if "explanation" not in line:
            raise NotFound(f"{self._instance.url} tells no explanation of {line['id']}")
        name = invoice.get("subscription_customer_id") or invoice["customer_id"]
        customer = self._instance.get(f"{CUSTOMERS_PATH}/{name}")["external_id"]
        start, end = (datetime.fromisoformat(line[each]) for each in ("period_start", "period_end"))
        found = FoundLine(
            str(invoice["id"]),
            str(line["id"]),
            str(line["display_name"]),
            Interval(start, end),
            _as_stored(line["explanation"]),
            str(customer),
        )
        if not line.get("meter_id") or not invoice.get("subscription_id"):
            return found
        subscription = self._instance.get(f"{SUBSCRIPTIONS_PATH}/{invoice['subscription_id']}")
        return replace(
            found,
            meter=_meter(self._instance.get(f"{METERS_PATH}/{line['meter_id']}")),
            timezone=str(subscription["timezone"]),
            anchor=datetime.fromisoformat(subscription["billing_anchor"]),
        )

    def value(self, found: FoundLine, period: Interval) -> Decimal:
        """Return what the line's meter gives its customer for a period now."""
        assert found.meter is not None, "only usage is asked for"
        asked: dict[str, object] = {
            "meter_id": found.meter.id,
            "external_customer_id": found.customer,
            "timezone": found.timezone,
            **_range(period),
        }
        if found.anchor is not None:
            asked["billing_anchor"] = instant_text(found.anchor)
        try:
            return Decimal(self._instance.ask(USAGE_PATH, asked)["value"])
        except (KeyError, TypeError, ValueError) as cause:
            raise self._strange() from cause

    def events(self, found: FoundLine, period: Interval, size: int, offset: int) -> EventPage:
        """Return a page of the events behind a line in a period, the oldest first."""
        assert found.meter is not None, "only usage is asked for"
        asked: dict[str, object] = {
            "external_customer_id": found.customer,
            "event_name": found.meter.event_name,
            "property_filters": _filters(found.meter.filters),
            "page_size": size,
            "offset": offset,
            "order": "asc",
            **_range(period),
        }
        said = self._instance.ask(EVENTS_PATH, asked)
        try:
            rows = tuple(map(_event, said["events"]))
            return EventPage(rows, int(said["total_count"]), bool(said["has_more"]), None, None)
        except (KeyError, TypeError, ValueError) as cause:
            raise self._strange() from cause

    def _strange(self) -> StoreError:
        return StoreError(f"{self._instance.url} does not answer as a tally does")


def _as_stored(told: Any) -> Any:
    """Return an explanation as it was stored: its whole numbers came as decimals."""
    if isinstance(told, dict):
        return {name: _as_stored(each) for name, each in told.items()}
    if isinstance(told, list):
        return [_as_stored(each) for each in told]
    return int(told) if isinstance(told, Decimal) else told


def _range(period: Interval) -> dict[str, object]:
    return {"start_time": instant_text(period.start), "end_time": instant_text(period.end)}


def _filters(filters: Sequence[Filter]) -> dict[str, list[str]]:
    """Return filters as the wire has them: of two on one property both must hold."""
    found: dict[str, list[str]] = {}
    for each in filters:
        known = found.get(each.key)
        found[each.key] = [value for value in each.values if known is None or value in known]
    return found


def _event(row: Answered) -> StoredEvent:
    """Return an event of the wire; its numbers come as texts, which meters read as the same numbers."""
    instants = {name: datetime.fromisoformat(row[name]) for name in ("timestamp", "ingested_at")}
    return StoredEvent(
        event_id=row["id"],
        event_name=row["event_name"],
        external_customer_id=row["external_customer_id"],
        customer_id=row["customer_id"],
        source=row["source"],
        properties=json.dumps(row["properties"], default=lambda number: f"{number:f}"),
        **instants,
    )


def _meter(row: Answered) -> Meter:
    """Return a meter of the wire."""
    told = row["aggregation"]
    bucket, multiplier = told.get("bucket_size"), told.get("multiplier")
    return Meter(
        str(row["id"]),
        str(row["tenant_id"]),
        str(row["environment_id"]),
        str(row["name"]),
        str(row["event_name"]),
        Aggregation(
            AggregationType(told["type"]),
            told.get("field"),
            told.get("expression"),
            None if multiplier is None else Decimal(multiplier),
            None if bucket is None else WindowSize(bucket),
            told.get("group_by"),
        ),
        tuple(Filter(each["key"], tuple(each["values"])) for each in row["filters"]),
        ResetUsage(row["reset_usage"]),
    )
