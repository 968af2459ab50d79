"""Running claims in SQL: a row for each customer, which the next flush replaces."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, select, union

from billing.ports.claims import AccountChange, CustomerClaims
from billing.stores.claim_models import AccountChangeRow, ClaimProgressRow, ClaimsRow
from billing.stores.database import Database
from billing.stores.ledger_models import WalletRow
from billing.stores.money_models import CustomerRow, SubscriptionRow
from billing.stores.scoped import here, table_of
from billing.stores.transactions import Transaction, Upsert
from schemas.ids import CustomerId
from schemas.scope import Scope

PUT = Upsert(ClaimsRow, where="excluded.computed_at >= running_claims.computed_at")
STRIKE = (
    delete(table_of(AccountChangeRow))
    .where(here(AccountChangeRow))
    .where(
        AccountChangeRow.customer_id == bindparam("name"),
        AccountChangeRow.mark == bindparam("seen"),
    )
)
ONE = (
    select(ClaimsRow.claims, ClaimsRow.usage_until, ClaimsRow.computed_at)
    .where(here(ClaimsRow))
    .where(ClaimsRow.customer_id == bindparam("name"))
)
PROGRESS = Upsert(ClaimProgressRow)
OTHER_SHARDS = (
    delete(table_of(ClaimProgressRow))
    .where(here(ClaimProgressRow))
    .where(ClaimProgressRow.shards != bindparam("count"))
)
SHARDS = select(ClaimProgressRow.shards, ClaimProgressRow.usage_until).where(here(ClaimProgressRow))
OF_CUSTOMER = and_(
    CustomerRow.tenant_id == bindparam("tenant_id"),
    CustomerRow.environment_id == bindparam("environment_id"),
)
WITH_MONEY = union(
    select(SubscriptionRow.payer_id.label("customer_id")).where(here(SubscriptionRow)),
    select(WalletRow.customer_id.label("customer_id")).where(here(WalletRow)),
).subquery()
EVERYBODY = select(WITH_MONEY.c.customer_id, CustomerRow.lookup_key.label("external_id")).outerjoin(
    CustomerRow, and_(OF_CUSTOMER, CustomerRow.id == WITH_MONEY.c.customer_id)
)
CHANGED = (
    select(
        AccountChangeRow.customer_id,
        AccountChangeRow.mark,
        CustomerRow.lookup_key.label("external_id"),
    )
    .outerjoin(CustomerRow, and_(OF_CUSTOMER, CustomerRow.id == AccountChangeRow.customer_id))
    .where(here(AccountChangeRow))
    .order_by(AccountChangeRow.customer_id)
)


class SqlClaims:
    """The running claims of one scope; threads share it. Every method may raise StoreError."""

    def __init__(self, database: Database, scope: Scope) -> None:
        self._database = database
        self._scope = scope

    def put(self, rows: Sequence[CustomerClaims], seen: Sequence[AccountChange] = ()) -> None:
        """Put claims in the place of older ones, and strike the changes that are in them now."""
        # In one order, so that two writers never wait for each other in a circle.
        ordered = sorted(rows, key=lambda row: row.customer_id)
        struck = sorted((each.customer_id, each.mark) for each in seen)
        with self._database.writing() as session:
            transaction = Transaction(session.connection(), self._scope)
            transaction.write(
                PUT,
                [
                    {
                        "customer_id": row.customer_id,
                        "claims": row.claims,
                        "usage_until": row.usage_until,
                        "computed_at": row.computed_at,
                    }
                    for row in ordered
                ],
            )
            transaction.write(STRIKE, [{"name": name, "seen": mark} for name, mark in struck])

    def claims_of(self, customer_id: CustomerId) -> CustomerClaims | None:
        """Return the claims of a customer, None if none were computed yet."""
        with self._database.reading() as session:
            found = Transaction(session.connection(), self._scope).rows(ONE, name=customer_id)
        if not found:
            return None
        return CustomerClaims(
            customer_id, found[0].claims, found[0].usage_until, found[0].computed_at
        )

    def progressed(self, shard: int, shards: int, until: datetime) -> None:
        """Take note that one of so many shards has all usage up to an instant in its claims."""
        with self._database.writing() as session:
            transaction = Transaction(session.connection(), self._scope)
            transaction.write(PROGRESS, [{"shard": shard, "shards": shards, "usage_until": until}])
            transaction.write(OTHER_SHARDS, [{"count": shards}])

    def usage_until(self) -> datetime | None:
        """Return up to when usage is in the claims of all shards, None as long as some have none."""
        with self._database.reading() as session:
            found = Transaction(session.connection(), self._scope).rows(SHARDS)
        complete = found and len(found) == found[0].shards
        return min(row.usage_until for row in found) if complete else None

    def customers(self) -> Mapping[CustomerId, str]:
        """Return everybody who has wallets or is invoiced, with the names by which events know them."""
        with self._database.reading() as session:
            found = Transaction(session.connection(), self._scope).rows(EVERYBODY)
        return {CustomerId(row.customer_id): row.external_id or row.customer_id for row in found}

    def changed(self) -> Sequence[AccountChange]:
        """Return the changes that are not struck yet."""
        with self._database.reading() as session:
            found = Transaction(session.connection(), self._scope).rows(CHANGED)
        return tuple(
            AccountChange(CustomerId(row.customer_id), row.external_id or row.customer_id, row.mark)
            for row in found
        )
