"""What every money store promises: a commit is whole or nothing, and who comes second is refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from money_records import (
    ACME,
    ALERT,
    BILLED,
    DAY,
    DECIDED,
    SECOND_WALLET,
    SOLD,
    STREAM,
    WALLET,
    application,
    both,
    filled,
    invoice,
    line,
    number,
    payment,
    purchase,
    row,
)

from billing.invoices.numbers import InvoiceNumber, Series
from billing.ports import Changes, Redemption, Stores
from billing.wallets.holdings import Holdings
from schemas.coupon import CouponId
from schemas.customer import Customer
from schemas.errors import AlreadyExists, Refused, ValidationFailed, VersionConflict
from schemas.ids import CustomerId, SubscriptionId, WalletId

Snapshot = Callable[[Stores], object]
KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, fresh_stores: Callable[[str], Stores]) -> Stores:
    return fresh_stores(request.param)


# What was committed before, what is refused then, and how.
REFUSED: list[tuple[str, Changes, Changes, type[Refused]]] = [
    (
        "a wallet that has moved on",
        Changes(posted=(filled(key="a"),)),
        Changes(posted=(filled(key="b"),)),
        VersionConflict,
    ),
    (
        "a wallet that is not there",
        Changes(),
        Changes(posted=(filled(Holdings(WALLET, sequence=3)),)),
        VersionConflict,
    ),
    (
        "a second write that does not go on from the first",
        Changes(),
        Changes(posted=(filled(key="a"), filled(key="b"))),
        VersionConflict,
    ),
    (
        "a key that another wallet used",
        Changes(posted=(filled(key="a"),)),
        Changes(posted=(filled(replace(WALLET, id=WalletId("o"), currency="eur"), "a"),)),
        VersionConflict,
    ),
    (
        "a key twice in one commit",
        Changes(),
        Changes(posted=(one := filled(key="a"), filled(one.holdings, "a"))),
        VersionConflict,
    ),
    (
        "a second active wallet, whatever the case of its currency",
        Changes(posted=(filled(),)),
        Changes(posted=(filled(SECOND_WALLET),)),
        AlreadyExists,
    ),
    (
        "two active wallets in one commit",
        Changes(),
        Changes(posted=(filled(), filled(SECOND_WALLET))),
        AlreadyExists,
    ),
    (
        "a subscription of the same version",
        Changes(subscriptions=(SOLD,)),
        Changes(subscriptions=(SOLD,)),
        VersionConflict,
    ),
    (
        "an invoice two versions on",
        BILLED,
        Changes(invoices=(invoice("i", line("a"), version=3),)),
        VersionConflict,
    ),
    (
        "an invoice twice in one commit",
        Changes(),
        Changes(invoices=(invoice(), invoice())),
        VersionConflict,
    ),
    (
        "a service that another invoice bills",
        BILLED,
        Changes(invoices=(invoice("j", line("b")),)),
        AlreadyExists,
    ),
    (
        "a service twice on an invoice",
        Changes(),
        Changes(invoices=(invoice("i", line("a"), line("b")),)),
        AlreadyExists,
    ),
    (
        "the number of another invoice",
        Changes(invoices=(invoice("i", invoice_number="INV-1"),)),
        Changes(invoices=(invoice("j", invoice_number="INV-1"),)),
        AlreadyExists,
    ),
    (
        "a number that was taken",
        Changes(numbers=(number(1),)),
        Changes(numbers=(number(1),)),
        VersionConflict,
    ),
    (
        "a number that leaves a gap",
        Changes(numbers=(number(1),)),
        Changes(numbers=(number(3),)),
        VersionConflict,
    ),
    (
        "a payment of the same version",
        Changes(invoices=(invoice(),), payments=(payment("p"),)),
        Changes(payments=(payment("p"),)),
        VersionConflict,
    ),
    (
        "the key of another payment",
        Changes(invoices=(invoice(),), payments=(payment("p", "k"),)),
        Changes(payments=(payment("q", "k"),)),
        VersionConflict,
    ),
    (
        "a payment of no invoice",
        Changes(),
        Changes(payments=(payment("p"),)),
        ValidationFailed,
    ),
    (
        "to delete a payment that has moved on",
        Changes(invoices=(invoice(),), payments=(payment("p"), payment("p", version=2))),
        Changes(deleted_payments=(payment("p"),)),
        VersionConflict,
    ),
    (
        "to delete a payment that is not there",
        Changes(),
        Changes(deleted_payments=(payment("p"),)),
        VersionConflict,
    ),
    (
        "the key of another purchase",
        Changes(purchases=(purchase("p", "k"),)),
        Changes(purchases=(purchase("q", "k"),)),
        VersionConflict,
    ),
    (
        "a purchase of the same version",
        Changes(purchases=(purchase("p"),)),
        Changes(purchases=(purchase("p"),)),
        VersionConflict,
    ),
    (
        "a change of a stream that was seen by another",
        Changes(streams=(STREAM,), alerts=(ALERT,)),
        Changes(streams=(STREAM,), alerts=(ALERT,)),
        VersionConflict,
    ),
    (
        "an alert that was told",
        Changes(streams=(STREAM,), alerts=(ALERT,)),
        Changes(alerts=(ALERT,)),
        VersionConflict,
    ),
    ("an alert of no stream", Changes(), Changes(alerts=(ALERT,)), ValidationFailed),
    ("an application that was decided", DECIDED, DECIDED, VersionConflict),
    (
        "a second application of a period",
        Changes(applications=(application("a"),)),
        Changes(applications=(application("b"),)),
        VersionConflict,
    ),
    (
        "a row that was told",
        Changes(outbox=(row("m"),)),
        Changes(outbox=(row("m"),)),
        VersionConflict,
    ),
    (
        "a row twice in one commit",
        Changes(),
        Changes(outbox=(row("m"), row("m"))),
        VersionConflict,
    ),
    (
        "the external id of another customer",
        Changes(customers=(Customer(ACME, "x"),)),
        Changes(customers=(Customer(CustomerId("b"), "x"),)),
        AlreadyExists,
    ),
]
# What could be written by itself, and must not be where something beside it is refused.
INNOCENT = Changes(
    customers=(Customer(CustomerId("innocent"), "innocent"),),
    subscriptions=(replace(SOLD, id=SubscriptionId("innocent")),),
    posted=(filled(replace(WALLET, id=WalletId("innocent"), currency="jpy"), "innocent"),),
    numbers=(InvoiceNumber(Series("X", "2026"), 1, "X-2026-1"),),
    redemptions=(Redemption(CouponId("c"), "innocent", DAY),),
    outbox=(row("innocent"),),
    wake={ACME: DAY},
)


@pytest.mark.parametrize(
    ("before", "changes", "error"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_what_is_refused_changes_nothing(
    stores: Stores,
    everything: Snapshot,
    before: Changes,
    changes: Changes,
    error: type[Refused],
) -> None:
    stores.commit(before)
    told = everything(stores)
    with pytest.raises(error) as refused:
        stores.commit(both(INNOCENT, changes))
    assert type(refused.value) is error
    assert everything(stores) == told
    # In a decision that goes on after it, what was committed before stands, and nothing of it.
    with stores.deciding(ACME) as held:
        held.commit(Changes(outbox=(row("first"),)))
        with pytest.raises(error):
            held.commit(both(INNOCENT, changes))
        held.commit(Changes(outbox=(row("last"),)))
    told = everything(stores)
    with pytest.raises(VersionConflict):
        stores.commit(Changes(outbox=(row("first"),)))
    with pytest.raises(VersionConflict):
        stores.commit(Changes(outbox=(row("last"),)))
    assert everything(stores) == told
    stores.commit(INNOCENT)
