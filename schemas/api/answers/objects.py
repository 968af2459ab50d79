"""Answers about objects, with the fields of api-fields.md."""

from schemas.api.values import ApiAnswer, IfSet
from schemas.api.words import ErrorCode


class PaginationResponse(ApiAnswer):
    """What an answer says of: pagination."""

    total: int
    limit: int
    offset: int


class ErrorResponse(ApiAnswer):
    """What an answer says of: error."""

    code: ErrorCode
    message: str
    http_status_code: int
    details: IfSet[dict[str, object]] = None


class SuccessResponse(ApiAnswer):
    """What an answer says of: success."""

    message: str


class WorkflowResult(ApiAnswer):
    """What an answer says of: workflow result."""

    message: str
    workflow_id: str
    run_id: str
