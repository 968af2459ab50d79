"""Meters: rules that turn the events of one name into a quantity (metering.md 6).

`MeterRequest` is the door: the fields of CreateMeterRequest (api-fields.md). `validate_meter`
judges a body by the table of metering.md 6.1, and `meter_from` makes the record that the operators
work with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import ValidationFailed
from schemas.number import WHITE_SPACE, Number, read_number

_NAME_CHARACTERS_MAX = 255


class AggregationType(StrEnum):
    """The functions that make one quantity of many events (metering.md 7)."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    MAX = "MAX"
    MIN = "MIN"
    LATEST = "LATEST"
    COUNT_UNIQUE = "COUNT_UNIQUE"
    SUM_WITH_MULTIPLIER = "SUM_WITH_MULTIPLIER"
    WEIGHTED_SUM = "WEIGHTED_SUM"


class WindowSize(StrEnum):
    """The sizes of windows and buckets, shortest first; written exactly so (metering.md 8)."""

    MINUTE = "MINUTE"
    QUARTER_HOUR = "15MIN"
    HALF_HOUR = "30MIN"
    HOUR = "HOUR"
    THREE_HOURS = "3HOUR"
    SIX_HOURS = "6HOUR"
    HALF_DAY = "12HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


class ResetUsage(StrEnum):
    """Whether usage starts again with each billing period, or runs on for ever."""

    BILLING_PERIOD = "BILLING_PERIOD"
    NEVER = "NEVER"


# The types that may use each option of an aggregation.
WITH_EXPRESSION = frozenset(
    {
        AggregationType.SUM,
        AggregationType.AVG,
        AggregationType.MAX,
        AggregationType.MIN,
        AggregationType.LATEST,
    }
)
WITH_BUCKET = frozenset({AggregationType.SUM, AggregationType.MAX})


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition: the canonical text of the property `key` is one of `values`."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How the matched events of a meter become a quantity; None is not given."""

    type: AggregationType
    field: str | None = None
    expression: str | None = None
    multiplier: Decimal | None = None
    bucket_size: WindowSize | None = None
    group_by: str | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter of one tenant and environment; `generation` counts re-meterings.

    `lookup_key` is ours: its name in catalog files.
    """

    id: str
    tenant_id: str
    environment_id: str
    name: str
    event_name: str
    aggregation: Aggregation
    filters: tuple[Filter, ...] = ()
    reset_usage: ResetUsage = ResetUsage.BILLING_PERIOD
    generation: int = 1
    lookup_key: str = ""


class FilterRequest(BaseModel):
    """A MeterFilter as a caller writes it."""

    model_config = ConfigDict(extra="ignore")

    key: str | None = None
    values: list[str] | None = None


class AggregationRequest(BaseModel):
    """A MeterAggregation as a caller writes it; the multiplier stays as sent until it is judged."""

    model_config = ConfigDict(extra="ignore")

    type: str | None = None
    field: str | None = None
    expression: str | None = None
    multiplier: object = None
    bucket_size: str | None = None
    group_by: str | None = None


class MeterRequest(BaseModel):
    """A CreateMeterRequest as a caller writes it; shape only, `faults_of` judges the content."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = None
    event_name: str | None = None
    aggregation: AggregationRequest = Field(default_factory=AggregationRequest)
    filters: list[FilterRequest] | None = None
    reset_usage: str | None = None


@dataclass(frozen=True, slots=True)
class MeterFault:
    """Why a meter is refused: the word of metering.md 6.1, and the member it is about."""

    reason: str
    field: str


# What a member of the wrong JSON type comes to; the rest of the table is about content.
_SHAPE_REASONS = {
    "name": "name_required",
    "event_name": "event_name_required",
    "aggregation": "aggregation_type_unknown",
    "aggregation.type": "aggregation_type_unknown",
    "aggregation.field": "field_required",
    "aggregation.expression": "expression_invalid",
    "aggregation.bucket_size": "bucket_size_unknown",
    "aggregation.group_by": "group_by_not_allowed",
    "filters": "filter_values_empty",
    "filters.key": "filter_key_empty",
    "filters.values": "filter_values_empty",
    "reset_usage": "reset_usage_unknown",
}


def validate_meter(body: Mapping[str, object]) -> str | None:
    """Return why a create request is refused (metering.md 6.1), or None if it is valid.

    >>> calls = {"name": "Calls", "event_name": "api.call", "aggregation": {"type": "COUNT"}}
    >>> validate_meter(calls)
    >>> validate_meter({**calls, "event_name": " "})
    'event_name_required'
    """
    request = _shaped(body)
    fault = request if isinstance(request, MeterFault) else fault_of(request)
    return None if fault is None else fault.reason


def meter_from(
    body: Mapping[str, object] | MeterRequest,
    *,
    id: str,  # noqa: A002 - the field's own name
    tenant_id: str,
    environment_id: str,
    place: str = "",
) -> Meter:
    """Make the meter that a create request asks for.

    Raises ValidationFailed with the reason of metering.md 6.1 and the member it is about, which
    stands below `place` of the request; all faults are in its details. A meter with an expression is
    refused as not built yet, so that none is ever metered wrongly.

    >>> body = {"name": "Calls", "event_name": " api.call ", "aggregation": {"type": "count"}}
    >>> meter_from(body, id="m", tenant_id="t", environment_id="e").event_name
    'api.call'
    """
    request = body if isinstance(body, MeterRequest) else _shaped(body)
    faults = (request,) if isinstance(request, MeterFault) else faults_of(request)
    if faults:
        fault = faults[0]
        problems = [{"field": place + each.field, "problem": each.reason} for each in faults]
        raise ValidationFailed(
            f"meter refused at {place}{fault.field}: {fault.reason}",
            field=place + fault.field,
            reason=fault.reason,
            details={"fields": problems},
        )
    assert isinstance(request, MeterRequest)
    if request.aggregation.expression:
        raise ValidationFailed(
            "expressions are not built yet: name a field instead",
            field=f"{place}aggregation.expression",
        )
    return Meter(
        id=id,
        tenant_id=tenant_id,
        environment_id=environment_id,
        name=request.name or "",
        event_name=_trimmed(request.event_name),
        aggregation=_aggregation(request.aggregation),
        filters=filters_from(request.filters or ()),
        reset_usage=ResetUsage((request.reset_usage or ResetUsage.BILLING_PERIOD).upper()),
    )


def fault_of(request: MeterRequest) -> MeterFault | None:
    """Return the first of the faults of a request; None is valid."""
    return next(iter(faults_of(request)), None)


def faults_of(request: MeterRequest) -> tuple[MeterFault, ...]:
    """Judge a request by the table of metering.md 6.1, from its top to its end.

    Enumerations are read without regard to case, sizes exactly (api.md 1.7).
    """
    return (
        *_name_faults(request),
        *_aggregation_faults(request.aggregation),
        *_filter_faults(request.filters or []),
        *_reset_faults(request),
    )


def filters_from(requests: Sequence[FilterRequest], place: str = "filters") -> tuple[Filter, ...]:
    """Make the filters of a request by the table of metering.md 6.1. Raises ValidationFailed."""
    faults = _filter_faults(requests)
    if faults:
        raise ValidationFailed(
            f"{place} refused: {faults[0].reason}", field=place, reason=faults[0].reason
        )
    return tuple(Filter(each.key or "", tuple(each.values or ())) for each in requests)


def _shaped(body: Mapping[str, object]) -> MeterRequest | MeterFault:
    """Read the shape of a body; the first member of a wrong type is the fault."""
    try:
        return MeterRequest.model_validate(dict(body))
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"] if isinstance(part, str))
        return MeterFault(_SHAPE_REASONS[place], place)


def _trimmed(text: str | None) -> str:
    return (text or "").strip(WHITE_SPACE)


def _name_faults(request: MeterRequest) -> list[MeterFault]:
    """Judge both names: there and not too long."""
    faults = []
    for field, text in (("name", request.name or ""), ("event_name", _trimmed(request.event_name))):
        if not text:
            faults.append(MeterFault(f"{field}_required", field))
        elif len(text) > _NAME_CHARACTERS_MAX:
            faults.append(MeterFault("field_too_long", field))
    return faults


def _aggregation_faults(aggregation: AggregationRequest) -> list[MeterFault]:
    """Judge the aggregation; an option that the type does not know is never taken silently."""
    try:
        kind = AggregationType((aggregation.type or "").upper())
    except ValueError:
        return [MeterFault("aggregation_type_unknown", "aggregation.type")]
    bucketed = bool(aggregation.bucket_size)
    grouped_maximum = kind is AggregationType.MAX and bucketed
    checks = (
        (
            "expression_not_allowed",
            "expression",
            bool(aggregation.expression) and kind not in WITH_EXPRESSION,
        ),
        ("field_and_expression", "expression", bool(aggregation.expression and aggregation.field)),
        (
            "field_required",
            "field",
            kind is not AggregationType.COUNT and not (aggregation.field or aggregation.expression),
        ),
        *_multiplier_checks(kind, aggregation.multiplier),
        ("bucket_size_not_allowed", "bucket_size", bucketed and kind not in WITH_BUCKET),
        (
            "bucket_size_unknown",
            "bucket_size",
            bucketed and aggregation.bucket_size not in set(WindowSize),
        ),
        ("group_by_not_allowed", "group_by", bool(aggregation.group_by) and not grouped_maximum),
    )
    return [MeterFault(reason, f"aggregation.{field}") for reason, field, wrong in checks if wrong]


def _multiplier_checks(kind: AggregationType, multiplier: object) -> list[tuple[str, str, bool]]:
    """Judge the multiplier: needed by one type, refused on all others."""
    given = multiplier is not None and multiplier != ""
    if kind is not AggregationType.SUM_WITH_MULTIPLIER:
        return [("multiplier_not_allowed", "multiplier", given)]
    return [
        ("multiplier_required", "multiplier", not given),
        ("multiplier_invalid", "multiplier", given and read_multiplier(multiplier) is None),
    ]


def read_multiplier(multiplier: object) -> Decimal | None:
    """Return a multiplier above 0 that needs no rounding; None for anything else.

    A float has lost digits before it arrives, so it is none.

    >>> read_multiplier("0.5"), read_multiplier(0.5), read_multiplier("-1")
    (Decimal('0.500000000000000000'), None, None)
    """
    if isinstance(multiplier, bool) or not isinstance(multiplier, str | int | Decimal):
        return None
    number = read_number(multiplier if isinstance(multiplier, str) else str(Decimal(multiplier)))
    if isinstance(number, Number) and number.value > 0 and not number.rounded:
        return number.value
    return None


def _filter_faults(filters: Sequence[FilterRequest]) -> list[MeterFault]:
    """Judge the filters: a key, and at least one value; the empty text is a value."""
    faults = []
    for each in filters:
        if not each.key:
            faults.append(MeterFault("filter_key_empty", "filters.key"))
        if not each.values:
            faults.append(MeterFault("filter_values_empty", "filters.values"))
    return faults


def _reset_faults(request: MeterRequest) -> list[MeterFault]:
    """Judge the reset; what runs on for ever cannot be cut into buckets."""
    if not request.reset_usage:
        return []
    reset = request.reset_usage.upper()
    if reset not in set(ResetUsage):
        return [MeterFault("reset_usage_unknown", "reset_usage")]
    if reset == ResetUsage.NEVER and request.aggregation.bucket_size:
        return [MeterFault("reset_usage_not_allowed", "reset_usage")]
    return []


def _aggregation(request: AggregationRequest) -> Aggregation:
    """Make the record of a request that was found valid; COUNT reads no field."""
    kind = AggregationType((request.type or "").upper())
    counts = kind is AggregationType.COUNT
    return Aggregation(
        type=kind,
        field=None if counts else request.field or None,
        multiplier=read_multiplier(request.multiplier),
        bucket_size=WindowSize(request.bucket_size) if request.bucket_size else None,
        group_by=request.group_by or None,
    )
