"""Registering the meters of a run: which generation of each is metered, and what is missing of it.

A rule that was metered all along goes on. A rule that is new where raw already holds events of its
name gets a generation of its own, which is built from raw before readers rely on its rows
(metering.md 12.3); until then they answer from raw, so that no answer waits.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from flows.stores.clickhouse import Store
from flows.stores.registry import (
    Registered,
    define,
    definitions,
    record_shards,
    register,
    registered_meters,
    stored_names,
)
from flows.stores.tables import MeterState
from schemas.meter import Meter
from schemas.scope import Scope


def registered(store: Store, meters: Sequence[Meter], *, flow: str, shards: int) -> list[Meter]:
    """Return the meters of a run, each with the generation that is metered, and register them.

    Meters that are registered and not among them are retired: should they come back, their rows have
    a gap, and they begin a new generation. Doing it again, or in several processes, changes nothing.
    """
    record_shards(store, flow, shards)
    known, rules = registered_meters(store), definitions(store)
    chosen: list[Meter] = []
    changed: list[Registered] = []
    new_rules: dict[tuple[Scope, str, int], str] = {}
    for scope, mine in _by_scope(meters).items():
        stored = stored_names(store, scope, sorted({meter.event_name for meter in mine}))
        for meter in mine:
            before, rule = known.get((scope, meter.id)), definition(meter)
            if before is None or not _goes_on(before, rule, rules):
                before = _begun(scope, meter, before, building=meter.event_name in stored)
                changed.append(before)
                new_rules[scope, meter.id, before.generation] = rule
            chosen.append(replace(meter, generation=before.generation))
    here = {(Scope(meter.tenant_id, meter.environment_id), meter.id) for meter in meters}
    changed += [
        replace(each, state=MeterState.RETIRED, revision=each.revision + 1)
        for key, each in known.items()
        if key not in here and each.state is not MeterState.RETIRED
    ]
    define(store, new_rules)
    register(store, changed)
    return chosen


def definition(meter: Meter) -> str:
    """Return the rule of a meter as one text: what its stored rows depend on.

    How usage resets, its buckets and its multiplier are matters of reading, and no part of it.

    >>> from schemas.meter import Aggregation, AggregationType
    >>> definition(Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT)))
    '["call","COUNT",null,null,null,[]]'
    """
    rule = meter.aggregation
    filters = sorted([each.key, sorted(each.values)] for each in meter.filters)
    return msgspec.json.encode(
        [
            meter.event_name,
            str(rule.type),
            rule.field,
            rule.expression,
            rule.group_by,
            filters,
        ]
    ).decode()


def _goes_on(before: Registered, rule: str, rules: dict[tuple[Scope, str, int], str]) -> bool:
    """Tell whether a registered generation is metered on by the same rule."""
    same = rules.get((before.scope, before.meter_id, before.generation)) == rule
    return same and before.state is not MeterState.RETIRED


def _begun(scope: Scope, meter: Meter, before: Registered | None, *, building: bool) -> Registered:
    """Return a new generation of a meter."""
    return Registered(
        scope,
        meter.id,
        1 if before is None else before.generation + 1,
        MeterState.BUILDING if building else MeterState.LIVE,
        1 if before is None else before.revision + 1,
    )


def _by_scope(meters: Sequence[Meter]) -> dict[Scope, list[Meter]]:
    """Return meters by their tenant and environment."""
    found: dict[Scope, list[Meter]] = {}
    for meter in meters:
        found.setdefault(Scope(meter.tenant_id, meter.environment_id), []).append(meter)
    return found


def with_generations(store: Store, meters: Sequence[Meter]) -> list[Meter]:
    """Return meters with the generation that is metered by the same rule; 0 where there is none.

    For those who read beside a flow that somebody else runs, perhaps by another catalog.
    """
    known, rules = registered_meters(store), definitions(store)
    chosen = []
    for meter in meters:
        found = known.get((Scope(meter.tenant_id, meter.environment_id), meter.id))
        same = found is not None and _goes_on(found, definition(meter), rules)
        chosen.append(replace(meter, generation=found.generation if found and same else 0))
    return chosen
