"""Match and aggregate: accepted events to the partials of their meters, before anything is exchanged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.batches import Frontier
from flows.metering.consistent_reads import within
from flows.metering.open_cells import of_cells
from flows.stores.clickhouse import Store
from flows.stores.first_copies import restored_copies
from flows.stores.tables import CELLS
from operators.matching import Matched, match
from operators.partials import Partials, base_window_starts, start
from schemas.meter import Meter
from schemas.usage import CELL


def partials_of(counted: pa.Table, meters: Mapping[str, Meter]) -> dict[str, Partials]:
    """Return the partials of counted pairs, by the aggregation type of their meter (in: PAIRS)."""
    if not counted.num_rows:
        return {}
    encoded = pc.dictionary_encode(counted["meter_id"]).combine_chunks()
    types = pa.array([str(meters[m].aggregation.type) for m in encoded.dictionary.to_pylist()])
    of_row = types.take(encoded.indices)
    return {
        name: start(name, counted.filter(pc.equal(of_row, name)))
        for name in pc.unique(of_row).to_pylist()
    }


def rebuilt(
    store: Store,
    meters: Sequence[Meter],
    cells: Mapping[str, pa.Table],
    frontier: Frontier,
    identity_shard_count: int,
) -> dict[str, Partials]:
    """Return the partials of cells from the raw events at or below a frontier, in one read.

    Events beyond the frontier come again through the flow and would count twice (ENGINE trap 1).

    in: tables of columns CELL by aggregation type
    """
    by_id = {meter.id: meter for meter in meters}
    minutes = _minutes(cells, by_id)

    def merged(events: pa.Table) -> np.ndarray:
        return within(events, frontier, identity_shard_count)

    events = store.read_events_of_cells(minutes)
    events = events.filter(pa.array(merged(events), pa.bool_()))
    events = pa.concat_tables([events, restored_copies(store, minutes, merged)])
    parts = partials_of(match(meters, events).counted, by_id)
    wanted = {name: parts[name] for name in cells if name in parts}
    return {name: _restricted(part, cells[name]) for name, part in wanted.items()}


def _minutes(cells: Mapping[str, pa.Table], meters: Mapping[str, Meter]) -> pa.Table:
    """Return the minutes of raw events that some cells are made of, each once (CELLS)."""
    table = pa.concat_tables([each.select(CELL) for each in cells.values()])
    encoded = pc.dictionary_encode(table["meter_id"]).combine_chunks()
    found = [meters[meter_id] for meter_id in encoded.dictionary.to_pylist()]
    columns = {
        "tenant_id": pa.array([meter.tenant_id for meter in found]).take(encoded.indices),
        "environment_id": pa.array([meter.environment_id for meter in found]).take(encoded.indices),
        "event_name": pa.array([meter.event_name for meter in found]).take(encoded.indices),
        "external_customer_id": table["external_customer_id"],
        "window_start": table["window_start"],
    }
    minutes = pa.table([columns[name] for name in CELLS.names], schema=CELLS)
    return minutes.group_by(CELLS.names, use_threads=False).aggregate([])


def _restricted(partials: Partials, cells: pa.Table) -> Partials:
    """Return only the rows and members of some cells."""
    table, members = partials.table, partials.members
    return Partials(of_cells(table, cells), None if members is None else of_cells(members, cells))


def counts_of(matched: Matched) -> Counter[str]:
    """Return how many pairs were counted and skipped by reason, and how many events nobody wanted."""
    counts = Counter(counted=matched.counted.num_rows, skipped=matched.skipped.num_rows)
    counts["unmatched"] = matched.unmatched.true_count
    counts["rounded"] = matched.rounded
    reasons = pc.value_counts(matched.skipped["reason"].combine_chunks())
    for each in reasons.to_pylist():
        counts[f"skipped:{each['values']}"] += each["counts"]
    return counts


def cells_of(
    counted: pa.Table, meters: Mapping[str, Meter]
) -> list[tuple[str, str, str, str, datetime]]:
    """Return the cells of counted pairs one by one, with their aggregation type; for few pairs only."""
    starts = base_window_starts(counted["timestamp"])
    rows = zip(
        counted["meter_id"].to_pylist(),
        counted["external_customer_id"].to_pylist(),
        counted["group"].to_pylist(),
        starts.to_pylist(),
        strict=True,
    )
    return [(str(meters[row[0]].aggregation.type), *row) for row in rows]
