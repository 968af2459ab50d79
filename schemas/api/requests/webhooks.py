"""Requests about webhook endpoints (wallets-alerts.md 13)."""

from pydantic import StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText


class CreateWebhookEndpointRequest(ApiRequest):
    """Where messages are to go, and which: all of them if no event types are named."""

    url: RequiredText
    description: str = ""
    event_types: list[str] = []
    enabled: StrictBool = True
    headers: dict[str, str] = {}


class UpdateWebhookEndpointRequest(ApiUpdate):
    """What is to become of an endpoint; what is absent or null stays as it is."""

    url: str | None = None
    description: str | None = None
    event_types: list[str] | None = None
    enabled: StrictBool | None = None
    headers: dict[str, str] | None = None


class WebhookEndpointsQuery(ApiSearch):
    """A page of the endpoints, the newest first."""
