"""What the SQL stores promise beyond the memory store: scopes, grouped decisions, rows that agree."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from money_records import (
    ACME,
    DAY,
    SERIES,
    SOLD,
    WALLET,
    filled,
    invoice,
    line,
    number,
    payment,
    purchase,
    row,
)
from sqlalchemy import create_engine, event, select, text

from billing.configuration import BillingConfig
from billing.ports import Changes, Redemption, Stores
from billing.stores.database import Database
from billing.stores.invoice_models import InvoiceLineRow
from billing.stores.models import Model
from billing.stores.money import SqlStores
from billing.stores.money_models import OutboxMessageRow
from billing.stores.money_reading import AlertFilter, InvoiceFilter, MoneyReader
from billing.stores.scopes import ensure_scope
from schemas.coupon import CouponId
from schemas.credit_grant import CreditGrantId
from schemas.errors import AlreadyExists, ValidationFailed, VersionConflict
from schemas.ids import (
    AlertStreamId,
    CustomerId,
    InvoiceId,
    InvoiceLineId,
    PaymentId,
    SubscriptionId,
)
from schemas.invoice import InvoiceStatus, Role
from schemas.scope import Scope

Snapshot = Callable[[Stores], object]
KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]

ALL = Changes(
    subscriptions=(SOLD,),
    posted=(filled(key="k"),),
    invoices=(invoice("i", line("a"), line("b", role=Role.ADJUSTMENT), invoice_number="INV-1"),),
    numbers=(number(1),),
    payments=(payment("p", "k"),),
    purchases=(purchase("p", "k"),),
    redemptions=(Redemption(CouponId("c"), "s", DAY),),
    outbox=(row("m"),),
    wake={ACME: DAY},
)


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, migrated: Callable[[str], Database]) -> Database:
    return migrated(request.param)


@pytest.fixture
def stores(database: Database, request: pytest.FixtureRequest) -> SqlStores:
    return of_scope(database, Scope(f"tenant {request.node.name}", "env"))


def of_scope(database: Database, scope: Scope) -> SqlStores:
    ensure_scope(database, scope, DAY)
    return SqlStores(database, scope)


def test_equal_ids_of_two_scopes_are_two_things(database: Database, everything: Snapshot) -> None:
    one = of_scope(database, Scope("tenant one", "env"))
    other = of_scope(database, Scope("tenant two", "env"))
    untouched = everything(other)
    one.commit(ALL)
    assert everything(other) == untouched
    assert other.holdings(WALLET.id) is other.invoice(InvoiceId("i")) is None
    assert other.wallets_of(ACME) == other.invoices_for(ACME) == other.due_customers(DAY, 9) == ()
    assert other.last_number(SERIES) is None
    assert other.redeemed_by(CouponId("c")) == frozenset()
    other.commit(ALL)
    before = everything(one)
    other.commit(
        Changes(
            invoices=(replace(ALL.invoices[0], lines=(), status=InvoiceStatus.VOIDED, version=2),),
            posted=(filled(ALL.posted[0].holdings),),
            numbers=(number(2),),
        )
    )
    assert other.plan(ACME, DAY, None)
    assert everything(one) == before
    # A scope that nobody has made holds nothing, and takes nothing.
    nowhere = SqlStores(database, Scope("tenant one", "env of another"))
    with pytest.raises(ValidationFailed):
        nowhere.commit(Changes(outbox=(row("m"),)))
    assert nowhere.live_subscriptions() == ()


def test_decisions_made_together_stand_or_fall_alone(stores: SqlStores) -> None:
    stores.commit(Changes(invoices=(invoice("b", line("b")),)))
    with stores.together() as group:
        for name in ("a", "b", "c"):
            with (
                pytest.raises(VersionConflict) if name == "b" else nullcontext(),
                group.deciding(CustomerId(name)) as held,
            ):
                held.commit(Changes(outbox=(row(name),)))
                held.commit(Changes(invoices=(invoice(name, line(name, name)),)))
        with pytest.raises(AlreadyExists):
            group.commit(Changes(invoices=(invoice("d", line("d", "a")),), outbox=(row("d"),)))
        group.commit(Changes(outbox=(row("e"),)))
    assert [each.id for each in stores.invoices_for(ACME)] == ["a", "b", "c"]
    assert told(stores) == ["a", "c", "e"]


def test_decisions_made_together_are_undone_together(
    stores: SqlStores, everything: Snapshot
) -> None:
    before = everything(stores)

    def decide() -> None:
        with stores.together() as group:
            with group.deciding(ACME) as held:
                held.commit(ALL)
            raise KeyError

    with pytest.raises(KeyError):
        decide()
    assert everything(stores) == before
    stores.commit(ALL)


def test_lines_have_rows_that_say_what_the_record_says(stores: SqlStores) -> None:
    drafted = invoice("i", line("a"), line("b", "other"), line("c", role=Role.ADJUSTMENT))
    stores.commit(Changes(invoices=(drafted,)))
    assert lines(stores) == [("a", "chain", True), ("b", "other", True), ("c", "chain", False)]
    shorter = replace(drafted, lines=drafted.lines[1:], version=2)
    stores.commit(Changes(invoices=(shorter,)))
    assert lines(stores) == [("b", "other", True), ("c", "chain", False)]
    voided = replace(shorter, status=InvoiceStatus.VOIDED, version=3)
    stores.commit(Changes(invoices=(voided,)))
    assert lines(stores) == [("b", "other", False), ("c", "chain", False)]
    found = stores.invoice(InvoiceId("i"))
    assert found is not None
    assert [each.id for each in found.lines] == ["b", "c"]


def test_the_outbox_keeps_the_order_of_commits(stores: SqlStores) -> None:
    for names in (("z", "b"), ("a",), ("y", "c")):
        stores.commit(Changes(outbox=tuple(map(row, names))))
    assert told(stores) == ["z", "b", "a", "y", "c"]


def test_two_thousand_invoices_go_into_one_commit(stores: SqlStores) -> None:
    many = tuple(
        invoice(f"i{n:05}", line(f"l{n}", f"chain {n}"), invoice_number=f"INV-{n}")
        for n in range(2_000)
    )
    stores.commit(Changes(invoices=many))
    assert stores.invoices_of(SubscriptionId("s")) == many
    stores.commit(Changes(invoices=tuple(replace(each, version=2) for each in many)))
    with pytest.raises(VersionConflict):
        stores.commit(Changes(invoices=(replace(many[7], version=2),)))


def test_the_settings_come_from_whoever_keeps_them(database: Database) -> None:
    settings = BillingConfig(finalization_delay=timedelta(hours=5))
    stores = SqlStores(database, Scope("tenant_default", "env_development"), lambda: settings)
    assert stores.config() is settings
    with stores.deciding(ACME) as held:
        assert held.config() is settings


def told(stores: SqlStores) -> list[str]:
    rows = select(OutboxMessageRow.id).order_by(OutboxMessageRow.sequence)
    with stores._database.reading() as session:
        mine = rows.where(OutboxMessageRow.tenant_id == stores._scope.tenant_id)
        return list(session.scalars(mine))


def lines(stores: SqlStores) -> list[tuple[str, str, bool]]:
    rows = select(InvoiceLineRow.id, InvoiceLineRow.chain_id, InvoiceLineRow.live)
    with stores._database.reading() as session:
        mine = rows.where(InvoiceLineRow.tenant_id == stores._scope.tenant_id)
        return [tuple(each) for each in session.execute(mine.order_by(InvoiceLineRow.position))]


def test_what_is_read_of_one_customer_costs_its_rows(
    migrated: Callable[[str], Database],
) -> None:
    database = migrated("sqlite")
    stores = of_scope(database, Scope("tenant plans", "env"))
    stores.commit(ALL)
    asked: list[tuple[str, tuple[object, ...]]] = []

    def hear(_: object, __: object, sql: str, values: tuple[object, ...], *___: object) -> None:
        asked.append((sql, values))

    event.listen(database.engine, "before_cursor_execute", hear)
    read_everything(stores, MoneyReader(database, stores._scope))
    event.remove(database.engine, "before_cursor_execute", hear)
    assert len(asked) > 30
    plans = []
    with database.engine.connect() as connection:
        for sql, values in asked:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
            plans += [(each.detail, sql) for each in rows]
    # Nothing is looked for in a whole table, or in all that a scope has of it.
    everywhere = [
        (plan, sql)
        for plan, sql in plans
        if plan.startswith("SCAN") or plan.endswith("(tenant_id=? AND environment_id=?)")
    ]
    assert everywhere == []
    assert any("ix_wallet_lots_open" in plan for plan, _ in plans)
    assert any("ix_purchases_pending" in plan for plan, _ in plans)


def read_everything(stores: SqlStores, pages: MoneyReader) -> None:
    stores.customer(ACME)
    stores.subscription(SOLD.id)
    stores.subscriptions_of(ACME)
    stores.redeemed_by(CouponId("c"))
    stores.holdings(WALLET.id)
    stores.wallets_of(ACME)
    stores.entry_of("k")
    stores.purchase_of("k")
    stores.purchases_for(InvoiceId("i"))
    stores.pending_purchases(WALLET.id)
    stores.last_application(CreditGrantId("g"))
    stores.invoice(InvoiceId("i"))
    stores.invoices_of(SOLD.id)
    stores.invoices_for(ACME)
    stores.payments_of(InvoiceId("i"))
    stores.payment(PaymentId("p"))
    stores.payment_of("k")
    stores.taken_for(InvoiceId("i"))
    stores.last_number(SERIES)
    stores.stream(AlertStreamId("s"))
    stores.due_customers(DAY, 9)
    stores.plan(ACME, DAY, DAY)
    pages.entries_of(WALLET.id, limit=9)
    pages.invoices(InvoiceFilter(customer_id=ACME, dated_from=DAY), limit=9)
    pages.invoices(InvoiceFilter(subscription_id=SOLD.id), limit=9)
    pages.alerts(AlertFilter(customer_id=ACME), limit=9)
    pages.alerts(AlertFilter(entity_type="wallet", entity_id=WALLET.id), limit=9)
    pages.invoice_of_line(InvoiceLineId("a"))


def test_the_migrations_make_the_conditions_of_the_models(
    migrated: Callable[[str], Database], tmp_path: Path
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/made.db")
    Model.metadata.create_all(engine)
    asked = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    with engine.connect() as one, migrated("sqlite").engine.connect() as other:
        made, wanted = (
            {each.name: each.sql for each in connection.execute(asked)}
            for connection in (other, one)
        )
    engine.dispose()
    assert "WHERE live" in wanted["uq_invoice_lines_service"]
    assert made == wanted
