"""What becomes of an event: its verdict, and its state for each meter (metering.md 3)."""

from enum import StrEnum


class Verdict(StrEnum):
    """What became of one copy of an event that reached the log."""

    ACCEPTED = "accepted"
    LATE = "late"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class Rejection(StrEnum):
    """Why a record is malformed, in the order in which the checks are made."""

    INVALID_JSON = "invalid_json"
    INVALID_TEXT = "invalid_text"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    CLOUDEVENT_INVALID = "cloudevent_invalid"
    FIELD_WRONG_TYPE = "field_wrong_type"
    EVENT_NAME_REQUIRED = "event_name_required"
    EXTERNAL_CUSTOMER_ID_REQUIRED = "external_customer_id_required"
    TIMESTAMP_INVALID = "timestamp_invalid"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    TIMESTAMP_REQUIRED = "timestamp_required"
    FIELD_TOO_LONG = "field_too_long"
    EVENT_TOO_LARGE = "event_too_large"


class Skip(StrEnum):
    """Why an accepted and matched event does not count for one meter."""

    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_A_NUMBER = "not_a_number"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    EXPRESSION_ERROR = "expression_error"
