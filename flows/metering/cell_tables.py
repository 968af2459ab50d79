"""Tables of cells and partials: put together, taken apart, and replaced in part."""

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.batches import CellKey
from flows.metering.open_cells import without_cells
from operators.partials import Partials
from schemas.usage import CELL, CELL_FIELDS


def cells_by_type(cells: Iterable[CellKey]) -> dict[str, pa.Table]:
    """Return cell keys as tables of columns CELL, by aggregation type.

    >>> cells_by_type([])
    {}
    """
    by_type: dict[str, list[CellKey]] = {}
    for cell in cells:
        by_type.setdefault(cell.aggregation_type, []).append(cell)
    return {
        name: pa.table(
            [
                [cell.meter_id for cell in each],
                [cell.external_customer_id for cell in each],
                [cell.group for cell in each],
                [cell.window_start for cell in each],
            ],
            schema=pa.schema(CELL_FIELDS),
        )
        for name, each in by_type.items()
    }


def with_replaced(changed: Partials, cells: pa.Table, rebuilt: Partials) -> Partials:
    """Return changed rows and members with those of some cells replaced by what was rebuilt.

    A cell of which nothing is left gets a row that says so: readers have seen another.
    """
    gone = without_cells(cells, rebuilt.table)
    nothing = {name: gone[name] for name in CELL} | {"counted": pa.repeat(0, gone.num_rows)}
    rows = [
        nothing.get(field.name, pa.nulls(gone.num_rows, field.type))
        for field in changed.table.schema
    ]
    table = pa.concat_tables(
        [
            without_cells(changed.table, cells),
            rebuilt.table,
            pa.table(rows, names=changed.table.column_names).cast(changed.table.schema),
        ]
    )
    if changed.members is None or rebuilt.members is None:
        return Partials(table, None)
    return Partials(
        table, pa.concat_tables([without_cells(changed.members, cells), rebuilt.members])
    )


def of_meters(parts: Mapping[str, Partials], meter_ids: set[str]) -> dict[str, Partials]:
    """Return what belongs to some meters."""
    wanted = pa.array(sorted(meter_ids), pa.string())

    def mine(table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table["meter_id"], value_set=wanted))

    return {
        name: Partials(mine(each.table), None if each.members is None else mine(each.members))
        for name, each in parts.items()
    }


def apart(cells: pa.Table, meter_ids: Sequence[str]) -> list[pa.Table]:
    """Return the cells of all other meters, then those of each of some meters."""
    if not meter_ids:
        return [cells]
    listed = pc.is_in(cells["meter_id"], value_set=pa.array(meter_ids, pa.string()))
    own = [cells.filter(pc.equal(cells["meter_id"], meter_id)) for meter_id in meter_ids]
    return [cells.filter(pc.invert(listed)), *own]
