"""Applying a catalog file to an instance: what it changes is found first, shown, and then written.

Applying again changes nothing. What a file refuses is found before anything is written. Objects are
written in the order in which they name each other, a plan with its prices in one transaction;
what was cut off is gone on with by applying again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from billing.catalog import hanging_on, live
from billing.ports import Stores
from billing.ports.objects import Objects
from flows.catalog import Catalog
from flows.catalog_account_differences import Accounts, Step, wallet_name
from flows.catalog_change_differences import change_steps
from flows.catalog_changes import as_facts
from flows.catalog_differences import Action, Comparison, Difference, Planned
from flows.catalog_names import ENVIRONMENT, TENANT, identity
from flows.catalog_price_differences import PriceComparison
from schemas.errors import InvalidOperation
from schemas.ids import PlanId
from schemas.scope import Scope
from schemas.subscription import Plan
from schemas.tax import TaxAssociation, TaxAttachmentId, TaxEntityType

CATALOG_SCOPE = Scope(TENANT, ENVIRONMENT)
# The kinds of which all live objects are told that the file does not have.
OFFERED = ("meters", "features", "coupons", "tax_rates", "plans")


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What a file came to: every difference in the order of writing, as of an instant."""

    at: datetime
    differences: tuple[Difference, ...]

    @property
    def refused(self) -> tuple[Difference, ...]:
        """Return what cannot be done; if anything is refused, nothing was written."""
        return tuple(each for each in self.differences if each.action is Action.REFUSED)

    def check(self) -> None:
        """Raise InvalidOperation with one line for each refusal, if there is any."""
        if self.refused:
            lines = (f"{each.kind} {each.name}: {each.note}" for each in self.refused)
            raise InvalidOperation("\n".join(lines))


def apply_catalog(
    stores: Stores,
    objects: Objects,
    catalog: Catalog,
    at: datetime,
    *,
    scope: Scope = CATALOG_SCOPE,
    dry_run: bool = False,
) -> ApplyReport:
    """Bring an environment to what a catalog file says, and report what that changed.

    `at` decides what of the file has come, and is when new versions of prices begin; whole seconds
    count. A dry run writes nothing and reports refusals instead of raising them. Raises
    InvalidOperation, before anything is written, with one line for each thing that the file cannot
    have; AlreadyExists and VersionConflict where somebody else was faster, and StoreError: then
    what was written stands, and applying again does the rest.
    """
    at = at.replace(microsecond=0)
    with objects.reading() as held:
        comparison = Comparison(held)
        compare_objects(comparison, catalog, scope, at)
    steps = tuple(account_steps(stores, objects, comparison.ids, catalog, at))
    differences = (
        *(each.difference for each in comparison.planned),
        *(each.difference for each in steps),
    )
    report = ApplyReport(at, differences)
    if dry_run:
        return report
    report.check()
    write_objects(objects, comparison.planned, at)
    for step in steps:
        if step.act is not None:
            step.act()
    return report


def compare_objects(comparison: Comparison, catalog: Catalog, scope: Scope, at: datetime) -> None:
    """Note what becomes of every object of a catalog, those first that others name."""
    for meter in catalog.meters:
        mine = replace(meter, tenant_id=scope.tenant_id, environment_id=scope.environment_id)
        comparison.compare("meters", mine, catalog.names[meter.id])
    for feature in catalog.features:
        comparison.compare("features", feature, feature.lookup_key)
    for coupon in catalog.coupons:
        comparison.compare("coupons", coupon, coupon.coupon_code or coupon.name)
    for rate in catalog.taxes:
        comparison.compare("tax_rates", rate, rate.code)
    for plan in catalog.plans:
        compare_plan(comparison, catalog, plan, at)
    for kind in OFFERED:
        comparison.note_others(kind)
    compare_customers(comparison, catalog)


def compare_plan(comparison: Comparison, catalog: Catalog, plan: Plan, at: datetime) -> None:
    """Note what becomes of a plan and of all that hangs on it, in one transaction."""
    name = catalog.names[plan.id]
    bare = replace(plan, prices=(), entitlements=(), meters={}, credit_grants=())
    plan_id = comparison.compare("plans", bare, name, f"plan {_stored_plan(comparison, bare)}")
    together = f"plan {plan_id}"
    PriceComparison(comparison, plan_id, name, at).compare(plan.prices)
    features = {each.id: each.lookup_key for each in catalog.features}
    for entitlement in plan.entitlements:
        mine = replace(entitlement, entity_id=plan_id)
        label = f"{name}/{features[entitlement.feature_id]}"
        comparison.compare("entitlements", mine, label, together)
    for number, grant in enumerate(plan.credit_grants):
        given = replace(grant, plan_id=plan_id)
        comparison.compare("credit_grants", given, f"{name}/{grant.name or number}", together)
    for kind in ("entitlements", "credit_grants"):
        hanging = live(getattr(comparison.objects, kind), hanging_on(plan_id))
        comparison.note_others(kind, hanging)


def _stored_plan(comparison: Comparison, plan: Plan) -> PlanId:
    """Return the id that a plan of the file has in the store, or will have."""
    found = comparison.found("plans", plan)
    return plan.id if found is None else found.record.id


def compare_customers(comparison: Comparison, catalog: Catalog) -> None:
    """Note what becomes of the customers, each with its taxes; others are not told of by name."""
    for customer in catalog.customers:
        together = f"customer {customer.external_id}"
        owner = comparison.compare("customers", customer, customer.external_id, together)
        for each in catalog.customer_taxes.get(customer.external_id, ()):
            association = TaxAssociation(
                TaxAttachmentId(identity("tax_assoc", owner, each.rate.id)),
                each.rate.id,
                TaxEntityType.CUSTOMER,
                owner,
                each.priority,
                each.auto_apply,
                each.currency,
                inclusive=each.inclusive,
            )
            label = f"{customer.external_id}/{each.rate.code}"
            comparison.compare("tax_associations", association, label, together)


def account_steps(
    stores: Stores, objects: Objects, ids: Mapping[str, str], catalog: Catalog, at: datetime
) -> Iterator[Step]:
    """Yield what becomes of wallets, which subscriptions take from, of those, and then of changes."""
    accounts = Accounts(stores, objects, ids, at)
    for opening in catalog.wallets:
        yield from accounts.wallet_steps(opening, wallet_name(opening, catalog.names))
    due = {
        owner: tuple(each for each in planned if each.at <= at)
        for owner, planned in catalog.changes.items()
    }
    for record in as_facts(catalog.agreed, due):
        yield accounts.subscription_step(record, record.lookup_key)
    yield from change_steps(stores, accounts, catalog, at)


def write_objects(objects: Objects, planned: list[Planned], at: datetime) -> None:
    """Write objects in their order, those that belong together in one transaction."""
    writing = (each for each in planned if each.writes)
    for _, together in groupby(writing, key=lambda each: each.together):
        with objects.writing() as held:
            for each in together:
                for write in each.writes:
                    write.apply(held, at)
