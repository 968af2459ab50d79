"""Customers, subscriptions and wallets of a catalog file: checked and joined by derived ids."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from billing.subscriptions.agreeing import SubscriptionTerms, blank
from billing.subscriptions.subscribing import subscribe
from billing.wallets.ledger import top_up
from billing.wallets.opening import TopUpAt, WalletOpening, open_wallet, top_up_of
from flows.catalog_commitments import with_commitments
from flows.catalog_grants import check_rates, with_grants
from flows.catalog_names import Findings, Names, identity
from flows.catalog_terms import Offered, with_terms
from schemas.catalog import (
    CatalogCustomer,
    CatalogFile,
    CatalogSubscription,
    CatalogWallet,
)
from schemas.customer import ContactPerson, Customer
from schemas.errors import ValidationFailed
from schemas.ids import CustomerId, SubscriptionId, WalletId
from schemas.money import minor_units
from schemas.subscription import (
    Plan,
    Subscription,
    SubscriptionAction,
    after,
)
from schemas.wallet import TopUpRequest, Wallet, WalletRequest
from schemas.zones import zone

# A wallet without any date of its own exists from here on.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def resolve_customers(file: CatalogFile, found: Findings) -> Names[Customer]:
    """Return the customers, called by their external ids."""
    names: Names[Customer] = Names("customer")
    for index, entry in enumerate(file.customers):
        with found.at("customers", index):
            if entry.timezone:
                zone(entry.timezone)
            id_ = CustomerId(identity("cust", entry.external_id))
            customer = customer_of(entry, id_)
            names.add(customer, key=entry.external_id, name=entry.name, key_field="external_id")
    found.end_phase()
    return names


def customer_of(entry: CatalogCustomer, id_: CustomerId) -> Customer:
    """Return the record of a customer."""
    told = entry.model_dump(exclude={"contact_persons", "tax_rate_overrides"})
    persons = tuple(ContactPerson(**each.model_dump()) for each in entry.contact_persons)
    told["billing_currency"] = entry.billing_currency.lower() or None
    told["tax_treatment"] = entry.tax_treatment or None
    return Customer(id_, **told, contact_persons=persons or None)


def resolve_subscriptions(
    file: CatalogFile,
    customers: Names[Customer],
    plans: Names[Plan],
    offered: Offered,
    found: Findings,
) -> Names[Subscription]:
    """Return the subscriptions, called by lookup key or `customer/plan`."""
    names: Names[Subscription] = Names("subscription")
    for index, entry in enumerate(file.subscriptions):
        with found.at("subscriptions", index):
            customer = customers.find(entry.customer, key_field="customer")
            plan = plans.find(entry.plan, key_field="plan")
            key = entry.lookup_key or f"{customer.external_id}/{plan.lookup_key or plan.name}"
            agreed = subscription_of(entry, key, customer, plan)
            subscription = subscribe(with_grants(agreed, entry.credit_grants, index, found), plan)
            subscription = with_commitments(subscription, entry, index, plan, found)
            subscription = with_terms(
                subscription, entry, index, plan, offered=offered, found=found
            )
            names.add(subscription, key=key, key_field="lookup_key")
    found.end_phase()
    return names


def subscription_of(
    entry: CatalogSubscription, key: str, customer: Customer, plan: Plan
) -> Subscription:
    """Return the record of a subscription, without its lines. Source: billing.md 5.2 and 7."""
    terms = SubscriptionTerms(
        entry.start_date,
        currency_of(entry, plan),
        billing_period=entry.billing_period,
        billing_period_count=entry.billing_period_count,
        billing_cycle=entry.billing_cycle,
        billing_anchor=entry.billing_anchor,
        end_date=entry.end_date,
        timezone=entry.timezone,
        lookup_key=key,
        proration_behavior=entry.proration_behavior,
        trial_period_days=entry.trial_period_days,
        metadata=entry.metadata,
    )
    made = blank(SubscriptionId(identity("subs", key)), terms, customer, plan)
    if entry.subscription_status == "draft":
        return made
    # It is live from its start on, whenever that is looked at.
    begins = SubscriptionAction.START_TRIAL if made.trial_end else SubscriptionAction.ACTIVATE
    return replace(made, status=after(made.status, begins))


def currency_of(entry: CatalogSubscription, plan: Plan) -> str:
    """Return the currency of a subscription: its own, or the only one of its plan."""
    if entry.currency is not None:
        minor_units(entry.currency)
        return entry.currency
    currencies = sorted({price.currency for price in plan.prices})
    if len(currencies) != 1:
        text = f"is needed: the plan has prices in {', '.join(currencies) or 'no currency'}"
        raise ValidationFailed(text, field="currency")
    return currencies[0]


def resolve_wallets(
    file: CatalogFile,
    customers: Names[Customer],
    subscriptions: Names[Subscription],
    found: Findings,
) -> tuple[WalletOpening, ...]:
    """Return the wallets, each tried out with all its top-ups, so that none fails later."""
    openings: list[WalletOpening] = []
    opened: list[Wallet] = []
    starts: dict[CustomerId, datetime] = {}
    for each in subscriptions.by_key.values():
        first = starts.get(each.customer_id, each.start_date)
        starts[each.customer_id] = min(first, each.start_date)
    for index, entry in enumerate(file.wallets):
        with found.at("wallets", index):
            customer = customers.find(entry.customer, key_field="customer")
            top_ups = tuple(top_ups_of(entry, index, found))
            own = {"customer", "top_ups"}
            request = WalletRequest.model_validate(entry.model_dump(exclude=own))
            dates = [each.at for each in top_ups] + [starts.get(customer.id, BEGINNING)]
            id_ = WalletId(
                identity("wallet", customer.external_id, entry.currency, entry.wallet_type)
            )
            opening = WalletOpening(id_, customer.id, min(dates), request, top_ups)
            opened.append(tried(opening, opened))
            openings.append(opening)
    found.end_phase()
    check_rates(subscriptions.by_key.values(), openings, found)
    return tuple(openings)


def top_ups_of(entry: CatalogWallet, index: int, found: Findings) -> Iterator[TopUpAt]:
    """Yield the top-ups of a wallet in order of their instants, as the ledger takes them."""
    for number, each in sorted(enumerate(entry.top_ups), key=lambda pair: pair[1].at):
        with found.at("wallets", index, "top_ups", number):
            body = each.model_dump(exclude={"at", "metadata"}, exclude_none=True)
            if each.credits_to_add is None and each.amount is None:
                raise ValidationFailed("is needed, or amount", field="credits_to_add")
            yield TopUpAt(each.at, top_up_of(TopUpRequest.model_validate(body)))


def tried(opening: WalletOpening, existing: list[Wallet]) -> Wallet:
    """Return the wallet as it will be opened; what the ledger refuses is refused here."""
    posted = open_wallet(
        opening.request,
        wallet_id=opening.id,
        customer_id=opening.customer_id,
        existing=existing,
        at=opening.at,
    )
    holdings = posted.holdings
    for each in opening.top_ups:
        holdings = top_up(holdings, each.request, each.at).holdings
    return holdings.wallet
