"""Coupons: made, found by code in any case, archived, and where they are attached (api.md 4.19)."""

from collections.abc import Mapping, Sequence

from billing.api.coupon_answers import association_answer, coupon_answer
from billing.api.listing import Listing, expanded, page_of, query_for, said, unknown
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.subscription_answers import beside
from billing.api.subscription_line_answers import own_line_answer
from billing.api.wire import Answer, shown
from billing.use_cases.coupons import (
    Attached,
    archive_coupon,
    attachment_of,
    attachments,
    update_coupon,
)
from billing.use_cases.found import subject
from schemas.api.answers.coupons import (
    CouponAssociationResponse,
    CouponDeleted,
    CouponResponse,
    ListCouponAssociationsResponse,
    ListCouponsResponse,
)
from schemas.api.requests.coupons import (
    CouponAssociationsQuery,
    CouponFilter,
    UpdateCouponRequest,
)
from schemas.api.searching import ApiSearch
from schemas.coupon import Coupon, CouponId, CreateCouponRequest, coupon_faults, coupon_from
from schemas.errors import NotFound, ValidationFailed
from schemas.ids import SubscriptionId
from schemas.stored import Stored, made

COUPON, LINES = "coupon", "subscription_line_items"

COUPONS = Listing(
    Coupon,
    {
        name: name
        for name in (
            "name", "coupon_code", "type", "cadence", "currency", "duration_in_periods",
            "max_redemptions", "redeem_after", "redeem_before",
        )
    },
)  # fmt: skip
ATTACHED = frozenset({COUPON, LINES})
# What a list of attachments can be asked.
ASKED = ("subscription_ids", "coupon_ids", "active_only", "expand", "limit", "offset")


def create_coupon(call: Call) -> Answer:
    """Add a coupon."""
    body = call.json
    problems = [{"field": each.field, "problem": each.problem} for each in coupon_faults(body)]
    if not body.get("name"):
        problems.insert(0, {"field": "name", "problem": "is required"})
    if problems:
        named = ", ".join(each["field"] for each in problems)
        raise ValidationFailed(
            f"the request is not valid at {named}: see details", details={"fields": problems}
        )
    request = read(CreateCouponRequest, body)
    kept = call.environment
    coupon = coupon_from(request, id=kept.new_id("coupon"))
    stored = made(coupon, call.services.clock(), call.caller)
    kept.objects.coupons.add(stored)
    return shown(coupon_answer(stored, call.scope, 0), 201)


def read_coupon(call: Call) -> Answer:
    """Show a coupon."""
    stored = subject(call.environment.objects.coupons, call.parameters["id"], "coupon")
    return shown(_answers(call, [stored])[0])


def read_coupon_by_code(call: Call) -> Answer:
    """Show the live coupon of a code, which may be written in any case."""
    code = call.parameters["code"]
    stored = call.environment.objects.coupons.by_lookup(code)
    if stored is None:
        raise NotFound(f"there is no coupon of the code {code}")
    return shown(_answers(call, [stored])[0])


def change_coupon(call: Call) -> Answer:
    """Change the name or the metadata of a coupon."""
    asked = read(UpdateCouponRequest, call.json)
    if asked.name == "":
        raise ValidationFailed("must not be empty", field="name")
    stored = update_coupon(
        call.environment.objects,
        call.parameters["id"],
        asked.changes(),
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(_answers(call, [stored])[0])


def delete_coupon(call: Call) -> Answer:
    """Archive a coupon; where it is attached already it goes on."""
    name = call.parameters["id"]
    archive_coupon(call.environment.objects, name, at=call.services.clock(), by=call.caller)
    return shown(CouponDeleted(message=f"coupon {name} is archived"))


def search_coupons(call: Call) -> Answer:
    """Show a page of the coupons that a search is after."""
    asked = read(CouponFilter, call.json)
    known = set(CouponFilter.model_fields) - {"start_time", "end_time"}
    _only(asked, known)
    expanded(asked.expand, COUPONS.expands)
    codes = [code.lower() for code in asked.coupon_codes]
    conditions = said({"id": asked.coupon_ids, "lookup_key": codes})
    page = call.environment.objects.coupons.page(query_for(asked, COUPONS, conditions))
    return page_of(_answers(call, page.rows), page.total, asked, lambda each: each)


def list_associations(call: Call) -> Answer:
    """Show a page of the attachments of coupons, the newest first."""
    lists = ["subscription_ids", "coupon_ids", "expand"]
    asked = read(CouponAssociationsQuery, query_of(call.query, lists=lists))
    _only(asked, ASKED)
    wanted = expanded(asked.expand, ATTACHED)
    at = call.services.clock()
    found = attachments(
        call.environment.reader,
        at,
        coupon_ids=[CouponId(each) for each in asked.coupon_ids],
        subscription_ids=[SubscriptionId(each) for each in asked.subscription_ids],
    )
    if asked.active_only:
        found = tuple(each for each in found if each.is_active(at))
    page = found[asked.offset : asked.offset + asked.limit]
    return page_of(_associations(call, page, wanted), len(found), asked, lambda each: each)


def read_association(call: Call) -> Answer:
    """Show an attachment of a coupon."""
    asked = read(ApiSearch, query_of(call.query, lists=["expand"]))
    _only(asked, ["expand"])
    wanted = expanded(asked.expand, ATTACHED)
    name, at = call.parameters["id"], call.services.clock()
    found = attachment_of(call.environment.reader, name, at)
    return shown(_associations(call, [found], wanted)[0])


def _only(asked: ApiSearch, known: Sequence[str] | set[str]) -> None:
    """Refuse members that a list does not have, though others do."""
    for name in sorted(asked.model_fields_set):
        if name not in known:
            raise unknown(name, name, known)


def _answers(call: Call, rows: Sequence[Stored[Coupon]]) -> list[CouponResponse]:
    """Return coupons with how often each was redeemed."""
    redeemed = call.environment.reader.redemptions([each.record.id for each in rows])
    return [coupon_answer(each, call.scope, redeemed.get(each.record.id, 0)) for each in rows]


def _associations(
    call: Call, rows: Sequence[Attached], wanted: frozenset[str]
) -> list[CouponAssociationResponse]:
    """Return attachments, with their coupons as these are now where they are wanted."""
    kept = call.environment
    coupons: dict[str, CouponResponse] = {}
    if COUPON in wanted:
        names = {each.attachment.coupon.id for each in rows}
        found = list(kept.objects.coupons.those(names).values())
        coupons = {each.id: each for each in _answers(call, found)}
    near = None
    if LINES in wanted:
        subscriptions = [each.subscription for each in rows]
        near = beside(kept.objects, call.scope, call.services.clock(), subscriptions)
    return [
        association_answer(
            each,
            call.scope,
            coupons.get(each.attachment.coupon.id),
            own_line_answer(each.subscription, each.line, near)
            if near is not None and each.line is not None
            else None,
        )
        for each in rows
    ]


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/coupons"): Built(create_coupon, takes=CreateCouponRequest, gives=CouponResponse),
    ("POST", "/v1/coupons/search"): Built(
        search_coupons, takes=CouponFilter, gives=ListCouponsResponse
    ),
    ("GET", "/v1/coupons/code/{code}"): Built(read_coupon_by_code, gives=CouponResponse),
    ("GET", "/v1/coupons/{id}"): Built(read_coupon, gives=CouponResponse),
    ("PUT", "/v1/coupons/{id}"): Built(
        change_coupon, takes=UpdateCouponRequest, gives=CouponResponse
    ),
    ("DELETE", "/v1/coupons/{id}"): Built(delete_coupon, gives=CouponDeleted),
    ("GET", "/v1/coupons/associations"): Built(
        list_associations, asks=CouponAssociationsQuery, gives=ListCouponAssociationsResponse
    ),
    ("GET", "/v1/coupons/associations/{id}"): Built(
        read_association, gives=CouponAssociationResponse
    ),
}
