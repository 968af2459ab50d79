"""What goes from files to a target: deliveries that can be made again, and what is kept back."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from flows.client.lines import FileBatch
from schemas.scope import Scope


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target made of a delivery: how many records it appended, and rejected by reason."""

    appended: int
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records of one file on their way; `send` may be called again if it fails.

    When this and all deliveries before it were acknowledged, so were all lines before `end_line`.
    `byte_count` is what the lines have in the file.
    """

    end_line: int
    record_count: int
    byte_count: int
    send: Callable[[], Outcome]


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A malformed record that the target would misread, so that it is reported here and not sent."""

    line: int
    reason: str


class Target(Protocol):
    """Where records go, `in_flight` deliveries at a time; `name` tells targets apart."""

    name: str
    in_flight: int

    @property
    def scope(self) -> Scope | None:
        """Whose records it takes, None if it does not know."""
        ...

    def deliveries(self, batch: FileBatch) -> tuple[Sequence[Delivery], Sequence[KeptBack]]:
        """Return what is to be sent of a batch, in the order of the file, and what is not."""
        ...

    def stop(self) -> None:
        """Give up what fails: a delivery under way ends soon."""
        ...


def other_scope(batch: FileBatch, own: Scope | None) -> str | None:
    """Return a tenant and environment that some record names, if they are not those of the target.

    Of a target that does not tell its own, any name counts.
    """
    for column, known in (
        ("tenant_id", own and own.tenant_id),
        ("environment_id", own and own.environment_id),
    ):
        for name in pc.unique(batch.events[column]).to_pylist():
            if name and name != known:
                return str(name)
    return None


def in_file_order(events: pa.Array, rejected: pa.Array, order: pa.Array) -> pa.Array:
    """Return the values of events and of malformed records as one column, in the order of the file."""
    return pa.concat_arrays([events, rejected]).take(order)


def line_order(batch: FileBatch, rejected: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the lines of events and malformed records together, sorted, and where each stood."""
    lines = pa.concat_arrays(
        [batch.events["offset"].combine_chunks(), rejected["offset"].combine_chunks()]
    )
    order = pc.sort_indices(lines)
    return lines.take(order), order
