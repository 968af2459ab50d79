"""What the tests of billing share: listed usage, a plan to bill it by, and a PostgreSQL server."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, groupby
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import inspect, text

from billing.ports import Stores, UsageBucket, UsageQuantity
from billing.stores.database import Database, migrate, open_database
from billing.stores.memory import MemoryStore
from billing.stores.money import SqlStores
from billing.stores.scopes import ensure_scope
from schemas.ids import CustomerId, EntitlementId, FeatureId, PlanId, SubscriptionId
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.period import Interval
from schemas.price import BillingModel, InvoiceCadence, Price, PriceType, Tier, TierMode
from schemas.scope import Scope
from schemas.subscription import Entitlement, Plan, ResetPeriod, Subscription

Reading = tuple[datetime, Decimal]


class ListedUsage:
    """Usage as a list of readings, added up; buckets are UTC days."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = list(readings)
        self.asked = 0

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return the sum of the readings inside the interval."""
        self.asked += 1
        inside = sorted(each for each in self.readings if interval.holds(each[0]))
        signed = sum((value for _, value in inside), Decimal(0))
        if meter.aggregation.bucket_size is None:
            return UsageQuantity(max(signed, Decimal(0)), signed, len(inside))
        buckets = tuple(
            UsageBucket(
                datetime.combine(day, datetime.min.time(), UTC),
                "",
                sum((value for _, value in readings), Decimal(0)),
            )
            for day, readings in groupby(inside, key=lambda each: each[0].date())
        )
        return UsageQuantity(max(signed, Decimal(0)), signed, len(inside), buckets)


@pytest.fixture(scope="session")
def listed() -> Callable[[Sequence[Reading]], ListedUsage]:
    """Return the maker of listed usage."""
    return ListedUsage


@pytest.fixture(scope="session")
def daily() -> Callable[..., ListedUsage]:
    """Return the maker of usage with the same reading at noon of each day from 1 January 2026."""

    def make(value: str, days: int) -> ListedUsage:
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        return ListedUsage([(noon + timedelta(days=n), Decimal(value)) for n in range(days)])

    return make


@pytest.fixture(scope="session")
def tokens() -> Meter:
    """Return a meter that adds up tokens."""
    return Meter("tokens", "t", "e", "tokens", "llm", Aggregation(AggregationType.SUM, "tokens"))


@pytest.fixture(scope="session")
def pro(tokens: Meter) -> Plan:
    """Return a plan: 20 a month in advance, and tokens by slab beyond 500 a month."""
    return Plan(
        PlanId("pro"),
        "Pro",
        prices=(
            Price(
                "base",
                PriceType.FIXED,
                BillingModel.FLAT_FEE,
                "usd",
                amount=Decimal(20),
                invoice_cadence=InvoiceCadence.ADVANCE,
            ),
            Price(
                "use",
                PriceType.USAGE,
                BillingModel.TIERED,
                "usd",
                tiers=(Tier(1000, Decimal("0.02")), Tier(None, Decimal("0.01"))),
                tier_mode=TierMode.SLAB,
                meter_id="tokens",
            ),
        ),
        entitlements=(
            Entitlement(
                EntitlementId("included"),
                FeatureId("tokens"),
                meter_id="tokens",
                usage_limit=500,
                usage_reset_period=ResetPeriod.MONTHLY,
            ),
        ),
        meters={"tokens": tokens},
    )


@pytest.fixture(scope="session")
def acme() -> Subscription:
    """Return a monthly subscription from 1 January 2026, without lines."""
    return Subscription(
        SubscriptionId("acme"),
        CustomerId("acme"),
        "acme",
        "usd",
        datetime(2026, 1, 1, tzinfo=UTC),
        lookup_key="acme/pro",
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start Debian's PostgreSQL on a free port of this machine; give its URL without a database.

    It refuses to run as root, so root starts it as the user that the package made.
    """
    newest = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Not a folder of pytest, which only its own user may enter.
    folder = Path(tempfile.mkdtemp(prefix="tally-postgres-"))
    if as_user:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(newest / program), "-D", str(folder / "data"), *arguments]
        # The server outlives the command: a pipe would stay open, so its words go to a file.
        with (folder / "output").open("a+") as output:
            done = subprocess.run(
                command, check=False, cwd=folder, stdout=output, stderr=output, timeout=100
            )
            output.seek(0)
            assert done.returncode == 0, output.read()

    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    try:
        run("initdb", "-U", "tally", "-A", "trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-w", "-t", "60", "-o", options, "start")
        try:
            yield f"postgresql://tally@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """Return a maker of empty databases, "sqlite" or "postgres", that gives their URLs."""
    with ExitStack() as stack:

        def make(kind: str) -> str:
            if kind == "sqlite":
                return f"sqlite:///{tmp_path / 'folder' / 'tally.db'}"
            server: str = request.getfixturevalue("postgres")
            name = f"t{uuid.uuid4().hex}"
            administrator = psycopg.connect(f"{server}/postgres", autocommit=True)
            stack.enter_context(administrator)
            administrator.execute(f"CREATE DATABASE {name}".encode())
            stack.callback(administrator.execute, f"DROP DATABASE {name} WITH (FORCE)".encode())
            return f"{server}/{name}"

        yield make


@pytest.fixture
def open_at(empty_database: object) -> Iterator[Callable[[str], Database]]:
    """Return an opener of databases; what it opened is closed before they are dropped."""
    del empty_database
    with ExitStack() as stack:

        def open_one(url: str) -> Database:
            database = open_database(url)
            stack.callback(database.close)
            return database

        yield open_one


@pytest.fixture(scope="session")
def migrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Database]]:
    """Return a giver of one database of each kind, which tests share, each in a scope of its own."""
    found: dict[str, Database] = {}

    def database(kind: str) -> Database:
        if kind not in found:
            url = f"sqlite:///{tmp_path_factory.mktemp('money') / 'tally.db'}"
            if kind == "postgres":
                url = f"{request.getfixturevalue('postgres')}/postgres"
            found[kind] = open_database(url)
            migrate(found[kind])
        return found[kind]

    yield database
    for each in found.values():
        each.close()


@pytest.fixture(scope="session")
def fresh_stores(migrated: Callable[[str], Database]) -> Callable[[str], Stores]:
    """Return a maker of empty stores of money: in "memory", "sqlite" or "postgres"."""
    numbers = count()

    def make(kind: str) -> Stores:
        if kind == "memory":
            return MemoryStore()
        database = migrated(kind)
        scope = Scope(f"tenant_{next(numbers)}", "env_test")
        ensure_scope(database, scope, datetime(2026, 1, 1, tzinfo=UTC))
        return SqlStores(database, scope)

    return make


@pytest.fixture(scope="session")
def everything() -> Callable[[Stores], object]:
    """Return what tells all that stores of money keep, to be compared."""

    def told(stores: Stores) -> object:
        if isinstance(stores, MemoryStore):
            return stores.tables.copy()
        assert isinstance(stores, SqlStores)
        scope = stores._scope
        found = {}
        with stores._database.reading() as session:
            for name in inspect(stores._database.engine).get_table_names():
                if name in ("tenants", "environments", "alembic_version"):
                    continue
                rows = session.execute(
                    text(f"SELECT * FROM {name} WHERE tenant_id = :tenant"),
                    {"tenant": scope.tenant_id},
                )
                found[name] = sorted(map(repr, rows))
        return found

    return told
