"""Events a second of `tally meter`, beside two ways to do less of its work on the same file.

`make bench`, or tests/benchmarks/bench_meter.py [--count 1000000]. All are whole programs, timed
from start to end, the median of three runs taken in turn. What each does:

- tally: one meter, one total a customer; decodes exactly, deduplicates, keeps minutes that answer
  any later question, and state from which it could resume;
- tally, 12 meters: the same for all of tests/generator/catalog.yaml, groups and weighted sums too;
- bytewax: the tuned idiomatic flow of idiomatic_flow.py, the same one total a customer;
- duckdb: one query over the file, the same total; neither is exact or deduplicates.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GENERATOR = HERE.parent / "generator"
CATALOG = GENERATOR / "catalog.yaml"
RUNS = 3

ONE_METER = """
meters:
  - {name: tokens, event_name: llm.completion, aggregation: {type: SUM, field: tokens}}
"""

QUERY = """
import duckdb, sys
duckdb.sql(f'''
    COPY (
        SELECT external_customer_id, count(*), sum((properties->>'tokens')::BIGINT)
        FROM read_ndjson('{sys.argv[1]}', columns={{
            event_name: 'VARCHAR', external_customer_id: 'VARCHAR', properties: 'JSON'
        }})
        WHERE event_name = 'llm.completion' GROUP BY ALL
    ) TO '{sys.argv[2]}'
''')
"""


def seconds(command: list[str], output: Path) -> float:
    """Return how long a program takes from start to end. Raises CalledProcessError if it fails."""
    with output.open("wb") as written:
        began = time.perf_counter()
        subprocess.run(command, stdout=written, stderr=subprocess.PIPE, check=True)
        return time.perf_counter() - began


def commands(events: Path, folder: Path) -> dict[str, list[str]]:
    """Return what is run for each contender."""
    one = folder / "catalog.yaml"
    one.write_text(ONE_METER)
    tally = [str(Path(sys.executable).parent / "tally"), "meter"]
    shown = [str(events), "--format", "json"]
    flow = f"{HERE / 'idiomatic_flow.py'}:flow('{events}', '{folder / 'answer.txt'}')"
    return {
        "tally": [*tally, str(one), *shown],
        "tally, 12 meters": [*tally, str(CATALOG), *shown],
        "bytewax": [sys.executable, "-m", "bytewax.run", flow],
        "duckdb": [sys.executable, "-c", QUERY, str(events), str(folder / "answer.csv")],
    }


def main() -> None:
    """Make the file, run the contenders in turn, print rates and their ratios to tally's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = folder / "events.ndjson"
        make = [sys.executable, str(GENERATOR / "make_events.py"), "--plain"]
        subprocess.run([*make, "--count", str(count), "--out", str(events)], check=True)
        lines = count + count // 100 + count // 2000
        size = events.stat().st_size
        print(f"{lines:,} records of {size // lines} bytes, medians of {RUNS} runs", flush=True)
        rates: dict[str, list[float]] = {}
        for _ in range(RUNS):
            for contender, command in commands(events, folder).items():
                taken = seconds(command, folder / "output.txt")
                rates.setdefault(contender, []).append(lines / taken)
    medians = {contender: statistics.median(found) for contender, found in rates.items()}
    for contender, rate in medians.items():
        ratio = medians["tally"] / rate
        print(f"{contender:16} {rate:12,.0f} events/s   tally is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
