"""Prices: added one by one or together, changed by successors, ended, found (api.md 4.7)."""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.plan_answers import plans_by_id
from billing.api.price_answers import (
    EXPANDS,
    GROUPS,
    METERS,
    PLAN,
    Around,
    around,
    not_ended,
    price_answer,
)
from billing.api.reading import read
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.ports.objects import Objects
from billing.pricing.versions import MoneyTerms
from billing.use_cases.found import subject
from billing.use_cases.prices import create_prices, end, update_price
from schemas.api.answers.objects import SuccessResponse
from schemas.api.answers.prices import (
    CreateBulkPriceResponse,
    ListPricesResponse,
    PriceResponse,
)
from schemas.api.requests.prices import (
    BULK_MAX,
    CreateBulkPriceRequest,
    DeletePriceRequest,
    PriceFilter,
    UpdatePriceRequest,
)
from schemas.errors import NotBuiltYet, NotFound, ValidationFailed
from schemas.object_query import Condition, Either, Operator
from schemas.price import Price, PriceEntityType, Tier, TransformQuantity
from schemas.price_request import PriceRequest, price_faults
from schemas.scope import Scope
from schemas.stored import Stored

PRICES = Listing(
    Price,
    {
        name: name
        for name in (
            "entity_type", "entity_id", "type", "billing_model", "billing_period",
            "billing_period_count", "invoice_cadence", "currency", "amount", "tier_mode",
            "meter_id", "min_quantity", "trial_period_days", "start_date", "end_date",
            "lookup_key", "display_name", "description", "group_id", "parent_price_id", "sequence",
        )
    },
    EXPANDS,
)  # fmt: skip

# What a reader of one price sees around it.
READ = frozenset({METERS, GROUPS})
# Members of a request that wait for prices in units of their own, or buckets of their own.
LATER = ("bucket_size", "price_unit_config")
CUSTOM = "CUSTOM"
IN_PLACE = ("display_name", "description", "lookup_key", "group_id", "metadata")


def create_price(call: Call) -> Answer:
    """Add a price."""
    request = _request(call.json)
    stored = _create(call, [request])
    return shown(_shown(call, stored)[0], 201)


def create_prices_together(call: Call) -> Answer:
    """Add several prices, all of them or none."""
    bodies = call.json.get("items")
    if not isinstance(bodies, list) or not 1 <= len(bodies) <= BULK_MAX:
        raise ValidationFailed(f"must be a list of 1 to {BULK_MAX} prices", field="items")
    problems = [
        {**problem, "field": f"items.{number}.{problem['field']}"}
        for number, body in enumerate(bodies)
        for problem in _problems(body)
    ]
    _refuse(problems)
    stored = _create(call, [PriceRequest.model_validate(body) for body in bodies])
    return shown(CreateBulkPriceResponse(items=_shown(call, stored)), 201)


def read_price(call: Call) -> Answer:
    """Show a price with its meter and group."""
    with call.environment.objects.reading() as inside:
        stored = subject(inside.prices, call.parameters["id"], "price")
        return shown(_answers(inside, call.scope, [stored], READ)[0])


def read_price_by_key(call: Call) -> Answer:
    """Show the price of a lookup key, the last of its versions."""
    key = call.parameters["lookup_key"]
    with call.environment.objects.reading() as inside:
        stored = inside.prices.by_lookup(key)
        if stored is None:
            raise NotFound(f"there is no price of the lookup key {key}")
        return shown(_answers(inside, call.scope, [stored], READ)[0])


def change_price(call: Call) -> Answer:
    """Change a price; other money terms start a successor, which is then shown."""
    asked = read(UpdatePriceRequest, call.json)
    changes: dict[str, Any] = {
        name: value for name, value in asked.changes().items() if name in IN_PLACE
    }
    if changes.get("group_id") == "":
        changes["group_id"] = None
    kept = call.environment
    stored = update_price(
        kept.objects,
        call.parameters["id"],
        _money(asked),
        changes,
        effective_from=asked.effective_from,
        new_id=kept.new_id,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(_shown(call, [stored])[0])


def delete_price(call: Call) -> Answer:
    """End a price, now or at an instant."""
    asked = read(DeletePriceRequest, call.json)
    name = call.parameters["id"]
    end(
        call.environment.objects,
        name,
        asked.end_date,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(SuccessResponse(message=f"price {name} is ended"))


def search_prices(call: Call) -> Answer:
    """Show a page of the prices that a search is after."""
    asked = read(PriceFilter, call.json)
    wanted = expanded(asked.expand, PRICES.expands)
    conditions = _conditions(asked)
    if not asked.allow_expired_prices:
        conditions.append(not_ended(call.services.clock()))
    with call.environment.objects.reading() as inside:
        page = inside.prices.page(query_for(asked, PRICES, conditions))
        answers = _answers(inside, call.scope, page.rows, wanted)
    return page_of(answers, page.total, asked, lambda each: each)


def _conditions(asked: PriceFilter) -> list[Condition | Either]:
    """Return what the members of a search ask for; empty lists ask for nothing."""
    of_plans = PriceEntityType.PLAN.value if asked.plan_ids else None
    of_subscription = PriceEntityType.SUBSCRIPTION.value if asked.subscription_id else None
    found: list[Condition | Either] = [
        # Some of them ask for the same field, and then for both.
        *said({"entity_type": of_plans, "parent_id": asked.plan_ids}),
        *said({"entity_type": of_subscription, "parent_id": asked.subscription_id}),
        *said(
            {
                "entity_type": asked.entity_type,
                "id": asked.price_ids,
                "parent_id": asked.entity_ids,
                "parent_price_id": asked.parent_price_id,
                "meter_id": asked.meter_ids,
                "billing_period": asked.billing_periods,
            }
        ),
    ]
    if asked.start_date_lt is not None:
        found.append(Condition("start_date", Operator.LT, asked.start_date_lt))
    if asked.updated_after is not None:
        found.append(Condition("updated_at", Operator.AFTER, asked.updated_after))
    return found


def _request(body: Mapping[str, object]) -> PriceRequest:
    """Return a create request whose rules hold. Raises ValidationFailed with every problem."""
    _refuse(_problems(body))
    return PriceRequest.model_validate(body)


def _problems(body: object) -> list[dict[str, object]]:
    """Return everything that is wrong with a create request."""
    if not isinstance(body, Mapping):
        return [{"field": "", "problem": "must be an object"}]
    if str(body.get("price_unit_type") or "").upper() == CUSTOM:
        raise NotBuiltYet("prices in units of their own belong to M2", field="price_unit_type")
    for name in LATER:
        if body.get(name):
            raise NotBuiltYet(f"{name} belongs to M2: not built yet", field=name)
    return [{"field": each.field, "problem": each.problem} for each in price_faults(body)]


def _refuse(problems: Sequence[Mapping[str, object]]) -> None:
    """Refuse a request with all its problems, if there are any."""
    if problems:
        named = ", ".join(dict.fromkeys(str(each["field"]) for each in problems))
        raise ValidationFailed(
            f"the request is not valid at {named}: see details",
            details={"fields": list(problems)},
        )


def _create(call: Call, requests: Sequence[PriceRequest]) -> Sequence[Stored[Price]]:
    kept = call.environment
    return create_prices(
        kept.objects,
        kept.stores,
        requests,
        new_id=kept.new_id,
        at=call.services.clock(),
        by=call.caller,
    )


def _money(asked: UpdatePriceRequest) -> MoneyTerms:
    """Return the money terms that a change gives."""
    size = asked.transform_quantity
    return MoneyTerms(
        amount=asked.amount,
        billing_model=asked.billing_model,
        tier_mode=asked.tier_mode,
        tiers=None
        if asked.tiers is None
        else tuple(Tier(each.up_to, each.unit_amount, each.flat_amount) for each in asked.tiers),
        transform_quantity=None if size is None else TransformQuantity(size.divide_by, size.round),
    )


def _shown(call: Call, rows: Sequence[Stored[Price]]) -> list[PriceResponse]:
    """Return prices that were written, with what a reader of them sees."""
    with call.environment.objects.reading() as inside:
        return _answers(inside, call.scope, rows, READ)


def _answers(
    inside: Objects, scope: Scope, rows: Sequence[Stored[Price]], wanted: frozenset[str]
) -> list[PriceResponse]:
    """Return prices with the objects around them that are wanted."""
    near = around(inside, rows, wanted)
    if PLAN in wanted:
        owners = {
            each.record.entity_id
            for each in rows
            if each.record.entity_type is PriceEntityType.PLAN
        }
        plans = plans_by_id(inside, scope, owners)
        near = Around(near.meters, plans, near.groups, near.members)
    return [price_answer(each, scope, near) for each in rows]


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/prices"): Built(create_price, takes=PriceRequest, gives=PriceResponse),
    ("POST", "/v1/prices/bulk"): Built(
        create_prices_together, takes=CreateBulkPriceRequest, gives=CreateBulkPriceResponse
    ),
    ("POST", "/v1/prices/search"): Built(
        search_prices, takes=PriceFilter, gives=ListPricesResponse
    ),
    ("GET", "/v1/prices/lookup/{lookup_key}"): Built(read_price_by_key, gives=PriceResponse),
    ("GET", "/v1/prices/{id}"): Built(read_price, gives=PriceResponse),
    ("PUT", "/v1/prices/{id}"): Built(change_price, takes=UpdatePriceRequest, gives=PriceResponse),
    ("DELETE", "/v1/prices/{id}"): Built(
        delete_price, takes=DeletePriceRequest, gives=SuccessResponse
    ),
}
