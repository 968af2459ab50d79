"""Auto top-up as a wallet keeps it: below which balance it buys credits, how many, and how often.

It is kept and shown; `billing/wallets/auto_topup.py` has the rules that act on it.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, model_validator

from schemas.api.fields import word_of
from schemas.doors import DOOR, DecimalField, IntegerField, given
from schemas.errors import ValidationFailed

COOLDOWN_UNITS = ("second", "minute", "hour", "day")
CAP_UNITS = ("day", "week", "month")


@dataclass(frozen=True, slots=True)
class Cooldown:
    """How long nothing is bought after a purchase."""

    value: int
    unit: str


@dataclass(frozen=True, slots=True)
class Cap:
    """How many purchases a calendar period may see."""

    count: int
    unit: str


@dataclass(frozen=True, slots=True)
class AutoTopup:
    """The rule; threshold and amount are credits, None is not said."""

    enabled: bool = False
    threshold: Decimal | None = None
    amount: Decimal | None = None
    invoicing: bool | None = None
    cooldown: Cooldown | None = None
    max_per_period: Cap | None = None


class CooldownRequest(BaseModel):
    """A cooldown as a body gives it; a value of 0 is none."""

    model_config = DOOR

    value: Annotated[IntegerField, Field(ge=0)]
    unit: Annotated[
        Literal["second", "minute", "hour", "day"],
        BeforeValidator(word_of(COOLDOWN_UNITS, cased=str.lower)),
    ] = "second"

    _given = model_validator(mode="before")(given)


class CapRequest(BaseModel):
    """How many purchases a period may see, as a body gives it."""

    model_config = DOOR

    count: Annotated[IntegerField, Field(ge=1)]
    unit: Annotated[
        Literal["day", "week", "month"], BeforeValidator(word_of(CAP_UNITS, cased=str.lower))
    ]

    _given = model_validator(mode="before")(given)


class AutoTopupRequest(BaseModel):
    """The rule as a body gives it: what is absent stays as it was."""

    model_config = DOOR

    enabled: StrictBool | None = None
    threshold: DecimalField | None = None
    amount: DecimalField | None = None
    invoicing: StrictBool | None = None
    cooldown: CooldownRequest | None = None
    max_per_period: CapRequest | None = None

    _given = model_validator(mode="before")(given)


def merged_rule(before: AutoTopup | None, change: AutoTopupRequest) -> AutoTopup:
    """Return a rule with the members that a change gives; a cooldown of value 0 removes it.

    Raises ValidationFailed for a rule that is enabled without a threshold, an amount above 0 or
    word on invoicing. Source: wallets-alerts.md 4 and 12.

    >>> merged_rule(None, AutoTopupRequest(threshold="5")).threshold
    Decimal('5')
    """
    said = {
        name: value
        for name in ("enabled", "threshold", "amount", "invoicing")
        if (value := getattr(change, name)) is not None
    }
    made = replace(before or AutoTopup(), **said)
    if change.cooldown is not None:
        made = replace(made, cooldown=_cooldown(change.cooldown))
    if change.max_per_period is not None:
        cap = change.max_per_period
        made = replace(made, max_per_period=Cap(cap.count, cap.unit))
    if made.enabled and None in (made.threshold, made.amount, made.invoicing):
        raise ValidationFailed(
            "an enabled rule needs threshold, amount and invoicing", field="auto_topup"
        )
    if made.amount is not None and made.amount <= 0:
        raise ValidationFailed("must be above 0", field="auto_topup.amount")
    return made


def _cooldown(asked: CooldownRequest) -> Cooldown | None:
    return Cooldown(asked.value, asked.unit) if asked.value else None
