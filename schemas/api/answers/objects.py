"""Answers about objects, with the fields of api-fields.md."""

from schemas.api.values import ApiAnswer, IfSet
from schemas.api.words import ErrorCode


class PaginationResponse(ApiAnswer):
    """Where a page lies; `offset` is the one to ask for next."""

    total: int
    limit: int
    offset: int


class ErrorResponse(ApiAnswer):
    """The one body of every refusal."""

    code: ErrorCode
    message: str
    http_status_code: int
    details: IfSet[dict[str, object]] = None


class SuccessResponse(ApiAnswer):
    """That something was done."""

    message: str


class WorkflowResult(ApiAnswer):
    """That something goes on in the background, or has ended there."""

    message: str
    workflow_id: str
    run_id: str
