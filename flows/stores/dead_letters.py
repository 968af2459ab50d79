"""Dead letters, read back: malformed records with their reasons."""

import pyarrow as pa

from flows.stores.clickhouse import Store
from flows.stores.engine import selected
from flows.stores.tables import DEAD_LETTERS


def read_dead_letters(store: Store) -> pa.Table:
    """Return the malformed records, each once, in the order of the log.

    out: DEAD_LETTERS
    """
    return store.engine.read(
        f"SELECT {selected(DEAD_LETTERS)} FROM dead_letters FINAL "
        "ORDER BY door, log_partition, log_offset",
        DEAD_LETTERS,
    )


def insert_rejected(store: Store, door: str, rejected: pa.Table) -> None:
    """Append malformed records that came in by a door (in: REJECTED)."""
    doors = pa.repeat(pa.scalar(door), rejected.num_rows)
    store.insert_dead_letters(rejected.append_column("door", doors).select(DEAD_LETTERS.names))
