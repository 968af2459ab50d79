"""What subscriptions carry of the catalog, for those who change the catalog."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from schemas.coupon import CouponId
from schemas.ids import PlanId, SubscriptionId
from schemas.subscription import Subscription
from schemas.tax import TaxRateId


class AttachedReader(Protocol):
    """Finds subscriptions by what hangs on them, drafts and cancelled ones too, by their ids."""

    def subscriptions_to(self, plan_id: PlanId) -> Sequence[Subscription]:
        """Return the subscriptions of a plan."""
        ...

    def taxed(self, rate_id: TaxRateId | None = None) -> Sequence[Subscription]:
        """Return the subscriptions that a tax rate is attached to; without one, any at all."""
        ...

    def naming(self, name: str) -> Sequence[Subscription]:
        """Return the subscriptions that have an id anywhere in them."""
        ...

    def with_coupons(
        self, coupon_ids: Collection[CouponId], subscription_ids: Collection[SubscriptionId]
    ) -> Sequence[Subscription]:
        """Return the subscriptions that have redeemed coupons: of these, and among those.

        What is empty asks for all.
        """
        ...

    def redemptions(self, coupon_ids: Collection[CouponId]) -> Mapping[CouponId, int]:
        """Return how often coupons were redeemed; those that never were are left out."""
        ...
