"""Running charges: what a customer's open periods cost so far, and what that does to the wallets.

A function of cumulative usage: computing it again from the same usage changes nothing and tells
nothing. The billing dataflow calls it for each customer whose usage or ledger changed
(wallets-alerts.md 9 and 11).
"""

from dataclasses import dataclass
from datetime import datetime

from billing.alerts.watching import Watched, watch_balances
from billing.ports import Changes, Stores, UsageReader
from billing.wallets.balances import Claim, Ongoing, ongoing_balances
from billing.wallets.claims import claims_of
from billing.wallets.holdings import Holdings
from schemas.ids import CustomerId


@dataclass(frozen=True, slots=True)
class Running:
    """A customer at an instant: the claims, the balances of the wallets, and what changed state."""

    customer_id: CustomerId
    at: datetime
    claims: tuple[Claim, ...]
    wallets: tuple[Holdings, ...]
    balances: tuple[Ongoing, ...]
    watched: Watched


def running(stores: Stores, usage: UsageReader, customer_id: CustomerId, at: datetime) -> Running:
    """Return what a customer's usage before an instant does to its wallets; nothing is written."""
    subscriptions = stores.subscriptions_of(customer_id)
    invoices = {
        invoice.id: invoice for each in subscriptions for invoice in stores.invoices_of(each.id)
    }
    claims = claims_of(subscriptions, invoices, usage, at)
    wallets = tuple(stores.wallets_of(customer_id))
    balances = ongoing_balances(wallets, claims, at)
    judged = watch_balances(stores, wallets, balances, at)
    return Running(customer_id, at, claims, wallets, balances, judged)


def keep(stores: Stores, found: Running) -> bool:
    """Commit the changed alert states with what is told of them; return whether there were any.

    Raises VersionConflict where another writer was first: then it has told what there was to tell,
    or `running` is asked again.
    """
    if not found.watched.streams:
        return False
    stores.commit(
        Changes(
            streams=found.watched.streams,
            alerts=found.watched.alerts,
            outbox=found.watched.outbox(stores.external_id_of(found.customer_id)),
        )
    )
    return True
