"""Applying the accounts of a catalog: begun as the file says, changed when the time has come."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from applied_file import CANCELLATION, NOW, PRICE_CHANGE, WAITING, Instance, told

from billing.catalog import whole_plan
from billing.stores.database import migrate, open_database
from flows.applying import apply_catalog
from flows.catalog import Catalog
from flows.catalog_account_differences import on_plan
from schemas.errors import InvalidOperation
from schemas.ids import SubscriptionId
from schemas.subscription import SubscriptionStatus


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    database = open_database(f"sqlite:///{tmp_path / 'tally.db'}")
    migrate(database)
    yield Instance(database, tmp_path)
    database.close()


def test_accounts_begin_as_the_file_says(instance: Instance) -> None:
    instance.apply()
    loaded = instance.load()
    [wanted] = loaded.subscriptions
    stored = instance.stores.subscription(wanted.id)
    assert stored is not None
    assert stored.status is SubscriptionStatus.ACTIVE
    assert [line.id for line in stored.lines] == [line.id for line in wanted.lines]
    assert [each.coupon.coupon_code for each in stored.coupons] == ["TEN"]
    assert [each.rate.code for each in stored.taxes] == ["vat"]
    assert instance.stores.redeemed_by(stored.coupons[0].coupon.id) == {stored.id}
    [held] = instance.stores.wallets_of(stored.customer_id)
    assert held.wallet.alert_settings is not None
    entries = [each for each in instance.rows()["wallet_entries"] if "50" in str(each)]
    assert entries != []


def test_a_subscription_of_the_file_is_that_of_the_stored_plan(instance: Instance) -> None:
    instance.apply()
    loaded = instance.load()
    [wanted] = loaded.subscriptions
    plan = whole_plan(instance.objects, wanted.plan_id or "")
    assert plan is not None
    made_of = on_plan(wanted, plan, {})
    assert [line.id for line in made_of.lines] == [line.id for line in wanted.lines]
    assert [line.commitment for line in made_of.lines] == [line.commitment for line in wanted.lines]
    assert made_of.credit_grants == wanted.credit_grants
    assert made_of.coupons == wanted.coupons


def test_changes_of_the_file_wait_for_their_time(instance: Instance) -> None:
    changes = f"[{PRICE_CHANGE}, {CANCELLATION}]"
    report = instance.apply(changes=changes)
    waits = [each for each in told(report) if each[2] == "waits"]
    assert waits == [
        ("price", "pro/fee", "waits", "other terms from 2026-03-01 00:00:00Z"),
        ("top-up", "acme/usd/PRE_PAID 2026-03-01 00:00:00Z", "waits", "for its time"),
        ("change", "Cancel acme/pro 2026-03-05 00:00:00Z", "waits", "for its time"),
    ]
    [fee] = instance.chain()
    assert (fee.end_date, fee.replaced_by) == (None, None)
    [wanted] = instance.load(changes=changes).subscriptions
    stored = instance.stores.subscription(wanted.id)
    assert stored is not None
    assert stored.cancelled_at is None

    march = datetime(2026, 3, 10, tzinfo=UTC)
    due = instance.apply(march, changes=changes)
    assert told(due) == [
        ("price", "pro/fee", "new version", "amount: 20 → 30; from 2026-03-01 00:00:00Z"),
        ("top-up", "acme/usd/PRE_PAID 2026-03-01 00:00:00Z", "create", ""),
        (
            "change",
            "Cancel acme/pro 2026-03-05 00:00:00Z",
            "update",
            "it ends at 2026-03-10 00:00:01Z",
        ),
    ]
    first, second = instance.chain()
    assert first.end_date == second.start_date == datetime(2026, 3, 1, tzinfo=UTC)
    after = instance.stores.subscription(wanted.id)
    assert after is not None
    assert after.cancelled_at == march + timedelta(seconds=1)
    before = instance.rows()
    assert told(instance.apply(march + timedelta(days=9), changes=changes)) == []
    assert instance.rows() == before


OF_WALLET = '{at: "2026-02-01T00:00:00Z", customer: acme, currency: usd, route: %s, body: {%s}}'
WALLET_CHANGES = (
    OF_WALLET % ("top-up", "credits_to_add: 3"),
    OF_WALLET % ("debit", "credits: 2"),
    OF_WALLET % ("debit", "credits: 2"),
)


def test_credits_that_changes_bring_and_take_move_once(instance: Instance) -> None:
    changes = f"[{', '.join(WALLET_CHANGES)}]"
    due = [each for each in told(instance.apply(changes=changes)) if each[0] == "change"]
    assert [(name.split()[0], action) for _, name, action, _ in due] == [
        ("TopUpWallet", "update"),
        ("DebitWallet", "update"),
        ("DebitWallet", "update"),
    ]
    [wanted] = instance.load().agreed
    [held] = instance.stores.wallets_of(wanted.customer_id)
    assert sum(lot.remaining for lot in held.lots) == 50 + 3 - 4 + 5 - 18
    before = instance.rows()
    assert told(instance.apply(changes=changes)) == WAITING
    # What comes before them in the file changes nothing for them.
    more = f"[{PRICE_CHANGE}, {', '.join(WALLET_CHANGES)}]"
    assert [each[2] for each in told(instance.apply(changes=more))] == ["waits", "waits"]
    assert instance.rows() == before


def test_a_subscription_that_is_over_already_is_made_with_its_end(instance: Instance) -> None:
    march = datetime(2026, 3, 10, tzinfo=UTC)
    report = instance.apply(march, changes=f"[{CANCELLATION}]")
    assert ("subscription", "acme/pro", "create", "") in told(report)
    [wanted] = instance.load().agreed
    stored = instance.stores.subscription(wanted.id)
    assert stored is not None
    assert stored.cancelled_at == datetime(2026, 3, 5, tzinfo=UTC)
    assert told(instance.apply(march, changes=f"[{CANCELLATION}]")) == []


def test_a_coupon_that_is_used_up_refuses_the_whole_file(instance: Instance) -> None:
    loaded = instance.load()
    [coupon] = loaded.coupons
    limited = replace(coupon, max_redemptions=1)
    [first] = loaded.subscriptions
    attachment = replace(first.coupons[0], coupon=limited)
    both = tuple(
        replace(first, id=SubscriptionId(name), lookup_key=name, coupons=(attachment,))
        for name in ("a", "b")
    )
    catalog = replace(loaded, coupons=(limited,), agreed=both)
    before = instance.rows()
    with pytest.raises(InvalidOperation, match="subscription b: coupon 'TEN'"):
        apply_catalog(instance.stores, instance.objects, catalog, NOW)
    assert instance.rows() == before


def test_how_a_wallet_is_configured_follows_the_file_and_its_rate_stays(
    instance: Instance,
) -> None:
    instance.apply()
    loaded = instance.load()
    [opening] = loaded.wallets

    def with_request(**values: object) -> Catalog:
        request = opening.request.model_copy(update=values)
        return replace(loaded, wallets=(replace(opening, request=request),))

    renamed = with_request(name="Main", priority=3)
    report = apply_catalog(instance.stores, instance.objects, renamed, NOW)
    assert told(report)[0] == (
        "wallet",
        "acme/usd/PRE_PAID",
        "update",
        "name: Prepaid Wallet - USD → Main; priority: nothing → 3",
    )
    assert told(apply_catalog(instance.stores, instance.objects, renamed, NOW)) == WAITING
    before = instance.rows()
    dearer = with_request(name="Main", priority=3, conversion_rate=Decimal(2))
    with pytest.raises(InvalidOperation, match="conversion_rate"):
        apply_catalog(instance.stores, instance.objects, dearer, NOW)
    assert instance.rows() == before
