"""Requests about features, with the fields of api-fields.md."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from schemas import subscription as records
from schemas.alert import AlertSettingsRequest
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import FeatureTypeWord
from schemas.doors import DecimalField, MetadataField
from schemas.ids import FeatureId
from schemas.meter import FilterRequest, MeterRequest


class ReportingUnit(ApiRequest):
    """The unit that a quantity is shown in: the quantity times the rate."""

    unit_singular: RequiredText
    unit_plural: RequiredText
    conversion_rate: Annotated[DecimalField, Field(gt=Decimal(0))]

    def record(self) -> records.ReportingUnit:
        """Return the record of this unit."""
        return records.ReportingUnit(self.unit_singular, self.unit_plural, self.conversion_rate)


class CreateFeatureRequest(ApiRequest):
    """A new feature; a metered one brings its meter along, or names one that is there."""

    name: RequiredText
    type: FeatureTypeWord
    lookup_key: str = ""
    description: str = ""
    meter: MeterRequest | None = None
    meter_id: str | None = None
    unit_singular: str = ""
    unit_plural: str = ""
    reporting_unit: ReportingUnit | None = None
    group_id: str | None = None
    alert_settings: AlertSettingsRequest | None = None
    metadata: MetadataField = {}

    def feature(self, name: str, meter_id: str | None) -> records.Feature:
        """Return the record of this request, counted by a meter; a missing key is made of the name."""
        return records.Feature(
            FeatureId(name),
            self.name,
            records.FeatureType(self.type),
            self.lookup_key or "_".join(self.name.lower().split()),
            meter_id,
            self.description,
            self.unit_singular,
            self.unit_plural,
            None if self.reporting_unit is None else self.reporting_unit.record(),
            self.group_id,
            None if self.alert_settings is None else self.alert_settings.settings(),
            self.metadata,
        )


class UpdateFeatureRequest(ApiUpdate):
    """What is to change of a feature; type, lookup key and meter stay as they are.

    `filters` are added to those of the meter.
    """

    name: Annotated[str, Field(min_length=1)] | None = None
    description: str | None = None
    metadata: MetadataField | None = None
    unit_singular: str | None = None
    unit_plural: str | None = None
    reporting_unit: ReportingUnit | None = None
    group_id: str | None = None
    filters: list[FilterRequest] | None = None
    alert_settings: AlertSettingsRequest | None = None

    def changes(self) -> dict[str, Any]:
        """Return the members of the record that change, as it has them."""
        found = super().changes()
        found.pop("filters", None)
        if self.reporting_unit is not None:
            found["reporting_unit"] = self.reporting_unit.record()
        if self.alert_settings is not None:
            found["alert_settings"] = self.alert_settings.settings()
        if self.group_id is not None:
            found["group_id"] = self.group_id or None
        return found


class FeatureFilter(ApiSearch):
    """Which features are asked for; keys to the letter, names by a part in any case."""

    feature_ids: list[str] | None = None
    lookup_key: str | None = None
    lookup_keys: list[str] | None = None
    meter_ids: list[str] | None = None
    name_contains: str | None = None
