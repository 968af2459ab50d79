"""Adapters for proration.json: partial periods of fixed lines, and changes inside a period."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.pricing.proration import ClosedLine, coefficient, fixed_charge, settle_change
from billing.pricing.rating import cost
from schemas.decimals import plain
from schemas.doors import read_interval
from schemas.errors import Refused
from schemas.money import settle
from schemas.period import Interval
from schemas.price_request import PriceRequest, price_from
from schemas.subscription import ProrationBehavior, ProrationStrategy

FILES = ("proration.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]

# What a price of the vectors leaves out.
REST = {"type": "FIXED", "currency": "usd", "billing_period": "MONTHLY"}


def cost_of(body: Body) -> Decimal:
    """Return the exact cost of a full period of a vector's line."""
    price = price_from(PriceRequest.model_validate({**REST, **body["price"]}), id="price")
    return cost(price, Decimal(body["quantity"])).amount


def instant(text: str | None) -> datetime | None:
    """Read an instant as it is: these vectors are not cut to seconds."""
    return None if text is None else datetime.fromisoformat(text)


def interval(pair: list[str]) -> Interval:
    """Read an interval as it is, as the door does."""
    start, end = map(datetime.fromisoformat, pair)
    return read_interval(start, end, field="period")


def refusing(adapter: Callable[[Body], Answer]) -> Callable[[Body], Answer]:
    """Answer a refusal with its code."""

    def answer(body: Body) -> Answer:
        try:
            return adapter(body)
        except Refused as refused:
            return {"error": refused.code}

    return answer


def _prorate(body: Body) -> Answer:
    part = coefficient(
        interval(body["service"]),
        interval(body["period"]),
        ProrationStrategy(body["strategy"]),
        body["timezone"],
    )
    closed = [
        ClosedLine(cost_of(line), Decimal(line["charged"]), Decimal(line["credited"]))
        for line in body["old"]
    ]
    change = settle_change(closed, [cost_of(line) for line in body["new"]], part, body["currency"])
    return {
        "credits": [plain(credit) for credit in change.credits],
        "charges": [plain(charge) for charge in change.charges],
        "net": plain(change.net),
        "outcome": str(change.outcome),
        "direction": str(change.direction),
    }


def _fixed_charge(body: Body) -> Answer:
    start, end = map(instant, body["line"])
    assert start is not None
    charge = fixed_charge(
        cost_of(body),
        interval(body["period"]),
        interval(body["grid"]),
        (start, end),
        behavior=ProrationBehavior(body["proration_behavior"]),
        strategy=ProrationStrategy(body["strategy"]),
        timezone=body["timezone"],
    )
    if charge is None:
        return {"billed": False, "service": None, "amount": "0"}
    return {
        "billed": True,
        "service": [charge.service.start.isoformat(), charge.service.end.isoformat()],
        "amount": plain(settle(charge.exact, body["currency"])),
    }


OPS: dict[str, Callable[[Body], Answer]] = {
    "prorate": refusing(_prorate),
    "fixed_charge": refusing(_fixed_charge),
}
