"""Health: what `GET /readyz` says of each thing that a process needs (platform.md 8)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; the message says what is wrong, or is empty."""

    name: str
    ok: bool
    latency_ms: int
    message: str = ""
