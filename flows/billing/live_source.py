"""The source of the billing flow beside metering in one process: what the metering flow publishes.

There is nothing to recover: rows are cumulative and stored, so a new flow reads them from the store.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.billing.batches import NOTHING, PublishedUsage
from flows.billing.feed import UsageFeed

POLL_EVERY = timedelta(milliseconds=20)
# How often the store is asked whether the rows of new meters are all there.
LOOK_EVERY = timedelta(milliseconds=200)
# How often readers are told up to when usage is in, though nothing comes.
TELL_EVERY = timedelta(seconds=1)


class LiveUsageSource(FixedPartitionedSource[PublishedUsage, None]):
    """Published usage as one partition that ends when `stop` is set.

    It begins once `built` says that the rows of all meters are stored, so that nobody is ever billed
    for a part of them. `until` says up to when all usage has been published; `on_heartbeat` is called
    whenever the flow asks for more.
    """

    def __init__(
        self,
        feed: UsageFeed,
        stop: threading.Event,
        *,
        on_heartbeat: Callable[[], None],
        built: Callable[[], bool],
        until: Callable[[], datetime],
    ):
        self._feed = feed
        self._stop = stop
        self._on_heartbeat = on_heartbeat
        self._built = built
        self._until = until

    def list_parts(self) -> list[str]:
        """Return the one partition that all rows make up."""
        return ["usage"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "LivePartition":
        """Begin with what is published from now on: what was before is in the store."""
        return LivePartition(self._feed, self._stop, self._on_heartbeat, self._built, self._until)


class LivePartition(StatefulSourcePartition[PublishedUsage, None]):
    """The reader of the one partition."""

    def __init__(
        self,
        feed: UsageFeed,
        stop: threading.Event,
        on_heartbeat: Callable[[], None],
        built: Callable[[], bool],
        until: Callable[[], datetime],
    ):
        self._feed = feed
        self._stop = stop
        self._on_heartbeat = on_heartbeat
        self._built = built
        self._until = until
        self._begun = False
        self._awake_at: datetime | None = None
        self._told_at = datetime.now(UTC)

    def next_batch(self) -> list[PublishedUsage]:
        """Return what has come, if anything did. Raises StoreError."""
        self._on_heartbeat()
        if self._stop.is_set():
            raise StopIteration
        if not self._begun:
            return self._first()
        now = datetime.now(UTC)
        self._awake_at = now + POLL_EVERY
        # Asked before the feed is: what was published by then is in what the feed gives.
        until = self._until()
        published = self._feed.take()
        if published is None:
            if now - self._told_at < TELL_EVERY:
                return []
            published = PublishedUsage(NOTHING.rows)
        self._told_at = now
        return [replace(published, until=until)]

    def _first(self) -> list[PublishedUsage]:
        """Begin, unless rows of some meter are still missing."""
        self._begun = self._built()
        if self._begun:
            return [PublishedUsage(NOTHING.rows, begins=1)]
        self._awake_at = datetime.now(UTC) + LOOK_EVERY
        return []

    def next_awake(self) -> datetime | None:
        """Ask again soon."""
        return self._awake_at

    def snapshot(self) -> None:
        """There is no place to go on from: a new flow reads what is stored."""
        return
