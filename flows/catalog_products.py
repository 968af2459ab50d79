"""Meters, features and plans of a catalog file: checked, joined, and given derived ids."""

from collections.abc import Iterator
from dataclasses import replace

from flows.catalog_grants import plan_grants
from flows.catalog_names import ENVIRONMENT, TENANT, Findings, Names, identity
from flows.catalog_prices import changes_by_price, plan_prices
from schemas.catalog import CatalogFile
from schemas.catalog_products import CatalogEntitlement, CatalogFeature, CatalogMeter, CatalogPlan
from schemas.errors import ValidationFailed
from schemas.ids import EntitlementId, FeatureId, PlanId
from schemas.meter import AggregationType, Meter, meter_from
from schemas.subscription import Entitlement, Feature, FeatureType, Plan

# What a meter needs where it is refused (metering.md 6.1); the reason stands before it.
EXPECTED = {
    "name_required": "a meter needs a name",
    "event_name_required": "a meter needs the name of its events",
    "field_too_long": "at most 255 characters",
    "aggregation_type_unknown": f"expected one of {', '.join(AggregationType)}",
    "field_required": "every type but COUNT needs the property that it reads",
    "expression_not_allowed": "only SUM, AVG, MAX, MIN and LATEST take one",
    "field_and_expression": "give one of the two",
    "multiplier_required": "SUM_WITH_MULTIPLIER needs one",
    "multiplier_invalid": "expected a decimal above 0 with at most 18 places, written as a text",
    "multiplier_not_allowed": "only SUM_WITH_MULTIPLIER takes one",
    "bucket_size_not_allowed": "only SUM and MAX take one",
    "bucket_size_unknown": "expected a window such as HOUR or DAY",
    "group_by_not_allowed": "only MAX with a bucket_size takes one",
    "filter_key_empty": "a filter needs the property that it looks at",
    "filter_values_empty": "a filter needs at least one value",
    "reset_usage_unknown": "expected BILLING_PERIOD or NEVER",
    "reset_usage_not_allowed": "a meter with buckets starts anew with each of them",
}


def resolve_meters(file: CatalogFile, found: Findings) -> Names[Meter]:
    """Return the meters, called by lookup key or name."""
    names: Names[Meter] = Names("meter")
    for index, entry in enumerate(file.meters):
        with found.at("meters", index):
            meter = meter_of(entry)
            field = "lookup_key" if entry.lookup_key else "name"
            names.add(meter, key=key_of(entry), name=meter.name, key_field=field)
    found.end_phase()
    return names


def key_of(entry: CatalogMeter) -> str:
    """Return what a meter is called by."""
    return entry.lookup_key or entry.name or ""


def meter_of(entry: CatalogMeter) -> Meter:
    """Return the record of a meter; a refusal says what was expected beside the reason."""
    id_ = identity("meter", key_of(entry))
    try:
        meter = meter_from(entry, id=id_, tenant_id=TENANT, environment_id=ENVIRONMENT)
        return replace(meter, lookup_key=entry.lookup_key)
    except ValidationFailed as error:
        if error.reason is None:
            raise
        text = f"{error.reason}: {EXPECTED[error.reason]}"
        raise ValidationFailed(text, field=error.field, reason=error.reason) from error


def resolve_features(file: CatalogFile, meters: Names[Meter], found: Findings) -> Names[Feature]:
    """Return the features; a lookup key that is absent is made of the name."""
    names: Names[Feature] = Names("feature")
    for index, entry in enumerate(file.features):
        with found.at("features", index):
            feature = feature_of(entry, meters)
            names.add(feature, key=feature.lookup_key, name=feature.name, key_field="lookup_key")
    found.end_phase()
    return names


def feature_of(entry: CatalogFeature, meters: Names[Meter]) -> Feature:
    """Return the record of a feature."""
    metered = entry.type is FeatureType.METERED
    if metered != (entry.meter is not None):
        wrong = "a metered feature names its meter" if metered else "only metered features have one"
        raise ValidationFailed(wrong, field="meter")
    if bool(entry.unit_singular) != bool(entry.unit_plural):
        missing = "unit_plural" if entry.unit_singular else "unit_singular"
        raise ValidationFailed("give both labels of a unit, or none", field=missing)
    key = entry.lookup_key or "_".join(entry.name.lower().split())
    meter = None if entry.meter is None else meters.find(entry.meter, key_field="meter")
    return Feature(
        FeatureId(identity("feat", key)),
        entry.name,
        entry.type,
        key,
        meter.id if meter else None,
        entry.description,
        entry.unit_singular,
        entry.unit_plural,
        metadata=entry.metadata,
    )


def resolve_plans(
    file: CatalogFile, meters: Names[Meter], features: Names[Feature], found: Findings
) -> Names[Plan]:
    """Return the plans with all versions of their prices, the changes of the file applied."""
    names: Names[Plan] = Names("plan")
    changes = changes_by_price(file, found)
    for index, entry in enumerate(file.plans):
        with found.at("plans", index):
            key = entry.lookup_key or entry.name
            plan = Plan(
                PlanId(identity("plan", key)),
                entry.name,
                entry.lookup_key,
                tuple(plan_prices(entry, index, meters, changes, found)),
                tuple(plan_entitlements(entry, index, meters, features, found)),
                {meter.id: meter for meter in meters.by_key.values()},
                tuple(plan_grants(entry, index, found)),
                entry.description,
                entry.display_order,
                entry.metadata,
            )
            field = "lookup_key" if entry.lookup_key else "name"
            names.add(plan, key=key, name=plan.name, key_field=field)
    found.end_phase()
    return names


def plan_entitlements(
    plan: CatalogPlan,
    plan_index: int,
    meters: Names[Meter],
    features: Names[Feature],
    found: Findings,
) -> Iterator[Entitlement]:
    """Yield what a plan grants; each feature at most once."""
    granted: set[str] = set()
    of_id = {meter.id: meter for meter in meters.by_key.values()}
    for index, entry in enumerate(plan.entitlements):
        with found.at("plans", plan_index, "entitlements", index):
            feature = features.find(entry.feature, key_field="feature")
            if feature.id in granted:
                raise ValidationFailed("the plan grants this feature already", field="feature")
            granted.add(feature.id)
            meter = of_id[feature.meter_id] if feature.meter_id else None
            yield entitlement_of(entry, feature, meter, plan.lookup_key or plan.name)


def entitlement_of(
    entry: CatalogEntitlement, feature: Feature, meter: Meter | None, plan_key: str
) -> Entitlement:
    """Return the record of an entitlement. Source: billing.md 12."""
    if entry.feature_type not in (None, feature.type):
        text = f"the feature is {feature.type}, not {entry.feature_type}"
        raise ValidationFailed(text, field="feature_type")
    if feature.type is FeatureType.STATIC and not entry.static_value:
        raise ValidationFailed("a static feature needs its value", field="static_value")
    if meter and meter.aggregation.type is AggregationType.MAX and meter.aggregation.bucket_size:
        raise ValidationFailed(
            "a maximum of each bucket has no allowance: units of different buckets cannot be added",
            field="feature",
        )
    return Entitlement(
        EntitlementId(identity("ent", plan_key, feature.id)),
        feature.id,
        feature.type,
        feature.meter_id,
        entry.is_enabled,
        entry.usage_limit,
        entry.usage_reset_period,
        entry.is_soft_limit,
        entry.static_value,
        entry.config_value,
    )
