"""The arithmetic of a line as text: one row a shape of explanation."""

from typing import Any

import pytest

from flows.arithmetic import arithmetic

TERM = {"quantity": "600", "unit_amount": "0.02", "flat_amount": "0", "amount": "12"}
WITH_FLAT = TERM | {"flat_amount": "1.5", "amount": "13.5"}


def explained(**members: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "usage": None,
        "pricing": [],
        "proration": None,
        "exact": "0",
        "amount": "0.00",
    }
    return plain | members


@pytest.mark.parametrize(
    ("explanation", "text"),
    [
        (explained(), "0 = 0.00"),
        (
            explained(pricing=[{"components": [TERM]}], exact="12", amount="12.00"),
            "600 × 0.02 = 12.00",
        ),
        (
            explained(pricing=[{"components": [TERM, WITH_FLAT]}], exact="25.5", amount="25.50"),
            "600 × 0.02 + 600 × 0.02 + 1.5 = 25.50",
        ),
        (
            explained(
                usage={"total": "1600", "billable": "600"},
                pricing=[{"components": [TERM]}],
                exact="12.004",
                amount="12.00",
            ),
            "1600 used − 1000 included = 600; 600 × 0.02 = 12.004 → 12.00",
        ),
        (
            explained(
                pricing=[{"components": [TERM]}],
                proration={"numerator": "17", "denominator": "31"},
                exact="6.58",
                amount="6.58",
            ),
            "(600 × 0.02) × 17/31 = 6.58",
        ),
        (
            explained(
                pricing=[{"components": [WITH_FLAT], "share": ["1", "3"]}],
                exact="4.5",
                amount="4.50",
                credits=[{"amount": "4.00"}, {"amount": "0.50"}],
            ),
            "(600 × 0.02 + 1.5) × 1/3 = 4.50; 4.00 + 0.50 paid by credits",
        ),
        (
            explained(
                buckets=[{"quantity": "600", "components": [TERM]}] * 4, exact="48", amount="48.00"
            ),
            "4 buckets with 2400 together (600 × 0.02, 600 × 0.02, 600 × 0.02, …) = 48.00",
        ),
    ],
)
def test_an_explanation_reads_as_arithmetic(explanation: dict[str, Any], text: str) -> None:
    assert arithmetic(explanation) == text
