"""How many ids a second the identity index takes, and at how many bytes an id.

Run by hand: python tests/benchmarks/bench_identity.py [ids] [ids a seal]. One in a hundred ids is a
copy of an earlier one. A seal stands for an epoch.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from flows.identity.index import IdentityIndex

BATCH = 50_000


def main() -> None:
    """Feed the index and print what it took."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    each_seal = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    source = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        index = IdentityIndex.open(Path(folder))
        lookups, seals, slowest, firsts = 0.0, 0.0, 0.0, 0
        earlier = source.integers(0, 2**64, (2, BATCH), np.uint64)
        for start in range(0, total, BATCH):
            ids = source.integers(0, 2**64, (2, BATCH), np.uint64)
            ids[:, ::100] = earlier[:, ::100]
            positions = np.arange(start, start + BATCH)
            began = time.perf_counter()
            found = index.first_copies(ids[0], ids[1], positions, ids[0])
            lookups += time.perf_counter() - began
            firsts += int(np.count_nonzero(found.positions == positions))
            if source.random() < 0.1:
                earlier = ids
            if (start + BATCH) % each_seal == 0:
                began = time.perf_counter()
                manifest = index.seal()
                took = time.perf_counter() - began
                seals, slowest = seals + took, max(slowest, took)
        index.settle()
        manifest = index.seal()
        on_disk = sum((Path(folder) / name).stat().st_size for name, _ in manifest.segments)
        known = sum(rows for _, rows in manifest.segments)
        began = time.perf_counter()
        IdentityIndex.open(Path(folder), manifest).close()
        reopened = time.perf_counter() - began
        print(f"{total} rows, {firsts} first copies, {len(manifest.segments)} files")
        print(f"look up and insert {total / lookups:,.0f} ids/s")
        print(f"with seals {total / (lookups + seals):,.0f} ids/s")
        print(f"a seal {seals / max(1, total // each_seal):.3f} s, the slowest {slowest:.3f} s")
        print(
            f"on disk {on_disk / known:.1f} B/id; in memory {index.resident_bytes / known:.1f} B/id"
        )
        print(f"reopened in {reopened:.2f} s")
        index.close()


if __name__ == "__main__":
    main()
