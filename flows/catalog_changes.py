"""The changes of a catalog file, as data for who bills by them; each is tried out first.

They come as REST calls, in order of time, those of one instant in the order of the file. A file that
plans what the rules refuse is refused as a whole, with the place of the change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from billing.accounts import Account, accounts_of
from billing.planned_changes import (
    Activate,
    AddLine,
    Cancel,
    Change,
    ChangeLine,
    DebitWallet,
    EndLine,
    PlannedChange,
    TerminateWallet,
    TopUpWallet,
    in_order,
)
from billing.running import bill_account
from billing.subscriptions.added_lines import LineRequest
from billing.subscriptions.cancelling import asked_for
from billing.subscriptions.overrides import LineTerms, PriceTerms
from billing.use_cases.opening_invoices import NothingUsed
from billing.use_cases.subscription_changes import added_line_id
from billing.wallets.ledger import Debit
from billing.wallets.opening import WalletOpening, top_up_of
from flows.catalog_names import Findings, Names, identity
from flows.catalog_problems import nearest
from schemas.cancellation import CancellationInvoicePolicy, CancellationRequest
from schemas.catalog import CatalogFile
from schemas.catalog_changes import (
    CatalogActivation,
    CatalogCancelBody,
    CatalogCancellation,
    CatalogDebit,
    CatalogInlinePrice,
    CatalogLineAdded,
    CatalogLineChanged,
    CatalogLineEnded,
    CatalogTermination,
    CatalogTopUpChange,
    OfWallet,
)
from schemas.catalog_products import CatalogPriceChange, CatalogPriceUpdate
from schemas.customer import Customer
from schemas.errors import Refused, ValidationFailed
from schemas.ids import CustomerId, SubscriptionLineId, WalletId
from schemas.meter import Meter
from schemas.price import Price, Tier, TransformQuantity
from schemas.price_request import PriceRequest, price_faults, price_from
from schemas.subscription import Plan, Subscription
from schemas.wallet import TopUpRequest

ChangesOf = Mapping[CustomerId, tuple[PlannedChange, ...]]


@dataclass(frozen=True, slots=True)
class Named:
    """What the changes of a file may name; `lines` are those that changes have added so far."""

    customers: Names[Customer]
    plans: Names[Plan]
    subscriptions: Names[Subscription]
    meters: Names[Meter]
    wallets: tuple[WalletOpening, ...]
    lines: dict[tuple[str, str], SubscriptionLineId] = field(default_factory=dict)


def resolve_changes(file: CatalogFile, named: Named, found: Findings) -> ChangesOf:
    """Return the changes of each customer's subscriptions and wallets, tried out in order."""
    changes: dict[CustomerId, list[PlannedChange]] = {}
    # A line that is added is called by its name from then on.
    ordered = sorted(enumerate(file.changes), key=lambda each: (each[1].at, each[0]))
    for index, entry in ordered:
        if isinstance(entry, CatalogPriceChange):
            continue
        with found.at("changes", index):
            key = identity("change", index)
            owner, change = _change(entry, key, named)
            planned = PlannedChange(entry.at, index, key, change)
            changes.setdefault(owner, []).append(planned)
    found.end_phase()
    made = {owner: tuple(sorted(each, key=in_order)) for owner, each in changes.items()}
    _try(made, named, found)
    return made


def as_facts(subscriptions: Sequence[Subscription], changes: ChangesOf) -> tuple[Subscription, ...]:
    """Return subscriptions with the cancellations that a file plans, for who runs on from them.

    Each fires when its instant comes, and is unknown to every invoice before it was decided. What
    else happens later is done by who bills the whole file.
    """
    every = [each for of_owner in changes.values() for each in of_owner]
    found = {each.id: each for each in subscriptions}
    for planned in sorted(every, key=in_order):
        change = planned.change
        if isinstance(change, Cancel) and change.subscription_id in found:
            before = found[change.subscription_id]
            _, ended = asked_for(before, change.request, planned.at)
            found[before.id] = replace(ended, status=before.status)
    return tuple(found.values())


def _change(entry: object, key: str, named: Named) -> tuple[CustomerId, Change]:
    """Return whom a change of a file is of, and what it is."""
    match entry:
        case OfWallet():
            return _of_wallet(entry, key, named)
        case CatalogCancellation():
            subscription = named.subscriptions.find(entry.subscription, key_field="subscription")
            request = cancellation_of(entry.body)
            return subscription.customer_id, Cancel(subscription.id, request)
        case CatalogActivation():
            subscription = named.subscriptions.find(entry.subscription, key_field="subscription")
            start = entry.body.start_date or entry.at
            return subscription.customer_id, Activate(subscription.id, start)
        case CatalogLineAdded():
            subscription = named.subscriptions.find(entry.subscription, key_field="subscription")
            return subscription.customer_id, _added(entry, subscription, key, named)
        case CatalogLineChanged():
            subscription = named.subscriptions.find(entry.subscription, key_field="subscription")
            chain, body = chain_of(subscription, entry.line, named), entry.body
            terms = LineTerms(body.quantity, terms_of(body))
            change = ChangeLine(
                subscription.id, chain, terms, body.effective_from, body.proration_behavior
            )
            return subscription.customer_id, change
        case CatalogLineEnded():
            subscription = named.subscriptions.find(entry.subscription, key_field="subscription")
            chain = chain_of(subscription, entry.line, named)
            ended = EndLine(
                subscription.id, chain, entry.body.effective_from, entry.body.proration_behavior
            )
            return subscription.customer_id, ended
        case _:
            raise AssertionError(f"no change is a {type(entry).__name__}")


def cancellation_of(body: CatalogCancelBody) -> CancellationRequest:
    """Return the request of a cancellation; the policy's correct name wins over its misspelt one."""
    policy = body.cancel_immediately_invoice_policy or body.cancel_immediately_inovice_policy
    return CancellationRequest(
        body.cancellation_type,
        body.cancel_at,
        policy or CancellationInvoicePolicy.GENERATE_INVOICE,
        body.proration_behavior,
        body.reason,
    )


def terms_of(body: CatalogPriceUpdate) -> PriceTerms | None:
    """Return the money terms that a body gives, None where it gives none."""
    size = body.transform_quantity
    terms = PriceTerms(
        body.amount,
        body.billing_model,
        body.tier_mode,
        None
        if body.tiers is None
        else tuple(Tier(each.up_to, each.unit_amount, each.flat_amount) for each in body.tiers),
        None if size is None else TransformQuantity(size.divide_by, size.round),
    )
    return terms if terms.given else None


def chain_of(subscription: Subscription, key: str, named: Named) -> SubscriptionLineId:
    """Return the chain of the line of a price, which is called by its lookup key."""
    known = {name: line for (owner, name), line in named.lines.items() if owner == subscription.id}
    plan = next(each for each in named.plans.by_key.values() if each.id == subscription.plan_id)
    for price in plan.prices:
        for line in subscription.lines:
            if price.id in (line.price.id, line.price.parent_price_id) and price.lookup_key:
                known.setdefault(price.lookup_key, line.chain_id)
    if key not in known:
        raise ValidationFailed(
            f"the subscription has no line of a price {key!r}{nearest(key, known)}", field="line"
        )
    return known[key]


def _added(entry: CatalogLineAdded, subscription: Subscription, key: str, named: Named) -> AddLine:
    """Return the line that a change adds, which later changes call by its price's lookup key."""
    body = entry.body
    if (body.price is None) == (body.price_id is None):
        raise ValidationFailed("give a price or a price_id, and not both", field="body.price")
    if body.price is not None:
        price, name = inline_price(body.price, subscription, key, named), body.price.lookup_key
    else:
        price, name = _known_price(body.price_id or "", named), body.price_id or ""
    if name:
        named.lines[subscription.id, name] = added_line_id(subscription.id, key)
    of_id = {meter.id: meter for meter in named.meters.by_key.values()}
    request = LineRequest(
        price,
        body.quantity,
        body.start_date,
        body.end_date,
        of_id[price.meter_id] if price.meter_id else None,
        body.display_name,
        metadata=body.metadata,
    )
    return AddLine(subscription.id, request, body.proration_behavior)


def inline_price(
    entry: CatalogInlinePrice, subscription: Subscription, key: str, named: Named
) -> Price:
    """Return the price that a line has of its own. Raises ValidationFailed with its first fault."""
    body = entry.model_dump(exclude={"meter"}, exclude_none=True)
    body["currency"] = subscription.currency
    if entry.meter is not None:
        body["meter_id"] = named.meters.find(entry.meter, key_field="body.price.meter").id
    for fault in price_faults(body):
        raise ValidationFailed(fault.problem, field=f"body.price.{fault.field}")
    return price_from(PriceRequest.model_validate(body), id=identity("price", key))


def _known_price(key: str, named: Named) -> Price:
    """Return the first version of a price of any plan by its lookup key."""
    prices = {
        price.lookup_key: price
        for plan in named.plans.by_key.values()
        for price in reversed(plan.prices)
        if price.lookup_key
    }
    if key not in prices:
        raise ValidationFailed(
            f"no price has the lookup_key {key!r}{nearest(key, prices)}", field="body.price_id"
        )
    return prices[key]


def _of_wallet(entry: OfWallet, key: str, named: Named) -> tuple[CustomerId, Change]:
    """Return a change of a wallet that the file opens."""
    customer = named.customers.find(entry.customer, key_field="customer")
    name = WalletId(identity("wallet", customer.external_id, entry.currency, entry.wallet_type))
    if not any(each.id == name for each in named.wallets):
        raise ValidationFailed(
            f"the file opens no {entry.wallet_type} wallet in {entry.currency} for the customer",
            field="currency",
        )
    match entry:
        case CatalogTopUpChange():
            body = entry.body.model_dump(exclude={"metadata"}, exclude_none=True)
            request = top_up_of(TopUpRequest.model_validate(body))
            named_key = request.idempotency_key or key
            return customer.id, TopUpWallet(name, replace(request, idempotency_key=named_key))
        case CatalogDebit(body=taken):
            debit = Debit(
                taken.credits,
                taken.transaction_reason,
                taken.idempotency_key or key,
                taken.description,
            )
            return customer.id, DebitWallet(name, debit)
        case CatalogTermination():
            return customer.id, TerminateWallet(name)
        case _:
            raise AssertionError(f"no change of a wallet is a {type(entry).__name__}")


def _try(changes: ChangesOf, named: Named, found: Findings) -> None:
    """Note each change that the rules refuse, told without any usage, at its place in the file."""
    subscriptions = [
        each for each in named.subscriptions.by_key.values() if each.customer_id in changes
    ]
    wallets = [each for each in named.wallets if each.customer_id in changes]
    with found.at("changes"):
        for account in accounts_of(subscriptions, wallets, changes=changes):
            _try_account(account, found)
    found.end_phase()


def _try_account(account: Account, found: Findings) -> None:
    """Tell the story of an account; where it is refused, find the first change that is."""
    try:
        bill_account(account, NothingUsed(), as_of=account.changes[-1].at)
    except Refused:
        for count, planned in enumerate(account.changes, 1):
            shorter = replace(account, changes=account.changes[:count])
            before = len(found.problems)
            with found.at("changes", planned.number, "body"):
                bill_account(shorter, NothingUsed(), as_of=planned.at)
            if len(found.problems) > before:
                return
        raise
