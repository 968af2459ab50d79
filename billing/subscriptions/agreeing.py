"""Agreeing: from what is asked for, a customer and a plan to the record of a subscription.

The same rules hold for the API and for a catalog file. Nothing is stored here, and nothing is
invoiced: the record is a draft with its lines, grants, coupons and taxes (billing.md 5.2 and 7).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.coupons import attach
from billing.invoices.taxes import agreed as agreed_taxes
from billing.periods.grid import days_later
from billing.pricing.commitment_terms import commit_line, commit_subscription
from billing.subscriptions.activation import check_collection, trial_days
from billing.subscriptions.added_lines import LineRequest, line_from
from billing.subscriptions.overrides import PriceTerms, overridden
from billing.subscriptions.subscribing import line_quantity, subscribe, taken_over
from schemas.collection import CollectionMethod, PaymentBehavior, PaymentTerms
from schemas.commitment import Commitment
from schemas.coupon import Coupon, CouponAttachment
from schemas.customer import Customer
from schemas.errors import ValidationFailed
from schemas.ids import SubscriptionId
from schemas.money import minor_units
from schemas.price import BillingPeriod, Price, PriceType
from schemas.subscription import (
    BillingCycle,
    Entitlement,
    Plan,
    ProrationBehavior,
    ProrationStrategy,
    Subscription,
    SubscriptionLine,
    SubscriptionStatus,
)
from schemas.tax import TaxAttachment
from schemas.zones import zone


@dataclass(frozen=True, slots=True)
class LineOverride:
    """Terms of its own for the line of one price of the plan: of money, a quantity, or both."""

    price_id: str
    terms: PriceTerms = field(default_factory=PriceTerms)
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CouponGrant:
    """A coupon for a subscription, or for the line of one price of its plan."""

    coupon: Coupon
    price_id: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionTerms:
    """What a subscription is asked to be, beside its customer and its plan.

    `taxes` None are those of the customer. `line_commitments` are by price of the plan, and
    `include_price_ids` None takes over all prices that fit.
    """

    start_date: datetime
    currency: str
    billing_period: BillingPeriod | None = None
    billing_period_count: int = 1
    billing_cycle: BillingCycle = BillingCycle.ANNIVERSARY
    billing_anchor: datetime | None = None
    end_date: datetime | None = None
    timezone: str = ""
    lookup_key: str = ""
    proration_behavior: ProrationBehavior = ProrationBehavior.NONE
    proration_strategy: ProrationStrategy = ProrationStrategy.SECOND_BASED
    collection_method: CollectionMethod = CollectionMethod.CHARGE_AUTOMATICALLY
    payment_behavior: PaymentBehavior = PaymentBehavior.DEFAULT_ACTIVE
    payment_terms: PaymentTerms | None = None
    trial_period_days: int | None = None
    include_price_ids: tuple[str, ...] | None = None
    overrides: tuple[LineOverride, ...] = ()
    lines: tuple[LineRequest, ...] = ()
    entitlements: tuple[Entitlement, ...] = ()
    commitment: Commitment | None = None
    line_commitments: Mapping[str, Commitment] = field(default_factory=dict)
    coupons: tuple[CouponGrant, ...] = ()
    taxes: tuple[TaxAttachment, ...] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def check_terms(terms: SubscriptionTerms) -> None:
    """Refuse what no subscription can be: ValidationFailed, naming the field.

    A currency, an end that is not after the start, an anchor before it or on a calendar, a period
    that does not recur, and collection that makes no sense. Source: billing.md 5.2 and 7.
    """
    minor_units(terms.currency)
    if terms.end_date is not None and terms.end_date <= terms.start_date:
        raise ValidationFailed("must be after start_date", field="end_date")
    if terms.billing_anchor is not None:
        if terms.billing_cycle is BillingCycle.CALENDAR:
            raise ValidationFailed("is for anniversary cycles only", field="billing_anchor")
        if terms.billing_anchor < terms.start_date:
            raise ValidationFailed("must not be before start_date", field="billing_anchor")
    if terms.billing_period is BillingPeriod.ONETIME:
        raise ValidationFailed("a subscription recurs", field="billing_period")
    if terms.billing_period_count < 0:
        raise ValidationFailed("must not be negative", field="billing_period_count")
    check_collection(terms.collection_method, terms.payment_behavior)


def agreed_period(plan: Plan) -> BillingPeriod:
    """Return the billing period of all recurring prices of a plan, else a month.

    >>> from schemas.ids import PlanId
    >>> agreed_period(Plan(PlanId("p"), "Free")).value
    'MONTHLY'
    """
    periods = {price.billing_period for price in plan.prices} - {BillingPeriod.ONETIME}
    return periods.pop() if len(periods) == 1 else BillingPeriod.MONTHLY


def blank(
    id: SubscriptionId,  # noqa: A002 (the field)
    terms: SubscriptionTerms,
    customer: Customer,
    plan: Plan,
) -> Subscription:
    """Return the draft of a subscription without its lines, on trial where one is agreed.

    The customer's time zone wins. Raises as `check_terms` does, for an unknown zone, and where the
    plan's prices have trials of different lengths. Source: billing.md 5 and 7.
    """
    check_terms(terms)
    timezone = customer.timezone or terms.timezone or "UTC"
    zone(timezone)
    made = Subscription(
        id=id,
        customer_id=customer.id,
        external_customer_id=customer.external_id,
        currency=terms.currency,
        start_date=terms.start_date,
        billing_period=terms.billing_period or agreed_period(plan),
        # 0 counts as absent (api-fields.md).
        billing_period_count=terms.billing_period_count or 1,
        billing_cycle=terms.billing_cycle,
        billing_anchor=terms.billing_anchor,
        end_date=terms.end_date,
        timezone=timezone,
        proration_behavior=terms.proration_behavior,
        proration_strategy=terms.proration_strategy,
        collection_method=terms.collection_method,
        payment_behavior=terms.payment_behavior,
        payment_terms=terms.payment_terms,
        status=SubscriptionStatus.DRAFT,
        lookup_key=terms.lookup_key,
        plan_id=plan.id,
        metadata=terms.metadata,
    )
    taken = [price for price in _included(terms, plan) if taken_over(made, price)]
    days = trial_days(terms.trial_period_days, taken)
    if not days:
        return made
    return replace(made, trial_end=days_later(made.start_date, days, timezone))


def agree(
    id: SubscriptionId,  # noqa: A002 (the field)
    terms: SubscriptionTerms,
    customer: Customer,
    plan: Plan,
    inherited_taxes: Iterable[TaxAttachment] = (),
) -> Subscription:
    """Return the draft of a subscription with everything that is asked for.

    Raises ValidationFailed naming the field: as `blank`, and for an override, a commitment, a
    coupon or an entitlement that names nothing of the plan or cannot be. Source: billing.md 7.
    """
    made = blank(id, terms, customer, plan)
    prices = tuple(_included(terms, plan))
    made = subscribe(made, replace(plan, prices=prices))
    made = _overridden(made, terms.overrides, plan)
    for number, request in enumerate(terms.lines):
        line = line_from(made, request, request.start_date or made.starts_at, "asked", number)
        made = replace(made, lines=(*made.lines, line))
    made = replace(made, entitlements=_entitled(made.entitlements, terms.entitlements))
    for price_id, promised in terms.line_commitments.items():
        made = commit_line(made, price_id, promised)
    if terms.commitment is not None:
        made = commit_subscription(made, terms.commitment)
    coupons = tuple(_attached(made, request) for request in terms.coupons)
    taxes = agreed_taxes(terms.taxes, tuple(inherited_taxes))
    return replace(made, coupons=coupons, taxes=taxes)


def _included(terms: SubscriptionTerms, plan: Plan) -> Iterable[Price]:
    """Return the prices of a plan that may be taken over."""
    wanted = terms.include_price_ids
    if wanted is None:
        return plan.prices
    known = {price.id for price in plan.prices}
    for price_id in wanted:
        if price_id not in known:
            raise ValidationFailed(f"the plan has no price {price_id}", field="include_price_ids")
    chains = {price.parent_price_id or price.id for price in plan.prices if price.id in wanted}
    return (price for price in plan.prices if (price.parent_price_id or price.id) in chains)


def _overridden(
    subscription: Subscription, overrides: Iterable[LineOverride], plan: Plan
) -> Subscription:
    """Return a subscription whose lines have the terms that overrides give them."""
    seen: set[str] = set()
    for override in overrides:
        line = _line_of(subscription, override.price_id)
        if line is None:
            text = f"the subscription takes over no price {override.price_id} of {plan.name}"
            raise ValidationFailed(text, field="override_line_items")
        if override.price_id in seen:
            raise ValidationFailed("at most one override a price", field="override_line_items")
        seen.add(override.price_id)
        if not override.terms.given and override.quantity is None:
            raise ValidationFailed("an override changes something", field="override_line_items")
        subscription = _with_terms(subscription, line, override)
    return subscription


def _line_of(subscription: Subscription, price_id: str) -> SubscriptionLine | None:
    """Return the first version of the line of a price of the plan."""
    for line in subscription.lines:
        if price_id in (line.price.id, line.price.parent_price_id):
            return line
    return None


def _with_terms(
    subscription: Subscription, line: SubscriptionLine, override: LineOverride
) -> Subscription:
    """Return a subscription one of whose lines has its own terms instead of the plan's versions.

    A subscription that overrides a chain does not follow the plan's changes of it (billing.md 9.4).
    """
    price = line.price
    if override.terms.given:
        price = replace(overridden(price, override.terms, subscription.id), end_date=None)
    quantity = line.quantity
    if override.quantity is not None or price.type is PriceType.FIXED:
        quantity = line_quantity(price, override.quantity)
    own = replace(line, price=price, quantity=quantity)
    kept = []
    for each in subscription.lines:
        if each is line:
            chain = [other for other in subscription.lines if other.chain_id == line.chain_id]
            kept.append(replace(own, end_date=chain[-1].end_date) if override.terms.given else own)
        elif each.chain_id != line.chain_id or not override.terms.given:
            kept.append(each)
    return replace(subscription, lines=tuple(kept))


def _entitled(
    granted: tuple[Entitlement, ...], overrides: Iterable[Entitlement]
) -> tuple[Entitlement, ...]:
    """Return what is granted, where overrides take the place of the entitlements they name.

    Source: billing.md 12.
    """
    found = {each.id: each for each in granted}
    for override in overrides:
        replaced = override.parent_entitlement_id
        if replaced is None or replaced not in found:
            text = f"the plan has no entitlement {replaced}"
            raise ValidationFailed(text, field="override_entitlements")
        found[replaced] = override
    return tuple(found.values())


def _attached(subscription: Subscription, request: CouponGrant) -> CouponAttachment:
    """Return a coupon attached to a subscription or to the line of a price."""
    chain = None
    if request.price_id is not None:
        line = _line_of(subscription, request.price_id)
        if line is None:
            text = f"the subscription has no line of price {request.price_id}"
            raise ValidationFailed(text, field="line_item_coupons")
        chain = line.chain_id
    return attach(
        request.coupon,
        subscription,
        chain_id=chain,
        start_date=request.start_date,
        end_date=request.end_date,
    )
