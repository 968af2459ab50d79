"""The signature of a message, after Standard Webhooks (wallets-alerts.md 13)."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from schemas.webhook import WebhookSecret

PREFIX = "whsec_"
SECRET_BYTES = 32


def secret_of(random_bytes: bytes) -> str:
    """Return the secret that these random bytes make.

    >>> secret_of(bytes(32))
    'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
    """
    assert len(random_bytes) == SECRET_BYTES, len(random_bytes)
    return PREFIX + base64.b64encode(random_bytes).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature by one secret: `v1,` and the HMAC-SHA256 of id, timestamp and body.

    >>> signature(secret_of(bytes(32)), "msg_1", 1767225600, b"{}")
    'v1,a4H3AxrCEOcqsZANsKIJZxUJ0TqkxUMn2LFsDhZS9Is='
    """
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def signing_headers(
    secrets: Sequence[WebhookSecret], message_id: str, at: datetime, body: bytes
) -> dict[str, str]:
    """Return the headers of an attempt at an instant, with a signature by each secret that is valid.

    The id is the same on every retry; the timestamp is that of the attempt, in whole seconds.
    """
    timestamp = int(at.timestamp())
    valid = [each for each in secrets if each.expires_at is None or at < each.expires_at]
    signatures = (signature(each.value, message_id, timestamp, body) for each in valid)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
