"""Wallets over HTTP: opened, changed, filled, debited, closed, and looked at (api.md 4.16)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from billing.api import wallet_ledger
from billing.api.idempotency import REPLAYED, key_of
from billing.api.invoice_actions import customer_taxes
from billing.api.listing import Listing, expanded, page_of, query_for, said, unknown
from billing.api.reading import query_of, read
from billing.api.repeating import repeated
from billing.api.routing import Built, Call
from billing.api.wallet_answers import (
    BREAKDOWN,
    Showing,
    balance_answer,
    showing,
    showing_inside,
    top_up_answer,
    wallet_answer,
)
from billing.api.wire import Answer, answered, shown
from billing.ports import Stores
from billing.use_cases import wallets as use_cases
from billing.use_cases.balances import balance_of
from billing.use_cases.customers import customer_by_external_id
from billing.use_cases.found import subject
from billing.use_cases.wallets import Answering, WalletChange, Written
from billing.wallets.holdings import Holdings
from billing.wallets.ledger import Debit
from billing.wallets.opening import top_up_of
from schemas.api.answers.wallets import (
    ListWalletsResponse,
    TopUpWalletResponse,
    WalletBalanceResponse,
    WalletResponse,
)
from schemas.api.requests.wallets import (
    CreateWalletRequest,
    CustomerWalletsQuery,
    TopUpWalletRequest,
    UpdateWalletRequest,
    WalletDebitRequest,
    WalletFilter,
    WalletQuery,
)
from schemas.api.values import ApiAnswer
from schemas.auto_topup import merged_rule
from schemas.errors import NotFound, ValidationFailed
from schemas.ids import CustomerId, WalletId
from schemas.object_query import Condition, Operator
from schemas.wallet import Reason

EXPANDS = frozenset({BREAKDOWN})
# Makes the answer to a write of what it came to.
Show = Callable[[Written, Showing], ApiAnswer]


@dataclass(frozen=True, slots=True)
class WalletFields:
    """What wallets may be ordered by, beside what every record has."""

    customer_id: str
    currency: str
    wallet_type: str
    wallet_status: str
    alert_enabled: bool


SORTS = frozenset(
    {"id", "created_at", "updated_at", "customer_id", "currency", "wallet_type", "wallet_status"}
)
WALLETS = Listing(WalletFields, {name: name for name in WalletFields.__slots__}, EXPANDS)


def add_wallet(call: Call) -> Answer:
    """Open a wallet, with its initial credits."""
    asked = read(CreateWalletRequest, call.json)
    customer_id = _customer_of(call, asked)
    rule = None if asked.auto_topup is None else merged_rule(None, asked.auto_topup)
    made = repeated(
        lambda: use_cases.create_wallet(
            call.environment.stores,
            asked,
            customer_id,
            call.services.clock(),
            auto_topup=rule,
            by=call.caller,
        )
    )
    return _shown(call, made.holdings)


def _customer_of(call: Call, asked: CreateWalletRequest) -> CustomerId:
    """Return whose wallet it will be; who is named twice must be one. Raises NotFound."""
    objects = call.environment.objects
    named, external = asked.customer_id, asked.external_customer_id
    if named is None and external is None:
        raise ValidationFailed("give customer_id or external_customer_id", field="customer_id")
    if named is None:
        return customer_by_external_id(objects, str(external)).record.id
    customer = subject(objects.customers, named, "customer").record
    if external is not None and customer.external_id != external:
        raise ValidationFailed(
            f"customer {named} is not called {external!r}", field="external_customer_id"
        )
    return customer.id


def show_wallet(call: Call) -> Answer:
    """Show one wallet."""
    return _shown(call, _holdings(call), _expands(call))


def change_wallet(call: Call) -> Answer:
    """Change what may change of a wallet."""
    asked = read(UpdateWalletRequest, call.json)
    kept = call.environment
    before = _holdings(call).wallet
    claims = kept.claims.claims_of(before.customer_id)
    after = repeated(
        lambda: use_cases.update_wallet(
            kept.stores,
            before.id,
            _change(asked),
            call.services.clock(),
            claims=() if claims is None else claims.claims,
            by=call.caller,
        )
    )
    return _shown(call, after)


def _change(asked: UpdateWalletRequest) -> WalletChange:
    """Return what a request changes; what it gives of config replaces all of it."""
    config, alerts = asked.config, asked.alert_settings
    return WalletChange(
        name=asked.name,
        description=asked.description,
        metadata=asked.metadata,
        allowed_price_types=None if config is None else config.allowed_price_types or (),
        overdraft_limit=None if config is None else config.overdraft_limit or Decimal(0),
        priority=asked.priority,
        alert_settings=None if alerts is None else alerts.settings(),
        auto_topup=asked.auto_topup,
    )


def add_credits(call: Call) -> Answer:
    """Add credits to a wallet: at once, or once the invoice that they are bought by is paid."""
    asked = read(TopUpWalletRequest, call.json)
    kept, at = call.environment, call.services.clock()
    key = key_of(call, asked.idempotency_key)
    request = replace(top_up_of(asked), idempotency_key=key, created_by=call.caller)
    wallet_id = WalletId(call.parameters["id"])
    held = kept.stores.holdings(wallet_id)
    is_bought = request.reason is Reason.PURCHASED_CREDIT_INVOICED
    taxes = customer_taxes(kept, held.wallet.customer_id) if held and is_bought else ()

    def show(written: Written, how: Showing) -> TopUpWalletResponse:
        entry = None if written.posted is not None else written.entry
        line = None if entry is None else kept.reader.entry(entry.id)
        return top_up_answer(written, how, line)

    answering = _answering(call, show)
    written = repeated(
        lambda: use_cases.top_up(
            kept.stores, wallet_id, request, at, taxes=taxes, answering=answering
        )
    )
    return _given(call, written, show)


def take_credits(call: Call) -> Answer:
    """Take credits out of a wallet by hand."""
    asked = read(WalletDebitRequest, call.json)
    at = call.services.clock()
    request = Debit(
        asked.credits,
        Reason(asked.transaction_reason),
        key_of(call, asked.idempotency_key),
        asked.description,
        asked.metadata,
        call.caller,
    )
    answering = _answering(call, _show_debited)
    wallet_id = WalletId(call.parameters["id"])
    debit = partial(use_cases.debit, call.environment.stores, wallet_id, request, at)
    return _given(call, repeated(partial(debit, answering=answering)), _show_debited)


def close_wallet(call: Call) -> Answer:
    """Close a wallet; what is left in it is forfeited."""
    wallet_id, at = WalletId(call.parameters["id"]), call.services.clock()
    terminate = partial(use_cases.terminate, call.environment.stores, wallet_id, at, by=call.caller)
    return _shown(call, repeated(terminate))


def show_balance(call: Call) -> Answer:
    """Show the settled balance of a wallet, and what remains of it less what is used already."""
    kept, at = call.environment, call.services.clock()
    held = _holdings(call)
    expands = _expands(call)
    reading = balance_of(kept.stores, kept.claims, held.wallet.customer_id, at)
    how = showing(kept, call.scope, at, [held], expands)
    return shown(balance_answer(held, reading, how))


def search_wallets(call: Call) -> Answer:
    """Show a page of wallets."""
    asked = read(WalletFilter, call.json)
    expands = expanded(asked.expand, EXPANDS)
    conditions = said({"id": asked.wallet_ids, "wallet_status": asked.status})
    if asked.alert_enabled is not None:
        conditions.append(Condition("alert_enabled", Operator.EQ, asked.alert_enabled))
    query = query_for(asked, WALLETS, conditions, lives=False)
    for sort in query.sort:
        if sort.field not in SORTS:
            raise unknown("sort", str(sort.field), SORTS)
    kept, at = call.environment, call.services.clock()
    rows, total = kept.reader.wallets_where(query)
    how = showing(kept, call.scope, at, rows, expands)
    return page_of(rows, total, asked, lambda held: wallet_answer(held, how))


def list_wallets_of(call: Call) -> Answer:
    """List the wallets of a customer, the newest first."""
    customer = subject(call.environment.objects.customers, call.parameters["id"], "customer")
    return _listed(call, customer.record.id, _expands(call))


def list_named_wallets(call: Call) -> Answer:
    """List the wallets of a customer who is named by either id, if asked with live balances."""
    asked = read(CustomerWalletsQuery, query_of(call.query, lists=["expand"]))
    if bool(asked.id) is bool(asked.lookup_key):
        raise ValidationFailed("give one of id and lookup_key", field="id")
    objects, expands = call.environment.objects, expanded(asked.expand, EXPANDS)
    if asked.id:
        customer = subject(objects.customers, asked.id, "customer").record
    else:
        customer = customer_by_external_id(objects, str(asked.lookup_key)).record
    return _listed(call, customer.id, expands, has_live=asked.include_real_time_balance)


def _listed(
    call: Call, customer_id: CustomerId, expands: frozenset[str], *, has_live: bool = False
) -> Answer:
    """Return the wallets of a customer as a bare array."""
    kept, at = call.environment, call.services.clock()
    ongoing = {}
    if has_live:
        reading = balance_of(kept.stores, kept.claims, customer_id, at)
        ongoing = {each.wallet_id: each for each in reading.balances}
    held = sorted(
        kept.stores.wallets_of(customer_id),
        key=lambda each: (each.wallet.created_at, each.wallet.id),
        reverse=True,
    )
    how = showing(kept, call.scope, at, held, expands)
    rows = [wallet_answer(each, how, ongoing.get(each.wallet.id)) for each in held]
    return answered([row.model_dump() for row in rows])


def _holdings(call: Call) -> Holdings:
    """Return the wallet that the path names. Raises NotFound."""
    wallet_id = WalletId(call.parameters["id"])
    held = call.environment.stores.holdings(wallet_id)
    if held is None:
        raise NotFound(f"there is no wallet {wallet_id}")
    return held


def _expands(call: Call) -> frozenset[str]:
    """Return what else of a wallet the query wants to see."""
    asked = read(WalletQuery, query_of(call.query, lists=["expand"]))
    return expanded(asked.expand, EXPANDS)


def _shown(call: Call, held: Holdings, expands: frozenset[str] = frozenset()) -> Answer:
    """Return a wallet as it stands."""
    at = call.services.clock()
    return shown(wallet_answer(held, showing(call.environment, call.scope, at, [held], expands)))


def _answering(call: Call, show: Show) -> Answering:
    """Return what makes the answer to a write inside its transaction."""
    unwatched = showing(call.environment, call.scope, call.services.clock(), ())

    def answer(stores: Stores, written: Written) -> str:
        how = showing_inside(stores, unwatched, written.holdings)
        return shown(show(written, how)).body.decode()

    return answer


def _given(call: Call, written: Written, show: Show) -> Answer:
    """Return the answer to a write; a repeat gets the one that its first request got.

    What was written by other ways than this one is answered as it stands.
    """
    headers = REPLAYED if written.is_replay else None
    if written.answer is not None:
        return Answer(200, written.answer.encode(), headers=headers)
    at = call.services.clock()
    how = showing(call.environment, call.scope, at, [written.holdings])
    return answered(show(written, how).model_dump(), headers=headers)


def _show_debited(written: Written, how: Showing) -> WalletResponse:
    return wallet_answer(written.holdings, how)


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/wallets"): Built(add_wallet, takes=CreateWalletRequest, gives=WalletResponse),
    ("POST", "/v1/wallets/search"): Built(
        search_wallets, takes=WalletFilter, gives=ListWalletsResponse
    ),
    ("GET", "/v1/wallets/{id}"): Built(show_wallet, asks=WalletQuery, gives=WalletResponse),
    ("PUT", "/v1/wallets/{id}"): Built(
        change_wallet, takes=UpdateWalletRequest, gives=WalletResponse
    ),
    ("POST", "/v1/wallets/{id}/top-up"): Built(
        add_credits, takes=TopUpWalletRequest, gives=TopUpWalletResponse
    ),
    ("POST", "/v1/wallets/{id}/debit"): Built(
        take_credits, takes=WalletDebitRequest, gives=WalletResponse
    ),
    ("POST", "/v1/wallets/{id}/terminate"): Built(close_wallet, gives=WalletResponse),
    ("GET", "/v1/wallets/{id}/balance/real-time"): Built(
        show_balance, asks=WalletQuery, gives=WalletBalanceResponse
    ),
    ("GET", "/v1/customers/{id}/wallets"): Built(
        list_wallets_of, asks=WalletQuery, gives=list[WalletResponse]
    ),
    ("GET", "/v1/customers/wallets"): Built(
        list_named_wallets, asks=CustomerWalletsQuery, gives=list[WalletResponse]
    ),
    **wallet_ledger.BUILT,
}
