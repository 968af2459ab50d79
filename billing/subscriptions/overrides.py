"""Overrides: the price of one subscription, made from a price of its plan by other terms.

An override is a price of its own in the same chain: its parent is the chain's first price
(billing.md 3.3). What it does not say it has from the price that it takes the place of.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from schemas.decimals import plain
from schemas.ids import SubscriptionId, derived
from schemas.price import (
    BillingModel,
    Price,
    PriceEntityType,
    Tier,
    TierMode,
    TransformQuantity,
)
from schemas.price_request import PriceRequest, price_from


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """The money terms that a request gives; None leaves those of the price."""

    amount: Decimal | None = None
    billing_model: BillingModel | None = None
    tier_mode: TierMode | None = None
    tiers: tuple[Tier, ...] | None = None
    transform_quantity: TransformQuantity | None = None

    @property
    def given(self) -> bool:
        """Tell whether they say anything."""
        return self != PriceTerms()


@dataclass(frozen=True, slots=True)
class LineTerms:
    """What a line is changed to; None leaves what it has."""

    quantity: Decimal | None = None
    price: PriceTerms | None = None


def overridden(
    price: Price, terms: PriceTerms, subscription_id: SubscriptionId, at: datetime | None = None
) -> Price:
    """Return the price of a subscription in place of another, from an instant on if one is given.

    The same terms give the same price, so nothing changes. What another billing model needs must be
    among the terms. Raises ValidationFailed as new prices do. Source: billing.md 3.2 and 3.3.

    >>> from schemas.price import PriceType
    >>> seat = Price("p", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(50))
    >>> own = overridden(seat, PriceTerms(amount=Decimal(40)), SubscriptionId("s"))
    >>> own.amount, own.parent_price_id, own.entity_type.value
    (Decimal('40'), 'p', 'SUBSCRIPTION')
    """
    kept = _money(price) if terms.billing_model in (None, price.billing_model) else {}
    asked = {
        name: value
        for name, value in (
            ("amount", terms.amount),
            ("billing_model", terms.billing_model and terms.billing_model.value),
            ("tier_mode", terms.tier_mode and terms.tier_mode.value),
            ("tiers", None if terms.tiers is None else _tiers(terms.tiers)),
            ("transform_quantity", terms.transform_quantity and _size(terms.transform_quantity)),
        )
        if value is not None
    }
    body = {**_rest(price), **kept, **asked}
    made = price_from(PriceRequest.model_validate(body), id=price.id, meter_id=price.meter_id)
    terms_now = _money_of(made)
    if terms_now == _money_of(price):
        return price
    return replace(
        price,
        id=derived("price", subscription_id, price.id, at, _text(made)),
        amount=made.amount,
        billing_model=made.billing_model,
        tier_mode=made.tier_mode,
        tiers=made.tiers,
        transform_quantity=made.transform_quantity,
        warnings=made.warnings,
        start_date=at or price.start_date,
        parent_price_id=price.parent_price_id or price.id,
        entity_type=PriceEntityType.SUBSCRIPTION,
        entity_id=subscription_id,
        lookup_key="",
    )


def _money_of(price: Price) -> tuple[object, ...]:
    """Return what a price costs, apart from how it is called."""
    return (
        price.billing_model,
        price.amount,
        price.tier_mode,
        price.tiers,
        price.transform_quantity,
    )


def _text(price: Price) -> str:
    """Return the money terms as a text, for an id that follows from them."""
    tiers = [(tier.up_to, plain(tier.unit_amount), plain(tier.flat_amount)) for tier in price.tiers]
    size = price.transform_quantity
    return str(
        (
            price.billing_model.value,
            plain(price.amount),
            price.tier_mode and price.tier_mode.value,
            tiers,
            size and (size.divide_by, size.round.value),
        )
    )


def _rest(price: Price) -> dict[str, object]:
    """Return what an override does not change, as a request says it."""
    return {
        "type": price.type.value,
        "billing_model": price.billing_model.value,
        "currency": price.currency,
        "billing_period": price.billing_period.value,
        "billing_period_count": price.billing_period_count,
        "invoice_cadence": price.invoice_cadence.value,
        "meter_id": price.meter_id,
        "min_quantity": price.min_quantity,
        "trial_period_days": price.trial_period_days,
    }


def _money(price: Price) -> dict[str, object]:
    """Return the money terms of a price, as a request says them."""
    size = price.transform_quantity
    return {
        "amount": price.amount,
        "tier_mode": price.tier_mode and price.tier_mode.value,
        "tiers": _tiers(price.tiers) if price.tiers else None,
        "transform_quantity": size and _size(size),
    }


def _tiers(tiers: tuple[Tier, ...]) -> list[dict[str, object]]:
    return [
        {"up_to": tier.up_to, "unit_amount": tier.unit_amount, "flat_amount": tier.flat_amount}
        for tier in tiers
    ]


def _size(size: TransformQuantity) -> dict[str, object]:
    return {"divide_by": size.divide_by, "round": size.round.value}
