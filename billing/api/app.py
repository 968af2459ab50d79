"""The application: every request goes through one gate, in one order.

A request gets its id, finds its route, shows its key and its permission, and only then is its body
read. Handlers are plain functions that run on threads; whatever one of them raises is answered in
the standard body. Nothing here redirects.
"""

import asyncio
import contextvars
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

import msgspec
import structlog
from fastapi import FastAPI
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp

from billing.api import (
    alerts,
    analytics,
    coupons,
    customers,
    entitlements,
    events,
    features,
    groups,
    health,
    invoices,
    meters,
    plans,
    prices,
    settings,
    subscriptions,
    taxes,
    usage,
    wallets,
    webhook_endpoints,
)
from billing.api.authentication import demand, key_in, refused
from billing.api.bodies import Disconnected, Encoding, Receive, encoding_of, read_raw
from billing.api.errors import MethodNotAllowed, answer_of
from billing.api.routing import Built, Call, Room, Route, RouteTable, table_of
from billing.api.services import Services
from billing.api.wire import Answer
from schemas.access import Principal
from schemas.errors import NotBuiltYet

# How many handlers of a room run at the same time. Intake waits for the disk and not for the
# processor, and what waits together is written together.
THREADS = {Room.INTAKE: 64, Room.READING: 16, Room.WATCHING: 4}
KEY_THREADS = 4

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})

# What counts of requests that reach no route: a path of a caller must never become a label.
UNMATCHED = "unmatched"
OTHER_METHOD = "OTHER"
# The status in log and metrics of a request whose caller left before it was answered.
CALLER_LEFT = 499

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

SERVER_ERROR = 500

Value = TypeVar("Value")
Connection = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BUILT: Mapping[tuple[str, str], Built] = {
    **alerts.BUILT,
    **analytics.BUILT,
    **coupons.BUILT,
    **customers.BUILT,
    **entitlements.BUILT,
    **events.BUILT,
    **features.BUILT,
    **groups.BUILT,
    **health.BUILT,
    **invoices.BUILT,
    **meters.BUILT,
    **plans.BUILT,
    **prices.BUILT,
    **settings.BUILT,
    **subscriptions.BUILT,
    **taxes.BUILT,
    **usage.BUILT,
    **wallets.BUILT,
    **webhook_endpoints.BUILT,
}


def build_app(services: Services) -> FastAPI:
    """Return the application over these services; it may be served by any ASGI server.

    Raises AssertionError if a route declares no permission.
    """
    app = Application(title="tally", openapi_url=None, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    app.router.routes[:] = [Gate(services, table_of({**BUILT, **DOCUMENT}))]
    return app


@cache
def _document() -> bytes:
    """Return the document of the API, made when it is asked for the first time."""
    # Half a second that no other request should wait for.
    from billing.api.document import document_of  # noqa: PLC0415 - see above.

    return msgspec.json.encode(document_of(table_of(BUILT).routes, version("tallyflow")))


def show_document(_: Call) -> Answer:
    """Show what the API serves, as an OpenAPI document."""
    return Answer(200, _document())


DOCUMENT: Mapping[tuple[str, str], Built] = {
    ("GET", "/openapi.json"): Built(show_document, Room.WATCHING),
}


class Application(FastAPI):
    """A FastAPI application whose requests go straight to its router.

    The layers that are left out turn exceptions into answers, which the gate does for all routes;
    they take longer than everything else that happens to an event before its handler runs.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """Return the router, without layers around it."""
        return self.router


class Request:
    """What is known of a request so far, for its log line and its metrics."""

    __slots__ = ("headers", "id", "method", "principal", "started", "template")

    def __init__(self, connection: Connection) -> None:
        self.started = time.perf_counter()
        self.headers: list[tuple[bytes, bytes]] = connection["headers"]
        self.method: str = connection["method"]
        self.template = UNMATCHED
        self.principal: Principal | None = None
        sent = self.header(b"x-request-id")
        self.id = sent if REQUEST_ID.fullmatch(sent) else f"req_{secrets.token_hex(16)}"

    def header(self, name: bytes) -> str:
        """Return the value of a header, "" if it was not sent."""
        for each, value in self.headers:
            if each == name:
                return value.decode("latin-1")
        return ""


class Gate(BaseRoute):
    """The one route that the server knows: all paths and all methods."""

    def __init__(self, services: Services, table: RouteTable) -> None:
        self.table = table
        self._services = services
        self._keys = ThreadPoolExecutor(KEY_THREADS, "keys")
        self._rooms = {
            room: ThreadPoolExecutor(threads, room.name.lower())
            for room, threads in THREADS.items()
        }

    def matches(self, scope: Connection) -> tuple[Match, Connection]:
        """Take every HTTP request; other connections find nothing here."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer a request, whatever becomes of it, and report it."""
        request = Request(scope)
        with structlog.contextvars.bound_contextvars(request_id=request.id):
            status = CALLER_LEFT
            try:
                answer = await self._answer(request, scope, receive)
                status = answer.status
                await _send(answer, request, send)
            except Disconnected:
                pass
            finally:
                self._report(request, status)

    async def _answer(self, request: Request, scope: Connection, receive: Receive) -> Answer:
        """Return a request's answer; a failure of any kind is one as well."""
        try:
            route, parameters = self._find(request, scope)
            if not route.is_open:
                request.principal = await self._known(request)
                demand(request.principal, route.permission)
            if route.built is None:
                raise NotBuiltYet(
                    f"{route.method} {route.path} belongs to {route.milestone}: not built yet"
                )
            encoding, raw = await self._body(request, receive)
            call = Call(
                services=self._services,
                principal=request.principal,
                request_id=request.id,
                parameters=parameters,
                query=scope["query_string"].decode("latin-1"),
                content_type=request.header(b"content-type"),
                encoding=encoding,
                raw=raw,
                idempotency_key=request.header(b"idempotency-key"),
            )
            if route.built.room is Room.AT_ONCE:
                return route.built.handler(call)
            return await _on(self._rooms[route.built.room], route.built.handler, call)
        except Disconnected:
            raise
        except Exception as error:
            answer = answer_of(error, request.id)
            if answer.status >= SERVER_ERROR and not isinstance(error, NotBuiltYet):
                self._services.log.error("request_failed", request_id=request.id, exc_info=error)
            return answer

    def _find(self, request: Request, scope: Connection) -> tuple[Route, Mapping[str, str]]:
        """Return the route of a request, and note its template."""
        try:
            route, parameters = self.table.find(request.method, scope["path"])
        except MethodNotAllowed as error:
            request.template = error.template
            raise
        request.template = route.path
        return route, parameters

    async def _known(self, request: Request) -> Principal:
        """Return who has the key of a request. Raises Unauthorized."""
        key = key_in(request.headers)
        if key is None:
            raise refused()
        principal = self._services.remembered(key)
        if principal is None:
            # The key may have to be looked up in a store: the event loop must not wait for that.
            principal = await _on(self._keys, self._services.authenticate, key)
        if principal is None:
            raise refused()
        return principal

    async def _body(self, request: Request, receive: Receive) -> tuple[Encoding, bytes]:
        """Return the body as it came; it is unpacked where it is used, on a thread."""
        if request.method in WITHOUT_BODY:
            return Encoding.NONE, b""
        encoding = encoding_of(request.header(b"content-encoding"))
        declared = request.header(b"content-length")
        bytes_max = self._services.body_bytes_max
        return encoding, await read_raw(receive, declared, encoding, bytes_max=bytes_max)

    def _report(self, request: Request, status: int) -> None:
        """Count a request, and write its one line; neither key nor body is ever in it."""
        seconds = time.perf_counter() - request.started
        method = request.method if request.method in METHODS else OTHER_METHOD
        self._services.on_request(method, request.template, status, seconds)
        scope = request.principal.scope if request.principal else None
        self._services.log.info(
            "request",
            method=method,
            route=request.template,
            status=status,
            seconds=round(seconds, 6),
            request_id=request.id,
            tenant_id=scope.tenant_id if scope else "",
            environment_id=scope.environment_id if scope else "",
        )


async def _on(pool: ThreadPoolExecutor, call: Callable[..., Value], argument: object) -> Value:
    """Run a call on a thread of a pool, with the context of this request."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, context.run, call, argument)


async def _send(answer: Answer, request: Request, send: Send) -> None:
    """Send an answer whole; one without a body has no content type (api.md 1.3)."""
    headers: list[tuple[bytes, bytes]] = [(b"x-request-id", request.id.encode())]
    if answer.body:
        headers.append((b"content-type", answer.content_type.encode()))
        headers.append((b"content-length", str(len(answer.body)).encode()))
    headers += _encoded(answer.headers.items() if answer.headers else ())
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
