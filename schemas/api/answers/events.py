"""Answers about events, with the fields of api-fields.md."""

from schemas.api.answers.features import AnsweredReportingUnit, Feature
from schemas.api.answers.groups import Group
from schemas.api.answers.meters import Meter
from schemas.api.answers.plans import Plan
from schemas.api.answers.prices import PriceResponse
from schemas.api.answers.subscriptions import SubscriptionLineItem
from schemas.api.values import ApiAnswer, IfSet, WireDecimal, WireNumber, WireTime
from schemas.api.words import AggregationType, BillingPeriod, CommitmentType, WindowSize


class IngestAccepted(ApiAnswer):
    """That events are in the log, with the ids that were made for them; all values are texts."""

    message: str
    event_id: IfSet[str] = None


class RawBulkAccepted(ApiAnswer):
    """That records of calls were taken in."""

    message: str
    batch_size: int


class Event(ApiAnswer):
    """A stored event, with the values that were sent."""

    id: str
    event_name: str
    external_customer_id: str
    customer_id: str
    source: str
    timestamp: WireTime
    ingested_at: IfSet[WireTime] = None
    properties: dict[str, object]
    environment_id: str


class GetEventsResponse(ApiAnswer):
    """A page of stored events."""

    events: list[Event]
    has_more: bool
    iter_first_key: IfSet[str] = None
    iter_last_key: IfSet[str] = None
    offset: IfSet[int] = None
    total_count: IfSet[int] = None


class UsageResult(ApiAnswer):
    """The usage of one window; `value` is a JSON number."""

    window_size: WireTime
    value: WireNumber


class GetUsageResponse(ApiAnswer):
    """The usage of a range, with its windows where they were asked for."""

    value: WireNumber
    quantity_signed: IfSet[WireNumber] = None
    results: IfSet[list[UsageResult]] = None
    event_name: str
    type: AggregationType


class CommitmentInfo(ApiAnswer):
    """How usage stands to the commitment of its line."""

    type: CommitmentType
    amount: WireDecimal
    quantity: IfSet[WireDecimal] = None
    overage_factor: IfSet[WireDecimal] = None
    true_up_enabled: bool
    is_windowed: bool
    duration: IfSet[BillingPeriod] = None
    computed_commitment_utilized_amount: WireDecimal
    computed_overage_amount: WireDecimal
    computed_true_up_amount: WireDecimal


class UsageAnalyticPoint(ApiAnswer):
    """Usage and cost of one window."""

    timestamp: WireTime
    usage: WireDecimal
    subtotal: WireDecimal
    discount: WireDecimal
    cost: WireDecimal
    event_count: int
    computed_commitment_utilized_amount: IfSet[WireDecimal] = None
    computed_overage_amount: IfSet[WireDecimal] = None
    computed_true_up_amount: IfSet[WireDecimal] = None


class UsageAnalyticItem(ApiAnswer):
    """Usage and cost of a feature, or of a group of its usage, over the range."""

    feature_id: str
    name: IfSet[str] = None
    event_name: IfSet[str] = None
    meter_id: IfSet[str] = None
    aggregation_type: IfSet[AggregationType] = None
    total_usage: WireDecimal
    quantity_signed: IfSet[WireDecimal] = None
    total_usage_display: str
    subtotal: WireDecimal
    total_discount: WireDecimal
    total_cost: WireDecimal
    currency: IfSet[str] = None
    event_count: int
    unit: IfSet[str] = None
    unit_plural: IfSet[str] = None
    reporting_unit: IfSet[AnsweredReportingUnit] = None
    source: IfSet[str] = None
    sources: IfSet[list[str]] = None
    properties: IfSet[dict[str, str]] = None
    price_id: IfSet[str] = None
    plan_id: IfSet[str] = None
    add_on_id: IfSet[str] = None
    subscription_id: IfSet[str] = None
    sub_line_item_id: IfSet[str] = None
    external_customer_id: IfSet[str] = None
    window_size: IfSet[WindowSize] = None
    points: IfSet[list[UsageAnalyticPoint]] = None
    commitment_info: IfSet[CommitmentInfo] = None
    feature: IfSet[Feature] = None
    meter: IfSet[Meter] = None
    price: IfSet[PriceResponse] = None
    plan: IfSet[Plan] = None
    subscription_line_item: IfSet[SubscriptionLineItem] = None
    group: IfSet[Group] = None


class GetUsageAnalyticsResponse(ApiAnswer):
    """Usage and cost of a customer by features."""

    items: list[UsageAnalyticItem]
    currency: str
    subtotal: WireDecimal
    total_discount: WireDecimal
    total_cost: WireDecimal
    custom_analytics: IfSet[list[dict[str, object]]] = None
