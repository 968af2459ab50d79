"""Where API keys are kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from schemas.access import ApiKey
from schemas.scope import Scope


class KeyStore(Protocol):
    """Keeps API keys by the digests that they are looked up with."""

    def key_of(self, digest: str) -> ApiKey | None:
        """Return the key with a digest, revoked and expired ones too."""
        ...

    def keys(self, scope: Scope) -> Sequence[ApiKey]:
        """Return the keys of a scope, in the order in which they were made."""
        ...

    def add_key(self, key: ApiKey) -> None:
        """Add a key. Raises AlreadyExists if there is one with its digest."""
        ...

    def revoke_key(self, scope: Scope, key_id: str, at: datetime) -> ApiKey:
        """Revoke a key; doing it twice keeps the first instant. Raises NotFound."""
        ...

    def note_use(self, key_id: str, at: datetime) -> None:
        """Remember when a key was used last."""
        ...
