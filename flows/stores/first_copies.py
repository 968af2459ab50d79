"""First copies by id: what the accepted copy of an event said, read back from raw."""

import numpy as np
import pyarrow as pa

from flows.identity.index import packed_positions
from flows.stores.clickhouse import Store
from flows.stores.engine import inline, selected
from flows.stores.tables import STORED_EVENTS
from schemas.errors import StoreError


def events_at(store: Store, digests: pa.Array, positions: np.ndarray) -> pa.Table:
    """Return the raw rows at packed positions whose ids have the given digests, in that order.

    Raises StoreError if one is not there: raw is written before anything refers to it.

    out: STORED_EVENTS
    """
    wanted = pa.table({"d": [digest.hex() for digest in digests.to_pylist()]})
    found = store.engine.read(
        f"SELECT {selected(STORED_EVENTS)} FROM events WHERE event_digest IN "
        f"(SELECT toFixedString(unhex(d), 16) FROM {inline(wanted, 'd String')})",
        STORED_EVENTS,
    )
    have = packed_positions(found["partition"].to_numpy(), found["offset"].to_numpy())
    order = np.argsort(have)
    places = np.searchsorted(have[order], positions)
    if positions.size and (places.max() >= have.size or (have[order][places] != positions).any()):
        raise StoreError("a first copy is missing in raw events: the store lost acknowledged rows")
    return found.take(pa.array(order[places]))
