"""Finding the invoice of a line, by the id of the line alone."""

from sqlalchemy import bindparam, select

from billing.stores.invoice_models import InvoiceLineRow
from billing.stores.scoped import here
from billing.stores.scoped_reading import ScopedReader
from schemas.ids import InvoiceId, InvoiceLineId

INVOICE_OF = (
    select(InvoiceLineRow.invoice_id)
    .where(here(InvoiceLineRow))
    .where(InvoiceLineRow.id == bindparam("id"))
    .limit(1)
)


class SqlLines(ScopedReader):
    """Knows which invoice a line is on."""

    def invoice_of(self, line_id: InvoiceLineId) -> InvoiceId | None:
        """Return the invoice of a line, None where there is no such line. Raises StoreError."""
        with self._reading() as transaction:
            found = transaction.one(INVOICE_OF, id=line_id)
        return None if found is None else InvoiceId(found)
