"""Correction numbers of cells: how often a cell changed otherwise than by growing (ENGINE trap 3).

Written before any row that carries them, and read when a shard starts, so that a replay which takes
another course never publishes below what was published.
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.batches import CellKey
from flows.stores.clickhouse import Store
from flows.stores.engine import inline, selected
from flows.stores.tables import CORRECTIONS
from schemas.meter import AggregationType, Meter

_CELL = "tenant_id, environment_id, meter_id, external_customer_id, `group`, window_start"


def record_corrections(
    store: Store, numbers: Mapping[CellKey, int], meters: Mapping[str, Meter]
) -> None:
    """Write new correction numbers, and forget the members that cells of unique counts had."""
    rows = [
        {
            "tenant_id": meters[cell.meter_id].tenant_id,
            "environment_id": meters[cell.meter_id].environment_id,
            "aggregation_type": cell.aggregation_type,
            "meter_id": cell.meter_id,
            "external_customer_id": cell.external_customer_id,
            "group": cell.group,
            "window_start": cell.window_start,
            "correction": number,
        }
        for cell, number in numbers.items()
    ]
    table = pa.Table.from_pylist(rows, schema=CORRECTIONS)
    store.insert("corrections", table)
    # A mutation takes its time, and most corrections are of cells that never had members.
    counting = table.filter(pc.equal(table["aggregation_type"], AggregationType.COUNT_UNIQUE.value))
    if counting.num_rows:
        _forget_members(store, counting)


def _forget_members(store: Store, cells: pa.Table) -> None:
    """Remove the members of cells: one of them may have come from the copy that was displaced."""
    instants = cells["window_start"].cast(pa.int64())
    wanted = pa.table(
        [
            cells[name]
            for name in ("tenant_id", "environment_id", "meter_id", "external_customer_id", "group")
        ]
        + [instants],
        names=["t", "e", "m", "c", "g", "w"],
    )
    listed = inline(wanted, "t String, e String, m String, c String, g String, w Int64")
    store.engine.command(
        f"DELETE FROM usage_members WHERE ({_CELL}) IN "
        f"(SELECT t, e, m, c, g, fromUnixTimestamp64Micro(w, 'UTC') FROM {listed}) "
        "SETTINGS mutations_sync = 1, lightweight_deletes_sync = 1"
    )


def read_corrections(store: Store) -> dict[CellKey, int]:
    """Return all correction numbers; only copies that met in two partitions make one."""
    rows = store.engine.read(f"SELECT {selected(CORRECTIONS)} FROM corrections FINAL", CORRECTIONS)
    return {
        CellKey(
            row["aggregation_type"],
            row["meter_id"],
            row["external_customer_id"],
            row["group"],
            row["window_start"],
        ): row["correction"]
        for row in rows.to_pylist()
    }
