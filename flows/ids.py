"""New ids for things that no fact makes: a prefix and a ULID (api.md 1.8)."""

import secrets
from datetime import UTC, datetime, timedelta

# Crockford's base 32: digits and capitals without I, L, O and U.
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_CHARACTERS = 26
CHANCE_BITS = 80
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(prefix: str, at: datetime) -> str:
    """Return an id that nobody else has; ids of later milliseconds sort behind earlier ones.

    >>> from datetime import timezone
    >>> new_id("secret", datetime(2026, 1, 1, tzinfo=timezone.utc))[:17]
    'secret_01KDVDNA00'
    """
    return f"{prefix}_{ulid(at, secrets.randbits(CHANCE_BITS))}"


def ulid(at: datetime, chance: int) -> str:
    """Return the ULID of an instant and 80 bits of chance: 48 bits of milliseconds come first.

    >>> ulid(EPOCH, 0), ulid(EPOCH + timedelta(milliseconds=1), 31)
    ('00000000000000000000000000', '0000000001000000000000000Z')
    """
    milliseconds = (at - EPOCH) // timedelta(milliseconds=1)
    assert 0 <= milliseconds < 1 << 48, f"{at} has no ULID"
    number = milliseconds << CHANCE_BITS | chance
    return "".join(
        CROCKFORD[number >> 5 * place & 31] for place in reversed(range(ULID_CHARACTERS))
    )
