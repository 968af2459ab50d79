"""The wiring of the billing dataflow; who runs it picks what it reads and where its bills go."""

from collections.abc import Iterator, Sequence

import bytewax.operators as op
import pyarrow as pa
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from billing.accounts import Account
from flows.billing.batches import CustomerBill, ShardedUsage, UsageBatch
from flows.billing.charging import ChargeLogic, ChargeSettings, ChargeSnapshot, by_shard
from flows.billing.reading import Edges
from flows.metering.sharding import customer_shards, shard_key

FLOW = "billing"


def billing_flow(
    source: Source[UsageBatch],
    accounts: Sequence[Account],
    settings: ChargeSettings,
    *,
    edges: Edges,
    bills: Sink[CustomerBill],
    shards: int = 1,
) -> Dataflow:
    """Wire the flow: usage rows to the bills of customers.

    `edges` gives the counted pairs where a period cuts a base window, which rows cannot be cut at.
    `shards` is fixed for the life of a recovery folder. Step ids are what recovery knows state by:
    they are never renamed.
    """
    steps = _Steps(accounts, settings, edges, shards)
    flow = Dataflow(FLOW)
    batches = op.input("read", flow, source)
    sharded = op.flat_map("shard_by_customer", batches, steps.sharded)
    found = op.stateful_batch("charge", sharded, steps.charge)
    op.output("hand_over", op.map("drop_key", found, lambda keyed: keyed[1]), bills)
    return flow


class _Steps:
    """The functions of the steps, with what they share: accounts, settings and edges."""

    def __init__(
        self, accounts: Sequence[Account], settings: ChargeSettings, edges: Edges, shards: int
    ):
        names = pa.array([account.external_id for account in accounts], pa.string())
        numbers = customer_shards(pa.table({"external_customer_id": names}), shards)
        self._accounts = by_shard(accounts, numbers.tolist())
        self._settings = settings
        self._edges = edges
        self._shards = shards

    def sharded(self, batch: UsageBatch) -> Iterator[tuple[str, ShardedUsage]]:
        """Return a batch by the shard of its customers; each hears of it, if only of nothing.

        A shard that no row has come to has customers all the same, and they are billed their fees.
        """
        rows = customer_shards(batch.rows, self._shards)
        members = customer_shards(batch.members, self._shards)
        for shard in range(self._shards):
            part = UsageBatch(
                batch.rows.filter(pa.array(rows == shard)),
                batch.members.filter(pa.array(members == shard)),
            )
            yield shard_key(shard), ShardedUsage(shard, part)

    def charge(self, snapshot: ChargeSnapshot | None) -> ChargeLogic:
        """Build a shard of customers anew or from a snapshot."""
        return ChargeLogic(self._settings, self._of_shard, self._edges, snapshot)

    def _of_shard(self, shard: int) -> Sequence[Account]:
        """Return the accounts of a shard, which may have none."""
        return self._accounts.get(shard, [])
