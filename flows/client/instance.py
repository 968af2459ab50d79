"""One running instance, spoken to over HTTP: what it answers becomes a value or a typed error."""

import ipaddress
import json
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import httpx

from schemas.errors import (
    NotFound,
    PermissionDenied,
    StoreError,
    TallyError,
    Unauthorized,
    ValidationFailed,
)

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_SECONDS_MAX = 5.0
# Longer than the server waits for its log before it answers 503.
ANSWER_SECONDS_MAX = 60.0
MESSAGE_CHARACTERS_MAX = 300


class Away(StoreError):
    """The instance did not answer, or asked for patience: the same request may succeed later."""

    def __init__(self, message: str, retry_after_seconds: float | None = None):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Instance:
    """An instance at a URL, with the key that opens it; safe to use from several threads.

    `transport` stands in for the network. Raises ValidationFailed for what is no URL of HTTP.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        connections: int = 10,
    ):
        self.url = url.rstrip("/")
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as cause:
            raise ValidationFailed(f"{url!r} is no URL: {cause}", field="url") from cause
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ValidationFailed(f"{url!r} is no URL of HTTP, as {DEFAULT_URL}", field="url")
        if not key.isascii() or not key.isprintable():
            raise ValidationFailed("the key has characters that no header may have", field="key")
        self._client = httpx.Client(
            base_url=self.url,
            headers={"x-api-key": key},
            timeout=httpx.Timeout(ANSWER_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            transport=transport,
            # A proxy of the environment cannot reach this machine's own addresses.
            trust_env=not is_local(parsed.host),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def post(
        self, path: str, body: bytes, content_type: str, query: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send a body; return what was answered if that is no failure.

        Raises Away where the same request may succeed later, Unauthorized, PermissionDenied,
        NotFound, and ValidationFailed for whatever else was refused.
        """
        headers = {"content-type": content_type}
        return self._answer("POST", path, content=body, headers=headers, params=query)

    def ask(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Send an object and return the object that was answered, every number a Decimal."""
        return self._object(self.post(path, json.dumps(body).encode(), "application/json"))

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the object at a path, every number a Decimal."""
        return self._object(self._answer("GET", path, params=query))

    # What is passed on is httpx's own.
    def _answer(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **content)
        except httpx.HTTPError as cause:
            raise Away(f"{self.url} does not answer: {_why(cause)}") from cause
        if response.is_success:
            return response
        raise self._failure(response)

    def _failure(self, response: httpx.Response) -> TallyError:
        """Return what an answer that is a failure comes to."""
        status, said = response.status_code, _message(response)
        if status in {429, 500, 502, 503, 504}:
            return Away(f"{self.url} answers {status}: {said}", _retry_after(response))
        if status == 401:
            return Unauthorized(f"{self.url} does not know the key: {said}")
        if status == 403:
            return PermissionDenied(f"{self.url} refuses: {said}")
        if status == 404:
            return NotFound(f"{self.url} answers 404: {said}")
        return ValidationFailed(f"{self.url} answers {status}: {said}")

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        try:
            found = json.loads(response.content, parse_float=Decimal, parse_int=Decimal)
        except ValueError as cause:
            raise StoreError(f"{self.url} does not answer as a tally does: no JSON") from cause
        if not isinstance(found, dict):
            raise StoreError(f"{self.url} does not answer as a tally does: no object")
        return found


def is_local(host: str) -> bool:
    """Tell whether a host is this machine.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("tally.example")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(cause: httpx.HTTPError) -> str:
    """Return the reason of a failed exchange in words."""
    if isinstance(cause, httpx.TimeoutException):
        return "no answer in time"
    return str(cause) or type(cause).__name__


def _message(response: httpx.Response) -> str:
    """Return what an answer says went wrong, on one line; of others than ours only what they are."""
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        return f"{response.reason_phrase}, without a message of tally"
    return " ".join(str(message).split())[:MESSAGE_CHARACTERS_MAX]


def _retry_after(response: httpx.Response) -> float | None:
    """Return how many seconds an answer asks for; its other form, a date, is not heeded."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
