"""Credit grants of a catalog file: those of plans, which are templates, and of subscriptions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from billing.wallets.credit_grants import check_start, check_template, check_terms, grant_from
from billing.wallets.opening import WalletOpening
from flows.catalog_names import Findings, identity
from schemas.catalog_products import CatalogCreditGrant, CatalogPlan
from schemas.credit_grant import CreditGrant, CreditGrantId, GrantScope
from schemas.decimals import plain
from schemas.errors import ValidationFailed
from schemas.subscription import Subscription
from schemas.wallet import WalletType


def plan_grants(plan: CatalogPlan, index: int, found: Findings) -> Iterator[CreditGrant]:
    """Yield the credit grants of a plan; a subscription has each from its start on."""
    key = plan.lookup_key or plan.name
    for number, entry, grant_id in _named(plan.credit_grants, "plan", key):
        with found.at("plans", index, "credit_grants", number):
            check_terms(entry)
            check_template(entry)
            yield grant_from(entry, grant_id=grant_id, scope=GrantScope.PLAN)


def with_grants(
    subscription: Subscription, entries: Sequence[CatalogCreditGrant], index: int, found: Findings
) -> Subscription:
    """Return a subscription with the grants that it has beside its plan's.

    One without a start_date starts with the subscription, or after its trial.
    """
    grants = []
    for number, entry, grant_id in _named(entries, "subscription", subscription.lookup_key):
        with found.at("subscriptions", index, "credit_grants", number):
            check_terms(entry)
            start = entry.start_date or subscription.starts_at
            check_start(start, subscription.start_date, subscription.end_date)
            if entry.end_date is not None and entry.end_date <= start:
                raise ValidationFailed("must be after start_date", field="end_date")
            grant = grant_from(entry, grant_id=grant_id, scope=GrantScope.SUBSCRIPTION)
            grants.append(replace(grant, subscription_id=subscription.id, start_date=start))
    return replace(subscription, credit_grants=(*subscription.credit_grants, *grants))


def _named(
    entries: Iterable[CatalogCreditGrant], kind: str, key: str
) -> Iterator[tuple[int, CatalogCreditGrant, CreditGrantId]]:
    """Yield grants with their ids, which follow from their names and not from their order."""
    seen: Counter[str] = Counter()
    for number, entry in enumerate(entries):
        grant_id = CreditGrantId(identity("cg", kind, key, entry.name, seen[entry.name]))
        seen[entry.name] += 1
        yield number, entry, grant_id


def check_rates(
    subscriptions: Iterable[Subscription], openings: Iterable[WalletOpening], found: Findings
) -> None:
    """Note each grant whose rate is not that of the wallet which its credits go to.

    Nothing converts, so the credits would never come: a bill must not be silent about that.
    """
    rates = {
        (each.customer_id, each.request.currency.lower()): each.request.conversion_rate
        or Decimal(1)
        for each in openings
        if each.request.wallet_type is WalletType.PRE_PAID
    }
    given = [
        (grant.start_date, grant.id, index, subscription, grant)
        for index, subscription in enumerate(subscriptions)
        for grant in subscription.credit_grants
        if grant.start_date is not None
    ]
    # The first grant opens the wallet, if nobody else does.
    for _, _, index, subscription, grant in sorted(given, key=lambda each: each[:2]):
        owner = subscription.customer_id, subscription.currency.lower()
        rate = rates.setdefault(owner, grant.conversion_rate or Decimal(1))
        if grant.conversion_rate not in (None, rate):
            text = f"the wallet that the credits go to has the rate {plain(rate)}"
            with found.at("subscriptions", index):
                raise ValidationFailed(text, field="credit_grants.conversion_rate")
    found.end_phase()
