"""Telling of entitlements: their webhooks, with what they are after what happened."""

from datetime import datetime

from billing.invoices.reports import Shown
from billing.ports.money import OutboxRow
from billing.pricing.explanation import instant
from schemas.decimals import plain
from schemas.entitlement_grant import EntitlementGrant
from schemas.ids import OutboxId, derived
from schemas.scope import Scope
from schemas.stored import Stored
from schemas.subscription import Entitlement, EntitlementEntityType

ENTITLEMENT_CREATED = "entitlement.created"
ENTITLEMENT_UPDATED = "entitlement.updated"
ENTITLEMENT_DELETED = "entitlement.deleted"


def entitlement_row(
    event: str, stored: Stored[Entitlement], scope: Scope, at: datetime
) -> OutboxRow:
    """Return the webhook of an entitlement; it orders itself."""
    name = stored.record.id
    return OutboxRow(
        id=OutboxId(derived("msg", event, name, stored.version)),
        topic=None,
        key=name,
        at=at,
        payload={},
        event=event,
        body={"entitlement": entitlement_snapshot(stored, scope)},
    )


def entitlement_snapshot(stored: Stored[Entitlement], scope: Scope) -> Shown:
    """Return an entitlement as webhooks show it: members of EntitlementResponse."""
    record = stored.record
    is_plan = record.entity_type is EntitlementEntityType.PLAN
    reset = record.usage_reset_period
    return {
        "id": record.id,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "status": stored.status.value,
        "created_at": instant(stored.created_at),
        "updated_at": instant(stored.updated_at),
        "created_by": stored.created_by,
        "updated_by": stored.updated_by,
        "feature_id": record.feature_id,
        "feature_type": record.feature_type.value,
        "entity_type": record.entity_type.value,
        "entity_id": record.entity_id,
        "plan_id": record.entity_id if is_plan else None,
        "is_enabled": record.is_enabled,
        "is_soft_limit": record.is_soft_limit,
        "usage_limit": record.usage_limit,
        "usage_reset_period": "" if reset is None else reset.value,
        "static_value": record.static_value,
        "parent_entitlement_id": record.parent_entitlement_id,
        **_grant(record.grant),
    }


def _grant(grant: EntitlementGrant | None) -> Shown:
    """Return the members of a grant, none for what is none."""
    if grant is None:
        return {}
    return {
        "grant_measure": grant.measure.value,
        "grant_quota": None if grant.quota is None else plain(grant.quota),
        "grant_duration_value": grant.duration_value,
        "grant_duration_unit": grant.duration_unit.value,
        "grant_allocation_behavior": grant.allocation.value,
        "aggregation_mode": grant.aggregation.value,
    }
