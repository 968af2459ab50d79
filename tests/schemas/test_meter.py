"""Meters: every line of the table of metering.md 6.1, then the record that a valid body becomes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ValidationFailed
from schemas.meter import (
    Aggregation,
    AggregationType,
    Filter,
    Meter,
    ResetUsage,
    WindowSize,
    meter_from,
    validate_meter,
)

Body = dict[str, object]
LONG = "x" * 256


def body(aggregation: object = None, **members: object) -> Body:
    aggregation = {"type": "COUNT"} if aggregation is None else aggregation
    return {"name": "Meter", "event_name": "call", "aggregation": aggregation, **members}


def options(kind: str, **members: object) -> Body:
    return body({"type": kind, "field": "v", **members})


@pytest.mark.parametrize(
    ("request_body", "reason"),
    [
        ({}, "name_required"),
        (body(name=None), "name_required"),
        (body(name=5), "name_required"),
        (body(name=LONG), "field_too_long"),
        (body(event_name=" \t"), "event_name_required"),
        (body(event_name=LONG), "field_too_long"),
        (body("COUNT"), "aggregation_type_unknown"),
        (body({}), "aggregation_type_unknown"),
        (body({"type": "MEDIAN"}), "aggregation_type_unknown"),
        (body({"type": 5}), "aggregation_type_unknown"),
        (body({"type": "SUM"}), "field_required"),
        (body({"type": "SUM", "field": ""}), "field_required"),
        (body({"type": "SUM", "field": ["v"]}), "field_required"),
        (body({"type": "COUNT", "expression": "a"}), "expression_not_allowed"),
        (body({"type": "WEIGHTED_SUM", "expression": "a"}), "expression_not_allowed"),
        (options("SUM", expression="a"), "field_and_expression"),
        (options("SUM_WITH_MULTIPLIER"), "multiplier_required"),
        (options("SUM_WITH_MULTIPLIER", multiplier=""), "multiplier_required"),
        (options("SUM_WITH_MULTIPLIER", multiplier="0"), "multiplier_invalid"),
        (options("SUM_WITH_MULTIPLIER", multiplier=0.5), "multiplier_invalid"),
        (options("SUM_WITH_MULTIPLIER", multiplier=True), "multiplier_invalid"),
        (options("SUM_WITH_MULTIPLIER", multiplier="1e20"), "multiplier_invalid"),
        (options("SUM_WITH_MULTIPLIER", multiplier="NaN"), "multiplier_invalid"),
        (options("SUM_WITH_MULTIPLIER", multiplier="0." + "0" * 18 + "1"), "multiplier_invalid"),
        (options("SUM", multiplier="1"), "multiplier_not_allowed"),
        (options("MIN", bucket_size="DAY"), "bucket_size_not_allowed"),
        (options("SUM", bucket_size="day"), "bucket_size_unknown"),
        (options("SUM", bucket_size=5), "bucket_size_unknown"),
        (options("SUM", bucket_size="DAY", group_by="r"), "group_by_not_allowed"),
        (options("MAX", group_by="r"), "group_by_not_allowed"),
        (body(filters=[{"key": "", "values": ["a"]}]), "filter_key_empty"),
        (body(filters=[{"values": ["a"]}]), "filter_key_empty"),
        (body(filters=[{"key": "k", "values": []}]), "filter_values_empty"),
        (body(filters=[{"key": "k"}]), "filter_values_empty"),
        (body(filters=[{"key": "k", "values": [5]}]), "filter_values_empty"),
        (body(filters=["k"]), "filter_values_empty"),
        (body(reset_usage="DAILY"), "reset_usage_unknown"),
        (options("SUM", bucket_size="DAY") | {"reset_usage": "NEVER"}, "reset_usage_not_allowed"),
    ],
)
def test_a_bad_meter_is_refused_with_the_word_of_the_table(request_body: Body, reason: str) -> None:
    assert validate_meter(request_body) == reason
    with pytest.raises(ValidationFailed) as refusal:
        meter_from(request_body, id="m", tenant_id="t", environment_id="e")
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    "request_body",
    [
        body(),
        body(name="x" * 255, event_name=" " + "é" * 255),
        body({"type": "count", "field": 'any "thing"', "multiplier": None, "bucket_size": ""}),
        body(filters=[{"key": "k", "values": [""]}], reset_usage="never"),
        body(filters=None, reset_usage=None, unknown="ignored"),
        *(options("MAX", bucket_size=size.value, group_by="r") for size in WindowSize),
        *(options(kind.value) for kind in AggregationType if kind != "SUM_WITH_MULTIPLIER"),
        *(
            options("SUM_WITH_MULTIPLIER", multiplier=multiplier)
            for multiplier in (2, "0.5", " 1e3 ", Decimal("2.5"), 10**19)
        ),
    ],
)
def test_a_good_meter_is_accepted(request_body: Body) -> None:
    assert validate_meter(request_body) is None
    assert isinstance(meter_from(request_body, id="m", tenant_id="t", environment_id="e"), Meter)


def test_a_meter_is_what_the_body_says() -> None:
    request_body = body(
        {"type": "max", "field": "v", "bucket_size": "15MIN", "group_by": "r", "multiplier": ""},
        event_name=" call ",
        filters=[{"key": "k", "values": ["b", "a"]}],
    )
    assert meter_from(request_body, id="m", tenant_id="t", environment_id="e") == Meter(
        id="m",
        tenant_id="t",
        environment_id="e",
        name="Meter",
        event_name="call",
        aggregation=Aggregation(
            AggregationType.MAX, field="v", bucket_size=WindowSize.QUARTER_HOUR, group_by="r"
        ),
        filters=(Filter("k", ("b", "a")),),
        reset_usage=ResetUsage.BILLING_PERIOD,
        generation=1,
    )


def test_a_count_reads_no_field() -> None:
    request_body = options("COUNT")
    assert (
        meter_from(request_body, id="m", tenant_id="t", environment_id="e").aggregation.field
        is None
    )


def test_a_multiplier_keeps_its_digits() -> None:
    request_body = options("SUM_WITH_MULTIPLIER", multiplier="0.123456789012345678")
    aggregation = meter_from(request_body, id="m", tenant_id="t", environment_id="e").aggregation
    assert aggregation.multiplier == Decimal("0.123456789012345678")


def test_an_expression_is_refused_as_not_built_yet() -> None:
    request_body = body({"type": "SUM", "expression": "a * 2"})
    assert validate_meter(request_body) is None
    with pytest.raises(ValidationFailed, match="not built yet") as refusal:
        meter_from(request_body, id="m", tenant_id="t", environment_id="e")
    assert refusal.value.field == "aggregation.expression"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
names = st.sampled_from(["name", "event_name", "filters", "reset_usage", "other"])
parts = st.sampled_from(["type", "field", "multiplier", "bucket_size", "group_by", "expression"])


@given(st.dictionaries(names, anything), st.dictionaries(parts, anything), anything)
def test_any_body_is_a_meter_or_has_a_reason(
    members: Body, aggregation: Body, instead: object
) -> None:
    full = {"type": "SUM_WITH_MULTIPLIER", "field": "v"} | aggregation
    for request_body in (body(full) | members, body(instead) | members, members):
        reason = validate_meter(request_body)
        assert reason is None or (reason and reason.replace("_", "").isalpha())
