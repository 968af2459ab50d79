"""Repricing: what a line costs, computed from its explanation alone (billing.md 18 and 19).

It shares no code with rating and goes other ways where there are any: the cost of a stretch of a
ladder is the difference of two running totals, and everything is a fraction until it is settled. So
that both come to one amount says something about both.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import ValidationFailed

Told = Mapping[str, Any]

NOTHING = Fraction(0)
# Currencies whose minor units are not hundredths (ISO 4217).
WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
DIGITS = dict.fromkeys(WHOLE.split(), 0) | dict.fromkeys(THOUSANDTHS.split(), 3)
DIGITS |= {"CLF": 4, "UYW": 4}
MICROSECOND = timedelta(microseconds=1)
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, ArithmeticError)


class Term(NamedTuple):
    """One term of a cost: units at their rate, and what entering their tier costs."""

    tier: int | None
    units: Fraction
    unit_amount: Fraction
    flat_amount: Fraction


def reprice(explanation: Told) -> Decimal:
    """Return the settled amount of a line, whatever its explanation says that it is.

    Raises ValidationFailed where the explanation lacks what its amount follows from.

    >>> slab = {"billing_model": "TIERED", "tier_mode": "SLAB", "share": None, "from": "0",
    ...     "quantity": "1500", "tiers": [{"up_to": 1000, "unit_amount": "0.02", "flat_amount": "0"},
    ...     {"up_to": None, "unit_amount": "0.005", "flat_amount": "0"}]}
    >>> reprice({"currency": "usd", "role": "usage", "pricing": [slab]})
    Decimal('22.50')
    """
    try:
        digits = DIGITS.get(explanation["currency"].upper(), 2)
        return Decimal(f"{int(amount_due(explanation) * 10**digits)}E-{digits}")
    except UNREADABLE as cause:
        raise ValidationFailed(f"the explanation lacks what it is priced by: {cause!r}") from cause


def settled(amount: Fraction, currency: str) -> Fraction:
    """Round half away from zero to the minor units of a currency."""
    unit = Fraction(10) ** -DIGITS.get(currency.upper(), 2)
    size = floor(abs(amount) / unit + Fraction(1, 2)) * unit
    return size if amount >= 0 else -size


def amount_due(told: Told) -> Fraction:
    """Return what a line charges: for an adjustment what is missing, for a change what is left."""
    due = settled(exact(told), told["currency"])
    if told.get("change"):
        change = told["change"]
        left = Fraction(change["charged"]) - Fraction(change["credited_before"])
        return -max(min(due, left), NOTHING)
    if told.get("adjusts"):
        return due - sum(map(Fraction, told["adjusts"]["billed"]))
    return due


def exact(told: Told) -> Fraction:
    """Return what a line comes to before it is settled; of an adjustment, what is correct."""
    cost, promised = list_price(told), told.get("commitment")
    if promised is None:
        return cost
    factor, role = Fraction(promised["overage_factor"]), role_of(told)
    if promised["level"] == "line":
        return sum(measured(promised, cost, committed(told)), NOTHING)
    within, overage, missing = measured(
        promised, settled(cost, told["currency"]), settled(committed(told), told["currency"])
    )
    if role == "true_up":
        return missing
    if role == "overage":
        return overage
    return within if overage and factor != 1 else cost


def role_of(told: Told) -> str:
    """Return what a line is, or what the line is that it adjusts."""
    return str((told.get("adjusts") or told).get("role", told["role"]))


def committed(told: Told) -> Fraction:
    """Return what a commitment is worth in its time: its amount, or the cost of its quantity."""
    promised = told["commitment"]
    worth = Fraction(promised["value"])
    if promised["type"] == "quantity":
        price = told["pricing"][0] if told.get("pricing") else told["price"]
        worth = cost_of(stretch(price, NOTHING, worth))
    return worth * ratio(promised.get("share"))


def measured(promised: Told, used: Fraction, worth: Fraction) -> tuple[Fraction, ...]:
    """Return what lies within a commitment, what above it costs, and what is missing to it."""
    left = max(worth - Fraction(promised["used_before"]), NOTHING)
    missing = left - used if promised["true_up_enabled"] and used < left else NOTHING
    above = max(used - left, NOTHING) * Fraction(promised["overage_factor"])
    return min(used, left), above, missing


def list_price(told: Told) -> Fraction:
    """Return the cost of what a line prices, in part where the period is; nothing is rounded."""
    if told.get("buckets") is not None:
        cost = sum((cost_of(terms) * count for terms, count in in_buckets(told)), NOTHING)
    elif not told.get("pricing") and role_of(told) == "fixed":
        # Nobody has priced what somebody asked for in so many words.
        cost = Fraction(told["exact"])
    else:
        parts = told.get("pricing") or ()
        cost = sum((cost_of(segment(each)) * ratio(each["share"]) for each in parts), NOTHING)
    return cost * Fraction(*lengths(told["proration"])) if told.get("proration") else cost


def in_buckets(told: Told) -> Iterator[tuple[Sequence[Term], int]]:
    """Yield the terms of each bucket, or of each distinct quantity, with how many have it."""
    for bucket in told["buckets"]:
        quantity = Fraction(bucket["quantity"])
        yield stretch(told["price"], NOTHING, quantity), int(bucket.get("count", 1))


def segment(each: Told) -> Sequence[Term]:
    """Return the terms of a segment; where it shares a VOLUME quantity, those of the whole of it."""
    start, units = Fraction(each["from"]), Fraction(each["quantity"])
    if each["share"]:
        start, units = NOTHING, units / ratio(each["share"])
    return stretch(each, start, start + units)


def ratio(parts: Sequence[str] | None) -> Fraction:
    """Return a share that is told as numerator and denominator; none is the whole."""
    return Fraction(1) if parts is None else Fraction(int(parts[0]), int(parts[1]))


def lengths(part: Told) -> tuple[Fraction, Fraction]:
    """Return how long a service is inside its full period, and that: in local days or in seconds."""
    start, end, first, last = map(datetime.fromisoformat, (*part["service"], *part["full"]))
    instants = max(start, first), min(end, last), first, last
    if part["strategy"] == "day_based":
        zone = ZoneInfo(part["timezone"])
        days = [at.astimezone(zone).date().toordinal() for at in instants]
        if days[3] > days[2]:
            return Fraction(max(days[1] - days[0], 0)), Fraction(days[3] - days[2])
    inside, whole = instants[1] - instants[0], last - first
    return Fraction(max(inside // MICROSECOND, 0), 10**6), Fraction(whole // MICROSECOND, 10**6)


def cost_of(terms: Sequence[Term]) -> Fraction:
    """Return the sum of some terms."""
    return sum((each.units * each.unit_amount + each.flat_amount for each in terms), NOTHING)


def stretch(price: Told, start: Fraction, end: Fraction) -> Sequence[Term]:
    """Return the terms of the units above `start` up to `end`: what the end has and the start not."""
    if end <= start:
        return ()
    if price["tier_mode"] == "VOLUME":
        return list(running(price, end))
    return [
        Term(to.tier, to.units - at.units, to.unit_amount, to.flat_amount - at.flat_amount)
        for at, to in zip(running(price, start), running(price, end), strict=True)
        if to.units > at.units
    ]


def running(price: Told, units: Fraction) -> Iterator[Term]:
    """Yield the terms of the first units of a ladder, those without units too."""
    if price["billing_model"] != "TIERED":
        package = price["package"]
        if package is not None:
            whole = floor if package["round"] == "down" else ceil
            units = Fraction(whole(units / Fraction(package["size"])))
        yield Term(None, units, Fraction(price["unit_amount"]), NOTHING)
        return
    below, last = NOTHING, len(price["tiers"]) - 1
    for index, tier in enumerate(price["tiers"]):
        # The last tier goes on for ever, whatever bound it states.
        reached = units if index == last else min(units, Fraction(tier["up_to"]))
        unit, flat = Fraction(tier["unit_amount"]), Fraction(tier["flat_amount"])
        if price["tier_mode"] == "SLAB":
            yield Term(index, reached - below, unit, flat if reached > below else NOTHING)
        elif reached == units > below:
            yield Term(index, units, unit, flat)
        below = reached
