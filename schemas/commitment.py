"""Commitments: spend that a customer has promised, of a whole subscription or of one line.

The doors have the names of the REST API (api-fields.md, LineItemCommitmentConfig), and a catalog
file has the same. What a commitment does to a price is in `billing.commitments` (billing.md 10).
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, model_validator

from schemas.doors import DOOR, DecimalField, given, read_lower, read_upper
from schemas.errors import ValidationFailed
from schemas.price import BillingPeriod


class CommitmentType(StrEnum):
    """In what the commitment of a line is stated; a quantity is worth what it costs."""

    AMOUNT = "amount"
    QUANTITY = "quantity"


class CommitmentLevel(StrEnum):
    """Whose usage a commitment measures."""

    LINE = "line"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class LineCommitment:
    """What one usage line has promised, in money or in units.

    `duration` is the time that it spans, None for the period of the line.
    """

    type: CommitmentType
    value: Decimal
    overage_factor: Decimal = Decimal(1)
    true_up: bool = False
    duration: BillingPeriod | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionCommitment:
    """What all usage of a subscription has promised together, in money of its currency.

    `duration` is the time that it spans, None for the billing period.
    """

    amount: Decimal
    overage_factor: Decimal = Decimal(1)
    true_up: bool = False
    duration: BillingPeriod | None = None


Factor = Annotated[DecimalField, Field(ge=1)]
Promised = Annotated[DecimalField, Field(ge=0)]
Duration = Annotated[BillingPeriod, BeforeValidator(read_upper)]


class LineItemCommitmentConfig(BaseModel):
    """The commitment of a line as a request gives it; `line_commitment_of` judges it."""

    model_config = DOOR

    # Keys of the API that this version does not have yet.
    LATER: ClassVar[frozenset[str]] = frozenset({"is_window_commitment", "commitment_time_buckets"})

    commitment_type: Annotated[CommitmentType, BeforeValidator(read_lower)]
    commitment_amount: Promised | None = None
    commitment_quantity: Promised | None = None
    overage_factor: Factor = Decimal(1)
    enable_true_up: StrictBool = False
    commitment_duration: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def without_what_says_nothing(cls, body: object) -> object:
        """Drop what is not given, and what comes later where it is switched off."""
        said = given(body)
        if not isinstance(said, dict):
            return said
        return {
            key: value
            for key, value in said.items()
            if not (key in cls.LATER and value in (False, []))
        }


def line_commitment_of(request: LineItemCommitmentConfig) -> LineCommitment:
    """Return the record of a line's commitment.

    Raises ValidationFailed where the member that the type asks for is absent, or the other given.

    >>> asked = {"commitment_type": "amount", "commitment_amount": 100, "overage_factor": "1.5"}
    >>> line_commitment_of(LineItemCommitmentConfig.model_validate(asked)).overage_factor
    Decimal('1.5')
    """
    values = {
        CommitmentType.AMOUNT: request.commitment_amount,
        CommitmentType.QUANTITY: request.commitment_quantity,
    }
    value = values.pop(request.commitment_type)
    (other,) = values
    if value is None:
        needed = f"commitment_{request.commitment_type}"
        raise ValidationFailed(f"is needed for {request.commitment_type}", field=needed)
    # SDKs send the other one as 0.
    if values[other]:
        text = f"is not for commitments of type {request.commitment_type}"
        raise ValidationFailed(text, field=f"commitment_{other}")
    return LineCommitment(
        request.commitment_type,
        value,
        request.overage_factor,
        request.enable_true_up,
        request.commitment_duration,
    )


def subscription_commitment_of(
    amount: Decimal | None,
    overage_factor: Decimal = Decimal(1),
    *,
    true_up: bool = False,
    duration: BillingPeriod | None = None,
) -> SubscriptionCommitment | None:
    """Return the commitment of a subscription, None where no amount was promised.

    >>> subscription_commitment_of(Decimal(0)) is None
    True
    """
    if not amount:
        return None
    return SubscriptionCommitment(amount, overage_factor, true_up, duration)
