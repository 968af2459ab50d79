"""Credit grants: rules that give credits, the applications that they give them in, and their body.

A grant is one rule, an application one period of it (wallets-alerts.md 10). The rules that read
them are in `billing/wallets/credit_grants.py` and `billing/wallets/grant_applications.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, NewType

from pydantic import BaseModel, BeforeValidator, model_validator

from schemas.doors import (
    DOOR,
    DecimalField,
    InstantField,
    IntegerField,
    MetadataField,
    given,
    read_upper,
)
from schemas.errors import InvalidOperation
from schemas.ids import SubscriptionId, WalletId
from schemas.price import BillingPeriod

CreditGrantId = NewType("CreditGrantId", str)
GrantApplicationId = NewType("GrantApplicationId", str)


class GrantScope(StrEnum):
    """What a grant hangs on; those of a plan or an add-on are templates."""

    PLAN = "PLAN"
    SUBSCRIPTION = "SUBSCRIPTION"
    ADDON = "ADDON"


class GrantCadence(StrEnum):
    """Whether credits are given once, or in every period."""

    ONETIME = "ONETIME"
    RECURRING = "RECURRING"


class ExpirationType(StrEnum):
    """When given credits expire; BILLING_CYCLE is the end of the subscription's period."""

    NEVER = "NEVER"
    DURATION = "DURATION"
    BILLING_CYCLE = "BILLING_CYCLE"


class ExpirationUnit(StrEnum):
    """What a duration is counted in."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


class ApplicationStatus(StrEnum):
    """Where an application is in its life; pending and failed ones are open."""

    PENDING = "pending"
    APPLIED = "applied"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ApplicationAction(StrEnum):
    """What can happen to an application."""

    APPLY = "apply"
    SKIP = "skip"
    CANCEL = "cancel"
    FAIL = "fail"


class ApplicationReason(StrEnum):
    """Which application of a grant it is."""

    ONETIME = "onetime_credit_grant"
    FIRST = "first_time_recurring_credit_grant"
    RECURRING = "recurring_credit_grant"


class SkippedBecause(StrEnum):
    """Why a period gives nothing."""

    PAUSED = "paused"
    EXPIRED = "expired"


# The whole state machine (wallets-alerts.md 10). What is not in this table cannot happen.
TRANSITIONS = {
    (ApplicationStatus.PENDING, ApplicationAction.APPLY): ApplicationStatus.APPLIED,
    (ApplicationStatus.PENDING, ApplicationAction.SKIP): ApplicationStatus.SKIPPED,
    (ApplicationStatus.PENDING, ApplicationAction.CANCEL): ApplicationStatus.CANCELLED,
    (ApplicationStatus.PENDING, ApplicationAction.FAIL): ApplicationStatus.FAILED,
    (ApplicationStatus.FAILED, ApplicationAction.APPLY): ApplicationStatus.APPLIED,
    (ApplicationStatus.FAILED, ApplicationAction.SKIP): ApplicationStatus.SKIPPED,
    (ApplicationStatus.FAILED, ApplicationAction.CANCEL): ApplicationStatus.CANCELLED,
    (ApplicationStatus.FAILED, ApplicationAction.FAIL): ApplicationStatus.FAILED,
}

# The states in which an application still waits for what becomes of it.
OPEN = frozenset({ApplicationStatus.PENDING, ApplicationStatus.FAILED})


def after(status: ApplicationStatus, action: ApplicationAction) -> ApplicationStatus:
    """Return the status that an action leads to; any other pair raises InvalidOperation.

    >>> after(ApplicationStatus.FAILED, ApplicationAction.APPLY).value
    'applied'
    """
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise InvalidOperation(f"cannot {action} an application that is {status}") from None


@dataclass(frozen=True, slots=True)
class CreditGrant:
    """A rule that gives credits; one of a plan or an add-on is a template without dates.

    `period` is only there for recurring grants, `expiration_duration` with its unit only for those
    of type DURATION. Periods are counted from `anchor`, or from the start where there is none. The
    rates are those of a wallet that is opened for the grant.
    """

    id: CreditGrantId
    scope: GrantScope
    credits: Decimal
    cadence: GrantCadence
    expiration_type: ExpirationType
    name: str = ""
    subscription_id: SubscriptionId | None = None
    plan_id: str | None = None
    addon_id: str | None = None
    period: BillingPeriod | None = None
    period_count: int = 1
    expiration_duration: int | None = None
    expiration_duration_unit: ExpirationUnit | None = None
    priority: int | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    anchor: datetime | None = None
    conversion_rate: Decimal | None = None
    topup_conversion_rate: Decimal | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GrantApplication:
    """One period of a grant, and what became of it; the id follows from grant and period start.

    A one-time grant has no `period_end`. `applied_at` and `wallet_id` tell when and where to the
    credits went, `failure` why they could not yet.
    """

    id: GrantApplicationId
    grant_id: CreditGrantId
    subscription_id: SubscriptionId
    period_start: datetime
    period_end: datetime | None
    reason: ApplicationReason
    credits: Decimal
    expires_at: datetime | None = None
    status: ApplicationStatus = ApplicationStatus.PENDING
    skipped_because: SkippedBecause | None = None
    applied_at: datetime | None = None
    wallet_id: WalletId | None = None
    failure: str = ""


class CreditGrantTerms(BaseModel):
    """What a grant gives, and when it ends; `billing.wallets.credit_grants.check_terms` judges it."""

    model_config = DOOR

    name: str = ""
    credits: DecimalField
    cadence: Annotated[GrantCadence, BeforeValidator(read_upper)]
    period: Annotated[BillingPeriod, BeforeValidator(read_upper)] | None = None
    period_count: IntegerField | None = None
    expiration_type: Annotated[ExpirationType, BeforeValidator(read_upper)]
    expiration_duration: IntegerField | None = None
    expiration_duration_unit: Annotated[ExpirationUnit, BeforeValidator(read_upper)] | None = None
    priority: IntegerField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    credit_grant_anchor: InstantField | None = None
    conversion_rate: DecimalField | None = None
    topup_conversion_rate: DecimalField | None = None
    metadata: MetadataField = {}

    _given = model_validator(mode="before")(given)


class CreditGrantRequest(CreditGrantTerms):
    """CreateCreditGrantRequest: the terms, and what the grant hangs on."""

    scope: Annotated[GrantScope, BeforeValidator(read_upper)]
    subscription_id: str | None = None
    plan_id: str | None = None
    addon_id: str | None = None
