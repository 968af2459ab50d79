"""How far usage passes a balance of `tally dev` before whoever watches it stops: G7, measured.

python tests/benchmarks/bench_overshoot.py [customers]

Gated customers spend at a steady rate while so many others are busy. A client reads their ongoing
balances as often as it can and stops sending for whom it is 0 or less. What was accepted beyond the
balance must be no more than what was sent within the lag that was measured.
"""

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx

from billing.ports import Changes
from billing.stores.claims import SqlClaims
from billing.stores.database import open_database
from billing.stores.money import SqlStores
from billing.use_cases.balances import balance_of
from billing.wallets.ledger import top_up
from billing.wallets.opening import open_wallet
from flows.catalog import load_catalog
from flows.settings import Settings
from flows.sql_store import open_sql
from schemas.ids import CustomerId
from schemas.scope import Scope

KEY = "sk_benchmark00000000000000000000000000000000"
TALLY = str(Path(sys.executable).parent / "tally")
BUSY = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
GATED = 10
TICK_SECONDS = 0.05
# Of a gated customer so many events in each tick; of the busy ones so many customers in turn.
EVENTS_A_TICK = 5
TURN = BUSY // 20
SECONDS_MAX = 30
PRICE = Decimal("0.01")
CREDITS = Decimal(4)
THRESHOLD = Decimal(1)
SCOPE = Scope("tenant_default", "env_development")

NAMES = [f"gated{number}" for number in range(GATED)] + [f"busy{number}" for number in range(BUSY)]
SOLD = f"""
meters:
  - {{name: calls, event_name: call, aggregation: {{type: COUNT}}}}
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {{type: USAGE, meter: calls, billing_model: FLAT_FEE, amount: "{PRICE}", currency: usd,
         billing_period: MONTHLY}}
"""


def catalog() -> str:
    """Return a catalog with a wallet for each customer; those of the gated ones hold little."""
    began = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = began.strftime("%Y-%m-%dT%H:%M:%SZ")
    amounts = [CREDITS + number for number in range(GATED)] + [Decimal(1_000_000)] * BUSY
    wallets = "".join(
        f"  - {{customer: {name}, currency: usd,\n"
        f'     top_ups: [{{credits_to_add: "{held}", at: "{start}"}}],\n'
        "     alert_settings: {alert_enabled: true, "
        f'critical: {{threshold: "{THRESHOLD}", condition: below}}}}}}\n'
        for name, held in zip(NAMES, amounts, strict=True)
    )
    subscriptions = "".join(
        f'  - {{customer: {name}, plan: pro, start_date: "{start}"}}\n' for name in NAMES
    )
    customers = ", ".join(f"{{external_id: {name}}}" for name in NAMES)
    return f"{SOLD}customers: [{customers}]\nsubscriptions:\n{subscriptions}wallets:\n{wallets}"


@dataclass
class Gate:
    """A customer who may spend until its balance is gone."""

    name: str
    customer_id: CustomerId
    credits: Decimal
    is_open: bool = True
    # When each event was accepted, by its number, and when a balance first showed so many.
    accepted_at: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    shown: int = 0

    def show(self, balance: Decimal, at: float) -> None:
        """Take note of a balance that was read."""
        used = min(int((self.credits - balance) / PRICE), len(self.accepted_at))
        self.lags += [at - accepted for accepted in self.accepted_at[self.shown : used]]
        self.shown = max(self.shown, used)
        if balance <= 0:
            self.is_open = False

    def beyond(self) -> int:
        """Return how many events were accepted beyond the balance."""
        return len(self.accepted_at) - int(self.credits / PRICE)


def send(client: httpx.Client, gates: list[Gate], stop: threading.Event) -> int:
    """Send events at a steady rate until nobody may spend any more; return how many."""
    numbers, sent = itertools.count(), 0
    busy = itertools.cycle(NAMES[GATED:])
    begun = time.perf_counter()
    for tick in itertools.count(1):
        spending = [gate for gate in gates if gate.is_open]
        if not spending or stop.is_set():
            return sent
        names = [gate.name for gate in spending for _ in range(EVENTS_A_TICK)]
        names += list(itertools.islice(busy, TURN))
        events = [
            {"event_id": f"e{next(numbers)}", "event_name": "call", "external_customer_id": name}
            for name in names
        ]
        answer = client.post("/v1/events/bulk", content=json.dumps({"events": events}))
        assert answer.status_code == 202, answer.text
        now = time.perf_counter()
        for gate in spending:
            gate.accepted_at += [now] * EVENTS_A_TICK
        sent += len(events)
        time.sleep(max(0.0, begun + tick * TICK_SECONDS - time.perf_counter()))
    return sent


def watch(stores: SqlStores, claims: SqlClaims, gates: list[Gate], stop: threading.Event) -> float:
    """Read balances until nobody may spend any more; return how long a round took at most."""
    longest = 0.0
    while any(gate.is_open or gate.shown < len(gate.accepted_at) for gate in gates):
        begun = time.perf_counter()
        if stop.is_set():
            break
        for gate in gates:
            (held,) = balance_of(stores, claims, gate.customer_id, datetime.now(UTC)).balances
            gate.show(held.real_time_balance, time.perf_counter())
        longest = max(longest, time.perf_counter() - begun)
        time.sleep(0.005)
    return longest


def stocked(folder: str) -> None:
    """Put all customers with their wallets into a new store, in one transaction, as the API would."""
    path = Path(folder) / "everybody.yaml"
    path.write_text(catalog())
    found = load_catalog(str(path))
    at = datetime.now(UTC)
    database = open_sql(Settings(data=f"{folder}/data"), at)
    with SqlStores(database, SCOPE).together() as held:
        wake = {each.payer_id: each.start_date for each in found.subscriptions}
        held.commit(
            Changes(customers=found.customers, subscriptions=found.subscriptions, wake=wake)
        )
        for opening in found.wallets:
            (credited,) = opening.top_ups
            posted = open_wallet(
                opening.request,
                wallet_id=opening.id,
                customer_id=opening.customer_id,
                existing=(),
                at=opening.at,
            )
            held.commit(Changes(posted=(posted,)))
            filled = top_up(posted.holdings, credited.request, credited.at)
            held.commit(Changes(posted=(filled,)))
    database.close()


def quantile(values: list[float], share: float) -> float:
    """Return the value that so much of them is not above."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def main() -> None:
    """Measure, print, and end with 1 if the bound does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.yaml"
        path.write_text(SOLD)
        stocked(folder)
        begun = time.perf_counter()
        process = subprocess.Popen(
            [TALLY, "dev", "--port", "0", "--data", f"{folder}/data", "--catalog", str(path)],
            env={**os.environ, "TALLY_API_KEY": KEY},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        print(f"start with {len(NAMES):,} customers    {time.perf_counter() - begun:.2f} s")
        database = open_database(f"sqlite:///{folder}/data/tally.db")
        stores, claims = SqlStores(database, SCOPE), SqlClaims(database, SCOPE)
        ids = {name: customer for customer, name in claims.customers().items()}
        while any(claims.claims_of(ids[name]) is None for name in (NAMES[0], NAMES[-1])):
            time.sleep(0.05)
        print(f"all balances known           {time.perf_counter() - begun:.2f} s")
        while stores.due_customers(datetime.now(UTC), 1):
            time.sleep(0.05)
        print(f"first pass over everybody    {time.perf_counter() - begun:.2f} s")
        gates = [
            Gate(name, ids[name], CREDITS + number) for number, name in enumerate(NAMES[:GATED])
        ]
        stop = threading.Event()
        timer = threading.Timer(SECONDS_MAX, stop.set)
        timer.start()
        rounds: list[float] = []
        watching = threading.Thread(
            target=lambda: rounds.append(watch(stores, claims, gates, stop)), daemon=True
        )
        watching.start()
        spent = time.perf_counter()
        with httpx.Client(base_url=url, headers={"x-api-key": KEY}, timeout=30) as client:
            sent = send(client, gates, stop)
            rate = sent / (time.perf_counter() - spent)
            watching.join()
            metrics = client.get("/metrics").text
        timer.cancel()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        report(gates, rate, rounds[0], metrics)
        if stop.is_set() or not holds(gates, rounds[0]):
            sys.exit("the bound does not hold")


def report(gates: list[Gate], rate: float, round_seconds: float, metrics: str) -> None:
    """Print what was measured."""
    lags = [lag for gate in gates for lag in gate.lags]
    beyond = [gate.beyond() for gate in gates]
    print(f"sent                         {rate:,.0f} events/s, {BUSY:,} customers busy")
    print(
        f"accepted → balance           p50 {statistics.median(lags):.2f} s, "
        f"p95 {quantile(lags, 0.95):.2f} s, greatest {max(lags):.2f} s"
    )
    print(f"reading {GATED} balances          at most {round_seconds:.3f} s")
    print(
        f"beyond zero                  {statistics.median(beyond):.0f} events in the median, "
        f"{max(beyond)} at most: {max(beyond) * PRICE} usd, "
        f"at {EVENTS_A_TICK / TICK_SECONDS:.0f} events/s a customer"
    )
    for name in ("usage", "balance"):
        found = {
            part: float(line.rsplit(" ", 1)[1])
            for part in ("sum", "count")
            for line in metrics.splitlines()
            if line.startswith(f"tally_event_to_{name}_seconds_{part}")
        }
        mean = found["sum"] / found["count"]
        print(f"exported: accepted → {name:9} mean {mean:.2f} s of {found['count']:,.0f} events")


def holds(gates: list[Gate], round_seconds: float) -> bool:
    """Tell whether nobody passed zero by more than came within the lag, the reading and a request."""
    for gate in gates:
        zero = gate.accepted_at[int(gate.credits / PRICE) - 1]
        bound = zero + max(gate.lags) + round_seconds + 2 * TICK_SECONDS
        if any(at > bound for at in gate.accepted_at):
            return False
    return True


if __name__ == "__main__":
    main()
