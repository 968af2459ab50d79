"""From a request to the record of a subscription: what its members name is found and checked here.

The rules of agreeing are in `billing.subscriptions.agreeing`. What a body names and nobody has is
refused by the name of its field; the customer and the plan are the subject of the request.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.api.line_terms import Lines, line_commitment, line_request, price_terms
from billing.catalog import hanging_on, live, whole_plan
from billing.ports.objects import Objects
from billing.subscriptions.agreeing import (
    CouponGrant,
    LineOverride,
    SubscriptionTerms,
    agree,
)
from billing.use_cases.customers import customer_by_external_id
from billing.use_cases.found import referred, subject
from schemas.api.requests.subscriptions import (
    CreateSubscriptionRequest,
    OverrideEntitlementRequest,
    OverrideLineItemRequest,
)
from schemas.collection import CollectionMethod, PaymentBehavior, PaymentTerms
from schemas.commitment import (
    Commitment,
    subscription_commitment_of,
)
from schemas.coupon import Coupon
from schemas.customer import Customer
from schemas.entitlement_grant import (
    EntitlementGrant,
    GrantAggregation,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
)
from schemas.errors import NotFound, ValidationFailed
from schemas.ids import EntitlementId, SubscriptionId, derived
from schemas.price import (
    BillingPeriod,
)
from schemas.stored import Stored
from schemas.subscription import (
    BillingCycle,
    Entitlement,
    EntitlementEntityType,
    Plan,
    ProrationBehavior,
    Subscription,
)
from schemas.tax import TaxAttachment, TaxAttachmentId, TaxRateOverride, tax_attachment_from

LIMIT = "usage_limit"


@dataclass(frozen=True, slots=True)
class Parties:
    """Who subscribes to what, and the taxes that come with it."""

    customer: Customer
    plan: Plan
    taxes: tuple[TaxAttachment, ...]


def agreed(
    objects: Objects,
    asked: CreateSubscriptionRequest,
    name: SubscriptionId,
    new_id: Callable[[str], str],
    at: datetime,
) -> Subscription:
    """Return the draft of the subscription that a request asks for.

    Raises NotFound for an unknown customer or plan, and ValidationFailed naming the field for
    everything else that cannot be. Source: api.md 4.10.
    """
    with objects.reading() as held:
        parties = _parties(held, asked, name)
        terms = _terms(Lines(held, name, asked.currency, new_id), asked, parties.plan, at)
    made = agree(name, terms, parties.customer, parties.plan, parties.taxes)
    return replace(made, line_item_grouping=asked.line_item_grouping or "")


def _parties(held: Objects, asked: CreateSubscriptionRequest, name: SubscriptionId) -> Parties:
    """Return the customer, its taxes and the plan that a request is about. Raises NotFound."""
    customer = _customer(held, asked).record
    plan = whole_plan(held, asked.plan_id)
    if plan is None:
        raise NotFound(f"there is no plan {asked.plan_id}")
    associations = [each.record for each in live(held.tax_associations, hanging_on(customer.id))]
    rates = held.tax_rates.those({each.tax_rate_id for each in associations})
    taxes = tuple(
        replace(
            each.attachment(rates[each.tax_rate_id].record),
            id=TaxAttachmentId(derived("ta", name, each.id)),
        )
        for each in associations
        if each.tax_rate_id in rates
    )
    return Parties(customer, plan, taxes)


def _customer(held: Objects, asked: CreateSubscriptionRequest) -> Stored[Customer]:
    """Return the customer by its id, else by its owner's name for it."""
    if asked.customer_id is not None:
        return subject(held.customers, asked.customer_id, "customer")
    if asked.external_customer_id is None:
        text = "a subscription needs customer_id or external_customer_id"
        raise ValidationFailed(text, field="customer_id")
    return customer_by_external_id(held, asked.external_customer_id)


def _terms(
    made: Lines, asked: CreateSubscriptionRequest, plan: Plan, at: datetime
) -> SubscriptionTerms:
    """Return what is asked for, with the objects that it names."""
    held, name = made.objects, made.subscription_id
    lines = tuple(
        line_request(made, each, place=f"line_items.{number}.")
        for number, each in enumerate(asked.line_items)
    )
    included = asked.include_price_ids
    terms = SubscriptionTerms(
        # Bounds are whole seconds (billing.md 5).
        start_date=asked.start_date or at.replace(microsecond=0),
        currency=asked.currency.lower(),
        billing_period=asked.billing_period and BillingPeriod(asked.billing_period),
        billing_period_count=asked.billing_period_count or 1,
        billing_cycle=BillingCycle(asked.billing_cycle or BillingCycle.ANNIVERSARY),
        billing_anchor=asked.billing_anchor,
        end_date=asked.end_date,
        timezone=asked.timezone or "",
        lookup_key=asked.lookup_key or "",
        payment_terms=asked.payment_terms and PaymentTerms(asked.payment_terms),
        trial_period_days=asked.trial_period_days,
        include_price_ids=None if included is None else tuple(included),
        overrides=tuple(_override(each) for each in asked.override_line_items),
        lines=lines,
        entitlements=tuple(_entitlement(each, name, plan) for each in asked.override_entitlements),
        commitment=_commitment(asked),
        line_commitments={
            price_id: line_commitment(each, f"line_item_commitments.{price_id}.")
            for price_id, each in asked.line_item_commitments.items()
        },
        coupons=tuple(_coupons(held, asked)),
        taxes=_taxes(held, asked.tax_rate_overrides, name),
        metadata=asked.metadata,
    )
    return _collected(terms, asked)


def _collected(terms: SubscriptionTerms, asked: CreateSubscriptionRequest) -> SubscriptionTerms:
    """Return terms with how they are charged in part and collected, where that is asked for."""
    words = {
        "collection_method": asked.collection_method and CollectionMethod(asked.collection_method),
        "payment_behavior": asked.payment_behavior and PaymentBehavior(asked.payment_behavior),
        "proration_behavior": asked.proration_behavior
        and ProrationBehavior(asked.proration_behavior),
    }
    given = {key: word for key, word in words.items() if word is not None}
    changed: SubscriptionTerms = replace(terms, **given)  # type: ignore[arg-type]  # words by name
    return changed


def _override(asked: OverrideLineItemRequest) -> LineOverride:
    # A quantity of 0 counts as absent (api-fields.md).
    return LineOverride(asked.price_id, price_terms(asked), asked.quantity or None)


def _commitment(asked: CreateSubscriptionRequest) -> Commitment | None:
    """Return the commitment of the whole subscription."""
    return subscription_commitment_of(
        asked.commitment_amount,
        asked.overage_factor or Decimal(1),
        true_up=asked.enable_true_up,
        duration=asked.commitment_duration and BillingPeriod(asked.commitment_duration),
    )


def _coupons(held: Objects, asked: CreateSubscriptionRequest) -> Iterator[CouponGrant]:
    """Yield the coupons that are asked for, by id and by code."""
    for name in asked.coupons:
        yield CouponGrant(referred(held.coupons, name, "coupons").record)
    for price_id, names in asked.line_item_coupons.items():
        for name in names:
            coupon = referred(held.coupons, name, "line_item_coupons").record
            yield CouponGrant(coupon, price_id)
    for number, each in enumerate(asked.subscription_coupons):
        coupon = _by_code(held, each.coupon_code, f"subscription_coupons.{number}.coupon_code")
        yield CouponGrant(coupon, each.price_id, each.start_date, each.end_date)


def _by_code(held: Objects, code: str, field: str) -> Coupon:
    found = held.coupons.by_lookup(code)
    if found is None:
        raise ValidationFailed(f"there is no coupon of the code {code!r}", field=field)
    return found.record


def _taxes(
    held: Objects, asked: list[TaxRateOverride] | None, name: SubscriptionId
) -> tuple[TaxAttachment, ...] | None:
    """Return the taxes of its own, None where the customer's are taken."""
    if asked is None:
        return None
    found = []
    for number, each in enumerate(asked):
        rate = held.tax_rates.by_lookup(each.tax_rate_code)
        if rate is None:
            text = f"there is no tax rate of the code {each.tax_rate_code!r}"
            raise ValidationFailed(text, field=f"tax_rate_overrides.{number}.tax_rate_code")
        attachment = derived("ta", name, rate.record.id, number)
        found.append(tax_attachment_from(each, rate.record, id=attachment))
    return tuple(found)


def _entitlement(
    asked: OverrideEntitlementRequest, name: SubscriptionId, plan: Plan
) -> Entitlement:
    """Return the entitlement that takes the place of one of the plan.

    Without any other member it has no limit: clients leave out what says so (api.md 1.6).
    """
    parent = next((each for each in plan.entitlements if each.id == asked.entitlement_id), None)
    if parent is None:
        text = f"the plan has no entitlement {asked.entitlement_id}"
        raise ValidationFailed(text, field="override_entitlements")
    limitless = asked.model_fields_set in ({"entitlement_id"}, {"entitlement_id", LIMIT})
    said = LIMIT in asked.model_fields_set or limitless
    if asked.usage_limit is not None and asked.usage_limit < 0:
        raise ValidationFailed("must not be negative", field="override_entitlements")
    return replace(
        parent,
        id=EntitlementId(derived("ent", name, parent.id)),
        entity_type=EntitlementEntityType.SUBSCRIPTION,
        entity_id=name,
        parent_entitlement_id=parent.id,
        usage_limit=asked.usage_limit if said else parent.usage_limit,
        is_enabled=parent.is_enabled if asked.is_enabled is None else asked.is_enabled,
        static_value=parent.static_value if asked.static_value is None else asked.static_value,
        config_value=parent.config_value if asked.config_value is None else asked.config_value,
        grant=_grant(asked, parent.grant),
    )


def _grant(
    asked: OverrideEntitlementRequest, kept: EntitlementGrant | None
) -> EntitlementGrant | None:
    """Return a grant with other terms; where there is none, the terms of a whole one are needed."""
    words = {
        "measure": asked.grant_measure and GrantMeasure(asked.grant_measure),
        "quota": asked.grant_quota,
        "duration_unit": asked.grant_duration_unit and GrantDurationUnit(asked.grant_duration_unit),
        "duration_value": asked.grant_duration_value,
        "allocation": asked.grant_allocation_behavior
        and GrantAllocation(asked.grant_allocation_behavior),
        "aggregation": asked.aggregation_mode and GrantAggregation(asked.aggregation_mode),
        "unlimited": asked.grant_unlimited,
    }
    given = {key: word for key, word in words.items() if word is not None}
    if not given:
        return kept
    if kept is None and not {"measure", "duration_unit"} <= given.keys():
        text = "a grant needs grant_measure and grant_duration_unit"
        raise ValidationFailed(text, field="override_entitlements")
    if kept is None:
        return EntitlementGrant(**{"quota": None, **given})  # type: ignore[arg-type]  # by name
    changed: EntitlementGrant = replace(kept, **given)  # type: ignore[arg-type]  # words by name
    return changed
