"""What customers are entitled to, and what they have used of it (api.md 4.9, billing.md 12)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from billing.api.entitled_features import Held, aggregated, held_by
from billing.api.features import feature_answers
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.subscription_answers import beside, known, subscription_answer
from billing.api.wire import Answer, shown
from billing.ports import UsageReader
from billing.subscriptions.current import current_period
from billing.subscriptions.reset_window import reset_window
from billing.use_cases.customers import customer_by_external_id
from billing.use_cases.found import subject
from schemas.api.answers.customer_usage import (
    BillingPeriodInfo,
    CustomerUsageSummaryResponse,
    FeatureUsageSummary,
)
from schemas.api.answers.effective_entitlements import (
    AggregatedFeature,
    CustomerEntitlementsResponse,
    SubscriptionEntitlementsResponse,
)
from schemas.api.requests.subscriptions import CustomerUsageQuery, EntitledQuery
from schemas.decimals import EXACT, rounded
from schemas.errors import ValidationFailed
from schemas.ids import CustomerId
from schemas.meter import Meter
from schemas.period import Interval
from schemas.price import BillingPeriod
from schemas.subscription import FeatureType, Subscription, SubscriptionStatus

ZERO, HUNDRED = Decimal(0), Decimal(100)
ENTITLING = frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING})
LISTS = ("feature_ids", "subscription_ids", "feature_lookup_keys")


def entitlements_of_subscription(call: Call) -> Answer:
    """Show what one subscription grants."""
    asked = read(EntitledQuery, query_of(call.query, lists=LISTS))
    subscription = known(call)
    return shown(
        SubscriptionEntitlementsResponse(
            subscription_id=subscription.id,
            plan_id=subscription.plan_id or "",
            features=features_of(call, [subscription], asked.feature_ids),
        )
    )


def entitlements_of_customer(call: Call) -> Answer:
    """Show what a customer is entitled to over all its subscriptions."""
    customer = subject(call.environment.objects.customers, call.parameters["id"], "customer")
    return _of_customer(call, customer.record.id)


def entitlements_by_external_id(call: Call) -> Answer:
    """Show what the customer is entitled to that its owner calls so."""
    name = call.parameters["external_id"]
    customer = customer_by_external_id(call.environment.objects, name)
    return _of_customer(call, customer.record.id)


def _of_customer(call: Call, customer_id: CustomerId) -> Answer:
    asked = read(EntitledQuery, query_of(call.query, lists=LISTS))
    found = entitling(call, customer_id, asked.subscription_ids)
    near = beside(call.environment.objects, call.scope, call.services.clock(), found)
    return shown(
        CustomerEntitlementsResponse(
            customer_id=customer_id,
            features=features_of(call, found, asked.feature_ids),
            subscriptions=[subscription_answer(each, near) for each in found],
        )
    )


def entitling(
    call: Call, customer_id: CustomerId, subscription_ids: Collection[str]
) -> list[Subscription]:
    """Return the active and trialing subscriptions of a customer, or some of them."""
    return [
        each
        for each in call.environment.stores.subscriptions_naming(customer_id)
        if each.customer_id == customer_id
        and each.status in ENTITLING
        and (not subscription_ids or each.id in subscription_ids)
    ]


def features_of(
    call: Call, subscriptions: Sequence[Subscription], feature_ids: Collection[str]
) -> list[AggregatedFeature]:
    """Return what some subscriptions grant together, of the features that are asked for."""
    held = held_by(subscriptions, feature_ids)
    objects = call.environment.objects
    rows = objects.features.those(held)
    shown_features = feature_answers(objects, list(rows.values()), call.scope)
    features = {each.id: each for each in shown_features}
    names = {each.plan_id for each in subscriptions if each.plan_id is not None}
    plans = {name: each.record.name for name, each in objects.plans.those(names).items()}
    return [
        aggregated(features[name], each, plans) for name, each in held.items() if name in features
    ]


def usage_of_customer(call: Call) -> Answer:
    """Show how much of each metered feature a customer has used, and may."""
    asked = read(CustomerUsageQuery, query_of(call.query, lists=LISTS))
    at, customer_id = call.services.clock(), _customer_of(call, asked)
    subscriptions = entitling(call, customer_id, asked.subscription_ids)
    wanted = [*asked.feature_ids, *_by_key(call, asked.feature_lookup_keys)]
    narrowed = bool(asked.feature_ids or asked.feature_lookup_keys)
    held = held_by(subscriptions, wanted) if wanted or not narrowed else {}
    summaries = [
        _summary(call, each, held[each.feature.id], at)
        for each in features_of(call, subscriptions, list(held))
        if each.feature.id in held and each.feature.type == FeatureType.METERED.value
    ]
    return shown(
        CustomerUsageSummaryResponse(
            customer_id=customer_id, features=summaries, period=_period(subscriptions, at)
        )
    )


def _customer_of(call: Call, asked: CustomerUsageQuery) -> CustomerId:
    """Return the customer that a query names. Raises ValidationFailed, NotFound."""
    objects = call.environment.objects
    if asked.customer_id:
        return subject(objects.customers, asked.customer_id, "customer").record.id
    if asked.customer_lookup_key:
        return customer_by_external_id(objects, asked.customer_lookup_key).record.id
    raise ValidationFailed("customer_id or customer_lookup_key is needed", field="customer_id")


def _by_key(call: Call, keys: Sequence[str]) -> list[str]:
    """Return the features of some lookup keys that there are."""
    found = [call.environment.objects.features.by_lookup(key) for key in keys]
    return [each.record.id for each in found if each is not None]


def _period(subscriptions: Sequence[Subscription], at: datetime) -> BillingPeriodInfo:
    """Return the current period of the first subscription; without one it is empty."""
    period, word = Interval(at, at), BillingPeriod.MONTHLY
    if subscriptions:
        period, word = current_period(subscriptions[0], at), subscriptions[0].billing_period
    return BillingPeriodInfo(start_time=period.start, end_time=period.end, period=word.value)


def _summary(
    call: Call, shown_feature: AggregatedFeature, held: Sequence[Held], at: datetime
) -> FeatureUsageSummary:
    """Return how much of a feature was used in its current reset window."""
    granted = shown_feature.entitlement
    stored = call.environment.objects.meters.get(shown_feature.feature.meter_id)
    used, resets_at = ZERO, None
    if stored is not None:
        used, resets_at = _used(call.environment.usage, stored.record, held, at)
    limit = granted.usage_limit if granted.is_enabled else 0
    return FeatureUsageSummary(
        feature=shown_feature.feature,
        current_usage=used,
        total_limit=limit,
        usage_percent=_percent(used, limit),
        is_enabled=granted.is_enabled,
        is_soft_limit=granted.is_soft_limit,
        is_unlimited=granted.is_enabled and limit is None,
        next_usage_reset_at=resets_at,
        sources=shown_feature.sources,
        buckets=granted.buckets,
        grant_measure=granted.grant_measure,
        grant_quota=granted.grant_quota,
        grant_duration_value=granted.grant_duration_value,
        grant_duration_unit=granted.grant_duration_unit,
        grant_unlimited=granted.grant_unlimited,
    )


def _used(
    usage: UsageReader, meter: Meter, held: Sequence[Held], at: datetime
) -> tuple[Decimal, datetime | None]:
    """Return what was used in the longest reset window that is granted, and when that ends."""
    longest = max(held, key=lambda each: each.length)
    subscription = longest.subscription
    window = reset_window(subscription, meter, longest.entitlement.usage_reset_period, at)
    if window.start >= at:
        return ZERO, window.end
    found = usage.quantities(
        meter,
        (subscription.external_customer_id,),
        Interval(window.start, at),
        timezone=subscription.timezone,
        billing_anchor=window.anchor,
    )
    return found.value, window.end


def _percent(used: Decimal, limit: int | None) -> Decimal:
    """Return the part of a limit that was used; of a limit of 0 any usage is all of it."""
    if limit is None or not used:
        return ZERO
    return rounded(EXACT.divide(EXACT.multiply(used, HUNDRED), limit)) if limit else HUNDRED


BUILT: Mapping[tuple[str, str], Built] = {
    ("GET", "/v1/subscriptions/{id}/entitlements"): Built(
        entitlements_of_subscription, asks=EntitledQuery, gives=SubscriptionEntitlementsResponse
    ),
    ("GET", "/v1/customers/{id}/entitlements"): Built(
        entitlements_of_customer, asks=EntitledQuery, gives=CustomerEntitlementsResponse
    ),
    ("GET", "/v1/customers/external/{external_id}/entitlements"): Built(
        entitlements_by_external_id, asks=EntitledQuery, gives=CustomerEntitlementsResponse
    ),
    ("GET", "/v1/customers/usage"): Built(
        usage_of_customer, asks=CustomerUsageQuery, gives=CustomerUsageSummaryResponse
    ),
}
