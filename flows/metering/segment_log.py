"""The segments of one shard of cells: which are sealed, which were published, which were replaced."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.metering.open_cells import combined, concatenated
from flows.metering.segments import Segment, read_segment, write_segment
from operators.partials import Partials, empty

SEGMENTS_MAX = 24
# So many rewrites later no recovery can go back to a segment that was replaced.
RETIRED_MAX = 3

Parts = Mapping[str, Partials]


@dataclass(frozen=True, slots=True)
class SegmentManifest:
    """The segments that make up a shard, by name.

    Those from `unpublished_from` on hold what had not been published when they were sealed. `retired`
    were replaced and are removed once no older manifest can be resumed from.
    """

    segments: tuple[Segment, ...]
    unpublished_from: int
    sequence: int
    retired: tuple[tuple[str, ...], ...]


class SegmentLog:
    """Collects what a shard takes in, and seals it into segments at each snapshot."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._segments: list[Segment] = []
        self._unpublished_from = 0
        self._sequence = 0
        self._retired: list[tuple[str, ...]] = []
        self._unsealed: list[Parts] = []
        self._unsealed_published: list[Parts] = []
        self._rewrite = False

    def take(self, parts: Parts) -> None:
        """Keep a contribution for the next segment."""
        self._unsealed.append(parts)

    def published(self) -> None:
        """Note that all that was taken so far has been published."""
        self._unpublished_from = len(self._segments)
        self._unsealed_published += self._unsealed
        self._unsealed = []

    def rewrite_next(self) -> None:
        """Let the next seal replace all segments, because they hold more than the cells do."""
        self._rewrite = True

    def seal(self, whole: Callable[[], tuple[Parts, Parts]]) -> SegmentManifest:
        """Write what was taken since the last seal, and return the manifest of everything.

        `whole` gives the settled and the pending state, for when the segments are rewritten.
        """
        self._sequence += 1
        if self._rewrite or len(self._segments) >= SEGMENTS_MAX:
            self._replace(*whole())
        else:
            if self._unsealed_published:
                self._append("published", concatenated(self._unsealed_published))
                self._unpublished_from = len(self._segments)
            self._append("open", concatenated(self._unsealed))
        self._unsealed, self._unsealed_published = [], []
        return SegmentManifest(
            tuple(self._segments),
            self._unpublished_from,
            self._sequence,
            tuple(self._retired),
        )

    def resume(self, manifest: SegmentManifest) -> tuple[dict[str, Partials], dict[str, Partials]]:
        """Take up a manifest; return the settled rows and what is to be published still."""
        self._segments = list(manifest.segments)
        self._unpublished_from = manifest.unpublished_from
        self._sequence = manifest.sequence
        self._retired = list(manifest.retired)
        parts = [read_segment(self._folder, segment) for segment in manifest.segments]
        settled = combined(parts[: manifest.unpublished_from])
        # The store has the members of what was published.
        rows = {name: Partials(each.table, empty(name).members) for name, each in settled.items()}
        return rows, combined(parts[manifest.unpublished_from :])

    def _append(self, kind: str, parts: Parts) -> None:
        """Write a segment if it has rows."""
        if any(partials.table.num_rows for partials in parts.values()):
            name = f"{self._sequence:012d}-{kind}.arrows"
            self._segments.append(write_segment(self._folder, name, parts))

    def _replace(self, settled: Parts, pending: Parts) -> None:
        """Write the whole state anew and retire the segments that held it."""
        self._retired.append(tuple(segment.name for segment in self._segments))
        self._segments = []
        self._append("whole", settled)
        self._unpublished_from = len(self._segments)
        self._append("open", pending)
        self._rewrite = False
        while len(self._retired) > RETIRED_MAX:
            for name in self._retired.pop(0):
                (self._folder / name).unlink(missing_ok=True)
