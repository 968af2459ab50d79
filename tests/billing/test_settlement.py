"""Settlement: prepaid credits on lines, then payments of what is due (wallets-alerts.md 7)."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.wallets.holdings import Holdings
from billing.wallets.settlement import NetLine, in_order, settle_invoice
from schemas.ids import CustomerId, EntryId, LotId, WalletId
from schemas.invoice import PaymentStatus
from schemas.price import PriceType
from schemas.wallet import AllowedType, Lot, Reason, Wallet, WalletStatus, WalletType

DAY = datetime(2026, 2, 1, tzinfo=UTC)
ALL, USAGE, FIXED = AllowedType.ALL, AllowedType.USAGE, AllowedType.FIXED
PRE, POST = WalletType.PRE_PAID, WalletType.POST_PAID


def wallet(name: str, kind: WalletType, credits_held: str, types: AllowedType = ALL) -> Holdings:
    held = Decimal(credits_held)
    lot = Lot(LotId(name), EntryId(name), held, held, Reason.CREDIT_NOTE, DAY)
    made = Wallet(WalletId(name), CustomerId("c"), "usd", kind, DAY, allowed_price_types=(types,))
    return Holdings(made, lots=(lot,))


def lines(usage: str, fixed: str) -> list[NetLine]:
    return [NetLine(PriceType.USAGE, Decimal(usage)), NetLine(PriceType.FIXED, Decimal(fixed))]


@pytest.mark.parametrize(
    ("wallets", "credits_on", "total", "paid"),
    [
        # The worked example: 30 of the usage are covered, then the other pays 50 of 78.
        ([wallet("p", PRE, "30"), wallet("q", POST, "50")], ["30", "0"], "78", "50"),
        ([wallet("p", PRE, "30"), wallet("q", POST, "50", USAGE)], ["30", "0"], "78", "30"),
        ([wallet("p", PRE, "30", FIXED)], ["0", "30"], "78", "0"),
        ([wallet("p", PRE, "500")], ["60", "40"], "8", "0"),
        ([wallet("q", POST, "500")], ["0", "0"], "108", "108"),
        ([wallet("q", POST, "500", FIXED)], ["0", "0"], "108", "40"),
        ([], ["0", "0"], "108", "0"),
    ],
)
def test_wallets_give_by_type_of_line(
    wallets: list[Holdings], credits_on: list[str], total: str, paid: str
) -> None:
    settled = settle_invoice(lines("60", "40"), wallets, DAY, currency="usd", tax=Decimal(8))
    assert [settled.prepaid.on_line(index) for index in range(2)] == [*map(Decimal, credits_on)]
    assert (settled.total, settled.amount_paid) == (Decimal(total), Decimal(paid))
    assert settled.amount_remaining == Decimal(total) - Decimal(paid)


def test_a_frozen_a_closed_and_a_foreign_wallet_take_no_part() -> None:
    frozen = wallet("a", PRE, "9")
    frozen = replace(frozen, wallet=replace(frozen.wallet, wallet_status=WalletStatus.FROZEN))
    closed = wallet("b", POST, "9")
    closed = replace(closed, wallet=replace(closed.wallet, wallet_status=WalletStatus.CLOSED))
    foreign = wallet("c", PRE, "9")
    foreign = replace(foreign, wallet=replace(foreign.wallet, currency="eur"))
    settled = settle_invoice(lines("5", "5"), [frozen, closed, foreign], DAY, currency="usd")
    assert (settled.prepaid.takes, settled.payments) == ((), ())


def test_narrow_wallets_are_asked_before_wide_ones() -> None:
    asked = [
        wallet("wide", PRE, "1"),
        wallet("fees", PRE, "1", FIXED),
        wallet("use", PRE, "1", USAGE),
    ]
    assert [held.wallet.id for held in in_order(asked)] == ["use", "fees", "wide"]


def test_what_is_below_nothing_is_carried() -> None:
    settled = settle_invoice(lines("10", "-30"), [wallet("p", PRE, "50")], DAY, currency="usd")
    assert settled.carried_credit == Decimal(20)
    assert settled.total == settled.prepaid.total == 0
    assert settled.payment_status is PaymentStatus.SUCCEEDED


money = st.integers(0, 100_000).map(lambda cents: Decimal(cents).scaleb(-2))
signed = st.integers(-100_000, 100_000).map(lambda cents: Decimal(cents).scaleb(-2))
some_wallets = st.lists(
    st.tuples(st.sampled_from([PRE, POST]), money, st.sampled_from([ALL, USAGE, FIXED])), max_size=4
).map(
    lambda rows: [
        wallet(f"w{i}", kind, str(held), types) for i, (kind, held, types) in enumerate(rows)
    ]
)


@given(
    st.lists(st.tuples(st.sampled_from(list(PriceType)), signed), max_size=5), some_wallets, money
)
def test_money_is_conserved_whatever_the_wallets(
    rows: list[tuple[PriceType, Decimal]], wallets: list[Holdings], tax: Decimal
) -> None:
    invoice = [NetLine(kind, net) for kind, net in rows]
    settled = settle_invoice(invoice, wallets, DAY, currency="usd", tax=tax)
    net = sum((line.net for line in invoice), Decimal(0))
    on_lines = [settled.prepaid.on_line(index) for index in range(len(invoice))]
    assert sum(on_lines, Decimal(0)) == settled.prepaid.total
    for line, given_credits in zip(invoice, on_lines, strict=True):
        assert 0 <= given_credits <= max(line.net, Decimal(0))
    assert settled.prepaid.total <= max(net, Decimal(0))
    assert settled.total - settled.carried_credit == net - settled.prepaid.total + tax
    assert settled.amount_paid + settled.amount_remaining == settled.total
    held: dict[str, Decimal] = {each.wallet.id: each.lots[0].remaining for each in wallets}
    for part in (*settled.prepaid.takes, *settled.payments):
        assert 0 < part.amount <= held[part.wallet_id]
