"""Explaining: each kind of line as the sentences that a finance person reads."""

from typing import Any

import pytest

from billing.explaining import BUCKETS_SHOWN_MAX, Sentence, explain, lines

JANUARY = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")


def part(
    quantity: str, rate: str, amount: str, tier: int | None = None, flat: str = "0"
) -> dict[str, Any]:
    return {
        "tier": tier,
        "quantity": quantity,
        "unit_amount": rate,
        "flat_amount": flat,
        "amount": amount,
    }


def rated(quantity: str, *components: dict[str, Any], **members: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "price_id": "p",
        "billing_model": "FLAT_FEE",
        "tier_mode": None,
        "tiers": [],
        "package": None,
        "from": "0",
        "quantity": quantity,
        "components": list(components),
        "share": None,
    }
    return plain | members


TIERS = [{"up_to": 1000}, {"up_to": None}]
SLAB = {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS}
VOLUME = SLAB | {"tier_mode": "VOLUME"}
PACKS = {"billing_model": "PACKAGE", "package": {"size": 100, "round": "up"}}
WINDOW = {
    "start": JANUARY[0],
    "end": JANUARY[1],
    "limit": 500,
    "used_before": "0",
    "usage": "2800",
    "covered": "500",
}
USED = {"meter_id": "tokens", "total": "2800", "windows": [WINDOW], "billable": "2300"}
PROMISED = {
    "level": "line",
    "type": "amount",
    "value": "100",
    "share": ["17", "31"],
    "prorated": "54.838",
    "used_before": "10",
    "overage_factor": "1.5",
    "true_up_enabled": False,
    "within": "44.84",
    "overage": "7.74",
    "true_up": "0.00",
}
SECONDS = {
    "strategy": "second_based",
    "service": ["2026-01-15T00:00:00Z", JANUARY[1]],
    "full": list(JANUARY),
    "timezone": "UTC",
    "numerator": "1468800",
    "denominator": "2678400",
}
DAYS = SECONDS | {"strategy": "day_based", "numerator": "17", "denominator": "31"}


def read(**members: Any) -> list[str]:
    """Return the lines below the head of an explanation."""
    plain: dict[str, Any] = {"currency": "usd", "role": "usage", "exact": "12", "amount": "12.00"}
    return list(lines(explain("tokens", *JANUARY, plain | members)))[1:]


SETTLED = "  12 is settled to 12.00 usd"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {
                "usage": USED,
                "pricing": [
                    rated(
                        "2300",
                        part("1000", "0.02", "21", 0, "1"),
                        part("1300", "0.01", "13", 1),
                        **SLAB,
                    )
                ],
            },
            [
                "  2800 used, by meter tokens",
                "    2026-01-01 to 2026-02-01: 2800 used; 500 included: 500 are free",
                "    2800 − 500 included = 2300 to be priced",
                "  2300 priced by p, by tiers, each unit at the rate of its own tier",
                "    tier 1, up to 1000: 1000 × 0.02 + 1 for the tier = 21",
                "    tier 2, above 1000: 1300 × 0.01 = 13",
                "    21 + 13 = 34",
                SETTLED,
            ],
        ),
        (
            {"usage": USED | {"windows": [WINDOW | {"limit": None}]}},
            [
                "  2800 used, by meter tokens",
                "    2026-01-01 to 2026-02-01: 2800 used; all of it is included",
                "    2800 − 500 included = 2300 to be priced",
                SETTLED,
            ],
        ),
        (
            {"usage": USED | {"windows": [], "billable": "2800"}},
            ["  2800 used, by meter tokens; nothing is included, so 2800 are priced", SETTLED],
        ),
        (
            {
                "pricing": [
                    rated("5", part("10", "2", "20", 0), share=["1", "2"], amount="10", **VOLUME)
                ]
            },
            [
                "  5 priced by p, by volume, all units at the rate of the tier reached",
                "    tier 1, up to 1000: 10 × 2 = 20",
                "    5 units are 1/2 of the period's: 10",
                SETTLED,
            ],
        ),
        (
            {"pricing": [rated("250", part("3", "5", "15"), **PACKS, **{"from": "50"})]},
            [
                "  250 priced by p, by the package, after 50 that were priced before a change of price",
                "    packages of 100, rounded up: 3 × 5 = 15",
                SETTLED,
            ],
        ),
        (
            {"pricing": [rated("0")]},
            ["  0 priced by p, every unit at one rate", "    nothing to pay: 0", SETTLED],
        ),
        (
            {"proration": SECONDS},
            [
                "  × 1468800/2678400 seconds: 2026-01-15 to 2026-02-01 of 2026-01-01 to 2026-02-01",
                SETTLED,
            ],
        ),
        (
            {"proration": DAYS},
            [
                "  × 17/31 days: 2026-01-15 to 2026-02-01 of 2026-01-01 to 2026-02-01",
                SETTLED,
            ],
        ),
        (
            {"commitment": PROMISED},
            [
                "  the line has promised 100 × 17/31 of its time: 54.838, 10 of it used before",
                "    44.84 within the commitment + 7.74 above it, × 1.5 included",
                SETTLED,
            ],
        ),
        (
            {"role": "adjustment", "adjusts": {"correct": "22.50", "billed": ["10.50"]}},
            ["  12 is settled to 22.50 usd", "  22.50 − 10.50 billed before = 12.00"],
        ),
        (
            {
                "role": "adjustment",
                "amount": "-9.00",
                "change": {"charged": "10.00", "credited_before": "1.00", "unused": "9.40"},
            },
            [
                "  of this 9.40 usd is not used",
                "  10.00 was charged, 1.00 given back before: -9.00 for what is not used",
            ],
        ),
        ({"role": "fixed"}, ["  12 was asked for", SETTLED]),
        (
            {
                "discounts": [
                    {"coupon_id": "c", "level": "line", "base": "12.00", "amount": "2.00"}
                ],
                "credits": [{"wallet_id": "w", "amount": "3.00"}],
            },
            [
                SETTLED,
                "  12.00 − 5.00 = 7.00 left to pay before tax",
                "    coupon c on the line: −2.00",
                "    credits of wallet w: −3.00",
            ],
        ),
    ],
)
def test_an_explanation_reads_as_sentences(members: dict[str, Any], text: list[str]) -> None:
    assert read(**members) == text


def test_the_first_buckets_are_written_out_and_all_are_summed() -> None:
    bucket = {
        "start": "2026-01-02T00:00:00Z",
        "group": "eu",
        "quantity": "4",
        "amount": "2",
        "components": [part("4", "0.5", "2")],
    }
    price: dict[str, Any] = {
        "billing_model": "FLAT_FEE",
        "tier_mode": None,
        "tiers": [],
        "package": None,
    }
    found = read(buckets=[bucket] * (BUCKETS_SHOWN_MAX + 8), price=price)
    assert found[0] == "  20 buckets, each priced on its own, every unit at one rate"
    assert found[1] == "    2026-01-02 eu: 4: 4 × 0.5 = 2"
    assert found[-3:] == ["    … and 8 more", "    all buckets together: 40", SETTLED]
    (many, *_) = read(buckets=[bucket | {"count": 2000}], price=price)
    assert many.startswith("  2000 buckets, ")


def test_the_head_names_the_line_its_time_and_its_amount() -> None:
    told = {"currency": "kwd", "role": "fixed", "exact": "1", "amount": "1.000"}
    made = explain("Seats", "2026-01-01T06:00:00Z", "2026-02-01T00:00:00Z", told)
    assert made.text == "Seats, 2026-01-01T06:00:00Z to 2026-02-01: 1.000 kwd"
    assert made.below[0] == Sentence("1 was asked for")
