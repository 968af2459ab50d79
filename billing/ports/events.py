"""The door that events come in by."""

from typing import Protocol

from schemas.intake import IntakeReceipt, IntakeRequest


class EventDoor(Protocol):
    """Takes events in: judged as a batch, durable in the log, only then answered (metering.md 2.4)."""

    def take(self, request: IntakeRequest) -> IntakeReceipt:
        """Return what became of a request whose valid events are in the log.

        Raises ValidationFailed, with `details`, where nothing was appended, and StoreError where the
        log did not take the events: they may or may not be there, and must be sent again.
        """
        ...
