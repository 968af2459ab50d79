"""Answers about meters, with the fields of api-fields.md."""

from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal
from schemas.api.words import AggregationType, ResetUsage, WindowSize


class AnsweredMeterAggregation(ApiAnswer):
    """How the events of a meter become a quantity, with the options that it was given."""

    type: AggregationType
    field: IfSet[str] = None
    expression: IfSet[str] = None
    multiplier: IfSet[WireDecimal] = None
    bucket_size: IfSet[WindowSize] = None
    group_by: IfSet[str] = None


class AnsweredMeterFilter(ApiAnswer):
    """One condition on the events of a meter."""

    key: str
    values: list[str]


class MeterResponse(Record):
    """A meter."""

    name: str
    event_name: str
    aggregation: AnsweredMeterAggregation
    filters: list[AnsweredMeterFilter]
    reset_usage: ResetUsage


class Meter(Record):
    """A meter inside another answer."""

    name: str
    event_name: str
    aggregation: AnsweredMeterAggregation
    filters: list[AnsweredMeterFilter]
    reset_usage: ResetUsage


class ListMetersResponse(ApiAnswer):
    """A page of meters."""

    items: list[MeterResponse]
    pagination: PaginationResponse
