"""Reading beside a flow that writes: rows and raw events of one answer at one place in the log.

Raw events run ahead of `usage`, and a flush of a shard is several writes: intent, members, rows, done
(ENGINE trap 8). A reading counts for a shard if no flush of it was under way before, and none began
until after. Then its rows and members are what the last finished flush made them, and the raw events
at or below that flush's frontier are the events in them. Shards are settled one by one, each at its
own flush: what a customer has done is in one shard.

Where a shard is flushed without a pause, the last reading is taken: each minute of it is then
that of one of two flushes which follow one another.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flows.metering.batches import Frontier
from flows.metering.sharding import identity_shards
from flows.stores.clickhouse import Store
from flows.stores.engine import select
from flows.stores.tables import FLUSHES, FlushKind

# The name under which the metering flow writes its flushes.
METERING = "metering"

# A flush takes some milliseconds for each of its writes, and the next begins half a second later.
READINGS_MAX = 8
PAUSE_SECONDS = 0.01

Reading = TypeVar("Reading")
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Published:
    """How far one shard has published: its last flush that was begun, and the last that is done."""

    begun: int = 0
    done: int = 0
    frontier: Mapping[tuple[int, int], int] = field(default_factory=dict)

    @property
    def at_rest(self) -> bool:
        """Tell whether no flush is under way."""
        return self.begun == self.done


@dataclass(frozen=True, slots=True)
class Settled(Generic[Reading, Part]):
    """A reading, with what it holds for each of the shards that it counts for."""

    reading: Reading
    parts: Mapping[int, Part]


NOTHING = Published()


def published(store: Store, flow: str = METERING) -> dict[int, Published]:
    """Return how far each shard has published, all seen at one instant. Raises StoreError."""
    rows = store.engine.read(
        select(FLUSHES, "flushes FINAL", "flow = {flow:String}"), FLUSHES, {"flow": flow}
    )
    begun: dict[int, int] = {}
    done: dict[int, dict[str, Any]] = {}
    for row in rows.to_pylist():
        if row["kind"] == FlushKind.INTENT:
            begun[row["shard"]] = row["sequence"]
        else:
            done[row["shard"]] = row
    return {shard: _published(begun.get(shard, 0), done.get(shard)) for shard in begun | done}


def _published(begun: int, done: dict[str, Any] | None) -> Published:
    """Return what the two markers of a shard say."""
    if done is None:
        return Published(begun)
    places = zip(done["partitions"], done["identify_shards"], strict=True)
    return Published(begun, done["sequence"], dict(zip(places, done["offsets"], strict=True)))


def settled_readings(
    shards: Collection[int],
    markers: Callable[[], Mapping[int, Published]],
    read: Callable[[], Reading],
    part: Callable[[Reading, int, Frontier, bool], Part | None],
    pause: Callable[[float], None],
) -> Iterator[Settled[Reading, Part]]:
    """Yield readings that together count for each shard once.

    `read` reads for all shards. `part` makes of a reading what one shard needs of it at a frontier, or
    None where the reading is none for the shard after all; with its last argument true it must not.

    >>> at_rest = {0: Published(3, 3, {(0, 0): 7})}
    >>> def part(reading, shard, frontier, last):
    ...     return f"{reading} up to {frontier[0, 0]}"
    >>> list(settled_readings([0], lambda: at_rest, lambda: "rows", part, print))
    [Settled(reading='rows', parts={0: 'rows up to 7'})]
    """
    waiting = set(shards)
    for number in range(READINGS_MAX):
        if not waiting:
            return
        last = number == READINGS_MAX - 1
        if number:
            pause(PAUSE_SECONDS * number)
        before = markers()
        if not last and not any(before.get(shard, NOTHING).at_rest for shard in waiting):
            continue
        reading = read()
        after = markers()
        parts: dict[int, Part] = {}
        for shard in waiting:
            was = before.get(shard, NOTHING)
            if last or (was.at_rest and after.get(shard, NOTHING) == was):
                found = part(reading, shard, dict(was.frontier), last)
                if found is not None:
                    parts[shard] = found
        if parts:
            waiting -= parts.keys()
            yield Settled(reading, parts)


def within(events: pa.Table, frontier: Frontier, shards: int) -> npt.NDArray[np.bool_]:
    """Tell which raw events lie at or below a frontier.

    in:  partition, offset, event_digest
    """
    inside = np.zeros(events.num_rows, np.bool_)
    if not events.num_rows or not frontier:
        return inside
    partitions = events["partition"].to_numpy()
    offsets = events["offset"].to_numpy()
    numbers = identity_shards(events["event_digest"].combine_chunks(), shards)
    for (partition, shard), offset in frontier.items():
        inside |= (partitions == partition) & (numbers == shard) & (offsets <= offset)
    return inside
