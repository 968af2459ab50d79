"""Answers about coupons, with the fields of api-fields.md."""

from typing import TYPE_CHECKING

from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireTime
from schemas.api.words import CouponCadence, CouponType

if TYPE_CHECKING:
    from schemas.api.answers.subscriptions import SubscriptionLineItemResponse


class CouponResponse(Record):
    """A coupon, with how often it was redeemed."""

    name: str
    coupon_code: IfSet[str] = None
    type: CouponType
    cadence: CouponCadence
    amount_off: WireDecimal | None
    percentage_off: WireDecimal | None
    currency: str
    duration_in_periods: int | None
    max_redemptions: int | None
    total_redemptions: int
    redeem_after: WireTime | None
    redeem_before: WireTime | None
    rules: dict[str, object] | None
    metadata: dict[str, str]


class CouponDeleted(ApiAnswer):
    """That a coupon was archived."""

    message: str


class CouponAssociationResponse(Record):
    """A coupon that was granted to a subscription or to one of its lines."""

    coupon_id: str
    coupon: IfSet[CouponResponse] = None
    subscription_id: str
    subscription_line_item_id: IfSet[str] = None
    subscription_line_item: "IfSet[SubscriptionLineItemResponse]" = None
    subscription_phase_id: IfSet[str] = None
    start_date: WireTime
    end_date: IfSet[WireTime] = None
    metadata: IfSet[dict[str, str]] = None


class ListCouponsResponse(ApiAnswer):
    """A page of coupons."""

    items: list[CouponResponse]
    pagination: PaginationResponse


class ListCouponAssociationsResponse(ApiAnswer):
    """A page of attachments of coupons."""

    items: list[CouponAssociationResponse]
    pagination: PaginationResponse
