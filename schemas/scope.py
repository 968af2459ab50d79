"""The scope of every read and write: one tenant and one of its environments (platform.md 1)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """The tenant and environment that a read is for; nothing is ever read across two of them."""

    tenant_id: str
    environment_id: str
