"""When events were received, as the store knows it."""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from flows.stores.choosing import (
    IN_SCOPE,
    NOT_WITHDRAWN,
    instant,
    listed,
    microseconds,
    scope_parameters,
)
from flows.stores.clickhouse import Store
from schemas.event import INSTANT
from schemas.scope import Scope

FOUND = pa.schema([("earliest", INSTANT), ("events", pa.int64())])


def earliest_received_since(
    store: Store, scope: Scope, customers: Sequence[str], at: datetime
) -> datetime | None:
    """Return the earliest time of the events that were received since an instant, None without any.

    An event without a receipt time counts by when it was taken in. Raises StoreError.
    """
    found = store.engine.read(
        "SELECT min(timestamp), toInt64(count()) FROM events "
        f"WHERE {IN_SCOPE} AND external_customer_id IN {listed(customers)} "
        f"AND coalesce(received_at, ingested_at) >= {instant('{at:Int64}')} "
        f"AND {NOT_WITHDRAWN}",
        FOUND,
        {**scope_parameters(scope), "at": microseconds(at)},
    )
    row = found.to_pylist()[0]
    earliest: datetime | None = row["earliest"] if row["events"] else None
    return earliest
