"""`tally run metering` and `tally run billing` together: events on a topic move balances in SQL.

Billing runs in two processes; it is killed, and goes on: the balance is right and the alert is told once.
"""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from claim_world import CATALOG
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from roles import Deployment, Program, clickhouse_server, until

from billing.stores.claims import SqlClaims
from billing.stores.database import Database, open_database
from billing.stores.money import SqlStores
from billing.use_cases.balances import balance_of
from schemas.ids import CustomerId
from schemas.scope import Scope

pytestmark = [pytest.mark.requires("kafka", "embedded"), pytest.mark.timeout(300)]

SCOPE = Scope("tenant_default", "env_development")
TOPICS = {"TALLY_TOPIC_EVENTS": "bill", "TALLY_TOPIC_USAGE": "bill.usage"}
PARTITIONS = 3


@pytest.fixture
def deployment(
    broker: str, root: Path, tally: str, plain_environment: dict[str, str], tmp_path: Path
) -> Iterator[Deployment]:
    administrator = AdminClient({"bootstrap.servers": broker})
    names = [*TOPICS.values(), "bill.dlq"]
    for made in administrator.create_topics([NewTopic(n, PARTITIONS) for n in names]).values():
        made.result()
    with clickhouse_server(root, tmp_path / "clickhouse") as url:
        environment = {
            **plain_environment,
            **TOPICS,
            "TALLY_TOPIC_DEAD_LETTERS": "bill.dlq",
            "TALLY_KAFKA_BROKERS": broker,
            "TALLY_CLICKHOUSE_URL": url,
            "TALLY_DATABASE_URL": f"sqlite:///{tmp_path / 'money.db'}",
            "TALLY_DATA": str(tmp_path / "data"),
        }
        yield Deployment(tally, environment, tmp_path)


@pytest.fixture
def money(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'money.db'}")
    yield database
    database.close()


def test_events_on_a_topic_move_balances_and_a_kill_tells_nothing_twice(
    deployment: Deployment, money: Database, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG)
    stores, claims = SqlStores(money, SCOPE), SqlClaims(money, SCOPE)
    producer = Producer({"bootstrap.servers": deployment.environment["TALLY_KAFKA_BROKERS"]})

    def send(number: int, tokens: int) -> None:
        event = {
            "event_id": f"e{number}",
            "event_name": "llm",
            "external_customer_id": "acme",
            "properties": {"tokens": tokens, "user": "u"},
        }
        key = f"{SCOPE.tenant_id}:{SCOPE.environment_id}:acme"
        producer.produce(TOPICS["TALLY_TOPIC_EVENTS"], json.dumps(event), key)
        producer.flush()

    def acme() -> CustomerId | None:
        ids = {name: customer for customer, name in claims.customers().items()}
        return ids.get("acme")

    def balance() -> tuple[Decimal | None, bool]:
        customer = acme() if claims_are_there(money) else None
        if customer is None or claims.claims_of(customer) is None:
            return None, True
        found = balance_of(stores, claims, customer, datetime.now(UTC))
        return found.balances[0].real_time_balance, found.is_fallback

    def billing() -> list[str]:
        return ["run", "billing", "--catalog", str(catalog), "--processes", "2"]

    def becomes(wanted: int, *programs: Program) -> None:
        def said() -> str:
            return "\n".join([str(balance()), *(each.said() for each in programs)])

        until(lambda: balance() == (Decimal(wanted), False), said, programs[-1])

    with deployment.metering(catalog, 1) as metering:
        with deployment.started(*billing()) as program:
            becomes(30, metering, program)
            send(1, 8)
            becomes(24, metering, program)
            send(2, 30)
            becomes(9, metering, program)
        with deployment.started(*billing()) as program:
            send(3, 2)
            becomes(8, metering, program)
            assert program.ended(signal.SIGTERM) == 0, program.said()
        assert metering.ended(signal.SIGTERM) == 0, metering.said()
    with money.reading() as session:
        told = session.connection().exec_driver_sql(
            "SELECT status FROM alerts WHERE alert_type = 'low_ongoing_balance' AND customer_id = ?",
            (acme(),),
        )
        assert told.scalars().all() == ["in_alarm"]


def claims_are_there(database: Database) -> bool:
    """Tell whether the tables were made yet."""
    return database.revision() is not None
