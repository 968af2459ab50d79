"""Reading which subscriptions carry a plan, a coupon or a tax rate.

They carry them inside their records. Rows are chosen by the text of those, which is no more than a
first choice, and then looked at; redemptions have a table of their own.
"""

from collections.abc import Collection, Mapping
from operator import attrgetter

from sqlalchemy import Text, cast, func, select

from billing.stores.money_models import RedemptionRow, SubscriptionRow
from billing.stores.scoped import here
from billing.stores.scoped_reading import ScopedReader
from schemas.coupon import CouponId
from schemas.ids import PlanId, SubscriptionId
from schemas.subscription import Subscription
from schemas.tax import TaxRateId

# How a record begins to list taxes, if it has any.
SOME_TAX = '"taxes":[{'


class SqlAttachedReader(ScopedReader):
    """Finds subscriptions of one scope by what hangs on them, in the order of their ids."""

    def subscriptions_to(self, plan_id: PlanId) -> tuple[Subscription, ...]:
        """Return the subscriptions of a plan. Raises StoreError."""
        return tuple(each for each in self.naming(plan_id) if each.plan_id == plan_id)

    def taxed(self, rate_id: TaxRateId | None = None) -> tuple[Subscription, ...]:
        """Return the subscriptions that a tax rate, or any, is attached to. Raises StoreError."""
        if rate_id is None:
            return tuple(each for each in self._holding(SOME_TAX) if each.taxes)
        return tuple(
            each
            for each in self.naming(rate_id)
            if any(tax.rate.id == rate_id for tax in each.taxes)
        )

    def naming(self, name: str) -> tuple[Subscription, ...]:
        """Return the subscriptions that have an id anywhere in them. Raises StoreError."""
        return self._holding(f'"{name}"')

    def with_coupons(
        self, coupon_ids: Collection[CouponId], subscription_ids: Collection[SubscriptionId]
    ) -> tuple[Subscription, ...]:
        """Return the subscriptions that have redeemed some coupons. Raises StoreError."""
        redeemed = select(RedemptionRow.redeemed_by).where(here(RedemptionRow))
        if coupon_ids:
            redeemed = redeemed.where(RedemptionRow.coupon_id.in_(tuple(coupon_ids)))
        chosen = select(SubscriptionRow.record).where(
            here(SubscriptionRow), SubscriptionRow.id.in_(redeemed)
        )
        if subscription_ids:
            chosen = chosen.where(SubscriptionRow.id.in_(tuple(subscription_ids)))
        with self._reading() as transaction:
            return tuple(sorted(transaction.all(chosen), key=attrgetter("id")))

    def redemptions(self, coupon_ids: Collection[CouponId]) -> Mapping[CouponId, int]:
        """Return how often coupons were redeemed. Raises StoreError."""
        if not coupon_ids:
            return {}
        counted = (
            select(RedemptionRow.coupon_id, func.count().label("times"))
            .where(here(RedemptionRow), RedemptionRow.coupon_id.in_(tuple(coupon_ids)))
            .group_by(RedemptionRow.coupon_id)
        )
        with self._reading() as transaction:
            return {CouponId(row.coupon_id): row.times for row in transaction.rows(counted)}

    def _holding(self, part: str) -> tuple[Subscription, ...]:
        """Return the subscriptions whose records hold a text."""
        chosen = select(SubscriptionRow.record).where(
            here(SubscriptionRow),
            cast(SubscriptionRow.record, Text).contains(part, autoescape=True),
        )
        with self._reading() as transaction:
            return tuple(sorted(transaction.all(chosen), key=attrgetter("id")))
