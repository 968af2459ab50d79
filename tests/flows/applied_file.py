"""A catalog file and an instance on SQLite that it is applied to, for tests of applying."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from billing.stores.database import Database
from billing.stores.models import Model
from billing.stores.money import SqlStores
from billing.stores.objects import SqlObjects
from flows.applying import ApplyReport, apply_catalog
from flows.catalog import Catalog, load_catalog
from flows.catalog_differences import Action
from schemas.object_query import Query
from schemas.price import Price
from schemas.scope import Scope

SCOPE = Scope("tenant_default", "env_development")
NOW = datetime(2026, 2, 15, 12, tzinfo=UTC)

FEE = (
    "{lookup_key: fee, type: FIXED, billing_model: FLAT_FEE, amount: %s, currency: usd, "
    "billing_period: %s, invoice_cadence: ADVANCE%s}"
)
SLAB = (
    "{type: USAGE, meter: tokens, billing_model: TIERED, tier_mode: SLAB, currency: usd, "
    'billing_period: MONTHLY, tiers: [{up_to: 1000, unit_amount: "%s"}, {unit_amount: "0.01"}]}'
)
FILE = """
meters: [{name: Tokens, lookup_key: tokens, event_name: llm, aggregation: {type: SUM, field: n}}]
features:
  - {name: %(feature)s, lookup_key: tokens, type: metered, meter: tokens, metadata: {team: a}}
  - {name: Support, lookup_key: support, type: %(support)s}
coupons: [{name: Ten, coupon_code: TEN, type: percentage, percentage_off: 10, cadence: forever}]
taxes: [{name: VAT, code: vat, percentage_value: 19}]
plans:
  - name: Pro
    lookup_key: pro
    prices: [%(fee)s, %(slab)s]
    entitlements: [{feature: tokens, usage_limit: %(limit)s, usage_reset_period: MONTHLY}]
    credit_grants:
      - {name: Welcome, credits: 5, cadence: ONETIME, expiration_type: NEVER}
customers:
  - external_id: acme
    name: Acme
    email: a@example.com
    tax_rate_overrides: [{tax_rate_code: vat, currency: usd}]
subscriptions:
  - customer: acme
    plan: pro
    start_date: "2026-01-01T00:00:00Z"
    coupons: [TEN]
wallets:
  - customer: acme
    currency: usd
    alert_settings: {alert_enabled: true, critical: {threshold: 5, condition: below}}
    top_ups:
      - {credits_to_add: 50, at: "2026-01-01T00:00:00Z"}
      - {credits_to_add: 7, at: "2026-03-01T00:00:00Z"}
changes: %(changes)s
"""
PRICE_CHANGE = '{at: "2026-03-01T00:00:00Z", price: fee, route: update, body: {amount: 30}}'
CANCELLATION = (
    '{at: "2026-03-05T00:00:00Z", subscription: acme/pro, route: cancel, '
    "body: {cancellation_type: immediate, reason: moved}}"
)


@dataclass
class Instance:
    """An instance on SQLite, and the file that is applied to it."""

    database: Database
    folder: Path

    @property
    def stores(self) -> SqlStores:
        return SqlStores(self.database, SCOPE)

    @property
    def objects(self) -> SqlObjects:
        return SqlObjects(self.database, SCOPE)

    def load(self, **values: str) -> Catalog:
        path = self.folder / "catalog.yaml"
        path.write_text(text_of(**values))
        return load_catalog(str(path))

    def apply(self, at: datetime = NOW, *, dry_run: bool = False, **values: str) -> ApplyReport:
        loaded = self.load(**values)
        return apply_catalog(self.stores, self.objects, loaded, at, dry_run=dry_run)

    def rows(self) -> dict[str, list[Any]]:
        """Return every row of every table."""
        with self.database.reading() as session:
            return {
                table.name: [tuple(row) for row in session.execute(select(table))]
                for table in Model.metadata.sorted_tables
            }

    def chain(self) -> list[Price]:
        """Return the versions of the fee, in order."""
        rows = self.objects.prices.page(Query()).rows
        fees = [each.record for each in rows if each.record.lookup_key == "fee"]
        return sorted(fees, key=lambda each: each.sequence or 0)


def text_of(
    *,
    amount: str = "20",
    period: str = "MONTHLY",
    more: str = "",
    unit: str = "0.02",
    limit: str = "500",
    feature: str = "Tokens",
    support: str = "boolean",
    changes: str = "[]",
    fee: str = "",
) -> str:
    return FILE % {
        "fee": fee or FEE % (amount, period, more),
        "slab": SLAB % unit,
        "limit": limit,
        "feature": feature,
        "support": support,
        "changes": changes,
    }


def told(report: ApplyReport, *, but: Action = Action.UNCHANGED) -> list[tuple[str, str, str, str]]:
    """Return what a report says beyond what is unchanged."""
    return [
        (each.kind, each.name, str(each.action), each.sentence())
        for each in report.differences
        if each.action is not but
    ]


NEW = [
    ("meter", "tokens", "create", ""),
    ("feature", "tokens", "create", ""),
    ("feature", "support", "create", ""),
    ("coupon", "TEN", "create", ""),
    ("tax rate", "vat", "create", ""),
    ("plan", "pro", "create", ""),
    ("price", "pro/fee", "create", ""),
    ("price", "pro/1", "create", ""),
    ("entitlement", "pro/tokens", "create", ""),
    ("credit grant", "pro/Welcome", "create", ""),
    ("customer", "acme", "create", ""),
    ("tax association", "acme/vat", "create", ""),
    ("wallet", "acme/usd/PRE_PAID", "create", ""),
    ("top-up", "acme/usd/PRE_PAID 2026-01-01 00:00:00Z", "create", ""),
    ("top-up", "acme/usd/PRE_PAID 2026-03-01 00:00:00Z", "waits", "for its time"),
    ("subscription", "acme/pro", "create", ""),
]
WAITING = [NEW[14]]
