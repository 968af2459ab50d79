"""The wiring of the flow that keeps claims; who runs it picks what it reads and whom it tells.

read → shard by customer → claim → tell
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import bytewax.operators as op
import pyarrow as pa
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.billing.batches import KeptClaims, PublishedUsage, ShardNews
from flows.billing.claiming import ClaimLogic, ClaimSettings, ClaimStores
from flows.billing.stored import StoredUsage
from flows.metering.sharding import customer_shards, shard_key
from schemas.alert import Alert
from schemas.errors import Refused

FLOW = "billing"


def _ignore(*_: object) -> None:
    """Do nothing with what is told."""


@dataclass(frozen=True, slots=True)
class ClaimHooks:
    """Whom the flow tells, on its own thread; a hook must not raise, or the flow ends.

    `on_kept` gets what each flush has kept, `on_alert` each alert that was told, with the name of the
    customer, `on_refused` why a customer's claims could not be made; `on_heartbeat` that it is alive.
    """

    on_kept: Callable[[KeptClaims], None] = _ignore
    on_alert: Callable[[str, Alert], None] = _ignore
    on_refused: Callable[[str, Refused], None] = _ignore
    on_heartbeat: Callable[[], None] = _ignore


def claims_flow(
    source: Source[PublishedUsage],
    settings: ClaimSettings,
    kept: ClaimStores,
    stored: StoredUsage,
    hooks: ClaimHooks,
) -> Dataflow:
    """Wire the flow: published usage to claims, balances and alerts. `stored` is read by one thread."""

    def claim(_: None) -> ClaimLogic:
        return ClaimLogic(settings, kept, stored)

    flow = Dataflow(FLOW)
    published = op.input("read", flow, source)
    sharded = op.flat_map(
        "shard_by_customer", published, lambda batch: by_shard(batch, settings.shards)
    )
    found = op.stateful_batch("claim", sharded, claim)
    op.output("tell", op.map("drop_key", found, lambda keyed: keyed[1]), TellSink(hooks))
    return flow


def by_shard(published: PublishedUsage, shards: int) -> Iterator[tuple[str, ShardNews]]:
    """Yield a batch by the shard of its customers; each hears of it, if only of nothing.

    Receipts do not tell customers apart; the first shard has them all.
    """
    if shards == 1:
        yield shard_key(0), ShardNews(0, published)
        return
    numbers = customer_shards(published.rows, shards)
    for shard in range(shards):
        rows = published.rows.filter(pa.array(numbers == shard))
        receipts = published.receipts if shard == 0 else ()
        yield shard_key(shard), ShardNews(shard, replace(published, rows=rows, receipts=receipts))


class TellSink(DynamicSink[KeptClaims]):
    """Tells what was kept."""

    def __init__(self, hooks: ClaimHooks):
        self._hooks = hooks

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "TellPartition":
        """Return the voice of one worker."""
        return TellPartition(self._hooks)


class TellPartition(StatelessSinkPartition[KeptClaims]):
    """The voice of one worker."""

    def __init__(self, hooks: ClaimHooks):
        self._hooks = hooks

    def write_batch(self, items: Sequence[KeptClaims]) -> None:
        """Tell of flushes in the order in which they come."""
        for kept in items:
            for name, why in kept.refused:
                self._hooks.on_refused(name, why)
            for name, alert in kept.alerts:
                self._hooks.on_alert(name, alert)
            self._hooks.on_kept(kept)
