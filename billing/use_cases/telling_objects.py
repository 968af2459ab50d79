"""Telling of what is sold and to whom: the webhooks of customers and features."""

from datetime import datetime

from billing.invoices.reports import Shown
from billing.ports.money import OutboxRow
from billing.pricing.explanation import instant
from billing.use_cases.telling import webhook
from schemas.alert import AlertSettings
from schemas.customer import Customer
from schemas.decimals import plain
from schemas.ids import OutboxId, derived
from schemas.scope import Scope
from schemas.stored import Stored
from schemas.subscription import Feature

CUSTOMER_CREATED = "customer.created"
CUSTOMER_UPDATED = "customer.updated"
CUSTOMER_DELETED = "customer.deleted"
FEATURE_CREATED = "feature.created"
FEATURE_UPDATED = "feature.updated"
FEATURE_DELETED = "feature.deleted"


def customer_row(event: str, stored: Stored[Customer], scope: Scope, at: datetime) -> OutboxRow:
    """Return the webhook of a customer as it is after what happened."""
    name = stored.record.id
    body = {"customer": customer_snapshot(stored, scope)}
    return webhook(event, name, at, body, name, stored.version)


def feature_row(event: str, stored: Stored[Feature], scope: Scope, at: datetime) -> OutboxRow:
    """Return the webhook of a feature as it is after what happened; it orders itself."""
    name = stored.record.id
    return OutboxRow(
        id=OutboxId(derived("msg", event, name, stored.version)),
        topic=None,
        key=name,
        at=at,
        payload={},
        event=event,
        body={"feature": feature_snapshot(stored, scope)},
    )


def customer_snapshot(stored: Stored[Customer], scope: Scope) -> Shown:
    """Return a customer as webhooks show it: members of CustomerResponse (api-fields.md)."""
    customer = stored.record
    return {
        **_life(stored, scope),
        "id": customer.id,
        "external_id": customer.external_id,
        "name": customer.name,
        "email": customer.email,
        "contact": customer.contact,
        "address_line1": customer.address_line1,
        "address_line2": customer.address_line2,
        "address_city": customer.address_city,
        "address_state": customer.address_state,
        "address_postal_code": customer.address_postal_code,
        "address_country": customer.address_country,
        "timezone": customer.timezone or "UTC",
        "metadata": dict(customer.metadata),
    }


def feature_snapshot(stored: Stored[Feature], scope: Scope) -> Shown:
    """Return a feature as webhooks show it: members of FeatureResponse (api-fields.md)."""
    feature = stored.record
    return {
        **_life(stored, scope),
        "id": feature.id,
        "name": feature.name,
        "type": feature.type.value,
        "lookup_key": feature.lookup_key,
        "description": feature.description,
        "meter_id": feature.meter_id or "",
        "unit_singular": feature.unit_singular,
        "unit_plural": feature.unit_plural,
        "group_id": feature.group_id,
        "alert_settings": _settings(feature.alert_settings),
        "metadata": dict(feature.metadata),
    }


def _life(stored: Stored[Customer] | Stored[Feature], scope: Scope) -> Shown:
    """Return what every record says of itself."""
    return {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "status": stored.status.value,
        "created_at": instant(stored.created_at),
        "updated_at": instant(stored.updated_at),
        "created_by": stored.created_by,
        "updated_by": stored.updated_by,
    }


def _settings(settings: AlertSettings | None) -> Shown | None:
    """Return alert settings with their levels, None where there are none."""
    if settings is None:
        return None
    names = ("critical", "warning", "info")
    thresholds = {name: getattr(settings, name) for name in names}
    return {
        "alert_enabled": settings.alert_enabled,
        **{
            name: {"threshold": plain(each.threshold), "condition": each.condition.value}
            for name, each in thresholds.items()
            if each is not None
        },
    }
