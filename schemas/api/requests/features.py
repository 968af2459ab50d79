"""Requests about features, with the fields of api-fields.md."""

from schemas.api.requests.alerts import AlertSettings
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import FeatureTypeWord
from schemas.doors import DecimalField, MetadataField
from schemas.meter import FilterRequest, MeterRequest


class ReportingUnit(ApiRequest):
    """What a request says of: reporting unit."""

    unit_singular: RequiredText
    unit_plural: RequiredText
    conversion_rate: DecimalField


class CreateFeatureRequest(ApiRequest):
    """What a request says of: create feature."""

    name: RequiredText
    type: FeatureTypeWord
    lookup_key: str | None = None
    description: str | None = None
    meter: MeterRequest | None = None
    meter_id: str | None = None
    unit_singular: str | None = None
    unit_plural: str | None = None
    reporting_unit: ReportingUnit | None = None
    group_id: str | None = None
    alert_settings: AlertSettings | None = None
    metadata: MetadataField = {}


class UpdateFeatureRequest(ApiUpdate):
    """What a request says of: update feature."""

    name: str | None = None
    description: str | None = None
    metadata: MetadataField | None = None
    unit_singular: str | None = None
    unit_plural: str | None = None
    reporting_unit: ReportingUnit | None = None
    group_id: str | None = None
    filters: list[FilterRequest] | None = None
    alert_settings: AlertSettings | None = None


class FeatureFilter(ApiSearch):
    """What a search asks of: feature."""

    feature_ids: list[str] | None = None
    lookup_key: str | None = None
    lookup_keys: list[str] | None = None
    meter_ids: list[str] | None = None
    name_contains: str | None = None
