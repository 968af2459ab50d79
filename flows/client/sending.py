"""Records of files sent to an instance: NDJSON requests in the form of the API, malformed lines as they are.

In NDJSON each line stands for itself, so a malformed one harms no neighbour, and the instance keeps its
bytes and its reason as a dead letter. That holds for lines that the instance misreads in the same way:
the others (a record whose fields only a file may have, a row of CSV over several lines) are kept back.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flows.client.deliveries import Delivery, KeptBack, Outcome, in_file_order, line_order
from flows.client.instance import Instance
from flows.client.lines import FileBatch
from flows.client.patience import Patience
from flows.connectors.file_source import LINE_BYTES_MAX
from operators.exact import Form, decode_form
from operators.records import record_values
from operators.windows import EPOCH
from schemas.errors import StoreError
from schemas.event import REJECTED
from schemas.verdict import Rejection

PATH = "/v1/events/bulk"
PARTIAL = {"partial": "true"}
NDJSON = "application/x-ndjson"
CLOUD_EVENTS = "application/cloudevents-batch+json"
# A server takes 32 MiB (metering.md 2.2); a request of a thousand events is mostly far smaller.
REQUEST_BYTES_MAX = 8 * 1024 * 1024
VALUE_BYTES_MAX = 32 * 1024 * 1024 - 1024

_NAMELESS = b',"tenant_id":"","environment_id":""'
_REJECTED = "rejected:"


class HttpTarget:
    """An instance that takes events over HTTP, several requests of up to `events_max` at a time."""

    def __init__(
        self,
        instance: Instance,
        patience: Patience,
        *,
        name: str,
        events_max: int = 1000,
        in_flight: int = 4,
    ):
        self.name = name
        # Only the instance knows whose events a key sends.
        self.scope = None
        self.in_flight = in_flight
        self._instance = instance
        self._patience = patience
        self._events_max = events_max

    def stop(self) -> None:
        """Give up what fails: a delivery under way ends soon."""
        self._patience.stop()

    def deliveries(self, batch: FileBatch) -> tuple[Sequence[Delivery], Sequence[KeptBack]]:
        """Return the requests of a batch, in the order of the file, and what no request may hold."""
        forms, kept_back = sendable(batch.rejected)
        return [
            *self._broken_cloud_events(batch, _of_form(batch.rejected, forms, Form.CLOUD_EVENT)),
            *self._lines(batch, _of_form(batch.rejected, forms, Form.BODY), kept_back),
        ], kept_back

    def _lines(
        self, batch: FileBatch, rejected: pa.Table, kept_back: list[KeptBack]
    ) -> Iterator[Delivery]:
        """Yield requests of events, with the malformed lines between them."""
        lines, order = line_order(batch, rejected)
        bodies = in_file_order(api_bodies(batch.events), rejected["value"].combine_chunks(), order)
        large = pc.greater(pc.binary_length(bodies), VALUE_BYTES_MAX)
        if large.true_count:
            kept_back += [
                KeptBack(line, Rejection.EVENT_TOO_LARGE.value)
                for line in lines.filter(large).to_pylist()
            ]
            lines, bodies = lines.filter(pc.invert(large)), bodies.filter(pc.invert(large))
        offsets, content = with_line_feeds(bodies)
        numbers = lines.to_numpy()
        begin = batch.first_line
        for start, end in cuts(offsets, self._events_max, REQUEST_BYTES_MAX):
            last = end == len(numbers)
            end_line = batch.end_line if last else int(numbers[end - 1]) + 1
            body = content[int(offsets[start]) : int(offsets[end])].to_pybytes()
            yield Delivery(
                end_line,
                end - start,
                batch.bytes_between(begin, end_line),
                partial(self._send, body, NDJSON),
            )
            begin = end_line

    def _broken_cloud_events(self, batch: FileBatch, rejected: pa.Table) -> Iterator[Delivery]:
        """Yield requests of malformed CloudEvents, which NDJSON would have read as something else."""
        values = rejected["value"].to_pylist()
        sizes = np.cumsum([0, *(len(value) + 1 for value in values)])
        for start, end in cuts(sizes, self._events_max, REQUEST_BYTES_MAX):
            body = b"[" + b",".join(values[start:end]) + b"]"
            yield Delivery(
                batch.first_line, end - start, 0, partial(self._send, body, CLOUD_EVENTS)
            )

    def _send(self, body: bytes, content_type: str) -> Outcome:
        """Send a request until it is answered."""
        response = self._patience.insist(
            lambda: self._instance.post(PATH, body, content_type, PARTIAL)
        )
        try:
            appended = int(response.headers["x-tally-appended"])
            rejected = int(response.headers["x-tally-rejected"])
            reasons = reasons_of(response.content) if rejected else Counter()
        except (KeyError, ValueError, AttributeError) as cause:
            raise StoreError(
                f"{self._instance.url} does not answer as a tally does: was it sent to the right URL?"
            ) from cause
        return Outcome(appended, reasons)


def api_bodies(events: pa.Table) -> pa.Array:
    """Return events as bodies of the API, each on one line.

    in:  EVENTS
    out: large_binary, in the order of the events
    """
    for name in ("tenant_id", "environment_id"):
        nameless = pa.repeat(pa.scalar(""), events.num_rows)
        events = events.set_column(events.schema.get_field_index(name), name, nameless)
    # The first place where this stands is that of the members: in a text its quotes are escaped.
    bodies = pc.replace_substring(record_values(events), _NAMELESS, b"", max_replacements=1)
    if pc.any(pc.match_substring(bodies, b"\n")).as_py():
        # In a JSON text a line feed stands between tokens only, where a space says the same.
        bodies = pc.replace_substring(bodies, b"\n", b" ")
    return bodies


def sendable(rejected: pa.Table) -> tuple[list[Form | None], list[KeptBack]]:
    """Tell as which form a request must hold each malformed record, so that it is refused alike.

    None, and kept back, are those that no form refuses for the same reason: they might be taken.

    in:  REJECTED
    """
    forms: list[Form | None] = []
    kept_back: list[KeptBack] = []
    # Malformed records are few, or the sender has other worries than our speed.
    for row in rejected.select(["offset", "value", "reason"]).to_pylist():
        form = _form_of(row["value"], row["reason"])
        forms.append(form)
        if form is None:
            kept_back.append(KeptBack(row["offset"], row["reason"]))
    return forms, kept_back


def _form_of(value: bytes, reason: str) -> Form | None:
    """Return the form of a request in which a value is refused for a reason."""
    if b"\n" in value or not value.strip(b" \t\r") or len(value) > VALUE_BYTES_MAX:
        return None
    for form in (Form.BODY, Form.CLOUD_EVENT):
        found = decode_form(value, form, received_at=EPOCH, event_bytes_max=LINE_BYTES_MAX)
        if found == reason:
            return form
    return None


def _of_form(rejected: pa.Table, forms: Sequence[Form | None], form: Form) -> pa.Table:
    """Return the malformed records that go as one form."""
    chosen = [row for row, found in enumerate(forms) if found is form]
    return rejected.take(pa.array(chosen, pa.int64())).combine_chunks() if chosen else _NONE


_NONE = REJECTED.empty_table().combine_chunks()


def with_line_feeds(values: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Buffer]:
    """Return all values after each other, each with a line feed, and where each begins and the last ends.

    in:  large_binary
    """
    empty, feed = (pa.scalar(text, pa.large_binary()) for text in (b"", b"\n"))
    fed = pc.binary_join_element_wise(values, empty, feed)
    _, offsets, content = fed.buffers()
    if content is None:
        return np.zeros(1, np.int64), pa.py_buffer(b"")
    places = np.frombuffer(offsets, np.int64)[fed.offset : fed.offset + len(fed) + 1]
    return places, content


def cuts(
    offsets: npt.NDArray[np.int64], count_max: int, bytes_max: int
) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that keep within both bounds; a row that is larger alone is alone.

    >>> list(cuts(np.array([0, 4, 8, 30, 31]), 2, 10))
    [(0, 2), (2, 3), (3, 4)]
    """
    start, count = 0, len(offsets) - 1
    while start < count:
        fits = int(np.searchsorted(offsets, offsets[start] + bytes_max, side="right")) - 1
        end = max(start + 1, min(start + count_max, fits))
        yield start, end
        start = end


def reasons_of(answer: bytes) -> Counter[str]:
    """Count the rejections in the answer to a partial request by their reasons.

    >>> reasons_of(b'{"message": "", "0": "accepted:e", "1": "rejected:not_an_object"}')
    Counter({'not_an_object': 1})
    """
    said = json.loads(answer).values()
    return Counter(text.removeprefix(_REJECTED) for text in said if str(text).startswith(_REJECTED))
