"""Coupons: who may redeem them, and on which invoices an attached one takes part (billing.md 13).

Redeeming and applying are two things: a coupon is redeemed once, when it is granted to a
subscription; what is granted then applies to invoices until its cadence is used up, whatever
becomes of the coupon.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from schemas.coupon import (
    Coupon,
    CouponAttachment,
    CouponAttachmentId,
    CouponCadence,
    CouponType,
)
from schemas.errors import ValidationFailed
from schemas.ids import InvoiceId, SubscriptionLineId, derived
from schemas.invoice import Invoice, InvoiceStatus
from schemas.period import Interval
from schemas.subscription import Subscription


def redeem(coupon: Coupon, redeemed_by: Collection[str], key: str, at: datetime) -> frozenset[str]:
    """Return who has redeemed a coupon, once it is granted to `key` at an instant.

    A subscription or one-off invoice redeems a coupon once, however often it is granted to it.
    Raises ValidationFailed (field `coupon_code`) outside the time of use and at the limit.

    >>> from decimal import Decimal
    >>> ten = Coupon("c", CouponType.PERCENTAGE, Decimal(10), max_redemptions=1)
    >>> sorted(redeem(ten, {"subs_1"}, "subs_1", datetime(2026, 1, 1)))
    ['subs_1']
    """
    called = f"coupon {coupon.coupon_code or coupon.name or coupon.id!r}"
    known = frozenset(redeemed_by)
    if key in known:
        return known
    early = coupon.redeem_after is not None and at < coupon.redeem_after
    if early or (coupon.redeem_before is not None and at >= coupon.redeem_before):
        when = "yet" if early else "any more"
        raise ValidationFailed(f"{called} cannot be redeemed {when}", field="coupon_code")
    if coupon.max_redemptions is not None and len(known) >= coupon.max_redemptions:
        text = f"{called} has no redemption left of its {coupon.max_redemptions}"
        raise ValidationFailed(text, field="coupon_code")
    return known | {key}


def attach(
    coupon: Coupon,
    subscription: Subscription,
    *,
    chain_id: SubscriptionLineId | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
) -> CouponAttachment:
    """Attach a coupon to a subscription, or to one of its lines, from its start if none is given.

    The same facts give the same attachment. Raises ValidationFailed for a fixed amount in another
    currency (field `coupon_code`) and an end that is not after the start (field `end_date`).
    """
    currency = subscription.currency.lower()
    if coupon.type is CouponType.FIXED and coupon.currency != currency:
        text = f"takes off {coupon.currency} and the subscription is in {currency}"
        raise ValidationFailed(text, field="coupon_code")
    start = start_date or subscription.start_date
    if end_date is not None and end_date <= start:
        raise ValidationFailed("must be after the start", field="end_date")
    name = derived("coupon_assoc", subscription.id, coupon.id, chain_id, start, end_date)
    return CouponAttachment(
        CouponAttachmentId(name), coupon, start, end_date, subscription.id, chain_id
    )


def applies(attachment: CouponAttachment, applications: int, period: Interval) -> bool:
    """Tell whether an attached coupon takes part in the invoice of a period.

    It does if the two overlap and its cadence is not used up by the invoices on which it took
    something off. A period that is empty counts as its instant. Source: billing.md 13.
    """
    start, end = attachment.start_date, attachment.end_date
    begun = start < period.end or start == period.start
    if not begun or (end is not None and end <= period.start):
        return False
    match attachment.coupon.cadence:
        case CouponCadence.ONCE:
            return applications < 1
        case CouponCadence.REPEATED:
            return applications < (attachment.coupon.duration_in_periods or 0)
        case CouponCadence.FOREVER:
            return True


def taking_part(
    attachments: Iterable[CouponAttachment],
    applications: Mapping[CouponAttachmentId, int],
    period: Interval,
    currency: str,
) -> tuple[CouponAttachment, ...]:
    """Return the attachments that take part in an invoice, as they follow each other: (start, id).

    One whose amount is of another currency takes no part; the same attachment counts once.
    """
    found = {
        each.id: each
        for each in attachments
        if applies(each, applications.get(each.id, 0), period)
        and each.coupon.currency in ("", currency.lower())
    }
    return tuple(sorted(found.values(), key=lambda each: (each.start_date, each.id)))


def applications_for(
    invoice_id: InvoiceId, dated_at: datetime, others: Iterable[Invoice]
) -> Mapping[CouponAttachmentId, int]:
    """Return on how many other invoices each attachment took something off, for one of them.

    Void ones do not count, and drafts only if they are dated before it, so that the earlier of two
    drafts has the coupon. Source: billing.md 13.
    """
    counts: Counter[CouponAttachmentId] = Counter()
    for other in others:
        draft = other.status is InvoiceStatus.DRAFT
        later = (other.dated_at, other.id) > (dated_at, invoice_id)
        if other.id == invoice_id or other.status is InvoiceStatus.VOIDED or (draft and later):
            continue
        counts.update({each.attachment_id for each in other.coupon_applications})
    return counts
