"""What the tests of the API share: services that remember what they were asked, and a caller."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from kept import Kept

from billing.api.app import build_app
from billing.api.services import Services
from billing.stores.database import Database, migrate
from billing.stores.scopes import ensure_scope
from schemas.access import Principal, Role
from schemas.answer import Answer, Group, Point
from schemas.event_query import EventPage, EventQuery, StoredEvent, UsageQuery
from schemas.health import Check
from schemas.intake import IntakeReceipt, IntakeRequest
from schemas.meter import Aggregation, AggregationType, Filter, Meter, WindowSize
from schemas.scope import Scope
from schemas.subscription import Feature, Subscription

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
HERE = Scope("tenant_1", "env_1")
DIGITS = "1234567890.1234567890123456789012345678901234567891"


class Door:
    """Takes everything, or fails as it is told."""

    def __init__(self) -> None:
        self.taken: list[IntakeRequest] = []
        self.failure: Exception | None = None

    def take(self, request: IntakeRequest) -> IntakeReceipt:
        self.taken.append(request)
        if self.failure is not None:
            raise self.failure
        return IntakeReceipt(2, 1, {"message": "taken", "event_id": "e"})


class Answers:
    """Answers every question alike, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[UsageQuery] = []
        self.listed: list[EventQuery] = []
        self.failure: Exception | None = None
        self.groups: tuple[Group, ...] = ()

    def answer(self, query: UsageQuery) -> Answer:
        self.asked.append(query)
        if self.failure is not None:
            raise self.failure
        start = datetime(2026, 1, 2, tzinfo=UTC)
        point = Point(start, datetime(2026, 1, 3, tzinfo=UTC), Decimal("2.50"), Decimal("-1"), 3)
        return Answer(
            value=Decimal(DIGITS),
            quantity_signed=Decimal("-0.10"),
            counted=3,
            window=query.window,
            windows=(point,) if query.window else (),
            buckets=(),
            groups=self.groups if query.group_by else (),
        )

    def events(self, query: EventQuery) -> EventPage:
        self.listed.append(query)
        event = StoredEvent(
            event_id="e1",
            event_name="call",
            external_customer_id="acme",
            customer_id="",
            source="web",
            timestamp=datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC),
            ingested_at=NOW,
            properties='{"n":1.1000000000000000000000000000000000000001,"t":"1.10"}',
        )
        return EventPage((event,), 1, has_more=False, first_key="a", last_key="b")


class Catalog:
    """A few meters and features in one scope, and nothing in any other."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.known_meters: list[Meter] = [
            Meter(
                "meter_1",
                HERE.tenant_id,
                HERE.environment_id,
                "Tokens",
                "llm",
                Aggregation(AggregationType.SUM, "tokens"),
                (Filter("model", ("large",)),),
            ),
            Meter(
                "meter_2",
                HERE.tenant_id,
                HERE.environment_id,
                "Peak",
                "load",
                Aggregation(AggregationType.MAX, "load", bucket_size=WindowSize.HOUR),
            ),
        ]
        self.known_features: list[Feature] = []
        self.known_subscriptions: dict[str, list[Subscription]] = {}

    def meters(self, scope: Scope) -> Sequence[Meter]:
        self.scopes.append(scope)
        return [meter for meter in self.known_meters if scope == HERE]

    def features(self, scope: Scope) -> Sequence[Feature]:
        self.scopes.append(scope)
        return self.known_features if scope == HERE else []

    def subscriptions_of(self, scope: Scope, external_customer_id: str) -> Sequence[Subscription]:
        self.scopes.append(scope)
        return self.known_subscriptions.get(external_customer_id, []) if scope == HERE else []

    def has_customer(self, scope: Scope, external_customer_id: str) -> bool:
        self.scopes.append(scope)
        return scope == HERE and external_customer_id in self.known_subscriptions


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.lines.append((event, fields))

    def error(self, event: str, /, **fields: object) -> None:
        self.lines.append((event, fields))


@dataclass
class Api:
    """The application with its services, and a caller that has the key of a role.

    The key of a role is its own name; `elsewhere` is a super_admin of another environment.
    """

    door: Door = field(default_factory=Door)
    answers: Answers = field(default_factory=Answers)
    catalog: Catalog = field(default_factory=Catalog)
    log: Lines = field(default_factory=Lines)
    counted: list[tuple[str, str, int, float]] = field(default_factory=list)
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    checks: list[Check] = field(default_factory=lambda: [Check("log", ok=True, latency_ms=1)])

    def __post_init__(self) -> None:
        self.services = Services(
            door=self.door,
            answers=self.answers,
            catalog=self.catalog,
            authenticate=self.known,
            clock=lambda: NOW,
            readiness=lambda: self.checks,
            exposition=lambda: (b"tally_build_info 1\n", "text/plain; version=0.0.4"),
            on_request=lambda *told: self.counted.append(told),
            log=self.log,
        )
        self.app: Any = build_app(self.services)

    def known(self, key: str) -> Principal | None:
        if key == "elsewhere":
            return Principal("k2", Scope("tenant_2", "env_2"), (Role.SUPER_ADMIN,))
        return Principal("k1", HERE, (Role(key),)) if key in set(Role) else None

    def change(self, **changes: Any) -> None:
        """Build the application again with other services."""
        self.services = replace(self.services, **changes)
        self.app = build_app(self.services)

    def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = "super_admin",
        headers: Mapping[str, str] | Sequence[tuple[str, Any]] = (),
        **content: Any,
    ) -> httpx.Response:
        """Send one request; redirects would show."""
        sent = list(headers.items() if isinstance(headers, Mapping) else headers)
        if key is not None:
            sent.append(("x-api-key", key))
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://tally")
        return self.runner.run(client.request(method, path, headers=sent, **content))

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """Send a JSON body; a text is sent as it is."""
        if isinstance(body, str | bytes):
            return self.call("POST", path, content=body, **options)
        return self.call("POST", path, json=body, **options)


@pytest.fixture
def api() -> Iterator[Api]:
    """Return a new application over new services."""
    made = Api()
    with made.runner:
        yield made


@pytest.fixture
def kept(api: Api, empty_database: Any, open_at: Any) -> Kept:
    """Let the application keep everything in an empty SQLite store; two scopes are in it."""
    database: Database = open_at(empty_database("sqlite"))
    migrate(database)
    for scope in (HERE, Scope("tenant_2", "env_2")):
        ensure_scope(database, scope, NOW)
    made = Kept(database, NOW)
    api.change(environment=made.environment, clock=lambda: made.now)
    return made
