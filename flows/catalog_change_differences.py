"""What the changes of a catalog file come to in an instance, once their time has come.

An instance goes on from now, so a change is done now, however long its time has come. What has
been done is not done again: a subscription is cancelled once, and credits have keys of their own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from billing.planned_changes import (
    Activate,
    Cancel,
    DebitWallet,
    PlannedChange,
    TerminateWallet,
    TopUpWallet,
    in_order,
)
from billing.ports import Changes, Stores
from billing.subscriptions.cancelling import asked_for
from billing.subscriptions.versions import recorded
from billing.use_cases import wallets
from billing.use_cases.subscriptions import activate_subscription
from billing.use_cases.telling_subscriptions import UPDATED, subscription_row
from billing.use_cases.transactions import retried
from billing.wallets.opening import WalletOpening
from flows.catalog import Catalog
from flows.catalog_account_differences import Accounts, Step, plain_step, wallet_name
from flows.catalog_differences import Action, Difference
from schemas.cancellation import CancellationRequest, CancellationType
from schemas.errors import Refused
from schemas.ids import WalletId, derived
from schemas.subscription import Subscription, SubscriptionStatus
from schemas.wallet import WalletStatus

SECOND = timedelta(seconds=1)


def change_steps(
    stores: Stores, accounts: Accounts, catalog: Catalog, at: datetime
) -> Iterator[Step]:
    """Yield what becomes of each change of the file, in the order of their instants."""
    every = sorted((each for owned in catalog.changes.values() for each in owned), key=in_order)
    openings = {opening.id: opening for opening in catalog.wallets}
    for planned in every:
        change = planned.change
        if isinstance(change, TopUpWallet | DebitWallet | TerminateWallet):
            opening = openings[change.wallet_id]
            name = wallet_name(opening, catalog.names)
        else:
            opening, name = None, catalog.names[change.subscription_id]
        label = f"{type(change).__name__} {name} {planned.at:%Y-%m-%d %H:%M:%S}Z"
        if planned.at > at:
            yield plain_step("change", label, Action.WAITS, "for its time")
        elif opening is not None:
            yield _OfWallet(stores, accounts, opening, at).step(planned, every, label)
        else:
            yield _of_subscription(stores, planned, label, at)


def _of_subscription(stores: Stores, planned: PlannedChange, label: str, at: datetime) -> Step:
    """Return what becomes of a change of a subscription."""
    match planned.change:
        case Cancel(name, request):
            stored = stores.subscription(name)
            if stored is None or stored.cancelled_at is not None:
                # One that is made now is made with its cancellation.
                return Step(Difference("change", label, Action.UNCHANGED))
            return _cancelled(stores, stored, request, label, at)
        case Activate(name, start_date):
            stored = stores.subscription(name)
            if stored is not None and stored.status is not SubscriptionStatus.DRAFT:
                return Step(Difference("change", label, Action.UNCHANGED))

            def activate() -> object:
                return activate_subscription(stores, name, at=at, start_date=start_date)

            return Step(Difference("change", label, Action.UPDATE), activate)
        case _:
            text = "lines of a subscription are changed through the API"
            return plain_step("change", label, Action.LEFT_ALONE, text)


def _cancelled(
    stores: Stores, stored: Subscription, request: CancellationRequest, label: str, at: datetime
) -> Step:
    """Return how a subscription is cancelled: what was to be at once is at the next pass."""
    if request.type is not CancellationType.END_OF_PERIOD and (request.cancel_at or at) <= at:
        scheduled = CancellationType.SCHEDULED_DATE
        request = replace(request, type=scheduled, cancel_at=at + SECOND)
    try:
        ends_at = asked_for(stored, request, at)[1].cancelled_at
    except Refused as error:
        return plain_step("change", label, Action.LEFT_ALONE, str(error))

    def decide() -> object:
        with stores.deciding(stored.payer_id) as held:
            before = held.subscription(stored.id) or stored
            _, after = asked_for(before, request, at)
            made = recorded(
                before,
                replace(after, version=before.version + 1),
                id=derived("change", before.id, before.version, "cancellation", ends_at),
                decided_at=at,
                effective_at=ends_at or at,
            )
            told = (subscription_row(UPDATED, made, at),)
            held.commit(Changes(subscriptions=(made,), outbox=told, wake={made.payer_id: at}))
            return made

    text = f"it ends at {ends_at:%Y-%m-%d %H:%M:%S}Z"
    return Step(Difference("change", label, Action.UPDATE, note=text), lambda: retried(decide))


@dataclass(frozen=True, slots=True)
class _OfWallet:
    """The changes of one wallet of the file."""

    stores: Stores
    accounts: Accounts
    opening: WalletOpening
    at: datetime

    def step(self, planned: PlannedChange, every: list[PlannedChange], label: str) -> Step:
        """Return what becomes of a change of the wallet."""
        change = planned.change
        if isinstance(change, TerminateWallet):
            wallet = self.accounts.wallet_of(self.opening)
            if wallet is not None and wallet.wallet_status is WalletStatus.CLOSED:
                return Step(Difference("change", label, Action.UNCHANGED))
            return self._doing(label, lambda name: wallets.terminate(self.stores, name, self.at))
        assert isinstance(change, TopUpWallet | DebitWallet), "a wallet has no other changes"
        key = change.request.idempotency_key or ""
        if key == planned.key:
            # Not by its place in the file, which moves when the file grows.
            same = [each for each in every if _alike(each, planned)]
            kind, place = type(change).__name__, same.index(planned)
            key = derived("catalog_change", kind, self.opening.id, planned.at, place)
        if self.stores.entry_of(key) is not None or self.stores.purchase_of(key) is not None:
            return Step(Difference("change", label, Action.UNCHANGED))
        if isinstance(change, TopUpWallet):
            top_up = replace(change.request, idempotency_key=key)
            return self._doing(
                label, lambda name: wallets.top_up(self.stores, name, top_up, self.at)
            )
        debit = replace(change.request, idempotency_key=key)
        return self._doing(label, lambda name: wallets.debit(self.stores, name, debit, self.at))

    def _doing(self, label: str, act: Callable[[WalletId], object]) -> Step:
        """Return the step that does something with the wallet, as it is then."""

        def do() -> object:
            found = self.accounts.wallet_of(self.opening)
            assert found is not None, "the wallet was opened before"
            return act(WalletId(found.id))

        return Step(Difference("change", label, Action.UPDATE), do)


def _alike(one: PlannedChange, other: PlannedChange) -> bool:
    """Tell whether two changes are of one wallet, of one kind and at one instant."""
    first, second = one.change, other.change
    return (
        type(first) is type(second)
        and one.at == other.at
        and getattr(first, "wallet_id", None) == getattr(second, "wallet_id", None)
    )
