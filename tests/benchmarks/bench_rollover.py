"""How fast subscriptions roll over into a new month, and whether memory stays flat while they do.

Run by hand: python tests/benchmarks/bench_rollover.py [--subscriptions N] [--months M]
[--stores rules,memory,sqlite] [--together K] [--postgres URL]. Each customer has one subscription
of five lines (two fees; a slab, a package, and a flat price with an allowance) and a prepaid wallet
that its invoice is settled from; usage is in memory. Every month each invoice is drafted, finalized,
numbered, settled and told of in the outbox.

`rules` are drafting and finalizing alone; `memory` is the pass over an account with a store of its
own, as `tally bill` has it; `sqlite` and `postgres` are the pass over one store of all, in a
database that was empty. With `--together` so many accounts of it are one transaction. A figure a
core is that of the processor time of this process: what a server of PostgreSQL needs comes on top.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from billing.invoices.closing import finalize
from billing.invoices.drafting import draft
from billing.periods.services import windows
from billing.ports import Changes, Stores, UsageQuantity
from billing.stores.database import migrate, open_database
from billing.stores.memory import MemoryStore
from billing.stores.money import SqlStores
from billing.stores.scopes import ensure_scope
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.passes import pass_account
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import TopUp, top_up
from schemas.customer import Customer
from schemas.ids import CustomerId, EntitlementId, FeatureId, PlanId, SubscriptionId, WalletId
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.period import Interval
from schemas.price import (
    BillingModel,
    InvoiceCadence,
    Price,
    PriceType,
    Tier,
    TierMode,
    TransformQuantity,
)
from schemas.scope import Scope
from schemas.subscription import Entitlement, Plan, ResetPeriod, Subscription
from schemas.wallet import Reason, Wallet, WalletType

START = datetime(2026, 1, 1, tzinfo=UTC)
# Subscriptions begin at a minute of their own of the first day.
MINUTES = 24 * 60
CREDITS = Decimal(100_000)
DUE_AT_ONCE = 500

METERS = {
    name: Meter(name, "t", "e", name, "llm", Aggregation(AggregationType.SUM, name))
    for name in ("tokens", "calls", "bytes")
}


@dataclass(frozen=True, slots=True)
class Sold:
    """A customer with its subscription, and the first write of its wallet."""

    customer: Customer
    subscription: Subscription
    filled: Posted


class GivenUsage:
    """Usage that grows with time, the same for everybody, of which nothing comes late."""

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return two units for each hour of an interval."""
        value = Decimal(2 * ((interval.end - interval.start) // timedelta(hours=1)))
        return UsageQuantity(value, value, 1)

    def arrived_since(self, external_customer_ids: Sequence[str], at: datetime) -> datetime | None:
        """Say that nothing has come since."""
        return None


USAGE = GivenUsage()


def main() -> None:
    """Roll over in each store that is asked for, and print what it took."""
    asked = arguments()
    print(
        f"{'store':<10}{'month':<9}{'invoices':>9}{'seconds':>9}{'a second':>10}{'a core':>9}"
        f"{'p50 ms':>9}{'p95 ms':>9}{'MB':>7}{'peak MB':>9}"
    )
    sold = [sell(number) for number in range(asked.subscriptions)]
    months = [month_end(number) for number in range(1, asked.months + 1)]
    kinds = asked.stores.split(",") + (["postgres"] if asked.postgres else [])
    for kind in kinds:
        if kind == "rules":
            rules_alone(sold, months)
        elif kind == "memory":
            each_alone(sold, months)
        else:
            with tempfile.TemporaryDirectory() as folder:
                url = asked.postgres if kind == "postgres" else f"sqlite:///{folder}/tally.db"
                with filled_store(url, sold) as stores:
                    all_in_one(kind, stores, months, asked.together)
                    if kind == "sqlite":
                        size = (Path(folder) / "tally.db").stat().st_size
                        made = asked.subscriptions * (asked.months + 1)
                        print(f"{size / made:,.0f} bytes of SQLite an invoice")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--subscriptions", type=int, default=10_000)
    parser.add_argument("--months", type=int, default=3)
    parser.add_argument("--stores", default="rules,memory,sqlite")
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--postgres")
    return parser.parse_args()


def month_end(number: int) -> datetime:
    """Return when the invoices of a month are all final: a day after it has ended."""
    return datetime(2026, 1 + number, 2, 12, tzinfo=UTC)


def fee(name: str, amount: str, cadence: InvoiceCadence) -> Price:
    """Return a monthly fee."""
    return Price(
        name,
        PriceType.FIXED,
        BillingModel.FLAT_FEE,
        "usd",
        amount=Decimal(amount),
        invoice_cadence=cadence,
    )


def plan() -> Plan:
    """Return the plan of five prices that everybody has."""
    tiers = (
        Tier(1000, Decimal("0.02")),
        Tier(10_000, Decimal("0.01")),
        Tier(None, Decimal("0.005")),
    )
    used, flat = PriceType.USAGE, BillingModel.FLAT_FEE
    return Plan(
        PlanId("pro"),
        "Pro",
        prices=(
            fee("base", "20", InvoiceCadence.ADVANCE),
            fee("support", "7.50", InvoiceCadence.ARREAR),
            Price(
                "slab",
                used,
                BillingModel.TIERED,
                "usd",
                tiers=tiers,
                tier_mode=TierMode.SLAB,
                meter_id="tokens",
            ),
            Price(
                "packs",
                used,
                BillingModel.PACKAGE,
                "usd",
                amount=Decimal(5),
                transform_quantity=TransformQuantity(100),
                meter_id="calls",
            ),
            Price("flat", used, flat, "usd", amount=Decimal("0.003"), meter_id="bytes"),
        ),
        entitlements=(
            Entitlement(
                EntitlementId("included"),
                FeatureId("bytes"),
                meter_id="bytes",
                usage_limit=500,
                usage_reset_period=ResetPeriod.MONTHLY,
            ),
        ),
        meters=METERS,
    )


PRO = plan()


def sell(number: int) -> Sold:
    """Return a customer with a subscription from a minute of the first day on, and a wallet."""
    name = CustomerId(f"cust_{number:08}")
    start = START + timedelta(minutes=number % MINUTES)
    bare = Subscription(
        SubscriptionId(f"subs_{number:08}"),
        name,
        f"customer {number}",
        "usd",
        start,
        timezone="Europe/Berlin",
        plan_id=PRO.id,
    )
    wallet = Wallet(WalletId(f"wallet_{number:08}"), name, "usd", WalletType.PRE_PAID, START)
    bought = TopUp(Reason.PURCHASED_CREDIT_DIRECT, CREDITS)
    return Sold(
        Customer(name, f"customer {number}"),
        subscribe(bare, PRO),
        top_up(Holdings(wallet), bought, START),
    )


class Clock:
    """What one month took: of all together, and of each account."""

    def __init__(self, kind: str, month: str) -> None:
        self._name = f"{kind:<10}{month:<9}"
        self._accounts: list[float] = []
        self._invoices = 0
        self._wall = self._spent = 0.0

    @contextmanager
    def account(self, count: int = 1) -> Iterator[None]:
        """Count an account, or so many of one transaction, with what it took."""
        wall, spent = time.perf_counter(), time.process_time()
        yield
        took = time.perf_counter() - wall
        self._wall += took
        self._spent += time.process_time() - spent
        self._accounts += [took / count] * count

    def made(self, invoices: int) -> None:
        """Count invoices."""
        self._invoices += invoices

    def tell(self) -> None:
        """Print the row of the month."""
        each = sorted(self._accounts)
        p50, p95 = (each[len(each) * share // 100] * 1e3 for share in (50, 95))
        print(
            f"{self._name}{self._invoices:>9,}{self._wall:>9.2f}"
            f"{self._invoices / self._wall:>10,.0f}{self._invoices / self._spent:>9,.0f}"
            f"{p50:>9.2f}{p95:>9.2f}{resident() / 1e6:>7,.0f}{peak() / 1e6:>9,.0f}",
            flush=True,
        )


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    """Return the most that it has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rules_alone(sold: Sequence[Sold], months: Sequence[datetime]) -> None:
    """Draft and finalize the renewals, without any store."""
    for at in months:
        clock = Clock("rules", f"{at:%Y-%m}")
        for each in sold:
            held = (each.filled.holdings,)
            with clock.account():
                *_, window = windows(each.subscription, at)
                made = draft(each.subscription, window, USAGE, held, as_of=at)
                finalize(made, held, at)
            clock.made(1)
        clock.tell()


def each_alone(sold: Sequence[Sold], months: Sequence[datetime]) -> None:
    """Pass over every account in a store of its own, which is then forgotten."""
    clocks = [Clock("memory", f"{at:%Y-%m}") for at in months]
    for each in sold:
        store = MemoryStore()
        store.commit(written([each]))
        name = each.customer.id
        pass_account(store, USAGE, name, START + timedelta(days=1))
        for clock, at in zip(clocks, months, strict=True):
            with clock.account():
                done = pass_account(store, USAGE, name, at)
            clock.made(len(done.invoices))
    for clock in clocks:
        clock.tell()


def written(sold: Sequence[Sold]) -> Changes:
    """Return the changes by which accounts come into a store, due when they begin."""
    return Changes(
        customers=tuple(each.customer for each in sold),
        subscriptions=tuple(each.subscription for each in sold),
        posted=tuple(each.filled for each in sold),
        wake={each.customer.id: each.subscription.start_date for each in sold},
    )


@contextmanager
def filled_store(url: str, sold: Sequence[Sold]) -> Iterator[SqlStores]:
    """Open a database and put all accounts into it."""
    database = open_database(url)
    try:
        migrate(database)
        scope = Scope("tenant_bench", "env_bench")
        ensure_scope(database, scope, START)
        stores = SqlStores(database, scope)
        for begin in range(0, len(sold), DUE_AT_ONCE):
            stores.commit(written(sold[begin : begin + DUE_AT_ONCE]))
        yield stores
    finally:
        database.close()


def all_in_one(kind: str, stores: SqlStores, months: Sequence[datetime], together: int) -> None:
    """Pass over all accounts that are due, first for their openings, then month by month."""
    for at in (START + timedelta(days=1), *months):
        clock = Clock(kind, f"{at:%Y-%m}")
        while due := stores.due_customers(at, DUE_AT_ONCE):
            # PostgreSQL holds the accounts of one transaction in the order of their ids.
            rows = sorted(due)
            for begin in range(0, len(rows), together):
                some = rows[begin : begin + together]
                with clock.account(len(some)):
                    clock.made(passed(stores, some, at, alone=together == 1))
        clock.tell()


def passed(
    stores: SqlStores, due: Sequence[tuple[CustomerId, datetime]], at: datetime, *, alone: bool
) -> int:
    """Pass over some accounts, in one transaction unless alone; return how many invoices changed."""

    def run(inside: Stores) -> int:
        done = [pass_account(inside, USAGE, name, at, since=since) for name, since in due]
        return sum(len(each.invoices) for each in done)

    if alone:
        return run(stores)
    with stores.together() as inside:
        return run(inside)


if __name__ == "__main__":
    main()
