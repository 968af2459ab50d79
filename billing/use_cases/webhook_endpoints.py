"""Managing webhook endpoints: making, finding, changing and deleting them (wallets-alerts.md 13).

Nothing of a refused request is kept, and a refusal names every field that is wrong. The secret of an
endpoint is in the record that `create_endpoint` returns: an answer shows it then and never again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from billing.ports.outbox import EndpointStore
from billing.webhooks.urls import checked_url
from schemas.errors import NotFound, ValidationFailed
from schemas.webhook import EVENT_TYPES, EndpointId, WebhookEndpoint, WebhookSecret

DESCRIPTION_CHARACTERS_MAX = 1000
HEADERS_MAX = 20
HEADER_CHARACTERS_MAX = 4096
# What a message says of itself, and what the connection needs.
OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
OWN_PREFIX = "webhook-"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", re.ASCII)
_HEADER_VALUE = re.compile(r"[ -~]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class EndpointFields:
    """What somebody says of an endpoint; no `event_types` are all of them."""

    url: str
    description: str = ""
    event_types: Sequence[str] = ()
    enabled: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What is to become of an endpoint; what is None stays as it is."""

    url: str | None = None
    description: str | None = None
    event_types: Sequence[str] | None = None
    enabled: bool | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)


def create_endpoint(
    store: EndpointStore,
    given: EndpointFields,
    *,
    endpoint_id: EndpointId,
    secret: str,
    at: datetime,
    allow_private: bool,
) -> WebhookEndpoint:
    """Add an endpoint and return it with its secret (`billing.webhooks.signing.secret_of`).

    Raises ValidationFailed, with all problems in its details.
    """
    checked = checked_fields(given, allow_private=allow_private)
    endpoint = WebhookEndpoint(
        endpoint_id,
        checked.url,
        at,
        at,
        checked.description,
        tuple(checked.event_types),
        checked.enabled,
        checked.headers,
        (WebhookSecret(secret),),
    )
    store.put_endpoint(endpoint)
    return endpoint


def read_endpoint(store: EndpointStore, endpoint_id: EndpointId) -> WebhookEndpoint:
    """Return an endpoint. Raises NotFound."""
    found = store.endpoint(endpoint_id)
    if found is None:
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    return found


def list_endpoints(
    store: EndpointStore, *, limit: int, offset: int
) -> tuple[Sequence[WebhookEndpoint], int]:
    """Return a page of the endpoints, the newest first, and how many there are."""
    every = store.endpoints()
    return every[offset : offset + limit], len(every)


def update_endpoint(
    store: EndpointStore,
    endpoint_id: EndpointId,
    change: EndpointChange,
    *,
    at: datetime,
    allow_private: bool,
) -> WebhookEndpoint:
    """Change an endpoint and return it; a change of nothing writes nothing.

    What waits for an endpoint that is disabled is exhausted, and what comes meanwhile is not made
    up for when it is enabled again. Raises NotFound, ValidationFailed, and VersionConflict where
    another change came between.
    """
    known = read_endpoint(store, endpoint_id)
    wanted = EndpointFields(
        known.url if change.url is None else change.url,
        known.description if change.description is None else change.description,
        known.event_types if change.event_types is None else change.event_types,
        known.enabled if change.enabled is None else change.enabled,
        known.headers if change.headers is None else change.headers,
    )
    # A URL that stays is not judged again: the setting that allowed it may have changed, and each
    # attempt judges where it leads.
    checked = checked_fields(wanted, allow_private=allow_private or change.url is None)
    changed = replace(
        known,
        url=checked.url,
        description=checked.description,
        event_types=tuple(checked.event_types),
        enabled=checked.enabled,
        headers=checked.headers,
    )
    if changed == known:
        return known
    changed = replace(changed, updated_at=at, version=known.version + 1)
    store.put_endpoint(changed)
    return changed


def delete_endpoint(store: EndpointStore, endpoint_id: EndpointId, *, at: datetime) -> None:
    """Delete an endpoint: nothing more goes there. Raises NotFound, VersionConflict."""
    known = read_endpoint(store, endpoint_id)
    store.put_endpoint(replace(known, deleted=True, updated_at=at, version=known.version + 1))


def checked_fields(given: EndpointFields, *, allow_private: bool) -> EndpointFields:
    """Return fields as they are kept: without doubled names and spaces around the URL.

    Raises ValidationFailed with one problem for each field that is wrong.

    >>> checked_fields(EndpointFields("https://a.example ", event_types=["x"]), allow_private=False)
    Traceback (most recent call last):
    ...
    schemas.errors.ValidationFailed: event_types: unknown names: x
    """
    problems: list[dict[str, object]] = []
    url = given.url
    try:
        url = checked_url(given.url, allow_private=allow_private)
    except ValidationFailed as error:
        problems.append({"field": "url", "problem": str(error).removeprefix("url ")})
    if len(given.description) > DESCRIPTION_CHARACTERS_MAX:
        problem = f"is longer than {DESCRIPTION_CHARACTERS_MAX} characters"
        problems.append({"field": "description", "problem": problem})
    unknown = sorted(set(given.event_types) - set(EVENT_TYPES))
    if unknown:
        problem = f"unknown names: {', '.join(unknown)}"
        problems.append({"field": "event_types", "problem": problem, "accepted": list(EVENT_TYPES)})
    refused = header_problem(given.headers)
    if refused is not None:
        problems.append({"field": "headers", "problem": refused})
    if problems:
        first = problems[0]
        raise ValidationFailed(
            f"{first['field']}: {first['problem']}",
            field=str(first["field"]),
            details={"fields": problems},
        )
    names = tuple(dict.fromkeys(given.event_types))
    return replace(given, url=url, event_types=names, headers=dict(given.headers))


def header_problem(headers: Mapping[str, str]) -> str | None:
    """Return why some headers cannot be sent along, None if they can; values are never quoted.

    >>> header_problem({"x-team": "billing"}), header_problem({"Host": "elsewhere"})
    (None, 'Host is set by the message itself')
    """
    if len(headers) > HEADERS_MAX:
        return f"are more than {HEADERS_MAX}"
    if len({name.lower() for name in headers}) < len(headers):
        return "name one header twice"
    for name, value in headers.items():
        if _HEADER_NAME.fullmatch(name) is None:
            return f"{name!r} is no name of a header"
        if name.lower() in OWN_HEADERS or name.lower().startswith(OWN_PREFIX):
            return f"{name} is set by the message itself"
        if len(value) > HEADER_CHARACTERS_MAX or _HEADER_VALUE.fullmatch(value) is None:
            return f"the value of {name} must be printable ASCII of at most {HEADER_CHARACTERS_MAX}"
    return None
