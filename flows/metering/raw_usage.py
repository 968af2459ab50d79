"""Usage made of raw events for one question: what stored rows do not carry (metering.md 9).

Events are read a piece at a time and folded at once, without their customers, so that memory holds one
piece (`flows.stores.event_reading`) and what came of the others: a row for each minute and group,
with its members where they are counted, and the pairs of the minutes that an edge cuts.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.readback import MATCHED
from flows.stores.choosing import EventChoice
from flows.stores.clickhouse import Store
from flows.stores.event_reading import in_span, read_chosen, spans
from operators.grouping import (
    group_properties,
    keyed_by_group,
    with_group_columns,
    with_groups,
)
from operators.matching import match
from operators.partials import Partials, base_window_starts, merge, start
from operators.properties import property_columns
from operators.usage import Usage
from operators.windows import Microseconds
from schemas.event import INSTANT
from schemas.meter import Meter
from schemas.usage import PAIRS

# From the UTC days that hold events, to the base windows whose pairs the question needs.
CutMinutes = Callable[[Microseconds], Collection[datetime]]


def raw_usage(
    store: Store,
    meter: Meter,
    choice: EventChoice,
    group_by: Sequence[str],
    cut: CutMinutes,
) -> Usage:
    """Return the usage of one meter by all chosen events together, with the columns of its groups.

    Whatever raw holds is in it, though `usage` may be a flush behind. Raises StoreError.
    """
    kind = meter.aggregation.type
    pieces = spans(store, choice)
    days = np.array(sorted({day for piece in pieces for day in piece.days}), np.int64)
    minutes = pa.array(sorted(cut(days)), INSTANT)
    folded: list[Partials] = []
    edges = [PAIRS.empty_table()]
    for piece in pieces:
        events = read_chosen(store, in_span(choice, piece), MATCHED)
        pairs = _keyed_pairs(meter, events, group_by)
        folded.append(start(kind, pairs))
        starts = base_window_starts(pairs["timestamp"])
        edges.append(pairs.filter(pc.is_in(starts, value_set=minutes)))
    rows = merge(kind, folded)
    members = None if rows.members is None else with_group_columns(rows.members, group_by)
    return Usage(
        Partials(with_group_columns(rows.table, group_by), members),
        with_group_columns(pa.concat_tables(edges), group_by),
    )


def _keyed_pairs(meter: Meter, events: pa.Table, group_by: Sequence[str]) -> pa.Table:
    """Return what events bring to a meter, with their groups in the place of their customers."""
    pairs = match([meter], events).counted
    if not group_by:
        return keyed_by_group(pairs, group_by)
    columns = property_columns(events["properties"], group_properties(group_by))
    return keyed_by_group(with_groups(pairs, events, columns, group_by), group_by)
