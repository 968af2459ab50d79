"""Coupons: changed, archived, and found where they are attached (billing.md 13, api.md 4.19)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from billing.ports.attached import AttachedReader
from billing.ports.objects import Objects
from billing.use_cases.found import subject
from schemas.coupon import Coupon, CouponAttachment, CouponId
from schemas.errors import NotFound
from schemas.ids import SubscriptionId
from schemas.stored import Status, Stored, changed
from schemas.subscription import Subscription, SubscriptionLine, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Attached:
    """A coupon on a subscription, or on one of its lines: the version of it in force, or the last."""

    subscription: Subscription
    attachment: CouponAttachment
    line: SubscriptionLine | None = None

    def is_active(self, at: datetime) -> bool:
        """Tell whether it is in force at an instant, on a subscription that goes on."""
        end = self.attachment.end_date
        begun = self.attachment.start_date <= at and (end is None or at < end)
        return begun and self.subscription.status is not SubscriptionStatus.CANCELLED


def update_coupon(
    objects: Objects, coupon_id: str, changes: Mapping[str, Any], *, at: datetime, by: str
) -> Stored[Coupon]:
    """Change how a coupon is called; a change of nothing writes nothing. Raises NotFound."""
    with objects.writing() as inside:
        before = subject(inside.coupons, coupon_id, "coupon")
        record = replace(before.record, **changes)
        if record == before.record:
            return before
        after = changed(before, record, at, by)
        inside.coupons.replace(after)
    return after


def archive_coupon(objects: Objects, coupon_id: str, *, at: datetime, by: str) -> None:
    """Archive a coupon, which frees its code; what was granted stays granted. Raises NotFound."""
    with objects.writing() as inside:
        before = subject(inside.coupons, coupon_id, "coupon")
        inside.coupons.replace(changed(before, before.record, at, by, Status.ARCHIVED))


def attachments(
    attached: AttachedReader,
    at: datetime,
    *,
    coupon_ids: Collection[CouponId] = (),
    subscription_ids: Collection[SubscriptionId] = (),
) -> tuple[Attached, ...]:
    """Return the attachments of some coupons to some subscriptions, the newest first.

    What is empty asks for all; lines are those in force at an instant.
    """
    found = [
        _attached(subscription, each, at)
        for subscription in attached.with_coupons(coupon_ids, subscription_ids)
        for each in subscription.coupons
        if not coupon_ids or each.coupon.id in coupon_ids
    ]
    return tuple(sorted(found, key=_newest, reverse=True))


def attachment_of(attached: AttachedReader, attachment_id: str, at: datetime) -> Attached:
    """Return an attachment by its id. Raises NotFound."""
    for subscription in attached.naming(attachment_id):
        for each in subscription.coupons:
            if each.id == attachment_id:
                return _attached(subscription, each, at)
    raise NotFound(f"there is no coupon attachment {attachment_id}")


def _newest(each: Attached) -> tuple[datetime, str]:
    return each.subscription.created_at or each.attachment.start_date, each.attachment.id


def _attached(subscription: Subscription, attachment: CouponAttachment, at: datetime) -> Attached:
    """Return an attachment with the version of its line that is in force, or else with the last."""
    chain = [each for each in subscription.lines if each.chain_id == attachment.chain_id]
    begun = [each for each in chain if each.start_date <= at]
    line = max(begun or chain, key=lambda each: each.start_date, default=None)
    return Attached(subscription, attachment, line)
