"""Choosing rows: what a read wants, as conditions of SQL and their parameters.

Texts from outside travel as parameters or inside one escaped literal, never as words of a statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from flows.stores.engine import among
from schemas.event import INSTANT
from schemas.meter import Filter
from schemas.number import Number, read_number
from schemas.scope import Scope

# What a scoped read compares first.
IN_SCOPE = "tenant_id = {tenant:String} AND environment_id = {environment:String}"
# Copies that a lower position displaced are no events any more.
WITHDRAWN_POSITIONS = "SELECT log_partition, log_offset FROM withdrawn"
NOT_WITHDRAWN = f"(log_partition, log_offset) NOT IN ({WITHDRAWN_POSITIONS})"

# The key of a filter that the event's own source may stand in for (metering.md 6.2).
SOURCE = "source"

# ClickHouse looks for no more texts at once than 255.
_NEEDLES_MAX = 255


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows a read wants: no customers and no bound mean all; the period is [start, end)."""

    start: datetime | None = None
    end: datetime | None = None
    customers: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class EventChoice:
    """Which raw events of a scope a read wants; None asks for all.

    `filters` are those of meters and queries. In SQL they only leave out what surely fails: the
    operators judge what is read, because ClickHouse does not keep the digits of numbers in JSON.
    """

    scope: Scope
    event_names: Sequence[str] | None = None
    chosen: Chosen = field(default_factory=Chosen)
    customer_id: str | None = None
    sources: Sequence[str] | None = None
    event: tuple[str, bytes] | None = None
    filters: Sequence[Filter] = ()


# Conditions of a statement, all of which hold, and the parameters in them.
Conditions = tuple[list[str], dict[str, object]]


def scope_parameters(scope: Scope) -> dict[str, object]:
    """Return the parameters of IN_SCOPE.

    >>> scope_parameters(Scope("t", "e"))
    {'tenant': 't', 'environment': 'e'}
    """
    return {"tenant": scope.tenant_id, "environment": scope.environment_id}


def conditions(column: str, chosen: Chosen) -> Conditions:
    """Return the conditions that choose rows by an instant and by customer.

    Bounds travel as microseconds, since the client would send an aware datetime in seconds.
    """
    found: list[str] = []
    parameters: dict[str, object] = {}
    for name, sign, at in (("start", ">=", chosen.start), ("end", "<", chosen.end)):
        if at is not None:
            found.append(f"{column} {sign} {instant(f'{{{name}:Int64}}')}")
            parameters[name] = microseconds(at)
    if chosen.customers is not None:
        found.append(f"external_customer_id IN {listed(chosen.customers)}")
    return found, parameters


def event_conditions(choice: EventChoice) -> Conditions:
    """Return the conditions that choose accepted events, without those of the store's own order."""
    found, parameters = conditions("timestamp", choice.chosen)
    found = [IN_SCOPE, *found]
    parameters |= scope_parameters(choice.scope)
    if choice.event_names is not None:
        found.append(f"event_name IN {listed(choice.event_names)}")
    if choice.customer_id is not None:
        found.append("customer_id = {customer_id:String}")
        parameters["customer_id"] = choice.customer_id
    if choice.sources is not None:
        found.append(f"source IN {listed(choice.sources)}")
    if choice.event is not None:
        event_id, digest = choice.event
        # The digest is indexed; the id itself settles what no digest can.
        found.append("event_digest = toFixedString(unhex({digest:String}), 16)")
        found.append("event_id = {event_id:String}")
        parameters |= {"digest": digest.hex(), "event_id": event_id}
    more, bound = _narrowing(choice.filters)
    return found + more, parameters | bound


def _narrowing(filters: Sequence[Filter]) -> Conditions:
    r"""Return conditions that hold wherever the filters do, and elsewhere mostly not.

    A key stands in the text of the properties as it is, unless something is escaped there; so does a
    value that is no number, since numbers can be written in many ways.
    """
    found: list[str] = []
    parameters: dict[str, object] = {}
    for number, each in enumerate(filters):
        parameters[f"key{number}"] = each.key
        holds = f"position(properties, {{key{number}:String}}) > 0"
        if _stand_as_they_are(each.values):
            texts = listed(each.values).removeprefix("(").removesuffix(")")
            holds += f" AND multiSearchAny(properties, (SELECT groupArray(x) FROM ({texts})))"
        holds = f"({holds} OR position(properties, '\\\\') > 0)"
        if each.key == SOURCE:
            holds = f"({holds} OR source IN {listed(each.values)})"
        found.append(holds)
    return found, parameters


def _stand_as_they_are(values: Sequence[str]) -> bool:
    """Tell whether a JSON text that holds one of the values, and no escape, holds it as it is."""
    numbers = any(isinstance(read_number(value), Number) for value in values)
    return not numbers and all(values) and len(values) <= _NEEDLES_MAX


def instant(microseconds_text: str) -> str:
    """Return the expression that makes an instant of microseconds.

    >>> instant("5")
    "fromUnixTimestamp64Micro(5, 'UTC')"
    """
    return f"fromUnixTimestamp64Micro({microseconds_text}, 'UTC')"


def microseconds(at: datetime) -> int:
    """Return an instant as microseconds since 1970.

    >>> from datetime import UTC
    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return int(pa.scalar(at, INSTANT).cast(pa.int64()).as_py())


def listed(texts: Sequence[str]) -> str:
    """Return texts as the right side of IN, however many there are."""
    return among(pa.table({"x": pa.array(texts, pa.string())}), "x String", "x")


def combined(*parts: Conditions) -> tuple[str, Mapping[str, object]]:
    """Return all conditions as one WHERE, with their parameters.

    >>> combined((["a = {a:Int32}"], {"a": 1}), (["b"], {}))
    ('a = {a:Int32} AND b', {'a': 1})
    """
    parameters: dict[str, object] = {}
    for _, bound in parts:
        parameters |= bound
    return " AND ".join(each for found, _ in parts for each in found), parameters
