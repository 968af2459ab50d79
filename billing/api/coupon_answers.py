"""Coupons and their attachments as answers show them."""

from billing.api.records import record_members
from billing.use_cases.coupons import Attached
from schemas.api.answers.coupons import CouponAssociationResponse, CouponResponse
from schemas.api.answers.subscriptions import SubscriptionLineItemResponse
from schemas.coupon import Coupon, CouponType
from schemas.scope import Scope
from schemas.stored import Status, Stored


def coupon_answer(stored: Stored[Coupon], scope: Scope, redeemed: int) -> CouponResponse:
    """Return a coupon, with how often it was redeemed."""
    coupon = stored.record
    fixed = coupon.type is CouponType.FIXED
    return CouponResponse(
        **record_members(stored, scope),
        name=coupon.name,
        coupon_code=coupon.coupon_code or None,
        type=coupon.type.value,
        cadence=coupon.cadence.value,
        amount_off=coupon.value if fixed else None,
        percentage_off=None if fixed else coupon.value,
        currency=coupon.currency,
        duration_in_periods=coupon.duration_in_periods,
        max_redemptions=coupon.max_redemptions,
        total_redemptions=redeemed,
        redeem_after=coupon.redeem_after,
        redeem_before=coupon.redeem_before,
        rules=None if coupon.rules is None else dict(coupon.rules),
        metadata=dict(coupon.metadata),
    )


def association_answer(
    attached: Attached,
    scope: Scope,
    coupon: CouponResponse | None = None,
    line: SubscriptionLineItemResponse | None = None,
) -> CouponAssociationResponse:
    """Return an attachment; it came with its subscription, and is as old as that."""
    subscription, attachment = attached.subscription, attached.attachment
    created_at = subscription.created_at or attachment.start_date
    return CouponAssociationResponse(
        id=attachment.id,
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        status=Status.PUBLISHED.value,
        created_at=created_at,
        updated_at=created_at,
        created_by="",
        updated_by="",
        coupon_id=attachment.coupon.id,
        coupon=coupon,
        subscription_id=subscription.id,
        subscription_line_item_id=None if attached.line is None else attached.line.id,
        subscription_line_item=line,
        start_date=attachment.start_date,
        end_date=attachment.end_date,
    )
