"""Explaining: how the amount of a line came about, as sentences with their arithmetic below them.

Everything is read from the explanation of the line, and nothing is priced anew: what stands here is
what was billed. A finance person reads it from the top down (billing.md 18).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.decimals import plain
from schemas.money import LOSSLESS, total

Told = Mapping[str, Any]

# Of a bucketed line so many buckets are written out.
BUCKETS_SHOWN_MAX = 12

MIDNIGHT = "T00:00:00Z"
MODELS = {
    "FLAT_FEE": "every unit at one rate",
    "PACKAGE": "by the package",
    "SLAB": "by tiers, each unit at the rate of its own tier",
    "VOLUME": "by volume, all units at the rate of the tier reached",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, and the sentences that say how it comes about."""

    text: str
    below: tuple["Sentence", ...] = ()


def explain(name: str, start: str, end: str, told: Told) -> Sentence:
    r"""Return how a line came about, from its name and service period and its explanation.

    >>> step = {"quantity": "3", "unit_amount": "2", "flat_amount": "0", "amount": "6", "tier": None}
    >>> rate = {"price_id": "p", "billing_model": "FLAT_FEE", "tier_mode": None, "from": "0",
    ...     "quantity": "3", "components": [step], "share": None, "amount": "6"}
    >>> made = explain("Seats", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", {
    ...     "currency": "usd", "role": "fixed", "pricing": [rate], "exact": "6", "amount": "6.00"})
    >>> print("\n".join(lines(made)))
    Seats, 2026-01-01 to 2026-02-01: 6.00 usd
      3 priced by p, every unit at one rate
        3 × 2 = 6
      6 is settled to 6.00 usd
    """
    below = [
        *_used(told.get("usage")),
        *(_segment(each) for each in told.get("pricing") or ()),
        *_bucketed(told),
        *_given(told),
        *_prorated(told.get("proration")),
        *_committed(told),
        _settled(told),
        *_corrected(told),
        *_taken_off(told),
    ]
    text = f"{name}, {day(start)} to {day(end)}: {told['amount']} {told['currency']}"
    return Sentence(text, tuple(below))


def lines(sentence: Sentence, depth: int = 0) -> Iterator[str]:
    """Yield a sentence and all below it as lines of text, each deeper one further to the right.

    >>> list(lines(Sentence("a", (Sentence("b"),))))
    ['a', '  b']
    """
    yield "  " * depth + sentence.text
    for each in sentence.below:
        yield from lines(each, depth + 1)


def day(at: str) -> str:
    """Return an instant as people read it: a midnight is its day.

    >>> day("2026-02-01T00:00:00Z")
    '2026-02-01'
    """
    return at.removesuffix(MIDNIGHT)


def _used(used: Told | None) -> Iterator[Sentence]:
    """Yield what was used, what each window includes of it, and what is left to be priced."""
    if used is None:
        return
    text = f"{used['total']} used, by meter {used['meter_id']}"
    windows = [_window(each) for each in used["windows"]]
    if not windows:
        yield Sentence(f"{text}; nothing is included, so {used['billable']} are priced")
        return
    free = LOSSLESS.subtract(Decimal(used["total"]), Decimal(used["billable"]))
    rest = Sentence(f"{used['total']} − {plain(free)} included = {used['billable']} to be priced")
    yield Sentence(text, (*windows, rest))


def _window(window: Told) -> Sentence:
    """Return what is included in a reset window, and what of it was left."""
    text = f"{day(window['start'])} to {day(window['end'])}: {window['usage']} used"
    if window["limit"] is None:
        return Sentence(f"{text}; all of it is included")
    before = f", {window['used_before']} of it used before" if _any(window["used_before"]) else ""
    return Sentence(f"{text}; {window['limit']} included{before}: {window['covered']} are free")


def _segment(told: Told) -> Sentence:
    """Return how a quantity was priced, component by component."""
    below = [_component(told, each) for each in told["components"]]
    if len(below) > 1:
        amounts = [Decimal(each["amount"]) for each in told["components"]]
        sums = " + ".join(plain(each) for each in amounts)
        below.append(Sentence(f"{sums} = {plain(total(amounts))}"))
    if told.get("share"):
        part = "/".join(told["share"])
        text = f"{told['quantity']} units are {part} of the period's: {told['amount']}"
        below.append(Sentence(text))
    after = ""
    if _any(told["from"]):
        after = f", after {told['from']} that were priced before a change of price"
    text = f"{told['quantity']} priced by {told['price_id']}, {_model(told)}{after}"
    return Sentence(text, tuple(below) or (Sentence("nothing to pay: 0"),))


def _model(price: Told) -> str:
    """Return by what rule a price works."""
    return MODELS[price["tier_mode"] or price["billing_model"]]


def _component(price: Told, part: Told) -> Sentence:
    """Return the arithmetic of one component, and which tier it is of."""
    text = f"{part['quantity']} × {part['unit_amount']}"
    if _any(part["flat_amount"]):
        text += f" + {part['flat_amount']} for the tier"
    where = ""
    if part["tier"] is not None:
        where = _tier(price.get("tiers") or (), int(part["tier"]))
    elif price.get("package"):
        package = price["package"]
        where = f"packages of {package['size']}, rounded {package['round']}: "
    return Sentence(f"{where}{text} = {part['amount']}")


def _tier(tiers: Sequence[Told], index: int) -> str:
    """Return the number and the bounds of a tier; the last one is open whatever it says."""
    bounds = [each["up_to"] for each in tiers]
    if not bounds:
        return f"tier {index + 1}: "
    if index == len(bounds) - 1:
        return f"tier {index + 1}, above {bounds[index - 1]}: " if index else "tier 1: "
    return f"tier {index + 1}, up to {bounds[index]}: "


def _bucketed(told: Told) -> Iterator[Sentence]:
    """Yield how the buckets were priced: the first ones, and the sum of all."""
    buckets = told.get("buckets")
    if buckets is None:
        return
    price = told.get("price") or {}
    below = [_bucket(price, each) for each in buckets[:BUCKETS_SHOWN_MAX]]
    if len(buckets) > BUCKETS_SHOWN_MAX:
        below.append(Sentence(f"… and {len(buckets) - BUCKETS_SHOWN_MAX} more"))
    amounts = [
        LOSSLESS.multiply(Decimal(each["amount"]), Decimal(each.get("count", 1)))
        for each in buckets
    ]
    count = sum(int(each.get("count", 1)) for each in buckets)
    below.append(Sentence(f"all buckets together: {plain(total(amounts))}"))
    rule = f", {_model(price)}" if price else ""
    yield Sentence(f"{count} buckets, each priced on its own{rule}", tuple(below))


def _bucket(price: Told, bucket: Told) -> Sentence:
    """Return how one bucket was priced, or all those with one quantity."""
    parts = tuple(_component(price, each) for each in bucket["components"])
    if "count" in bucket:
        name = f"{bucket['count']} buckets with {bucket['quantity']} each"
    else:
        group = f" {bucket['group']}" if bucket.get("group") else ""
        name = f"{day(bucket['start'])}{group}: {bucket['quantity']}"
    if len(parts) == 1:
        return Sentence(f"{name}: {parts[0].text}")
    return Sentence(f"{name}: {bucket['amount']}", parts)


def _given(told: Told) -> Iterator[Sentence]:
    """Yield that an amount was stated and not computed."""
    priced = told.get("pricing") or told.get("buckets") is not None or told.get("commitment")
    if not priced and not told.get("adjusts") and told["role"] == "fixed":
        yield Sentence(f"{told['exact']} was asked for")


def _prorated(part: Told | None) -> Iterator[Sentence]:
    """Yield which part of the full period is charged."""
    if part is None:
        return
    unit = "days" if part["strategy"] == "day_based" and _in_days(part) else "seconds"
    service, full = (
        f"{day(start)} to {day(end)}" for start, end in (part["service"], part["full"])
    )
    yield Sentence(f"× {part['numerator']}/{part['denominator']} {unit}: {service} of {full}")


def _in_days(part: Told) -> bool:
    """Tell whether a part was counted in days; a full period without a whole day is in seconds."""
    start, end = map(datetime.fromisoformat, part["full"])
    return (end - start) // timedelta(microseconds=1) != Decimal(part["denominator"]) * 10**6


def _committed(told: Told) -> Iterator[Sentence]:
    """Yield how the line stands to what was promised."""
    promised = told.get("commitment")
    if promised is None:
        return
    unit = " units" if promised["type"] == "quantity" else ""
    part = f" × {'/'.join(promised['share'])} of its time" if promised.get("share") else ""
    before = ""
    if _any(promised["used_before"]):
        before = f", {promised['used_before']} of it used before"
    whose = "the line" if promised["level"] == "line" else "the subscription"
    text = f"{whose} has promised {promised['value']}{unit}{part}: {promised['prorated']}{before}"
    names = {
        "within": "within the commitment",
        "overage": f"above it, × {promised['overage_factor']} included",
        "true_up": "missing to it",
    }
    split = [f"{promised[name]} {said}" for name, said in names.items() if _any(promised[name])]
    below = (Sentence(" + ".join(split)),) if split else ()
    yield Sentence(text, below)


def _settled(told: Told) -> Sentence:
    """Return what an exact amount is rounded to; of an adjustment, what would have been correct."""
    if told.get("change"):
        return Sentence(f"of this {told['change']['unused']} {told['currency']} is not used")
    amount = told["adjusts"]["correct"] if told.get("adjusts") else told["amount"]
    return Sentence(f"{told['exact']} is settled to {amount} {told['currency']}")


def _corrected(told: Told) -> Iterator[Sentence]:
    """Yield what was billed before, where the line is what is missing to the correct amount."""
    if told.get("change"):
        change = told["change"]
        text = f"{change['charged']} was charged, {change['credited_before']} given back before"
        yield Sentence(f"{text}: {told['amount']} for what is not used")
    elif told.get("adjusts"):
        billed = [f"− {each}" for each in told["adjusts"]["billed"]] or ["− 0"]
        sums = " ".join([told["adjusts"]["correct"], *billed])
        yield Sentence(f"{sums} billed before = {told['amount']}", ())


def _taken_off(told: Told) -> Iterator[Sentence]:
    """Yield what coupons and wallets take off the line, and what is left of it."""
    off = [
        Sentence(f"coupon {each['coupon_id']} on the {each['level']}: −{each['amount']}")
        for each in told.get("discounts") or ()
    ]
    paid = [
        Sentence(f"credits of wallet {each['wallet_id']}: −{each['amount']}")
        for each in told.get("credits") or ()
    ]
    taken = [*(told.get("discounts") or ()), *(told.get("credits") or ())]
    if not taken:
        return
    less = total(Decimal(each["amount"]) for each in taken)
    rest = LOSSLESS.subtract(Decimal(told["amount"]), less)
    yield Sentence(f"{told['amount']} − {less:f} = {rest:f} left to pay before tax", (*off, *paid))


def _any(figure: object) -> bool:
    """Tell whether a figure is more or less than nothing."""
    return Decimal(str(figure)) != 0
