"""A program that appends to a log until it is killed, and says what was acknowledged.

Called with the file, a name for this life and the number of threads. Each line on stdout is the id of a
batch whose append has returned; a batch of n records has the id name-thread-n and values id/place.
"""

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from flows.log.embedded import EmbeddedLog, open_log
from flows.log.event_log import APPENDED

RECEIVED = datetime(2026, 3, 1, tzinfo=UTC)
RECORDS_MAX = 40


def keep_appending(log: EmbeddedLog, name: str) -> None:
    """Append batches of all sizes; each is told in one write, which is whole or not there."""
    number = 0
    while True:
        batch = f"{name}-{number}"
        count = number % RECORDS_MAX + 1
        values = [f"{batch}/{place}/{'x' * 100}".encode() for place in range(count)]
        log.append(pa.table([values, values, [RECEIVED] * count], schema=APPENDED))
        os.write(sys.stdout.fileno(), f"{batch}\n".encode())
        number += 1


if __name__ == "__main__":
    path, life, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    opened = open_log(path)
    for line in opened.damage:
        sys.exit(line)
    for thread in range(1, threads):
        threading.Thread(target=keep_appending, args=(opened, f"{life}-{thread}")).start()
    keep_appending(opened, f"{life}-0")
