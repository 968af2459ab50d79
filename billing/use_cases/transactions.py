"""Transactions: what several parts of one decision write, put together, and tried again if refused.

What a draft rests on is read before the transaction and looked at again inside it. If it has moved,
the whole is done again from what is there now, a bounded number of times.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from billing.ports import Changes, Stores
from billing.wallets.claims import customer_unfinalized_end
from billing.wallets.holdings import Holdings
from billing.wallets.lots import expired
from schemas.errors import VersionConflict
from schemas.ids import CustomerId, InvoiceId

Result = TypeVar("Result")

# So often a decision is taken again after another writer was first.
ATTEMPTS_MAX = 3


def retried(decide: Callable[[], Result]) -> Result:
    """Return what a decision comes to, taken again from the beginning after a VersionConflict.

    The last conflict is raised. `decide` reads everything anew each time.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return decide()
        except VersionConflict:
            # Somebody was first: what they wrote is read now.
            continue
    return decide()


def merged(*parts: Changes) -> Changes:
    """Return the changes of several parts of a decision as one; of two wakes the earlier counts.

    >>> merged(Changes(), Changes()) == Changes()
    True
    """
    found: dict[str, Any] = {}
    for each in fields(Changes):
        values = [getattr(part, each.name) for part in parts]
        if each.name == "wake":
            found[each.name] = _earliest(values)
        else:
            found[each.name] = tuple(row for value in values for row in value)
    return Changes(**found)


def _earliest(
    wakes: Iterable[Mapping[CustomerId, datetime]],
) -> dict[CustomerId, datetime]:
    """Return when each customer is to be looked at, the earliest of what was asked."""
    found: dict[CustomerId, datetime] = {}
    for wake in wakes:
        for name, at in wake.items():
            found[name] = min(at, found.get(name, at))
    return found


def unfinalized_end(
    held: Stores,
    wallets: Iterable[Holdings],
    customer_id: CustomerId,
    currency: str,
    at: datetime,
    *,
    leaving_out: InvoiceId | None = None,
) -> datetime | None:
    """Return the earliest end of an ended period that is not finalized, as a ledger write needs it.

    It only matters where a lot has expired and is not written off, so else nothing is read.
    """
    if not any(expired(lot, at) for each in wallets for lot in each.lots):
        return None
    return customer_unfinalized_end(held, customer_id, currency, at, leaving_out=leaving_out)
