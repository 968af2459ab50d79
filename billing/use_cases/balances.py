"""The ongoing balance for readers: settled credits from the ledger, claims as the dataflow keeps them.

A read costs the same whatever the history, and needs no usage (wallets-alerts.md 9).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.ports import WalletStore
from billing.ports.claims import ClaimStore
from billing.wallets.balances import Ongoing, ongoing_balances
from schemas.ids import CustomerId

# Claims that are older than this are said to be a fallback: an event should be in within seconds.
FRESH_WITHIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class BalanceReading:
    """The balances of a customer's wallets, in the order of their ids.

    All usage before `updated_at` is in them; None where no claims were ever worked out, and then
    nothing is asked of the wallets. `is_fallback` says that the claims are older than they should be.
    """

    balances: tuple[Ongoing, ...]
    updated_at: datetime | None
    is_fallback: bool


def balance_of(
    stores: WalletStore, claims: ClaimStore, customer_id: CustomerId, at: datetime
) -> BalanceReading:
    """Return the balances of a customer at an instant, closed wallets too. Raises StoreError.

    The claims are read first: credits that an invoice takes while this reads are then asked for
    twice for a moment, and never not at all.
    """
    until, row = claims.usage_until(), claims.claims_of(customer_id)
    balances = ongoing_balances(stores.wallets_of(customer_id), row.claims if row else (), at)
    known = [each for each in (until, row.usage_until if row else None) if each is not None]
    updated_at = max(known, default=None)
    behind = updated_at is None or at - updated_at > FRESH_WITHIN
    return BalanceReading(balances, updated_at, behind)
