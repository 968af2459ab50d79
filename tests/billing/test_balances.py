"""The ongoing balance: the table of wallets-alerts.md 9, then that it is what settling leaves."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.wallets.balances import Claim, ClaimState, ongoing_balances
from billing.wallets.holdings import Holdings, balance
from billing.wallets.ledger import take
from billing.wallets.settlement import NetLine, settle_invoice
from schemas.ids import CustomerId, EntryId, LotId, WalletId
from schemas.price import PriceType
from schemas.wallet import AllowedType, Lot, Reason, Wallet, WalletType

NOW = datetime(2026, 2, 1, 1, tzinfo=UTC)
ENDED, ENDING = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
PRE, POST = WalletType.PRE_PAID, WalletType.POST_PAID


def wallet(
    kind: WalletType,
    *lots: tuple[str, datetime | None],
    rate: str = "1",
    types: AllowedType = AllowedType.ALL,
) -> Holdings:
    made = Wallet(
        WalletId(kind.value),
        CustomerId("c"),
        "usd",
        kind,
        NOW - timedelta(days=90),
        conversion_rate=Decimal(rate),
        allowed_price_types=(types,),
    )
    rows = [
        Lot(
            LotId(f"l{i}"),
            EntryId("e"),
            Decimal(held),
            Decimal(held),
            Reason.CREDIT_NOTE,
            NOW,
            None,
            expiry,
        )
        for i, (held, expiry) in enumerate(lots)
    ]
    return Holdings(made, lots=tuple(rows))


def claim(
    state: ClaimState, *lines: tuple[str, str], paid: str = "0", end: datetime = ENDING
) -> Claim:
    rows = tuple(NetLine(PriceType(kind), Decimal(net)) for kind, net in lines)
    return Claim(state, "usd", end, rows, amount_paid=Decimal(paid))


OPEN, DRAFT, FINAL = ClaimState.OPEN, ClaimState.DRAFT, ClaimState.FINALIZED
SUMMER = [("USAGE", "22.5"), ("USAGE", "31.5"), ("USAGE", "7.5")]
OWED = claim(FINAL, ("USAGE", "65"), ("FIXED", "50"), paid="30", end=ENDED)
USED = claim(OPEN, ("USAGE", "50"))


@pytest.mark.parametrize(
    ("wallets", "claims", "left"),
    [
        ([wallet(PRE, ("1000", None))], [claim(OPEN, *SUMMER)], ["938.50"]),
        ([wallet(PRE, ("1000", None))], [claim(OPEN, ("USAGE", "5"), ("FIXED", "20"))], ["995"]),
        ([wallet(PRE, ("1000", None))], [claim(DRAFT, ("USAGE", "5"), ("FIXED", "20"))], ["975"]),
        (
            [wallet(PRE, ("40", None)), wallet(POST, ("50", None))],
            [claim(OPEN, *SUMMER)],
            ["-21.50", "28.50"],
        ),
        ([wallet(PRE, ("1000", None), rate="0.01")], [claim(OPEN, ("USAGE", "4"))], ["6"]),
        ([wallet(POST, ("1000", None))], [OWED, USED], ["865"]),
        ([wallet(POST, ("1000", None), types=AllowedType.USAGE)], [OWED, USED], ["915"]),
        ([wallet(POST, ("1000", None), types=AllowedType.FIXED)], [OWED, USED], ["950"]),
        (
            [wallet(PRE, ("100", ENDED), ("20", None))],
            [claim(DRAFT, ("USAGE", "60"), end=ENDED), claim(OPEN, ("USAGE", "5"))],
            ["15"],
        ),
    ],
)
def test_the_ongoing_balance_is_that_of_the_table(
    wallets: list[Holdings], claims: list[Claim], left: list[str]
) -> None:
    answers = ongoing_balances(wallets, claims, NOW)
    assert [answer.real_time_balance for answer in answers] == [Decimal(each) for each in left]


money = st.integers(0, 50_000).map(lambda cents: Decimal(cents).scaleb(-2))
rows = st.lists(st.tuples(st.sampled_from(["USAGE", "FIXED"]), money.map(str)), max_size=4)


@given(money, money, rows, st.sampled_from(["1", "0.01", "0.37"]), st.permutations([0, 1]))
def test_settling_the_claims_now_leaves_the_ongoing_balance(
    held: Decimal, other: Decimal, lines: list[tuple[str, str]], rate: str, order: list[int]
) -> None:
    wallets = [
        wallet(PRE, (str(held), None), rate=rate),
        wallet(POST, (str(other), None), rate=rate),
    ]
    claims = [claim(DRAFT, *lines, end=ENDED), claim(DRAFT, *lines, end=ENDING)]
    answers = ongoing_balances(wallets, [claims[i] for i in order], NOW)
    after: dict[str, Holdings] = {each.wallet.id: each for each in wallets}
    for each in claims:
        settled = settle_invoice(
            each.lines, list(after.values()), NOW, currency="usd", period_end=each.period_end
        )
        for part in (*settled.prepaid.takes, *settled.payments):
            posted = take(
                after[part.wallet_id], part.amount, NOW, invoice_id="i", period_end=each.period_end
            )
            after[part.wallet_id] = posted.holdings
    for answer in answers:
        left = balance(after[answer.wallet_id], NOW)
        assert abs(left - max(answer.real_time_balance, Decimal(0))) < Decimal("0.01")
