"""Lines of subscriptions as the wire shows them, inside their subscription and by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TypedDict

from billing.api.price_answers import nested_price_answer, price_answer
from billing.api.records import RecordMembers
from billing.subscriptions.versions import opened_at
from schemas.api.answers.coupons import CouponResponse
from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.effective_entitlements import AggregatedFeature
from schemas.api.answers.meters import MeterResponse
from schemas.api.answers.plans import PlanResponse
from schemas.api.answers.subscriptions import SubscriptionLineItem, SubscriptionLineItemResponse
from schemas.api.words import (
    BillingPeriod,
    InvoiceCadence,
    PriceType,
    SubscriptionLineItemEntityType,
)
from schemas.api.words import CommitmentType as CommitmentWord
from schemas.commitment import CommitmentType
from schemas.price import Price, PriceEntityType
from schemas.scope import Scope
from schemas.stored import Status, Stored, made
from schemas.subscription import Subscription, SubscriptionLine


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside subscriptions in an answer, each by its id; what is not asked for is out.

    `plan_names` are for the lines. `entitlements` are by subscription.
    """

    scope: Scope
    at: datetime
    customers: Mapping[str, CustomerResponse] = field(default_factory=dict)
    plans: Mapping[str, PlanResponse] = field(default_factory=dict)
    plan_names: Mapping[str, str] = field(default_factory=dict)
    meters: Mapping[str, MeterResponse] = field(default_factory=dict)
    entitlements: Mapping[str, list[AggregatedFeature]] = field(default_factory=dict)
    coupons: Mapping[str, CouponResponse] = field(default_factory=dict)
    with_lines: bool = True
    with_coupons: bool = True


def record_of(
    name: str, subscription: Subscription, scope: Scope, begun: datetime | None = None
) -> RecordMembers:
    """Return what a subscription says of itself as a record, or one of its lines."""
    known = (
        subscription.created_at,
        subscription.activated_at,
        subscription.cancel_decided_at,
        *(each.decided_at for each in subscription.changes),
    )
    return {
        "id": name,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "status": Status.PUBLISHED.value,
        "created_at": begun or subscription.created_at,
        "updated_at": max((each for each in known if each is not None), default=None),
        "created_by": subscription.created_by,
        "updated_by": subscription.created_by,
    }


def begun_at(subscription: Subscription, line: SubscriptionLine) -> datetime | None:
    """Return when a line was made: by a change, or with its subscription."""
    return opened_at(subscription, line.id) or subscription.created_at


class LineMembers(TypedDict):
    """The members that a line has wherever it stands; those of its record beside them."""

    subscription_id: str
    customer_id: str
    entity_type: SubscriptionLineItemEntityType
    entity_id: str
    plan_display_name: str | None
    price_id: str
    price_type: PriceType
    meter_id: str | None
    meter: MeterResponse | None
    meter_display_name: str | None
    display_name: str
    quantity: Decimal
    currency: str
    billing_period: BillingPeriod
    billing_period_count: int
    invoice_cadence: InvoiceCadence
    start_date: datetime
    end_date: datetime | None
    commitment_type: CommitmentWord | None
    commitment_amount: Decimal | None
    commitment_quantity: Decimal | None
    commitment_overage_factor: Decimal | None
    commitment_true_up_enabled: bool
    commitment_windowed: bool
    commitment_duration: BillingPeriod | None
    price_unit: str
    price_unit_id: str
    metadata: dict[str, str]


def owner_of(
    subscription: Subscription, price: Price
) -> tuple[SubscriptionLineItemEntityType, str]:
    """Return what a line belongs to: the plan, also where the price overrides one of it."""
    if price.entity_type is PriceEntityType.ADDON:
        return "addon", price.entity_id
    if price.entity_type is PriceEntityType.SUBSCRIPTION and price.parent_price_id is None:
        return "subscription", subscription.id
    of_plan = price.entity_type is PriceEntityType.PLAN and price.entity_id
    return "plan", price.entity_id if of_plan else subscription.plan_id or ""


def _members(subscription: Subscription, line: SubscriptionLine, near: Beside) -> LineMembers:
    """Return what a line says of itself."""
    price, promised = line.price, line.commitment
    kind, owner = owner_of(subscription, price)
    amount = promised and promised.type is CommitmentType.AMOUNT
    return {
        "subscription_id": subscription.id,
        "customer_id": subscription.customer_id,
        "entity_type": kind,
        "entity_id": owner,
        "plan_display_name": near.plan_names.get(owner),
        "price_id": price.id,
        "price_type": price.type.value,
        "meter_id": price.meter_id,
        "meter": near.meters.get(price.meter_id or ""),
        "meter_display_name": line.meter.name if line.meter else None,
        "display_name": line.display_name,
        "quantity": line.quantity,
        "currency": price.currency.lower(),
        "billing_period": price.billing_period.value,
        "billing_period_count": price.billing_period_count,
        "invoice_cadence": price.invoice_cadence.value,
        "start_date": line.start_date,
        "end_date": line.end_date,
        "commitment_type": promised.type.value if promised else None,
        "commitment_amount": promised.value if promised and amount else None,
        "commitment_quantity": promised.value if promised and not amount else None,
        "commitment_overage_factor": promised.overage_factor if promised else None,
        "commitment_true_up_enabled": promised is not None and promised.true_up,
        "commitment_windowed": False,
        "commitment_duration": promised.duration.value if promised and promised.duration else None,
        "price_unit": "",
        "price_unit_id": "",
        "metadata": dict(line.metadata),
    }


def line_answer(
    subscription: Subscription, line: SubscriptionLine, near: Beside
) -> SubscriptionLineItem:
    """Return a line as it stands inside its subscription."""
    began = begun_at(subscription, line)
    return SubscriptionLineItem(
        **record_of(line.id, subscription, near.scope, began),
        **_members(subscription, line, near),
        price=nested_price_answer(_stored(subscription, line), near.scope),
    )


def own_line_answer(
    subscription: Subscription,
    line: SubscriptionLine,
    near: Beside,
    *,
    with_price: bool = True,
) -> SubscriptionLineItemResponse:
    """Return a line as its own routes show it."""
    began = begun_at(subscription, line)
    shown = price_answer(_stored(subscription, line), near.scope) if with_price else None
    return SubscriptionLineItemResponse(
        **record_of(line.id, subscription, near.scope, began),
        **_members(subscription, line, near),
        price=shown,
    )


def _stored(subscription: Subscription, line: SubscriptionLine) -> Stored[Price]:
    """Return the price of a line as it was agreed, with the life of the line."""
    at = begun_at(subscription, line) or line.start_date
    return made(line.price, at, subscription.created_by)
