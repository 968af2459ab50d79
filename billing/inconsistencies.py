"""Inconsistencies: what an explanation says of itself, held against what its figures come to.

Every figure that follows from others is computed anew by the independent pricer and compared; so an
explanation that somebody has touched, or that a bug has made, is told apart figure by figure.
Source: billing.md 18 and 19 (explainable).
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor

from billing.repricing import (
    DIGITS,
    NOTHING,
    UNREADABLE,
    Term,
    Told,
    committed,
    exact,
    in_buckets,
    lengths,
    list_price,
    measured,
    reprice,
    role_of,
    segment,
    settled,
)

# What this is written for: another version has other members.
VERSION = 1
# A quotient without an end in decimals is told with 40 digits.
DIGITS_TOLD = 39

# What a figure is, what is said of it, and what it comes to.
Figure = tuple[str, object, Fraction]


def problems(explanation: Told) -> tuple[str, ...]:
    """Return a sentence for each figure that is not what the others come to; none if all agree.

    What an amount follows from cannot be judged by itself: what was metered, the rates of a price.

    >>> problems({"currency": "usd", "role": "fixed", "exact": "5", "amount": "5.01"})
    ('the amount is told as 5.01, but comes to 5',)
    """
    try:
        figures = list(_figures(explanation))
        over = list(_excesses(explanation))
    except UNREADABLE as cause:
        return (f"the explanation cannot be read to its end: {cause!r}",)
    told = (
        f"{name} is told as {said}, but comes to {_text(comes)}"
        for name, said, comes in figures
        if not _same(said, comes)
    )
    return (*told, *over)


def _same(said: object, comes: Fraction) -> bool:
    """Tell whether a text is a figure: exactly, or to 40 digits where no text could be exact."""
    if said is None:
        return False
    value = Fraction(str(said))
    ends = 10 ** comes.denominator.bit_length() % comes.denominator == 0
    return value == comes or (not ends and abs(value - comes) * 10**DIGITS_TOLD <= abs(comes))


def _text(figure: Fraction) -> str:
    """Return a figure as people read it; a quotient without an end keeps its parts."""
    ends = 10 ** figure.denominator.bit_length() % figure.denominator == 0
    if not ends:
        return str(figure)
    places = figure.denominator.bit_length()
    text = f"{Decimal(f'{int(figure * 10**places)}E-{places}'):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _figures(told: Told) -> Iterator[Figure]:
    """Yield every figure that follows from others."""
    yield "the version", told.get("version", VERSION), Fraction(VERSION)
    if told.get("usage"):
        yield from _used(told)
    if told.get("buckets") is not None:
        for number, (bucket, (terms, _)) in enumerate(
            zip(told["buckets"], in_buckets(told), strict=True), start=1
        ):
            yield from _terms(f"bucket {number}", terms, bucket)
    for number, each in enumerate(told.get("pricing") or (), start=1):
        yield from _terms(f"segment {number}", segment(each), each, each["share"])
    if told.get("proration"):
        part = told["proration"]
        for name, length in zip(("numerator", "denominator"), lengths(part), strict=True):
            yield f"the {name} of the proration", part[name], length
    if told.get("commitment"):
        yield from _promised(told)
    yield from _amounts(told)


def _used(told: Told) -> Iterator[Figure]:
    """Yield what each window covers, what they hold together, and what is left to price."""
    used, bucketed = told["usage"], told.get("buckets") is not None
    total, covered, inside = Fraction(used["total"]), NOTHING, NOTHING
    for number, window in enumerate(used["windows"], start=1):
        usage, free = Fraction(window["usage"]), Fraction(window["usage"])
        if window["limit"] is not None:
            left = Fraction(window["limit"]) - Fraction(window["used_before"])
            free = min(max(left, NOTHING), usage)
        yield f"what window {number} covers", window["covered"], free
        covered, inside = covered + free, inside + usage
    if used["windows"] and not _cancels(used, inside - total, bucketed=bucketed):
        yield "the usage of the windows together", _text(inside), total
    if bucketed:
        quantities = [
            Fraction(each["quantity"]) * int(each.get("count", 1)) for each in told["buckets"]
        ]
        whole = inside if used["windows"] else total
        yield "the billable usage", used["billable"], whole - covered
    else:
        quantities = [Fraction(each["quantity"]) for each in told["pricing"]]
        yield "the billable usage", used["billable"], total - min(covered, total)
    yield "the quantity that is priced", _text(sum(quantities, NOTHING)), Fraction(used["billable"])


def _cancels(used: Told, more: Fraction, *, bucketed: bool) -> bool:
    """Tell whether windows may hold more than the whole: one of them fell below 0, and counts as 0."""
    return more > 0 and (bucketed or any(not Fraction(each["usage"]) for each in used["windows"]))


def _terms(
    name: str, terms: Sequence[Term], priced: Told, share: Sequence[str] | None = None
) -> Iterator[Figure]:
    """Yield the figures of each component of something that is priced, and of its amount."""
    told = priced["components"]
    yield f"the number of components of {name}", len(told), Fraction(len(terms))
    cost = NOTHING
    for number, (term, part) in enumerate(zip(terms, told, strict=False), start=1):
        where = f"of component {number} of {name}"
        amount = term.units * term.unit_amount + term.flat_amount
        if term.tier is not None or part["tier"] is not None:
            yield (
                f"the tier {where}",
                part["tier"],
                Fraction(-1 if term.tier is None else term.tier),
            )
        yield f"the quantity {where}", part["quantity"], term.units
        yield f"the unit amount {where}", part["unit_amount"], term.unit_amount
        yield f"the flat amount {where}", part["flat_amount"], term.flat_amount
        yield f"the amount {where}", part["amount"], amount
        cost += amount
    if share:
        cost *= Fraction(int(share[0]), int(share[1]))
    yield f"the amount of {name}", priced["amount"], cost


def _promised(told: Told) -> Iterator[Figure]:
    """Yield what a commitment is worth, and how the line stands to it, in settled parts."""
    promised, currency, role = told["commitment"], told["currency"], role_of(told)
    worth, cost = committed(told), list_price(told)
    if promised["level"] == "line":
        amount = settled(exact(told), currency)
        parts = _spread(amount, measured(promised, cost, worth), currency)
    else:
        worth, cost = settled(worth, currency), settled(cost, currency)
        within, above, missing = measured(promised, cost, worth)
        due = missing if role == "true_up" else NOTHING
        parts = [within, settled(above, currency), due]
    yield "what is promised in this time", promised["prorated"], worth
    for name, part in zip(("within", "overage", "true_up"), parts, strict=True):
        yield f"the part {name} of the commitment", promised[name], part


def _spread(amount: Fraction, weights: Sequence[Fraction], currency: str) -> list[Fraction]:
    """Spread a settled amount by largest remainder, ties to the earlier part (billing.md 2)."""
    unit, whole = Fraction(10) ** -DIGITS.get(currency.upper(), 2), sum(weights, NOTHING)
    if not amount or not whole:
        return [NOTHING for _ in weights]
    wanted = [amount / unit * weight / whole for weight in weights]
    parts = [floor(each) for each in wanted]
    order = sorted(range(len(parts)), key=lambda index: parts[index] - wanted[index])
    for index in order[: int(amount / unit) - sum(parts)]:
        parts[index] += 1
    return [part * unit for part in parts]


def _amounts(told: Told) -> Iterator[Figure]:
    """Yield what the line comes to, before and after it was settled, and what coupons were on."""
    currency = told["currency"]
    due, adjusts, change = exact(told), told.get("adjusts"), told.get("change")
    if change:
        # What is bounded by what was charged has nothing left to round.
        given = -Fraction(reprice(told))
        yield "what was not used", change["unused"], settled(due, currency)
        due = given if given < settled(due, currency) else due
        yield "the exact amount", told["exact"], -due
    else:
        yield "the exact amount", told["exact"], due
    if adjusts:
        yield "the correct amount", adjusts["correct"], settled(due, currency)
    yield "the amount", told["amount"], Fraction(reprice(told))
    left = Fraction(told["amount"])
    for number, each in enumerate(told.get("discounts") or (), start=1):
        # The line coupons of an adjustment are differences, on the difference of what they were on.
        if not adjusts or each["level"] == "invoice":
            yield f"what discount {number} is on", each["base"], left
        left -= Fraction(each["amount"])


def _excesses(told: Told) -> Iterator[str]:
    """Yield what is taken off a line beyond what there is of it (billing.md 19)."""
    discounts, given = told.get("discounts") or (), told.get("credits") or ()
    off = sum((Fraction(each["amount"]) for each in discounts), NOTHING)
    paid = sum((Fraction(each["amount"]) for each in given), NOTHING)
    amount = Fraction(told["amount"])
    if not told.get("adjusts") and off > max(amount, NOTHING):
        yield f"coupons take {_text(off)} off {_text(amount)}"
    if paid > max(amount - off, NOTHING):
        yield f"credits pay {_text(paid)} of {_text(amount - off)}"
