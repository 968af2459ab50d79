"""Entitlements: what a customer's plan, add-ons and overrides grant of one feature together.

One feature has one allowance a reset window, and one answer to the question of access. Source:
billing.md 12.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.pricing.allowances import Allowance
from schemas.money import LOSSLESS
from schemas.subscription import Entitlement, ResetPeriod

ZERO = Decimal(0)

# From the shortest to the longest; of different ones the longest wins.
RESET_ORDER = tuple(ResetPeriod)


@dataclass(frozen=True, slots=True)
class Grant:
    """What all entitlements of one feature grant together; a limit of None is unlimited.

    Where none is enabled it is disabled, its limit 0 and its reset period None.
    """

    enabled: bool
    limit: int | None
    soft: bool
    reset_period: ResetPeriod | None


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a feature may be used now, and how many units remain; None is unlimited."""

    has_access: bool
    remaining: Decimal | None


def combine(entitlements: Sequence[Entitlement], billing_period: ResetPeriod) -> Grant:
    """Add up the entitlements of one feature that are in force.

    Disabled ones are left out; any without a limit makes the sum unlimited, any soft one makes it
    soft, and of different reset periods the longest wins. An absent reset period is the billing
    period. Which override replaces which parent is decided before. Source: billing.md 12.

    >>> from schemas.ids import EntitlementId, FeatureId
    >>> tokens = FeatureId("feat_tokens")
    >>> plan = Entitlement(EntitlementId("ent_1"), tokens, usage_limit=100)
    >>> addon = Entitlement(EntitlementId("ent_2"), tokens, usage_limit=250)
    >>> combine([plan, addon], ResetPeriod.MONTHLY).limit
    350
    """
    enabled = [each for each in entitlements if each.is_enabled]
    if not enabled:
        return Grant(enabled=False, limit=0, soft=False, reset_period=None)
    limits = [each.usage_limit for each in enabled]
    known = [limit for limit in limits if limit is not None]
    periods = [each.usage_reset_period or billing_period for each in enabled]
    return Grant(
        enabled=True,
        limit=sum(known) if len(known) == len(limits) else None,
        soft=any(each.is_soft_limit for each in enabled),
        reset_period=max(periods, key=RESET_ORDER.index),
    )


def allowance_of(grant: Grant | None, used_before: Decimal = ZERO) -> Allowance | None:
    """Return the allowance of a grant in a window that has used so much already, if it has one.

    A soft limit makes no difference to billing. Source: billing.md 12.

    >>> allowance_of(Grant(True, 100, True, ResetPeriod.MONTHLY)).limit
    100
    """
    if grant is None or not grant.enabled:
        return None
    return Allowance(grant.limit, used_before)


def access(grant: Grant | None, usage: Decimal) -> Access:
    """Say whether a feature may be used, given the usage of the current window.

    Without an enabled entitlement it may not. Unlimited and soft ones always may; a hard one while
    usage is below its limit. Intake never refuses events: the caller obeys. Source: billing.md 12.

    >>> access(Grant(True, 100, False, ResetPeriod.MONTHLY), Decimal(100))
    Access(has_access=False, remaining=Decimal('0'))
    """
    if grant is None or not grant.enabled:
        return Access(has_access=False, remaining=ZERO)
    if grant.limit is None:
        return Access(has_access=True, remaining=None)
    left = max(LOSSLESS.subtract(Decimal(grant.limit), usage), ZERO)
    return Access(has_access=grant.soft or left > 0, remaining=left)
