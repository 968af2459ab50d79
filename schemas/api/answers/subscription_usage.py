"""Answers about subscription usage, with the fields of api-fields.md."""

from schemas.api.answers.prices import Price
from schemas.api.values import ApiAnswer, IfSet, WireNumber, WireTime


class SubscriptionUsageCharge(ApiAnswer):
    """What a usage line costs in the time that was asked for; its numbers are JSON numbers."""

    subscription_line_item_id: IfSet[str] = None
    meter_id: str
    meter_display_name: str
    price: Price
    quantity: WireNumber
    amount: WireNumber
    currency: str
    display_amount: str
    filter_values: dict[str, list[str]]
    is_overage: bool
    overage_factor: IfSet[WireNumber] = None


class GetUsageBySubscriptionResponse(ApiAnswer):
    """What usage costs, the commitment of the subscription included; its numbers are JSON numbers."""

    amount: WireNumber
    currency: str
    display_amount: str
    start_time: WireTime
    end_time: WireTime
    charges: list[SubscriptionUsageCharge]
    has_overage: bool
    commitment_amount: IfSet[WireNumber] = None
    commitment_utilized: IfSet[WireNumber] = None
    overage_amount: IfSet[WireNumber] = None
    overage_factor: IfSet[WireNumber] = None
