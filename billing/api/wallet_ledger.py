"""What moved in wallets over HTTP: pages of ledger entries and pending purchases (api.md 4.16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.api.customers import customer_answer
from billing.api.listing import Listing, expanded, page_of, query_for, said, unknown
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.wallet_answers import showing, transaction_answer, wallet_answer
from billing.api.wire import Answer
from billing.wallets.movements import LedgerLine
from schemas.api.answers.wallets import ListWalletTransactionsResponse, WalletTransactionResponse
from schemas.api.requests.wallets import WalletTransactionFilter
from schemas.errors import NotFound
from schemas.ids import WalletId
from schemas.object_query import Condition, Operator
from schemas.purchase import Purchase


@dataclass(frozen=True, slots=True)
class TransactionFields:
    """What wallet transactions are asked by, beside what every record has."""

    wallet_id: str
    customer_id: str
    type: str
    transaction_status: str
    transaction_reason: str
    reference_type: str
    reference_id: str
    idempotency_key: str
    description: str
    credit_amount: Decimal
    credits_available: Decimal
    priority: int
    expiry_date: datetime


WALLET, CUSTOMER = "wallet", "customer"
# Who made an entry is not shown yet, but may be asked for.
EXPANDS = frozenset({WALLET, CUSTOMER, "created_by_user"})
TRANSACTIONS = Listing(
    TransactionFields, {name: name for name in TransactionFields.__slots__}, EXPANDS
)
SORTS = frozenset({"created_at", "updated_at", "id"})


def list_transactions(call: Call) -> Answer:
    """List what moved in a wallet, the newest first."""
    wallet_id = WalletId(call.parameters["id"])
    asked = read(WalletTransactionFilter, query_of(call.query, lists=["expand"]))
    if call.environment.stores.holdings(wallet_id) is None:
        raise NotFound(f"there is no wallet {wallet_id}")
    return _page(call, asked, wallet_id)


def search_transactions(call: Call) -> Answer:
    """Show a page of what moved in all wallets."""
    return _page(call, read(WalletTransactionFilter, call.json))


def _page(call: Call, asked: WalletTransactionFilter, wallet_id: WalletId | None = None) -> Answer:
    expands = expanded(asked.expand, EXPANDS)
    query = query_for(asked, TRANSACTIONS, _conditions(asked))
    for sort in query.sort:
        if sort.field not in SORTS:
            raise unknown("sort", str(sort.field), SORTS)
    kept, at = call.environment, call.services.clock()
    rows, total = kept.reader.transactions_where(query, at, wallet_id)
    wallets = kept.reader.wallets_by_id([_wallet_id(row) for row in rows])
    owners = {held.wallet.customer_id for held in wallets.values()}
    customers = kept.objects.customers.those(owners if CUSTOMER in expands else ())
    how = showing(kept, call.scope, at, wallets.values() if WALLET in expands else ())

    def show(row: LedgerLine | Purchase) -> WalletTransactionResponse:
        held = wallets[_wallet_id(row)]
        customer = customers.get(held.wallet.customer_id)
        return transaction_answer(
            row,
            held,
            how,
            wallet=wallet_answer(held, how) if WALLET in expands else None,
            customer=None if customer is None else customer_answer(customer, call.scope),
        )

    return page_of(rows, total, asked, show)


def _wallet_id(row: LedgerLine | Purchase) -> WalletId:
    return row.wallet_id if isinstance(row, Purchase) else row.entry.wallet_id


def _conditions(asked: WalletTransactionFilter) -> list[Condition]:
    """Return the conditions of a filter's own members; all of them must hold."""
    conditions = said(
        {
            name: getattr(asked, name)
            for name in (
                "id",
                "type",
                "transaction_status",
                "transaction_reason",
                "reference_type",
                "reference_id",
                "created_by",
            )
        }
    )
    bounds = {
        ("priority", Operator.EQ): asked.priority,
        ("credits_available", Operator.GT): asked.credits_available_gt,
        ("expiry_date", Operator.BEFORE): asked.expiry_date_before,
        ("expiry_date", Operator.AFTER): asked.expiry_date_after,
    }
    conditions += [
        Condition(name, operator, value)
        for (name, operator), value in bounds.items()
        if value is not None
    ]
    return conditions


BUILT: Mapping[tuple[str, str], Built] = {
    ("GET", "/v1/wallets/{id}/transactions"): Built(
        list_transactions, asks=WalletTransactionFilter, gives=ListWalletTransactionsResponse
    ),
    ("POST", "/v1/wallets/transactions/search"): Built(
        search_transactions, takes=WalletTransactionFilter, gives=ListWalletTransactionsResponse
    ),
}
