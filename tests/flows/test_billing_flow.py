"""The billing dataflow: its bills are those of the pure rules, however usage rows come."""

import json
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.accounts import Account, accounts_of
from billing.running import BillingRun, as_json, bill
from billing.wallets.ledger import TopUp
from billing.wallets.opening import TopUpAt, WalletOpening
from flows.billing.batches import NOTHING, ShardedUsage, UsageBatch
from flows.billing.charging import ChargeLogic, ChargeSettings
from flows.billing.cumulative import CumulativeUsage
from flows.billing.flow import billing_flow
from flows.billing.metered import bill_metered, day_ends
from flows.billing.results import Bills, BillsSink
from flows.billing.source import UsageSource, published
from flows.billing_usage import MeteredUsage
from flows.catalog import Catalog, load_catalog
from flows.cli.main import cause_of
from flows.metering.usage_rows import CORRECTION_BITS, usage_rows
from operators.columns import compute as pc
from operators.partials import Partials, start
from schemas.errors import AlreadyExists, StoreError
from schemas.ids import CustomerId, WalletId
from schemas.meter import Meter
from schemas.period import Interval
from schemas.usage import PAIRS, USAGE
from schemas.wallet import Reason, WalletRequest

# Two subscriptions and two wallets of one customer, a period that cuts a minute, one without usage,
# one without a subscription.
CATALOG = """
meters:
  - {name: tokens, event_name: llm, aggregation: {type: SUM, field: tokens}}
  - {name: users, event_name: llm, aggregation: {type: COUNT_UNIQUE, field: user}}
  - {name: seats, event_name: llm, aggregation: {type: MAX, field: seats, bucket_size: DAY,
     group_by: region}}
  - {name: level, event_name: llm, aggregation: {type: LATEST, field: level}}
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {type: FIXED, billing_model: FLAT_FEE, amount: "20", currency: usd,
         billing_period: MONTHLY, invoice_cadence: ADVANCE}
      - {type: USAGE, meter: tokens, billing_model: TIERED, tier_mode: SLAB, currency: usd,
         billing_period: MONTHLY, tiers: [{up_to: 90, unit_amount: "0.5"}, {unit_amount: "0.1"}]}
      - {type: USAGE, meter: users, billing_model: FLAT_FEE, amount: "0.7", currency: usd,
         billing_period: MONTHLY}
  - name: Studio
    lookup_key: studio
    prices:
      - {type: USAGE, meter: seats, billing_model: FLAT_FEE, amount: "0.05", currency: eur,
         billing_period: MONTHLY}
      - {type: USAGE, meter: level, billing_model: FLAT_FEE, amount: "3", currency: eur,
         billing_period: MONTHLY}
customers: [{external_id: acme}, {external_id: brill}, {external_id: cedar}, {external_id: idle},
  {external_id: saver}]
subscriptions:
  - {customer: cedar, plan: studio, start_date: "2026-01-01T10:00:30Z"}
  - {customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z"}
  - {customer: acme, plan: studio, start_date: "2026-01-01T00:00:00Z"}
  - {customer: brill, plan: pro, start_date: "2026-01-01T00:00:00Z"}
  - {customer: idle, plan: pro, start_date: "2026-01-01T00:00:00Z"}
wallets:
  - {customer: brill, currency: usd, top_ups: [{credits_to_add: 30, at: "2026-01-01T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 9, condition: below}}}
  - {customer: acme, currency: usd, top_ups: [{credits_to_add: 60, at: "2026-01-01T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 30, condition: below}}}
  - {customer: acme, currency: eur, top_ups: [{credits_to_add: 5, at: "2026-01-02T00:00:00Z"}]}
  - {customer: saver, currency: usd, top_ups: [{credits_to_add: 5, at: "2026-01-02T00:00:00Z"}]}
"""

FIRST = datetime(2026, 1, 1, 10, tzinfo=UTC)
AS_OF = datetime(2026, 2, 2, tzinfo=UTC)
CUSTOMERS = ("acme", "brill", "cedar", "stranger")


class Metered:
    """Counted pairs in memory, in the place of metered files."""

    def __init__(self, pairs: pa.Table):
        self.pairs = pairs
        self.first_event_at: datetime | None = FIRST
        self.last_event_at: datetime | None = FIRST + timedelta(days=12)

    def usage(self, meter: Meter) -> Partials:
        return start(meter.aggregation.type, self.edges(meter, None))

    def edges(self, meter: Meter, interval: Interval | None) -> pa.Table:
        del interval
        return self.pairs.filter(pc.equal(self.pairs["meter_id"], meter.id))

    def cut(self, meter: Meter, interval: Interval, _: Sequence[str]) -> pa.Table:
        return self.edges(meter, interval)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    path.write_text(CATALOG)
    return load_catalog(str(path))


@pytest.fixture(scope="module")
def metered(catalog: Catalog) -> Metered:
    """Pairs of all meters: several in one minute, some on the minute that a period cuts."""
    chance = random.Random(3)  # noqa: S311 - made-up usage, the same each time.
    rows = []
    for number in range(160):
        at = FIRST + timedelta(
            minutes=chance.choice([0, 1, 2, 1450]) * (number % 13), seconds=number % 60
        )
        for meter in catalog.meters:
            kind = meter.aggregation.type.value
            rows.append(
                {
                    "meter_id": meter.id,
                    "external_customer_id": chance.choice(CUSTOMERS),
                    "group": chance.choice(("eu", "us")) if meter.aggregation.group_by else "",
                    "timestamp": at,
                    "event_id": f"e{number}",
                    "value": None if kind == "COUNT_UNIQUE" else Decimal(chance.randint(1, 9)),
                    "member": bytes([chance.randint(1, 9)]) * 16
                    if kind == "COUNT_UNIQUE"
                    else None,
                }
            )
    return Metered(pa.Table.from_pylist(rows, schema=PAIRS))


@pytest.fixture(scope="module")
def pure(catalog: Catalog, metered: Metered) -> BillingRun:
    return bill(
        catalog.subscriptions,
        catalog.wallets,
        MeteredUsage(metered),
        as_of=AS_OF,
        observe=day_ends(metered),
        customers=names_of(catalog),
    )


def names_of(catalog: Catalog) -> dict[CustomerId, str]:
    return {each.id: each.external_id for each in catalog.customers}


def accounts(catalog: Catalog) -> tuple[Account, ...]:
    return accounts_of(catalog.subscriptions, catalog.wallets, names_of(catalog))


def bytes_of(run: BillingRun) -> str:
    """What is printed, and all that is not."""
    return json.dumps(as_json(run), indent=1) + repr(run)


def flow_of(
    catalog: Catalog,
    metered: Metered,
    batches: Callable[[], Iterable[UsageBatch]],
    bills: Bills,
    shards: int = 4,
) -> Dataflow:
    return billing_flow(
        UsageSource(batches),
        accounts(catalog),
        ChargeSettings(lambda: AS_OF, day_ends(metered)),
        edges=metered.cut,
        bills=BillsSink(bills),
        shards=shards,
    )


def through_flow(
    catalog: Catalog, metered: Metered, batches: Sequence[UsageBatch], shards: int
) -> BillingRun:
    bills = Bills()
    run_main(flow_of(catalog, metered, lambda: batches, bills, shards))
    return bills.run()


def growing(catalog: Catalog, metered: Metered, stages: int) -> list[UsageBatch]:
    """The rows of each stage of a log that grows, as the metering flow publishes them."""
    found: list[UsageBatch] = []
    for stage in range(1, stages + 1):
        part = Metered(metered.pairs.slice(0, metered.pairs.num_rows * stage // stages))
        found += published(part, catalog.meters, batch_rows_max=7)
    return found


def test_the_story_has_something_of_everything(pure: BillingRun) -> None:
    assert (len(pure.invoices), len(pure.wallets)) == (8, 4)
    assert len({alert.customer_id for alert in pure.alerts}) > 1
    assert len(pure.debits) > 3
    assert set(pure.customers.values()) == {"acme", "brill", "cedar", "idle", "saver"}


def test_the_commands_bill_as_the_pure_rules_do(
    catalog: Catalog, metered: Metered, pure: BillingRun
) -> None:
    assert bytes_of(bill_metered(catalog, metered, AS_OF)) == bytes_of(pure)


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 4]), st.sampled_from([1, 3]))
def test_no_bill_depends_on_order_repetition_versions_or_shards(
    catalog: Catalog,
    metered: Metered,
    pure: BillingRun,
    chance: random.Random,
    shards: int,
    stages: int,
) -> None:
    batches = growing(catalog, metered, stages)
    again = chance.sample(batches, len(batches) // 3)
    shuffled = chance.sample([*batches, *again], len(batches) + len(again))

    assert bytes_of(through_flow(catalog, metered, shuffled, shards)) == bytes_of(pure)


def test_rows_cut_from_their_members_come_to_the_same(
    catalog: Catalog, metered: Metered, pure: BillingRun
) -> None:
    batches = growing(catalog, metered, 1)
    parted = [
        *(UsageBatch(NOTHING.rows, each.members) for each in batches),
        *(UsageBatch(each.rows, NOTHING.members) for each in reversed(batches)),
    ]
    assert bytes_of(through_flow(catalog, metered, parted, 4)) == bytes_of(pure)


def test_a_customers_bill_does_not_depend_on_who_else_is_billed(
    catalog: Catalog, metered: Metered, pure: BillingRun
) -> None:
    for account in accounts(catalog):
        alone = bill(
            account.subscriptions,
            account.openings,
            MeteredUsage(metered),
            as_of=AS_OF,
            observe=day_ends(metered),
            customers=names_of(catalog),
        )
        own = {state.wallet.id for state in alone.wallets}
        customer = account.customer_id
        assert alone.invoices == tuple(i for i in pure.invoices if i.customer_id == customer)
        assert alone.alerts == tuple(a for a in pure.alerts if a.customer_id == customer)
        assert alone.debits == tuple(d for d in pure.debits if d.wallet_id in own)
        assert alone.wallets == tuple(w for w in pure.wallets if w.wallet.id in own)


def logic(catalog: Catalog, metered: Metered, snapshot: bytes | None = None) -> ChargeLogic:
    """A shard of all customers, flushed whenever it is asked to be."""
    return ChargeLogic(
        ChargeSettings(lambda: AS_OF, day_ends(metered), flush_every=timedelta(0)),
        lambda _: accounts(catalog),
        metered.cut,
        None if snapshot is None else pickle.loads(snapshot),  # noqa: S301 - our own bytes.
    )


@settings(max_examples=10)
@given(st.lists(st.sampled_from(["batch", "flush", "snapshot", "crash"]), max_size=24))
def test_flushes_and_restarts_anywhere_leave_the_same_bills(
    catalog: Catalog, metered: Metered, pure: BillingRun, moments: list[str]
) -> None:
    batches = [ShardedUsage(0, each) for each in growing(catalog, metered, 2)]
    bills = Bills()
    running = logic(catalog, metered)
    running.on_batch([ShardedUsage(0, NOTHING)])
    position, saved = 0, (0, pickle.dumps(running.snapshot()))
    for moment in moments:
        if moment == "batch":
            running.on_batch(batches[position : position + 3])
            position += 3
        elif moment == "flush":
            bills.take(list(running.on_notify()[0]))
        elif moment == "snapshot":
            saved = position, pickle.dumps(running.snapshot())
        else:
            position = saved[0]
            running = logic(catalog, metered, saved[1])
    running.on_batch(batches[position:])
    bills.take(list(running.on_eof()[0]))

    assert bytes_of(bills.run()) == bytes_of(pure)


def test_a_flow_that_died_goes_on_from_its_recovery_store(
    catalog: Catalog, metered: Metered, pure: BillingRun, tmp_path: Path
) -> None:
    init_db_dir(tmp_path, 1)
    batches = growing(catalog, metered, 1)
    read: list[int] = []

    def until(end: int) -> Iterator[UsageBatch]:
        for number, batch in enumerate(batches):
            if number == end:
                raise StoreError("gone")
            read.append(number)
            yield batch

    def run(end: int) -> Bills:
        bills = Bills()
        flow = flow_of(catalog, metered, lambda: until(end), bills)
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(tmp_path))
        return bills

    with pytest.raises(RuntimeError, check=lambda died: isinstance(cause_of(died), StoreError)):
        run(len(batches) // 2)
    assert read == list(range(len(batches) // 2))

    assert bytes_of(run(len(batches)).run()) == bytes_of(pure)


def test_workers_share_the_shards(catalog: Catalog, metered: Metered, pure: BillingRun) -> None:
    bills = Bills()
    flow = flow_of(catalog, metered, lambda: growing(catalog, metered, 2), bills)
    cluster_main(flow, [], 0, worker_count_per_proc=2)
    assert bytes_of(bills.run()) == bytes_of(pure)


def test_only_those_are_billed_again_whose_usage_has_changed(
    catalog: Catalog, metered: Metered
) -> None:
    running = logic(catalog, metered)
    batches = [ShardedUsage(0, each) for each in growing(catalog, metered, 1)]
    running.on_batch(batches)
    first = list(running.on_notify()[0])
    assert [each.account.external_id for each in first] == [
        each.external_id for each in accounts(catalog)
    ]

    running.on_batch(batches)
    assert list(running.on_notify()[0]) == []

    (row,) = batches[0].usage.rows.slice(0, 1).to_pylist()
    later = row | {"external_customer_id": "brill", "version": row["version"] + 1}
    running.on_batch(
        [ShardedUsage(0, UsageBatch(pa.Table.from_pylist([later], USAGE), NOTHING.members))]
    )
    assert [each.account.external_id for each in running.on_notify()[0]] == ["brill"]


def test_the_source_goes_on_where_a_snapshot_was(catalog: Catalog, metered: Metered) -> None:
    source = UsageSource(lambda: growing(catalog, metered, 1))
    whole = source.build_part("read", "usage", None)
    given_before = [whole.next_batch() for _ in range(3)]
    assert given_before[0] == [NOTHING]
    resumed = source.build_part("read", "usage", whole.snapshot())

    assert resumed.next_batch()[0].rows.equals(whole.next_batch()[0].rows)
    rest = len(growing(catalog, metered, 1)) - 3
    assert [len(resumed.next_batch()) for _ in range(rest)] == [1] * rest
    with pytest.raises(StopIteration):
        resumed.next_batch()


def test_without_any_row_everybody_pays_their_fees(catalog: Catalog) -> None:
    nothing = Metered(PAIRS.empty_table())
    fees = [
        (invoice.subtotal, invoice.customer_id)
        for invoice in through_flow(catalog, nothing, [], 4).invoices
        if invoice.subtotal
    ]
    assert [amount for amount, _ in fees] == [Decimal(20)] * 6
    assert len({customer for _, customer in fees}) == 3


def test_a_corrected_row_stands_above_any_number_of_events(catalog: Catalog) -> None:
    meter = next(each for each in catalog.meters if each.aggregation.type.value == "SUM")
    pair = {"meter_id": meter.id, "external_customer_id": "acme", "group": "", "timestamp": FIRST}
    rows, _ = usage_rows(
        {
            "SUM": start(
                "SUM",
                pa.Table.from_pylist([pair | {"event_id": "a", "value": Decimal(7)}], schema=PAIRS),
            )
        },
        {meter.id: meter},
        {},
    )
    (plain,) = rows.to_pylist()
    corrected = plain | {"version": (1 << CORRECTION_BITS) + 1, "sum": Decimal(3)}
    more = plain | {"version": 900, "counted": 900}
    usage = CumulativeUsage()
    for row in (corrected, more, plain):
        usage.add([UsageBatch(pa.Table.from_pylist([row], USAGE), NOTHING.members)])
    assert [each.external_customer_id for each in usage.settle()] == ["acme"]
    day = Interval(FIRST - timedelta(days=1), FIRST + timedelta(days=1))
    assert usage.usage(meter, "acme", day).table["sum"].to_pylist() == [Decimal(3)]


def planned(customer: str, key: str, *amounts: int) -> WalletOpening:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    bought = [
        TopUp(Reason.PURCHASED_CREDIT_DIRECT, Decimal(amount), idempotency_key=key)
        for amount in amounts
    ]
    return WalletOpening(
        WalletId(f"w-{customer}"),
        CustomerId(customer),
        at,
        WalletRequest.model_validate({"currency": "usd"}),
        tuple(TopUpAt(at, each) for each in bought),
    )


def refused(openings: Sequence[WalletOpening], shards: int) -> AlreadyExists:
    bills = Bills()
    flow = billing_flow(
        UsageSource(list),
        accounts_of([], openings),
        ChargeSettings(lambda: AS_OF),
        edges=lambda meter, interval, customers: PAIRS.empty_table(),
        bills=BillsSink(bills),
        shards=shards,
    )
    run_main(flow)
    with pytest.raises(AlreadyExists) as raised:
        bills.run()
    return raised.value


def test_what_the_ledger_refuses_is_raised_as_it_is_whatever_the_shards() -> None:
    openings = [
        planned("zeta", "later", 1, 2),
        planned("acme", "first", 1, 2),
        planned("ok", "k", 1),
    ]
    found = {str(refused(openings, shards)) for shards in (1, 4)}
    assert found == {"idempotency key 'first' was used for another request"}


def test_one_idempotency_key_is_not_for_two_customers() -> None:
    openings = [planned("acme", "same", 1), planned("zeta", "same", 1)]
    with pytest.raises(AlreadyExists, match="'same' was used for another request"):
        bill([], openings, MeteredUsage(Metered(PAIRS.empty_table())), as_of=AS_OF)
