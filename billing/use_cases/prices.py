"""Prices: added to plans and subscriptions, changed by successors, and ended.

Source: billing.md 3, api.md 4.7.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from billing.catalog import hanging_on, next_sequence
from billing.ports import Stores
from billing.ports.objects import Objects
from billing.pricing.versions import MoneyTerms, change_price, changes_money, end_price
from billing.use_cases.found import referred, subject
from billing.use_cases.groups import group_for
from schemas.errors import NotBuiltYet, ValidationFailed
from schemas.group import GroupEntityType
from schemas.ids import SubscriptionId
from schemas.object_query import Query
from schemas.price import Price, PriceEntityType
from schemas.price_request import PriceRequest, price_from
from schemas.stored import Stored, changed, made

LATER = frozenset({PriceEntityType.ADDON, PriceEntityType.COSTSHEET})


def create_prices(
    objects: Objects,
    stores: Stores,
    requests: Sequence[PriceRequest],
    *,
    new_id: Callable[[str], str],
    at: datetime,
    by: str,
) -> tuple[Stored[Price], ...]:
    """Add prices to what owns them, all of them or none; each starts now unless it says otherwise.

    Raises ValidationFailed for a rule that is broken and for a reference that names nothing, and
    AlreadyExists for a lookup key that is taken; where there are several prices, with the place of
    the one that is wrong.
    """
    found = []
    with objects.writing() as inside:
        for number, request in enumerate(requests):
            try:
                stored = made(_new(inside, stores, request, new_id, at), at, by)
                inside.prices.add(stored)
            except ValidationFailed as error:
                raise error if len(requests) == 1 else _placed(error, number) from error
            found.append(stored)
    return tuple(found)


def _placed(error: ValidationFailed, number: int) -> ValidationFailed:
    """Return the refusal of one of several items, with its place."""
    field = f"items.{number}.{error.field}"
    return ValidationFailed(f"item {number}: {error}", field=field, reason=error.reason)


def _new(
    inside: Objects,
    stores: Stores,
    request: PriceRequest,
    new_id: Callable[[str], str],
    at: datetime,
) -> Price:
    """Return the price of a request, once all that it names has been found."""
    entity_type, entity_id, owner = _owner(inside, stores, request)
    price = price_from(request, id=new_id("price"))
    shown = owner
    if price.meter_id is not None:
        shown = referred(inside.meters, price.meter_id, "meter_id").record.name
    if price.group_id is not None:
        group_for(inside, price.group_id, GroupEntityType.PRICE)
    start = price.start_date or at
    if price.end_date is not None and price.end_date < start:
        raise ValidationFailed("must not be before start_date", field="end_date")
    return replace(
        price,
        entity_type=entity_type,
        entity_id=entity_id,
        display_name=price.display_name or shown,
        start_date=start,
        sequence=_next(inside, entity_id),
    )


def _owner(
    inside: Objects, stores: Stores, request: PriceRequest
) -> tuple[PriceEntityType, str, str]:
    """Return what a price belongs to, and a name for the price where it has none.

    Raises ValidationFailed (`entity_type`, `entity_id`, `plan_id`), NotBuiltYet for later kinds.
    """
    entity_type, entity_id = request.entity_type.upper(), request.entity_id
    if request.plan_id:
        if entity_type not in ("", PriceEntityType.PLAN) or entity_id not in ("", request.plan_id):
            raise ValidationFailed(
                "must say the same as entity_type and entity_id", field="plan_id"
            )
        entity_type, entity_id = PriceEntityType.PLAN, request.plan_id
    if entity_type not in set(PriceEntityType):
        accepted = ", ".join(PriceEntityType)
        raise ValidationFailed(f"must be one of {accepted}", field="entity_type")
    kind = PriceEntityType(entity_type)
    if not entity_id:
        raise ValidationFailed("is required", field="entity_id")
    if kind in LATER:
        text = f"prices of entity_type {kind} belong to a later milestone: not built yet"
        raise NotBuiltYet(text, field="entity_type")
    if kind is PriceEntityType.PLAN:
        return kind, entity_id, referred(inside.plans, entity_id, "entity_id").record.name
    if stores.subscription(SubscriptionId(entity_id)) is None:
        raise ValidationFailed(f"there is no subscription {entity_id}", field="entity_id")
    return kind, entity_id, ""


def _next(inside: Objects, entity_id: str) -> int:
    """Return the place of the next price of an owner."""
    every = inside.prices.page(Query((hanging_on(entity_id),))).rows
    return next_sequence(each.record for each in every)


def update_price(
    objects: Objects,
    price_id: str,
    money: MoneyTerms,
    changes: Mapping[str, Any],
    *,
    effective_from: datetime | None,
    new_id: Callable[[str], str],
    at: datetime,
    by: str,
) -> Stored[Price]:
    """Change a price, and return it, or its successor where other money terms make one.

    The successor starts at `effective_from`, now where that is absent, and no earlier than the price.
    What else changes is changed in place, of the successor if there is one. Raises NotFound,
    ValidationFailed (`effective_from` without money terms or too early, the terms, `group_id`),
    InvalidOperation for new terms of a price that has ended or has a successor, and AlreadyExists.
    """
    if effective_from is not None and money == MoneyTerms():
        raise ValidationFailed(
            "is for changes of the money terms: give those too, or leave it out",
            field="effective_from",
        )
    with objects.writing() as inside:
        before = subject(inside.prices, price_id, "price")
        group = changes.get("group_id")
        if group is not None and group != before.record.group_id:
            group_for(inside, group, GroupEntityType.PRICE)
        if not changes_money(before.record, money):
            record = replace(before.record, **changes)
            if record == before.record:
                return before
            after = changed(before, record, at, by)
            inside.prices.replace(after)
            return after
        since = effective_from or max(at, before.record.start_date or at)
        ended, successor = change_price(before.record, money, since, successor_id=new_id("price"))
        # The predecessor gives up the key of the chain before the successor takes it.
        inside.prices.replace(changed(before, ended, at, by))
        sequence = _next(inside, successor.entity_id)
        later = made(replace(successor, **changes, sequence=sequence), at, by)
        inside.prices.add(later)
    return later


def end(
    objects: Objects, price_id: str, end_date: datetime | None, *, at: datetime, by: str
) -> Stored[Price]:
    """End a price at an instant, now where that is absent; one that has not begun never begins.

    Raises NotFound, InvalidOperation for one that has ended, ValidationFailed (`end_date`) for an
    instant before its start.
    """
    with objects.writing() as inside:
        before = subject(inside.prices, price_id, "price")
        until = end_date or max(at, before.record.start_date or at)
        after = changed(before, end_price(before.record, until), at, by)
        inside.prices.replace(after)
    return after
