"""Correcting: late usage goes from final invoices onto the next one, once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.invoices.correcting import corrections
from billing.ports import UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due
from schemas.ids import InvoiceId
from schemas.invoice import Invoice, InvoiceLine, InvoiceStatus
from schemas.money import total
from schemas.period import Interval
from schemas.subscription import Entitlement, Plan, ResetPeriod, Subscription

Reading = tuple[datetime, Decimal]
Listed = Callable[[Sequence[Reading]], UsageReader]


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


EARLY = [(at(1, 5), Decimal(1500)), (at(2, 5), Decimal(600))]
LATE = (at(1, 20), Decimal(500))


@pytest.fixture
def sold(acme: Subscription, pro: Plan) -> Subscription:
    return subscribe(acme, pro)


def closed(subscription: Subscription, usage: UsageReader, until: datetime) -> list[Invoice]:
    store = MemoryStore([subscription])
    close_due(store, usage, until)
    return list(store.invoices_of(subscription.id))


def billed(lines: Sequence[InvoiceLine]) -> list[tuple[int, Decimal, Decimal]]:
    return [(line.period.start.month, line.quantity, line.amount) for line in lines]


def test_late_usage_is_on_the_next_invoice_once(sold: Subscription, listed: Listed) -> None:
    known = closed(sold, listed(EARLY), at(2, 1, 2))
    usage = listed([*EARLY, LATE])
    made = corrections(InvoiceId("march"), sold, known, usage, as_of=at(3))
    # 1500 − 500 at 0.02 were 20.00; the 500 that came late are at 0.01.
    assert billed(made) == [(1, Decimal(500), Decimal("5.00"))]
    march = replace(known[-1], id=InvoiceId("march"), period=Interval(at(2), at(3)), lines=made)
    again = corrections(InvoiceId("april"), sold, [*known, march], usage, as_of=at(4), since=at(1))
    assert [line for line in again if line.period.start.month == 1] == []


def test_what_is_still_a_draft_or_void_is_not_corrected(sold: Subscription, listed: Listed) -> None:
    known = closed(sold, listed(EARLY), at(2))
    assert known[-1].status is InvoiceStatus.DRAFT
    usage = listed([*EARLY, LATE])
    assert corrections(InvoiceId("next"), sold, known, usage, as_of=at(3)) == ()
    void = [replace(each, status=InvoiceStatus.VOIDED) for each in known]
    assert corrections(InvoiceId("next"), sold, void, usage, as_of=at(3)) == ()


def test_a_skipped_invoice_is_corrected_too(acme: Subscription, pro: Plan, listed: Listed) -> None:
    usage_only = subscribe(acme, replace(pro, prices=pro.prices[1:]))
    known = closed(usage_only, listed([]), at(2, 2))
    assert [each.status for each in known] == [InvoiceStatus.SKIPPED]
    made = corrections(InvoiceId("next"), usage_only, known, listed([LATE, LATE]), as_of=at(3))
    assert billed(made) == [(1, Decimal(500), Decimal("10.00"))]


def test_an_allowance_carries_late_usage_into_later_periods(
    acme: Subscription, pro: Plan, listed: Listed
) -> None:
    yearly: Entitlement = replace(pro.entitlements[0], usage_reset_period=ResetPeriod.ANNUAL)
    sold = subscribe(acme, replace(pro, entitlements=(yearly,)))
    known = closed(sold, listed([(at(2, 5), Decimal(500))]), at(3, 2))
    usage = listed([(at(1, 5), Decimal(200)), (at(2, 5), Decimal(500))])
    made = corrections(InvoiceId("next"), sold, known, usage, as_of=at(4), since=at(1, 5))
    # January takes 200 of the 500 that are included, so 200 of February's are billed.
    assert billed(made) == [(2, Decimal(200), Decimal("4.00"))]
    assert corrections(InvoiceId("next"), sold, known, usage, as_of=at(4), since=at(3)) == ()
    whole = closed(sold, usage, at(3, 2))
    every = [line for each in known for line in each.lines]
    assert total(line.amount for line in [*every, *made]) == total(
        line.amount for each in whole for line in each.lines
    )
