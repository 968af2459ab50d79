"""The catalog file, loaded: every object checked and joined with what it names.

`load_catalog` reads the file exactly, tells all problems of a phase together, each with its path in
the file, and returns records with derived ids, so that the same file gives the same ids everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from billing.wallets.opening import WalletOpening
from flows.catalog_accounts import (
    resolve_customers,
    resolve_subscriptions,
    resolve_wallets,
)
from flows.catalog_changes import ChangesOf, Named, as_facts, resolve_changes
from flows.catalog_names import Findings
from flows.catalog_problems import refusal, shape_problems
from flows.catalog_products import resolve_features, resolve_meters, resolve_plans
from flows.catalog_terms import resolve_offered
from flows.documents import read_document
from schemas.catalog import CatalogFile
from schemas.coupon import Coupon
from schemas.customer import Customer
from schemas.meter import Meter
from schemas.subscription import Feature, Plan, Subscription
from schemas.tax import TaxAttachment, TaxRate


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a file defines, in the order of the file, all in one tenant and environment.

    `names` tells how the file calls a meter, customer, plan or subscription by its id,
    `customer_taxes` which taxes are attached to a customer by its external id. `agreed` are the
    subscriptions before anything changes them, `changes` what happens later to each customer's;
    `subscriptions` are the same with the cancellations that are planned for them.
    """

    meters: tuple[Meter, ...] = ()
    features: tuple[Feature, ...] = ()
    plans: tuple[Plan, ...] = ()
    customers: tuple[Customer, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    wallets: tuple[WalletOpening, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    coupons: tuple[Coupon, ...] = ()
    taxes: tuple[TaxRate, ...] = ()
    customer_taxes: Mapping[str, tuple[TaxAttachment, ...]] = field(default_factory=dict)
    agreed: tuple[Subscription, ...] = ()
    changes: ChangesOf = field(default_factory=dict)


def load_catalog(path: str) -> Catalog:
    """Return the catalog of a YAML or JSON file.

    Raises InputUnreadable if the file cannot be read, and ValidationFailed with one line a problem:
    file, path in the file, and what was expected there.
    """
    document = read_document(path)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise refusal(path, [((), "expected a mapping with meters, plans, customers and so on")])
    try:
        file = CatalogFile.model_validate(document, extra="forbid")
    except ValidationError as error:
        raise refusal(path, shape_problems(CatalogFile, error)) from error
    return resolved(file, Findings(path))


def resolved(file: CatalogFile, found: Findings) -> Catalog:
    """Return the catalog of a file whose shape is right; raises as `load_catalog` does."""
    meters = resolve_meters(file, found)
    features = resolve_features(file, meters, found)
    customers = resolve_customers(file, found)
    plans = resolve_plans(file, meters, features, found)
    offered = resolve_offered(file, found)
    subscriptions = resolve_subscriptions(file, customers, plans, offered, found)
    wallets = resolve_wallets(file, customers, subscriptions, found)
    named = Named(customers, plans, subscriptions, meters, wallets)
    changes = resolve_changes(file, named, found)
    agreed = tuple(subscriptions.by_key.values())
    kinds = (meters.by_key, customers.by_key, plans.by_key, subscriptions.by_key)
    return Catalog(
        tuple(meters.by_key.values()),
        tuple(features.by_key.values()),
        tuple(plans.by_key.values()),
        tuple(customers.by_key.values()),
        as_facts(agreed, changes),
        wallets,
        {thing.id: key for by_key in kinds for key, thing in by_key.items()},
        tuple(offered.coupons.by_key.values()),
        tuple(offered.rates.by_key.values()),
        offered.inherited,
        agreed,
        changes,
    )
