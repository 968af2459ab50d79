"""What was metered by which rule, as the store knows it: generations, their rules, and shards.

A meter without a row is of generation 1 and live: that is how stores begin that nobody registers in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flows.stores.clickhouse import IN_SCOPE, Store
from flows.stores.engine import among, selected
from flows.stores.tables import DEFINITIONS, GENERATIONS, LAYOUTS, MeterState, schema
from schemas.scope import Scope

_NAMES = schema(pa.field("event_name", pa.string(), nullable=False))


@dataclass(frozen=True, slots=True)
class Registered:
    """One meter as it is registered; `revision` grows with each change of generation or state."""

    scope: Scope
    meter_id: str
    generation: int
    state: MeterState
    revision: int


def registered_meters(
    store: Store, scope: Scope | None = None
) -> dict[tuple[Scope, str], Registered]:
    """Return all registered meters, of one scope if it is given, by scope and id."""
    where = "" if scope is None else f" WHERE {IN_SCOPE}"
    parameters: dict[str, object] = {}
    if scope is not None:
        parameters = {"tenant": scope.tenant_id, "environment": scope.environment_id}
    rows = store.engine.read(
        f"SELECT {selected(GENERATIONS)} FROM meter_generations FINAL{where}",
        GENERATIONS,
        parameters,
    )
    found = (
        Registered(
            Scope(row["tenant_id"], row["environment_id"]),
            row["meter_id"],
            row["generation"],
            MeterState(row["state"]),
            row["revision"],
        )
        for row in rows.to_pylist()
    )
    return {(each.scope, each.meter_id): each for each in found}


def register(store: Store, meters: Iterable[Registered]) -> None:
    """Write what became of meters; of each the highest revision counts."""
    rows = [
        {
            "tenant_id": each.scope.tenant_id,
            "environment_id": each.scope.environment_id,
            "meter_id": each.meter_id,
            "generation": each.generation,
            "state": str(each.state),
            "revision": each.revision,
        }
        for each in meters
    ]
    store.insert("meter_generations", pa.Table.from_pylist(rows, GENERATIONS))


def definitions(store: Store) -> dict[tuple[Scope, str, int], str]:
    """Return the rule of every generation of every meter."""
    rows = store.engine.read(
        f"SELECT {selected(DEFINITIONS)} FROM meter_definitions FINAL", DEFINITIONS
    ).to_pylist()
    return {
        (Scope(row["tenant_id"], row["environment_id"]), row["meter_id"], row["generation"]): row[
            "definition"
        ]
        for row in rows
    }


def define(store: Store, rules: Mapping[tuple[Scope, str, int], str]) -> None:
    """Write the rules of generations that are new."""
    rows = [
        {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "meter_id": meter_id,
            "generation": generation,
            "definition": rule,
        }
        for (scope, meter_id, generation), rule in rules.items()
    ]
    store.insert("meter_definitions", pa.Table.from_pylist(rows, DEFINITIONS))


def stored_names(store: Store, scope: Scope, event_names: Sequence[str]) -> set[str]:
    """Return those of some event names of which raw holds any event."""
    if not event_names:
        return set()
    wanted = among(pa.table({"x": pa.array(event_names, pa.string())}), "x String", "x")
    rows = store.engine.read(
        f"SELECT DISTINCT event_name FROM events WHERE {IN_SCOPE} AND event_name IN {wanted}",
        _NAMES,
        {"tenant": scope.tenant_id, "environment": scope.environment_id},
    )
    return set(rows["event_name"].to_pylist())


def record_shards(store: Store, flow: str, shards: int) -> None:
    """Write in how many shards a flow works, for those who read what it writes."""
    store.insert("layouts", pa.table({"flow": [flow], "shards": pa.array([shards], pa.int32())}))


def shards_of(store: Store, flow: str) -> int | None:
    """Return in how many shards a flow works; None if it never ran on this store."""
    rows = store.engine.read(
        f"SELECT {selected(LAYOUTS)} FROM layouts FINAL WHERE flow = {{flow:String}}",
        LAYOUTS,
        {"flow": flow},
    ).to_pylist()
    return int(rows[0]["shards"]) if rows else None
