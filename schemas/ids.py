"""Ids: names with a readable prefix, derived from facts where a fact makes the thing.

What is derived from facts gets a derived id, so doing it twice is doing it once (billing.md 15.6):
a second writer arrives at the same id and finds the thing already there.
"""

import base64
import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import NewType

from schemas.decimals import plain

CustomerId = NewType("CustomerId", str)
FeatureId = NewType("FeatureId", str)
PlanId = NewType("PlanId", str)
EntitlementId = NewType("EntitlementId", str)
SubscriptionId = NewType("SubscriptionId", str)
SubscriptionLineId = NewType("SubscriptionLineId", str)
WalletId = NewType("WalletId", str)
EntryId = NewType("EntryId", str)
LotId = NewType("LotId", str)
InvoiceId = NewType("InvoiceId", str)
InvoiceLineId = NewType("InvoiceLineId", str)
PaymentId = NewType("PaymentId", str)
AlertStreamId = NewType("AlertStreamId", str)
OutboxId = NewType("OutboxId", str)

Fact = str | int | Decimal | datetime | None


def _text(fact: Fact) -> str:
    """Write a fact with its kind, so that facts of two kinds never look the same."""
    match fact:
        case None:
            return "n"
        case bool():
            return f"b{int(fact)}"
        case int():
            return f"i{fact}"
        case Decimal():
            return f"d{plain(fact)}"
        case datetime():
            return f"t{fact.astimezone(UTC).isoformat(timespec='microseconds')}"
        case _:
            return f"s{fact}"


def derived(prefix: str, *facts: Fact) -> str:
    """Return the id that these facts give: a prefix and 26 characters of their SHA-256.

    Decimals count by value and instants as instants, so 10 and 10.00 give one id. Each fact is
    hashed with its length, so that no two lists of facts run together.

    >>> derived("inv", "sub_1", Decimal("10")) == derived("inv", "sub_1", Decimal("10.00"))
    True
    >>> derived("inv", "a", "bc") == derived("inv", "ab", "c")
    False
    """
    texts = [_text(fact).encode() for fact in facts]
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(text), text) for text in texts)).digest()
    # 20 bytes are 32 characters without padding; more of them would be spelled out for nothing.
    return f"{prefix}_{base64.b32encode(digest[:20])[:26].decode().lower()}"
