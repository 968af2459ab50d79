"""API keys in dictionaries of one process, for tests and for runs that keep nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from billing.access import USE_NOTED_EVERY
from schemas.access import ApiKey
from schemas.errors import AlreadyExists, NotFound
from schemas.scope import Scope


class MemoryKeys:
    """The plainest key store; each step is one operation on a dictionary, so threads may share it."""

    def __init__(self) -> None:
        self._by_digest: dict[str, ApiKey] = {}
        self._digests: dict[str, str] = {}

    def key_of(self, digest: str) -> ApiKey | None:
        """Return the key with a digest, revoked and expired ones too."""
        return self._by_digest.get(digest)

    def keys(self, scope: Scope) -> Sequence[ApiKey]:
        """Return the keys of a scope, in the order in which they were made."""
        mine = (key for key in tuple(self._by_digest.values()) if key.scope == scope)
        return tuple(sorted(mine, key=lambda key: (key.created_at, key.id)))

    def add_key(self, key: ApiKey) -> None:
        """Add a key. Raises AlreadyExists if there is one with its digest or its id."""
        # A copy, so that the same object added twice is told from the one that is there.
        mine = replace(key)
        if self._by_digest.setdefault(key.digest, mine) is not mine:
            raise AlreadyExists("there is such a key", reason="unique")
        if self._digests.setdefault(key.id, key.digest) != key.digest:
            del self._by_digest[key.digest]
            raise AlreadyExists(f"there is a key {key.id}", reason="unique")

    def revoke_key(self, scope: Scope, key_id: str, at: datetime) -> ApiKey:
        """Revoke a key; doing it twice keeps the first instant. Raises NotFound."""
        key = self._by_digest.get(self._digests.get(key_id, ""))
        if key is None or key.scope != scope:
            raise NotFound(f"there is no key {key_id}")
        if key.revoked_at is None:
            key = replace(key, revoked_at=at)
            self._by_digest[key.digest] = key
        return key

    def note_use(self, key_id: str, at: datetime) -> None:
        """Remember when a key was used last, to the minute; of a key that is gone, nothing."""
        key = self._by_digest.get(self._digests.get(key_id, ""))
        if key is None:
            return
        if key.last_used_at is None or at - key.last_used_at >= USE_NOTED_EVERY:
            self._by_digest[key.digest] = replace(key, last_used_at=at)
