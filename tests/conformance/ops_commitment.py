"""Adapters for commitment.json: commitments of a line and of a subscription."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.pricing.commitments import Committed, commit, commit_lines, shares, worth
from billing.pricing.ladders import cost
from schemas.commitment import Commitment, CommitmentType
from schemas.decimals import plain
from schemas.errors import Refused
from schemas.money import settle
from schemas.price import (
    BillingModel,
    Price,
    PriceType,
    Rounding,
    Tier,
    TierMode,
    TransformQuantity,
)

FILES = ("commitment.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


def _price(body: Body) -> Price:
    package, mode = body.get("transform_quantity"), body.get("tier_mode")
    return Price(
        id="price",
        type=PriceType.USAGE,
        billing_model=BillingModel(body["billing_model"]),
        currency="usd",
        amount=Decimal(body.get("amount") or 0),
        tiers=tuple(
            Tier(tier["up_to"], Decimal(tier["unit_amount"]), Decimal(tier["flat_amount"]))
            for tier in body.get("tiers") or ()
        ),
        tier_mode=TierMode(mode) if mode else None,
        transform_quantity=TransformQuantity(int(package["divide_by"]), Rounding(package["round"]))
        if package
        else None,
    )


def _coefficient(pair: list[str]) -> Fraction:
    part, whole = pair
    return Fraction(part) / Fraction(whole)


def _line(body: Body) -> Answer:
    assert not body["time_buckets"], "time of day comes later"
    (window,) = body["windows"]
    assert window["start"] is None, "windows come later"
    price, given = _price(body["price"]), body["commitment"]
    used = cost(price, Decimal(window["quantity"])).amount
    parts = Committed(Fraction(used))
    if given is not None:
        promised = Commitment(
            CommitmentType(given["type"]),
            Decimal(given["value"]),
            Decimal(given["overage_factor"]),
            given["true_up"],
        )
        committed = Fraction(worth(price, promised)) * _coefficient(given["prorate"])
        parts = commit(used, committed, promised.overage_factor, true_up=promised.true_up)
    try:
        amount = settle(parts.exact, body["currency"])
    except Refused as refused:
        return {"error": refused.code}
    spread = shares(amount, parts, body["currency"])
    return {
        "line_amount": plain(amount),
        "within": plain(spread.within),
        "overage": plain(spread.overage),
        "true_up": plain(spread.true_up),
        "windows": [plain(amount)],
    }


def _subscription(body: Body) -> Answer:
    given, currency = body["commitment"], body["currency"]
    coefficient = _coefficient(given["prorate"])
    try:
        split = commit_lines(
            [
                settle(cost(_price(each["price"]), Decimal(each["quantity"])).amount, currency)
                for each in body["charges"]
            ],
            settle(Fraction(given["amount"]) * coefficient, currency),
            Decimal(given["overage_factor"]),
            true_up=given["true_up"] and body["last_period"],
            currency=currency,
            prior=Decimal(body["prior"]),
        )
    except Refused as refused:
        return {"error": refused.code}
    return {
        "charges": [
            {"within": plain(line.within), "overage": plain(line.overage)} for line in split.lines
        ],
        "true_up": plain(split.true_up),
        "total": plain(split.total),
    }


OPS = {"line_commitment": _line, "subscription_commitment": _subscription}
