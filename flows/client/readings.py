"""Usage as somebody who watches wants it: per meter the total of a range, and its windows.

The numbers are those of the instance to the last digit, over HTTP and from a folder alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from billing.ports import UsageAnswers
from flows.cli.output import instant_text
from flows.client.instance import Instance
from operators.windows import LENGTHS, edges, instant, whole
from schemas.errors import NotFound, StoreError
from schemas.event_query import UsageQuery
from schemas.meter import Meter, ResetUsage, WindowSize
from schemas.period import Interval
from schemas.scope import Scope

METERS_PATH = "/v1/meters"
USAGE_PATH = "/v1/events/usage/meter"
PAGE_SIZE = 1000

SIZES = tuple(WindowSize)
POINTS_MAX = 60
DEFAULT_SIZE = WindowSize.HALF_HOUR
DEFAULT_RANGE = timedelta(days=1)
# A month has no length of its own; this is long enough to choose a size by.
MONTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class WatchedMeter:
    """A meter that usage is asked of: what it is called, and what shapes its windows."""

    id: str
    name: str
    bucket: WindowSize | None
    is_running: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each meter: a range in windows of a size, for one customer or for all."""

    period: Interval
    window: WindowSize
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter gives for a range, and for each of its windows, in order of their starts.

    A window is None where a running total is not known because nothing was counted before it.
    """

    meter: WatchedMeter
    value: Decimal
    window: WindowSize
    windows: tuple[tuple[datetime, Decimal | None], ...]


class UsageSource(Protocol):
    """Where usage is read: an instance, or the store of a folder."""

    def meters(self) -> Sequence[WatchedMeter]:
        """Return all meters, in the order of their names."""
        ...

    def read(self, meter: WatchedMeter, question: Question) -> Reading:
        """Return what a meter gives."""
        ...


class HttpUsage:
    """Usage that an instance answers."""

    def __init__(self, instance: Instance):
        self._instance = instance

    def meters(self) -> Sequence[WatchedMeter]:
        """Return all meters, in the order of their names. Raises as `Instance` does."""
        found: list[WatchedMeter] = []
        while True:
            page = self._instance.get(
                METERS_PATH, {"limit": str(PAGE_SIZE), "offset": str(len(found))}
            )
            try:
                items = page["items"]
                found += [_watched(item) for item in items]
                total = page["pagination"]["total"]
            except (KeyError, TypeError, ValueError) as cause:
                raise self._strange() from cause
            if not items or len(found) >= total:
                return sorted(found, key=lambda meter: (meter.name, meter.id))

    def read(self, meter: WatchedMeter, question: Question) -> Reading:
        """Return what a meter gives. Raises as `Instance` does."""
        window = wider(question.window, meter.bucket)
        asked = {
            "meter_id": meter.id,
            "start_time": instant_text(question.period.start),
            "end_time": instant_text(question.period.end),
            "window_size": window.value,
        }
        if question.customer is not None:
            asked["external_customer_id"] = question.customer
        said = self._instance.ask(USAGE_PATH, asked)
        try:
            value = said["value"]
            points = {
                datetime.fromisoformat(point["window_size"]): point["value"]
                for point in said["results"]
            }
        except (KeyError, TypeError, ValueError) as cause:
            raise self._strange() from cause
        return reading(meter, value, window, points, question.period)

    def _strange(self) -> StoreError:
        return StoreError(f"{self._instance.url} does not answer as a tally does")


class StoredUsage:
    """Usage that the store of a folder holds, with the meters of a catalog."""

    def __init__(self, answers: UsageAnswers, meters: Sequence[Meter], scope: Scope):
        self._answers = answers
        self._meters = {meter.id: meter for meter in meters}
        self._scope = scope

    def meters(self) -> Sequence[WatchedMeter]:
        """Return all meters, in the order of their names."""
        found = [
            WatchedMeter(
                meter.id,
                meter.name,
                meter.aggregation.bucket_size,
                meter.reset_usage is ResetUsage.NEVER,
            )
            for meter in self._meters.values()
        ]
        return sorted(found, key=lambda meter: (meter.name, meter.id))

    def read(self, meter: WatchedMeter, question: Question) -> Reading:
        """Return what a meter gives. Raises ValidationFailed and StoreError."""
        window = wider(question.window, meter.bucket)
        customer = question.customer
        found = self._answers.answer(
            UsageQuery(
                self._scope,
                self._meters[meter.id],
                question.period,
                external_customer_ids=None if customer is None else (customer,),
                window=window,
            )
        )
        points = {point.start: point.value for point in found.windows}
        return reading(meter, found.value, window, points, question.period)


def _watched(item: Mapping[str, Any]) -> WatchedMeter:
    """Return a meter of the wire."""
    bucket = item["aggregation"].get("bucket_size")
    return WatchedMeter(
        str(item["id"]),
        str(item["name"]),
        None if bucket is None else WindowSize(bucket),
        item["reset_usage"] == ResetUsage.NEVER,
    )


def wider(window: WindowSize, bucket: WindowSize | None) -> WindowSize:
    """Return the size of the windows that a meter answers in (metering.md 8).

    >>> wider(WindowSize.MINUTE, WindowSize.HOUR).value
    'HOUR'
    """
    return window if bucket is None else max(window, bucket, key=SIZES.index)


def reading(
    meter: WatchedMeter,
    value: Decimal,
    window: WindowSize,
    points: Mapping[datetime, Decimal],
    period: Interval,
) -> Reading:
    """Return a reading with all windows of a period, those included in which nothing was counted.

    Alone such a window gives 0; a running total stays what it was (metering.md 8).
    """
    if period.start == period.end:
        return Reading(meter, value, window, ())
    found = edges(window, whole(period.start), whole(period.end) - 1)
    filled: list[tuple[datetime, Decimal | None]] = []
    held = None if meter.is_running else Decimal(0)
    for edge in found[:-1].tolist():
        start = instant(edge)
        point = points.get(start, held)
        if meter.is_running:
            held = point
        filled.append((start, point))
    return Reading(meter, value, window, tuple(filled))


def named(meters: Sequence[WatchedMeter], wanted: Sequence[str]) -> Sequence[WatchedMeter]:
    """Return the meters that are wanted by name or id, all if none is.

    Raises NotFound for a name that no meter has.
    """
    if not wanted:
        return meters
    for name in wanted:
        if not any(name in (meter.id, meter.name) for meter in meters):
            known = ", ".join(meter.name for meter in meters) or "none"
            raise NotFound(f"there is no meter {name!r}; there are: {known}")
    return [meter for meter in meters if meter.id in wanted or meter.name in wanted]


def latest_range(now: datetime) -> Interval:
    """Return the 24 hours that end with the half hour of now, so that no window of it is cut.

    >>> from datetime import UTC
    >>> latest_range(datetime(2026, 1, 2, 12, 10, tzinfo=UTC)).end.isoformat()
    '2026-01-02T12:30:00+00:00'
    """
    length = timedelta(microseconds=LENGTHS[DEFAULT_SIZE])
    end = now - (now - instant(0)) % length + length
    return Interval(end - DEFAULT_RANGE, end)


def fitting_size(period: Interval) -> WindowSize:
    """Return the smallest size of which a range holds no more windows than a line has room for.

    >>> from datetime import UTC
    >>> start = datetime(2026, 1, 1, tzinfo=UTC)
    >>> fitting_size(Interval(start, start + timedelta(days=1))).value
    '30MIN'
    """
    length = period.end - period.start
    for size in SIZES:
        one = timedelta(microseconds=LENGTHS[size]) if size in LENGTHS else MONTH
        if length <= POINTS_MAX * one:
            return size
    return SIZES[-1]
