"""Lines of subscriptions over HTTP: added, changed, ended and found (api.md 4.12)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from billing.api.line_terms import Lines, changed_commitment, line_request, price_terms
from billing.api.listing import Listing, expanded, page_of, query_for
from billing.api.own_prices import added_prices, own_prices
from billing.api.reading import read
from billing.api.routing import Built, Call
from billing.api.subscription_answers import beside, known
from billing.api.subscription_line_answers import begun_at, own_line_answer, owner_of
from billing.api.wire import Answer, shown
from billing.subscriptions.overrides import LineTerms
from billing.use_cases.line_details import LineDetails, describe_line
from billing.use_cases.subscription_changes import (
    LineChanged,
    When,
    add_line,
    change_line,
    end_line,
)
from schemas.api.answers.subscriptions import (
    ListSubscriptionLineItemsResponse,
    SubscriptionLineItemResponse,
)
from schemas.api.requests.subscriptions import (
    CreateSubscriptionLineItemRequest,
    DeleteSubscriptionLineItemRequest,
    SubscriptionLineItemFilter,
    UpdateSubscriptionLineItemRequest,
)
from schemas.errors import NotFound
from schemas.price import PriceEntityType
from schemas.stored import Status, Stored, made
from schemas.subscription import ProrationBehavior, Subscription, SubscriptionLine

LISTING = Listing(
    SubscriptionLine,
    {name: (name,) for name in ("start_date", "end_date", "quantity", "display_name")},
    frozenset({"prices", "subscription_line_items"}),
)


def _behavior(word: str | None) -> ProrationBehavior | None:
    return None if word is None else ProrationBehavior(word)


def _of_path(call: Call) -> tuple[Subscription, SubscriptionLine]:
    """Return the line of the path with its subscription. Raises NotFound."""
    wanted = call.parameters["id"]
    for subscription in call.environment.reader.naming(wanted):
        for line in subscription.lines:
            if line.id == wanted:
                return subscription, line
    raise NotFound(f"there is no subscription line {wanted}")


def _shown(call: Call, done: LineChanged, status: int = 200) -> Answer:
    """Show a line after a change."""
    near = beside(
        call.environment.objects, call.scope, call.services.clock(), [done.subscription], ["meters"]
    )
    return shown(own_line_answer(done.subscription, done.line, near), status)


def add(call: Call) -> Answer:
    """Add a line to a subscription, with a price that exists or one of its own."""
    asked = read(CreateSubscriptionLineItemRequest, call.json)
    kept, at, before = call.environment, call.services.clock(), known(call)
    with kept.objects.reading() as held:
        making = Lines(held, before.id, before.currency.lower(), kept.new_id)
        request = line_request(making, asked)
    when = When(behavior=_behavior(asked.proration_behavior))
    made_for_it = request.price.entity_type is PriceEntityType.SUBSCRIPTION
    own = [request.price] if made_for_it and asked.price is not None else []
    with added_prices(kept, own, at, call.caller):
        done = add_line(kept.stores, kept.usage, before.id, request, at=at, when=when)
    return _shown(call, done, 201)


def change(call: Call) -> Answer:
    """Give a line other money terms from an instant on; metadata and commitment change in place."""
    asked = read(UpdateSubscriptionLineItemRequest, call.json)
    kept, at = call.environment, call.services.clock()
    subscription, line = _of_path(call)
    details = LineDetails(asked.metadata, changed_commitment(asked, line.commitment))
    terms, done = price_terms(asked), LineChanged(subscription, line)
    if terms.given:
        when = When(asked.effective_from)
        done = change_line(
            kept.stores,
            kept.usage,
            subscription.id,
            line.id,
            LineTerms(price=terms),
            at=at,
            when=when,
        )
        with added_prices(kept, own_prices(done.subscription), at, call.caller):
            pass
    if details.given:
        done = describe_line(kept.stores, done.subscription.id, done.line.id, details, at=at)
    return _shown(call, done)


def end(call: Call) -> Answer:
    """End a line, now unless another instant is given."""
    asked = read(DeleteSubscriptionLineItemRequest, call.json)
    kept, at = call.environment, call.services.clock()
    subscription, line = _of_path(call)
    when = When(asked.effective_from, behavior=_behavior(asked.proration_behavior))
    done = end_line(kept.stores, kept.usage, subscription.id, line.id, at=at, when=when)
    return _shown(call, done)


def search(call: Call) -> Answer:
    """Show a page of lines, those active now unless the search says otherwise."""
    asked = read(SubscriptionLineItemFilter, call.json)
    wanted = expanded(asked.expand, LISTING.expands)
    at = asked.current_period_start or call.services.clock()
    owners: dict[str, Subscription] = {}

    def rows_of(subscription: Subscription) -> Iterator[Stored[SubscriptionLine]]:
        for line in subscription.lines:
            if _fits(subscription, line, asked, at):
                owners[line.id] = subscription
                began = begun_at(subscription, line) or line.start_date
                yield made(line, began, subscription.created_by)

    query = query_for(asked, LISTING, lives=False)
    if asked.status not in {None, Status.PUBLISHED}:
        query = replace(query, offset=0, limit=0)
    page = call.environment.reader.lines_where(
        query,
        rows_of,
        subscription_ids=asked.subscription_ids or (),
        customer_ids=asked.customer_ids or (),
    )
    subscriptions = [owners[row.record.id] for row in page.rows]
    near = beside(call.environment.objects, call.scope, at, subscriptions, ["meters"])
    return page_of(
        page.rows,
        page.total,
        asked,
        lambda row: own_line_answer(
            owners[row.record.id], row.record, near, with_price="prices" in wanted
        ),
    )


def _fits(
    subscription: Subscription,
    line: SubscriptionLine,
    asked: SubscriptionLineItemFilter,
    at: datetime,
) -> bool:
    """Tell whether a line is one of those that a search's own members ask for."""
    kind, owner = owner_of(subscription, line.price)
    if asked.active_filter is not False and not _active(subscription, line, at):
        return False
    if asked.status not in {None, Status.PUBLISHED} or asked.addon_association_ids:
        return False
    chosen = (
        (asked.subscription_line_item_ids, line.id),
        (asked.price_ids, line.price.id),
        (asked.meter_ids, line.price.meter_id),
        (asked.entity_ids, owner),
        (asked.currencies and [each.lower() for each in asked.currencies], line.price.currency),
        (
            asked.billing_periods and [each.upper() for each in asked.billing_periods],
            line.price.billing_period.value,
        ),
        (asked.entity_type and [asked.entity_type], kind),
    )
    return all(not values or value in values for values, value in chosen)


def _active(subscription: Subscription, line: SubscriptionLine, at: datetime) -> bool:
    """Tell whether a line is in force at an instant."""
    ends = [each for each in (line.end_date, subscription.ends_at) if each is not None]
    return line.start_date <= at and all(at < each for each in ends)


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/subscriptions/{id}/lineitems"): Built(
        add, takes=CreateSubscriptionLineItemRequest, gives=SubscriptionLineItemResponse
    ),
    ("POST", "/v1/subscriptions/lineitems/search"): Built(
        search, takes=SubscriptionLineItemFilter, gives=ListSubscriptionLineItemsResponse
    ),
    ("PUT", "/v1/subscriptions/lineitems/{id}"): Built(
        change, takes=UpdateSubscriptionLineItemRequest, gives=SubscriptionLineItemResponse
    ),
    ("DELETE", "/v1/subscriptions/lineitems/{id}"): Built(
        end, takes=DeleteSubscriptionLineItemRequest, gives=SubscriptionLineItemResponse
    ),
}
