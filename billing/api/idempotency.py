"""Which key makes a request known again: that of the body, or of the header (platform.md 6)."""

from billing.api.routing import Call
from schemas.errors import ValidationFailed

CHARACTERS_MAX = 255
FIELD = "idempotency_key"

# What an answer says that was given before.
REPLAYED = {"idempotency-replayed": "true"}


def key_of(call: Call, named: str | None) -> str | None:
    """Return the key of a request, None for one without.

    Raises ValidationFailed for a key in the body that is another than the one in the header, and
    for one of more than 255 characters.
    """
    header = call.idempotency_key or None
    if named and header and named != header:
        raise ValidationFailed("body and header name different keys: give one", field=FIELD)
    key = named or header
    if key is not None and len(key) > CHARACTERS_MAX:
        raise ValidationFailed(f"has more than {CHARACTERS_MAX} characters", field=FIELD)
    return key
