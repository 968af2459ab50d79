"""What a run of the vectors prints at its end: how many of each op ran, and what did not."""

from collections import Counter

import pytest

OUTCOMES = ("passed", "failed", "skipped")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the runner has told of each test, passed, failed or skipped."""
    counts: dict[str, Counter[str]] = {}
    later: dict[str, list[str]] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(getattr(report, "user_properties", []))
            if "later" in told:
                later[told["later"]] = told["ids"]
            elif "op" in told and report.when == "call":
                counts.setdefault(told["op"], Counter())[outcome] += 1
    if not counts and not later:
        return
    terminalreporter.section("vectors")
    for op, count in sorted(counts.items()):
        line = ", ".join(f"{count[outcome]} {outcome}" for outcome in OUTCOMES if count[outcome])
        terminalreporter.line(f"{op:40} {line}")
    for name, ids in sorted(later.items()):
        terminalreporter.line(f"not run: {name}: {len(ids)}")
        if name.endswith("milestone 2"):
            terminalreporter.line(f"    {' '.join(ids)}")
