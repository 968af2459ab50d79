"""Sending a message over HTTP: once, to an address that was checked, with a bound on all of it.

A name is resolved once for an attempt and the connection made to what it resolved to, so that a
second answer of a resolver cannot lead elsewhere (platform.md 12). Redirects are not followed.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

import httpx

from billing.webhooks.urls import is_public
from schemas.webhook import ANSWER_BYTES_MAX, Answer

if TYPE_CHECKING:
    from concurrent.futures import Future

ATTEMPT_SECONDS_MAX = 15.0
# A host may have an address that this machine has no way to; more than these are not tried.
ADDRESSES_MAX = 3

# From a host and port to its addresses.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One attempt: what goes where. Headers carry secrets of the endpoint's owner."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Sender(Protocol):
    """Sends messages, many at a time."""

    def send(self, outgoing: Outgoing) -> "Future[Answer]":
        """Begin an attempt, and return what will be known of it; that it failed is an answer too."""
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


class Forbidden(Exception):
    """A URL that messages must not go to."""


class HttpSender:
    """A Sender over HTTP/1.1 with a connection for each attempt, all on a thread of its own.

    `allow_private` is asked at each attempt: development allows http and private addresses.
    """

    def __init__(
        self,
        allow_private: Callable[[], bool] = lambda: False,
        *,
        seconds: float = ATTEMPT_SECONDS_MAX,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ):
        self._allow_private = allow_private
        self._seconds = seconds
        self._resolve = resolve or resolved
        self._tls = tls or httpx.create_ssl_context()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def send(self, outgoing: Outgoing) -> "Future[Answer]":
        """Begin an attempt; it ends after `seconds` at the latest."""
        return asyncio.run_coroutine_threadsafe(self._attempt(outgoing), self._loop)

    def close(self) -> None:
        """Give up what is under way: its answers are cancelled."""
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        """Run attempts until the end."""
        asyncio.set_event_loop(self._loop)
        # Connections are not kept: they belong to an address, and two hosts may share one.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            verify=self._tls,
            timeout=self._seconds,
            limits=limits,
            follow_redirects=False,
            # A proxy would resolve the name once more.
            trust_env=False,
        )
        self._loop.run_forever()
        under_way = asyncio.all_tasks(self._loop)
        for task in under_way:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*under_way, return_exceptions=True))
        self._loop.run_until_complete(self._client.aclose())

    def _stop(self) -> None:
        """Let the loop end."""
        self._loop.stop()

    async def _attempt(self, outgoing: Outgoing) -> Answer:
        """Return what came of an attempt, in whatever way it ended."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._exchange(outgoing)
        except TimeoutError:
            answer = Answer(failure=f"no answer within {self._seconds:g} s")
        except Forbidden as error:
            answer = Answer(failure=str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answer = Answer(failure=f"{type(error).__name__}: {error}"[:ANSWER_BYTES_MAX])
        latency_ms = round((time.monotonic() - begun) * 1000)
        return Answer(answer.status, answer.failure, latency_ms, answer.body, answer.retry_after)

    async def _exchange(self, outgoing: Outgoing) -> Answer:
        """Send a message to the first address of its host that takes connections."""
        url = httpx.URL(outgoing.url)
        addresses = await self._addresses(url)
        for address in addresses[:-1]:
            try:
                return await self._post(url, address, outgoing)
            except httpx.ConnectError:
                continue
        return await self._post(url, addresses[-1], outgoing)

    async def _addresses(self, url: httpx.URL) -> Sequence[str]:
        """Return where a URL leads, if every address of it may be sent to. Raises Forbidden."""
        private = self._allow_private()
        if url.scheme not in ("https", "http") or not url.host:
            raise Forbidden("the URL is none of HTTP")
        if url.scheme != "https" and not private:
            raise Forbidden("the URL is not https")
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await self._resolve(url.raw_host.decode("ascii"), port)
        if not found:
            raise Forbidden("the host has no address")
        if not private:
            inside = [each for each in found if not is_public(ip_address(each))]
            if inside:
                raise Forbidden(f"the host leads to {inside[0]}, which is not public")
        return found[:ADDRESSES_MAX]

    async def _post(self, url: httpx.URL, address: str, outgoing: Outgoing) -> Answer:
        """Send a message to an address, in the name of the host, and read how the answer begins."""
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            headers={
                **outgoing.headers,
                "host": url.netloc.decode("ascii"),
                "accept-encoding": "identity",
            },
            content=outgoing.body,
            # The certificate must be that of the host, whatever its address is.
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await self._client.send(request, stream=True)
        try:
            begin = b""
            async for part in response.aiter_raw():
                begin += part
                if len(begin) >= ANSWER_BYTES_MAX:
                    break
        finally:
            await response.aclose()
        return Answer(
            response.status_code,
            body=kept_text(begin),
            retry_after=response.headers.get("retry-after"),
        )


def kept_text(answer: bytes) -> str:
    r"""Return the beginning of an answer as a text that every store can keep.

    >>> kept_text(b"no\x00 " + b"x" * 2000)[:5], len(kept_text(b"x" * 2000))
    ('no� x', 1000)
    """
    return answer[:ANSWER_BYTES_MAX].decode(errors="replace").replace("\0", "\ufffd")


async def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, each once, as the system orders them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # An address with a zone is one of a link, and the zone no part of it that is judged.
    return tuple(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
