"""Explanations: the data from which a line's amount can be computed again (billing.md 18).

Data and not prose: plain texts for decimals, RFC 3339 for instants, in the members of the spec.
Members that do not apply are None or empty.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache

from billing.pricing.allowances import CoveredWindow
from billing.pricing.commitments import Shares
from billing.pricing.proration import Proration
from billing.pricing.rating import BucketCost, Component, SegmentCost, distinct_costs
from schemas.commitment import Commitment, CommitmentLevel
from schemas.decimals import plain
from schemas.invoice import CreditOnLine, Role
from schemas.period import Interval
from schemas.price import Price

Explained = dict[str, object]

# Above so many buckets a line is explained by its distinct quantities.
BUCKETS_MAX = 1000
# What a quotient that has no end in decimals is shown with; the factors beside it are exact.
SHOWN = Context(prec=40, rounding=ROUND_HALF_EVEN)


# The instants of an invoice are few, and each is shown many times.
@lru_cache(maxsize=4096)
def instant(at: datetime | None) -> str | None:
    """Return an instant as the wire shows it.

    >>> instant(datetime(2026, 1, 1, tzinfo=UTC))
    '2026-01-01T00:00:00Z'
    """
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def number(value: Decimal | Fraction) -> str:
    """Return an exact amount as text: in full if it ends, else with 40 digits.

    >>> number(Fraction(1, 8)), number(Decimal("1.50"))
    ('0.125', '1.5')
    """
    if isinstance(value, Decimal):
        return plain(value)
    rest, digits = value.denominator, 0
    if rest == 1:
        return str(value.numerator)
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        digits = max(digits, power)
    if rest != 1:
        return plain(SHOWN.divide(Decimal(value.numerator), Decimal(value.denominator)))
    return plain(Decimal(f"{value.numerator * 10**digits // value.denominator}E-{digits}"))


def components(parts: Iterable[Component]) -> list[Explained]:
    """Return the terms of a cost."""
    return [
        {
            "tier": part.tier,
            "quantity": plain(part.quantity),
            "unit_amount": plain(part.unit_amount),
            "flat_amount": plain(part.flat_amount),
            "amount": plain(part.amount),
        }
        for part in parts
    ]


def usage(
    meter_id: str, total: Decimal, windows: Sequence[CoveredWindow], billable: Decimal
) -> Explained:
    """Return where a quantity comes from: the meter's total, and what each window covers of it."""
    return {
        "meter_id": meter_id,
        "total": plain(total),
        "windows": [
            {
                "start": instant(window.start),
                "end": instant(window.end),
                "limit": window.limit,
                "used_before": plain(window.used_before),
                "usage": plain(window.usage),
                "covered": plain(window.covered),
            }
            for window in windows
        ],
        "billable": plain(billable),
    }


def terms(price: Price) -> Explained:
    """Return what a price says of a quantity: enough to rate it again, and nothing else."""
    package = price.transform_quantity
    return {
        "price_id": price.id,
        "billing_model": price.billing_model.value,
        "tier_mode": price.tier_mode and price.tier_mode.value,
        "unit_amount": plain(price.amount),
        "tiers": [
            {
                "up_to": tier.up_to,
                "unit_amount": plain(tier.unit_amount),
                "flat_amount": plain(tier.flat_amount),
            }
            for tier in price.tiers
        ],
        "package": package and {"size": package.divide_by, "round": package.round.value},
    }


def priced(
    price: Price,
    period: Interval,
    quantity: Decimal,
    parts: Sequence[Component],
    amount: Decimal | Fraction,
    *,
    start: Decimal = Decimal(0),
    share: Fraction = Fraction(1),
) -> Explained:
    """Return how a quantity was priced.

    `share` is given where the components are those of a larger quantity, of which this is a part:
    a VOLUME price that holds for a part of a period.
    """
    return {
        **terms(price),
        "start": instant(period.start),
        "end": instant(period.end),
        "from": plain(start),
        "quantity": plain(quantity),
        "components": components(parts),
        "share": None if share == 1 else [str(share.numerator), str(share.denominator)],
        "amount": number(amount),
    }


def segment(part: SegmentCost, period: Interval) -> Explained:
    """Return how one segment of a period was priced, from its place on the ladder."""
    return priced(
        part.price,
        period,
        part.billable,
        part.components,
        part.amount,
        start=part.start,
        share=part.share,
    )


def buckets(places: Sequence[tuple[datetime, str]], rows: Sequence[BucketCost]) -> list[Explained]:
    """Return how each bucket was priced, or each distinct quantity where there are many buckets."""
    if len(rows) > BUCKETS_MAX:
        return [
            {
                "quantity": plain(row.quantity),
                "count": row.count,
                "amount": plain(row.cost.amount),
                "components": components(row.cost.components),
            }
            for row in distinct_costs(rows)
        ]
    return [
        {
            "start": instant(start),
            "group": group,
            "quantity": plain(row.quantity),
            "amount": plain(row.cost.amount),
            "components": components(row.cost.components),
        }
        for (start, group), row in zip(places, rows, strict=True)
    ]


def proration(part: Proration | None) -> Explained | None:
    """Return which part of a full period was charged, None where all of it was."""
    if part is None:
        return None
    return {
        "strategy": part.strategy.value,
        "service": [instant(part.service.start), instant(part.service.end)],
        "full": [instant(part.full.start), instant(part.full.end)],
        "timezone": part.timezone,
        "numerator": plain(part.numerator),
        "denominator": plain(part.denominator),
    }


def commitment(
    level: CommitmentLevel,
    agreed: Commitment,
    committed: Decimal | Fraction,
    used_before: Decimal | Fraction,
    parts: Shares,
    *,
    true_up: bool,
    share: Fraction = Fraction(1),
) -> Explained:
    """Return how a line stands to a commitment.

    `prorated` is the money that counts in the end; `used_before` is what was measured against it
    before this line: earlier lines and, of a cumulative commitment, earlier periods. True-up is
    told as enabled where it is due at the end of this period. `parts` are settled. `share` is the
    part of its time in which the commitment is in force.
    """
    return {
        "level": level.value,
        "type": agreed.type.value,
        "value": plain(agreed.value),
        "share": None if share == 1 else [str(share.numerator), str(share.denominator)],
        "prorated": number(committed),
        "used_before": number(used_before),
        "overage_factor": plain(agreed.overage_factor),
        "true_up_enabled": true_up,
        "within": f"{parts.within:f}",
        "overage": f"{parts.overage:f}",
        "true_up": f"{parts.true_up:f}",
    }


def explained(
    role: Role,
    currency: str,
    exact: Decimal | Fraction,
    amount: Decimal,
    *,
    used: Explained | None = None,
    pricing: Sequence[Explained] = (),
    bucketed: Sequence[Explained] | None = None,
    price: Price | None = None,
    prorated: Proration | None = None,
    committed: Explained | None = None,
) -> Explained:
    """Return the explanation of a line.

    Bucketed lines have `buckets` in place of `pricing`, and beside them the `price` of all buckets.
    """
    how: Explained = {"pricing": list(pricing)}
    if bucketed is not None:
        how = {"buckets": list(bucketed), "price": price and terms(price)}
    return {
        "version": 1,
        "currency": currency,
        "role": role.value,
        "usage": used,
        **how,
        "proration": proration(prorated),
        "commitment": committed,
        "adjusts": None,
        "exact": number(exact),
        "amount": f"{amount:f}",
        "discounts": [],
        "credits": [],
    }


def with_credits(explanation: Explained, given: Sequence[CreditOnLine]) -> Explained:
    """Return an explanation with the credits that wallets gave for its line."""
    shown = [{"wallet_id": part.wallet_id, "amount": f"{part.amount:f}"} for part in given]
    return {**explanation, "credits": shown}
