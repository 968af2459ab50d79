"""Who may do what: roles, the permissions that they give, and keys that are recognised by digest.

A permission is `entity:action`; what no role gives is denied (platform.md 3). A key is never kept:
it is looked up by its SHA-256, which is enough because a key is 32 random bytes (platform.md 2).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from billing.ports import KeyStore
from schemas.access import ApiKey, Principal, Role
from schemas.errors import (
    AlreadyExists,
    InvalidOperation,
    PermissionDenied,
    StoreError,
    ValidationFailed,
)
from schemas.scope import Scope

READ = "read"
WRITE = "write"

BUSINESS_ENTITIES = (
    "event", "meter", "feature", "plan", "price", "entitlement", "addon", "coupon", "tax",
    "customer", "subscription", "invoice", "credit_note", "wallet", "credit_grant", "payment",
    "alert", "webhook", "group", "cost_sheet", "integration", "export", "job",
)  # fmt: skip
# Who runs the house: settings, keys, users, and the places that everything belongs to.
HOUSE_ENTITIES = ("setting", "secret", "user", "environment", "tenant")
ENTITIES = BUSINESS_ENTITIES + HOUSE_ENTITIES


def _every(entities: Sequence[str], *actions: str) -> frozenset[str]:
    return frozenset(f"{entity}:{action}" for entity in entities for action in actions)


PERMISSIONS: dict[Role, frozenset[str]] = {
    Role.SUPER_ADMIN: _every(ENTITIES, READ, WRITE),
    Role.ALL_WRITER: _every(BUSINESS_ENTITIES, READ, WRITE),
    Role.ALL_READER: _every(BUSINESS_ENTITIES, READ),
    Role.EVENT_INGESTOR: frozenset({"event:write"}),
    Role.EVENT_READER: frozenset({"event:read"}),
}

# A key that was revoked elsewhere opens nothing here after this long (platform.md 2).
REMEMBERED_MAX = timedelta(seconds=5)
# The last use of a key is written at most so often (platform.md 2).
USE_NOTED_EVERY = timedelta(minutes=1)
# Keys that open nothing are remembered too, but whoever tries many must not fill the memory.
STRANGERS_MAX = 1024

CONFIGURED_KEY_ID = "secret_configured"
# A shorter key is one that somebody thought up: seven of its characters would give it away.
SHOWN_LENGTH_MIN = 16


def permissions_of(roles: Iterable[Role]) -> frozenset[str]:
    """Return all that a holder of these roles may do: the union, so no role takes anything away.

    >>> sorted(permissions_of([Role.EVENT_INGESTOR, Role.EVENT_READER]))
    ['event:read', 'event:write']
    >>> permissions_of([])
    frozenset()
    """
    return frozenset().union(*(PERMISSIONS[role] for role in roles))


def granted_roles(asked: Sequence[Role], creator: Iterable[Role]) -> tuple[Role, ...]:
    """Return the roles of a new key, each once in their own order, if its creator may give them.

    Raises ValidationFailed for no role, or for super_admin beside another, and PermissionDenied
    for more than the creator may do itself.

    >>> granted_roles([Role.EVENT_READER, Role.EVENT_READER], [Role.ALL_READER])
    (<Role.EVENT_READER: 'event_reader'>,)
    >>> granted_roles([Role.EVENT_INGESTOR], [Role.ALL_READER])
    Traceback (most recent call last):
    ...
    schemas.errors.PermissionDenied: a key cannot have more than its creator: event:write
    """
    roles = tuple(role for role in Role if role in asked)
    if not roles:
        raise ValidationFailed("a key needs at least one role", field="roles")
    if Role.SUPER_ADMIN in roles and len(roles) > 1:
        raise ValidationFailed("super_admin stands alone: it has every permission", field="roles")
    beyond = permissions_of(roles) - permissions_of(creator)
    if beyond:
        raise PermissionDenied(f"a key cannot have more than its creator: {min(beyond)}")
    return roles


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal digits, which is all that is kept of it.

    >>> digest_of("sk_1")[:8]
    '92493e6f'
    """
    # Bytes that are no UTF-8 come in as lone surrogates: such a key is unknown, and no failure.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def display_of(key: str) -> str:
    """Return what is shown of a key: its first 5 characters and its last 2.

    >>> display_of("sk_0123456789abcdef")
    'sk_01***ef'
    >>> display_of("a-secret")
    '***'
    """
    return f"{key[:5]}***{key[-2:]}" if len(key) >= SHOWN_LENGTH_MIN else "***"


def is_live(key: ApiKey, at: datetime) -> bool:
    """Tell whether a key opens anything at an instant; at the one of its end it does not."""
    return (key.expires_at is None or at < key.expires_at) and (
        key.revoked_at is None or at < key.revoked_at
    )


def configured_key(key: str, scope: Scope, at: datetime) -> ApiKey:
    """Return the key of the configuration (TALLY_API_KEY), which is super_admin of its scope."""
    return ApiKey(
        id=CONFIGURED_KEY_ID,
        digest=digest_of(key),
        display_id=display_of(key),
        name="configuration",
        scope=scope,
        roles=(Role.SUPER_ADMIN,),
        created_by="configuration",
        created_at=at,
    )


class WithConfigured:
    """A key store with the keys of the configuration in front: they are listed, and not editable."""

    def __init__(self, keys: KeyStore, configured: Sequence[ApiKey]) -> None:
        self._keys = keys
        self._configured = {key.digest: key for key in configured}
        self._ids = {key.id for key in configured}

    def key_of(self, digest: str) -> ApiKey | None:
        """Return the key with a digest; the configuration wins, and asks no store."""
        return self._configured.get(digest) or self._keys.key_of(digest)

    def keys(self, scope: Scope) -> Sequence[ApiKey]:
        """Return the keys of a scope, those of the configuration first."""
        mine = (key for key in self._configured.values() if key.scope == scope)
        return (*mine, *self._keys.keys(scope))

    def add_key(self, key: ApiKey) -> None:
        """Add a key to the store. Raises AlreadyExists."""
        if key.digest in self._configured:
            raise AlreadyExists("this key is in the configuration already", reason="unique")
        self._keys.add_key(key)

    def revoke_key(self, scope: Scope, key_id: str, at: datetime) -> ApiKey:
        """Revoke a key of the store. Raises InvalidOperation for one of the configuration."""
        if key_id in self._ids:
            raise InvalidOperation(
                "this key comes from the configuration: change TALLY_API_KEY and start again",
                reason="illegal_transition",
            )
        return self._keys.revoke_key(scope, key_id, at)

    def note_use(self, key_id: str, at: datetime) -> None:
        """Remember a use of a key of the store; one of the configuration is not kept track of."""
        if key_id not in self._ids:
            self._keys.note_use(key_id, at)


def _at_once(task: Callable[[], None]) -> None:
    task()


class Authenticator:
    """Recognises callers by their keys; any number of threads may ask at the same time.

    What the store said is remembered for 5 s at most, so that a key that is revoked elsewhere stops
    by then; its expiry is looked at each time. `background` runs what no request waits for.
    """

    # No lock: each step on a dictionary is atomic, and two threads that both read the store
    # remember the same answer.

    def __init__(
        self,
        keys: KeyStore,
        clock: Callable[[], datetime],
        configured: Sequence[ApiKey] = (),
        *,
        background: Callable[[Callable[[], None]], object] = _at_once,
    ) -> None:
        self._keys = WithConfigured(keys, configured)
        self._clock = clock
        self._background = background
        self._known: dict[str, tuple[ApiKey, datetime]] = {}
        self._strangers: dict[str, datetime] = {}
        self._noted: dict[str, datetime] = {}

    def authenticate(self, key: str) -> Principal | None:
        """Return who has a key: None alike for one that is unknown, expired or revoked.

        Raises StoreError if the store must be asked and does not answer.
        """
        at = self._clock()
        found = self._find(digest_of(key), at)
        if found is None or not is_live(found, at):
            return None
        self._note(found.id, at)
        return Principal(found.id, found.scope, found.roles)

    def remembered(self, key: str) -> Principal | None:
        """Return who has a key if that is known in memory; None says nothing. Never waits."""
        at = self._clock()
        known = self._known.get(digest_of(key))
        if known is None or not _is_fresh(known[1], at) or not is_live(known[0], at):
            return None
        self._note(known[0].id, at)
        return Principal(known[0].id, known[0].scope, known[0].roles)

    def forget(self) -> None:
        """Ask the store again for every key: this process has just changed one."""
        self._known.clear()
        self._strangers.clear()

    def _find(self, digest: str, at: datetime) -> ApiKey | None:
        """Return the key with a digest, as the store has it or had it a moment ago."""
        known = self._known.get(digest)
        if known is not None and _is_fresh(known[1], at):
            return known[0]
        tried = self._strangers.get(digest)
        if tried is not None and _is_fresh(tried, at):
            return None
        found = self._keys.key_of(digest)
        if found is not None:
            self._known[digest] = found, at
            return found
        self._known.pop(digest, None)
        if len(self._strangers) >= STRANGERS_MAX:
            self._strangers.clear()
        self._strangers[digest] = at
        return None

    def _note(self, key_id: str, at: datetime) -> None:
        """Have the use of a key written, unless that was done within the last minute."""
        before = self._noted.get(key_id)
        if before is not None and at - before < USE_NOTED_EVERY:
            return
        self._noted[key_id] = at
        self._background(lambda: self._write_use(key_id, at))

    def _write_use(self, key_id: str, at: datetime) -> None:
        """Write the use of a key; a store that fails here costs a date, and never a request."""
        try:
            self._keys.note_use(key_id, at)
        except StoreError:
            # The next request of this key after a minute tries again.
            return


def _is_fresh(asked_at: datetime, at: datetime) -> bool:
    """Tell whether an answer of the store still holds; a clock that went back makes it old."""
    return timedelta(0) <= at - asked_at < REMEMBERED_MAX
