"""Running charges: what a customer's open periods cost so far, and what that does to the wallets.

A function of cumulative usage: computing it again from the same usage changes nothing and tells
nothing. The billing dataflow calls it for each customer whose usage or ledger changed
(wallets-alerts.md 9 and 11).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from billing.alerts.watching import Watched, watch_balances
from billing.ports import Changes, Stores, UsageReader
from billing.wallets.balances import Claim, Ongoing, ongoing_balances
from billing.wallets.claim_facts import ClaimFacts
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
    invoices = {invoice.id: invoice for invoice in stores.invoices_for(customer_id)}
    wallets = tuple(stores.wallets_of(customer_id))
    tax_base = stores.config().tax_base
    claims = claims_of(subscriptions, invoices, usage, at, wallets=wallets, tax_base=tax_base)
    balances = ongoing_balances(wallets, claims, at)
    judged = watch_balances(stores, wallets, balances, at, default=stores.config().wallet_alerts)
    return Running(customer_id, at, claims, wallets, balances, judged)


def running_of(facts: ClaimFacts, usage: UsageReader, at: datetime) -> Running:
    """Return the same from facts that were read before, at a cost that no history has a part in."""
    claims = claims_of(
        facts.subscriptions,
        facts.invoices,
        usage,
        at,
        closed=facts.closed,
        wallets=facts.wallets,
        tax_base=facts.tax_base,
    )
    balances = ongoing_balances(facts.wallets, claims, at)
    judged = watch_balances(facts, facts.wallets, balances, at, default=facts.wallet_alerts)
    return Running(facts.customer_id, at, claims, facts.wallets, balances, judged)


def keep(stores: Stores, found: Running) -> bool:
    """Commit the changed alert states with what is told of them; return whether there were any.

    Raises VersionConflict where another writer was first: then it has told what there was to tell,
    or `running` is asked again.
    """
    return keep_all(stores, [found])


def keep_all(stores: Stores, found: Iterable[Running]) -> bool:
    """Commit what changed for several customers in one transaction; return whether there was any.

    Raises VersionConflict as `keep` does, and then none of it is committed.
    """
    changed = [each for each in found if each.watched.streams]
    if not changed:
        return False
    stores.commit(
        Changes(
            streams=tuple(stream for each in changed for stream in each.watched.streams),
            alerts=tuple(alert for each in changed for alert in each.watched.alerts),
            outbox=tuple(
                row
                for each in changed
                for row in each.watched.outbox(stores.external_id_of(each.customer_id))
            ),
        )
    )
    return True
