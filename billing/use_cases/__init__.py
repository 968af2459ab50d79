"""Use cases: load, decide by pure rules, commit in one transaction; no clock, and no I/O but the ports."""
