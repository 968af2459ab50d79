"""Versions of prices: a change of money terms ends one and starts its successor (billing.md 3.3).

Both keep their ids. The lines of subscriptions are followed by their own rules (billing.md 9.4).
"""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from schemas.errors import InvalidOperation, ValidationFailed
from schemas.price import BillingModel, Price, Tier, TierMode, TransformQuantity
from schemas.price_request import PriceRequest, price_faults, price_from


@dataclass(frozen=True, slots=True)
class MoneyTerms:
    """What a price comes to; None leaves a term as it is."""

    amount: Decimal | None = None
    billing_model: BillingModel | None = None
    tier_mode: TierMode | None = None
    tiers: tuple[Tier, ...] | None = None
    transform_quantity: TransformQuantity | None = None


def terms_of(price: Price) -> MoneyTerms:
    """Return the terms of a price, of which its billing model has a use for some.

    >>> from schemas.price import PriceType
    >>> fee = Price("p", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(20))
    >>> terms_of(fee).amount, terms_of(fee).tiers
    (Decimal('20'), None)
    """
    tiered = price.billing_model is BillingModel.TIERED
    return MoneyTerms(
        None if tiered else price.amount,
        price.billing_model,
        price.tier_mode if tiered else None,
        price.tiers if tiered else None,
        price.transform_quantity if price.billing_model is BillingModel.PACKAGE else None,
    )


def changes_money(price: Price, changes: MoneyTerms) -> bool:
    """Tell whether changes make other terms; the same values change nothing."""
    return terms_of(with_terms(price, changes)) != terms_of(price)


def with_terms(price: Price, changes: MoneyTerms) -> Price:
    """Return a price with other terms and everything else as it is.

    A changed billing model needs its terms along. Raises ValidationFailed naming the first field
    that breaks a rule of billing.md 3.2.
    """
    terms = terms_of(price)
    given = {
        each.name: value
        for each in fields(MoneyTerms)
        if (value := getattr(changes, each.name)) is not None
    }
    wanted = replace(terms, **given)
    body = _body(price, wanted)
    faults = price_faults(body)
    if faults:
        raise ValidationFailed(f"{faults[0].field} {faults[0].problem}", field=faults[0].field)
    made = price_from(PriceRequest.model_validate(body), id=price.id)
    return replace(
        price,
        billing_model=made.billing_model,
        amount=made.amount,
        tiers=made.tiers,
        tier_mode=made.tier_mode,
        transform_quantity=made.transform_quantity,
        warnings=made.warnings,
    )


def _body(price: Price, terms: MoneyTerms) -> dict[str, Any]:
    """Return the request for a price of these terms, as far as the rules read it."""
    body: dict[str, Any] = {
        "type": price.type,
        "billing_model": terms.billing_model,
        "currency": price.currency,
        "billing_period": price.billing_period,
        "billing_period_count": price.billing_period_count,
        "invoice_cadence": price.invoice_cadence,
        "amount": terms.amount,
        "meter_id": price.meter_id,
        "tier_mode": terms.tier_mode,
        "min_quantity": price.min_quantity,
        "trial_period_days": price.trial_period_days,
    }
    if terms.tiers is not None:
        body["tiers"] = [
            {"up_to": tier.up_to, "unit_amount": tier.unit_amount, "flat_amount": tier.flat_amount}
            for tier in terms.tiers
        ]
    size = terms.transform_quantity
    if size is not None:
        body["transform_quantity"] = {"divide_by": size.divide_by, "round": size.round}
    return {name: value for name, value in body.items() if value is not None}


def change_price(
    old: Price, changes: MoneyTerms, effective_from: datetime, *, successor_id: str
) -> tuple[Price, Price]:
    """Return a price that ends at an instant, and its successor that starts there, in one chain.

    The successor ends when the price would have. Raises InvalidOperation for a price that has a
    successor or has ended, and ValidationFailed (`effective_from`) for an instant before its start,
    as for terms that no price may have. Source: billing.md 3.3.

    >>> from datetime import UTC
    >>> from schemas.price import PriceType
    >>> fee = Price("p", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(20))
    >>> may = datetime(2026, 5, 1, tzinfo=UTC)
    >>> ended, successor = change_price(fee, MoneyTerms(Decimal(25)), may, successor_id="q")
    >>> ended.end_date == successor.start_date, successor.amount, successor.parent_price_id
    (True, Decimal('25'), 'p')
    """
    if old.replaced_by is not None:
        raise InvalidOperation(f"price {old.id} has a successor: change {old.replaced_by} instead")
    if old.end_date is not None and old.end_date <= effective_from:
        raise InvalidOperation(f"price {old.id} has ended: it cannot be changed any more")
    if old.start_date is not None and effective_from < old.start_date:
        raise ValidationFailed("must not be before the price's start", field="effective_from")
    successor = replace(
        with_terms(old, changes),
        id=successor_id,
        start_date=effective_from,
        parent_price_id=old.parent_price_id or old.id,
    )
    return replace(old, end_date=effective_from, replaced_by=successor_id), successor


def end_price(old: Price, at: datetime) -> Price:
    """Return a price that ends at an instant.

    Raises InvalidOperation for one that has ended or has a successor, and ValidationFailed
    (`end_date`) for an instant before its start. Source: api.md 4.7.
    """
    if old.replaced_by is not None:
        raise InvalidOperation(f"price {old.id} has a successor: end {old.replaced_by} instead")
    if old.end_date is not None and old.end_date <= at:
        raise InvalidOperation(f"price {old.id} has ended already")
    if old.start_date is not None and at < old.start_date:
        raise ValidationFailed("must not be before the price's start", field="end_date")
    return replace(old, end_date=at)
