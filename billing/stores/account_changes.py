"""Noting whose money changed, in the transaction that changes it, for who keeps the running claims.

A row for each customer, and not a place in a sequence: transactions may commit in another order than
they took numbers, and who reads by number would miss some.
"""

from collections.abc import Iterable
from uuid import uuid4

from billing.stores.claim_models import AccountChangeRow
from billing.stores.transactions import Transaction, Upsert
from schemas.ids import CustomerId

NOTE = Upsert(AccountChangeRow)


def note_changed(transaction: Transaction, customers: Iterable[CustomerId]) -> None:
    """Note that something of these customers changes; their accounts are locked."""
    mark = uuid4().hex
    names = sorted(set(customers))
    transaction.write(NOTE, [{"customer_id": name, "mark": mark} for name in names])
