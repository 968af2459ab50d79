"""The store of the metering flow: raw events, usage and verdicts, in Arrow.

Every insert is on the disk when the call returns, and writing the same rows again changes nothing
that a read shows. Order matters to those who read while others write: raw rows first, then usage,
then the flush marker, so that a reader takes raw rows up to the marker only.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self

import pyarrow as pa

from flows.stores.choosing import (
    IN_SCOPE,
    NOT_WITHDRAWN,
    WITHDRAWN_POSITIONS,
    Chosen,
    conditions,
    listed,
    scope_parameters,
)
from flows.stores.engine import Engine, among, connect, select
from flows.stores.migrations import migrate
from flows.stores.tables import CELLS, FLUSHES, GENERATIONS, STORED_EVENTS, TABLES, Flush, FlushKind
from schemas.event import INSTANT
from schemas.scope import Scope

# Others know the words of a scoped read by this module.
__all__ = [
    "IN_CELLS",
    "IN_SCOPE",
    "NOT_WITHDRAWN",
    "WITHDRAWN_POSITIONS",
    "Chosen",
    "Store",
    "open_store",
]

IN_CELLS = (
    "(tenant_id, environment_id, event_name, external_customer_id, toStartOfMinute(timestamp)) IN "
)
LOG_ORDER = "log_partition, log_offset"
CELL_ORDER = "meter_id, external_customer_id, window_start, `group`"


def open_store(location: str, database: str = "tally") -> "Store":
    """Open the store at a folder (embedded) or at `http://host:port`, with its tables up to date.

    The embedded engine holds its folder for this process. Raises StoreError.
    """
    engine = connect(location)
    try:
        engine.use(database)
        migrate(engine)
    except BaseException:
        engine.close()
        raise
    return Store(engine)


_GREATEST = pa.schema([pa.field("timestamp", INSTANT)])

# From so many rows on it pays to leave out the columns in which a meter's type has nothing.
SPARSE_ROWS_MIN = 20_000


class Store:
    """A connection with the statements that the flows need; one a thread, all on the same data."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self.engine.close()

    def serve_one_run(self) -> None:
        """Neither merge raw events in the background nor wait for the disk, most of what they cost.

        For an embedded store that lives for one run: reads stay right and become slower with each
        insert, and beyond 1000 inserts the engine slows them down. Raises StoreError.
        """
        self.engine.command("SYSTEM STOP MERGES events")
        for table in ("events", "usage", "usage_members", "verdicts", "skips", "dead_letters"):
            self.engine.command(
                f"ALTER TABLE {table} MODIFY SETTING "
                "fsync_after_insert = 0, fsync_part_directory = 0"
            )

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append rows to one of `TABLES`, its columns in any order. Raises StoreError."""
        self.engine.insert(table, rows.select(TABLES[table].names))

    def insert_events(self, events: pa.Table) -> None:
        """Append accepted copies (in: STORED_EVENTS)."""
        self.insert("events", events)

    def insert_usage(self, rows: pa.Table, members: pa.Table | None = None) -> None:
        """Append cumulative rows, after the members that are new in their cells.

        in: USAGE, STORED_MEMBERS
        """
        if members is not None:
            self.insert("usage_members", members)
        if rows.num_rows < SPARSE_ROWS_MIN:
            self.insert("usage", rows)
            return
        for part in _without_empty_columns(rows):
            self.engine.insert("usage", part)

    def insert_verdicts(self, rows: pa.Table) -> None:
        """Append verdicts that are not plainly accepted (in: VERDICTS)."""
        self.insert("verdicts", rows)

    def insert_skips(self, rows: pa.Table) -> None:
        """Append events that do not count for a meter, with the reason (in: SKIPS)."""
        self.insert("skips", rows)

    def insert_dead_letters(self, rows: pa.Table) -> None:
        """Append malformed records (in: DEAD_LETTERS)."""
        self.insert("dead_letters", rows)

    def withdraw_events(self, positions: pa.Table) -> None:
        """Hide copies that turned out not to be the first of their id (in: partition, offset)."""
        self.insert("withdrawn", positions)

    def read_usage(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the rows of windows that start in [start, end), of each cell the highest version.

        Only rows of each meter's live generation; no bound and no customers mean all of them.

        out: USAGE, ordered by cell
        """
        return self._read_cells("usage", scope, meter_ids, Chosen(start, end, customers))

    def read_members(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the members of COUNT_UNIQUE cells, each once, chosen as by `read_usage`.

        out: STORED_MEMBERS, ordered by cell
        """
        return self._read_cells("usage_members", scope, meter_ids, Chosen(start, end, customers))

    def read_events(
        self,
        scope: Scope,
        event_names: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the accepted events of some names with a timestamp in [start, end).

        out: STORED_EVENTS, each event once, in the order of the log
        """
        found, parameters = conditions("timestamp", Chosen(start, end, customers))
        named = f"event_name IN {listed(event_names)}"
        return self.engine.read(
            select(
                STORED_EVENTS,
                "events FINAL",
                IN_SCOPE,
                named,
                *found,
                NOT_WITHDRAWN,
                order=LOG_ORDER,
            ),
            STORED_EVENTS,
            scope_parameters(scope) | parameters,
        )

    def read_events_of_cells(self, cells: pa.Table) -> pa.Table:
        """Return all accepted events of some minutes in one read, for windows that left memory.

        in:  CELLS; `window_start` is a whole UTC minute
        out: STORED_EVENTS, each event once, in the order of the log
        """
        if not cells.num_rows:
            return STORED_EVENTS.empty_table()
        wanted = among(
            _with_microseconds(cells.select(CELLS.names)),
            "t String, e String, n String, c String, m Int64",
            "t, e, n, c, toStartOfMinute(fromUnixTimestamp64Micro(m, 'UTC'))",
        )
        return self.engine.read(
            select(
                STORED_EVENTS, "events FINAL", IN_CELLS + wanted, NOT_WITHDRAWN, order=LOG_ORDER
            ),
            STORED_EVENTS,
        )

    def raw_until_microseconds(self) -> int:
        """Return an instant, in microseconds, that lies behind all raw events; 0 where there are none."""
        rows = self.engine.read("SELECT max(timestamp) FROM events", _GREATEST)
        return rows["timestamp"].cast(pa.int64())[0].as_py() + 1 if rows.num_rows else 0

    def copies_of(self, digests: pa.Array) -> pa.Table:
        """Return all raw rows of the ids with the given digests, whatever became of them since.

        in:  binary(16)
        out: STORED_EVENTS, in no order; a row that was written again may come twice
        """
        wanted = pa.table({"d": [digest.hex() for digest in digests.to_pylist()]})
        ids = among(wanted, "d String", "toFixedString(unhex(d), 16)")
        return self.engine.read(
            select(STORED_EVENTS, "events", "event_digest IN " + ids), STORED_EVENTS
        )

    def read_table(self, table: str, scope: Scope | None = None) -> pa.Table:
        """Return all rows of one of `TABLES`, each key once and in no order.

        Of one scope only if it is given, which the table must have columns for.
        """
        schema = TABLES[table]
        condition = [IN_SCOPE] if scope else []
        parameters = scope_parameters(scope) if scope else None
        return self.engine.read(select(schema, f"{table} FINAL", *condition), schema, parameters)

    def record_flush(self, *flushes: Flush) -> None:
        """Write how far shards have published, after the rows that it is said of."""
        self.insert("flushes", pa.Table.from_pylist([_flush_row(f) for f in flushes], FLUSHES))

    def last_flush(self, flow: str, shard: int, kind: FlushKind = FlushKind.DONE) -> Flush | None:
        """Return the flush of one shard and kind with the highest sequence, if there is one."""
        rows = self.engine.read(
            select(
                FLUSHES,
                "flushes FINAL",
                "flow = {flow:String}",
                "shard = {shard:Int32}",
                "kind = {kind:String}",
            ),
            FLUSHES,
            {"flow": flow, "shard": shard, "kind": str(kind)},
        ).to_pylist()
        return _flush(rows[0]) if rows else None

    def set_generations(self, rows: pa.Table) -> None:
        """Choose what readers of some meters see (in: GENERATIONS; the highest revision counts)."""
        self.insert("meter_generations", rows)

    def live_generations(self, scope: Scope) -> dict[str, int]:
        """Return the live generation of each meter that has been re-metered; others are at 1."""
        rows = self.engine.read(
            select(GENERATIONS, "meter_generations FINAL", IN_SCOPE),
            GENERATIONS,
            scope_parameters(scope),
        )
        return {row["meter_id"]: row["generation"] for row in rows.to_pylist()}

    def _read_cells(
        self, table: str, scope: Scope, meter_ids: Sequence[str], chosen: Chosen
    ) -> pa.Table:
        """Read rows of one of the two tables that are keyed by cell."""
        schema = TABLES[table]
        if not meter_ids:
            return schema.empty_table()
        live = self.live_generations(scope)
        generations = pa.array([live.get(meter, 1) for meter in meter_ids], pa.int32())
        meters = pa.table({"m": pa.array(meter_ids, pa.string()), "g": generations})
        wanted = f"(meter_id, generation) IN {among(meters, 'm String, g Int32', 'm, g')}"
        found, parameters = conditions("window_start", chosen)
        return self.engine.read(
            select(schema, f"{table} FINAL", IN_SCOPE, wanted, *found, order=CELL_ORDER),
            schema,
            scope_parameters(scope) | parameters,
        )


def _without_empty_columns(rows: pa.Table) -> Iterator[pa.Table]:
    """Return rows in parts, each without the columns that are null in all of it."""
    parts: dict[tuple[str, ...], list[pa.RecordBatch]] = {}
    for batch in rows.to_batches():
        filled = (name for name in rows.column_names if batch[name].null_count < batch.num_rows)
        parts.setdefault(tuple(filled), []).append(batch)
    for names, batches in parts.items():
        yield pa.Table.from_batches(batches).select(names)


def _with_microseconds(cells: pa.Table) -> pa.Table:
    """Return CELLS with their instants as numbers of microseconds."""
    last = cells.num_columns - 1
    return cells.set_column(last, "window_start", cells.column(last).cast(pa.int64()))


def _flush_row(flush: Flush) -> dict[str, object]:
    """Return a flush as a row of its table."""
    frontier = sorted(flush.frontier.items())
    return {
        "flow": flush.flow,
        "shard": flush.shard,
        "kind": str(flush.kind),
        "sequence": flush.sequence,
        "partitions": [partition for (partition, _), _ in frontier],
        "identify_shards": [shard for (_, shard), _ in frontier],
        "offsets": [offset for _, offset in frontier],
    }


def _flush(row: dict[str, Any]) -> Flush:
    """Return a row of `flushes` as the record it was."""
    places = zip(row["partitions"], row["identify_shards"], strict=True)
    frontier = dict(zip(places, row["offsets"], strict=True))
    return Flush(row["flow"], row["shard"], FlushKind(row["kind"]), row["sequence"], frontier)
