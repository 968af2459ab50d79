"""Credit grants: which may be created, and which a subscription takes over from its plan.

When they give credits is in `billing/wallets/grant_periods.py` (wallets-alerts.md 10).
"""

from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import datetime

from billing.periods.grid import DAYS, MONTHS
from billing.periods.services import never_billed
from billing.wallets.lots import credits_of
from schemas.credit_grant import (
    CreditGrant,
    CreditGrantId,
    CreditGrantRequest,
    CreditGrantTerms,
    ExpirationType,
    GrantCadence,
    GrantScope,
)
from schemas.errors import NotFound, ValidationFailed
from schemas.ids import SubscriptionId, derived
from schemas.subscription import Subscription


def check_terms(terms: CreditGrantTerms) -> None:
    """Refuse terms that no grant can have: ValidationFailed, naming the field.

    Members that the cadence or the expiration type does not use are ignored.

    >>> from decimal import Decimal
    >>> check_terms(CreditGrantTerms(credits="5", cadence="ONETIME", expiration_type="NEVER"))
    """
    if credits_of(terms.credits) <= 0:
        raise ValidationFailed("a grant must give more than 0 credits", field="credits")
    if terms.cadence is GrantCadence.RECURRING:
        if terms.period not in MONTHS and terms.period not in DAYS:
            raise ValidationFailed("a recurring grant needs a period that recurs", field="period")
        if terms.period_count is not None and terms.period_count < 1:
            raise ValidationFailed("must be 1 or more", field="period_count")
    if terms.expiration_type is ExpirationType.DURATION:
        if terms.expiration_duration is None or terms.expiration_duration < 1:
            raise ValidationFailed("must be 1 or more", field="expiration_duration")
        if terms.expiration_duration_unit is None:
            raise ValidationFailed("a duration needs its unit", field="expiration_duration_unit")
    if terms.priority is not None and terms.priority < 0:
        raise ValidationFailed("must not be negative", field="priority")
    for name in ("conversion_rate", "topup_conversion_rate"):
        rate = getattr(terms, name)
        if rate is not None and (rate <= 0 or rate != credits_of(rate)):
            raise ValidationFailed("a rate is above 0 and has at most 9 decimals", field=name)


def check_template(terms: CreditGrantTerms) -> None:
    """Refuse dates on the grant of a plan or an add-on: it starts when a subscription does."""
    for name in ("start_date", "end_date", "credit_grant_anchor"):
        if getattr(terms, name) is not None:
            raise ValidationFailed("a grant of a plan or an add-on has no dates", field=name)


def named_by(request: CreditGrantRequest) -> str:
    """Return the id that a grant hangs on, after checking everything that the request alone says.

    Raises ValidationFailed naming the field: the scope needs the matching id and no other one.
    """
    check_terms(request)
    ids = {
        GrantScope.SUBSCRIPTION: ("subscription_id", request.subscription_id),
        GrantScope.PLAN: ("plan_id", request.plan_id),
        GrantScope.ADDON: ("addon_id", request.addon_id),
    }
    field, named = ids.pop(request.scope)
    if named is None:
        raise ValidationFailed(f"a grant of scope {request.scope} needs it", field=field)
    for other, value in ids.values():
        if value is not None:
            raise ValidationFailed(f"is not for a grant of scope {request.scope}", field=other)
    if request.scope is not GrantScope.SUBSCRIPTION:
        check_template(request)
    elif request.start_date is None:
        raise ValidationFailed("a grant of a subscription needs its start", field="start_date")
    elif request.end_date is not None and request.end_date <= request.start_date:
        raise ValidationFailed("must be after start_date", field="end_date")
    return named


def check_start(start: datetime, lives_from: datetime, lives_to: datetime | None) -> None:
    """Refuse a start outside the life of the subscription, which does not hold its end."""
    if start < lives_from or (lives_to is not None and start >= lives_to):
        raise ValidationFailed("must lie in the life of the subscription", field="start_date")


def create_grant(
    request: CreditGrantRequest,
    *,
    grant_id: CreditGrantId,
    known: Container[str],
    life: tuple[datetime, datetime | None] | None = None,
) -> CreditGrant:
    """Return the grant that a request asks for.

    `known` holds the ids that exist, `life` is that of the subscription if one is named. Checked in
    this order: the request (ValidationFailed), that the object exists (NotFound), the start against
    the life of the subscription (ValidationFailed). Source: wallets-alerts.md 10.
    """
    named = named_by(request)
    if named not in known:
        raise NotFound(f"there is no {request.scope.lower()} {named!r}")
    if request.scope is GrantScope.SUBSCRIPTION:
        assert request.start_date is not None, "checked with the request"
        assert life is not None, "a subscription that exists has a life"
        check_start(request.start_date, *life)
    grant = grant_from(request, grant_id=grant_id, scope=request.scope)
    return replace(
        grant,
        subscription_id=SubscriptionId(named) if request.subscription_id else None,
        plan_id=request.plan_id,
        addon_id=request.addon_id,
    )


def grant_from(
    terms: CreditGrantTerms, *, grant_id: CreditGrantId, scope: GrantScope
) -> CreditGrant:
    """Return the record of terms that have been checked, without what they do not use."""
    recurring = terms.cadence is GrantCadence.RECURRING
    lasting = terms.expiration_type is ExpirationType.DURATION
    return CreditGrant(
        id=grant_id,
        scope=scope,
        credits=credits_of(terms.credits),
        cadence=terms.cadence,
        expiration_type=terms.expiration_type,
        name=terms.name,
        period=terms.period if recurring else None,
        period_count=(terms.period_count or 1) if recurring else 1,
        expiration_duration=terms.expiration_duration if lasting else None,
        expiration_duration_unit=terms.expiration_duration_unit if lasting else None,
        priority=terms.priority,
        start_date=terms.start_date,
        end_date=terms.end_date,
        anchor=terms.credit_grant_anchor if recurring else None,
        conversion_rate=terms.conversion_rate,
        topup_conversion_rate=terms.topup_conversion_rate,
        metadata=terms.metadata,
    )


def copied(subscription: Subscription, templates: Sequence[CreditGrant]) -> tuple[CreditGrant, ...]:
    """Return the grants that a subscription takes over from its plan, each starting where it does.

    Ids follow from the subscription and the template, so that copying twice is copying once. After
    a trial they start at its end; a subscription that ends before has none.
    """
    if never_billed(subscription):
        return ()
    return tuple(
        replace(
            template,
            id=CreditGrantId(derived("cg", subscription.id, template.id)),
            scope=GrantScope.SUBSCRIPTION,
            subscription_id=subscription.id,
            plan_id=None,
            addon_id=None,
            start_date=subscription.starts_at,
        )
        for template in templates
    )


def ended(grant: CreditGrant, at: datetime) -> CreditGrant:
    """Return a grant of a subscription deleted from an instant on; what was given stays given."""
    assert grant.scope is GrantScope.SUBSCRIPTION, "a template is archived, it has no dates"
    return replace(grant, end_date=at if grant.end_date is None else min(at, grant.end_date))
