"""Answers about features, with the fields of api-fields.md."""

from typing import TYPE_CHECKING

from schemas.api.answers.groups import Group, GroupResponse
from schemas.api.answers.meters import MeterResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireNumber
from schemas.api.words import FeatureType

if TYPE_CHECKING:
    from schemas.api.answers.alerts import AnsweredAlertSettings


class AnsweredReportingUnit(ApiAnswer):
    """The unit that a quantity is shown in: the quantity times the rate."""

    unit_singular: str
    unit_plural: str
    conversion_rate: WireNumber


class FeatureResponse(Record):
    """A feature, with the meter that counts it and the group that it is in."""

    name: str
    type: FeatureType
    lookup_key: str
    description: str
    meter_id: str
    meter: IfSet[MeterResponse] = None
    unit_singular: str
    unit_plural: str
    reporting_unit: IfSet[AnsweredReportingUnit] = None
    group_id: IfSet[str] = None
    group: IfSet[GroupResponse] = None
    alert_settings: "IfSet[AnsweredAlertSettings]" = None
    metadata: dict[str, str]


class Feature(Record):
    """A feature as analytics show it: without its meter."""

    name: str
    type: FeatureType
    lookup_key: str
    description: str
    meter_id: str
    unit_singular: str
    unit_plural: str
    reporting_unit: IfSet[AnsweredReportingUnit] = None
    group_id: IfSet[str] = None
    group: IfSet[Group] = None
    alert_settings: "IfSet[AnsweredAlertSettings]" = None
    metadata: dict[str, str]


class ListFeaturesResponse(ApiAnswer):
    """A page of features."""

    items: list[FeatureResponse]
    pagination: PaginationResponse
