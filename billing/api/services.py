"""What the application is given: doors, readers, a clock, and where it reports to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from billing.api.environment import Environment
from billing.ports import CatalogReader, EventDoor, UsageAnswers
from schemas.access import Principal
from schemas.errors import StoreError
from schemas.health import Check
from schemas.scope import Scope

BODY_BYTES_MAX = 32 * 1024 * 1024


class Log(Protocol):
    """Writes structured lines; a bound logger of structlog is one."""

    def info(self, event: str, /, **fields: object) -> object:
        """Write what happened."""
        ...

    def error(self, event: str, /, **fields: object) -> object:
        """Write what must be mended; `exc_info` is the exception."""
        ...


def nobody(_: str) -> Principal | None:
    """Remember no key at all, so that `authenticate` is asked every time."""
    return None


def nowhere(_: Scope) -> Environment:
    """Refuse to open an environment where there is no store of money."""
    raise StoreError("there is no SQL store")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the application works with; all of it may be called from several threads.

    `authenticate` knows who has a key, None for nobody; it may wait for a store. `remembered` is
    asked first: it answers at once from memory, None where it does not know. `environment` opens
    what is kept of one. `exposition` gives the metrics with their content type. `on_request` is told
    of every request: method, route template, status, seconds; it is called on the event loop and
    must be quick. `intake_partial` takes the valid events of every bulk request, also without
    `?partial=true`.
    """

    door: EventDoor
    answers: UsageAnswers
    catalog: CatalogReader
    authenticate: Callable[[str], Principal | None]
    clock: Callable[[], datetime]
    readiness: Callable[[], Sequence[Check]]
    exposition: Callable[[], tuple[bytes, str]]
    on_request: Callable[[str, str, int, float], None]
    log: Log
    remembered: Callable[[str], Principal | None] = nobody
    environment: Callable[[Scope], Environment] = nowhere
    intake_partial: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
