"""Grants of entitlements: the terms of included units that come in windows, as they were given.

They are kept and returned; what they do comes with a later milestone (billing.md 12, api.md 4.9).
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class GrantMeasure(StrEnum):
    """What a grant counts."""

    QUANTITY = "quantity"
    AMOUNT = "amount"


class GrantDurationUnit(StrEnum):
    """What the length of a window is counted in."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    SUBSCRIPTION_PERIOD = "subscription_period"


class GrantAllocation(StrEnum):
    """When a window opens."""

    FIRST_USAGE = "first_usage"
    UNIT_START = "unit_start"


class GrantAggregation(StrEnum):
    """Whether the grants of one feature are one, or each its own."""

    ADDITIVE = "additive"
    PARALLEL = "parallel"


@dataclass(frozen=True, slots=True)
class EntitlementGrant:
    """The terms of a grant; a `quota` of None is unlimited, as `unlimited` says."""

    measure: GrantMeasure
    quota: Decimal | None
    duration_unit: GrantDurationUnit
    duration_value: int | None = None
    allocation: GrantAllocation = GrantAllocation.FIRST_USAGE
    aggregation: GrantAggregation = GrantAggregation.ADDITIVE
    unlimited: bool = False
