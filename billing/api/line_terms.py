"""Terms of lines as requests give them: prices that exist or are made for a line, commitments."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from billing.ports.objects import Objects
from billing.subscriptions.added_lines import LineRequest
from billing.subscriptions.overrides import PriceTerms
from billing.use_cases.found import referred
from schemas.api.requests.subscriptions import (
    CreateSubscriptionLineItemRequest,
    InlinePrice,
    OverrideLineItemRequest,
    UpdateSubscriptionLineItemRequest,
)
from schemas.commitment import (
    Commitment,
    CommitmentType,
    LineItemCommitmentConfig,
    line_commitment_of,
)
from schemas.errors import ValidationFailed
from schemas.ids import SubscriptionId
from schemas.meter import Meter
from schemas.price import (
    BillingModel,
    BillingPeriod,
    Price,
    PriceEntityType,
    Tier,
    TierMode,
    TransformQuantity,
)
from schemas.price_request import PriceRequest, price_faults, price_from


@dataclass(frozen=True, slots=True)
class Lines:
    """What lines are made with: the catalog, whose lines they are, and names for their prices."""

    objects: Objects
    subscription_id: SubscriptionId
    currency: str
    new_id: Callable[[str], str]


def price_terms(asked: OverrideLineItemRequest | UpdateSubscriptionLineItemRequest) -> PriceTerms:
    """Return the money terms that a request gives a line."""
    size = asked.transform_quantity
    return PriceTerms(
        asked.amount,
        asked.billing_model and BillingModel(asked.billing_model),
        asked.tier_mode and TierMode(asked.tier_mode),
        None
        if asked.tiers is None
        else tuple(Tier(each.up_to, each.unit_amount, each.flat_amount) for each in asked.tiers),
        None if size is None else TransformQuantity(size.divide_by, size.round),
    )


def line_request(
    made: Lines, asked: CreateSubscriptionLineItemRequest, *, place: str = ""
) -> LineRequest:
    """Return the line that is asked for, with a price that exists or one that is made for it.

    Raises ValidationFailed naming the field behind its `place`.
    """
    if (asked.price_id is None) == (asked.price is None):
        raise ValidationFailed("a line needs one of price_id and price", field=f"{place}price_id")
    if asked.price is not None:
        price = _inline(made, asked.price, f"{place}price.")
        field = f"{place}price.meter_id"
    else:
        price = referred(made.objects.prices, asked.price_id or "", f"{place}price_id").record
        field = f"{place}price_id"
    return LineRequest(
        price,
        asked.quantity,
        asked.start_date,
        asked.end_date,
        _meter(made.objects, price, field),
        asked.display_name or "",
        own_commitment(asked, place),
        asked.metadata,
    )


def _meter(held: Objects, price: Price, field: str) -> Meter | None:
    return None if price.meter_id is None else referred(held.meters, price.meter_id, field).record


def _inline(made: Lines, asked: InlinePrice, place: str) -> Price:
    """Return the price that a line has of its own. Raises ValidationFailed with all its faults."""
    body = {**asked.model_dump(exclude_none=True), "currency": made.currency}
    faults = price_faults(body)
    if faults:
        problems = [{"field": f"{place}{each.field}", "problem": each.problem} for each in faults]
        names = ", ".join(each.field for each in faults)
        raise ValidationFailed(
            f"the price of the line is not valid at {names}", details={"fields": problems}
        )
    price = price_from(PriceRequest.model_validate(body), id=made.new_id("price"))
    return replace(price, entity_type=PriceEntityType.SUBSCRIPTION, entity_id=made.subscription_id)


def own_commitment(
    asked: CreateSubscriptionLineItemRequest | UpdateSubscriptionLineItemRequest, place: str = ""
) -> Commitment | None:
    """Return the commitment of a line, None where nothing is said of one."""
    if asked.commitment_type is None:
        if asked.commitment_amount or asked.commitment_quantity:
            text = "a commitment needs its type"
            raise ValidationFailed(text, field=f"{place}commitment_type")
        return None
    return line_commitment(
        LineItemCommitmentConfig(
            commitment_type=CommitmentType(asked.commitment_type),
            commitment_amount=asked.commitment_amount,
            commitment_quantity=asked.commitment_quantity,
            overage_factor=asked.commitment_overage_factor or Decimal(1),
            enable_true_up=bool(asked.commitment_true_up_enabled),
            commitment_duration=asked.commitment_duration
            and BillingPeriod(asked.commitment_duration),
        ),
        place,
    )


def changed_commitment(
    asked: UpdateSubscriptionLineItemRequest, before: Commitment | None
) -> Commitment | None:
    """Return the commitment that a line is to have, None where nothing is said of one.

    Without its type only what is said changes. Raises ValidationFailed where there is none yet.
    """
    said = {
        "value": asked.commitment_amount or asked.commitment_quantity,
        "overage_factor": asked.commitment_overage_factor,
        "true_up": asked.commitment_true_up_enabled,
        "duration": asked.commitment_duration and BillingPeriod(asked.commitment_duration),
    }
    given = {name: value for name, value in said.items() if value is not None}
    if asked.commitment_type is not None or not given:
        return own_commitment(asked)
    of_quantity = before is not None and before.type is CommitmentType.QUANTITY
    other = asked.commitment_amount if of_quantity else asked.commitment_quantity
    if before is None or other:
        raise ValidationFailed("a commitment needs its type", field="commitment_type")
    changed: Commitment = replace(before, **given)  # type: ignore[arg-type]  # members by name
    return changed


def line_commitment(asked: LineItemCommitmentConfig, place: str) -> Commitment:
    """Return the commitment that a request describes. Raises ValidationFailed behind its place."""
    try:
        return line_commitment_of(asked)
    except ValidationFailed as error:
        raise ValidationFailed(str(error), field=f"{place}{error.field}") from error
