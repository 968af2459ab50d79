"""Files driven to a target: several deliveries under way, and remembered what was acknowledged.

Deliveries start in the order of the file. Those under way at the same time may arrive in any order, so
only one at a time keeps the order of the file exactly; that matters where the file holds two records of
one id with different contents, of which the first to arrive counts.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flows.client.deliveries import Delivery, KeptBack, Outcome, Target, other_scope
from flows.client.journal import Journal
from flows.client.lines import STDIN, file_batches
from flows.client.patience import Stopped

# For each request under way another one waits: a sender never waits for the reader.
WAITING_FOR_EACH = 2
PROBLEMS_MAX = 5


@dataclass(slots=True)
class FileSummary:
    """What became of one file: its records by verdict of the door, as far as this run sent them.

    `lines_before` were acknowledged by an earlier run. `kept_back` are malformed records that could not
    be sent as they are, by reason; `problems` are the first malformed ones, by number of the line.
    """

    file: str
    lines_before: int = 0
    lines: int = 0
    sent: int = 0
    appended: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    kept_back: Counter[str] = field(default_factory=Counter)
    problems: list[KeptBack] = field(default_factory=list)
    was_done: bool = False
    done: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """How files are sent: where to, where the journals are, and who is told.

    `again` sends a file again that was sent whole. `on_acknowledged` gets records and bytes of each
    delivery; `tell` gets what the user should know at once.
    """

    target: Target
    state: Path
    again: bool = False
    on_acknowledged: Callable[[int, int], None] = lambda _records, _bytes: None
    tell: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic


def ingest(path: str, work: Work, summary: FileSummary) -> None:
    """Send what a file holds and was not acknowledged before; the summary grows while it is sent.

    Raises InputUnreadable, StoreError, Stopped and the refusals of the target, what was acknowledged
    remembered all the same.
    """
    journal = journal_of(path, work)
    if journal is not None:
        if work.again:
            journal.forget()
        summary.was_done, summary.lines_before = journal.done, journal.lines
        if journal.done:
            summary.done = True
            return
    summary.lines = summary.lines_before
    _Run(path, work, summary, journal).all()
    summary.done = True
    if journal is not None:
        journal.done = True
        journal.write()


def journal_of(path: str, work: Work) -> Journal | None:
    """Return the journal of a file; a stream cannot be read again and has none."""
    if path == STDIN or not Path(path).is_file():
        return None
    return Journal(work.state, Path(path), work.target.name, clock=work.clock)


class _Run:
    """One file on its way: what is under way, oldest first, and what went wrong."""

    def __init__(self, path: str, work: Work, summary: FileSummary, journal: Journal | None):
        self._path = path
        self._work = work
        self._summary = summary
        self._journal = journal
        self._pending: deque[tuple[Delivery, Future[Outcome]]] = deque()
        self._failure: BaseException | None = None

    def all(self) -> None:
        """Send everything; on any failure end what is under way and remember how far it came."""
        threads = self._work.target.in_flight
        with ThreadPoolExecutor(threads, thread_name_prefix="send") as pool:
            try:
                for delivery in self._deliveries():
                    if len(self._pending) >= threads * WAITING_FOR_EACH:
                        self._acknowledge()
                    self._pending.append((delivery, pool.submit(self._sent, delivery)))
                while self._pending:
                    self._acknowledge()
            except BaseException as failure:
                self._abandon()
                if self._failure is not None and isinstance(failure, Stopped):
                    raise self._failure from failure
                raise

    def _deliveries(self) -> Iterator[Delivery]:
        """Yield what is to be sent, noting what is not, and once whose records these are."""
        work, summary = self._work, self._summary
        told = False
        for batch in file_batches(self._path, summary.lines_before):
            if not told and (name := other_scope(batch, work.target.scope)):
                told = True
                work.tell(
                    f"{self._path}: records name {name}: what they name is not heeded,"
                    " all go where the key or the settings say"
                )
            room = PROBLEMS_MAX - len(summary.problems)
            for row in batch.rejected.slice(0, max(room, 0)).to_pylist():
                summary.problems.append(KeptBack(row["offset"], row["reason"]))
            deliveries, kept_back = work.target.deliveries(batch)
            summary.kept_back.update(each.reason for each in kept_back)
            yield from deliveries

    def _sent(self, delivery: Delivery) -> Outcome:
        """Send one delivery; one that fails for good stops the others."""
        if self._failure is not None:
            raise Stopped("stopped before all was sent")
        try:
            return delivery.send()
        except BaseException as failure:
            if not isinstance(failure, Stopped):
                self._failure = failure
            self._work.target.stop()
            raise

    def _acknowledge(self) -> None:
        """Wait for the oldest delivery, and count it. Raises what it raised."""
        delivery, future = self._pending[0]
        outcome = future.result()
        self._pending.popleft()
        summary = self._summary
        summary.sent += delivery.record_count
        summary.appended += outcome.appended
        summary.rejected.update(outcome.rejected)
        summary.lines = max(summary.lines, delivery.end_line)
        if self._journal is not None:
            self._journal.note(summary.lines)
        self._work.on_acknowledged(delivery.record_count, delivery.byte_count)

    def _abandon(self) -> None:
        """Start nothing more, wait for what is under way, and write down how far it came."""
        self._work.target.stop()
        for _, future in self._pending:
            future.cancel()
        while self._pending:
            future = self._pending[0][1]
            if future.cancelled() or future.exception() is not None:
                break
            self._acknowledge()
        if self._journal is not None:
            self._journal.write()
