"""The customers of a catalog file in the money store: what is not there yet is put there at a start.

What is there already is left as it is, so starting again with the same file changes nothing.
"""

from datetime import datetime

from billing.ports import Changes, Stores
from billing.stores.money import SqlStores
from billing.wallets.ledger import top_up
from billing.wallets.opening import WalletOpening, open_wallet
from flows.catalog import Catalog


def put_into(stores: SqlStores, catalog: Catalog, at: datetime) -> None:
    """Add the customers, subscriptions and wallets of a catalog that the stores do not know.

    All in one transaction. Credits that are to come in later than `at` are left out. Raises
    StoreError, and Refused for what the ledger refuses.
    """
    with stores.together() as held:
        customers = tuple(each for each in catalog.customers if held.customer(each.id) is None)
        agreed = tuple(
            each for each in catalog.subscriptions if held.subscription(each.id) is None
        )
        # The next pass does all that time has brought since they began.
        wake = {each.payer_id: each.start_date for each in agreed}
        if customers or agreed:
            held.commit(Changes(customers=customers, subscriptions=agreed, wake=wake))
        for opening in catalog.wallets:
            if opening.at <= at and held.holdings(opening.id) is None:
                _open(held, opening, at)


def _open(stores: Stores, opening: WalletOpening, at: datetime) -> None:
    """Open a wallet with what has come into it so far."""
    posted = open_wallet(
        opening.request,
        wallet_id=opening.id,
        customer_id=opening.customer_id,
        existing=[each.wallet for each in stores.wallets_of(opening.customer_id)],
        at=opening.at,
    )
    stores.commit(Changes(posted=(posted,), wake={opening.customer_id: opening.at}))
    for each in opening.top_ups:
        if each.at <= at:
            known = stores.holdings(opening.id)
            assert known is not None, "it was opened just now"
            stores.commit(Changes(posted=(top_up(known, each.request, each.at),)))
