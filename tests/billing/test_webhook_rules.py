"""Webhooks as rules: signatures, schedules, bodies, who gets what, where it may go, and endpoints."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.stores.memory import MemoryStore
from billing.stores.memory_webhooks import MemoryWebhooks
from billing.use_cases.webhook_endpoints import (
    EndpointChange,
    EndpointFields,
    create_endpoint,
    delete_endpoint,
    list_endpoints,
    read_endpoint,
    update_endpoint,
)
from billing.webhooks.bodies import message_body, payload_of, wants
from billing.webhooks.schedule import (
    ATTEMPTS_MAX,
    DELAYS,
    RETRY_AFTER_MAX,
    asked_delay,
    jittered,
    judge,
)
from billing.webhooks.signing import secret_of, signing_headers
from billing.webhooks.urls import checked_url, is_public
from schemas.errors import InvalidOperation, NotFound, ValidationFailed, VersionConflict
from schemas.ids import CustomerId, OutboxId
from schemas.webhook import (
    EVENT_TYPES,
    ONLY_BY_NAME,
    TRANSITIONS,
    Answer,
    DeliveryAction,
    DeliveryStatus,
    EndpointId,
    OutboxMessage,
    WebhookEndpoint,
    WebhookSecret,
    after,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECRET, OLDER = secret_of(bytes(range(32))), secret_of(bytes(32))
MESSAGE = OutboxMessage(
    7,
    OutboxId("msg_1"),
    "cust_1",
    NOON.replace(microsecond=120_000),
    "alerts",
    {"value": Decimal("0.10"), "levels": [Decimal(1), None]},
    "wallet.ongoing_balance.dropped",
    {"wallet": {"id": "wallet_1", "balance": Decimal("12.50")}, "alert": {"state": "info"}},
    CustomerId("cust_1"),
)


def endpoint_of(**more: object) -> WebhookEndpoint:
    known = WebhookEndpoint(EndpointId("we_1"), "https://example.com", NOON, NOON)
    return replace(known, **more)  # type: ignore[arg-type]  # named by the tests


def verifies(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Verify as the documentation of Standard Webhooks says, with nothing of ours."""
    key = base64.b64decode(secret.split("_")[1])
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


def test_a_message_is_signed_by_each_secret_that_is_valid() -> None:
    secrets = [WebhookSecret(SECRET), WebhookSecret(OLDER, NOON + timedelta(hours=24))]
    body = message_body(MESSAGE, "env_1")
    at = NOON + timedelta(hours=23, microseconds=999_999)
    headers = signing_headers(secrets, MESSAGE.id, at, body)
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-timestamp"] == str(int(NOON.timestamp()) + 23 * 3600)
    assert verifies(SECRET, headers, body)
    assert verifies(OLDER, headers, body)
    assert not verifies(SECRET, headers, body + b" ")
    assert not verifies(SECRET, headers | {"webhook-timestamp": "0"}, body)
    expired = signing_headers(secrets, MESSAGE.id, NOON + timedelta(hours=24), body)
    assert verifies(SECRET, expired, body)
    assert not verifies(OLDER, expired, body)
    assert " " not in expired["webhook-signature"]


def test_a_secret_is_in_no_text_of_a_record() -> None:
    endpoint = endpoint_of(secrets=(WebhookSecret(SECRET),), headers={"authorization": "hidden"})
    assert SECRET not in repr(endpoint)
    assert "hidden" not in repr(endpoint)


def test_a_body_has_its_envelope_and_its_objects_at_the_top_level() -> None:
    assert json.loads(message_body(MESSAGE, "env_1")) == {
        "id": "msg_1",
        "type": "wallet.ongoing_balance.dropped",
        "event_type": "wallet.ongoing_balance.dropped",
        "created_at": "2026-01-01T12:00:00.12Z",
        "api_version": "v1",
        "environment_id": "env_1",
        "customer_id": "cust_1",
        "sequence": 7,
        "wallet": {"id": "wallet_1", "balance": "12.5"},
        "alert": {"state": "info"},
    }
    clashing = replace(MESSAGE, body={"id": "other", "type": "other"})
    assert json.loads(message_body(clashing, "env_1"))["id"] == "msg_1"
    assert payload_of(MESSAGE) == b'{"value":"0.1","levels":["1",null]}'


@pytest.mark.parametrize(
    ("event_types", "event", "wanted"),
    [
        ((), "wallet.created", True),
        ((), "wallet.ongoing_balance.updated", False),
        ((), "event.rejected", False),
        (("wallet.ongoing_balance.updated",), "wallet.ongoing_balance.updated", True),
        (("wallet.created",), "wallet.updated", False),
        (("invoice.update",), "invoice.update.finalized", False),
    ],
)
def test_an_endpoint_gets_what_it_names(
    event_types: tuple[str, ...], event: str, wanted: bool
) -> None:
    endpoint = endpoint_of(event_types=event_types)
    assert wants(endpoint, event) is wanted
    assert not wants(replace(endpoint, enabled=False), event)
    assert not wants(replace(endpoint, deleted=True), event)


def test_the_names_are_each_there_once_and_the_frequent_ones_are_among_them() -> None:
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES)
    assert set(EVENT_TYPES) >= ONLY_BY_NAME


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        (1, 5),
        (2, 300),
        (3, 1800),
        (4, 7200),
        (5, 18_000),
        (6, 36_000),
        (7, 50_400),
        (8, 72_000),
        (9, 86_400),
    ],
)
def test_a_failed_attempt_is_made_again_later_and_later(number: int, seconds: int) -> None:
    for answer in (Answer(500), Answer(404), Answer(302), Answer(failure="no answer within 15 s")):
        verdict = judge(answer, number, NOON, 0.5)
        assert verdict.action is DeliveryAction.FAIL
        assert verdict.retry_at == NOON + timedelta(seconds=seconds)
        assert not verdict.disables


def test_after_the_last_attempt_a_delivery_is_exhausted() -> None:
    assert ATTEMPTS_MAX == 10
    verdict = judge(Answer(500), 10, NOON, 0.5)
    assert (verdict.action, verdict.retry_at) == (DeliveryAction.GIVE_UP, None)
    assert timedelta(days=3) < sum(DELAYS, timedelta()) < timedelta(days=3, hours=5)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    for number in (1, 10):
        assert judge(Answer(status), number, NOON, 0.5).action is DeliveryAction.SUCCEED


def test_410_disables_the_endpoint() -> None:
    verdict = judge(Answer(410), 1, NOON, 0.5)
    assert (verdict.action, verdict.disables) == (DeliveryAction.GIVE_UP, True)


@pytest.mark.parametrize(
    ("status", "header", "number", "seconds"),
    [
        (429, "120", 1, 120),
        (503, "120", 1, 120),
        (500, "120", 1, 5),
        (429, "7200", 1, 3600),
        (429, "9" * 40, 1, 3600),
        (429, "1", 1, 5),
        (429, "0", 4, 7200),
        (429, "Thu, 01 Jan 2026 12:02:00 GMT", 1, 120),
        (429, "Thu, 01 Jan 2026 11:00:00 GMT", 1, 5),
        (429, "Fri, 02 Jan 2026 12:00:00 -0000", 1, 3600),
        (429, "soon", 1, 5),
        (429, "-5", 1, 5),
        (429, "٣", 1, 5),
        (429, "", 1, 5),
        (429, None, 1, 5),
    ],
)
def test_retry_after_is_respected_up_to_an_hour_and_never_hurries(
    status: int, header: str | None, number: int, seconds: int
) -> None:
    verdict = judge(Answer(status, retry_after=header), number, NOON, 0.5)
    assert verdict.retry_at == NOON + timedelta(seconds=seconds)


@given(st.floats(0, 1), st.sampled_from(DELAYS))
def test_a_retry_moves_by_a_tenth_at_most(chance: float, delay: timedelta) -> None:
    assert delay * 0.9 <= jittered(delay, chance) <= delay * 1.1 + timedelta(microseconds=1)


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"))
def test_whatever_a_receiver_says_the_next_attempt_is_bounded(header: str) -> None:
    assert asked_delay(header, NOON) >= timedelta()
    verdict = judge(Answer(429, retry_after=header), 1, NOON, 0.5)
    assert verdict.retry_at is not None
    assert timedelta(seconds=5) <= verdict.retry_at - NOON <= RETRY_AFTER_MAX


def test_what_is_not_in_the_table_of_deliveries_is_refused() -> None:
    for status in DeliveryStatus:
        for action in DeliveryAction:
            if (status, action) not in TRANSITIONS:
                with pytest.raises(InvalidOperation):
                    after(status, action)
    assert {status for status, _ in TRANSITIONS} == {DeliveryStatus.PENDING}


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - it is judged, nothing listens there
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
    ],
)
def test_an_address_of_this_network_is_not_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://example.com",
        "example.com/hooks",
        "https://",
        "https://user:word@example.com",
        "https://localhost/hooks",
        "https://LOCALHOST./hooks",
        "https://db.internal",
        "https://printer.local",
        "https://intranet",
        "https://127.0.0.1",
        "https://[::1]:8443/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://169.254.169.254/latest",
        "https://example.com:99999/",
        "https://example.com/" + "x" * 2048,
        "",
    ],
    ids=lambda url: url[:40] or "empty",
)
def test_a_url_that_is_not_https_and_public_is_refused(url: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        checked_url(url, allow_private=False)
    assert refused.value.field == "url"


def test_development_may_use_http_and_private_addresses() -> None:
    for url in ("http://127.0.0.1:9000/hooks", "https://localhost", "http://example.com"):
        assert checked_url(url, allow_private=True) == url
    with pytest.raises(ValidationFailed):
        checked_url("ftp://127.0.0.1", allow_private=True)


@pytest.fixture
def store() -> MemoryWebhooks:
    return MemoryWebhooks(MemoryStore())


def made(store: MemoryWebhooks, name: str = "we_1", **more: object) -> WebhookEndpoint:
    fields = EndpointFields("https://example.com/hooks")
    return create_endpoint(
        store,
        replace(fields, **more),  # type: ignore[arg-type]  # named by the tests
        endpoint_id=EndpointId(name),
        secret=SECRET,
        at=NOON,
        allow_private=False,
    )


def test_an_endpoint_is_made_read_and_listed(store: MemoryWebhooks) -> None:
    names = ["wallet.created", "wallet.updated", "wallet.created"]
    endpoint = made(store, url=" https://example.com/hooks ", event_types=names)
    assert endpoint.url == "https://example.com/hooks"
    assert endpoint.event_types == ("wallet.created", "wallet.updated")
    assert endpoint.secrets == (WebhookSecret(SECRET),)
    assert read_endpoint(store, endpoint.id) == endpoint
    made(store, "we_2")
    assert [each.id for each in list_endpoints(store, limit=1, offset=0)[0]] == ["we_2"]
    assert list_endpoints(store, limit=9, offset=1) == ((endpoint,), 2)


def test_a_refused_endpoint_names_all_that_is_wrong_and_leaves_nothing(
    store: MemoryWebhooks,
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        made(
            store,
            url="http://example.com",
            description="x" * 1001,
            event_types=["wallet.created", "wallet.exploded"],
            headers={"webhook-id": "mine"},
        )
    assert refused.value.field == "url"
    details = refused.value.details
    assert details is not None
    fields = details["fields"]
    assert isinstance(fields, list)
    assert [each["field"] for each in fields] == ["url", "description", "event_types", "headers"]
    assert fields[2]["problem"] == "unknown names: wallet.exploded"
    assert fields[2]["accepted"] == list(EVENT_TYPES)
    assert store.endpoints() == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "elsewhere"},
        {"Content-Length": "5"},
        {"Webhook-Signature": "v1,mine"},
        {"two words": "x"},
        {"": "x"},
        {"x-team": "a\r\nx-other: b"},
        {"x-team": "ü"},
        {"X-Team": "a", "x-team": "b"},
        {f"x-{number}": "" for number in range(21)},
    ],
    ids=lambda headers: next(iter(headers)) or "empty",
)
def test_a_header_that_cannot_be_sent_along_is_refused(
    store: MemoryWebhooks, headers: dict[str, str]
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        made(store, headers=headers)
    assert refused.value.field == "headers"


def test_a_change_leaves_what_it_does_not_name(store: MemoryWebhooks) -> None:
    before = made(store, description="ours", event_types=["wallet.created"], headers={"x": "y"})
    later = NOON + timedelta(hours=1)
    change = EndpointChange(description="", event_types=())
    changed = update_endpoint(store, before.id, change, at=later, allow_private=False)
    assert changed == replace(before, description="", event_types=(), updated_at=later, version=2)
    assert read_endpoint(store, before.id) == changed
    again = update_endpoint(store, before.id, change, at=NOON, allow_private=False)
    assert again == changed


def test_a_refused_change_changes_nothing(store: MemoryWebhooks) -> None:
    before = made(store)
    change = EndpointChange(url="http://10.0.0.1", description="new")
    with pytest.raises(ValidationFailed):
        update_endpoint(store, before.id, change, at=NOON, allow_private=False)
    assert read_endpoint(store, before.id) == before


def test_an_endpoint_of_development_can_be_disabled_when_its_url_is_no_longer_allowed(
    store: MemoryWebhooks,
) -> None:
    fields = EndpointFields("http://127.0.0.1:9000")
    name = EndpointId("we_dev")
    create_endpoint(store, fields, endpoint_id=name, secret=SECRET, at=NOON, allow_private=True)
    change = EndpointChange(enabled=False)
    assert not update_endpoint(store, name, change, at=NOON, allow_private=False).enabled


def test_a_deleted_endpoint_is_found_by_nobody(store: MemoryWebhooks) -> None:
    endpoint = made(store)
    delete_endpoint(store, endpoint.id, at=NOON)
    with pytest.raises(NotFound):
        read_endpoint(store, endpoint.id)
    with pytest.raises(NotFound):
        delete_endpoint(store, endpoint.id, at=NOON)
    with pytest.raises(NotFound):
        update_endpoint(store, endpoint.id, EndpointChange(), at=NOON, allow_private=False)
    with pytest.raises(VersionConflict):
        made(store)
    assert list_endpoints(store, limit=9, offset=0) == ((), 0)
