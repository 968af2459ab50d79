"""Requests about coupons, with the fields of api-fields.md.

The door of a new coupon is `schemas.coupon.CreateCouponRequest`, which the catalog file shares.
"""

from typing import Annotated

from pydantic import BeforeValidator

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiUpdate
from schemas.doors import MetadataField


def _truth(value: object) -> object:
    """Return what a query says in words."""
    words = {"true": True, "false": False, "": None}
    return words.get(value.lower(), value) if isinstance(value, str) else value


class UpdateCouponRequest(ApiUpdate):
    """What is to be different about a coupon: how it is called; what it takes off stays."""

    name: str | None = None
    metadata: MetadataField | None = None


class CouponFilter(ApiSearch):
    """Which coupons a search is after; codes are compared without regard to case."""

    coupon_ids: list[str] = []
    coupon_codes: list[str] = []


class CouponAssociationsQuery(ApiSearch):
    """Which attachments of coupons a list is after."""

    subscription_ids: list[str] = []
    coupon_ids: list[str] = []
    active_only: Annotated[bool | None, BeforeValidator(_truth)] = None
