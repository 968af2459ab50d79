"""Making keys: the randomness that the rules of `billing.access` do without."""

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from billing.access import configured_key, digest_of, display_of, granted_roles, is_live
from billing.ports import KeyStore
from flows.ids import new_id
from schemas.access import ApiKey, Role
from schemas.errors import ValidationFailed
from schemas.scope import Scope

PREFIX = "sk_"
BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_BYTES = 32
# The fewest digits that hold every value of 32 bytes.
KEY_DIGITS = 43

NAME_CHARACTERS_MAX = 255


def base_62(number: int, digits: int) -> str:
    """Return a number in base 62, with zeros in front up to a fixed width.

    >>> base_62(61, 3), base_62(62, 3)
    ('00z', '010')
    """
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, len(BASE_62))
        text = BASE_62[digit] + text
    assert number == 0, f"more than {digits} digits"
    return text


def random_key() -> str:
    """Return a key that nobody can guess: sk_ and 32 random bytes in base 62."""
    return PREFIX + base_62(int.from_bytes(secrets.token_bytes(KEY_BYTES)), KEY_DIGITS)


def new_key(
    *,
    name: str,
    roles: Sequence[Role],
    scope: Scope,
    created_by: str,
    at: datetime,
    expires_at: datetime | None = None,
    creator_roles: Iterable[Role] = (Role.SUPER_ADMIN,),
) -> tuple[str, ApiKey]:
    """Return a new key, to be shown this once, and its record, to be stored.

    Raises ValidationFailed for a name, roles or expiry that cannot be, and PermissionDenied for
    roles beyond those of the creator.
    """
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        raise ValidationFailed(
            f"a key needs a name of 1 to {NAME_CHARACTERS_MAX} printable characters", field="name"
        )
    if expires_at is not None and expires_at <= at:
        raise ValidationFailed("a key cannot expire before it is made", field="expires_at")
    key = random_key()
    record = ApiKey(
        id=new_id("secret", at),
        digest=digest_of(key),
        display_id=display_of(key),
        name=name,
        scope=scope,
        roles=granted_roles(roles, creator_roles),
        created_by=created_by,
        created_at=at,
        expires_at=expires_at,
    )
    return key, record


def first_key(keys: KeyStore, scope: Scope, at: datetime) -> str | None:
    """Make the super_admin key of a fresh store and return it; None where there is a live one.

    Raises StoreError.
    """
    live = (key for key in keys.keys(scope) if is_live(key, at))
    if any(Role.SUPER_ADMIN in key.roles for key in live):
        return None
    key, record = new_key(
        name="first key", roles=[Role.SUPER_ADMIN], scope=scope, created_by="tally", at=at
    )
    keys.add_key(record)
    return key


def configured_keys(value: str | None, scope: Scope, at: datetime) -> tuple[ApiKey, ...]:
    """Return the keys of the configuration, given the value of TALLY_API_KEY; empty is none."""
    return (configured_key(value, scope, at),) if value else ()
