"""Write generated events as NDJSON: `tests/generator/make_events.py --count N --out FILE`."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from generated_events import values
from written_records import MALFORMED_SHARE, records

PIECE = 500_000


def pieces(count: int, seed: int, *, plain: bool = False) -> Iterator[pa.Table]:
    """Yield the values of a file, a piece at a time: a long one need not fit in memory."""
    for first in range(0, count, PIECE):
        size = min(PIECE, count - first)
        yield values(size, seed, door="file", plain=plain, first=first, total=count)


def write(path: Path, count: int, seed: int, *, plain: bool = False) -> None:
    """Write the records of `count` events, copies and malformed ones among them, a line each.

    Plain files hold what ordinary clients send, and nothing malformed.
    """
    malformed = 0 if plain else MALFORMED_SHARE
    with path.open("wb") as file:
        for number, drawn in enumerate(pieces(count, seed, plain=plain)):
            written = records(drawn, seed + number, door="file", malformed_share=malformed)
            lines = written["value"].to_pylist()
            file.write(b"\n".join(lines) + b"\n")


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=str(__doc__))
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="what ordinary clients send")
    given = parser.parse_args()
    write(given.out, given.count, given.seed, plain=given.plain)


if __name__ == "__main__":
    main()
