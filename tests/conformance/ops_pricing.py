"""Adapters for pricing.json: money, cost and the validation of prices."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from billing.pricing.rating import Allowance, Component, Segment, bucketed_cost, cost, rate_segments
from schemas.decimals import plain
from schemas.errors import Refused
from schemas.money import allocate, settle, total
from schemas.price import (
    BillingModel,
    Price,
    PriceType,
    Rounding,
    Tier,
    TierMode,
    TransformQuantity,
)
from schemas.price_request import PriceRequest, price_warnings, validate_price

FILES = ("pricing.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


def price_of(body: Body) -> Price:
    """Read the price of a vector."""
    package = body.get("transform_quantity")
    mode = body.get("tier_mode")
    return Price(
        id="price",
        type=PriceType.USAGE,
        billing_model=BillingModel(body["billing_model"]),
        currency="usd",
        amount=Decimal(body.get("amount") or 0),
        tiers=tuple(
            Tier(
                None if tier["up_to"] is None else int(tier["up_to"]),
                Decimal(tier["unit_amount"]),
                Decimal(tier["flat_amount"]),
            )
            for tier in body.get("tiers") or ()
        ),
        tier_mode=TierMode(mode) if mode else None,
        transform_quantity=TransformQuantity(int(package["divide_by"]), Rounding(package["round"]))
        if package
        else None,
    )


def allowance_of(body: Body | None) -> Allowance | None:
    """Read the allowance of a vector."""
    if body is None:
        return None
    limit = body["limit"]
    return Allowance(None if limit is None else int(limit), Decimal(body["used_before"]))


def refusing(adapter: Callable[[Body], Answer]) -> Callable[[Body], Answer]:
    """Answer a refusal with its code."""

    def answer(body: Body) -> Answer:
        try:
            return adapter(body)
        except Refused as refused:
            return {"error": refused.code}

    return answer


def _settle(body: Body) -> Answer:
    amounts = [settle(Decimal(amount), body["currency"]) for amount in body["amounts"]]
    return {"amounts": [plain(amount) for amount in amounts], "total": plain(total(amounts))}


def _allocate(body: Body) -> Answer:
    weights = [Decimal(weight) for weight in body["weights"]]
    parts = allocate(Decimal(body["amount"]), weights, body["currency"])
    return {"parts": [plain(part) for part in parts]}


def _component(component: Component) -> Answer:
    return {
        "tier": component.tier,
        "quantity": plain(component.quantity),
        "unit_amount": plain(component.unit_amount),
        "flat_amount": plain(component.flat_amount),
        "amount": plain(component.amount),
    }


def _cost(body: Body) -> Answer:
    exact = cost(price_of(body["price"]), Decimal(body["quantity"]))
    return {
        "amount": plain(exact.amount),
        "line_amount": plain(settle(exact.amount, body["currency"])),
        "components": [_component(component) for component in exact.components],
    }


def _bucketed_cost(body: Body) -> Answer:
    values = [Decimal(value) for value in body["values"]]
    line = bucketed_cost(price_of(body["price"]), values, allowance_of(body["allowance"]))
    return {
        "covered": plain(line.covered),
        "quantity": plain(line.quantity),
        "amount": plain(line.amount),
        "line_amount": plain(settle(line.amount, body["currency"])),
    }


def _price_change(body: Body) -> Answer:
    segments = [
        Segment(price_of(segment["price"]), Decimal(segment["usage"]))
        for segment in body["segments"]
    ]
    parts = rate_segments(segments, allowance_of(body["allowance"]))
    lines = [settle(part.amount, body["currency"]) for part in parts]
    return {
        "segments": [
            {
                "covered": plain(part.covered),
                "billable": plain(part.billable),
                "line_amount": plain(line),
            }
            for part, line in zip(parts, lines, strict=True)
        ],
        "total": plain(total(lines)),
    }


def _validate(body: Body) -> Answer:
    assert body["kind"] == "price"
    fault = validate_price(body["body"])
    warnings = () if fault else price_warnings(PriceRequest.model_validate(body["body"]))
    return {
        "valid": fault is None,
        "field": fault and fault.field,
        "warnings": list(warnings),
    }


OPS: dict[str, Callable[[Body], Answer]] = {
    "settle": refusing(_settle),
    "allocate": refusing(_allocate),
    "cost": refusing(_cost),
    "bucketed_cost": refusing(_bucketed_cost),
    "price_change": refusing(_price_change),
    "validate": refusing(_validate),
}
