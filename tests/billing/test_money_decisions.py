"""What goes on from what a money store has, and decisions: transactions of one customer."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from money_records import (
    ACME,
    DAY,
    SECOND_WALLET,
    SERIES,
    WALLET,
    application,
    filled,
    invoice,
    line,
    number,
    payment,
    purchase,
    row,
)

from billing.configuration import BillingConfig
from billing.ports import Changes, Redemption, Stores
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import terminate
from schemas.coupon import CouponId
from schemas.credit_grant import ApplicationStatus, CreditGrantId
from schemas.customer import Customer
from schemas.ids import CustomerId, WalletId
from schemas.invoice import InvoiceStatus, Role
from schemas.wallet import WalletType

Snapshot = Callable[[Stores], object]
KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, fresh_stores: Callable[[str], Stores]) -> Stores:
    return fresh_stores(request.param)


OPENED = filled(key="a")
CLOSED = terminate(OPENED.holdings, DAY)
DRAFT = invoice("i", line("a"), line("b", "other"))
VOID = replace(DRAFT, status=InvoiceStatus.VOIDED, version=2)
AGAIN = invoice("j", line("c"), line("d", "other"))

# What follows another commit, or goes on from a part of its own.
TAKEN: list[tuple[str, tuple[Changes, ...]]] = [
    (
        "writes that go on from each other",
        (Changes(posted=(OPENED, filled(OPENED.holdings, "b"))),),
    ),
    (
        "a wallet in the place of one that is closed later in the commit",
        (Changes(posted=(OPENED,)), Changes(posted=(filled(SECOND_WALLET), CLOSED))),
    ),
    (
        "wallets of other currencies and types",
        (
            Changes(posted=(filled(),)),
            Changes(
                posted=(
                    filled(replace(WALLET, id=WalletId("e"), currency="eur")),
                    filled(
                        replace(WALLET, id=WalletId("p"), wallet_type=WalletType.POST_PAID),
                    ),
                )
            ),
        ),
    ),
    (
        "a wallet that was opened empty, and its settings",
        (
            Changes(posted=(Posted(0, Holdings(WALLET)),)),
            Changes(posted=(Posted(0, Holdings(replace(WALLET, name="new"))),)),
            Changes(posted=(filled(),)),
        ),
    ),
    ("a draft that is computed again", (Changes(invoices=(DRAFT, replace(DRAFT, version=2))),)),
    (
        "a draft that loses a line to another invoice",
        (
            Changes(invoices=(DRAFT,)),
            Changes(
                invoices=(
                    invoice("j", line("d", "other")),
                    replace(DRAFT, lines=DRAFT.lines[:1], version=2),
                )
            ),
        ),
    ),
    ("a first version above 1", (Changes(invoices=(replace(DRAFT, version=2),)),)),
    (
        "what a void invoice billed, in the same commit too",
        (Changes(invoices=(DRAFT,)), Changes(invoices=(AGAIN, VOID))),
    ),
    (
        "adjustments and lines of no subscription as often as need be",
        (
            Changes(invoices=(invoice("i", line("a", role=Role.ADJUSTMENT)),)),
            Changes(
                invoices=(
                    invoice("j", line("b", role=Role.ADJUSTMENT), line("c", own=None)),
                    invoice("k", line("d", own=None)),
                )
            ),
        ),
    ),
    (
        "an invoice that keeps its number",
        (
            Changes(invoices=(replace(DRAFT, invoice_number="INV-1"),)),
            Changes(invoices=(replace(DRAFT, invoice_number="INV-1", version=2),)),
        ),
    ),
    (
        "numbers in a row, from wherever a series starts",
        (Changes(numbers=(number(7), number(8))), Changes(numbers=(number(9),))),
    ),
    (
        "payments and purchases that keep their keys, and many without one",
        (
            Changes(
                invoices=(invoice(),),
                payments=(payment("p", "k"), payment("q"), payment("r")),
                purchases=(purchase("p", "k"), purchase("q"), purchase("r")),
            ),
            Changes(
                payments=(payment("p", "k", version=2),),
                purchases=(purchase("p", "k", version=2),),
            ),
        ),
    ),
    (
        "a payment under the key of one that was deleted",
        (
            Changes(invoices=(invoice(),), payments=(payment("p", "k"),)),
            Changes(deleted_payments=(payment("p", "k"),)),
            Changes(payments=(payment("q", "k"),)),
        ),
    ),
    (
        "an application that waits until it is decided",
        (
            Changes(applications=(application("a"),)),
            Changes(
                applications=(application("a", ApplicationStatus.FAILED), application("b", day=9))
            ),
            Changes(applications=(application("a", ApplicationStatus.APPLIED),)),
        ),
    ),
    (
        "a redemption that is known",
        (Changes(redemptions=(Redemption(CouponId("c"), "s", DAY),)),) * 2,
    ),
    (
        "a customer as it is now",
        (
            Changes(customers=(Customer(ACME, "acme", "Acme"),)),
            Changes(customers=(Customer(ACME, "acme", "Acme Ltd"),)),
        ),
    ),
    ("nothing at all", (Changes(),)),
]


@pytest.mark.parametrize("commits", [case[1] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_what_goes_on_from_what_is_there_is_taken(
    stores: Stores, commits: tuple[Changes, ...]
) -> None:
    for changes in commits:
        stores.commit(changes)
    last = commits[-1]
    for posted in {each.holdings.wallet.id: each for each in last.posted}.values():
        assert stores.holdings(posted.holdings.wallet.id) == posted.holdings
    for made in {each.id: each for each in last.invoices}.values():
        assert stores.invoice(made.id) == made
    for taken in last.numbers[-1:]:
        assert stores.last_number(taken.series) == taken.sequence
    for each in last.payments:
        assert stores.payment(each.id) == each
    for redemption in last.redemptions:
        assert stores.redeemed_by(redemption.coupon_id) == {redemption.redeemed_by}
    for customer in last.customers:
        assert stores.customer(customer.id) == customer
    # The last one of a grant is the one that starts last, whatever was written last.
    wanted = application("b", day=9) if last.applications else None
    assert stores.last_application(CreditGrantId("g")) == wanted


def test_a_decision_sees_what_it_has_committed(stores: Stores) -> None:
    with stores.deciding(ACME) as held:
        assert held.last_number(SERIES) is None
        held.commit(Changes(posted=(OPENED,), invoices=(DRAFT,), numbers=(number(1),)))
        assert held.holdings(WALLET.id) == OPENED.holdings
        assert held.invoice(DRAFT.id) == DRAFT
        assert held.last_number(SERIES) == 1
        held.commit(Changes(numbers=(number(2),), wake={ACME: DAY}))
        assert held.plan(ACME, DAY, None)
    assert stores.last_number(SERIES) == 2
    assert stores.due_customers(DAY, 9) == ()
    assert stores.config() == BillingConfig()


def test_a_decision_that_raises_leaves_nothing(stores: Stores, everything: Snapshot) -> None:
    stores.commit(Changes(posted=(OPENED,)))
    before = everything(stores)

    def decide() -> None:
        with stores.deciding(ACME) as held:
            held.commit(Changes(posted=(CLOSED,), invoices=(DRAFT,), outbox=(row("m"),)))
            held.commit(Changes(numbers=(number(1),), wake={ACME: DAY}))
            raise KeyError

    with pytest.raises(KeyError):
        decide()
    assert everything(stores) == before


def test_a_decision_inside_a_decision_is_a_bug(stores: Stores) -> None:
    with (
        stores.deciding(ACME) as held,
        pytest.raises(AssertionError, match="inside"),
        held.deciding(CustomerId("other")),
    ):
        pass
    with (
        stores.deciding(ACME),
        pytest.raises(AssertionError, match="inside"),
        stores.deciding(CustomerId("other")),
    ):
        pass
    with stores.deciding(ACME) as held:
        held.commit(Changes(outbox=(row("m"),)))


def test_who_waits_longest_is_looked_at_first(stores: Stores) -> None:
    one, two, three = (CustomerId(name) for name in ("B", "a", "c"))
    later = DAY + timedelta(microseconds=1)
    stores.commit(Changes(wake={three: later, two: DAY}))
    stores.commit(Changes(wake={one: DAY, three: later + timedelta(1), two: later}))
    assert stores.due_customers(DAY - timedelta(microseconds=1), 9) == ()
    # Of those who wait equally long, the first by the numbers of their characters.
    assert stores.due_customers(DAY, 9) == ((one, DAY), (two, DAY))
    assert stores.due_customers(later, 2) == ((one, DAY), (two, DAY))
    assert stores.due_customers(later, 3) == ((one, DAY), (two, DAY), (three, later))


def test_a_plan_rests_on_what_was_planned(stores: Stores) -> None:
    later = DAY + timedelta(1)
    stores.commit(Changes(wake={ACME: later}))
    assert not stores.plan(ACME, DAY, None)
    assert not stores.plan(CustomerId("nobody"), DAY, later)
    stores.commit(Changes(wake={ACME: DAY}))
    assert not stores.plan(ACME, later, None)
    assert stores.plan(ACME, DAY, later)
    assert stores.due_customers(later, 9) == ((ACME, later),)
    assert stores.plan(ACME, later, None)
    assert stores.due_customers(later, 9) == ()
