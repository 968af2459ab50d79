"""Adapters for entitlement.json: allowances, their sums and the question of access."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from billing.pricing.allowances import WindowUsage, cover_windows
from billing.pricing.entitlements import Grant, access, allowance_of, combine
from billing.pricing.rating import cost
from schemas.decimals import plain
from schemas.ids import EntitlementId, FeatureId
from schemas.money import settle
from schemas.price_request import PriceRequest, price_from
from schemas.subscription import Entitlement, ResetPeriod

FILES = ("entitlement.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]

# What a price of the vectors leaves out.
REST = {"type": "USAGE", "currency": "usd", "billing_period": "MONTHLY", "meter_id": "meter"}


def grant_of(body: Body | None) -> Grant | None:
    """Read the entitlement of a vector."""
    if body is None:
        return None
    return Grant(bool(body["enabled"]), body["limit"], bool(body["soft"]), ResetPeriod.MONTHLY)


def _entitle(body: Body) -> Answer:
    grant = grant_of(body["entitlement"])
    period = cover_windows(
        [
            WindowUsage(
                None,
                None,
                allowance_of(grant, Decimal(window["used_before"])),
                Decimal(window["usage"]),
            )
            for window in body["windows"]
        ]
    )
    price = price_from(PriceRequest.model_validate({**REST, **body["price"]}), id="price")
    amount = cost(price, period.billable).amount
    return {
        "covered": plain(period.covered),
        "billable": plain(period.billable),
        "line_amount": plain(settle(amount, body["currency"])),
    }


def _aggregate_entitlements(body: Body) -> Answer:
    entitlements = [
        Entitlement(
            EntitlementId(f"ent_{index}"),
            FeatureId("feat"),
            is_enabled=bool(each["enabled"]),
            usage_limit=each["limit"],
            usage_reset_period=ResetPeriod(each["reset_period"]),
            is_soft_limit=bool(each["soft"]),
        )
        for index, each in enumerate(body["entitlements"])
    ]
    grant = combine(entitlements, ResetPeriod.MONTHLY)
    return {
        "enabled": grant.enabled,
        "limit": grant.limit,
        "soft": grant.soft,
        "reset_period": grant.reset_period and str(grant.reset_period),
    }


def _access(body: Body) -> Answer:
    found = access(grant_of(body["entitlement"]), Decimal(body["usage"]))
    return {
        "has_access": found.has_access,
        "remaining": None if found.remaining is None else plain(found.remaining),
    }


OPS: dict[str, Callable[[Body], Answer]] = {
    "entitle": _entitle,
    "aggregate_entitlements": _aggregate_entitlements,
    "access": _access,
}
