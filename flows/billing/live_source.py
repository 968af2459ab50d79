"""The source of the live flow: everything that is stored, then what the metering flow publishes.

There is nothing to recover: rows are cumulative and stored, so a new flow reads them all again. What
is published while it reads waits in the feed, and may come twice.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.billing.batches import UsageBatch
from flows.billing.feed import UsageFeed
from flows.billing.stored import StoredUsage

POLL_EVERY = timedelta(milliseconds=20)
# How often the store is asked whether the rows of new meters are all there.
LOOK_EVERY = timedelta(milliseconds=200)


class LiveUsageSource(FixedPartitionedSource[UsageBatch, None]):
    """Batches of usage as one partition that ends when `stop` is set.

    The first batch holds all that is stored, so that nobody is ever billed for a part of it; it
    waits until `built` says that all is. `on_heartbeat` is called whenever the flow asks for more.
    """

    def __init__(
        self,
        feed: UsageFeed,
        stored: StoredUsage,
        stop: threading.Event,
        on_heartbeat: Callable[[], None],
        built: Callable[[], bool],
    ):
        self._feed = feed
        self._stored = stored
        self._stop = stop
        self._on_heartbeat = on_heartbeat
        self._built = built

    def list_parts(self) -> list[str]:
        """Return the one partition that all rows make up."""
        return ["usage"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "LivePartition":
        """Read from the beginning: there is no other place to go on from."""
        return LivePartition(self._feed, self._stored, self._stop, self._on_heartbeat, self._built)


class LivePartition(StatefulSourcePartition[UsageBatch, None]):
    """The reader of the one partition."""

    def __init__(
        self,
        feed: UsageFeed,
        stored: StoredUsage,
        stop: threading.Event,
        on_heartbeat: Callable[[], None],
        built: Callable[[], bool],
    ):
        self._feed = feed
        self._stored = stored
        self._stop = stop
        self._on_heartbeat = on_heartbeat
        self._built = built
        self._begun = False
        self._awake_at: datetime | None = None

    def next_batch(self) -> list[UsageBatch]:
        """Return what has come, if anything did. Raises StoreError."""
        self._on_heartbeat()
        if self._stop.is_set():
            raise StopIteration
        if not self._begun:
            return self._first()
        self._awake_at = datetime.now(UTC) + POLL_EVERY
        published = self._feed.take()
        if published is None:
            return []
        batches = [self._stored.with_members(published.rows)]
        if published.missed is not None:
            batches.append(self._stored.read(published.missed))
        return batches

    def _first(self) -> list[UsageBatch]:
        """Return all that is stored, nothing as long as rows of some meter are still missing."""
        self._begun = self._built()
        if self._begun:
            return [self._stored.read()]
        self._awake_at = datetime.now(UTC) + LOOK_EVERY
        return []

    def next_awake(self) -> datetime | None:
        """Ask again soon."""
        return self._awake_at

    def snapshot(self) -> None:
        """There is no place to go on from: a new flow reads everything that is stored."""
        return
