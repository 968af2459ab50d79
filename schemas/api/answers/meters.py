"""Answers about meters, with the fields of api-fields.md."""

from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal
from schemas.api.words import AggregationType, ResetUsage, WindowSize


class AnsweredMeterAggregation(ApiAnswer):
    """What an answer says of: answered meter aggregation."""

    type: AggregationType
    field: IfSet[str] = None
    expression: IfSet[str] = None
    multiplier: IfSet[WireDecimal] = None
    bucket_size: IfSet[WindowSize] = None
    group_by: IfSet[str] = None


class AnsweredMeterFilter(ApiAnswer):
    """What an answer says of: answered meter."""

    key: str
    values: list[str]


class MeterResponse(Record):
    """What an answer says of: meter."""

    name: str
    event_name: str
    aggregation: AnsweredMeterAggregation
    filters: list[AnsweredMeterFilter]
    reset_usage: ResetUsage


class Meter(Record):
    """What an answer says of: meter."""

    name: str
    event_name: str
    aggregation: AnsweredMeterAggregation
    filters: list[AnsweredMeterFilter]
    reset_usage: ResetUsage


class ListMetersResponse(ApiAnswer):
    """What an answer says of: list meters."""

    items: list[MeterResponse]
    pagination: PaginationResponse
