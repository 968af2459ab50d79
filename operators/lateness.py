"""Lateness: how far a partition of the log has come in event time (metering.md 12.1).

The word `late` changes no quantity. It is a function of the log alone, so a replay says it again.
"""

import pyarrow as pa
import pyarrow.compute as pc

from operators.partials import BASE_WINDOW_MICROSECONDS

# Before the first event of a partition nothing is late.
BEGINNING = -(2**62)


def mark_late(events: pa.Table, watermark: int, lateness_microseconds: int) -> tuple[pa.Array, int]:
    """Tell which events are late, and how far the partition has come after them.

    An event is late if its base window ended at or before the watermark that the events before it
    made. Each event time counts no later than its own receipt, so that one from the year 2199
    closes nothing.

    in:  timestamp, received_at (null for a file), of one partition in log order; the greatest event
         time
         so far in microseconds, or BEGINNING
    out: one bool a row, and the greatest event time after the batch
    """
    if not events.num_rows:
        return pa.array([], pa.bool_()), watermark
    times = pc.cast(events["timestamp"], pa.int64()).combine_chunks()
    received = pc.cast(events["received_at"], pa.int64()).combine_chunks()
    bounded = pc.min_element_wise(times, received, skip_nulls=True)
    reached = pc.cumulative_max(bounded, start=watermark)
    before = pa.concat_arrays([pa.array([watermark], pa.int64()), reached[:-1]])
    ends = pc.add(
        pc.multiply(pc.divide(times, BASE_WINDOW_MICROSECONDS), BASE_WINDOW_MICROSECONDS),
        BASE_WINDOW_MICROSECONDS,
    )
    late = pc.less_equal(ends, pc.subtract(before, lateness_microseconds))
    return late, reached[-1].as_py()
