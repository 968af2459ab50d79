"""Planned changes: what happens to a customer's subscriptions and wallets later, as data.

A catalog file says them as REST calls with their bodies; `billing.use_cases.carrying_out` does each
when its instant has come. A line is named by its chain, whose version at that instant is meant.
"""

from dataclasses import dataclass
from datetime import datetime

from billing.subscriptions.added_lines import LineRequest
from billing.subscriptions.overrides import LineTerms
from billing.wallets.ledger import Debit, TopUp
from schemas.cancellation import CancellationRequest
from schemas.ids import SubscriptionId, SubscriptionLineId, WalletId
from schemas.subscription import ProrationBehavior


@dataclass(frozen=True, slots=True)
class Cancel:
    """A subscription is cancelled, or it is planned."""

    subscription_id: SubscriptionId
    request: CancellationRequest


@dataclass(frozen=True, slots=True)
class DropCancellation:
    """A planned cancellation is taken back."""

    subscription_id: SubscriptionId


@dataclass(frozen=True, slots=True)
class Activate:
    """A draft goes live, from another start on if one is given."""

    subscription_id: SubscriptionId
    start_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A line gets another quantity, or money terms of its own, or both."""

    subscription_id: SubscriptionId
    chain_id: SubscriptionLineId
    terms: LineTerms
    effective_from: datetime | None = None
    behavior: ProrationBehavior | None = None


@dataclass(frozen=True, slots=True)
class AddLine:
    """A subscription gets one more line."""

    subscription_id: SubscriptionId
    request: LineRequest
    behavior: ProrationBehavior | None = None


@dataclass(frozen=True, slots=True)
class EndLine:
    """A line ends."""

    subscription_id: SubscriptionId
    chain_id: SubscriptionLineId
    effective_from: datetime | None = None
    behavior: ProrationBehavior | None = None


@dataclass(frozen=True, slots=True)
class TopUpWallet:
    """Credits come into a wallet."""

    wallet_id: WalletId
    request: TopUp


@dataclass(frozen=True, slots=True)
class DebitWallet:
    """Credits are taken from a wallet by hand."""

    wallet_id: WalletId
    request: Debit


@dataclass(frozen=True, slots=True)
class TerminateWallet:
    """A wallet is closed, and what it holds is forfeited."""

    wallet_id: WalletId


Change = (
    Cancel
    | DropCancellation
    | Activate
    | ChangeLine
    | AddLine
    | EndLine
    | TopUpWallet
    | DebitWallet
    | TerminateWallet
)


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What happens, when, and the key by which doing it twice is doing it once.

    Of changes of one instant the one with the lower `number` comes first.
    """

    at: datetime
    number: int
    key: str
    change: Change


def in_order(planned: PlannedChange) -> tuple[datetime, int]:
    """Return what changes are ordered by: their instant, then as they were said."""
    return planned.at, planned.number
