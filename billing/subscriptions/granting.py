"""Granting: what an entitlement may say, and what a subscription is granted when one changes.

Source: billing.md 12, api-fields.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from schemas.entitlement_grant import EntitlementGrant, GrantDurationUnit
from schemas.errors import ValidationFailed
from schemas.meter import AggregationType, Meter
from schemas.subscription import Entitlement, EntitlementEntityType, FeatureType

# The members of a grant by their names on the wire.
GRANT_MEMBERS: Mapping[str, str] = {
    "grant_measure": "measure",
    "grant_quota": "quota",
    "grant_duration_value": "duration_value",
    "grant_duration_unit": "duration_unit",
    "grant_allocation_behavior": "allocation",
    "grant_unlimited": "unlimited",
    "aggregation_mode": "aggregation",
}
# What says nothing without the rest of a grant.
BESIDE = frozenset({"aggregation_mode", "grant_unlimited"})


def grant_from(
    given: Mapping[str, Any], before: EntitlementGrant | None = None
) -> EntitlementGrant | None:
    """Return the grant of the members that a request gives, over what there was; None is no grant.

    A quota makes a grant limited, and `grant_unlimited` takes its quota away. Raises
    ValidationFailed naming what is missing or must not be there.

    >>> from decimal import Decimal
    >>> from schemas.entitlement_grant import GrantMeasure
    >>> day = {"grant_measure": GrantMeasure.QUANTITY, "grant_quota": Decimal(100),
    ...        "grant_duration_value": 1, "grant_duration_unit": GrantDurationUnit.DAY}
    >>> grant_from(day).allocation.value
    'first_usage'
    """
    said = {name: given[name] for name in GRANT_MEMBERS if given.get(name) is not None}
    if before is None and said.keys() <= BESIDE:
        return None
    known = (
        {}
        if before is None
        else {name: getattr(before, member) for name, member in GRANT_MEMBERS.items()}
    )
    if said.get("grant_unlimited"):
        known["grant_quota"] = None
    elif "grant_quota" in said:
        known["grant_unlimited"] = False
    if said.get("grant_duration_unit") is GrantDurationUnit.SUBSCRIPTION_PERIOD:
        known["grant_duration_value"] = None
    terms = {**known, **said}
    _check_grant(terms)
    members: dict[str, Any] = {
        GRANT_MEMBERS[name]: value for name, value in terms.items() if value is not None
    }
    return EntitlementGrant(**{"quota": None, **members})


def _check_grant(terms: Mapping[str, Any]) -> None:
    """Refuse terms that are no grant. Raises ValidationFailed."""
    for name in ("grant_measure", "grant_duration_unit"):
        if terms.get(name) is None:
            raise ValidationFailed("is required: the members of a grant come together", field=name)
    quota, unlimited = terms.get("grant_quota"), terms.get("grant_unlimited", False)
    if unlimited and quota is not None:
        raise ValidationFailed("is not for a grant without a quota", field="grant_quota")
    if not unlimited and (quota is None or quota <= 0):
        raise ValidationFailed("must be given and above 0", field="grant_quota")
    value = terms.get("grant_duration_value")
    if terms["grant_duration_unit"] is GrantDurationUnit.SUBSCRIPTION_PERIOD:
        if value is not None:
            text = "is not for subscription_period, which is one billing period"
            raise ValidationFailed(text, field="grant_duration_value")
    elif value is None or value <= 0:
        raise ValidationFailed("must be given and above 0", field="grant_duration_value")


def checked(entitlement: Entitlement, meter: Meter | None) -> Entitlement:
    """Return an entitlement as it is kept, without what its type has no use for.

    `meter` is that of its feature. Raises ValidationFailed (`usage_limit`, `static_value`,
    `grant_measure`, `feature_id`) for what cannot be.
    """
    if entitlement.feature_type is FeatureType.METERED:
        if meter is not None and _is_peak(meter):
            text = "the feature counts the peak of a bucket, which has no allowance"
            raise ValidationFailed(text, field="feature_id")
        return replace(entitlement, static_value="", config_value=None)
    for name, value in (
        ("usage_limit", entitlement.usage_limit),
        ("grant_measure", entitlement.grant),
    ):
        if value is not None:
            text = f"is for metered features, and this one is {entitlement.feature_type}"
            raise ValidationFailed(text, field=name)
    if entitlement.feature_type is FeatureType.STATIC and not entitlement.static_value:
        raise ValidationFailed("is required for a static feature", field="static_value")
    # Only what is on or off by nature can be off.
    is_boolean = entitlement.feature_type is FeatureType.BOOLEAN
    return replace(
        entitlement,
        usage_reset_period=None,
        is_soft_limit=False,
        is_enabled=entitlement.is_enabled if is_boolean else True,
    )


def _is_peak(meter: Meter) -> bool:
    """Tell whether a meter takes the maximum of each bucket."""
    aggregation = meter.aggregation
    return aggregation.type is AggregationType.MAX and aggregation.bucket_size is not None


def regranted(
    granted: Iterable[Entitlement], of_plan: Iterable[Entitlement]
) -> tuple[Entitlement, ...]:
    """Return what a subscription is granted when its plan grants other things.

    What is its own stays: in the place of the entitlement of the plan that it names, or after them.

    >>> from schemas.ids import EntitlementId, FeatureId
    >>> plan = Entitlement(EntitlementId("ent_1"), FeatureId("feat_1"), usage_limit=100)
    >>> own = replace(plan, id=EntitlementId("ent_2"), usage_limit=5,
    ...     entity_type=EntitlementEntityType.SUBSCRIPTION, parent_entitlement_id=plan.id)
    >>> [each.usage_limit for each in regranted([plan, own], [plan])]
    [5]
    """
    own = [each for each in granted if each.entity_type is not EntitlementEntityType.PLAN]
    replacing = {each.parent_entitlement_id: each for each in own if each.parent_entitlement_id}
    found = [replacing.get(each.id, each) for each in of_plan]
    placed = {each.id for each in found}
    return (*found, *(each for each in own if each.id not in placed))
