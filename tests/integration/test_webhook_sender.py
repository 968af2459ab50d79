"""Sending a message over HTTP: in time, to checked addresses only, and never further."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from receivers import Received, Receiver, Script, receivers

from flows.outbox.sender import HttpSender, Outgoing
from schemas.webhook import Answer

PATIENCE_SECONDS = 60
OUTGOING_HEADERS = {"content-type": "application/json"}


@pytest.fixture
def start() -> Iterator[Callable[..., Receiver]]:
    """Return a starter of receivers; they end with the test."""
    with receivers() as make:
        yield make


@pytest.fixture
def sending() -> Iterator[Callable[..., HttpSender]]:
    """Return a maker of senders, which development allows everything; they end with the test."""
    with ExitStack() as stack:

        def make(private: bool = True, **more: object) -> HttpSender:
            made = HttpSender(lambda: private, **more)  # type: ignore[arg-type]  # named by the tests
            stack.callback(made.close)
            return made

        yield make


def send(sender: HttpSender, url: str) -> Answer:
    return sender.send(Outgoing(url, OUTGOING_HEADERS, b"{}")).result(PATIENCE_SECONDS)


def hang(receiver: Receiver) -> Script:
    def wait(_request: Received, _handler: BaseHTTPRequestHandler) -> int:
        receiver.release.wait(PATIENCE_SECONDS)
        return 204

    return wait


def drip(receiver: Receiver) -> Script:
    """Send a byte of the headers often enough that no single wait is long."""

    def answer(_request: Received, handler: BaseHTTPRequestHandler) -> int:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-long: ")
        while not receiver.release.wait(0.1):
            handler.wfile.write(b"x")
        return 0

    return answer


@pytest.mark.parametrize("slow", [hang, drip], ids=["silent", "dripping"])
def test_an_attempt_ends_in_time_whatever_the_receiver_does(
    slow: Callable[[Receiver], Script],
    start: Callable[..., Receiver],
    sending: Callable[..., HttpSender],
) -> None:
    receiver = start()
    receiver.script = slow(receiver)
    answer = send(sending(seconds=0.5), receiver.url)
    assert (answer.status, answer.failure) == (None, "no answer within 0.5 s")
    assert 500 <= answer.latency_ms < 5000


def test_of_an_endless_answer_the_beginning_is_kept(
    start: Callable[..., Receiver], sending: Callable[..., HttpSender]
) -> None:
    receiver = start()

    def endless(_request: Received, handler: BaseHTTPRequestHandler) -> int:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        while not receiver.release.is_set():
            handler.wfile.write(b"\xff\x00ab" * 100)
        return 0

    receiver.script = endless
    answer = send(sending(), receiver.url)
    assert (answer.status, answer.body) == (200, "\ufffd\ufffdab" * 250)


def test_a_redirect_is_not_followed(
    start: Callable[..., Receiver], sending: Callable[..., HttpSender]
) -> None:
    receiver, elsewhere = start(), start()

    def redirect(_request: Received, handler: BaseHTTPRequestHandler) -> int:
        handler.send_response(307)
        handler.send_header("location", elsewhere.url)
        handler.send_header("content-length", "0")
        handler.end_headers()
        return 0

    receiver.script = redirect
    assert send(sending(), receiver.url).status == 307
    assert elsewhere.received == []


def test_nobody_there_is_an_answer(sending: Callable[..., HttpSender]) -> None:
    answer = send(sending(), "http://127.0.0.1:1/")
    assert answer.status is None
    assert answer.failure is not None
    assert answer.failure.startswith("ConnectError")


class Resolver:
    """A resolver that knows what it is told, and how often it was asked."""

    def __init__(self, *answers: Sequence[str]):
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"], []], ids=str
)
def test_a_host_that_leads_inside_is_not_connected_to(
    addresses: list[str], start: Callable[..., Receiver], sending: Callable[..., HttpSender]
) -> None:
    receiver = start()
    resolver = Resolver(addresses)
    sender = sending(private=False, resolve=resolver)
    answer = send(sender, f"https://hooks.example:{receiver.port}/")
    assert answer.status is None
    assert answer.failure is not None
    assert "not public" in answer.failure or "no address" in answer.failure
    assert "not https" in (send(sender, receiver.url).failure or "")
    assert receiver.received == []
    assert resolver.asked == [("hooks.example", receiver.port)]


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server of a host shows, and what a client trusts."""
    key, shown = folder / "key.pem", folder / "certificate.pem"
    request = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={host}"
    files = ["-addext", f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(shown)]
    subprocess.run([*request.split(), *files], check=True, capture_output=True, timeout=60)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown, key)
    return server, ssl.create_default_context(cafile=str(shown))


def test_a_connection_is_made_to_the_checked_address_and_must_prove_to_be_the_host(
    tmp_path: Path, start: Callable[..., Receiver], sending: Callable[..., HttpSender]
) -> None:
    served, trusted = certificate(tmp_path, "hooks.example")
    receiver = start(served)
    # A second question would be answered otherwise: nobody asks it.
    resolver = Resolver(["127.0.0.1"], ["192.0.2.1"])
    sender = sending(resolve=resolver, tls=trusted)
    assert send(sender, f"https://hooks.example:{receiver.port}/in").status == 204
    assert resolver.asked == [("hooks.example", receiver.port)]
    [request] = receiver.received
    assert request.headers["host"] == f"hooks.example:{receiver.port}"
    other = sending(resolve=Resolver(["127.0.0.1"]), tls=trusted)
    refused = send(other, f"https://other.example:{receiver.port}/in")
    assert refused.failure is not None
    assert "hostname" in refused.failure.lower() or "certificate" in refused.failure.lower()
    assert len(receiver.received) == 1


def test_of_two_addresses_the_one_that_answers_is_used(
    start: Callable[..., Receiver], sending: Callable[..., HttpSender]
) -> None:
    receiver = start()
    resolver = Resolver(["127.0.0.2", "127.0.0.1"])
    assert send(sending(resolve=resolver), f"http://two.example:{receiver.port}").status == 204


def test_what_is_under_way_when_a_sender_is_closed_is_given_up(
    start: Callable[..., Receiver],
) -> None:
    receiver, reached = start(), threading.Event()
    waiting = hang(receiver)

    def wait(request: Received, handler: BaseHTTPRequestHandler) -> int:
        reached.set()
        return waiting(request, handler)

    receiver.script = wait
    sender = HttpSender(lambda: True)
    future = sender.send(Outgoing(receiver.url, {}, b"{}"))
    assert reached.wait(PATIENCE_SECONDS)
    sender.close()
    assert future.cancelled()
