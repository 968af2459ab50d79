"""Searches of subscriptions: by what they say of themselves, in any state (api.md 4.10)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from billing.api.coupon_answers import coupon_answer
from billing.api.entitled import features_of
from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.subscription_answers import beside, subscription_answer
from billing.api.subscription_line_answers import Beside
from billing.api.wire import Answer
from billing.use_cases.customers import customer_by_external_id
from schemas.api.answers.subscriptions import ListSubscriptionsResponse
from schemas.api.requests.subscriptions import SubscriptionFilter
from schemas.api.searching import ApiSearch
from schemas.errors import NotBuiltYet
from schemas.object_query import Condition, Either, Field, Operator
from schemas.stored import Status
from schemas.subscription import Subscription, SubscriptionStatus

COUPON = "coupon"
LINES, COUPONS, ENTITLEMENTS = "subscription_line_items", "coupon_associations", "entitlements"
# Records have no life but that of subscriptions, and keep no instant of their last change.
FIELDS: Mapping[str, Field] = {
    name: (name,)
    for name in (
        "created_at",
        "created_by",
        "start_date",
        "end_date",
        "trial_end",
        "billing_period",
        "currency",
        "plan_id",
        "timezone",
        "collection_method",
    )
} | {
    "customer_id": "customer_id",
    "lookup_key": "lookup_key",
    "version": "version",
    "subscription_status": "status",
}
LISTING = Listing(
    Subscription,
    FIELDS,
    frozenset({"plan", "customer", "prices", "meters", COUPONS, COUPON, LINES, ENTITLEMENTS}),
)
DELEGATED = "delegated_invoicing"
# No subscription has this id.
NOTHING = Condition("id", Operator.EQ, "")


def search_subscriptions(call: Call) -> Answer:
    """Show a page of subscriptions, the newest first and in any state if nothing else is said."""
    asked = read(SubscriptionFilter, call.json)
    return _page(call, asked, list(_conditions(call, asked)))


def _page(call: Call, asked: ApiSearch, conditions: list[Condition | Either]) -> Answer:
    """Show a page with what is wanted beside the subscriptions."""
    wanted = set(expanded(asked.expand, LISTING.expands))
    if isinstance(asked, SubscriptionFilter):
        wanted |= {LINES} if asked.with_line_items else set()
        wanted |= {COUPONS} if asked.with_coupon_associations else set()
    query = query_for(asked, LISTING, conditions, lives=False)
    rows, total = call.environment.reader.subscriptions_where(query)
    near = _near(call, rows, wanted)
    return page_of(rows, total, asked, lambda row: subscription_answer(row, near))


def _near(call: Call, rows: Sequence[Subscription], wanted: Collection[str]) -> Beside:
    """Return what is wanted beside the subscriptions of a page."""
    kept = call.environment
    near = beside(kept.objects, call.scope, call.services.clock(), rows, wanted)
    if COUPON in wanted:
        names = {each.coupon.id for row in rows for each in row.coupons}
        redeemed = kept.reader.redemptions(names)
        coupons = {
            name: coupon_answer(each, call.scope, redeemed.get(each.record.id, 0))
            for name, each in kept.objects.coupons.those(names).items()
        }
        near = replace(near, coupons=coupons, with_coupons=True)
    if ENTITLEMENTS in wanted:
        entitlements = {str(each.id): features_of(call, [each], ()) for each in rows}
        near = replace(near, entitlements=entitlements)
    return near


def _conditions(call: Call, asked: SubscriptionFilter) -> Iterator[Condition | Either]:
    """Yield the conditions of a search's own members."""
    if asked.effective_date_for_update is not None:
        text = "effective_date_for_update belongs to M2: not built yet"
        raise NotBuiltYet(text, field="effective_date_for_update")
    yield from said(
        {
            "id": asked.subscription_ids,
            "customer_id": asked.customer_id,
            ("customer_id",): asked.customer_ids,
            ("invoicing_customer_id",): asked.invoicing_customer_ids,
            "status": asked.subscription_status,
            ("plan_id",): asked.plan_id,
            ("billing_period",): asked.billing_period,
        }
    )
    if asked.external_customer_id is not None:
        named = call.environment.objects.customers.by_lookup(asked.external_customer_id)
        yield Condition("customer_id", Operator.EQ, named.record.id) if named else NOTHING
    kinds = set(asked.subscription_type or ())
    if asked.parent_subscription_ids or (kinds and not kinds & {"standalone", DELEGATED}):
        yield NOTHING
    elif len(kinds & {"standalone", DELEGATED}) == 1:
        operator = Operator.NOT_IN if DELEGATED in kinds else Operator.EQ
        value = ("",) if DELEGATED in kinds else None
        yield Condition(("invoicing_customer_id",), operator, value)
    if asked.status not in {None, Status.PUBLISHED}:
        yield NOTHING
    if asked.active_at is not None:
        yield from _active_at(asked.active_at)
    if asked.trial_end_due_lte is not None:
        yield Condition("status", Operator.EQ, SubscriptionStatus.TRIALING.value)
        yield Condition(("trial_end",), Operator.LTE, asked.trial_end_due_lte)


def _active_at(at: datetime) -> Iterator[Condition | Either]:
    """Yield the conditions of having begun and not ended at an instant; a draft has not begun."""
    yield Condition("status", Operator.NOT_IN, (SubscriptionStatus.DRAFT.value,))
    yield Condition(("start_date",), Operator.LTE, at)
    for name in ("end_date", "cancelled_at"):
        open_end = Condition((name,), Operator.EQ, None)
        yield Either((open_end, Condition((name,), Operator.GT, at)))


def subscriptions_by_external_id(call: Call) -> Answer:
    """Show all subscriptions of the customer that its owner calls so."""
    external_id = call.parameters["external_id"]
    customer = customer_by_external_id(call.environment.objects, external_id)
    asked = read(ApiSearch, query_of(call.query, lists=["expand"]))
    return _page(call, asked, [Condition("customer_id", Operator.EQ, customer.record.id)])


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/subscriptions/search"): Built(
        search_subscriptions, takes=SubscriptionFilter, gives=ListSubscriptionsResponse
    ),
    ("GET", "/v1/customers/external/{external_id}/subscriptions"): Built(
        subscriptions_by_external_id, asks=ApiSearch, gives=ListSubscriptionsResponse
    ),
}
