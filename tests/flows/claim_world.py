"""A small world for tests of running claims: a catalog, counted events, money in memory, a still clock."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from billing.ports import Changes, Stores
from billing.stores.memory import MemoryStore
from billing.stores.memory_claims import MemoryClaims
from billing.use_cases.balances import balance_of
from billing.wallets.balances import Ongoing
from billing.wallets.claim_facts import facts_of
from billing.wallets.ledger import TopUp, top_up
from billing.wallets.opening import open_wallet
from flows.billing.batches import KeptClaims, PublishedUsage, ShardNews
from flows.billing.claiming import ClaimLogic, ClaimSettings, ClaimStores
from flows.billing.stored import StoredUsage, meters_of
from flows.catalog import Catalog, load_catalog
from flows.metering.usage_rows import usage_rows
from flows.stores.tables import STORED_EVENTS, STORED_MEMBERS
from operators.columns import compute as pc
from operators.partials import Partials, start
from schemas.alert import Alert
from schemas.ids import CustomerId
from schemas.meter import Meter
from schemas.period import Interval
from schemas.scope import Scope
from schemas.usage import BASE_WINDOW, PAIRS
from schemas.wallet import Reason

CATALOG = """
meters:
  - {name: tokens, event_name: llm, aggregation: {type: SUM, field: tokens}}
  - {name: users, event_name: llm, aggregation: {type: COUNT_UNIQUE, field: user}}
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {type: USAGE, meter: tokens, billing_model: FLAT_FEE, amount: "0.5", currency: usd,
         billing_period: MONTHLY}
      - {type: USAGE, meter: users, billing_model: FLAT_FEE, amount: "2", currency: usd,
         billing_period: MONTHLY}
customers: [{external_id: acme}, {external_id: brill}, {external_id: lapse}]
subscriptions:
  - {customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z"}
  - {customer: brill, plan: pro, start_date: "2026-01-01T10:00:30Z"}
wallets:
  - {customer: acme, currency: usd, top_ups: [{credits_to_add: 30, at: "2026-01-01T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 9, condition: below}}}
  - {customer: lapse, currency: usd,
     top_ups: [{credits_to_add: 5, at: "2026-01-01T00:00:00Z", expiry_date_utc: "2026-01-20T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 1, condition: below}}}
"""

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
MONTH_END = datetime(2026, 2, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, at: datetime):
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Shelf:
    """Counted pairs in the place of a store: what was counted so far, as rows and members."""

    def __init__(self, meters: Sequence[Meter]):
        self.meters = {meter.id: meter for meter in meters}
        self.pairs: list[dict[str, object]] = []
        self.reads: list[tuple[datetime | None, tuple[str, ...]]] = []

    def count(self, customer: str, at: datetime, tokens: int, user: int = 1) -> pa.Table:
        """Count one event for all meters; return the rows that changed."""
        event = f"e{len(self.pairs)}"
        for meter in self.meters.values():
            counting = meter.aggregation.type.value == "COUNT_UNIQUE"
            pair = {
                "meter_id": meter.id,
                "external_customer_id": customer,
                "group": "",
                "timestamp": at,
                "event_id": event,
                "value": None if counting else Decimal(tokens),
                "member": bytes([user]) * 16 if counting else None,
            }
            self.pairs.append(pair)
        minute = at.replace(second=0, microsecond=0)
        rows = self._stored(list(self.meters))[0]
        return between(rows, minute, minute + BASE_WINDOW, [customer])

    def read_usage(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        del scope
        self.reads.append((start, tuple(customers or ())))
        return between(self._stored(meter_ids)[0], start, end, customers)

    def read_members(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        del scope
        return between(self._stored(meter_ids)[1], start, end, customers)

    def read_events(
        self,
        scope: Scope,
        event_names: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Raw events of a minute: here nobody has any in the minutes that periods cut."""
        del scope, event_names, start, end, customers
        return STORED_EVENTS.empty_table()

    def usage(self, meter: Meter) -> Partials:
        """All rows of a meter, for the pure rules."""
        pairs = pa.Table.from_pylist(self.pairs, schema=PAIRS)
        return start(meter.aggregation.type, pairs.filter(pc.equal(pairs["meter_id"], meter.id)))

    def edges(self, meter: Meter, interval: Interval) -> pa.Table:
        del meter, interval
        return PAIRS.empty_table()

    def _stored(self, meter_ids: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        rows, members = [], [STORED_MEMBERS.empty_table()]
        for name in meter_ids:
            meter = self.meters[name]
            found = usage_rows({meter.aggregation.type.value: self.usage(meter)}, self.meters, {})
            rows.append(found[0])
            members.append(found[1])
        return pa.concat_tables(rows), pa.concat_tables(members)


def between(
    table: pa.Table, start: datetime | None, end: datetime | None, customers: Sequence[str] | None
) -> pa.Table:
    """The rows of some windows and customers."""
    if start is not None:
        table = table.filter(pc.greater_equal(table["window_start"], pa.scalar(start)))
    if end is not None:
        table = table.filter(pc.less(table["window_start"], pa.scalar(end)))
    if customers is not None:
        wanted = pa.array(customers, pa.string())
        table = table.filter(pc.is_in(table["external_customer_id"], value_set=wanted))
    return table


def loaded(folder: Path, text: str = CATALOG) -> Catalog:
    """The catalog of a text."""
    path = folder / "catalog.yaml"
    path.write_text(text)
    return load_catalog(str(path))


def stock(stores: Stores, catalog: Catalog) -> None:
    """Commit what a catalog says, its wallets with all their top-ups."""
    stores.commit(
        Changes(customers=tuple(catalog.customers), subscriptions=tuple(catalog.subscriptions))
    )
    for opening in catalog.wallets:
        posted = open_wallet(
            opening.request,
            wallet_id=opening.id,
            customer_id=opening.customer_id,
            existing=(),
            at=opening.at,
        )
        stores.commit(Changes(posted=(posted,)))
        for each in opening.top_ups:
            held = stores.holdings(opening.id)
            assert held is not None
            stores.commit(Changes(posted=(top_up(held, each.request, each.at),)))


class World:
    """A shard of claims over a shelf and a memory store, looked at step by step."""

    def __init__(self, catalog: Catalog, stores: MemoryStore | None = None):
        self.catalog = catalog
        self.stores = stores or MemoryStore()
        if stores is None:
            stock(self.stores, catalog)
        self.clock = Clock(NOON)
        self.claims = MemoryClaims(self.stores)
        self.shelf = Shelf(meters_of(catalog.subscriptions))
        self.kept: list[KeptClaims] = []
        self.logic = self.restarted()

    def restarted(self, partitions: int = 1) -> ClaimLogic:
        """A process that begins: nothing is left but what is stored."""
        stored = StoredUsage(self.shelf, self.scope)
        kept = ClaimStores(self.stores, self.claims)
        settings = ClaimSettings(self.clock, timedelta(0), timedelta(0), partitions=partitions)
        self.logic = ClaimLogic(settings, kept, stored)
        self.tell(begins=1)
        return self.logic

    @property
    def scope(self) -> Scope:
        meter = meters_of(self.catalog.subscriptions)[0]
        return Scope(meter.tenant_id, meter.environment_id)

    def tell(self, rows: pa.Table | None = None, **more: object) -> None:
        """Publish rows to the shard."""
        told = self.shelf.count("nobody", NOON, 0).slice(0, 0) if rows is None else rows
        self.logic.on_batch([ShardNews(0, PublishedUsage(told, **more))])  # type: ignore[arg-type] # the fields that a test names.

    def event(self, customer: str, tokens: int, at: datetime | None = None, user: int = 1) -> None:
        """Count an event and publish what changed, as the metering flow does."""
        self.tell(self.shelf.count(customer, at or self.clock.at - SECOND, tokens, user))

    def flush(self) -> list[KeptClaims]:
        """Look until nobody waits; return what that kept."""
        found: list[KeptClaims] = []
        for _ in range(100):
            found += self.logic.on_notify()[0]
            wakes = self.logic.notify_at()
            assert wakes is not None
            if found and not found[-1].customers:
                break
        self.kept += found
        return found

    def alerts(self) -> list[tuple[str, Alert]]:
        """All alerts that were told, in order."""
        return [told for each in self.kept for told in each.alerts]

    def customer(self, name: str) -> CustomerId:
        return next(each.id for each in self.catalog.customers if each.external_id == name)

    def charged(self, name: str) -> Decimal:
        """What the claims of a customer come to."""
        row = self.claims.claims_of(self.customer(name))
        assert row is not None
        lines = [line.net for claim in row.claims for line in claim.asking()]
        return sum(lines, Decimal(0))

    def ongoing(self, name: str) -> Ongoing:
        """The balances of the only wallet of a customer, as a reader has them."""
        reading = balance_of(self.stores, self.claims, self.customer(name), self.clock.at)
        (found,) = reading.balances
        return found

    def topped_up(self, name: str, amount: int) -> None:
        """Add credits to the only wallet of a customer."""
        (held,) = self.stores.wallets_of(self.customer(name))
        request = TopUp(Reason.PURCHASED_CREDIT_DIRECT, Decimal(amount))
        self.stores.commit(Changes(posted=(top_up(held, request, self.clock.at),)))

    def invoices_needed(self, name: str) -> int:
        """How many invoices the claims of a customer rest on."""
        return len(facts_of(self.stores, self.customer(name), self.clock.at).invoices)
