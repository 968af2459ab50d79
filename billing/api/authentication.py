"""Who asks, and whether it may: keys from headers, and permissions that every route declares."""

from collections.abc import Iterable
from functools import cache

from billing.access import ENTITIES, READ, WRITE, permissions_of
from schemas.access import Principal, Role
from schemas.errors import PermissionDenied, Unauthorized

# The word of routes that need no key.
OPEN = "open"

PERMISSIONS = frozenset(f"{entity}:{action}" for entity in ENTITIES for action in (READ, WRITE))

Headers = Iterable[tuple[bytes, bytes]]


def key_in(headers: Headers) -> str | None:
    """Return the key of a request; None if there is none, or if two headers name different ones.

    >>> key_in([(b"x-api-key", b"sk_1"), (b"authorization", b"Bearer sk_1")])
    'sk_1'
    >>> key_in([(b"x-api-key", b"sk_1"), (b"authorization", b"bearer sk_2")]) is None
    True
    """
    keys = set()
    for name, value in headers:
        if name == b"x-api-key":
            keys.add(value.strip())
        elif name == b"authorization":
            scheme, _, token = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                keys.add(token.strip())
    keys.discard(b"")
    return keys.pop().decode("latin-1") if len(keys) == 1 else None


def refused() -> Unauthorized:
    """Return the one refusal of every key that opens nothing, whatever the reason (api.md 1.2)."""
    return Unauthorized("no valid API key: send one as x-api-key or Authorization: Bearer")


def demand(principal: Principal, permission: str) -> None:
    """Raise PermissionDenied, naming the permission, unless one of the caller's roles gives it."""
    if permission not in _permissions(principal.roles):
        raise PermissionDenied(f"this key lacks the permission {permission}")


@cache
def _permissions(roles: tuple[Role, ...]) -> frozenset[str]:
    return permissions_of(roles)
