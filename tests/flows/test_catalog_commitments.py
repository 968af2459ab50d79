"""Commitments in a catalog file: what reaches the lines, and how what is wrong is told."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from flows.catalog import load_catalog
from schemas.commitment import Commitment, CommitmentType
from schemas.errors import ValidationFailed
from schemas.price import BillingPeriod
from schemas.subscription import Subscription

Agree = Callable[[str], Subscription]

CATALOG = """
meters: [{name: calls, event_name: call, aggregation: {type: COUNT}}]
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {lookup_key: use, type: USAGE, meter: calls, billing_model: FLAT_FEE, amount: 1,
         currency: usd, billing_period: MONTHLY}
      - {lookup_key: base, type: FIXED, billing_model: FLAT_FEE, amount: 9, currency: usd,
         billing_period: MONTHLY}
customers: [{external_id: acme}]
changes: [{at: "2026-02-10T00:00:00Z", price: use, route: update, body: {amount: 2}}]
subscriptions:
  - {customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z", SAID}
"""


@pytest.fixture
def agree(tmp_path: Path) -> Agree:
    """Return the loader of the catalog's one subscription, with further keys of its entry."""

    def load(said: str) -> Subscription:
        path = tmp_path / "catalog.yaml"
        path.write_text(CATALOG.replace("SAID", said))
        (subscription,) = load_catalog(str(path)).subscriptions
        return subscription

    return load


def test_a_subscription_promises_a_spend(agree: Agree) -> None:
    said = "commitment_amount: 5.50, overage_factor: 1.5, enable_true_up: true"
    subscription = agree(f"{said}, commitment_duration: annual")
    assert subscription.commitment == Commitment(
        CommitmentType.AMOUNT, Decimal("5.5"), Decimal("1.5"), True, BillingPeriod.ANNUAL
    )
    assert not any(line.commitment for line in subscription.lines)


def test_every_version_of_a_line_has_its_commitment(agree: Agree) -> None:
    promised = "{commitment_type: QUANTITY, commitment_quantity: 500, overage_factor: 2}"
    subscription = agree(f"line_item_commitments: {{use: {promised}}}")
    expected = Commitment(CommitmentType.QUANTITY, Decimal(500), Decimal(2))
    by_amount = {line.price.amount: line.commitment for line in subscription.lines}
    assert by_amount == {Decimal(1): expected, Decimal(2): expected, Decimal(9): None}


@pytest.mark.parametrize("said", ["commitment_amount: 0", "overage_factor: 2", "metadata: {}"])
def test_nothing_promised_is_no_commitment(agree: Agree, said: str) -> None:
    assert agree(said).commitment is None


AMOUNT = "commitment_type: amount, commitment_amount: 5"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("commitment_amount: -1", "commitment_amount: expected 0 or more, not -1"),
        ("commitment_amount: 1, overage_factor: 0.9", "overage_factor: expected 1 or more"),
        (
            "commitment_amount: 1, commitment_duration: WEEKLY",
            "commitment_duration: must be a whole number of billing periods (1 × MONTHLY)",
        ),
        (f"line_item_commitments: {{used: {{{AMOUNT}}}}}", "line_item_commitments.used: the sub"),
        (f"line_item_commitments: {{base: {{{AMOUNT}}}}}", "line_item_commitments.base: only us"),
        (
            "line_item_commitments: {use: {commitment_type: quantity}}",
            "line_item_commitments.use.commitment_quantity: is needed for quantity",
        ),
        (
            f"line_item_commitments: {{use: {{{AMOUNT}, overage_facto: 2}}}}",
            "line_item_commitments.use.overage_facto: unknown key; did you mean overage_factor?",
        ),
        (
            f"line_item_commitments: {{use: {{{AMOUNT}, is_window_commitment: true}}}}",
            "line_item_commitments.use.is_window_commitment: is not supported by this version",
        ),
        (
            f"commitment_amount: 1, line_item_commitments: {{use: {{{AMOUNT}}}}}",
            "commitment_amount: commitments of a subscription and of its lines exclude each other",
        ),
    ],
)
def test_what_is_wrong_with_a_commitment_is_told_at_its_place(
    agree: Agree, said: str, expected: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        agree(said)
    assert f"catalog.yaml: subscriptions[0].{expected}" in str(refused.value)
