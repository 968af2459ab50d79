"""Wallets: opened, changed, filled, debited, closed and swept, each in one transaction.

The order of checks is that of wallets-alerts.md 5: shape, idempotency key, clock, wallet, balance.
A refused or replayed write leaves nothing. Where credits are bought by an invoice, see
`billing.use_cases.purchases`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from billing.alerts.levels import check_settings
from billing.alerts.watching import watch_balances, watch_settled
from billing.ports import Changes, FirstAnswer, OutboxRow, Stores
from billing.use_cases import telling
from billing.use_cases.purchases import WALLET_TRANSACTIONS, Bought, buy_credits
from billing.use_cases.transactions import unfinalized_end
from billing.wallets import ledger
from billing.wallets.balances import Claim, Ongoing, ongoing_balances
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import Debit, TopUp, bought, unusable
from billing.wallets.lots import expired
from billing.wallets.opening import open_wallet
from schemas.alert import AlertSettings
from schemas.auto_topup import AutoTopup, AutoTopupRequest, merged_rule
from schemas.errors import AlreadyExists, NotFound, ValidationFailed
from schemas.ids import CustomerId, WalletId, derived
from schemas.purchase import PurchaseAction
from schemas.purchase import after as purchase_after
from schemas.tax import TaxAttachment
from schemas.wallet import (
    AllowedType,
    Entry,
    Reason,
    Wallet,
    WalletRequest,
    WalletStatus,
    WalletType,
)


@dataclass(frozen=True, slots=True)
class WalletChange:
    """What of a wallet is changed; None leaves a member as it is."""

    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] | None = None
    allowed_price_types: Sequence[AllowedType] | None = None
    overdraft_limit: Decimal | None = None
    priority: int | None = None
    alert_settings: AlertSettings | None = None
    auto_topup: AutoTopupRequest | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A wallet after a write, and the entry of the request; a replay gives the entry it stands for.

    Credits that are bought by an invoice are `bought`: there is no entry before it is paid.
    `posted` is what was appended, None for a replay. `answer` is what the first request with the
    key was answered, where that was asked for.
    """

    holdings: Holdings
    entry: Entry | None = None
    bought: Bought | None = None
    posted: Posted | None = field(default=None, compare=False)
    answer: str | None = None
    is_replay: bool = field(default=False, compare=False)


# Makes the answer to a write of what is there before it is committed.
Answering = Callable[[Stores, Written], str]


def create_wallet(
    stores: Stores,
    request: WalletRequest,
    customer_id: CustomerId,
    at: datetime,
    *,
    auto_topup: AutoTopup | None = None,
    by: str = "",
) -> Written:
    """Open a wallet with its initial credits; the alert of its balance is judged with it.

    Its id follows from the customer and how many wallets there were. Raises ValidationFailed naming
    the field, NotFound for the customer, AlreadyExists where an active one of the kind is there.
    Source: wallets-alerts.md 4.
    """
    with stores.deciding(customer_id) as held:
        if held.customer(customer_id) is None:
            raise NotFound(f"there is no customer {customer_id}")
        existing = [each.wallet for each in held.wallets_of(customer_id)]
        facts = (customer_id, request.currency, request.wallet_type.value, len(existing))
        posted = open_wallet(
            request,
            wallet_id=WalletId(derived("wallet", "created", *facts)),
            customer_id=customer_id,
            existing=existing,
            at=at,
        )
        wallet = replace(posted.holdings.wallet, auto_topup=auto_topup, created_by=by)
        posted = replace(
            posted,
            holdings=replace(posted.holdings, wallet=wallet),
            entries=tuple(replace(each, created_by=by) for each in posted.entries),
        )
        row = telling.of_wallet("wallet.created", posted.holdings, at)
        _commit(held, posted, at, row)
        return Written(posted.holdings, next(iter(posted.entries), None), posted=posted)


def update_wallet(
    stores: Stores,
    wallet_id: WalletId,
    change: WalletChange,
    at: datetime,
    *,
    claims: Sequence[Claim] | None = None,
    by: str = "",
) -> Holdings:
    """Change what may change of a wallet; its balances are judged at once by new settings.

    Without the customer's `claims` the ongoing one is judged by the next pass. What is stored is validated
    again as a whole. Raises ValidationFailed naming the field, NotFound, and InvalidOperation for a
    closed wallet. Source: wallets-alerts.md 4 and 11.
    """
    _check_change(change)
    with stores.deciding(_owner(stores, wallet_id)) as held:
        before = _holdings(held, wallet_id)
        if before.wallet.wallet_status is WalletStatus.CLOSED:
            raise unusable(before.wallet)
        wallet = _changed(before.wallet, change)
        if wallet == before.wallet:
            return before
        after = replace(before, wallet=replace(wallet, updated_at=at, updated_by=by))
        posted = Posted(base=before.sequence, holdings=after)
        row = telling.of_wallet("wallet.updated", after, at, at, _digest(wallet))
        _commit_all(held, (posted,), at, row, claims=claims)
        return after


def top_up(
    stores: Stores,
    wallet_id: WalletId,
    request: TopUp,
    at: datetime,
    *,
    taxes: Sequence[TaxAttachment] = (),
    answering: Answering | None = None,
) -> Written:
    """Add credits as one entry and one lot, or replay what a repeated key stands for.

    PURCHASED_CREDIT_INVOICED makes a purchase and its invoice, with the customer's `taxes`. What
    `answering` makes of the write is kept with its key, and given again to a repeat. Raises as
    `billing.wallets.ledger.top_up` does, and NotFound. Source: wallets-alerts.md 5 and 8.
    """
    owner = _owner(
        stores, wallet_id, request.idempotency_key, lambda: bought(_any_wallet(at), request)
    )
    if request.reason is Reason.PURCHASED_CREDIT_INVOICED:
        return _bought(stores, wallet_id, request, at, taxes=taxes, answering=answering)
    with stores.deciding(owner) as held:
        before = _holdings(held, wallet_id)
        recorded = _recorded(held, request.idempotency_key)
        waiting = _waiting(held, before, at)
        posted = ledger.top_up(before, request, at, unfinalized_end=waiting, recorded=recorded)
        return _written(held, posted, recorded, at, answering)


def debit(
    stores: Stores,
    wallet_id: WalletId,
    request: Debit,
    at: datetime,
    *,
    answering: Answering | None = None,
) -> Written:
    """Take credits by hand, at most down to the overdraft limit, or replay a repeated key.

    Raises as `billing.wallets.ledger.debit` does, and NotFound. Source: wallets-alerts.md 5.
    """
    owner = _owner(stores, wallet_id, request.idempotency_key, lambda: ledger.check_debit(request))
    with stores.deciding(owner) as held:
        before = _holdings(held, wallet_id)
        recorded = _recorded(held, request.idempotency_key)
        waiting = _waiting(held, before, at)
        posted = ledger.debit(before, request, at, unfinalized_end=waiting, recorded=recorded)
        return _written(held, posted, recorded, at, answering)


def _bought(
    stores: Stores,
    wallet_id: WalletId,
    request: TopUp,
    at: datetime,
    *,
    taxes: Sequence[TaxAttachment],
    answering: Answering | None,
) -> Written:
    """Buy credits by an invoice."""

    def answer(held: Stores, made: Bought) -> str:
        assert answering is not None, "asked for only then"
        return answering(held, Written(_holdings(held, wallet_id), bought=made))

    made = buy_credits(
        stores,
        wallet_id,
        request,
        at,
        taxes=taxes,
        answering=None if answering is None else answer,
    )
    held = _holdings(stores, wallet_id)
    return Written(held, bought=made, answer=made.answer, is_replay=made.is_replay)


def terminate(stores: Stores, wallet_id: WalletId, at: datetime, *, by: str = "") -> Holdings:
    """Close a wallet: its value is forfeited, its pending purchases are cancelled.

    Raises NotFound, and InvalidOperation for one that is not active or is overdrawn.
    Source: wallets-alerts.md 5.
    """
    with stores.deciding(_owner(stores, wallet_id)) as held:
        posted = ledger.terminate(_holdings(held, wallet_id), at)
        wallet = replace(posted.holdings.wallet, updated_at=at, updated_by=by)
        posted = replace(posted, holdings=replace(posted.holdings, wallet=wallet))
        cancelled = tuple(
            replace(
                each,
                status=purchase_after(each.status, PurchaseAction.CANCEL),
                version=each.version + 1,
            )
            for each in held.pending_purchases(wallet_id)
        )
        rows = [telling.of_purchase(each, at) for each in cancelled]
        rows.append(telling.of_wallet("wallet.terminated", posted.holdings, at))
        held.commit(
            Changes(
                posted=(posted,),
                purchases=cancelled,
                outbox=(*telling.of_entries((posted,), at), *rows),
                wake={posted.holdings.wallet.customer_id: at},
            )
        )
        return posted.holdings


def sweep_expired(stores: Stores, customer_id: CustomerId, at: datetime) -> tuple[Posted, ...]:
    """Write down the expiries that are due in the wallets of a customer; no balance changes by it.

    The settled balances are judged, since the expiry itself has changed them. Lots that a period
    may still claim stay. Source: wallets-alerts.md 5 and 6.
    """
    wallets = stores.wallets_of(customer_id)
    if not any(expired(lot, at) for each in wallets for lot in each.lots):
        return ()
    with stores.deciding(customer_id) as held:
        swept = []
        for each in held.wallets_of(customer_id):
            posted = ledger.sweep(each, at, unfinalized_end=_waiting(held, each, at))
            if posted.entries:
                swept.append(posted)
        if swept:
            _commit_all(held, swept, at)
        return tuple(swept)


def _check_change(change: WalletChange) -> None:
    """Refuse what no wallet can be changed to."""
    if change.priority is not None and change.priority < 0:
        raise ValidationFailed("must not be negative", field="priority")
    if change.overdraft_limit is not None and change.overdraft_limit < 0:
        raise ValidationFailed("must not be negative", field="overdraft_limit")
    if change.alert_settings is not None:
        check_settings(change.alert_settings)


def _changed(wallet: Wallet, change: WalletChange) -> Wallet:
    """Return a wallet with what is given of a change."""
    given = {
        name: value
        for name in (
            "name",
            "description",
            "metadata",
            "overdraft_limit",
            "priority",
            "alert_settings",
        )
        if (value := getattr(change, name)) is not None
    }
    if change.auto_topup is not None:
        given["auto_topup"] = merged_rule(wallet.auto_topup, change.auto_topup)
    if change.allowed_price_types is not None:
        given["allowed_price_types"] = tuple(change.allowed_price_types) or (AllowedType.ALL,)
    return replace(wallet, **given)


def _digest(wallet: Wallet) -> str:
    """Return a name for what a wallet is configured to, to tell two changes of one instant apart."""
    return derived("content", repr(wallet))


def _any_wallet(at: datetime) -> Wallet:
    """Return a wallet to check the shape of a request by, where there is none."""
    return Wallet(WalletId(""), CustomerId(""), "usd", WalletType.PRE_PAID, at)


def _owner(
    stores: Stores,
    wallet_id: WalletId,
    key: str | None = None,
    check_shape: Callable[[], object] = lambda: None,
) -> CustomerId:
    """Return whose wallet it is, to lock the account.

    A malformed request is refused before one whose key was used for another, and that before a
    wallet that does not exist; of one that exists the ledger checks the same in this order.
    """
    found = stores.holdings(wallet_id)
    if found is not None:
        return found.wallet.customer_id
    check_shape()
    if key is not None and (stores.entry_of(key) or stores.purchase_of(key)):
        raise AlreadyExists(
            f"idempotency key {key!r} was used for another request", field="idempotency_key"
        )
    raise NotFound(f"there is no wallet {wallet_id}")


def _holdings(held: Stores, wallet_id: WalletId) -> Holdings:
    """Return what a wallet holds; it was found before, and no wallet is ever deleted."""
    found = held.holdings(wallet_id)
    assert found is not None, "a wallet stays"
    return found


def _recorded(held: Stores, key: str | None) -> Entry | None:
    """Return the entry that a key stands for; one that stands for a purchase is refused."""
    if key is None:
        return None
    if held.purchase_of(key) is not None:
        raise AlreadyExists(
            f"idempotency key {key!r} was used for a purchase", field="idempotency_key"
        )
    return held.entry_of(key)


def _waiting(held: Stores, holdings: Holdings, at: datetime) -> datetime | None:
    wallet = holdings.wallet
    return unfinalized_end(held, (holdings,), wallet.customer_id, wallet.currency, at)


def _written(
    held: Stores,
    posted: Posted,
    recorded: Entry | None,
    at: datetime,
    answering: Answering | None,
) -> Written:
    """Commit a write with one entry of its own, the last; a replay commits nothing."""
    if posted.replays is not None:
        key = None if recorded is None else recorded.idempotency_key
        answer = None if key is None else held.answer_of(WALLET_TRANSACTIONS, key)
        return Written(posted.holdings, recorded, answer=answer, is_replay=True)
    made = Written(posted.holdings, posted.entries[-1], posted=posted)
    if answering is not None:
        made = replace(made, answer=answering(held, made))
    _commit_all(held, (posted,), at, answer=_kept(made, at))
    return made


def _kept(made: Written, at: datetime) -> FirstAnswer | None:
    """Return the answer of a write as it is kept, None for one without a key."""
    key = None if made.entry is None else made.entry.idempotency_key
    if key is None or made.answer is None:
        return None
    return FirstAnswer(WALLET_TRANSACTIONS, key, made.answer, at)


def _commit(held: Stores, posted: Posted, at: datetime, *rows: OutboxRow) -> None:
    _commit_all(held, (posted,), at, *rows)


def _commit_all(
    held: Stores,
    posted: Sequence[Posted],
    at: datetime,
    *rows: OutboxRow,
    claims: Sequence[Claim] | None = None,
    answer: FirstAnswer | None = None,
) -> None:
    """Commit writes with the alerts of the balances, what is told, and a wish to be seen.

    Ongoing balances are judged where the claims on them are given.
    """
    holdings = [each.holdings for each in posted]
    owner, default = holdings[0].wallet.customer_id, held.config().wallet_alerts
    if claims is None:
        judged = watch_settled(held, holdings, at, default=default)
    else:
        ongoing = _ongoing(held, holdings, claims, at)
        judged = watch_balances(held, holdings, ongoing, at, default=default)
    held.commit(
        Changes(
            posted=tuple(posted),
            streams=judged.streams,
            alerts=judged.alerts,
            outbox=(
                *rows,
                *telling.of_entries(posted, at),
                *judged.outbox(held.external_id_of(owner)),
            ),
            wake={owner: at},
            answers=() if answer is None else (answer,),
        )
    )


def _ongoing(
    held: Stores, changed: Sequence[Holdings], claims: Sequence[Claim], at: datetime
) -> tuple[Ongoing, ...]:
    """Return the ongoing balances of changed wallets; claims ask all that their customer has."""
    after = {each.wallet.id: each for each in changed}
    owner = changed[0].wallet.customer_id
    every = [after.get(each.wallet.id, each) for each in held.wallets_of(owner)]
    found = {each.wallet_id: each for each in ongoing_balances(every, claims, at)}
    return tuple(found[each.wallet.id] for each in changed)
