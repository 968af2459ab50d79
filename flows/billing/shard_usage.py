"""The usage that the claims of a shard rest on: loaded when first needed, then kept by what is published.

Of a customer and meter the rows are read from the store once, from where the first question begins;
rows that are published later are merged. What is published before it was read is in what is read, and
rows are cumulative, so nothing is missed and nothing counts twice.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from billing.ports import UsageQuantity
from flows.billing.batches import NOTHING, UsageBatch
from flows.billing.cumulative import CumulativeUsage
from flows.billing.foreseeing import answers_together, questions_at
from flows.billing.reading import BillUsage, Question, Remembered
from flows.billing.stored import StoredUsage
from operators.partials import Partials
from schemas.meter import Meter, ResetUsage
from schemas.period import Interval
from schemas.usage import BASE_WINDOW

# Whose rows of which meter and generation were read.
LoadedKey = tuple[str, str, int]


class ShardUsage:
    """Cumulative usage of some customers. Every method but `take` may raise StoreError."""

    def __init__(self, stored: StoredUsage) -> None:
        self._stored = stored
        self._usage = CumulativeUsage()
        self._known = Remembered()
        # From when on the rows of a customer and meter are here, None for all of them.
        self._since: dict[LoadedKey, datetime | None] = {}
        self._names: dict[str, None] = {}
        self._meters: dict[str, Meter] = {}
        self._waiting: list[pa.Table] = []
        self._missed: Interval | None = None
        self._changed: dict[str, None] = {}
        # The last window that a customer has rows of.
        self._latest: dict[str, datetime] = {}

    def take(self, rows: pa.Table, missed: Interval | None) -> None:
        """Take in published rows (USAGE), and windows whose rows were left out."""
        if rows.num_rows:
            self._waiting.append(rows)
        if missed is not None:
            known = self._missed or missed
            self._missed = Interval(min(known.start, missed.start), max(known.end, missed.end))

    def changed(self) -> tuple[str, ...]:
        """Merge what was taken in; return those for whom something was news, first come first."""
        rows = pa.concat_tables([NOTHING.rows, *self._waiting])
        mine = rows.filter(
            pc.is_in(rows["external_customer_id"], value_set=pa.array(self._names, pa.string()))
        )
        missed = self._missed
        if mine.num_rows:
            self._stored.forget(mine)
            members = self._stored.members_of(mine, self._meters.values())
            self._usage.add([UsageBatch(mine, members)])
        if missed is not None and self._names:
            again = self._stored.read(
                list(self._names), self._meters.values(), missed.start, missed.end
            )
            self._stored.forget(again.rows)
            self._usage.add([again])
        self._waiting, self._missed = [], None
        self._settle()
        found, self._changed = tuple(self._changed), {}
        return found

    def load(self, names: Sequence[str], meters: Iterable[Meter], since: datetime | None) -> None:
        """Read the rows of customers from an instant on, of those meters that are not here yet."""
        wanted = [self._stored.current(meter) for meter in meters]
        for running in (False, True):
            some = [each for each in wanted if runs_on(each) is running]
            start = None if running or since is None else since - BASE_WINDOW
            absent = [
                name
                for name in names
                if any(not self._is_here(name, meter, start) for meter in some)
            ]
            if not absent:
                continue
            self._usage.add([self._stored.read(absent, some, start)])
            changed = dict(self._changed)
            self._settle()
            # Whoever asked for the rows works with them now: they are no news.
            self._changed = {
                name: None for name in self._changed if name in changed or name not in absent
            }
            self._note(absent, some, start)

    def usage(self, meter: Meter, external_customer_id: str, period: Interval) -> Partials:
        """Return what is needed of a customer's usage of a meter for a period; read what is not here."""
        return self._together(meter, [external_customer_id], period)

    def foresee(self, names: Iterable[str], at: datetime) -> None:
        """Answer what customers will ask at an instant, those of one question in one go.

        They ask again what they asked last, the running minute apart. What they ask otherwise is
        answered when they do.
        """
        groups: dict[Question, list[str]] = {}
        for name in names:
            known = self._known.answers.get(name, {})
            for question in questions_at(self._known, name, at):
                if question not in known:
                    groups.setdefault(question, []).append(name)
        for question, asking in groups.items():
            meter = self._meters.get(question.meter_id)
            if meter is None or meter.generation != question.generation or len(asking) == 1:
                continue
            rows = self._together(meter, asking, question.interval)
            for name, found in answers_together(meter, asking, rows, question).items():
                self._known.answers.setdefault(name, {})[question] = found

    def reader(self, name: str, *, running_minute: datetime | None) -> "CurrentUsage":
        """Return the usage of one customer for working out its claims once."""
        usage = BillUsage(
            self, self._stored.edges, self._known, name, running_minute=running_minute
        )
        return CurrentUsage(usage, self._stored)

    def first_window_since(self, name: str, at: datetime) -> datetime | None:
        """Return the earliest window of a customer that starts at or after an instant, if any."""
        latest = self._latest.get(name)
        if latest is None or latest < at:
            return None
        return self._usage.first_window_since(name, at)

    def _together(self, meter: Meter, names: Sequence[str], period: Interval) -> Partials:
        """Return what is needed of some customers' usage; read what is not here."""
        start = None if runs_on(meter) else period.start - BASE_WINDOW
        absent = [name for name in names if not self._is_here(name, meter, start)]
        if absent:
            self.load(absent, [meter], None if start is None else period.start)
        return self._usage.usage_together(meter, names, period)

    def _is_here(self, name: str, meter: Meter, start: datetime | None) -> bool:
        """Tell whether the rows of a customer and meter are here from an instant on."""
        key = name, meter.id, meter.generation
        if key not in self._since:
            return False
        since = self._since[key]
        return since is None or (start is not None and since <= start)

    def _note(self, names: Sequence[str], meters: Sequence[Meter], start: datetime | None) -> None:
        """Note that the rows of customers and meters are here from an instant on."""
        for meter in meters:
            self._meters[meter.id] = meter
            for name in names:
                self._names[name] = None
                if not self._is_here(name, meter, start):
                    self._since[name, meter.id, meter.generation] = start

    def _settle(self) -> None:
        """Merge; what it was news for is asked anew, and noted."""
        changes = self._usage.settle()
        for change in changes:
            name, window = change.external_customer_id, change.windows.end - BASE_WINDOW
            self._latest[name] = max(window, self._latest.get(name, window))
        self._known.forget(changes)
        self._changed |= dict.fromkeys(each.external_customer_id for each in changes)


class CurrentUsage:
    """A reader of `billing.ports` that asks by the generations that are metered now."""

    def __init__(self, usage: BillUsage, stored: StoredUsage) -> None:
        self._usage = usage
        self._stored = stored

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return what the meter gives for these customers together over the interval."""
        return self._usage.quantities(
            self._stored.current(meter),
            external_customer_ids,
            interval,
            timezone=timezone,
            billing_anchor=billing_anchor,
        )

    def keep(self) -> None:
        """Remember what was read for the next time."""
        self._usage.keep()


def runs_on(meter: Meter) -> bool:
    """Tell whether a question to a meter reaches back to the first event: its total never resets."""
    return meter.reset_usage is ResetUsage.NEVER
