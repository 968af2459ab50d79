"""Requests about objects, with the fields of api-fields.md."""

from pydantic import StrictBool

from schemas.api.values import ApiRequest, RequiredText
from schemas.api.words import DataTypeWord, FilterOperatorTypeWord, SortDirectionWord
from schemas.doors import DecimalField, InstantField


class FilterValue(ApiRequest):
    """What a request says of: filter value."""

    string: str | None = None
    number: DecimalField | None = None
    boolean: StrictBool | None = None
    date: InstantField | None = None
    array: list[str] | None = None


class FilterCondition(ApiRequest):
    """What a request says of: filter condition."""

    field: RequiredText
    operator: FilterOperatorTypeWord
    data_type: DataTypeWord | None = None
    value: FilterValue


class SortCondition(ApiRequest):
    """What a request says of: sort condition."""

    field: RequiredText
    direction: SortDirectionWord | None = None
