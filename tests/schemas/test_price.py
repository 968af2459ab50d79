"""The door of prices says what is wrong, in the order of the table of billing.md 3.2."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import ValidationFailed
from schemas.price import BillingModel, InvoiceCadence, Rounding, Tier
from schemas.price_request import (
    PriceRequest,
    price_faults,
    price_from,
    price_warnings,
    validate_price,
)

FEE: dict[str, Any] = {
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "currency": "USD",
    "billing_period": "MONTHLY",
    "amount": "20",
}
USAGE = {**FEE, "type": "USAGE", "meter_id": "meter_tokens"}
LADDER = {
    **USAGE,
    "billing_model": "TIERED",
    "tier_mode": "SLAB",
    "tiers": [{"up_to": 10, "unit_amount": "2", "flat_amount": "1"}, {"unit_amount": "1"}],
}
PACKAGE = {**USAGE, "billing_model": "PACKAGE", "transform_quantity": {"divide_by": 100}}
LATER, EARLIER = "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"


def tiers(*rows: tuple[object, object]) -> dict[str, object]:
    return {**LADDER, "tiers": [{"up_to": up_to, "unit_amount": rate} for up_to, rate in rows]}


@pytest.mark.parametrize(
    "body",
    [
        FEE,
        USAGE,
        LADDER,
        PACKAGE,
        {**FEE, "amount": 0},
        {**FEE, "amount": Decimal("0.5"), "billing_period_count": Decimal(3)},
        {**FEE, "type": "fixed", "billing_model": "flat_fee", "invoice_cadence": "advance"},
        {**FEE, "invoice_cadence": "", "tier_mode": None, "meter_id": ""},
        {**FEE, "billing_period": "ONETIME", "invoice_cadence": "ADVANCE"},
        {**FEE, "trial_period_days": 14, "min_quantity": 3},
        {**FEE, "start_date": EARLIER, "end_date": EARLIER},
        {**FEE, "billing_cadence": "RECURRING", "metadata": {"paid": True}},
        {**USAGE, "min_quantity": 0},
        {**USAGE, "something_else": 1},
        tiers((10, "1"), (20, "0")),
    ],
)
def test_a_sound_price_may_be_created(body: dict[str, object]) -> None:
    assert price_faults(body) == ()


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("currency", {**FEE, "currency": "XAU"}),
        ("currency", {**FEE, "currency": ""}),
        ("type", {**FEE, "type": "OTHER"}),
        ("billing_model", {**FEE, "billing_model": ""}),
        ("billing_period", {**FEE, "billing_period": "HOURLY"}),
        ("invoice_cadence", {**FEE, "invoice_cadence": "SOON"}),
        ("billing_cadence", {**FEE, "billing_cadence": "ONETIME"}),
        ("price_unit_type", {**FEE, "price_unit_type": "TOKENS"}),
        ("price_unit_type", {**FEE, "price_unit_type": "CUSTOM"}),
        ("price_unit_config", {**FEE, "price_unit_config": {"price_unit": "crd"}}),
        ("billing_period_count", {**FEE, "billing_period_count": 0}),
        ("billing_period_count", {**FEE, "billing_period_count": "1"}),
        ("amount", {**FEE, "amount": None}),
        ("amount", {**FEE, "amount": ""}),
        ("amount", {**FEE, "amount": 0.1}),
        ("amount", {**FEE, "amount": "-1"}),
        ("amount", {**PACKAGE, "amount": "-1"}),
        ("transform_quantity", {**PACKAGE, "transform_quantity": None}),
        ("transform_quantity", {**PACKAGE, "transform_quantity": {"divide_by": 0}}),
        (
            "transform_quantity",
            {**PACKAGE, "transform_quantity": {"divide_by": 1, "round": "odd"}},
        ),
        ("tier_mode", {**LADDER, "tier_mode": None}),
        ("tier_mode", {**LADDER, "tier_mode": "GRADUATED"}),
        ("tiers", {**LADDER, "tiers": None}),
        ("tiers", {**LADDER, "tiers": []}),
        ("tiers", tiers((0, "1"), (None, "1"))),
        ("tiers", tiers((10, "1"), (10, "1"))),
        ("tiers", tiers((10, "1"), (5, "1"))),
        ("tiers", tiers((None, "1"), (10, "1"))),
        ("tiers", tiers((10, "-1"), (None, "1"))),
        ("tiers", tiers((10, None), (None, "1"))),
        ("tiers", tiers(("10", "1"), (None, "1"))),
        ("tiers", {**LADDER, "tiers": [{"unit_amount": "1", "flat_amount": "-1"}]}),
        ("meter_id", {**FEE, "meter_id": "meter_tokens"}),
        ("meter_id", {**USAGE, "meter_id": None}),
        ("invoice_cadence", {**USAGE, "invoice_cadence": "ADVANCE"}),
        ("invoice_cadence", {**FEE, "billing_period": "ONETIME"}),
        ("min_quantity", {**USAGE, "min_quantity": 1}),
        ("min_quantity", {**FEE, "min_quantity": -1}),
        ("trial_period_days", {**FEE, "trial_period_days": -1}),
        ("trial_period_days", {**USAGE, "trial_period_days": 1}),
        (
            "trial_period_days",
            {
                **FEE,
                "trial_period_days": 1,
                "billing_period": "ONETIME",
                "invoice_cadence": "ADVANCE",
            },
        ),
        ("end_date", {**FEE, "start_date": LATER, "end_date": EARLIER}),
        ("end_date", {**FEE, "end_date": "2026-01-01"}),
    ],
)
def test_a_fault_names_its_field_and_nothing_else(field: str, body: dict[str, object]) -> None:
    assert [fault.field for fault in price_faults(body)] == [field]
    first = validate_price(body)
    assert first is not None
    assert first.problem


def test_faults_come_in_the_order_of_the_table() -> None:
    body = {
        **LADDER,
        "end_date": "tomorrow",
        "tiers": [],
        "tier_mode": "ODD",
        "billing_period_count": 0,
        "currency": "XXX",
        "display_name": 7,
    }
    assert [fault.field for fault in price_faults(body)] == [
        "currency",
        "billing_period_count",
        "tier_mode",
        "tiers",
        "end_date",
        "display_name",
    ]


def test_a_finite_last_tier_is_accepted_with_a_warning() -> None:
    finite = PriceRequest.model_validate(tiers((10, "1"), (20, "2")))
    assert price_warnings(finite) == ("finite_last_tier",)
    assert price_from(finite, id="price_1").warnings == ("finite_last_tier",)
    assert price_warnings(PriceRequest.model_validate(LADDER)) == ()


def test_a_price_keeps_only_what_its_model_needs() -> None:
    ladder = price_from(
        PriceRequest.model_validate(
            {**LADDER, "amount": "9", "transform_quantity": {"divide_by": 2}}
        ),
        id="price_1",
    )
    assert ladder.tiers == (Tier(10, Decimal(2), Decimal(1)), Tier(None, Decimal(1)))
    assert ladder.amount == 0
    assert ladder.transform_quantity is None
    fee = price_from(PriceRequest.model_validate({**LADDER, **USAGE}), id="price_2")
    assert (fee.billing_model, fee.tiers, fee.tier_mode) == (BillingModel.FLAT_FEE, (), None)
    assert (fee.currency, fee.invoice_cadence) == ("usd", InvoiceCadence.ARREAR)
    package = price_from(PriceRequest.model_validate(PACKAGE), id="price_3").transform_quantity
    assert package is not None
    assert (package.divide_by, package.round) == (100, Rounding.UP)


def test_the_meter_that_a_catalog_found_takes_the_place_of_none() -> None:
    request = PriceRequest.model_validate({**USAGE, "meter_id": None})
    with pytest.raises(ValidationFailed) as refused:
        price_from(request, id="price_1")
    assert refused.value.field == "meter_id"
    assert price_from(request, id="price_1", meter_id="meter_1").meter_id == "meter_1"


def test_unknown_members_are_refused_where_a_file_asks_for_it() -> None:
    body = {**LADDER, "tiers": [{"unit_amount": "1", "unit_price": "1"}]}
    assert price_faults(body) == ()
    with pytest.raises(ValidationError):
        PriceRequest.model_validate(body, extra="forbid")
