"""Half-open intervals of time: what every period, window and bucket is."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Interval:
    """The instants from `start` up to but not including `end`, both aware.

    An interval that ends where it starts is empty; one that ends before it starts is a bug.

    >>> from datetime import UTC
    >>> day = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> day.holds(day.start), day.holds(day.end)
    (True, False)
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        assert self.start.tzinfo is not None, "an instant without a zone"
        assert self.end.tzinfo is not None, "an instant without a zone"
        assert self.start <= self.end, f"an interval that ends before it starts: {self}"

    def holds(self, at: datetime) -> bool:
        """Say whether an instant lies inside; the end does not."""
        return self.start <= at < self.end

    def cut(self, other: "Interval") -> "Interval | None":
        """Return the part that both have, or None where they share no instant.

        >>> from datetime import UTC
        >>> first, second, third = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
        >>> Interval(first, third).cut(Interval(second, third)) == Interval(second, third)
        True
        >>> Interval(first, second).cut(Interval(second, third)) is None
        True
        """
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Interval(start, end) if start < end else None
