"""What several entitlements of one feature grant together (billing.md 12)."""

from decimal import Decimal

import pytest

from billing.pricing.entitlements import Grant, access, allowance_of, combine
from schemas.ids import EntitlementId, FeatureId
from schemas.subscription import Entitlement, ResetPeriod

MONTHLY = ResetPeriod.MONTHLY


def entitlement(
    limit: int | None,
    *,
    enabled: bool = True,
    soft: bool = False,
    reset: ResetPeriod | None = None,
) -> Entitlement:
    return Entitlement(
        EntitlementId("ent"),
        FeatureId("feat"),
        is_enabled=enabled,
        usage_limit=limit,
        usage_reset_period=reset,
        is_soft_limit=soft,
    )


@pytest.mark.parametrize(
    ("entitlements", "grant"),
    [
        ([], Grant(enabled=False, limit=0, soft=False, reset_period=None)),
        (
            [entitlement(5, enabled=False, soft=True)],
            Grant(enabled=False, limit=0, soft=False, reset_period=None),
        ),
        (
            [entitlement(100), entitlement(250, soft=True)],
            Grant(enabled=True, limit=350, soft=True, reset_period=MONTHLY),
        ),
        (
            [entitlement(100), entitlement(None)],
            Grant(enabled=True, limit=None, soft=False, reset_period=MONTHLY),
        ),
        (
            [entitlement(1, reset=ResetPeriod.DAILY), entitlement(1, reset=ResetPeriod.WEEKLY)],
            Grant(enabled=True, limit=2, soft=False, reset_period=ResetPeriod.WEEKLY),
        ),
        (
            [entitlement(1, reset=ResetPeriod.NEVER, enabled=False), entitlement(1)],
            Grant(enabled=True, limit=1, soft=False, reset_period=MONTHLY),
        ),
    ],
)
def test_entitlements_of_a_feature_are_one_grant(
    entitlements: list[Entitlement], grant: Grant
) -> None:
    assert combine(entitlements, MONTHLY) == grant


@pytest.mark.parametrize(
    ("limit", "soft", "usage", "may", "left"),
    [
        (100, False, "99.5", True, "0.5"),
        (100, False, "100", False, "0"),
        (100, True, "120", True, "0"),
        (None, False, "1000000", True, None),
        (0, False, "0", False, "0"),
    ],
)
def test_a_hard_limit_ends_access_where_the_next_unit_lies_beyond(
    limit: int | None, soft: bool, usage: str, may: bool, left: str | None
) -> None:
    found = access(Grant(True, limit, soft, MONTHLY), Decimal(usage))
    assert found.has_access is may
    assert found.remaining == (None if left is None else Decimal(left))


def test_without_an_enabled_grant_there_is_neither_access_nor_allowance() -> None:
    disabled = combine([], MONTHLY)
    for grant in (None, disabled):
        assert not access(grant, Decimal(0)).has_access
        assert allowance_of(grant) is None
