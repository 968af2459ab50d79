"""Coupons and taxes of a catalog file: checked, and attached to the subscriptions that name them.

A file has no "now", so a coupon is redeemed at the start of the subscription that it is granted to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from billing.invoices.coupons import attach, redeem
from billing.invoices.taxes import agreed
from flows.catalog_names import Findings, Names, identity
from schemas.catalog import CatalogCoupon, CatalogFile, CatalogSubscription, CatalogTaxRateOverride
from schemas.coupon import Coupon, CouponAttachment, coupon_faults, coupon_from
from schemas.errors import ValidationFailed
from schemas.ids import SubscriptionLineId
from schemas.subscription import Plan, Subscription
from schemas.tax import TaxAttachment, TaxRate, tax_attachment_from, tax_rate_from

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """The coupons, called by their codes in lower case, and the tax rates of a file.

    `redeemed` keeps who has redeemed each coupon so far, `inherited` the taxes of each customer by
    its external id.
    """

    coupons: Names[Coupon]
    rates: Names[TaxRate]
    redeemed: dict[str, frozenset[str]] = field(default_factory=dict)
    inherited: dict[str, tuple[TaxAttachment, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A coupon that a subscription names, and where; for the line of a price, if one is named."""

    place: Place
    coupon: str
    price: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None


def resolve_offered(file: CatalogFile, found: Findings) -> Offered:
    """Return the coupons and tax rates, with the taxes of the customers."""
    offered = Offered(Names("coupon"), Names("tax rate"))
    for index, entry in enumerate(file.coupons):
        with found.at("coupons", index):
            coupon = coupon_of(entry, index, found)
            code_field = "coupon_code" if entry.coupon_code else "name"
            key = (entry.coupon_code or entry.name).lower()
            if coupon is not None:
                offered.coupons.add(coupon, key=key, name=entry.name, key_field=code_field)
    for index, rate in enumerate(file.taxes):
        with found.at("taxes", index):
            made = tax_rate_from(rate, id=identity("tax", rate.code))
            offered.rates.add(made, key=rate.code, name=rate.name, key_field="code")
    found.end_phase()
    for index, customer in enumerate(file.customers):
        place = ("customers", index, "tax_rate_overrides")
        overrides, owner = customer.tax_rate_overrides, customer.external_id
        offered.inherited[owner] = attached(overrides, owner, offered.rates, place, found)
    found.end_phase()
    return offered


def coupon_of(entry: CatalogCoupon, index: int, found: Findings) -> Coupon | None:
    """Return the record of a coupon; None, with every fault noted, if it has any."""
    faults = coupon_faults(entry.model_dump(exclude_none=True))
    for fault in faults:
        found.problems.append((("coupons", index, fault.field), fault.problem))
    name = identity("coupon", (entry.coupon_code or entry.name).lower())
    return None if faults else coupon_from(entry, id=name)


def attached(
    overrides: list[CatalogTaxRateOverride],
    owner: str,
    rates: Names[TaxRate],
    place: Place,
    found: Findings,
) -> tuple[TaxAttachment, ...]:
    """Return the taxes of a customer or a subscription; each rate is attached at most once."""
    made: dict[str, TaxAttachment] = {}
    for index, override in enumerate(overrides):
        with found.at(*place, index):
            rate = rates.find(override.tax_rate_code, key_field="tax_rate_code")
            if rate.id in made:
                raise ValidationFailed("is attached already", field="tax_rate_code")
            name = identity("tax_assoc", owner, rate.id)
            made[rate.id] = tax_attachment_from(override, rate, id=name)
    return tuple(made.values())


def with_terms(
    subscription: Subscription,
    entry: CatalogSubscription,
    index: int,
    plan: Plan,
    *,
    offered: Offered,
    found: Findings,
) -> Subscription:
    """Return a subscription, with its lines, that has the coupons and taxes of its entry."""
    coupons: list[CouponAttachment] = []
    for each in _asked(entry):
        with found.at("subscriptions", index, *each.place):
            coupons.append(_granted(subscription, each, plan, offered))
    own = entry.tax_rate_overrides
    place = ("subscriptions", index, "tax_rate_overrides")
    taxes = None if own is None else attached(own, subscription.id, offered.rates, place, found)
    inherited = offered.inherited[subscription.external_customer_id]
    return replace(subscription, coupons=tuple(coupons), taxes=agreed(taxes, inherited))


def _asked(entry: CatalogSubscription) -> Iterator[_Asked]:
    """Yield the coupons that a subscription names, in the three ways of doing so."""
    for number, name in enumerate(entry.coupons):
        yield _Asked(("coupons", number), name)
    for price, names in entry.line_item_coupons.items():
        for number, name in enumerate(names):
            yield _Asked(("line_item_coupons", price, number), name, price)
    for number, each in enumerate(entry.subscription_coupons):
        yield _Asked(
            ("subscription_coupons", number),
            each.coupon_code,
            each.price,
            each.start_date,
            each.end_date,
        )


def _granted(
    subscription: Subscription, asked: _Asked, plan: Plan, offered: Offered
) -> CouponAttachment:
    """Redeem and attach a coupon. Raises ValidationFailed where one of the two is refused."""
    by_key = offered.coupons.by_key
    name = asked.coupon.lower() if asked.coupon.lower() in by_key else asked.coupon
    try:
        coupon = offered.coupons.find(name, key_field="coupon_code")
        chain = None if asked.price is None else chain_of(subscription, plan, asked.price)
        made = attach(
            coupon,
            subscription,
            chain_id=chain,
            start_date=asked.start_date,
            end_date=asked.end_date,
        )
        known = offered.redeemed.get(coupon.id, frozenset())
        redeemed = redeem(coupon, known, subscription.id, subscription.start_date)
    except ValidationFailed as error:
        # Only the long form has fields of its own; of a plain list the place says which it is.
        long = asked.place[0] == "subscription_coupons"
        raise ValidationFailed(str(error), field=error.field if long else None) from error
    offered.redeemed[coupon.id] = redeemed
    return made


def chain_of(subscription: Subscription, plan: Plan, key: str) -> SubscriptionLineId:
    """Return the chain of the line of a price, which is called by its lookup key in the plan."""
    name = identity("price", plan.lookup_key or plan.name, key)
    for line in subscription.lines:
        if name in (line.price.id, line.price.parent_price_id):
            return line.chain_id
    raise ValidationFailed(
        f"the subscription has no line of a price {key!r}; give the lookup_key of one",
        field="price",
    )
