"""Where bills go: for now a collection in memory, that one command reports from.

The flow hands over to any sink; one that writes the outbox takes the place of this one later.
"""

import threading
from collections.abc import Sequence

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from billing.running import BillingRun, joined
from flows.billing.batches import CustomerBill
from schemas.errors import Refused
from schemas.ids import CustomerId


class Bills:
    """The latest bill of each customer; safe to add to from threads."""

    def __init__(self) -> None:
        self._latest: dict[CustomerId, CustomerBill] = {}
        self._lock = threading.Lock()

    def take(self, bills: Sequence[CustomerBill]) -> None:
        """Put bills in the place of those that there are."""
        with self._lock:
            self._latest |= {bill.account.customer_id: bill for bill in bills}

    def run(self) -> BillingRun:
        """Return the bills of all customers as one run.

        Raises what a customer was refused for, of several the first by name.
        """
        with self._lock:
            bills = list(self._latest.values())
        runs: list[BillingRun] = []
        for bill in sorted(bills, key=_name):
            if isinstance(bill.outcome, Refused):
                raise bill.outcome
            runs.append(bill.outcome)
        return joined(runs)


def _name(bill: CustomerBill) -> tuple[str, CustomerId]:
    return bill.account.external_id, bill.account.customer_id


class BillsSink(DynamicSink[CustomerBill]):
    """Collects bills."""

    def __init__(self, bills: Bills):
        self._bills = bills

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "BillsPartition":
        """Return the collector of one worker."""
        return BillsPartition(self._bills)


class BillsPartition(StatelessSinkPartition[CustomerBill]):
    """The collector of one worker."""

    def __init__(self, bills: Bills):
        self._bills = bills

    def write_batch(self, items: Sequence[CustomerBill]) -> None:
        """Collect bills in the order in which they come."""
        self._bills.take(items)
