"""What a message says, and who gets it (wallets-alerts.md 13)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from schemas.api.values import wire_time
from schemas.decimals import plain
from schemas.webhook import ONLY_BY_NAME, OutboxMessage, WebhookEndpoint

API_VERSION = "v1"


def wants(endpoint: WebhookEndpoint, event: str) -> bool:
    """Tell whether an endpoint gets the messages of a name.

    One that names nothing gets all but the frequent ones, which must be named.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> every = WebhookEndpoint("we_1", "https://example.com", at, at)
    >>> wants(every, "wallet.created"), wants(every, "wallet.ongoing_balance.updated")
    (True, False)
    """
    if not endpoint.is_open:
        return False
    if endpoint.event_types:
        return event in endpoint.event_types
    return event not in ONLY_BY_NAME


def message_body(message: OutboxMessage, environment_id: str) -> bytes:
    """Return the JSON of a message: its envelope, and its objects beside that at the top level.

    It is a function of the row, so that every retry sends the same bytes. Decimals are texts.
    """
    envelope = {
        "id": message.id,
        "type": message.event,
        "event_type": message.event,
        "created_at": wire_time(message.at),
        "api_version": API_VERSION,
        "environment_id": environment_id,
        "customer_id": message.customer_id,
        "sequence": message.sequence,
    }
    return msgspec.json.encode(
        envelope
        | {name: shown(value) for name, value in message.body.items() if name not in envelope}
    )


def payload_of(message: OutboxMessage) -> bytes:
    """Return the JSON of a record of a topic."""
    return msgspec.json.encode(shown(message.payload))


def shown(value: object) -> object:
    """Return a value as JSON has it: decimals and instants as texts, whatever store they came from.

    >>> shown({"balance": Decimal("1.50"), "lots": (Decimal(2),)})
    {'balance': '1.5', 'lots': ['2']}
    """
    match value:
        case Decimal():
            return plain(value)
        case datetime():
            return wire_time(value)
        case Mapping():
            return {name: shown(each) for name, each in value.items()}
        case str() | bytes():
            return value
        case Sequence():
            return [shown(each) for each in value]
        case _:
            return value
