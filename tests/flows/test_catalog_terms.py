"""Coupons and taxes of a catalog file: what a file may say, and whom it gives them to."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.catalog import Catalog, load_catalog
from schemas.errors import ValidationFailed

FEE = {
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "amount": "20",
    "currency": "usd",
    "billing_period": "MONTHLY",
    "lookup_key": "fee",
}
FILE: dict[str, Any] = {
    "plans": [{"name": "Pro", "prices": [FEE]}],
    "coupons": [
        {
            "name": "Half",
            "coupon_code": "HALF",
            "type": "percentage",
            "percentage_off": "50",
            "cadence": "once",
            "max_redemptions": 1,
            "redeem_before": "2026-06-01T00:00:00Z",
        },
        {
            "name": "Five euros",
            "type": "fixed",
            "amount_off": "5",
            "currency": "eur",
            "cadence": "once",
        },
    ],
    "taxes": [{"name": "VAT", "code": "vat", "percentage_value": "19"}],
    "customers": [
        {"external_id": "a", "tax_rate_overrides": [{"tax_rate_code": "vat", "currency": "USD"}]},
        {"external_id": "b"},
    ],
}
VAT = {"tax_rate_code": "vat", "currency": "usd"}


def loaded(folder: Path, *subscriptions: dict[str, Any], **sections: Any) -> Catalog:
    path = folder / "catalog.json"
    rows = [
        {"customer": "a", "plan": "Pro", "start_date": "2026-01-01T00:00:00Z", **each}
        for each in subscriptions
    ]
    path.write_text(json.dumps(FILE | sections | {"subscriptions": rows}))
    return load_catalog(str(path))


@pytest.mark.parametrize(
    "named",
    [
        {"coupons": ["half"]},
        {"coupons": ["Half"]},
        {"line_item_coupons": {"fee": ["HALF"]}},
        {"subscription_coupons": [{"coupon_code": "hALF", "price": "fee"}]},
    ],
)
def test_a_coupon_is_called_by_its_code_in_any_case_or_by_its_name(
    tmp_path: Path, named: dict[str, Any]
) -> None:
    (made,) = loaded(tmp_path, named).subscriptions
    (attached,) = made.coupons
    assert (attached.coupon.name, attached.start_date) == ("Half", made.start_date)
    of_line = None if "coupons" in named else made.lines[0].chain_id
    assert attached.chain_id == of_line


def test_the_taxes_of_the_customer_are_copied_unless_there_are_own_ones(tmp_path: Path) -> None:
    catalog = loaded(
        tmp_path,
        {"lookup_key": "inherited"},
        {"lookup_key": "none", "tax_rate_overrides": []},
        {"lookup_key": "own", "customer": "b", "tax_rate_overrides": [VAT | {"priority": 3}]},
        {"lookup_key": "untaxed", "customer": "b"},
    )
    taxes = {
        each.lookup_key: [(tax.rate.code, tax.currency, tax.priority) for tax in each.taxes]
        for each in catalog.subscriptions
    }
    assert taxes == {
        "inherited": [("vat", "usd", 0)],
        "none": [],
        "own": [("vat", "usd", 3)],
        "untaxed": [],
    }


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"coupons": ["halv"]}, "coupons[0]: no coupon is called 'halv'"),
        ({"coupons": ["Five euros"]}, "coupons[0]: takes off eur and the subscription is in usd"),
        (
            {"subscription_coupons": [{"coupon_code": "x"}]},
            "subscription_coupons[0].coupon_code: no coupon is called 'x'",
        ),
        (
            {"subscription_coupons": [{"coupon_code": "half", "price": "x"}]},
            "subscription_coupons[0].price: the subscription has no line of a price 'x'",
        ),
        (
            {"start_date": "2026-06-01T00:00:00Z", "coupons": ["half"]},
            "coupons[0]: coupon 'HALF' cannot be redeemed any more",
        ),
        ({"tax_rate_overrides": [VAT | {"tax_rate_code": "x"}]}, "no tax rate is called 'x'"),
        ({"tax_rate_overrides": [VAT, VAT]}, "[1].tax_rate_code: is attached already"),
        ({"tax_rate_overrides": [VAT | {"currency": "xau"}]}, "[0].currency: 'xau' is no currency"),
        ({"tax_rate_overrides": [VAT | {"tax_behavior": "inclusive"}]}, "expected exclusive"),
    ],
)
def test_what_cannot_be_attached_is_refused_at_its_place(
    tmp_path: Path, named: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        loaded(tmp_path, named)
    assert "subscriptions[0]." in str(refused.value)
    assert problem in str(refused.value)


def test_a_coupon_is_redeemed_once_by_each_subscription_up_to_its_limit(tmp_path: Path) -> None:
    twice = {"coupons": ["half"], "line_item_coupons": {"fee": ["half"]}}
    assert len(loaded(tmp_path, twice).subscriptions[0].coupons) == 2
    with pytest.raises(ValidationFailed, match="no redemption left of its 1") as refused:
        loaded(tmp_path, twice, {"lookup_key": "other", "coupons": ["half"]})
    assert "subscriptions[1].coupons[0]" in str(refused.value)


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"coupons": [{"name": "x", "type": "fixed", "cadence": "once"}]}, "coupons[0].amount_off"),
        (
            {"coupons": [FILE["coupons"][0], FILE["coupons"][0] | {"coupon_code": "half"}]},
            "coupons[1].coupon_code: another coupon is called 'half'",
        ),
        ({"taxes": [{"name": "x", "code": "x"}]}, "taxes[0].percentage_value"),
        ({"taxes": [*FILE["taxes"], *FILE["taxes"]]}, "taxes[1].code: another tax rate is called"),
    ],
)
def test_a_coupon_or_a_rate_that_cannot_be_is_refused(
    tmp_path: Path, sections: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        loaded(tmp_path, **sections)
    assert problem in str(refused.value)
