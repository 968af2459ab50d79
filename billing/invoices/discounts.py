"""Discounts: what coupons take off the lines of an invoice (billing.md 13).

Coupons of one level follow each other, each on what the one before left; line coupons come first,
then invoice coupons on what all of them left. Nothing here takes off more than there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from schemas.coupon import Coupon, CouponAttachment, CouponLevel, CouponType
from schemas.invoice import DiscountOnLine, Role
from schemas.money import LOSSLESS, allocate, settle, total
from schemas.period import Interval

ZERO = Decimal(0)

# What a line coupon is for: the line, and what its commitment puts beside it.
DISCOUNTED_ROLES = (Role.USAGE, Role.FIXED, Role.OVERAGE)


@dataclass(frozen=True, slots=True)
class GrossLine:
    """A line as coupons see it: its settled amount, and which line and service period it is of.

    An adjustment comes with the discounts that it has from the coupons of its original.
    """

    amount: Decimal
    chain_id: str
    period: Interval
    role: Role
    discounts: tuple[DiscountOnLine, ...] = ()

    @property
    def left(self) -> Decimal:
        """Return what is left of it."""
        return LOSSLESS.subtract(self.amount, total(each.amount for each in self.discounts))


@dataclass(frozen=True, slots=True)
class DiscountedLine:
    """What is left of a line, and what each coupon took off it."""

    left: Decimal
    discounts: tuple[DiscountOnLine, ...] = ()

    def off(self, level: CouponLevel) -> Decimal:
        """Return what the coupons of one level took off, the line's share for the invoice."""
        return total(each.amount for each in self.discounts if each.level is level)

    def less(self, attachment: CouponAttachment, amount: Decimal) -> "DiscountedLine":
        """Return the line after a coupon; one that takes nothing leaves no trace."""
        if not amount:
            return self
        level = attachment.level
        made = DiscountOnLine(attachment.id, attachment.coupon.id, level, self.left, amount)
        left = LOSSLESS.subtract(self.left, amount)
        return replace(self, left=left, discounts=(*self.discounts, made))


def discount(coupon: Coupon, remaining: Decimal, currency: str) -> Decimal:
    """Return what a coupon takes off what remains: at most that, and 0 if nothing does.

    >>> third = Coupon("c", CouponType.PERCENTAGE, Decimal("33.333"))
    >>> discount(third, Decimal("10.00"), "usd")
    Decimal('3.33')
    """
    if remaining <= 0:
        return settle(ZERO, currency)
    if coupon.type is CouponType.FIXED:
        return min(settle(coupon.value, currency), remaining)
    return min(settle(Fraction(remaining) * Fraction(coupon.value) / 100, currency), remaining)


def successive(coupons: Sequence[Coupon], amount: Decimal, currency: str) -> list[Decimal]:
    """Return what coupons of one level take off an amount, each on what the one before left.

    >>> half, five = (Coupon("c", kind, Decimal(value)) for kind, value in
    ...     ((CouponType.PERCENTAGE, 50), (CouponType.FIXED, 5)))
    >>> successive([half, five], Decimal("8.00"), "usd")
    [Decimal('4.00'), Decimal('4.00')]
    """
    taken = []
    for coupon in coupons:
        taken.append(discount(coupon, amount, currency))
        amount = LOSSLESS.subtract(amount, taken[-1])
    return taken


def discounted(
    lines: Sequence[GrossLine], coupons: Sequence[CouponAttachment], currency: str
) -> tuple[DiscountedLine, ...]:
    """Return what is left of each line after line coupons, then invoice coupons.

    `coupons` take part, and follow each other in the order given.
    """
    rest = tuple(DiscountedLine(line.left, line.discounts) for line in lines)
    for attachment in coupons:
        if attachment.level is CouponLevel.LINE:
            rest = _on_lines(lines, rest, attachment, currency)
    of_invoice = [each for each in coupons if each.level is CouponLevel.INVOICE]
    return _on_invoice(rest, of_invoice, currency)


def _on_lines(
    lines: Sequence[GrossLine],
    rest: Sequence[DiscountedLine],
    attachment: CouponAttachment,
    currency: str,
) -> tuple[DiscountedLine, ...]:
    """Return the lines after one line coupon: on its line in each service period, then its overage.

    A fixed amount is taken off the two together once, so the overage gets what the line left of it.
    """
    coupon, after = attachment.coupon, list(rest)
    used: dict[Interval, Decimal] = {}
    mine = [
        index
        for index, line in enumerate(lines)
        if line.chain_id == attachment.chain_id and line.role in DISCOUNTED_ROLES
    ]
    for index in sorted(mine, key=lambda index: lines[index].role is Role.OVERAGE):
        period = lines[index].period
        taken = discount(coupon, rest[index].left, currency)
        if coupon.type is CouponType.FIXED:
            amount = settle(coupon.value, currency)
            taken = min(taken, LOSSLESS.subtract(amount, used.get(period, ZERO)))
            used[period] = LOSSLESS.add(used.get(period, ZERO), taken)
        after[index] = rest[index].less(attachment, taken)
    return tuple(after)


def _on_invoice(
    rest: Sequence[DiscountedLine], coupons: Sequence[CouponAttachment], currency: str
) -> tuple[DiscountedLine, ...]:
    """Return the lines with their shares of the invoice coupons.

    The sum of all coupons is spread over the lines that have something left, by what they have. A
    coupon's part of a share follows the shares, so that both the shares of a line and those of a
    coupon add up.
    """
    taken = successive(
        [each.coupon for each in coupons], total(line.left for line in rest), currency
    )
    weights = [max(line.left, ZERO) for line in rest]
    shares = allocate(settle(total(taken), currency), weights, currency)
    after = tuple(rest)
    for attachment, amount in zip(coupons, taken, strict=True):
        parts = allocate(amount, shares, currency)
        shares = [LOSSLESS.subtract(*pair) for pair in zip(shares, parts, strict=True)]
        after = tuple(line.less(attachment, part) for line, part in zip(after, parts, strict=True))
    return after
