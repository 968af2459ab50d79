"""Which route a path is: the table of all routes, and a tree over the segments of their paths.

`routes.json` has a row for each route of the protocol: its milestone, method, path, exact success
status, and the permission that it needs; "open" needs no key. A fixed segment wins over a parameter
and is never read as an id (api.md 1.1).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from importlib import resources
from typing import Any

import msgspec
from pydantic import BaseModel

from billing.api.authentication import OPEN, PERMISSIONS
from billing.api.bodies import Encoding, parsed_object, unpacked
from billing.api.environment import Environment
from billing.api.errors import MethodNotAllowed
from billing.api.services import Services
from billing.api.wire import Answer
from schemas.access import Principal
from schemas.errors import NotFound
from schemas.scope import Scope


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a caller that may make it, as a handler sees it.

    `raw` is the body as it came, `idempotency_key` the header of that name. The scope comes from the
    key and from nothing else.
    """

    services: Services
    principal: Principal | None
    request_id: str
    parameters: Mapping[str, str]
    query: str
    content_type: str = ""
    encoding: Encoding = Encoding.NONE
    raw: bytes = b""
    idempotency_key: str = ""

    @property
    def scope(self) -> Scope:
        """Return the tenant and environment that the caller's key is pinned to."""
        assert self.principal is not None, "a route without a key has no scope"
        return self.principal.scope

    @property
    def environment(self) -> Environment:
        """Return what is kept of the environment that the caller's key is pinned to."""
        return self.services.environment(self.scope)

    @property
    def caller(self) -> str:
        """Return who asks, as records name who made them."""
        return "" if self.principal is None else self.principal.key_id

    @property
    def body(self) -> bytes:
        """Return the body unpacked. Raises ValidationFailed."""
        return unpacked(self.raw, self.encoding, bytes_max=self.services.body_bytes_max)

    @property
    def json(self) -> dict[str, object]:
        """Return the JSON object of the body, {} if there is none. Raises ValidationFailed."""
        return parsed_object(self.body)


Handler = Callable[[Call], Answer]


class Room(Enum):
    """Where a handler runs: slow reads must never keep intake, health or keys waiting."""

    AT_ONCE = auto()
    INTAKE = auto()
    READING = auto()
    WATCHING = auto()


@dataclass(frozen=True, slots=True)
class Built:
    """What answers a route, and in which room.

    `takes` is the model of the body, `asks` that of the query, `gives` that of the answer, or a
    list of them where the answer is a bare array; None where there is none. The document of the API
    is made of them.
    """

    handler: Handler
    room: Room = Room.READING
    takes: type[BaseModel] | None = None
    asks: type[BaseModel] | None = None
    gives: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table, with what answers it; None answers 501 until its milestone."""

    milestone: str
    method: str
    path: str
    success_status: int
    permission: str
    built: Built | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether the route needs no key."""
        return self.permission == OPEN


@dataclass(slots=True)
class _Node:
    """A place in the tree: what may follow it, and the routes that end here, by method.

    Beside each route are the names of its parameters, which differ from route to route.
    """

    fixed: dict[str, "_Node"] = field(default_factory=dict)
    parameter: "_Node | None" = None
    routes: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class Unmatched(NotFound):
    """No route has this path."""


class RouteTable:
    """Finds the route of a request. Raises AssertionError for a route without a permission."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            declared = route.is_open or route.permission in PERMISSIONS
            assert declared, f"{route.method} {route.path} declares no permission"
            node = self._root
            segments = route.path.split("/")[1:]
            for segment in segments:
                node = _below(node, segment)
            assert route.method not in node.routes, f"{route.method} {route.path} is there twice"
            names = tuple(each[1:-1] for each in segments if each.startswith("{"))
            node.routes[route.method] = route, names

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return a request's route and its parameters; one slash at the end of a path is ignored.

        Raises Unmatched for an unknown path, MethodNotAllowed for another method of a known one.
        """
        segments = path.split("/")[1:]
        if len(segments) > 1 and not segments[-1]:
            segments.pop()
        node: _Node | None = self._root
        values = []
        for segment in segments:
            assert node is not None
            following = node.fixed.get(segment)
            if following is None and segment:
                following = node.parameter
                values.append(segment)
            node = following
            if node is None:
                break
        if node is None or not node.routes:
            raise Unmatched(f"there is no route {path[:200]}")
        if method not in node.routes:
            template = next(iter(node.routes.values()))[0].path
            raise MethodNotAllowed(method, template, sorted(node.routes))
        route, names = node.routes[method]
        return route, dict(zip(names, values, strict=True))


def _below(node: _Node, segment: str) -> _Node:
    """Return the node that a segment of a template leads to, making it where it is new."""
    if not segment.startswith("{"):
        return node.fixed.setdefault(segment, _Node())
    if node.parameter is None:
        node.parameter = _Node()
    return node.parameter


@cache
def _rows() -> tuple[Route, ...]:
    """Read the table that ships with the package, once."""
    text = resources.files("billing.api").joinpath("routes.json").read_bytes()
    return tuple(msgspec.json.decode(text, type=list[Route]))


def table_of(built: Mapping[tuple[str, str], Built]) -> RouteTable:
    """Return the table of all routes, those that are built with what answers them.

    A handler of a route that is not in the table is a bug: it would have no permission.
    """
    rows = _rows()
    strangers = set(built) - {(row.method, row.path) for row in rows}
    assert not strangers, f"built, and in no row of the table: {sorted(strangers)}"
    return RouteTable(
        Route(
            row.milestone,
            row.method,
            row.path,
            row.success_status,
            row.permission,
            built.get((row.method, row.path)),
        )
        for row in rows
    )
