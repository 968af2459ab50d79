"""The running claims of customers: kept by the billing dataflow, for whoever reads a balance.

A balance is settled credits from the ledger, less what the claims ask for. Claims are a function of
usage and of what is sold, which the dataflow computes at each flush; so a read costs the same
whatever the history (wallets-alerts.md 9).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from billing.wallets.balances import Claim
from schemas.ids import CustomerId


@dataclass(frozen=True, slots=True)
class CustomerClaims:
    """All claims of a customer, in all currencies, as they were at `computed_at`.

    `usage_until` is the instant up to which usage was in them then; claims that nothing changed since
    are as new as `ClaimStore.usage_until` says.
    """

    customer_id: CustomerId
    claims: tuple[Claim, ...]
    usage_until: datetime
    computed_at: datetime


@dataclass(frozen=True, slots=True)
class AccountChange:
    """A customer whose subscriptions, wallets, invoices or alerts changed since claims were made.

    `name` is that by which events know the customer, `mark` tells this change from the next one.
    """

    customer_id: CustomerId
    name: str
    mark: str


class ClaimStore(Protocol):
    """Keeps the running claims of each customer, and knows for whom they are out of date."""

    def put(self, rows: Sequence[CustomerClaims], seen: Sequence[AccountChange] = ()) -> None:
        """Put claims in the place of older ones, and strike the changes that are in them now.

        All in one transaction; what changed once more meanwhile is not struck, newer claims stay.
        """
        ...

    def claims_of(self, customer_id: CustomerId) -> CustomerClaims | None:
        """Return the claims of a customer, None if none were computed yet."""
        ...

    def progressed(self, shard: int, shards: int, until: datetime) -> None:
        """Take note that one of so many shards has all usage up to an instant in its claims."""
        ...

    def usage_until(self) -> datetime | None:
        """Return up to when usage is in the claims of all shards, None as long as some have none."""
        ...

    def customers(self) -> Mapping[CustomerId, str]:
        """Return everybody who has wallets or is invoiced, with the names by which events know them."""
        ...

    def changed(self) -> Sequence[AccountChange]:
        """Return the changes that are not struck yet; cheap where there are none."""
        ...
