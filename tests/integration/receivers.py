"""Receivers of webhooks for tests: real servers on this machine that answer by a script."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from billing.webhooks.signing import secret_of

SECRET = secret_of(bytes(range(32)))


@dataclass
class Received:
    """A request as a receiver sees it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


Script = Callable[[Received, BaseHTTPRequestHandler], int]


@dataclass
class Receiver:
    """A server that answers by a script and keeps what it was sent."""

    url: str
    port: int
    received: list[Received] = field(default_factory=list)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    script: Script = lambda _request, _handler: 204
    release: threading.Event = field(default_factory=threading.Event)

    def accepted(self, request: Received) -> bool:
        """Verify a signature as the documentation of Standard Webhooks says."""
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        name, at = (request.headers[f"webhook-{part}"] for part in ("id", "timestamp"))
        digest = hmac.digest(key, f"{name}.{at}.".encode() + request.body, hashlib.sha256)
        wanted = "v1," + base64.b64encode(digest).decode()
        return (
            wanted in request.headers["webhook-signature"].split(" ")
            and abs(int(at) - self.now().timestamp()) < 300
            and name == request.message["id"]
        )


@contextmanager
def receivers() -> Iterator[Callable[..., Receiver]]:
    """Yield a starter of receivers; they end with the block."""
    with ExitStack() as stack:

        def make(tls: ssl.SSLContext | None = None) -> Receiver:
            class Handler(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    body = self.rfile.read(int(self.headers.get("content-length", 0)))
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    request = Received(self.path, headers, body)
                    receiver.received.append(request)
                    # Whoever sent this may have gone away in the meantime.
                    with suppress(OSError):
                        status = receiver.script(request, self)
                        if status:
                            self.send_response(status)
                            self.send_header("content-length", "0")
                            self.end_headers()

                def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                    del format, args

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            port = server.server_address[1]
            receiver = Receiver(f"{'https' if tls else 'http'}://127.0.0.1:{port}", port)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            stack.callback(receiver.release.set)
            return receiver

        yield make
