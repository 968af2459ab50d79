"""Which generation of each meter is metered, for those who read beside a flow that somebody else runs."""

import time
from dataclasses import replace

from flows.stores.clickhouse import Store
from flows.stores.registry import Registered, registered_meters
from flows.stores.tables import MeterState
from schemas.meter import Meter
from schemas.scope import Scope

# No registry older than this decides anything.
FRESH_SECONDS = 10.0


class Generations:
    """The registry of one scope, read again now and then by one thread. May raise StoreError."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._read_at = float("-inf")
        self._known: dict[str, Registered] = {}

    def current(self, meter: Meter) -> Meter:
        """Return a meter with the generation that is metered; what nobody registered is as it is."""
        known = self._registered().get(meter.id)
        return meter if known is None else replace(meter, generation=known.generation)

    def built(self) -> bool:
        """Tell whether the rows of all registered meters are stored."""
        self._read_at = float("-inf")
        found = self._registered().values()
        return not any(each.state is MeterState.BUILDING for each in found)

    def _registered(self) -> dict[str, Registered]:
        """Return what is registered, not older than it may be."""
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            found = registered_meters(self._store, self._scope)
            self._known = {each.meter_id: each for each in found.values()}
            self._read_at = time.monotonic()
        return self._known
