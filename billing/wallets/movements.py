"""What moved in a wallet, as it is looked at: entries with the sums around them, and purchases."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from schemas.decimals import EXACT
from schemas.ids import InvoiceId
from schemas.purchase import PurchaseStatus
from schemas.wallet import Entry, EntryType, Lot

COMPLETED = "completed"
# What a purchase is among the transactions of its wallet; a completed one is an entry.
PURCHASE_STATUSES: Mapping[PurchaseStatus, str] = {
    PurchaseStatus.PENDING: "pending",
    PurchaseStatus.COMPLETED: COMPLETED,
    PurchaseStatus.CANCELLED: "failed",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """Credits that a debit took from a lot; the lot as it is now."""

    lot: Lot
    credits: Decimal


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """An entry with the running sums around it.

    `lot` is what a credit brought, as it is now; `taken` is where a debit took its credits from, in
    the order in which it did. `invoice_id` is the invoice that paid for bought credits.
    """

    entry: Entry
    before: Decimal
    after: Decimal
    lot: Lot | None = None
    taken: tuple[Taken, ...] = ()
    invoice_id: InvoiceId | None = None


def running_before(entry: Entry, running: Decimal) -> Decimal:
    """Return the running sum before an entry, of the one after it."""
    undo = EXACT.subtract if entry.type is EntryType.CREDIT else EXACT.add
    return undo(running, entry.credits)
