"""Billing what was metered: the real dataflow on stored usage, for one command."""

from datetime import datetime
from functools import partial

from bytewax.testing import run_main

from billing.accounts import accounts_of
from billing.running import BillingRun
from flows.answering import DAY, Metered, whole_days
from flows.billing.charging import ChargeSettings
from flows.billing.flow import billing_flow
from flows.billing.results import Bills, BillsSink
from flows.billing.source import UsageSource, published
from flows.catalog import Catalog


def bill_metered(catalog: Catalog, metered: Metered, as_of: datetime) -> BillingRun:
    """Bill the customers of a catalog for what was metered, by an instant.

    Balances are watched at the end of each day that has events, beside every write of the ledger.
    There is no recovery: all is in a store that the next run reads again. Raises Refused where the
    ledger refuses what the catalog plans.
    """
    names = {customer.id: customer.external_id for customer in catalog.customers}
    accounts = accounts_of(catalog.agreed, catalog.wallets, names, catalog.changes)
    bills = Bills()
    flow = billing_flow(
        UsageSource(partial(published, metered, catalog.meters)),
        accounts,
        ChargeSettings(lambda: as_of, day_ends(metered)),
        edges=lambda meter, interval, _: metered.edges(meter, interval),
        bills=BillsSink(bills),
    )
    run_main(flow)
    return bills.run()


def day_ends(metered: Metered) -> tuple[datetime, ...]:
    """Return the end of each UTC day from that of the first event to that of the last."""
    days = whole_days(metered.first_event_at, metered.last_event_at)
    if days is None:
        return ()
    count = (days.end - days.start).days
    return tuple(days.start + DAY * (number + 1) for number in range(count))
