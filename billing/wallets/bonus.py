"""Bonus credits: what a purchase of credits earns on top (wallets-alerts.md 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from billing.wallets.lots import credits_of
from schemas.decimals import EXACT
from schemas.errors import ValidationFailed
from schemas.wallet import Reason

# What counts as a purchase; a bonus belongs to one.
PURCHASES = frozenset({Reason.PURCHASED_CREDIT_DIRECT, Reason.PURCHASED_CREDIT_INVOICED})


class BonusType(StrEnum):
    """What the value of a slab is: credits, or a percentage of those bought."""

    FLAT = "flat"
    PERCENTAGE = "percentage"


@dataclass(frozen=True, slots=True)
class BonusSlab:
    """What a purchase of at least so many credits earns."""

    threshold: Decimal
    type: BonusType
    value: Decimal


def bonus(
    slabs: Sequence[BonusSlab],
    reason: Reason,
    bought: Decimal,
    explicit: Decimal | None = None,
) -> Decimal | None:
    """Return the bonus credits of a top-up, None for none.

    An explicit bonus must be above 0 and belong to a purchase (ValidationFailed otherwise), and
    stands in for the slabs. `slabs` are those of the enabled setting in their strictly descending
    order; the first that is reached counts. Source: wallets-alerts.md 8.

    >>> slab = BonusSlab(Decimal(1000), BonusType.PERCENTAGE, Decimal(10))
    >>> bonus([slab], Reason.PURCHASED_CREDIT_DIRECT, Decimal(3000)) == 300
    True
    """
    if explicit is not None:
        if credits_of(explicit) <= 0 or reason not in PURCHASES:
            raise ValidationFailed(
                "a bonus is above 0 and belongs to a purchase", field="bonus_credits_to_add"
            )
        return credits_of(explicit)
    if reason not in PURCHASES:
        return None
    for slab in slabs:
        if bought >= slab.threshold:
            share = EXACT.multiply(bought, slab.value).scaleb(-2, EXACT)
            earned = credits_of(slab.value if slab.type is BonusType.FLAT else share)
            return earned or None
    return None
