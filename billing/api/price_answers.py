"""Prices as answers show them, with the objects around them that were asked for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TypedDict

from billing.api.groups import group_answer
from billing.api.meters import meter_answer
from billing.api.records import record_members
from billing.ports.objects import Objects
from billing.use_cases.groups import members_of
from schemas.api.answers.plans import PlanResponse
from schemas.api.answers.prices import AnsweredTransformQuantity, PriceResponse, PriceTier
from schemas.api.answers.prices import Price as PriceInside
from schemas.api.words import (
    BillingCadence,
    BillingModel,
    BillingPeriod,
    BillingTier,
    InvoiceCadence,
    PriceEntityType,
    PriceType,
    PriceUnitType,
)
from schemas.decimals import plain
from schemas.group import Group
from schemas.meter import Meter
from schemas.object_query import Condition, Either, Operator
from schemas.price import Price, Tier, TransformQuantity
from schemas.scope import Scope
from schemas.stored import Stored

# What amounts are shown with; other currencies have their code before the amount.
SYMBOLS = {
    "aud": "A$", "brl": "R$", "cad": "C$", "cny": "¥", "eur": "€", "gbp": "£", "inr": "₹",
    "jpy": "¥", "krw": "₩", "mxn": "MX$", "nzd": "NZ$", "sgd": "S$", "usd": "$", "vnd": "₫",
}  # fmt: skip

ONE_UNIT = AnsweredTransformQuantity(divide_by=1)

METERS, PLAN, GROUPS = "meters", "plan", "groups"
EXPANDS = frozenset({METERS, PLAN, GROUPS})


@dataclass(frozen=True, slots=True)
class Around:
    """The objects around some prices, each by its id."""

    meters: Mapping[str, Stored[Meter]] = field(default_factory=dict)
    plans: Mapping[str, PlanResponse] = field(default_factory=dict)
    groups: Mapping[str, Stored[Group]] = field(default_factory=dict)
    members: Mapping[str, Sequence[str]] = field(default_factory=dict)


def not_ended(at: datetime) -> Either:
    """Return the condition of prices that have not ended at an instant."""
    return Either(
        (
            Condition("end_date", Operator.EQ, None),
            Condition("end_date", Operator.GT, at),
        )
    )


def around(objects: Objects, prices: Sequence[Stored[Price]], wanted: Collection[str]) -> Around:
    """Return the meters and groups of prices, as far as they are wanted."""
    meters = {each.record.meter_id for each in prices if each.record.meter_id is not None}
    groups = {each.record.group_id for each in prices if each.record.group_id is not None}
    return Around(
        meters=objects.meters.those(meters) if METERS in wanted else {},
        groups=objects.groups.those(groups) if GROUPS in wanted else {},
        members=members_of(objects, groups) if GROUPS in wanted else {},
    )


def price_answer(stored: Stored[Price], scope: Scope, near: Around | None = None) -> PriceResponse:
    """Return a price as an answer shows it, with what was read around it."""
    price, near = stored.record, near or Around()
    meter = near.meters.get(price.meter_id or "")
    group = near.groups.get(price.group_id or "")
    members = near.members.get(price.group_id or "", ())
    return PriceResponse(
        **record_members(stored, scope),
        **price_members(price),
        meter=None if meter is None else meter_answer(meter, scope),
        group=None if group is None else group_answer(group, members, scope),
        plan=near.plans.get(price.entity_id),
        warnings=list(price.warnings) or None,
    )


def nested_price_answer(stored: Stored[Price], scope: Scope) -> PriceInside:
    """Return a price as it stands inside another answer."""
    return PriceInside(**record_members(stored, scope), **price_members(stored.record))


class PriceMembers(TypedDict):
    """The members that a price has wherever it stands."""

    entity_type: PriceEntityType
    entity_id: str
    type: PriceType
    billing_model: BillingModel
    billing_cadence: BillingCadence
    billing_period: BillingPeriod
    billing_period_count: int
    invoice_cadence: InvoiceCadence
    currency: str
    amount: Decimal
    display_amount: str
    price_unit_type: PriceUnitType
    tier_mode: BillingTier | None
    tiers: list[PriceTier] | None
    transform_quantity: AnsweredTransformQuantity
    meter_id: str
    min_quantity: Decimal | None
    trial_period_days: int
    start_date: datetime | None
    end_date: datetime | None
    lookup_key: str
    display_name: str
    description: str
    group_id: str | None
    parent_price_id: str | None
    sequence: int | None
    metadata: dict[str, str]


def price_members(price: Price) -> PriceMembers:
    """Return what a price says of itself; a price without package has one of one unit."""
    return {
        "entity_type": price.entity_type.value,
        "entity_id": price.entity_id,
        "type": price.type.value,
        "billing_model": price.billing_model.value,
        "billing_cadence": "RECURRING",
        "billing_period": price.billing_period.value,
        "billing_period_count": price.billing_period_count,
        "invoice_cadence": price.invoice_cadence.value,
        "currency": price.currency,
        "amount": price.amount,
        "display_amount": display_amount(price.amount, price.currency),
        "price_unit_type": "FIAT",
        "tier_mode": None if price.tier_mode is None else price.tier_mode.value,
        "tiers": [tier_answer(each) for each in price.tiers] or None,
        "transform_quantity": _size(price.transform_quantity),
        "meter_id": price.meter_id or "",
        "min_quantity": None if price.min_quantity is None else Decimal(price.min_quantity),
        "trial_period_days": price.trial_period_days,
        "start_date": price.start_date,
        "end_date": price.end_date,
        "lookup_key": price.lookup_key,
        "display_name": price.display_name,
        "description": price.description,
        "group_id": price.group_id,
        "parent_price_id": price.parent_price_id,
        "sequence": price.sequence,
        "metadata": dict(price.metadata),
    }


def tier_answer(tier: Tier) -> PriceTier:
    """Return a tier as an answer shows it."""
    return PriceTier(up_to=tier.up_to, unit_amount=tier.unit_amount, flat_amount=tier.flat_amount)


def display_amount(amount: Decimal, currency: str) -> str:
    """Return an amount with the sign of its currency, or with its code where it has none.

    >>> display_amount(Decimal("12.50"), "usd"), display_amount(Decimal(3), "chf")
    ('$12.5', 'CHF 3')
    """
    symbol = SYMBOLS.get(currency.lower(), f"{currency.upper()} ")
    return f"{symbol}{plain(amount)}"


def _size(size: TransformQuantity | None) -> AnsweredTransformQuantity:
    """Return the size of a package; clients read it of every price."""
    if size is None:
        return ONE_UNIT
    return AnsweredTransformQuantity(divide_by=size.divide_by, round=size.round.value)
