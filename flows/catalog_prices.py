"""Prices of a catalog file: every version of each, as the changes of the file make them.

A change of money terms ends a price at its instant and starts a successor there, in the same chain
(billing.md 3.3). The rules of billing.md 3.2 are those of `schemas.price`; here they get the place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from flows.catalog_names import Findings, Names, identity
from flows.catalog_problems import nearest
from schemas.catalog import CatalogFile
from schemas.catalog_products import CatalogPlan, CatalogPrice, CatalogPriceChange
from schemas.errors import ValidationFailed
from schemas.meter import Meter
from schemas.price import Price, PriceType
from schemas.price_request import PriceFault, PriceRequest, price_faults, price_from

Body = dict[str, object]
# The changes of a price, each with its index in the file, in order of their instants.
Changes = list[tuple[int, CatalogPriceChange]]


def changes_by_price(file: CatalogFile, found: Findings) -> dict[str, Changes]:
    """Return the changes of each price by its lookup key; keys are unique over all plans."""
    seen: dict[str, str] = {}
    for plan_index, plan in enumerate(file.plans):
        for index, price in enumerate(plan.prices):
            place = f"plans[{plan_index}].prices[{index}]"
            with found.at("plans", plan_index, "prices", index):
                if price.lookup_key in seen:
                    raise ValidationFailed(
                        f"{price.lookup_key!r} is taken by {seen[price.lookup_key]}",
                        field="lookup_key",
                    )
                if price.lookup_key:
                    seen[price.lookup_key] = place
    changes: dict[str, Changes] = {key: [] for key in seen}
    for index, change in enumerate(file.changes):
        if not isinstance(change, CatalogPriceChange):
            continue
        with found.at("changes", index):
            if change.price not in changes:
                hint = nearest(change.price, changes)
                text = f"no price has the lookup_key {change.price!r}{hint}"
                raise ValidationFailed(text, field="price")
            changes[change.price].append((index, change))
    return {key: sorted(of_key, key=lambda each: each[1].at) for key, of_key in changes.items()}


def plan_prices(
    plan: CatalogPlan,
    plan_index: int,
    meters: Names[Meter],
    changes: Mapping[str, Changes],
    found: Findings,
) -> Iterator[Price]:
    """Yield the prices of a plan in the order of the file, each followed by its successors."""
    plan_key = plan.lookup_key or plan.name
    for index, entry in enumerate(plan.prices):
        place = ("plans", plan_index, "prices", index)
        body = entry.model_dump(exclude={"meter"}, exclude_none=True)
        with found.at(*place):
            if entry.meter is not None:
                body["meter_id"] = meters.find(entry.meter, key_field="meter").id
        id_ = identity("price", plan_key, entry.lookup_key or index)
        before = len(found.problems)
        note(place, entry, price_faults(body), found)
        if len(found.problems) == before:
            price = price_from(PriceRequest.model_validate(body), id=id_)
            yield from versions(price, body, changes.get(entry.lookup_key, []), found)


def note(
    place: tuple[str | int, ...],
    entry: CatalogPrice,
    faults: tuple[PriceFault, ...],
    found: Findings,
) -> None:
    """Note the faults of a price, each at its key of the file."""
    for fault in faults:
        inner: tuple[str | int, ...] = (fault.field,)
        if fault.field == "meter_id":
            # A name that was not found has been noted already.
            if entry.meter is not None and entry.type is PriceType.USAGE:
                continue
            inner = ("meter",)
        elif fault.field == "tiers":
            inner = ("tiers", *wrong_tier(entry))
        found.problems.append(((*place, *inner), fault.problem))


def wrong_tier(entry: CatalogPrice) -> tuple[str | int, ...]:
    """Return the place of the first impossible tier inside `tiers`; nothing where none is given.

    >>> tier = {"up_to": 10, "unit_amount": "1"}
    >>> wrong_tier(CatalogPrice(type="USAGE", billing_model="TIERED", tier_mode="SLAB",
    ...     currency="usd", billing_period="MONTHLY", tiers=[tier, tier]))
    (1, 'up_to')
    """
    tiers = entry.tiers or []
    floor = 0
    for index, tier in enumerate(tiers):
        last = index == len(tiers) - 1
        if tier.up_to is None:
            if not last:
                return index, "up_to"
        elif tier.up_to <= floor:
            return index, "up_to"
        if tier.unit_amount < 0:
            return index, "unit_amount"
        if tier.flat_amount < 0:
            return index, "flat_amount"
        floor = tier.up_to or floor
    return ()


def versions(price: Price, body: Body, changes: Changes, found: Findings) -> Iterator[Price]:
    """Yield a price and its successors, each valid until the next begins."""
    end = price.end_date
    current = price
    for index, change in changes:
        before = len(found.problems)
        body = body | change.body.model_dump(exclude_none=True)
        with found.at("changes", index):
            check_instant(current, change.at, end)
        for fault in price_faults(body):
            found.problems.append((("changes", index, "body", fault.field), fault.problem))
        if len(found.problems) > before:
            return
        yield replace(current, end_date=change.at)
        request = PriceRequest.model_validate(body)
        current = replace(
            price_from(request, id=identity("price", price.id, change.at)),
            start_date=change.at,
            end_date=end,
            parent_price_id=price.id,
        )
    yield current


def check_instant(current: Price, at: datetime, end: datetime | None) -> None:
    """Refuse a change outside the life of its price, or a second one at the same instant."""
    if current.start_date is not None and at <= current.start_date:
        raise ValidationFailed("must be after the start of the price that it ends", field="at")
    if end is not None and at >= end:
        raise ValidationFailed("must be before the end of the price", field="at")
