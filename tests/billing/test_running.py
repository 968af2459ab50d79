"""A whole story: money comes in, is used, is billed, and somebody is told."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing.ports import Changes, UsageReader
from billing.running import BillingRun, as_json, bill
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.wallets.balances import ongoing_balances
from billing.wallets.ledger import TopUp
from billing.wallets.opening import TopUpAt, WalletOpening, open_wallet
from billing.wallets.running_charges import keep, running
from schemas.ids import CustomerId, WalletId
from schemas.invoice import InvoiceStatus
from schemas.subscription import Plan, Subscription
from schemas.wallet import Reason, WalletRequest

Daily = Callable[[str, int], UsageReader]
ACME = CustomerId("acme")


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def opening() -> WalletOpening:
    request = WalletRequest.model_validate(
        {
            "currency": "usd",
            "alert_settings": {
                "alert_enabled": True,
                "info": {"threshold": "25", "condition": "below"},
                "critical": {"threshold": "5", "condition": "below"},
            },
        }
    )
    bought = TopUp(Reason.PURCHASED_CREDIT_DIRECT, Decimal(50))
    return WalletOpening(WalletId("w"), ACME, at(1), request, (TopUpAt(at(1), bought),))


def story(acme: Subscription, pro: Plan, usage: UsageReader, as_of: datetime) -> BillingRun:
    days = [at(1) + timedelta(days=number) for number in range(1, 31)]
    return bill([subscribe(acme, pro)], [opening()], usage, as_of=as_of, observe=days)


def test_the_story_of_a_month_is_told_as_it_happened(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    run = story(acme, pro, daily("100", 28), at(2, 1, 2))
    # The base fee takes 20 of 50. Five days are free, then a day costs 2.00, and later 1.00.
    assert [(a.alert_type.value, a.status.value, a.at) for a in run.alerts] == [
        ("low_ongoing_balance", "info", at(1, 9)),
        ("low_ongoing_balance", "in_alarm", at(1, 21)),
        ("low_credit_balance", "in_alarm", at(2, 1, 2)),
    ]
    assert [(entry.reason, entry.amount, entry.created_at) for entry in run.debits] == [
        (Reason.CREDIT_ADJUSTMENT, Decimal(20), at(1)),
        (Reason.CREDIT_ADJUSTMENT, Decimal(30), at(2, 1, 2)),
    ]
    assert [each.total for each in run.invoices] == [0, Decimal(23)]


def test_before_the_delay_is_over_the_draft_weighs_on_the_ongoing_balance(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    run = story(acme, pro, daily("100", 28), at(2, 1, 1))
    assert run.invoices[1].status is InvoiceStatus.DRAFT
    (state,) = run.wallets
    assert (state.ongoing.balance, state.ongoing.real_time_balance) == (Decimal(30), Decimal(-23))


def test_the_report_has_the_members_of_the_contract(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    report = as_json(story(acme, pro, daily("100", 28), at(2, 1, 2)))
    assert report["wallets"] == [
        {"customer": "acme", "currency": "usd", "balance": "0", "ongoing_balance": "0"}
    ]
    assert report["alerts"][0] == {  # type: ignore[index]  # a list of objects
        "customer": "acme",
        "type": "low_ongoing_balance",
        "level": "info",
        "at": "2026-01-09T00:00:00Z",
    }
    first = report["invoices"][0]  # type: ignore[index]  # a list of objects
    assert {name: first[name] for name in first if name != "lines"} == {
        "customer": "acme",
        "subscription": "acme/pro",
        "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z",
        "currency": "usd",
        "subtotal": "20",
        "total_discount": "0",
        "total_prepaid_credits_applied": "20",
        "total_tax": "0",
        "total": "0",
    }


def test_the_same_facts_give_the_same_run(acme: Subscription, pro: Plan, daily: Daily) -> None:
    one, other = (story(acme, pro, daily("100", 28), at(3)) for _ in range(2))
    assert repr(one) == repr(other)


def test_running_twice_changes_and_tells_nothing_more(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    store = MemoryStore([subscribe(acme, pro)])
    planned = opening()
    opened = open_wallet(
        planned.request, wallet_id=planned.id, customer_id=ACME, existing=(), at=at(1)
    )
    store.commit(Changes(posted=(opened,)))
    found = running(store, daily("100", 28), ACME, at(1, 20))
    assert keep(store, found)
    told = list(store.tables.outbox.values())
    assert [row.topic for row in told] == ["alerts", "alerts"]
    again = running(store, daily("100", 28), ACME, at(1, 20))
    assert not keep(store, again)
    assert (
        again.balances == found.balances == ongoing_balances(again.wallets, again.claims, at(1, 20))
    )
    assert list(store.tables.outbox.values()) == told
