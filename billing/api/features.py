"""Features over HTTP: what is granted and priced, with the meters that count it (api.md 4.5)."""

from collections.abc import Collection, Mapping, Sequence

from billing.api.groups import group_answer
from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.meters import meter_answer
from billing.api.reading import read
from billing.api.records import record_members
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.ports.objects import Objects
from billing.use_cases import features as use_cases
from billing.use_cases.found import subject
from billing.use_cases.groups import members_of
from schemas.alert import AlertSettings, Threshold
from schemas.api.answers.alerts import AnsweredAlertSettings, AnsweredAlertThreshold
from schemas.api.answers.features import (
    AnsweredReportingUnit,
    FeatureResponse,
    ListFeaturesResponse,
)
from schemas.api.answers.groups import GroupResponse
from schemas.api.answers.meters import MeterResponse
from schemas.api.answers.objects import SuccessResponse
from schemas.api.requests.features import (
    CreateFeatureRequest,
    FeatureFilter,
    UpdateFeatureRequest,
)
from schemas.errors import ValidationFailed
from schemas.meter import Meter, MeterRequest, filters_from, meter_from
from schemas.object_query import Condition, Operator
from schemas.scope import Scope
from schemas.stored import Stored
from schemas.subscription import Feature, ReportingUnit

METER = "meters"
FEATURES = Listing(
    Feature,
    {
        name: name
        for name in (
            "name",
            "type",
            "lookup_key",
            "meter_id",
            "group_id",
            "description",
            "unit_singular",
            "unit_plural",
        )
    },
    frozenset({METER}),
)


def feature_answer(
    stored: Stored[Feature],
    scope: Scope,
    meters: Mapping[str, MeterResponse],
    groups: Mapping[str, GroupResponse],
) -> FeatureResponse:
    """Return a feature as answers show it, with its meter and its group where they are given."""
    feature = stored.record
    unit = feature.reporting_unit
    return FeatureResponse(
        **record_members(stored, scope),
        name=feature.name,
        type=feature.type.value,
        lookup_key=feature.lookup_key,
        description=feature.description,
        meter_id=feature.meter_id or "",
        meter=meters.get(feature.meter_id or ""),
        unit_singular=feature.unit_singular,
        unit_plural=feature.unit_plural,
        reporting_unit=None if unit is None else _unit(unit),
        group_id=feature.group_id,
        group=groups.get(feature.group_id or ""),
        alert_settings=settings_answer(feature.alert_settings),
        metadata=dict(feature.metadata),
    )


def settings_answer(settings: AlertSettings | None) -> AnsweredAlertSettings | None:
    """Return alert settings as answers show them."""
    if settings is None:
        return None
    return AnsweredAlertSettings(
        alert_enabled=settings.alert_enabled,
        critical=_threshold(settings.critical),
        warning=_threshold(settings.warning),
        info=_threshold(settings.info),
        hysteresis_percent=settings.hysteresis_percent,
        unit=settings.unit.value,
    )


def _threshold(level: Threshold | None) -> AnsweredAlertThreshold | None:
    if level is None:
        return None
    return AnsweredAlertThreshold(threshold=level.threshold, condition=level.condition.value)


def _unit(unit: ReportingUnit) -> AnsweredReportingUnit:
    return AnsweredReportingUnit(
        unit_singular=unit.unit_singular,
        unit_plural=unit.unit_plural,
        conversion_rate=unit.conversion_rate,
    )


def feature_answers(
    objects: Objects,
    rows: Sequence[Stored[Feature]],
    scope: Scope,
    expands: Collection[str] = (METER,),
) -> list[FeatureResponse]:
    """Return features as answers show them, with their groups, and with their meters if asked."""
    meters: dict[str, MeterResponse] = {}
    if METER in expands:
        named = {each.record.meter_id for each in rows if each.record.meter_id is not None}
        found = objects.meters.those(named)
        meters = {name: meter_answer(each, scope) for name, each in found.items()}
    groups = objects.groups.those(
        {each.record.group_id for each in rows if each.record.group_id is not None}
    )
    members = members_of(objects, list(groups))
    shown_groups = {name: group_answer(each, members[name], scope) for name, each in groups.items()}
    return [feature_answer(each, scope, meters, shown_groups) for each in rows]


def add_feature(call: Call) -> Answer:
    """Create a feature, and with it the meter that it brings along."""
    asked = read(CreateFeatureRequest, call.json)
    if asked.meter is not None and asked.meter_id is not None:
        raise ValidationFailed("give meter or meter_id, not both", field="meter_id")
    kept = call.environment
    meter = None if asked.meter is None else _meter(call, asked.meter)
    meter_id = asked.meter_id if meter is None else meter.id
    stored = use_cases.create_feature(
        kept.objects,
        asked.feature(kept.new_id("feat"), meter_id),
        meter,
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return _shown(call, stored, 201)


def _meter(call: Call, asked: MeterRequest) -> Meter:
    """Return the meter that a new feature brings along. Raises ValidationFailed."""
    scope = call.scope
    return meter_from(
        asked,
        id=call.environment.new_id("meter"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        place="meter.",
    )


def _shown(call: Call, stored: Stored[Feature], status: int = 200) -> Answer:
    """Return a feature with its meter and its group."""
    with call.environment.objects.reading() as objects:
        [answer] = feature_answers(objects, [stored], call.scope)
    return shown(answer, status)


def read_feature(call: Call) -> Answer:
    """Show one feature."""
    return _shown(
        call, subject(call.environment.objects.features, call.parameters["id"], "feature")
    )


def change_feature(call: Call) -> Answer:
    """Change a feature, and the filters of its meter."""
    asked = read(UpdateFeatureRequest, call.json)
    stored = use_cases.update_feature(
        call.environment.objects,
        call.parameters["id"],
        asked.changes(),
        filters_from(asked.filters or ()),
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return _shown(call, stored)


def search_features(call: Call) -> Answer:
    """Show a page of features."""
    asked = read(FeatureFilter, call.json)
    expands = expanded(asked.expand, FEATURES.expands)
    wanted = said(
        {"id": asked.feature_ids, "lookup_key": asked.lookup_key, "meter_id": asked.meter_ids}
    )
    wanted += said({"lookup_key": asked.lookup_keys})
    if asked.name_contains:
        wanted.append(Condition("name", Operator.CONTAINS, asked.name_contains))
    with call.environment.objects.reading() as objects:
        page = objects.features.page(query_for(asked, FEATURES, wanted))
        answers = feature_answers(objects, page.rows, call.scope, expands)
    return page_of(answers, page.total, asked, lambda each: each)


def remove_feature(call: Call) -> Answer:
    """Archive a feature, with its meter unless another one has it."""
    name = call.parameters["id"]
    use_cases.delete_feature(
        call.environment.objects,
        name,
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(SuccessResponse(message=f"feature {name} was archived"))


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/features"): Built(add_feature, takes=CreateFeatureRequest, gives=FeatureResponse),
    ("POST", "/v1/features/search"): Built(
        search_features, takes=FeatureFilter, gives=ListFeaturesResponse
    ),
    ("GET", "/v1/features/{id}"): Built(read_feature, gives=FeatureResponse),
    ("PUT", "/v1/features/{id}"): Built(
        change_feature, takes=UpdateFeatureRequest, gives=FeatureResponse
    ),
    ("DELETE", "/v1/features/{id}"): Built(remove_feature, gives=SuccessResponse),
}
