"""Arithmetic: the explanation of an invoice line as a person would write it down (billing.md 18).

Everything comes out of the explanation and nothing is priced anew, so that what is read here is
what was billed.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any

from schemas.decimals import EXACT, plain

# Of a bucketed line so many buckets are written out.
BUCKETS_SHOWN_MAX = 3

Explanation = Mapping[str, Any]


def arithmetic(explanation: Explanation) -> str:
    """Return how the amount of a line came about, in one line of text.

    >>> part = {"quantity": "600", "unit_amount": "0.02", "flat_amount": "1", "amount": "13"}
    >>> arithmetic({"usage": {"total": "1600", "billable": "600"}, "exact": "13",
    ...     "amount": "13.00", "pricing": [{"components": [part], "amount": "13"}]})
    '1600 used − 1000 included = 600; 600 × 0.02 + 1 = 13.00'
    """
    buckets = explanation.get("buckets")
    total = bucketed(buckets) if buckets else " + ".join(priced(explanation)) or "0"
    proration = explanation.get("proration")
    if proration:
        share = f"{proration['numerator']}/{proration['denominator']}"
        total = f"({total}) × {share}"
    total = committed(total, explanation)
    exact, amount = str(explanation["exact"]), str(explanation["amount"])
    result = amount if Decimal(exact) == Decimal(amount) else f"{exact} → {amount}"
    saved = [str(each["amount"]) for each in explanation.get("discounts", ())]
    off = f"; {' + '.join(saved)} off by coupons" if saved else ""
    taken = [str(each["amount"]) for each in explanation.get("credits", ())]
    paid = f"; {' + '.join(taken)} paid by credits" if taken else ""
    return f"{included(explanation.get('usage'))}{total} = {result}{off}{paid}"


def committed(total: str, explanation: Explanation) -> str:
    """Return the terms of a line with what of them lies within its commitment, and what above.

    Terms stay as they are where the commitment changes nothing.

    >>> told = {"level": "line", "overage_factor": "1.5", "within": "1000.00", "overage": "600.00",
    ...     "true_up": "0.00"}
    >>> committed("700 × 2", {"role": "usage", "commitment": told})
    '700 × 2; 1000.00 within + 600.00 overage at × 1.5'
    """
    told = explanation.get("commitment")
    if told is None:
        return total
    if explanation["role"] == "true_up":
        return f"{told['prorated']} promised − {told['used_before']} used"
    factor = told["overage_factor"]
    names = {
        "within": "within",
        "overage": f"overage at × {factor}",
        "true_up": "true-up",
    }
    present = {name for name in names if Decimal(told[name])}
    if "true_up" not in present and ("overage" not in present or Decimal(factor) == 1):
        return total
    if told["level"] == "subscription":
        # What lies above is a line of its own there.
        present = {"overage"} if explanation["role"] == "overage" else {"within"}
    parts = [f"{told[name]} {text}" for name, text in names.items() if name in present]
    return f"{total}; {' + '.join(parts)}"


def included(usage: Mapping[str, Any] | None) -> str:
    """Return what the allowance took of the usage, and the quantity that is left to price.

    >>> included({"total": "5", "billable": "5"})
    ''
    """
    if usage is None or usage["total"] == usage["billable"]:
        return ""
    covered = EXACT.subtract(Decimal(usage["total"]), Decimal(usage["billable"]))
    return f"{usage['total']} used − {plain(covered)} included = {usage['billable']}; "


def priced(explanation: Explanation) -> Iterator[str]:
    """Yield the terms of each segment of a line, a segment's share of a larger quantity with it."""
    for segment in explanation.get("pricing", ()):
        terms = [term(part) for part in segment["components"]]
        if segment.get("share"):
            yield f"({' + '.join(terms)}) × {'/'.join(segment['share'])}"
        else:
            yield from terms


def term(component: Mapping[str, Any]) -> str:
    """Return quantity × unit amount, and the flat amount of the tier where it has one.

    >>> term({"quantity": "10", "unit_amount": "5", "flat_amount": "0"})
    '10 × 5'
    """
    text = f"{component['quantity']} × {component['unit_amount']}"
    flat = component["flat_amount"]
    return text if Decimal(flat) == 0 else f"{text} + {flat}"


def bucketed(buckets: Sequence[Mapping[str, Any]]) -> str:
    """Return how many buckets were priced, what they hold, and how the first ones were priced.

    >>> part = {"quantity": "4", "unit_amount": "0.5", "flat_amount": "0"}
    >>> bucketed([{"quantity": "4", "count": 3, "components": [part]}])
    '3 buckets with 12 together (4 × 0.5 each of 3)'
    """
    count = sum(each.get("count", 1) for each in buckets)
    held = [EXACT.multiply(Decimal(b["quantity"]), Decimal(b.get("count", 1))) for b in buckets]
    together = reduce(EXACT.add, held, Decimal(0))
    shown = []
    for each in buckets[:BUCKETS_SHOWN_MAX]:
        text = " + ".join(term(part) for part in each["components"]) or "0"
        shown.append(f"{text} each of {each['count']}" if each.get("count", 1) > 1 else text)
    more = ", …" if len(buckets) > BUCKETS_SHOWN_MAX else ""
    return f"{count} buckets with {plain(together)} together ({', '.join(shown)}{more})"
