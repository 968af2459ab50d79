"""What a failure looks like on the wire: one table from exceptions to codes and statuses.

Code and status follow from the type of the exception alone, so the same fault answers the same
every time (api.md 1.10, platform.md 4).
"""

from collections.abc import Mapping, Sequence

from billing.api.wire import Answer, answered
from schemas.errors import (
    AlreadyExists,
    InvalidOperation,
    NotBuiltYet,
    NotFound,
    PermissionDenied,
    Refused,
    StoreError,
    Unauthorized,
    ValidationFailed,
    VersionConflict,
)

RETRY_AFTER_SECONDS = "1"


class MethodNotAllowed(InvalidOperation):
    """The path is known, and this method is none of those that it has."""

    def __init__(self, method: str, template: str, allowed: Sequence[str]):
        super().__init__(f"{template} does not know {method}: use {', '.join(allowed)}")
        self.template = template
        self.allowed = ", ".join(allowed)


# The nearest class of an exception counts; whatever is not here is ours to mend.
STATUSES: dict[type[Exception], tuple[str, int]] = {
    MethodNotAllowed: ("invalid_operation", 405),
    ValidationFailed: ("validation_error", 400),
    InvalidOperation: ("invalid_operation", 400),
    Unauthorized: ("unauthorized", 401),
    PermissionDenied: ("permission_denied", 403),
    NotFound: ("not_found", 404),
    AlreadyExists: ("already_exists", 409),
    VersionConflict: ("version_conflict", 409),
    NotBuiltYet: ("not_implemented", 501),
    StoreError: ("service_unavailable", 503),
    Exception: ("internal_error", 500),
}

# What clients of the first protocol look at when a key does not open a door (api.md 1.2).
ERROR_MEMBERS = {401: "Unauthorized", 403: "Forbidden"}

STORE_AWAY = "a store is away and nothing was answered: send the request again"
OURS_TO_MEND = "something failed on our side and nothing was changed: report the request id"


def answer_of(error: Exception, request_id: str) -> Answer:
    """Return the answer that a failure comes to; nothing of the inside is told.

    >>> answer_of(NotFound("no meter m_1"), "r").body
    b'{"code":"not_found","message":"no meter m_1","http_status_code":404}'
    >>> answer_of(KeyError("password"), "r").status
    500
    """
    code, status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    body: dict[str, object] = {
        "code": code,
        "message": _message(error),
        "http_status_code": status,
    }
    if status in ERROR_MEMBERS:
        body = {"error": ERROR_MEMBERS[status], **body}
    if details := _details(error, request_id):
        body["details"] = details
    headers = {}
    if isinstance(error, StoreError):
        headers["retry-after"] = RETRY_AFTER_SECONDS
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
    return answered(body, status, headers)


def _message(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    return STORE_AWAY if isinstance(error, StoreError) else OURS_TO_MEND


def _details(error: Exception, request_id: str) -> Mapping[str, object] | None:
    """Return what helps beside the message; a refusal brings it along or names a field or reason."""
    if isinstance(error, StoreError):
        return None
    if not isinstance(error, Refused):
        return {"request_id": request_id}
    if error.details is not None:
        return error.details
    if isinstance(error, ValidationFailed) and error.field is not None:
        return {"fields": [{"field": error.field, "problem": error.reason or str(error)}]}
    return {"reason": error.reason} if error.reason is not None else None
