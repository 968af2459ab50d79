"""Credit grants in a catalog file: what they become, and what is refused with its place."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.catalog import Catalog, load_catalog
from schemas.credit_grant import GrantScope
from schemas.errors import ValidationFailed

MONTHLY = {
    "credits": "10",
    "cadence": "recurring",
    "period": "monthly",
    "expiration_type": "BILLING_CYCLE",
}
GIFT = {"credits": "5", "cadence": "ONETIME", "expiration_type": "NEVER"}


def loaded(tmp_path: Path, plan: list[Any], own: list[Any], wallets: list[Any]) -> Catalog:
    """Load a catalog with these grants of the plan and of the subscription."""
    file = {
        "plans": [{"name": "pro", "credit_grants": plan}],
        "customers": [{"external_id": "acme"}],
        "subscriptions": [
            {
                "customer": "acme",
                "plan": "pro",
                "currency": "usd",
                "start_date": "2026-01-15T00:00:00Z",
                "end_date": "2026-06-15T00:00:00Z",
                "credit_grants": own,
            }
        ],
        "wallets": wallets,
    }
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(file))
    return load_catalog(str(path))


def test_a_subscription_has_the_grants_of_its_plan_and_its_own(tmp_path: Path) -> None:
    catalog = loaded(tmp_path, [MONTHLY], [GIFT], [])
    (template,) = catalog.plans[0].credit_grants
    (subscription,) = catalog.subscriptions
    taken_over, own = subscription.credit_grants
    start = datetime(2026, 1, 15, tzinfo=UTC)
    assert (template.scope, template.start_date) == (GrantScope.PLAN, None)
    assert (taken_over.start_date, own.start_date) == (start, start)
    assert {taken_over.subscription_id, own.subscription_id} == {subscription.id}
    assert len({template.id, taken_over.id, own.id}) == 3


def test_two_grants_of_one_name_are_two_and_keep_their_ids(tmp_path: Path) -> None:
    first = loaded(tmp_path, [GIFT, GIFT, MONTHLY | {"name": "m"}], [], []).plans[0].credit_grants
    other = loaded(tmp_path, [MONTHLY | {"name": "m"}, GIFT, GIFT], [], []).plans[0].credit_grants
    assert len({grant.id for grant in first}) == 3
    assert {grant.id for grant in first} == {grant.id for grant in other}


@pytest.mark.parametrize(
    ("plan", "own", "wallets", "place"),
    [
        ([GIFT | {"credits": "0"}], [], [], "plans[0].credit_grants[0].credits"),
        (
            [GIFT | {"start_date": "2026-02-01T00:00:00Z"}],
            [],
            [],
            "plans[0].credit_grants[0].start_date",
        ),
        (
            [],
            [GIFT, GIFT | {"start_date": "2026-06-15T00:00:00Z"}],
            [],
            "subscriptions[0].credit_grants[1].start_date",
        ),
        (
            [],
            [GIFT | {"end_date": "2026-01-15T00:00:00Z"}],
            [],
            "subscriptions[0].credit_grants[0].end_date",
        ),
        ([], [GIFT | {"scope": "PLAN"}], [], "subscriptions[0].credit_grants[0].scope"),
        (
            [GIFT | {"conversion_rate": "0.5"}],
            [],
            [{"customer": "acme", "currency": "usd"}],
            "subscriptions[0].credit_grants.conversion_rate",
        ),
        (
            [GIFT | {"conversion_rate": "0.5"}],
            [GIFT | {"conversion_rate": "0.25", "start_date": "2026-02-01T00:00:00Z"}],
            [],
            "subscriptions[0].credit_grants.conversion_rate",
        ),
    ],
)
def test_a_grant_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, plan: list[Any], own: list[Any], wallets: list[Any], place: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        loaded(tmp_path, plan, own, wallets)
    assert place in str(refused.value)
