"""The document of the API: the routes that are built, with the models of what they take and give.

FastAPI writes it, from routes that are declared for it alone; requests are answered by the gate.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query
from fastapi.openapi.utils import get_openapi

from billing.api.routing import Built, Route
from schemas.api.answers.objects import ErrorResponse

TITLE = "tally"
DESCRIPTION = "Usage in, money out: the HTTP API of tally, wire-compatible with Flexprice."
# What any route may answer instead, in the one body of all refusals.
REFUSALS = {
    400: "the request is malformed, or the state forbids it",
    401: "no valid API key",
    403: "the key lacks the permission",
    404: "there is no such thing",
    409: "a unique key is taken, or another writer was first",
    503: "a store is away: send it again",
}

Document = Mapping[str, Any]


def document_of(routes: Iterable[Route], version: str) -> Document:
    """Return the OpenAPI document of the routes that are built, in the order of the table."""
    router = APIRouter()
    for route in routes:
        if route.built is not None:
            _declare(router, route, route.built)
    found = get_openapi(title=TITLE, version=version, description=DESCRIPTION, routes=router.routes)
    components = found.setdefault("components", {})
    components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}}
    # FastAPI's own body for malformed requests: the gate answers them with 400 and ours.
    for operation in (each for path in found["paths"].values() for each in path.values()):
        operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(name, None)
    return found


def _declare(router: APIRouter, route: Route, built: Built) -> None:
    """Declare one route as FastAPI understands it."""
    area = route.path.removeprefix("/v1/").split("/")[0].strip("/")
    has_body = built.gives is not None and route.success_status != HTTPStatus.NO_CONTENT
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorResponse, "description": text}
        for status, text in REFUSALS.items()
        if not route.is_open or status == HTTPStatus.SERVICE_UNAVAILABLE
    }
    router.add_api_route(
        route.path,
        _endpoint(route, built),
        methods=[route.method],
        status_code=route.success_status,
        response_model=built.gives if has_body else None,
        responses=refusals,
        summary=_first_line(built.handler),
        tags=[area],
        operation_id=_operation(route),
        openapi_extra=None if route.is_open else {"security": [{"key": []}]},
    )


def _endpoint(route: Route, built: Built) -> Callable[..., None]:
    """Return a function with the parameters of a route; it is never called."""

    def endpoint(**_: object) -> None:
        raise AssertionError("the gate answers")

    names = [each[1:-1] for each in route.path.split("/") if each.startswith("{")]
    parameters = [_keyword(name, Annotated[str, Path()]) for name in names]
    if built.asks is not None:
        parameters.append(_keyword("query", Annotated[built.asks, Query()]))
    if built.takes is not None:
        parameters.append(_keyword("body", Annotated[built.takes, Body()]))
    if route.method == "POST" and not route.is_open:
        key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]
        parameters.append(_keyword("idempotency_key", key, default=None))
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by FastAPI
    endpoint.__name__ = _operation(route)
    return endpoint


def _keyword(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _operation(route: Route) -> str:
    """Return the name of an operation, which follows from its method and path."""
    words = [each.strip("{}").replace("-", "_") for each in route.path.split("/") if each]
    return "_".join([route.method.lower(), *words])


def _first_line(handler: Callable[..., object]) -> str:
    return (inspect.getdoc(handler) or "").split("\n", 1)[0]
