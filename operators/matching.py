"""Match: which meters an event belongs to, and what it brings to each (metering.md 3, 5, 6.2).

Each (event, meter) whose name and filters match is either counted, as one row of PAIRS, or skipped
with a reason. Everything is done once a column or once a meter, never once an event.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa

from operators.columns import Chunks, Column
from operators.columns import compute as pc
from operators.digests import text_digests
from operators.kinds import Kind
from operators.numbers import Values, to_values
from operators.properties import Property, canonical_text, property_columns
from schemas.decimals import VALUE
from schemas.meter import Aggregation, AggregationType, Filter, Meter
from schemas.usage import PAIRS
from schemas.verdict import Skip

# What became of the pairs that do not count.
SKIPPED = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

SOURCE = "source"
# Copies that come straight from decode say whether their properties are easy to read.
PLAIN = "plain"

# What a meter looks at in an event.
_LOOKED_AT = ["external_customer_id", "timestamp", "event_id", SOURCE, "properties"]
_CARRIED = ["external_customer_id", "timestamp", "event_id"]
_SCOPE = ("tenant_id", "environment_id")

# Groups of fewer rows than this are read together, up to so many properties.
_ROWS_OF_A_CALL = 4096
_TOGETHER_MAX = 16

_Rows = TypeVar("_Rows", pa.Table, Column)


@dataclass(frozen=True, slots=True)
class Pairs:
    """What the events of one meter came to; `rounded` is how many of their numbers were rounded."""

    counted: pa.Table
    skipped: pa.Table
    rounded: int


@dataclass(frozen=True, slots=True)
class Matched:
    """What a batch came to over all meters; `unmatched` marks events that belong to none."""

    counted: pa.Table
    skipped: pa.Table
    unmatched: Column
    rounded: int


@dataclass(slots=True)
class _Readings:
    """The columns of one batch, each computed at most once however many meters ask for it."""

    events: pa.Table
    columns: Mapping[str, Property]
    _texts: dict[str, Column] = field(default_factory=dict)
    _values: dict[str, Values] = field(default_factory=dict)
    _members: dict[str, Column] = field(default_factory=dict)

    def text(self, name: str) -> Column:
        """Return the canonical text of a property in each row."""
        if name not in self._texts:
            column = self.columns[name]
            self._texts[name] = canonical_text(column.kind, column.text)
        return self._texts[name]

    def filtered_text(self, key: str) -> Column:
        """Return what a filter on a key compares: for `source` the event's own stands in."""
        if key != SOURCE:
            return self.text(key)
        own = _flat(self.events[SOURCE])
        given = pc.if_else(pc.equal(own, ""), pa.scalar(None, pa.string()), own)
        absent = pc.equal(self.columns[key].kind, Kind.MISSING)
        texts: Column = pc.if_else(absent, given, self.text(key))
        return texts

    def values(self, name: str) -> Values:
        """Return a property as a number in each row."""
        if name not in self._values:
            column = self.columns[name]
            self._values[name] = to_values(column.kind, column.text)
        return self._values[name]

    def members(self, name: str) -> Column:
        """Return the digest of the canonical text of a property in each row."""
        if name not in self._members:
            self._members[name] = text_digests(self.text(name))
        return self._members[name]


def properties_of(meters: Sequence[Meter]) -> list[str]:
    """Return the names of the properties that meters look at, each once.

    >>> total = Aggregation(AggregationType.SUM, field="tokens")
    >>> large = (Filter("model", ("large",)),)
    >>> properties_of([Meter("m", "t", "e", "Tokens", "llm", total, large)])
    ['model', 'tokens']
    """
    names: list[str] = []
    for meter in meters:
        read = (meter.aggregation.field, meter.aggregation.group_by)
        names += [each.key for each in meter.filters] + [name for name in read if name]
    return list(dict.fromkeys(names))


def matches(filters: Sequence[Filter], events: pa.Table, columns: Mapping[str, Property]) -> Column:
    """Tell which events pass all filters (metering.md 6.2); no filters pass every event.

    A filter passes if the canonical text of its key is one of its values; a missing property passes
    none, not even "". The key `source` means the property of that name if the event has one, else
    the event's source if that is not empty.

    in:  events: source; columns: a `Property` for each key
    out: one truth value an event, never null

    >>> events = pa.table({"source": ["api", ""], "properties": ['{"n": 1.0}', '{"n": "1"}']})
    >>> columns = property_columns(events["properties"], ["n", "source"])
    >>> matches([Filter("n", ("1",)), Filter("source", ("api",))], events, columns).to_pylist()
    [True, False]
    """
    return _passing(filters, _Readings(events, columns))


def pair(meter: Meter, events: pa.Table, columns: Mapping[str, Property]) -> Pairs:
    """Make what events of a meter's name that passed its filters bring to it (metering.md 3, 5).

    in:  external_customer_id, timestamp, event_id; columns: a `Property` for the field and the
    group
    out: PAIRS of the counted events, SKIPPED of the others
    """
    return _paired(meter, _Readings(events, columns), None)


def match(meters: Sequence[Meter], events: pa.Table) -> Matched:
    """Match a batch of accepted events with the meters of their tenant and environment.

    in:  EVENTS
    out: PAIRS and SKIPPED over all meters, in no order that anybody may rely on; `unmatched` has a
    row
         for each event, in their order
    """
    found = [Pairs(PAIRS.empty_table(), SKIPPED.empty_table(), 0)]
    matched = np.zeros(events.num_rows, np.bool_)
    for asked, rows, readings in _readings(meters, events):
        for meter in asked:
            passing = _passing(meter.filters, readings) if meter.filters else None
            found.append(_paired(meter, readings, passing))
            matched[rows if passing is None else rows[_mask(passing)]] = True
    return Matched(
        counted=pa.concat_tables([pairs.counted for pairs in found]),
        skipped=pa.concat_tables([pairs.skipped for pairs in found]),
        unmatched=pa.array(~matched),
        rounded=sum(pairs.rounded for pairs in found),
    )


def _readings(
    meters: Sequence[Meter], events: pa.Table
) -> Iterator[tuple[list[Meter], np.ndarray, _Readings]]:
    """Yield the meters of each name with its rows and what they read there.

    Names whose meters look at the same properties are read together. A call of the reader costs as
    much as thousands of rows, so what is left with few rows is read in one call.
    """
    groups: dict[tuple[str, ...], list[tuple[list[Meter], np.ndarray]]] = {}
    for asked, rows in _by_name(meters, events):
        groups.setdefault(tuple(sorted(properties_of(asked))), []).append((asked, rows))
    small = [wanted for wanted, group in groups.items() if _rows_of(group) < _ROWS_OF_A_CALL]
    together = sorted({name for wanted in small for name in wanted})
    if len(together) <= _TOGETHER_MAX:
        rest = [named for wanted in small for named in groups.pop(wanted)]
        if rest:
            groups.setdefault(tuple(together), []).extend(rest)
    looked_at = events.select([*_LOOKED_AT, *([PLAIN] if PLAIN in events.column_names else [])])
    for wanted, group in groups.items():
        every = np.concatenate([rows for _, rows in group])
        batch = looked_at.take(pa.array(every)).combine_chunks()
        plain = _flat(batch[PLAIN]) if PLAIN in batch.column_names else None
        columns = property_columns(_flat(batch["properties"]), wanted, plain)
        start = 0
        for asked, rows in group:
            part = {
                name: Property(each.kind.slice(start, rows.size), each.text.slice(start, rows.size))
                for name, each in columns.items()
            }
            yield asked, rows, _Readings(batch.slice(start, rows.size), part)
            start += rows.size


def _rows_of(group: list[tuple[list[Meter], np.ndarray]]) -> int:
    """Return how many rows the names of a group have."""
    return sum(rows.size for _, rows in group)


def _by_name(meters: Sequence[Meter], events: pa.Table) -> Iterator[tuple[list[Meter], np.ndarray]]:
    """Yield the meters of each (tenant, environment, event name) that has any, and its rows."""
    wanted: dict[tuple[str, ...], list[Meter]] = {}
    for meter in meters:
        key = (meter.tenant_id, meter.environment_id, meter.event_name)
        wanted.setdefault(key, []).append(meter)
    codes = np.zeros(events.num_rows, np.int64)
    words: list[list[str]] = []
    for name in (*_SCOPE, "event_name"):
        encoded = pc.dictionary_encode(_flat(events[name]))
        words.append(encoded.dictionary.to_pylist())
        codes = codes * len(words[-1]) + encoded.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    for code, rows in zip(found, np.split(order, starts)[1:], strict=True):
        scope, event_name = divmod(int(code), len(words[2]))
        tenant, environment = divmod(scope, len(words[1]))
        asked = wanted.get((words[0][tenant], words[1][environment], words[2][event_name]))
        if asked is not None:
            yield asked, rows


def _passing(filters: Sequence[Filter], readings: _Readings) -> Column:
    """Tell which rows pass all filters."""
    passing = pa.repeat(pa.scalar(value=True), readings.events.num_rows)
    for each in filters:
        texts = readings.filtered_text(each.key)
        passing = pc.and_(passing, pc.is_in(texts, value_set=pa.array(each.values, pa.string())))
    return passing


def _paired(meter: Meter, readings: _Readings, passing: Column | None) -> Pairs:
    """Pair one meter with the rows that pass; None passes all."""
    aggregation = meter.aggregation
    assert aggregation.expression is None, "meters with an expression are refused at the door"
    skip = _skips(aggregation, readings)
    counted = _both(passing, None if skip is None else skip.is_null())
    value, member, rounded = _contribution(aggregation, readings, counted)
    carried = _kept(readings.events.select(_CARRIED), counted)
    group = pa.repeat(pa.scalar(""), carried.num_rows)
    if aggregation.group_by:
        group = pc.fill_null(_kept(readings.text(aggregation.group_by), counted), "")
    columns = {
        **{name: carried[name] for name in _CARRIED},
        "meter_id": pa.repeat(pa.scalar(meter.id), carried.num_rows),
        "group": group,
        "value": value,
        "member": member,
    }
    table = pa.table([columns[name] for name in PAIRS.names], schema=PAIRS)
    return Pairs(table, _skipped(meter, readings.events, passing, skip), rounded)


def _skips(aggregation: Aggregation, readings: _Readings) -> Column | None:
    """Return why the aggregation cannot use a row, null where it can; None if it can use all."""
    if aggregation.type is AggregationType.COUNT:
        return None
    assert aggregation.field is not None
    if aggregation.type is not AggregationType.COUNT_UNIQUE:
        skip = readings.values(aggregation.field).skip
        return skip if skip.null_count < len(skip) else None
    text, kind = readings.text(aggregation.field), readings.columns[aggregation.field].kind
    if text.null_count == 0:
        return None
    reason = pc.if_else(pc.equal(kind, Kind.NUMBER), Skip.OUT_OF_RANGE.value, Skip.WRONG_TYPE.value)
    reason = pc.if_else(pc.equal(kind, Kind.MISSING), Skip.MISSING_FIELD.value, reason)
    skips: Column = pc.if_else(text.is_null(), reason, pa.scalar(None, pa.string()))
    return skips


def _contribution(
    aggregation: Aggregation, readings: _Readings, counted: Column | None
) -> tuple[Column, Column, int]:
    """Return the values, the members and the number of rounded values of the counted rows."""
    rows = readings.events.num_rows if counted is None else pc.sum(counted).as_py() or 0
    value, member = pa.nulls(rows, VALUE), pa.nulls(rows, pa.binary(16))
    if aggregation.type is AggregationType.COUNT or aggregation.field is None:
        return value, member, 0
    if aggregation.type is AggregationType.COUNT_UNIQUE:
        return value, _kept(readings.members(aggregation.field), counted), 0
    values = readings.values(aggregation.field)
    rounded = pc.sum(_kept(values.rounded, counted)).as_py() or 0
    return _kept(values.value, counted), member, rounded


def _skipped(
    meter: Meter, events: pa.Table, passing: Column | None, skip: Column | None
) -> pa.Table:
    """List the passing rows that are skipped."""
    if skip is None:
        return SKIPPED.empty_table()
    wrong = _both(passing, skip.is_valid())
    ids, reasons = _kept(_flat(events["event_id"]), wrong), _kept(skip, wrong)
    return pa.table([ids, pa.repeat(pa.scalar(meter.id), len(ids)), reasons], schema=SKIPPED)


def _both(one: Column | None, other: Column | None) -> Column | None:
    """Combine two masks, where None lets everything through."""
    if one is None or other is None:
        return other if one is None else one
    both: Column = pc.and_(one, other)
    return both


def _kept(rows: _Rows, mask: Column | None) -> _Rows:
    """Return the rows that a mask lets through."""
    return rows if mask is None else rows.filter(mask)


def _mask(passing: Column) -> np.ndarray:
    """Return a mask as numpy indexes with it."""
    return np.asarray(passing.to_numpy(zero_copy_only=False))


def _flat(column: Column | Chunks) -> Column:
    """Return a column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
