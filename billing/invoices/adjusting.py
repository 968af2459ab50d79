"""Adjusting: what is billed later for a period whose invoice is final, because usage came late.

The whole period is rated again, and what is missing or too much goes onto the next invoice of the
subscription. So originals and adjustments together are always the price of the correct usage, in
whatever order it arrived (billing.md 16).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.pricing import explanation as explain
from schemas.coupon import CouponLevel
from schemas.ids import InvoiceId, InvoiceLineId, derived
from schemas.invoice import DiscountOnLine, Invoice, InvoiceLine, Role
from schemas.money import LOSSLESS, total

# What follows from usage, and is rated again; fees in force are settled when they change.
RATED_AGAIN = frozenset({Role.USAGE, Role.OVERAGE, Role.TRUE_UP})

# Metadata of an adjustment: the line that it corrects, and what that is on its invoice.
ADJUSTS_LINE_ID = "adjusts_line_id"
ADJUSTS_ROLE = "adjusts_role"

AdjustedKey = tuple[str, datetime, datetime, str]


@dataclass(frozen=True, slots=True)
class Billed:
    """What a service has been billed for so far: the original line, then its adjustments."""

    quantity: Decimal
    covered: Decimal
    discount: Decimal
    discounts: tuple[DiscountOnLine, ...]
    amounts: tuple[Decimal, ...]


def adjustment_amount(correct: Decimal, billed: Iterable[Decimal]) -> Decimal:
    """Return what is missing to the settled price of the correct usage; negative if too much.

    `billed` are the original amount and the earlier adjustments, all settled.
    Source: billing.md 16.

    >>> adjustment_amount(Decimal("22.50"), [Decimal("20.00")])
    Decimal('2.50')
    >>> adjustment_amount(Decimal(20), [Decimal(20), Decimal("2.50")])
    Decimal('-2.50')
    """
    return LOSSLESS.subtract(correct, total(billed))


def adjusted_key(line: InvoiceLine) -> AdjustedKey:
    """Return the service that a line bills or, if it is an adjustment, corrects.

    It names no invoice, so that a line of a recalculated invoice is found under the same key.
    """
    role = line.metadata[ADJUSTS_ROLE] if line.role is Role.ADJUSTMENT else line.role.value
    return line.chain_id, line.period.start, line.period.end, role


def adjustments(
    invoice_id: InvoiceId, original: Invoice, correct: Invoice, lines: Iterable[InvoiceLine]
) -> tuple[InvoiceLine, ...]:
    """Return the lines that bring an invoice that is final to what it should have been.

    `correct` is the same window drafted again with the usage known now, by the catalog of its own
    time, with nothing left out as billed; `lines` are all lines of the subscription on invoices
    that are final and not void, `original` and earlier adjustments among them. The lines are for
    the invoice `invoice_id`; a difference of 0 gives none. A service that has no line any more is
    taken back whole, also one that only an adjustment has billed; one that had none was billed 0.
    Source: billing.md 16.
    """
    lines = tuple(lines)
    wanted = {adjusted_key(line): line for line in correct.lines if line.role in RATED_AGAIN}
    before = {
        adjusted_key(line): line
        for line in (*_brought_later(original, lines), *original.lines)
        if line.role in RATED_AGAIN
    }
    known: dict[AdjustedKey, list[InvoiceLine]] = {key: [] for key in (*wanted, *before)}
    for line in lines:
        key = adjusted_key(line)
        if key in known:
            known[key].append(line)
    found = []
    for key, earlier in known.items():
        model = wanted.get(key) or _emptied(before[key], correct.currency)
        named = before.get(key, model)
        made = _adjustment(invoice_id, named, model, _billed(earlier))
        if made is not None:
            found.append(made)
    return in_order(found)


def _brought_later(original: Invoice, lines: Iterable[InvoiceLine]) -> Iterator[InvoiceLine]:
    """Yield the lines that adjustments have brought to the period of an invoice, as if it had them.

    An overage that late usage made, and later usage unmade, is on no original.
    """
    for line in lines:
        ended = original.period.start < line.period.end <= original.period.end
        if line.role is Role.ADJUSTMENT and ended:
            told = dict(line.metadata)
            name, role = told.pop(ADJUSTS_LINE_ID), told.pop(ADJUSTS_ROLE)
            yield replace(line, id=InvoiceLineId(name), role=Role(role), metadata=told)


def in_order(lines: Iterable[InvoiceLine]) -> tuple[InvoiceLine, ...]:
    """Return adjustments in the order in which an invoice has them: by period, then as they came.

    Source: billing.md 8.
    """
    return tuple(sorted(lines, key=lambda line: (line.period.start, line.period.end)))


def _billed(lines: Sequence[InvoiceLine]) -> Billed:
    """Return the sums over an original and its adjustments."""
    first = sorted(lines, key=lambda line: line.role is Role.ADJUSTMENT)
    return Billed(
        quantity=total(line.quantity for line in lines),
        covered=total(line.covered_quantity for line in lines),
        discount=total(line.line_discount for line in lines),
        discounts=tuple(each for line in first for each in line.discounts),
        amounts=tuple(line.amount for line in first),
    )


def _emptied(line: InvoiceLine, currency: str) -> InvoiceLine:
    """Return a line as it is where nothing is left of it: an overage that turned out to be none."""
    nothing = Decimal(0)
    return replace(
        line,
        quantity=nothing,
        covered_quantity=nothing,
        amount=nothing,
        line_discount=nothing,
        invoice_discount=nothing,
        discounts=(),
        credits=(),
        explanation=explain.explained(line.role, currency, nothing, nothing),
    )


def _adjustment(
    invoice_id: InvoiceId, original: InvoiceLine, correct: InvoiceLine, billed: Billed
) -> InvoiceLine | None:
    """Return one adjustment, None where the amount is right."""
    amount = adjustment_amount(correct.amount, billed.amounts)
    if not amount:
        return None
    discounts = _discounts(correct, billed)
    facts = (correct.chain_id, correct.period.start, correct.period.end)
    told = {
        "line_id": original.id,
        "role": original.role.value,
        "correct": f"{correct.amount:f}",
        "billed": [f"{each:f}" for each in billed.amounts],
    }
    return replace(
        correct,
        id=InvoiceLineId(
            derived("inv_line", invoice_id, *facts, Role.ADJUSTMENT.value, original.role.value)
        ),
        role=Role.ADJUSTMENT,
        quantity=LOSSLESS.subtract(correct.quantity, billed.quantity),
        covered_quantity=LOSSLESS.subtract(correct.covered_quantity, billed.covered),
        amount=amount,
        line_discount=LOSSLESS.subtract(correct.line_discount, billed.discount),
        invoice_discount=Decimal(0),
        discounts=discounts,
        credits=(),
        explanation={
            **correct.explanation,
            "role": Role.ADJUSTMENT.value,
            "adjusts": told,
            "amount": f"{amount:f}",
            "discounts": [
                {
                    "coupon_id": each.coupon_id,
                    "level": each.level.value,
                    "base": f"{each.base:f}",
                    "amount": f"{each.amount:f}",
                }
                for each in discounts
            ],
            "credits": [],
        },
        metadata={
            **original.metadata,
            ADJUSTS_LINE_ID: original.id,
            ADJUSTS_ROLE: original.role.value,
        },
    )


def _discounts(correct: InvoiceLine, billed: Billed) -> tuple[DiscountOnLine, ...]:
    """Return what each line coupon takes off the correct line, less what it took off before.

    The coupons of the original hold for its adjustments; those of the invoice that an adjustment is
    on come later.
    """
    nothing = Decimal(0)
    left = {each.attachment_id: each for each in correct.discounts if _of_line(each)}
    for each in filter(_of_line, billed.discounts):
        now = left.get(each.attachment_id) or replace(each, base=nothing, amount=nothing)
        left[each.attachment_id] = replace(
            now,
            base=LOSSLESS.subtract(now.base, each.base),
            amount=LOSSLESS.subtract(now.amount, each.amount),
        )
    return tuple(each for each in left.values() if each.amount)


def _of_line(discount: DiscountOnLine) -> bool:
    return discount.level is CouponLevel.LINE
