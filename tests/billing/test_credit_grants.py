"""Credit grants: tables of what is refused and given; the laws are in test_grant_laws.py."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from billing.ports import Changes
from billing.running import bill
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.wallets.credit_grants import copied, create_grant, ended
from billing.wallets.grant_applications import apply_grants, decide, open_application
from billing.wallets.grant_periods import facts_of, periods
from billing.wallets.holdings import settled_credits
from billing.wallets.ledger import TopUp
from billing.wallets.opening import TopUpAt, WalletOpening, open_wallet
from schemas.credit_grant import (
    TRANSITIONS,
    ApplicationAction,
    ApplicationStatus,
    CreditGrant,
    CreditGrantId,
    CreditGrantRequest,
    ExpirationType,
    GrantApplication,
    GrantCadence,
    GrantScope,
    SkippedBecause,
    after,
)
from schemas.errors import InvalidOperation, NotFound, Refused, ValidationFailed, VersionConflict
from schemas.ids import CustomerId, PlanId, SubscriptionId, WalletId
from schemas.money import total
from schemas.price import BillingPeriod
from schemas.subscription import Plan, Subscription, SubscriptionStatus
from schemas.wallet import Reason, WalletRequest, WalletType

START = datetime(2026, 1, 31, tzinfo=UTC)
ACME = CustomerId("acme")
DAY = timedelta(days=1)
TERMS = {"credits": "10", "cadence": "ONETIME", "expiration_type": "NEVER"}


def day(month: int, number: int, hour: int = 0) -> datetime:
    return datetime(2026, month, number, hour, tzinfo=UTC)


def monthly(**more: Any) -> CreditGrant:
    """Return a grant of 10 a month from 31 January 2026."""
    terms: dict[str, Any] = {
        "id": CreditGrantId("grant"),
        "scope": GrantScope.SUBSCRIPTION,
        "credits": Decimal(10),
        "cadence": GrantCadence.RECURRING,
        "expiration_type": ExpirationType.NEVER,
        "period": BillingPeriod.MONTHLY,
        "start_date": START,
    }
    return CreditGrant(**(terms | more))


def subscribed(*grants: CreditGrant, **more: Any) -> Subscription:
    agreed = Subscription(SubscriptionId("s"), ACME, "acme", "usd", START, credit_grants=grants)
    return replace(agreed, **more)


def run(store: MemoryStore, at: datetime) -> tuple[GrantApplication, ...]:
    return apply_grants(store, store.live_subscriptions(), at)


def credits_held(store: MemoryStore, at: datetime) -> Decimal:
    return total(settled_credits(held, at) for held in store.wallets())


@pytest.mark.parametrize("status", ApplicationStatus)
@pytest.mark.parametrize("action", ApplicationAction)
def test_every_pair_outside_the_table_is_refused(
    status: ApplicationStatus, action: ApplicationAction
) -> None:
    if (status, action) in TRANSITIONS:
        assert status in {ApplicationStatus.PENDING, ApplicationStatus.FAILED}
        assert after(status, action) is not ApplicationStatus.PENDING
    else:
        with pytest.raises(InvalidOperation):
            after(status, action)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"credits": "0"}, "credits"),
        ({"credits": "0.0000000004"}, "credits"),
        ({"cadence": "RECURRING"}, "period"),
        ({"cadence": "RECURRING", "period": "ONETIME"}, "period"),
        ({"cadence": "RECURRING", "period": "DAILY", "period_count": 0}, "period_count"),
        ({"expiration_type": "DURATION"}, "expiration_duration"),
        (
            {"expiration_type": "DURATION", "expiration_duration": 1},
            "expiration_duration_unit",
        ),
        ({"priority": -1}, "priority"),
        ({"conversion_rate": "0"}, "conversion_rate"),
        ({"topup_conversion_rate": "0.0000000001"}, "topup_conversion_rate"),
        ({"plan_id": None}, "plan_id"),
        ({"addon_id": "a"}, "addon_id"),
        ({"start_date": "2026-01-01T00:00:00Z"}, "start_date"),
        ({"credit_grant_anchor": "2026-01-01T00:00:00Z"}, "credit_grant_anchor"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(more: dict[str, object], field: str) -> None:
    body = TERMS | {"scope": "PLAN", "plan_id": "p"} | more
    with pytest.raises(ValidationFailed) as refused:
        create_grant(
            CreditGrantRequest.model_validate(body), grant_id=CreditGrantId("g"), known={"p"}
        )
    assert refused.value.field == field


def test_the_request_is_judged_before_the_object_and_that_before_the_start() -> None:
    body = TERMS | {"scope": "SUBSCRIPTION", "subscription_id": "s"}
    early = body | {"start_date": "2020-01-01T00:00:00Z"}

    def refusal(asked: dict[str, str], known: set[str]) -> type[Refused]:
        request = CreditGrantRequest.model_validate(asked)
        with pytest.raises(Refused) as refused:
            create_grant(request, grant_id=CreditGrantId("g"), known=known, life=(START, None))
        return refused.type

    assert refusal(early | {"credits": "0"}, set()) is ValidationFailed
    assert refusal(early, set()) is NotFound
    assert refusal(early, {"s"}) is ValidationFailed


def test_what_the_cadence_and_the_expiry_do_not_use_is_ignored() -> None:
    unused = {"period": "ONETIME", "period_count": 0, "expiration_duration": 0}
    body = TERMS | {"scope": "PLAN", "plan_id": "p"} | unused
    grant = create_grant(
        CreditGrantRequest.model_validate(body), grant_id=CreditGrantId("g"), known={"p"}
    )
    assert (grant.period, grant.period_count, grant.expiration_duration) == (None, 1, None)
    with pytest.raises(ValidationError):
        CreditGrantRequest.model_validate(body | {"expiration_type": None})


def test_a_subscription_takes_over_the_grants_of_its_plan_once_from_its_own_start() -> None:
    template = replace(monthly(), scope=GrantScope.PLAN, start_date=None, plan_id="pro")
    plan = Plan(PlanId("pro"), "Pro", credit_grants=(template,))
    own = monthly(id=CreditGrantId("own"))
    trial_end = START + 14 * DAY
    once = subscribe(subscribed(own, trial_end=trial_end), plan)
    first, second = once.credit_grants
    assert (first.scope, first.subscription_id) == (GrantScope.SUBSCRIPTION, "s")
    assert (first.start_date, second) == (trial_end, own)
    assert subscribe(once, plan) == once
    cancelled_in_trial = subscribed(trial_end=trial_end, cancelled_at=START + DAY)
    assert copied(cancelled_in_trial, plan.credit_grants) == ()


@pytest.mark.parametrize("status", [SubscriptionStatus.DRAFT, SubscriptionStatus.INCOMPLETE])
def test_what_waited_for_activation_is_caught_up_once_active(status: SubscriptionStatus) -> None:
    store = MemoryStore([subscribed(monthly(), status=status)])
    assert run(store, day(3, 1)) == ()
    # A draft is no subscription yet, so nothing is planned for it either.
    planned = [] if status is SubscriptionStatus.DRAFT else [(START, ApplicationStatus.PENDING)]
    waiting = store.tables.applications.values()
    assert [(row.period_start, row.status) for row in waiting] == planned
    store.put_subscription(subscribed(monthly()))
    assert [row.period_start for row in run(store, day(3, 1))] == [START, day(2, 28)]
    assert credits_held(store, day(3, 1)) == 20


def test_months_are_counted_in_the_zone_of_the_subscription() -> None:
    start = datetime(2026, 1, 30, 19, tzinfo=UTC)
    kolkata = subscribed(monthly(start_date=start), start_date=start, timezone="Asia/Kolkata")
    # 31 January, half past midnight there: the month that follows is clamped to 28 February.
    first = next(periods(monthly(start_date=start), facts_of(kolkata)))
    assert first.period_end == datetime(2026, 2, 27, 19, tzinfo=UTC)


def test_credits_that_expire_with_the_cycle_keep_their_expiry_when_it_is_cut_short() -> None:
    grant = monthly(expiration_type=ExpirationType.BILLING_CYCLE)
    cancelled = subscribed(grant, cancelled_at=day(2, 10))
    rows = list(periods(grant, facts_of(cancelled)))
    assert [(row.period_start, row.expires_at) for row in rows] == [(START, day(2, 28))]


def test_credits_given_in_a_trial_expire_with_it() -> None:
    grant = monthly(cadence=GrantCadence.ONETIME, expiration_type=ExpirationType.BILLING_CYCLE)
    trialing = subscribed(grant, trial_end=day(2, 14))
    assert [row.expires_at for row in periods(grant, facts_of(trialing))] == [day(2, 14)]


def test_a_late_run_gives_what_an_invoice_may_still_claim() -> None:
    grant = monthly(expiration_type=ExpirationType.BILLING_CYCLE)
    facts = facts_of(subscribed(grant))
    row = open_application(grant, facts, None)
    assert row is not None
    late = day(2, 28, 1)
    claimed = decide(grant, facts, row, late, day(2, 28))
    assert claimed is not None
    assert claimed.action is ApplicationAction.APPLY
    for unfinalized in (None, day(3, 1)):
        lost = decide(grant, facts, row, late, unfinalized)
        assert lost is not None
        assert lost.skipped_because is SkippedBecause.EXPIRED


def test_a_deleted_grant_cancels_what_would_start_later_and_takes_nothing_back() -> None:
    store = MemoryStore([subscribed(monthly())])
    run(store, START)
    store.put_subscription(subscribed(ended(monthly(), day(2, 20))))
    assert run(store, day(2, 19)) == ()
    (cancelled,) = run(store, day(2, 20))
    assert (cancelled.period_start, cancelled.status) == (day(2, 28), ApplicationStatus.CANCELLED)
    assert run(store, day(5, 1)) == ()
    assert credits_held(store, day(5, 1)) == 10


def test_a_wallet_of_another_rate_makes_an_application_fail_until_it_is_gone() -> None:
    grant = monthly(conversion_rate=Decimal("0.5"))
    store = MemoryStore([subscribed(grant)])
    request = WalletRequest(currency="usd", wallet_type=WalletType.PRE_PAID)
    opened = open_wallet(request, wallet_id=WalletId("w"), customer_id=ACME, existing=(), at=START)
    store.commit(Changes(posted=(opened,)))
    (failed,) = run(store, day(3, 1))
    assert (failed.status, failed.period_start) == (ApplicationStatus.FAILED, START)
    assert failed.failure == "wallet w has the rate 1, not 0.5"
    assert [row.status for row in run(store, day(3, 1))] == [ApplicationStatus.FAILED]
    store.put_subscription(subscribed(replace(grant, conversion_rate=None)))
    assert [row.period_start for row in run(store, day(3, 1))] == [START, day(2, 28)]


def test_a_wallet_is_opened_at_the_rates_of_the_grant_and_used_by_the_next_ones() -> None:
    first = monthly(conversion_rate=Decimal("0.01"), topup_conversion_rate=Decimal("0.02"))
    store = MemoryStore([subscribed(first, monthly(id=CreditGrantId("other")))])
    run(store, START)
    (held,) = store.wallets()
    assert held.wallet.conversion_rate == Decimal("0.01")
    assert held.wallet.topup_conversion_rate == Decimal("0.02")
    assert [entry.reason for entry in store.tables.entries] == [
        Reason.SUBSCRIPTION_CREDIT_GRANT
    ] * 2
    assert credits_held(store, START) == 20


def test_of_two_runs_at_once_one_is_told_that_the_other_was_first() -> None:
    store = MemoryStore([subscribed(monthly(cadence=GrantCadence.ONETIME))])
    run(store, START)
    (row,) = store.tables.applications.values()
    with pytest.raises(VersionConflict):
        store.commit(Changes(applications=(row,)))


def test_a_grant_is_given_before_the_opening_invoice_asks_for_it(
    pro: Plan, acme: Subscription, daily: Any
) -> None:
    grant = monthly(start_date=acme.start_date, priority=1)
    bought = TopUp(Reason.PURCHASED_CREDIT_DIRECT, Decimal(50))
    request = WalletRequest.model_validate({"currency": "usd"})
    start = acme.start_date
    opening = WalletOpening(WalletId("w"), ACME, start, request, (TopUpAt(start, bought),))
    with_grant = subscribe(replace(acme, credit_grants=(grant,)), pro)
    found = bill([with_grant], [opening], daily("0", 1), as_of=start)
    # The fee of 20 takes the 10 that were given first, and 10 of those that were bought.
    assert found.wallets[0].ongoing.balance == 40
