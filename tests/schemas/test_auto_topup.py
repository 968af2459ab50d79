"""Auto top-up: what of a rule a change replaces, and which rules there cannot be."""

from decimal import Decimal

import pytest

from schemas.auto_topup import (
    AutoTopup,
    AutoTopupRequest,
    Cap,
    Cooldown,
    merged_rule,
)
from schemas.errors import ValidationFailed

RULE = AutoTopup(
    enabled=True,
    threshold=Decimal(5),
    amount=Decimal(20),
    invoicing=False,
    cooldown=Cooldown(2, "hour"),
    max_per_period=Cap(3, "week"),
)


@pytest.mark.parametrize("name", ["enabled", "threshold", "amount", "invoicing"])
def test_a_change_leaves_what_it_does_not_give(name: str) -> None:
    given = {"enabled": False, "threshold": "7", "amount": "8", "invoicing": True}[name]
    after = merged_rule(RULE, AutoTopupRequest.model_validate({name: given}))
    changed = {each for each in AutoTopup.__slots__ if getattr(after, each) != getattr(RULE, each)}
    assert changed == {name}


def test_a_cooldown_of_value_0_removes_it() -> None:
    after = merged_rule(RULE, AutoTopupRequest.model_validate({"cooldown": {"value": 0}}))
    assert after.cooldown is None
    assert after.max_per_period == Cap(3, "week")


@pytest.mark.parametrize(
    "body",
    [{"enabled": True}, {"enabled": True, "threshold": "1", "amount": "1"}, {"amount": "0"}],
    ids=["nothing", "no-invoicing", "no-amount"],
)
def test_a_rule_that_could_not_act_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationFailed):
        merged_rule(None, AutoTopupRequest.model_validate(body))
