"""Reading invoices, their payments and the last number of a series."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from billing.invoices.numbers import Series
from billing.stores.invoice_models import InvoiceRow, PaymentRow, SeriesRow
from billing.stores.scoped import here
from billing.stores.scoped_reading import ScopedReader
from schemas.ids import CustomerId, InvoiceId, PaymentId, SubscriptionId
from schemas.invoice import Invoice
from schemas.payment import InvoicePayment

INVOICES = select(InvoiceRow.record).where(here(InvoiceRow))
INVOICE = INVOICES.where(InvoiceRow.id == bindparam("id"))
BY_DATE = INVOICES.order_by(InvoiceRow.dated_at, InvoiceRow.id)
OF_SUBSCRIPTION = BY_DATE.where(InvoiceRow.subscription_id == bindparam("subscription_id"))
FOR_CUSTOMER = BY_DATE.where(InvoiceRow.customer_id == bindparam("customer_id"))
PAYMENTS = select(PaymentRow.record).where(here(PaymentRow))
PAYMENT = PAYMENTS.where(PaymentRow.id == bindparam("id"))
PAYMENT_OF = PAYMENTS.where(PaymentRow.idempotency_key == bindparam("key"))
PAYMENTS_OF = PAYMENTS.where(PaymentRow.invoice_id == bindparam("invoice_id")).order_by(
    PaymentRow.created_at, PaymentRow.id
)
LAST_NUMBER = (
    select(SeriesRow.last)
    .where(here(SeriesRow))
    .where(
        SeriesRow.prefix == bindparam("prefix"),
        SeriesRow.date_part == bindparam("date_part"),
    )
)


class InvoiceReader(ScopedReader):
    """Reads invoices and what was paid of them."""

    def invoice(self, invoice_id: InvoiceId) -> Invoice | None:
        """Return an invoice by its id."""
        with self._reading() as transaction:
            return transaction.one(INVOICE, id=invoice_id)

    def invoices_of(self, subscription_id: SubscriptionId) -> Sequence[Invoice]:
        """Return a subscription's invoices, in the order of their dates, then of their ids."""
        with self._reading() as transaction:
            return transaction.all(OF_SUBSCRIPTION, subscription_id=subscription_id)

    def invoices_for(self, customer_id: CustomerId) -> Sequence[Invoice]:
        """Return all invoices to a customer, in that order."""
        with self._reading() as transaction:
            return transaction.all(FOR_CUSTOMER, customer_id=customer_id)

    def payments_of(self, invoice_id: InvoiceId) -> Sequence[InvoicePayment]:
        """Return the payments of an invoice in the order in which they were made, then of their ids."""
        with self._reading() as transaction:
            return transaction.all(PAYMENTS_OF, invoice_id=invoice_id)

    def payment(self, payment_id: PaymentId) -> InvoicePayment | None:
        """Return a payment by its id."""
        with self._reading() as transaction:
            return transaction.one(PAYMENT, id=payment_id)

    def payment_of(self, idempotency_key: str) -> InvoicePayment | None:
        """Return the payment that a key stands for."""
        with self._reading() as transaction:
            return transaction.one(PAYMENT_OF, key=idempotency_key)

    def last_number(self, series: Series) -> int | None:
        """Return the last sequence of a series, None before the first.

        Inside `deciding` nobody else takes a number of the series until the end, the first neither.
        """
        with self._reading() as transaction:
            if self._transaction is not None:
                transaction.lock("series", series.prefix, series.date_part)
            return transaction.one(LAST_NUMBER, prefix=series.prefix, date_part=series.date_part)
