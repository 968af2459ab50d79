"""Taxes: rates and what they are attached to, as their owner changes them (billing.md 14).

What a customer or the tenant has is kept as associations. What a subscription has it carries
itself, with its rates in it, so it is changed there.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from billing.catalog import live
from billing.ports import Changes, Stores
from billing.ports.attached import AttachedReader
from billing.ports.objects import Objects
from billing.use_cases.found import referred, subject
from billing.use_cases.transactions import retried
from schemas.errors import AlreadyExists, InvalidOperation, NotFound, ValidationFailed
from schemas.ids import SubscriptionId
from schemas.object_query import Condition, Operator
from schemas.stored import Status, Stored, changed, made
from schemas.subscription import Subscription, SubscriptionStatus
from schemas.tax import (
    TaxAssociation,
    TaxAttachment,
    TaxEntityType,
    TaxRate,
    TaxRateId,
    TaxRateStatus,
)

IN_USE = "in_use"
CANCELLED = SubscriptionStatus.CANCELLED


def rate_for(objects: Objects, code: str) -> Stored[TaxRate]:
    """Return the rate of a code that may be attached. Raises NotFound for one that is not active."""
    found = objects.tax_rates.by_lookup(code)
    if found is None or found.record.status is not TaxRateStatus.ACTIVE:
        raise NotFound(f"there is no active tax rate of the code {code}")
    return found


def update_rate(
    objects: Objects,
    stores: Stores,
    attached: AttachedReader,
    rate_id: str,
    changes: Mapping[str, Any],
    *,
    at: datetime,
    by: str,
) -> Stored[TaxRate]:
    """Change how a rate is called and whether it is in use, also where it is attached.

    Cancelled subscriptions keep it as it was. Raises NotFound, AlreadyExists for a code that a live
    rate has.
    """
    with objects.writing() as inside:
        before = subject(inside.tax_rates, rate_id, "tax rate")
        rate = replace(before.record, **changes)
        after = before if rate == before.record else changed(before, rate, at, by)
        if after is not before:
            inside.tax_rates.replace(after)
    # Also where nothing changed: what an earlier change did not reach is reached now.
    for each in attached.taxed(rate.id):
        if each.status is not CANCELLED:
            _retax(stores, each, lambda taxes: tuple(_with_rate(tax, rate) for tax in taxes), at)
    return after


def delete_rate(
    objects: Objects, attached: AttachedReader, rate_id: str, *, at: datetime, by: str
) -> None:
    """Delete a rate. Raises NotFound, and InvalidOperation (in_use) while it is attached."""
    carrying = [each for each in attached.taxed(TaxRateId(rate_id)) if each.status is not CANCELLED]
    with objects.writing() as inside:
        before = subject(inside.tax_rates, rate_id, "tax rate")
        if carrying or live(inside.tax_associations, _of_rate(rate_id)):
            raise InvalidOperation(
                f"tax rate {rate_id} is attached: detach it everywhere first", reason=IN_USE
            )
        inside.tax_rates.replace(changed(before, before.record, at, by, Status.DELETED))


def attach(
    objects: Objects, stores: Stores, association: TaxAssociation, *, at: datetime, by: str
) -> Stored[TaxAssociation]:
    """Attach a rate to a customer, a subscription or the tenant.

    A subscription has it from its next invoice on; what a customer has, its later subscriptions
    begin with. Raises ValidationFailed for an entity that does not exist (`entity_id`) and an end
    that is not after the start (`end_date`), AlreadyExists for a rate that the entity has, and
    InvalidOperation for a subscription that is cancelled.
    """
    start, end = association.start_date, association.end_date
    if start is not None and end is not None and end <= start:
        raise ValidationFailed("must be after start_date", field="end_date")
    if association.entity_type is TaxEntityType.SUBSCRIPTION:
        return _attach_to_subscription(objects, stores, association, at)
    stored = made(association, at, by)
    with objects.writing() as inside:
        if association.entity_type is TaxEntityType.CUSTOMER:
            referred(inside.customers, association.entity_id, "entity_id")
        inside.tax_associations.add(stored)
    return stored


def _attach_to_subscription(
    objects: Objects, stores: Stores, association: TaxAssociation, at: datetime
) -> Stored[TaxAssociation]:
    """Attach a rate to a subscription, in the record of that."""
    rate = subject(objects.tax_rates, association.tax_rate_id, "tax rate").record
    name = SubscriptionId(association.entity_id)
    known = stores.subscription(name)
    if known is None:
        raise ValidationFailed(f"there is no subscription {name}", field="entity_id")

    def with_rate(taxes: tuple[TaxAttachment, ...]) -> tuple[TaxAttachment, ...]:
        if any(each.rate.id == rate.id for each in taxes):
            text = f"subscription {name} has the tax rate {rate.code} already"
            raise AlreadyExists(text, field="tax_rate_code", reason="unique")
        return (*taxes, association.attachment(rate))

    after = _retax(stores, known, with_rate, at)
    return next(each for each in carried(after) if each.record.id == association.id)


def associations(
    objects: Objects,
    attached: AttachedReader,
    *,
    entity_type: TaxEntityType | None = None,
    entity_id: str | None = None,
    tax_rate_id: str | None = None,
) -> list[Stored[TaxAssociation]]:
    """Return the live associations of an entity or a rate, or all of them, the newest first."""
    asked = {"entity_type": entity_type, "entity_id": entity_id, "tax_rate_id": tax_rate_id}
    found = list(
        live(
            objects.tax_associations,
            *(Condition(name, Operator.EQ, value) for name, value in asked.items() if value),
        )
    )
    if entity_type in (None, TaxEntityType.SUBSCRIPTION):
        rate = None if tax_rate_id is None else TaxRateId(tax_rate_id)
        found += [
            each
            for subscription in attached.taxed(rate)
            if entity_id in (None, subscription.id)
            for each in carried(subscription)
            if tax_rate_id in (None, each.record.tax_rate_id)
        ]
    return sorted(found, key=lambda each: (each.created_at, each.record.id), reverse=True)


def association_of(
    objects: Objects, attached: AttachedReader, association_id: str
) -> Stored[TaxAssociation]:
    """Return a live association by its id. Raises NotFound."""
    found = objects.tax_associations.get(association_id)
    if found is not None and found.is_live:
        return found
    for subscription in attached.naming(association_id):
        for each in carried(subscription):
            if each.record.id == association_id:
                return each
    raise NotFound(f"there is no tax association {association_id}")


def update_association(
    objects: Objects,
    stores: Stores,
    attached: AttachedReader,
    association_id: str,
    changes: Mapping[str, Any],
    *,
    at: datetime,
    by: str,
) -> Stored[TaxAssociation]:
    """Change on which terms a rate takes part. Raises NotFound."""
    before = association_of(objects, attached, association_id)
    if before.record.entity_type is TaxEntityType.SUBSCRIPTION:
        after = _retax(
            stores,
            _subscription(stores, before.record),
            lambda taxes: tuple(
                replace(tax, **changes) if tax.id == association_id else tax for tax in taxes
            ),
            at,
        )
        return next(each for each in carried(after) if each.record.id == association_id)
    with objects.writing() as inside:
        kept = subject(inside.tax_associations, association_id, "tax association")
        later = changed(kept, replace(kept.record, **changes), at, by)
        inside.tax_associations.replace(later)
    return later


def detach(
    objects: Objects,
    stores: Stores,
    attached: AttachedReader,
    association_id: str,
    *,
    at: datetime,
    by: str,
) -> Stored[TaxAssociation]:
    """Detach a rate, and return the association as it was, deleted. Raises NotFound."""
    before = association_of(objects, attached, association_id)
    if before.record.entity_type is TaxEntityType.SUBSCRIPTION:
        _retax(
            stores,
            _subscription(stores, before.record),
            lambda taxes: tuple(tax for tax in taxes if tax.id != association_id),
            at,
        )
        return replace(before, status=Status.DELETED, updated_at=at, updated_by=by)
    with objects.writing() as inside:
        kept = subject(inside.tax_associations, association_id, "tax association")
        after = changed(kept, kept.record, at, by, Status.DELETED)
        inside.tax_associations.replace(after)
    return after


def carried(subscription: Subscription) -> list[Stored[TaxAssociation]]:
    """Return the taxes that a subscription carries, as associations as old as it is."""
    at = subscription.created_at or subscription.start_date
    return [
        made(
            TaxAssociation(
                each.id,
                each.rate.id,
                TaxEntityType.SUBSCRIPTION,
                subscription.id,
                each.priority,
                each.auto_apply,
                each.currency,
                each.start_date,
                each.end_date,
                each.inclusive,
                each.metadata,
            ),
            at,
        )
        for each in subscription.taxes
    ]


Taxes = tuple[TaxAttachment, ...]


def _retax(
    stores: Stores, subscription: Subscription, change: Callable[[Taxes], Taxes], at: datetime
) -> Subscription:
    """Change the taxes of a subscription; its customer is looked at again, as bills may differ.

    Raises InvalidOperation for one that is cancelled.
    """

    def decide() -> Subscription:
        with stores.deciding(subscription.payer_id) as held:
            known = held.subscription(subscription.id)
            assert known is not None, "subscriptions are never removed"
            if known.status is CANCELLED:
                text = f"subscription {known.id} is cancelled, so its taxes stay as they are"
                raise InvalidOperation(text, reason="illegal_transition")
            after = replace(known, taxes=change(known.taxes), version=known.version + 1)
            if after.taxes == known.taxes:
                return known
            held.commit(Changes(subscriptions=(after,), wake={known.payer_id: at}))
            return after

    return retried(decide)


def _subscription(stores: Stores, association: TaxAssociation) -> Subscription:
    found = stores.subscription(SubscriptionId(association.entity_id))
    assert found is not None, "subscriptions are never removed"
    return found


def _with_rate(tax: TaxAttachment, rate: TaxRate) -> TaxAttachment:
    return replace(tax, rate=rate) if tax.rate.id == rate.id else tax


def _of_rate(rate_id: str) -> Condition:
    return Condition("tax_rate_id", Operator.EQ, rate_id)
