"""Customers: made with their taxes, changed, and deleted when nothing of them is alive.

What is told of a customer is in the transaction of its fact. Source: api.md 4.6, billing.md 14.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from billing.catalog import hanging_on, live
from billing.ports import Stores
from billing.ports.objects import Objects
from billing.use_cases import telling_objects as telling
from billing.use_cases.found import subject
from schemas.customer import Customer
from schemas.errors import InvalidOperation, NotFound, ValidationFailed
from schemas.ids import CustomerId
from schemas.object_query import Condition, Operator
from schemas.scope import Scope
from schemas.stored import Status, Stored, changed, made
from schemas.subscription import SubscriptionStatus
from schemas.tax import (
    TaxAssociation,
    TaxAttachmentId,
    TaxEntityType,
    TaxRateOverride,
    tax_attachment_from,
)
from schemas.wallet import WalletStatus

IN_USE = "in_use"
OF_TENANT = Condition("entity_type", Operator.EQ, TaxEntityType.TENANT.value)


def create_customer(
    objects: Objects,
    customer: Customer,
    overrides: Sequence[TaxRateOverride] | None,
    *,
    scope: Scope,
    new_id: Callable[[str], str],
    at: datetime,
    by: str,
) -> Stored[Customer]:
    """Add a customer with its taxes: those of `overrides`, or the tenant's where that is None.

    Raises AlreadyExists for an external id that a live customer has, ValidationFailed for a rate
    that is not there; then nothing was made.
    """
    stored = made(customer, at, by)
    with objects.writing() as inside:
        inside.customers.add(stored)
        if overrides is None:
            taxes = _of_tenant(inside, customer.id, new_id)
        else:
            taxes = _of_overrides(inside, customer.id, overrides, new_id)
        for each in taxes:
            inside.tax_associations.add(made(each, at, by))
        inside.tell([telling.customer_row(telling.CUSTOMER_CREATED, stored, scope, at)])
    return stored


def customer_by_external_id(objects: Objects, external_id: str) -> Stored[Customer]:
    """Return the live customer of an external id, to the letter. Raises NotFound."""
    found = objects.customers.by_lookup(external_id)
    if found is None:
        raise NotFound(f"there is no customer of the external id {external_id}")
    return found


def update_customer(
    objects: Objects,
    stores: Stores,
    customer_id: str,
    changes: Mapping[str, Any],
    *,
    scope: Scope,
    at: datetime,
    by: str,
) -> Stored[Customer]:
    """Change members of a customer; a change of nothing writes nothing.

    Subscriptions know their usage by the external id, so it stays while one of them lives: that is
    InvalidOperation (in_use). Raises NotFound, and AlreadyExists where the id is taken.
    """
    with objects.writing() as inside:
        before = subject(inside.customers, customer_id, "customer")
        record = replace(before.record, **changes)
        if record == before.record:
            return before
        after = changed(before, record, at, by)
        inside.tell([telling.customer_row(telling.CUSTOMER_UPDATED, after, scope, at)])
        inside.customers.replace(after)
        if record.external_id != before.record.external_id:
            _check_subscriptions(stores, record.id, "its external id cannot change")
    return after


def delete_customer(
    objects: Objects, stores: Stores, customer_id: str, *, scope: Scope, at: datetime, by: str
) -> None:
    """Delete a customer; its invoices and events stay, its taxes go with it.

    Raises NotFound, and InvalidOperation (in_use) while it has a subscription that is not cancelled
    or a wallet that is not closed.
    """
    with objects.writing() as inside:
        before = subject(inside.customers, customer_id, "customer")
        after = changed(before, before.record, at, by, Status.DELETED)
        # Telling comes first: from then on nobody else changes what the customer has.
        inside.tell([telling.customer_row(telling.CUSTOMER_DELETED, after, scope, at)])
        _check_subscriptions(stores, before.record.id, "it cannot be deleted: cancel that first")
        for held in stores.wallets_of(before.record.id):
            if held.wallet.wallet_status is not WalletStatus.CLOSED:
                raise InvalidOperation(
                    f"customer {customer_id} has the wallet {held.wallet.id}, which is not closed:"
                    " close it first",
                    reason=IN_USE,
                )
        inside.customers.replace(after)
        for each in live(inside.tax_associations, hanging_on(customer_id)):
            inside.tax_associations.replace(changed(each, each.record, at, by, Status.DELETED))


def _check_subscriptions(stores: Stores, customer_id: CustomerId, consequence: str) -> None:
    """Refuse what needs a customer without subscriptions that go on."""
    for each in stores.subscriptions_naming(customer_id):
        if each.status is not SubscriptionStatus.CANCELLED:
            raise InvalidOperation(
                f"customer {customer_id} has the subscription {each.id}, which is not cancelled:"
                f" {consequence}",
                reason=IN_USE,
            )


def _of_tenant(
    inside: Objects, customer_id: CustomerId, new_id: Callable[[str], str]
) -> Iterator[TaxAssociation]:
    """Yield copies of the taxes that every customer of the tenant starts with."""
    for each in live(inside.tax_associations, OF_TENANT):
        yield replace(
            each.record,
            id=TaxAttachmentId(new_id("ta")),
            entity_type=TaxEntityType.CUSTOMER,
            entity_id=customer_id,
        )


def _of_overrides(
    inside: Objects,
    customer_id: CustomerId,
    overrides: Sequence[TaxRateOverride],
    new_id: Callable[[str], str],
) -> Iterator[TaxAssociation]:
    """Yield the taxes that a request names, each rate once. Raises ValidationFailed with the place."""
    seen: set[str] = set()
    for number, override in enumerate(overrides):
        place = f"tax_rate_overrides.{number}"
        rate = inside.tax_rates.by_lookup(override.tax_rate_code)
        if rate is None or rate.record.id in seen:
            wrong = "names no tax rate" if rate is None else "is attached already"
            raise ValidationFailed(
                f"the code {override.tax_rate_code!r} {wrong}", field=f"{place}.tax_rate_code"
            )
        seen.add(rate.record.id)
        try:
            attachment = tax_attachment_from(override, rate.record, id=new_id("ta"))
        except ValidationFailed as error:
            raise ValidationFailed(str(error), field=f"{place}.{error.field}") from error
        yield TaxAssociation(
            attachment.id,
            rate.record.id,
            TaxEntityType.CUSTOMER,
            customer_id,
            attachment.priority,
            attachment.auto_apply,
            attachment.currency,
            inclusive=attachment.inclusive,
            metadata=override.metadata,
        )
