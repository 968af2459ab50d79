"""What a catalog file would change of accounts: wallets with their credits, and subscriptions.

An account has a life of its own, so the file only begins things: a wallet or a subscription that is
there stays as it is, but for how a wallet is configured. What has its time ahead waits.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

from billing.catalog import whole_plan
from billing.invoices.coupons import redeem
from billing.ports import Stores
from billing.ports.objects import Objects
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.subscriptions import create_subscription
from billing.use_cases.wallets import WalletChange, create_wallet, top_up, update_wallet
from billing.wallets.opening import WalletOpening, open_wallet
from flows.catalog_differences import Action, Difference, differing
from schemas.coupon import CouponId
from schemas.errors import Refused
from schemas.ids import CustomerId, PlanId, WalletId, derived
from schemas.subscription import Plan, Subscription, SubscriptionLine, SubscriptionStatus
from schemas.tax import TaxRateId
from schemas.wallet import Wallet, WalletStatus

CONFIGURED = tuple(each.name for each in fields(WalletChange))


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one thing of an account, and the use case that does it."""

    difference: Difference
    act: Callable[[], object] | None = None


class Accounts:
    """The accounts of a file beside those of a store; `ids` are the stored ids of the file's."""

    def __init__(
        self, stores: Stores, objects: Objects, ids: Mapping[str, str], at: datetime
    ) -> None:
        self._stores = stores
        self._objects = objects
        self._ids = ids
        self._at = at
        self._redeemed: dict[str, frozenset[str]] = {}

    def wallet_steps(self, opening: WalletOpening, name: str) -> Iterator[Step]:
        """Yield what becomes of a wallet, then of each of its top-ups."""
        owner = CustomerId(self._stored(opening.customer_id))
        wallet = self.wallet_of(opening)
        if wallet is None and opening.at > self._at:
            yield plain_step(
                "wallet", name, Action.WAITS, f"opens at {opening.at:%Y-%m-%d %H:%M:%S}Z"
            )
            return
        if wallet is None:
            act = _bound(create_wallet, self._stores, opening.request, owner, opening.at)
            yield Step(Difference("wallet", name, Action.CREATE), act)
        else:
            yield self._configured(opening, wallet, name)
        for number in range(len(opening.top_ups)):
            yield self._top_up(opening, wallet, number, name)

    def subscription_step(self, record: Subscription, name: str) -> Step:
        """Return what becomes of a subscription; one that is there has a life of its own."""
        if self._stores.subscription(record.id) is not None:
            return Step(Difference("subscription", name, Action.UNCHANGED))
        return self._create(record, name)

    def wallet_of(self, opening: WalletOpening) -> Wallet | None:
        """Return the stored wallet that an opening stands for: the active one, if any is."""
        owner, request = CustomerId(self._stored(opening.customer_id)), opening.request
        mine = [
            held.wallet
            for held in self._stores.wallets_of(owner)
            if held.wallet.currency == request.currency.lower()
            and held.wallet.wallet_type is request.wallet_type
        ]
        active = (each for each in mine if each.wallet_status is WalletStatus.ACTIVE)
        return next(active, mine[-1] if mine else None)

    def _configured(self, opening: WalletOpening, wallet: Wallet, name: str) -> Step:
        """Return what becomes of how a wallet is configured; what the file leaves out stays."""
        if wallet.wallet_status is WalletStatus.CLOSED:
            return plain_step("wallet", name, Action.LEFT_ALONE, "it is closed")
        posted = open_wallet(
            opening.request,
            wallet_id=wallet.id,
            customer_id=wallet.customer_id,
            existing=(),
            at=opening.at,
        )
        wanted = posted.holdings.wallet
        fixed = differing(wallet, wanted, ("conversion_rate", "topup_conversion_rate"))
        if fixed:
            names = " and ".join(each.field for each in fixed)
            text = f"{names} of a wallet cannot change: credits have been bought at it"
            return Step(Difference("wallet", name, Action.REFUSED, fixed, text))
        changes = tuple(
            each for each in differing(wallet, wanted, CONFIGURED) if each.new is not None
        )
        if not changes:
            return Step(Difference("wallet", name, Action.UNCHANGED))
        change = replace(WalletChange(), **{each.field: each.new for each in changes})
        act = _bound(update_wallet, self._stores, wallet.id, change, self._at)
        return Step(Difference("wallet", name, Action.UPDATE, changes), act)

    def _top_up(
        self,
        opening: WalletOpening,
        wallet: Wallet | None,
        number: int,
        name: str,
    ) -> Step:
        """Return what becomes of a top-up; credits of a wallet that is new came at their instants."""
        planned = opening.top_ups[number]
        label = f"{name} {planned.at:%Y-%m-%d %H:%M:%S}Z"
        key = planned.request.idempotency_key or top_up_key(opening, number)
        if self._stores.entry_of(key) is not None or self._stores.purchase_of(key) is not None:
            return Step(Difference("top-up", label, Action.UNCHANGED))
        if planned.at > self._at:
            return plain_step("top-up", label, Action.WAITS, "for its time")
        if wallet is not None and wallet.wallet_status is WalletStatus.CLOSED:
            return plain_step("top-up", label, Action.LEFT_ALONE, "the wallet is closed")
        request = replace(planned.request, idempotency_key=key)
        at = planned.at if wallet is None else self._at

        def add() -> object:
            found = self.wallet_of(opening)
            assert found is not None, "the wallet was opened before"
            return top_up(self._stores, WalletId(found.id), request, at)

        return Step(Difference("top-up", label, Action.CREATE), add)

    def _create(self, record: Subscription, name: str) -> Step:
        """Return how a subscription is made; coupons that it may not redeem refuse it now."""
        agreed = self._renamed(record)
        try:
            for attachment in agreed.coupons:
                coupon = attachment.coupon
                known = self._redeemed.get(coupon.id) or self._stores.redeemed_by(coupon.id)
                self._redeemed[coupon.id] = redeem(coupon, known, record.id, self._at)
        except Refused as error:
            return plain_step("subscription", name, Action.REFUSED, str(error))
        draft = record.status is SubscriptionStatus.DRAFT
        agreed = replace(agreed, status=SubscriptionStatus.DRAFT)

        def create() -> object:
            with self._objects.reading() as held:
                plan = whole_plan(held, agreed.plan_id or "")
            assert plan is not None, "the plan was written before"
            made = on_plan(agreed, plan, self._ids)
            return create_subscription(self._stores, made, at=self._at, draft=draft)

        return Step(Difference("subscription", name, Action.CREATE), create)

    def _renamed(self, record: Subscription) -> Subscription:
        """Return a subscription that names stored objects by their ids."""
        return replace(
            record,
            customer_id=CustomerId(self._stored(record.customer_id)),
            plan_id=PlanId(self._stored(record.plan_id or "")),
            coupons=tuple(
                replace(
                    each, coupon=replace(each.coupon, id=CouponId(self._stored(each.coupon.id)))
                )
                for each in record.coupons
            ),
            taxes=tuple(
                replace(each, rate=replace(each.rate, id=TaxRateId(self._stored(each.rate.id))))
                for each in record.taxes
            ),
        )

    def _stored(self, name: str) -> str:
        """Return the id that an id of the file stands for."""
        return self._ids.get(name, name)


def wallet_name(opening: WalletOpening, names: Mapping[str, str]) -> str:
    """Return what a wallet of the file is called: its customer, currency and type."""
    request = opening.request
    return f"{names[opening.customer_id]}/{request.currency.lower()}/{request.wallet_type}"


def top_up_key(opening: WalletOpening, number: int) -> str:
    """Return the key of a top-up of a file: the wallet, its instant, and its place among equals."""
    at = opening.top_ups[number].at
    place = sum(each.at == at for each in opening.top_ups[:number])
    return derived("catalog_top_up", opening.id, at, place)


def on_plan(agreed: Subscription, plan: Plan, ids: Mapping[str, str]) -> Subscription:
    """Return a subscription of the file with the lines of its plan as it is stored.

    Commitments and coupons of lines go over to the line of the same price. Where the store has what
    the file says, nothing changes.
    """
    made = subscribe(replace(agreed, lines=(), entitlements=()), plan)
    promised = {_root(line, ids): line.commitment for line in agreed.lines}
    chains = {_root(line, {}): line.chain_id for line in made.lines}
    moved = {line.chain_id: chains.get(_root(line, ids), line.chain_id) for line in agreed.lines}
    return replace(
        made,
        lines=tuple(replace(line, commitment=promised.get(_root(line, {}))) for line in made.lines),
        coupons=tuple(
            replace(each, chain_id=moved[each.chain_id]) if each.chain_id else each
            for each in agreed.coupons
        ),
    )


def _root(line: SubscriptionLine, ids: Mapping[str, str]) -> str:
    """Return the first price of a line's chain, by its id in the store."""
    first = line.price.parent_price_id or line.price.id
    return ids.get(first, first)


def plain_step(kind: str, name: str, action: Action, note: str) -> Step:
    """Return what is told and not done."""
    return Step(Difference(kind, name, action, note=note))


def _bound(act: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: act(*arguments)
