"""Finding what a request names: its subject, and what its body refers to (api.md 1.10)."""

from billing.ports.objects import ObjectStore, Record
from schemas.errors import NotFound, ValidationFailed
from schemas.stored import Stored


def subject(store: ObjectStore[Record], object_id: str, word: str) -> Stored[Record]:
    """Return the live object that a request is about. Raises NotFound."""
    found = store.get(object_id)
    if found is None or not found.is_live:
        raise NotFound(f"there is no {word} {object_id}")
    return found


def referred(store: ObjectStore[Record], object_id: str, field: str) -> Stored[Record]:
    """Return the live object that a member of a body names. Raises ValidationFailed naming it."""
    found = store.get(object_id)
    if found is None or not found.is_live:
        raise ValidationFailed(f"{field} {object_id!r} names nothing", field=field)
    return found
