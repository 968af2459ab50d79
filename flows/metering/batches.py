"""What travels between the steps of the metering flow: micro-batches, never single events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from operators.partials import Partials

# The greatest offset that a shard has seen of each (log partition, identity shard).
Frontier = dict[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """What a source yields: COPIES and REJECTED of one partition, in log order."""

    copies: pa.Table
    rejected: pa.Table


@dataclass(frozen=True, slots=True)
class ShardedCopies:
    """The COPIES of a batch that belong to one identity shard."""

    shard: int
    copies: pa.Table


@dataclass(frozen=True, slots=True)
class IdentifiedBatch:
    """What an identity shard made of a batch: the accepted COPIES, and verdicts on the others.

    `displaced` are copies (EVENTS) that had counted, in this run or in one that crashed, and do not count any
    more; `taken_over` is how many of them were accepted in this run.
    """

    shard: int
    accepted: pa.Table
    verdicts: pa.Table
    displaced: pa.Table
    taken_over: int
    frontier: Frontier


@dataclass(frozen=True, slots=True)
class CellKey:
    """The name of one cell, where cells are handled one by one: only for corrections, which are rare."""

    aggregation_type: str
    meter_id: str
    external_customer_id: str
    group: str
    window_start: datetime


@dataclass(frozen=True, slots=True)
class PartialBatch:
    """What one batch contributes to one shard of cells, by aggregation type.

    `frontier` is how far the batch has come. `corrected` are cells that lost an event which was counted.
    """

    shard: int
    partials: Mapping[str, Partials]
    frontier: Frontier
    corrected: frozenset[CellKey] = frozenset()


@dataclass(frozen=True, slots=True)
class CellChange:
    """The cells of a shard that changed since its last flush, by aggregation type.

    Rows are cumulative, members those that came. `frontier` is what the rows contain; `corrections` are
    all correction numbers of the shard, `corrected` the cells whose members must be replaced.
    """

    shard: int
    cells: Mapping[str, Partials]
    frontier: Frontier
    corrections: Mapping[CellKey, int]
    corrected: frozenset[CellKey]


def reached(frontier: Frontier, goal: Mapping[tuple[int, int], int]) -> bool:
    """Tell whether a frontier has come at least as far as a goal.

    >>> reached({(0, 0): 7}, {(0, 0): 5}), reached({}, {(0, 0): 5})
    (True, False)
    """
    return all(frontier.get(place, -1) >= offset for place, offset in goal.items())


def advance(frontier: Frontier, further: Mapping[tuple[int, int], int]) -> None:
    """Move a frontier to the greater offset of each place."""
    for place, offset in further.items():
        frontier[place] = max(frontier.get(place, -1), offset)
