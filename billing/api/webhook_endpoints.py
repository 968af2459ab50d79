"""Where webhooks go: endpoints of an environment (wallets-alerts.md 13)."""

import secrets
from collections.abc import Mapping

from billing.api.listing import page_of
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.use_cases.webhook_endpoints import (
    EndpointChange,
    EndpointFields,
    create_endpoint,
    delete_endpoint,
    list_endpoints,
    read_endpoint,
    update_endpoint,
)
from billing.webhooks.signing import secret_of
from schemas.api.answers.webhooks import ListWebhookEndpointsResponse, WebhookEndpointResponse
from schemas.api.requests.webhooks import (
    CreateWebhookEndpointRequest,
    UpdateWebhookEndpointRequest,
    WebhookEndpointsQuery,
)
from schemas.setting import SettingKey
from schemas.webhook import EndpointId, WebhookEndpoint

SECRET_BYTES = 32


def endpoint_answer(
    endpoint: WebhookEndpoint, secret: str | None = None
) -> WebhookEndpointResponse:
    """Return an endpoint as an answer, with its secret only where it is given."""
    return WebhookEndpointResponse(
        id=endpoint.id,
        url=endpoint.url,
        description=endpoint.description,
        event_types=list(endpoint.event_types),
        enabled=endpoint.enabled,
        header_names=sorted(endpoint.headers),
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
        version=endpoint.version,
        secret=secret,
    )


def allows_private(call: Call) -> bool:
    """Tell whether the environment lets webhooks go to http and to private addresses."""
    found = call.environment.settings.get(SettingKey.WEBHOOK)
    return bool(found.value["allow_private_urls"])


def make_endpoint(call: Call) -> Answer:
    """Make an endpoint; its secret is in this answer and in no other."""
    asked = read(CreateWebhookEndpointRequest, call.json)
    secret = secret_of(secrets.token_bytes(SECRET_BYTES))
    made = create_endpoint(
        call.environment.webhooks,
        EndpointFields(
            asked.url, asked.description, asked.event_types, asked.enabled, asked.headers
        ),
        endpoint_id=EndpointId(call.environment.new_id("ep")),
        secret=secret,
        at=call.services.clock(),
        allow_private=allows_private(call),
    )
    return shown(endpoint_answer(made, secret), 201)


def show_endpoints(call: Call) -> Answer:
    """Show a page of the endpoints, the newest first."""
    asked = read(WebhookEndpointsQuery, query_of(call.query))
    rows, total = list_endpoints(call.environment.webhooks, limit=asked.limit, offset=asked.offset)
    return page_of(rows, total, asked, endpoint_answer)


def show_endpoint(call: Call) -> Answer:
    """Show one endpoint."""
    found = read_endpoint(call.environment.webhooks, EndpointId(call.parameters["id"]))
    return shown(endpoint_answer(found))


def change_endpoint(call: Call) -> Answer:
    """Change an endpoint."""
    asked = read(UpdateWebhookEndpointRequest, call.json)
    changed = update_endpoint(
        call.environment.webhooks,
        EndpointId(call.parameters["id"]),
        EndpointChange(
            asked.url, asked.description, asked.event_types, asked.enabled, asked.headers
        ),
        at=call.services.clock(),
        allow_private=allows_private(call),
    )
    return shown(endpoint_answer(changed))


def remove_endpoint(call: Call) -> Answer:
    """Delete an endpoint: nothing more goes there."""
    delete_endpoint(
        call.environment.webhooks, EndpointId(call.parameters["id"]), at=call.services.clock()
    )
    return Answer(204, b"")


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/webhooks/endpoints"): Built(
        make_endpoint, takes=CreateWebhookEndpointRequest, gives=WebhookEndpointResponse
    ),
    ("GET", "/v1/webhooks/endpoints"): Built(
        show_endpoints, asks=WebhookEndpointsQuery, gives=ListWebhookEndpointsResponse
    ),
    ("GET", "/v1/webhooks/endpoints/{id}"): Built(show_endpoint, gives=WebhookEndpointResponse),
    ("PUT", "/v1/webhooks/endpoints/{id}"): Built(
        change_endpoint, takes=UpdateWebhookEndpointRequest, gives=WebhookEndpointResponse
    ),
    ("DELETE", "/v1/webhooks/endpoints/{id}"): Built(remove_endpoint),
}
