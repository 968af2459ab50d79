"""What billing needs from outside, as small protocols; `billing/stores/memory.py` is the plainest store."""

from billing.ports.catalog import CatalogReader
from billing.ports.events import EventDoor
from billing.ports.keys import KeyStore
from billing.ports.money import (
    AlertStore,
    AnswerStore,
    Changes,
    FirstAnswer,
    InvoiceStore,
    OutboxRow,
    Redemption,
    Schedule,
    Stores,
    SubscriptionStore,
    TakenRows,
    WalletStore,
)
from billing.ports.usage import LateUsage, UsageAnswers, UsageBucket, UsageQuantity, UsageReader

__all__ = [
    "AlertStore",
    "AnswerStore",
    "CatalogReader",
    "Changes",
    "EventDoor",
    "FirstAnswer",
    "InvoiceStore",
    "KeyStore",
    "LateUsage",
    "OutboxRow",
    "Redemption",
    "Schedule",
    "Stores",
    "SubscriptionStore",
    "TakenRows",
    "UsageAnswers",
    "UsageBucket",
    "UsageQuantity",
    "UsageReader",
    "WalletStore",
]
