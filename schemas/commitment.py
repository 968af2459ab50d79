"""Commitments: spend that a customer has promised, of a whole subscription or of one line.

The doors have the names of the REST API (api-fields.md, LineItemCommitmentConfig), and a catalog
file has the same. What a commitment does to a price is in `billing.pricing.commitments` (billing.md 10).
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

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
class Commitment:
    """What has been promised for a time: by one usage line, or by all of a subscription together.

    That of a subscription is an amount of money in its currency. `duration` is the time that it
    spans, None for the period of the line or of the subscription.
    """

    type: CommitmentType
    value: Decimal
    overage_factor: Decimal = Decimal(1)
    true_up: bool = False
    duration: BillingPeriod | None = None


Factor = Annotated[DecimalField, Field(ge=1)]
Promised = Annotated[DecimalField, Field(ge=0)]
Duration = Annotated[BillingPeriod, BeforeValidator(read_upper)]


class LineItemCommitmentConfig(BaseModel):
    """The commitment of a line as a request gives it; `line_commitment_of` judges it."""

    model_config = DOOR

    commitment_type: Annotated[CommitmentType, BeforeValidator(read_lower)]
    commitment_amount: Promised | None = None
    commitment_quantity: Promised | None = None
    overage_factor: Factor = Decimal(1)
    enable_true_up: StrictBool = False
    commitment_duration: Duration | None = None

    _given = model_validator(mode="before")(given)


def line_commitment_of(request: LineItemCommitmentConfig) -> Commitment:
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
    return Commitment(
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
) -> Commitment | None:
    """Return the commitment of a subscription, None where no amount was promised.

    >>> subscription_commitment_of(Decimal(0)) is None
    True
    """
    if not amount:
        return None
    return Commitment(CommitmentType.AMOUNT, amount, overage_factor, true_up, duration)
