"""Writing `Changes` in a transaction: each step compares and sets, and refuses what was outrun.

Whatever a step raises, the transaction is undone as a whole by whoever opened it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import insert

from billing.ports import Changes, FirstAnswer, OutboxRow
from billing.stores.account_changes import note_changed
from billing.stores.invoice_writing import (
    delete_payments,
    write_invoices,
    write_numbers,
    write_payments,
)
from billing.stores.ledger_writing import write_ledger
from billing.stores.money_models import (
    AlertRow,
    AlertStreamRow,
    CustomerRow,
    FirstAnswerRow,
    GrantApplicationRow,
    OutboxMessageRow,
    PurchaseRow,
    RedemptionRow,
    ScheduleRow,
    SubscriptionRow,
)
from billing.stores.scoped import table_of
from billing.stores.transactions import Transaction, Upsert, next_version
from schemas.alert import Alert, AlertStream
from schemas.credit_grant import OPEN, GrantApplication
from schemas.customer import Customer
from schemas.errors import AlreadyExists, VersionConflict
from schemas.ids import CustomerId
from schemas.purchase import Purchase
from schemas.subscription import Subscription

SET_CUSTOMERS = Upsert(
    CustomerRow,
    sets={
        **{name: f"excluded.{name}" for name in ("lookup_key", "name", "parent_id", "record")},
        # A writer of the whole object who has read it before is refused.
        "version": "customers.version + 1",
    },
)
# A record has no instants of its own; the API adds customers as stored objects, with theirs.
UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
SET_SUBSCRIPTIONS = next_version(SubscriptionRow)
SET_PURCHASES = next_version(PurchaseRow)
SET_STREAMS = next_version(AlertStreamRow)
REDEEM = Upsert(RedemptionRow, replaces=False)
UNDECIDED = ", ".join(f"'{status.value}'" for status in sorted(OPEN))
SET_APPLICATIONS = Upsert(
    GrantApplicationRow, where=f"credit_grant_applications.status IN ({UNDECIDED})"
)
TELL_ALERTS = insert(table_of(AlertRow))
TELL = insert(table_of(OutboxMessageRow))
REMEMBER = insert(table_of(FirstAnswerRow))
WAKE = Upsert(ScheduleRow, where="excluded.due_at < account_schedule.due_at")


def customers_of(changes: Changes) -> Iterator[CustomerId]:
    """Yield the customers whose accounts a commit changes."""
    yield from (each.id for each in changes.customers)
    for subscription in changes.subscriptions:
        yield subscription.customer_id
        yield subscription.payer_id
    yield from (each.holdings.wallet.customer_id for each in changes.posted)
    yield from (each.customer_id for each in changes.invoices)
    yield from (each.customer_id for each in changes.purchases)
    yield from (CustomerId(each.customer_id) for each in changes.streams)
    # The order of a customer's rows is that of their commits.
    yield from (row.customer_id for row in changes.outbox if row.customer_id is not None)


def write_changes(transaction: Transaction, changes: Changes) -> None:
    """Write everything; raises as `billing.ports.Stores.commit` has it."""
    transaction.lock_accounts(customers_of(changes))
    note_changed(transaction, customers_of(changes))
    _write_customers(transaction, changes.customers)
    _write_subscriptions(transaction, changes.subscriptions)
    write_ledger(transaction, changes.posted)
    write_invoices(transaction, changes.invoices)
    write_numbers(transaction, changes.numbers)
    write_payments(transaction, changes.payments)
    delete_payments(transaction, changes.deleted_payments)
    _write_purchases(transaction, changes.purchases)
    transaction.write(
        REDEEM,
        [
            {"coupon_id": each.coupon_id, "redeemed_by": each.redeemed_by, "redeemed_at": each.at}
            for each in changes.redemptions
        ],
    )
    _write_streams(transaction, changes.streams)
    _write_alerts(transaction, changes.alerts)
    _write_applications(transaction, changes.applications)
    _write_outbox(transaction, changes.outbox)
    _write_answers(transaction, changes.answers)
    _wake(transaction, changes.wake)


def tell(transaction: Transaction, rows: Sequence[OutboxRow]) -> None:
    """Write what is told of facts that the same transaction writes by itself."""
    told = Changes(outbox=tuple(rows))
    transaction.lock_accounts(customers_of(told))
    note_changed(transaction, customers_of(told))
    _write_outbox(transaction, rows)


def _write_customers(transaction: Transaction, customers: Sequence[Customer]) -> None:
    """Write customers as they are now."""
    transaction.write(
        SET_CUSTOMERS,
        [
            {
                "id": each.id,
                "lookup_key": each.external_id,
                "name": each.name,
                "parent_id": each.parent_customer_id,
                "status": "published",
                "created_at": UNKNOWN,
                "updated_at": UNKNOWN,
                "created_by": "",
                "updated_by": "",
                "version": 1,
                "record": each,
            }
            for each in customers
        ],
        taken=AlreadyExists("another customer has this external id", reason="unique"),
    )


def _write_subscriptions(transaction: Transaction, subscriptions: Sequence[Subscription]) -> None:
    """Write subscriptions that are one version behind."""
    transaction.advance(
        SET_SUBSCRIPTIONS,
        [
            {
                "id": each.id,
                "customer_id": each.customer_id,
                "payer_id": each.payer_id,
                "status": each.status,
                "lookup_key": each.lookup_key,
                "version": each.version,
                "record": each,
            }
            for each in subscriptions
        ],
        "a subscription",
    )


def _write_purchases(transaction: Transaction, purchases: Sequence[Purchase]) -> None:
    """Write purchases that are one version behind."""
    transaction.advance(
        SET_PURCHASES,
        [
            {
                "id": each.id,
                "wallet_id": each.wallet_id,
                "customer_id": each.customer_id,
                "invoice_id": each.invoice_id,
                "status": each.status,
                "created_at": each.created_at,
                "idempotency_key": each.idempotency_key,
                "version": each.version,
                "record": each,
            }
            for each in purchases
        ],
        "a purchase",
        taken=VersionConflict("the key of a purchase was used meanwhile: read again and repeat"),
    )


def _write_streams(transaction: Transaction, streams: Sequence[AlertStream]) -> None:
    """Write alert streams that are one version behind."""
    transaction.advance(
        SET_STREAMS,
        [
            {
                "id": each.id,
                "customer_id": each.customer_id,
                "entity_type": each.entity_type,
                "entity_id": each.entity_id,
                "version": each.version,
                "record": each,
            }
            for each in streams
        ],
        "an alert stream",
    )


def _write_alerts(transaction: Transaction, alerts: Sequence[Alert]) -> None:
    """Add alerts, each version of a stream once."""
    transaction.write(
        TELL_ALERTS,
        [
            {
                "stream_id": each.stream_id,
                "version": each.version,
                "customer_id": each.customer_id,
                "entity_type": each.entity_type,
                "entity_id": each.entity_id,
                "alert_type": each.alert_type,
                "status": each.status,
                "at": each.at,
                "record": each,
            }
            for each in alerts
        ],
        taken=VersionConflict("an alert was told meanwhile"),
    )


def _write_applications(transaction: Transaction, rows: Sequence[GrantApplication]) -> None:
    """Write applications that are open, or not there."""
    transaction.advance(
        SET_APPLICATIONS,
        [
            {
                "id": each.id,
                "grant_id": each.grant_id,
                "subscription_id": each.subscription_id,
                "period_start": each.period_start,
                "status": each.status,
                "record": each,
            }
            for each in rows
        ],
        "an application of a grant",
        taken=VersionConflict("a period of a grant has an application already"),
    )


def _write_answers(transaction: Transaction, answers: Sequence[FirstAnswer]) -> None:
    """Keep what requests were answered, once for each key."""
    transaction.write(
        REMEMBER,
        [
            {"kind": each.kind, "key": each.key, "body": each.body, "answered_at": each.at}
            for each in answers
        ],
        taken=VersionConflict("an idempotency key was used meanwhile: read again and repeat"),
    )


def _write_outbox(transaction: Transaction, rows: Sequence[OutboxRow]) -> None:
    """Add what is told, in its order."""
    transaction.write(
        TELL,
        [
            {
                "id": row.id,
                "topic": row.topic,
                "event": row.event,
                "key": row.key,
                "customer_id": row.customer_id,
                "at": row.at,
                "payload": row.payload,
                "body": row.body,
            }
            for row in rows
        ],
        taken=VersionConflict("a row of the outbox was told already"),
    )


def _wake(transaction: Transaction, wake: Mapping[CustomerId, datetime]) -> None:
    """Let customers be looked at by an instant, if they are not sooner."""
    transaction.write(
        WAKE, [{"customer_id": name, "due_at": at} for name, at in sorted(wake.items())]
    )
