"""Requests about coupons, with the fields of api-fields.md."""

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiUpdate
from schemas.doors import MetadataField


class UpdateCouponRequest(ApiUpdate):
    """What a request says of: update coupon."""

    name: str | None = None
    metadata: MetadataField | None = None


class CouponFilter(ApiSearch):
    """What a search asks of: coupon."""

    coupon_ids: list[str] | None = None
    coupon_codes: list[str] | None = None
