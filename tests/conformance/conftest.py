"""What a run of the vectors prints at its end: how many of each op ran, and what did not."""

from collections import Counter

import pytest

# Filled by the runner while it collects: file → op → ids that are not run.
NOT_YET = pytest.StashKey[dict[str, dict[str, list[str]]]]()

OUTCOMES = ("passed", "failed", "skipped")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter[str]] = {}
    later: dict[str, list[str]] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(getattr(report, "user_properties", []))
            if "vectors" in told:
                later.setdefault(told["vectors"], []).append(str(told["ids"]))
            elif "op" in told and report.when == "call":
                counts.setdefault(str(told["op"]), Counter())[outcome] += 1
    if not counts and not later:
        return
    terminalreporter.section("vectors")
    for op, count in sorted(counts.items()):
        told = ", ".join(f"{count[outcome]} {outcome}" for outcome in OUTCOMES if count[outcome])
        terminalreporter.line(f"{op:40} {told}")
    for name, ids in sorted(later.items()):
        terminalreporter.line(f"{name:40} not yet: {' '.join(ids)}")
