"""Answers: what a meter gives for a period, over all usage that was asked about and in parts."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from schemas.meter import WindowSize


@dataclass(frozen=True, slots=True)
class Point:
    """A window, or a whole period: its natural bounds, and what the meter gives for it alone."""

    start: datetime
    end: datetime
    value: Decimal
    quantity_signed: Decimal
    counted: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that holds counted events: its natural start, its group, and what it bills."""

    start: datetime
    group: str
    value: Decimal
    quantity_signed: Decimal
    counted: int


@dataclass(frozen=True, slots=True)
class Group:
    """A group of a query: its texts in the order asked, and what the meter gives for it.

    `windows` are its points, where the query has a window.
    """

    group: tuple[str, ...]
    value: Decimal
    quantity_signed: Decimal
    counted: int
    windows: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a meter gives for a period: over all usage given, and in parts.

    `window` is the size really used. `windows` is empty where none was asked for, `buckets` where
    the meter has none, `groups` where the query has no group_by.
    """

    value: Decimal
    quantity_signed: Decimal
    counted: int
    window: WindowSize | None
    windows: tuple[Point, ...]
    buckets: tuple[Bucket, ...]
    groups: tuple[Group, ...]
