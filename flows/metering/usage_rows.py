"""Changed cells as the rows that are stored: USAGE and STORED_MEMBERS (metering.md 11)."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.batches import CellKey
from flows.stores.tables import STORED_MEMBERS
from operators.partials import Partials
from schemas.meter import Meter
from schemas.usage import CELL, CELL_FIELDS, USAGE

# A correction ranks above any number of events that a row may contain.
CORRECTION_BITS = 40


def usage_rows(
    changed: Mapping[str, Partials],
    meters: Mapping[str, Meter],
    corrections: Mapping[CellKey, int],
) -> tuple[pa.Table, pa.Table]:
    """Return changed cells as USAGE rows and their members as STORED_MEMBERS.

    The version is the number of events that a row contains, below its correction number.
    """
    rows, members = [USAGE.empty_table()], [STORED_MEMBERS.empty_table()]
    for name, partials in changed.items():
        if partials.table.num_rows:
            rows.append(_rows(partials.table, meters, _numbers(corrections, name)))
        if partials.members is not None and partials.members.num_rows:
            members.append(_scoped(partials.members, meters).select(STORED_MEMBERS.names))
    return pa.concat_tables(rows), pa.concat_tables([each.cast(STORED_MEMBERS) for each in members])


def _rows(table: pa.Table, meters: Mapping[str, Meter], numbers: pa.Table) -> pa.Table:
    """Return partial rows of one type with every column of USAGE."""
    scoped = _scoped(table, meters)
    scoped = scoped.append_column("version", _versions(table, numbers))
    for field in USAGE:
        if field.name not in scoped.column_names:
            scoped = scoped.append_column(field.name, pa.nulls(table.num_rows, field.type))
    return scoped.select(USAGE.names).cast(USAGE)


def _versions(table: pa.Table, numbers: pa.Table) -> pa.ChunkedArray:
    """Return the versions of rows: how many events they contain, ranked by their correction numbers."""
    if not numbers.num_rows:
        return table["counted"]
    rows = table.select([*CELL, "counted"]).append_column(
        "row", pa.array(np.arange(table.num_rows))
    )
    # A join keeps no order.
    found = rows.join(numbers, list(CELL), join_type="left outer").sort_by("row")
    return pc.add(
        found["counted"], pc.shift_left(pc.fill_null(found["number"], 0), CORRECTION_BITS)
    )


def _numbers(corrections: Mapping[CellKey, int], name: str) -> pa.Table:
    """Return the correction numbers of one aggregation type: columns CELL and number."""
    numbers = [
        (
            cell.meter_id,
            cell.external_customer_id,
            cell.group,
            cell.window_start,
            number,
        )
        for cell, number in corrections.items()
        if cell.aggregation_type == name
    ]
    schema = pa.schema([*CELL_FIELDS, pa.field("number", pa.int64())])
    columns = [list(column) for column in zip(*numbers, strict=True)] or [[] for _ in schema]
    return pa.table(columns, schema=schema)


def _scoped(table: pa.Table, meters: Mapping[str, Meter]) -> pa.Table:
    """Add tenant, environment and generation, which follow from the meter."""
    encoded = table["meter_id"].combine_chunks().dictionary_encode()
    found = [meters[meter_id] for meter_id in encoded.dictionary.to_pylist()]
    columns = {
        "tenant_id": pa.array([meter.tenant_id for meter in found], pa.string()),
        "environment_id": pa.array([meter.environment_id for meter in found], pa.string()),
        "generation": pa.array([meter.generation for meter in found], pa.int32()),
    }
    for name, values in columns.items():
        table = table.append_column(name, values.take(encoded.indices))
    return table
