"""A whole application over SQLite stores, with usage as a test lists it and a clock that it moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import count

from billing.api.environment import Environment
from billing.ports import UsageQuantity
from billing.ports.claims import CustomerClaims
from billing.stores.claims import SqlClaims
from billing.stores.database import Database
from billing.stores.money import SqlStores
from billing.stores.money_reading import MoneyReader
from billing.stores.objects import SqlObjects
from billing.stores.settings import RememberedSettings, SqlSettings
from billing.stores.webhooks import SqlWebhooks
from billing.use_cases.passes import run_pass
from billing.wallets.running_charges import keep, running
from schemas.ids import CustomerId
from schemas.meter import Meter
from schemas.period import Interval
from schemas.scope import Scope


@dataclass
class EventUsage:
    """Usage as quantities of events: (event name, external customer, at, value), added up."""

    events: list[tuple[str, str, datetime, Decimal]] = field(default_factory=list)

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return the sum of what the meter's events have in the interval."""
        del timezone, billing_anchor
        found = [
            value
            for name, customer, at, value in self.events
            if name == meter.event_name and customer in external_customer_ids and interval.holds(at)
        ]
        signed = sum(found, Decimal(0))
        return UsageQuantity(max(signed, Decimal(0)), signed, len(found))


class Kept:
    """What an application keeps, scope by scope, in one database."""

    def __init__(self, database: Database, start: datetime) -> None:
        self.database = database
        self.now = start
        self.usage = EventUsage()
        self._numbers = count(1)
        self._environments: dict[Scope, Environment] = {}

    def environment(self, scope: Scope) -> Environment:
        """Return what is kept of a scope."""
        if scope not in self._environments:
            settings = RememberedSettings(SqlSettings(self.database, scope), seconds=0)
            self._environments[scope] = Environment(
                stores=SqlStores(self.database, scope, settings.config),
                reader=MoneyReader(self.database, scope),
                objects=SqlObjects(self.database, scope),
                settings=settings,
                claims=SqlClaims(self.database, scope),
                webhooks=SqlWebhooks(self.database, scope),
                usage=self.usage,
                new_id=self.new_id,
            )
        return self._environments[scope]

    def new_id(self, prefix: str) -> str:
        """Return ids in the order in which they are made."""
        return f"{prefix}_{next(self._numbers):026}"

    def spend(self, event_name: str, customer: str, value: str, at: datetime | None = None) -> None:
        """Let a customer use something, and the dataflow take note of it."""
        self.usage.events.append((event_name, customer, at or self.now, Decimal(value)))

    def flow(self, scope: Scope) -> None:
        """Do what the billing dataflow does at an instant: the pass, then claims and alerts."""
        kept = self.environment(scope)
        while run_pass(kept.stores, lambda _: self.usage, self.now).more:
            pass
        for name in kept.claims.customers():
            customer = CustomerId(name)
            found = running(kept.stores, self.usage, customer, self.now)
            keep(kept.stores, found)
            claims = CustomerClaims(customer, found.claims, self.now, self.now)
            kept.claims.put([claims], kept.claims.changed())
        kept.claims.progressed(0, 1, self.now)
