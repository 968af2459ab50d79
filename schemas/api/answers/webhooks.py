"""Answers about webhooks, with the fields of api-fields.md."""

from schemas.api.answers.alerts import AnsweredAlertSettings
from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, WireDecimal, WireTime
from schemas.api.words import AlertState, AlertType


class WalletAlert(ApiAnswer):
    """What changed of a watched balance."""

    state: str
    alert_type: str
    current_balance: WireDecimal
    credit_balance: WireDecimal
    previous_state: IfSet[str] = None
    alert_settings: IfSet[AnsweredAlertSettings] = None


class WalletWebhook(ApiAnswer):
    """The body of messages about a wallet."""

    event_type: str
    wallet: dict[str, object]
    customer: dict[str, object]
    alert: IfSet[WalletAlert] = None


class WalletTransactionWebhook(ApiAnswer):
    """The body of messages about an entry of a ledger."""

    event_type: str
    transaction: IfSet[dict[str, object]] = None
    updated_transaction: IfSet[dict[str, object]] = None


class EntityWebhook(ApiAnswer):
    """The body of messages about a customer, feature, subscription, invoice or payment."""

    event_type: str
    customer: IfSet[dict[str, object]] = None
    feature: IfSet[dict[str, object]] = None
    entitlement: IfSet[dict[str, object]] = None
    subscription: IfSet[dict[str, object]] = None
    invoice: IfSet[dict[str, object]] = None
    payment: IfSet[dict[str, object]] = None
    credit_note: IfSet[dict[str, object]] = None


class SpendAlertWebhook(ApiAnswer):
    """The body of messages about spend that crossed a threshold."""

    event_type: str
    subscription: dict[str, object]
    subscription_line_item_id: IfSet[str] = None
    group_id: IfSet[str] = None
    alert_type: AlertType
    alert_status: AlertState
    current_spend: WireDecimal
    threshold: IfSet[WireDecimal] = None
    triggered_at: WireTime


class RejectedEventWebhook(ApiAnswer):
    """The body of messages about an event that no meter counts."""

    event_type: str
    reason: str
    event: dict[str, object]


class WebhookEndpointResponse(ApiAnswer):
    """An endpoint; `secret` is told once, when it is made. Headers may hold keys: only names show."""

    id: str
    url: str
    description: str
    event_types: list[str]
    enabled: bool
    header_names: list[str]
    created_at: WireTime
    updated_at: WireTime
    version: int
    secret: IfSet[str] = None


class ListWebhookEndpointsResponse(ApiAnswer):
    """A page of endpoints."""

    items: list[WebhookEndpointResponse]
    pagination: PaginationResponse
