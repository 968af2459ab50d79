"""A small HTTP server for processes without an API: /metrics, /healthz and /readyz (platform.md 8)."""

import json
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from flows.metrics.series import exposition
from schemas.errors import StoreError
from schemas.health import Check

JSON = "application/json"
# A client that asks and then says nothing does not hold its thread for ever.
REQUEST_SECONDS_MAX = 10

Readiness = Callable[[], Sequence[Check]]
Answer = tuple[HTTPStatus, bytes, str]


class MetricsServer:
    """A server on a thread of its own; `port` is where it listens."""

    def __init__(self, server: ThreadingHTTPServer):
        self._server = server
        self.port: int = server.server_address[1]
        self._thread = threading.Thread(
            target=server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(port: int, readiness: Readiness, *, host: str = "127.0.0.1") -> MetricsServer:
    """Serve on a port, 0 for a free one; `readiness` is asked for each `/readyz`.

    The server has no authentication: bind it to a private address. Raises StoreError if the port
    cannot be had.
    """

    class Handler(_Handler):
        answers = staticmethod(lambda path: _answer(path, readiness))

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as cause:
        raise StoreError(f"cannot serve metrics on {host}:{port}: {cause.strerror}") from cause
    server.daemon_threads = True
    return MetricsServer(server)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET; everything else is refused by the server's own rules."""

    timeout = REQUEST_SECONDS_MAX
    answers: Callable[[str], Answer]

    def do_GET(self) -> None:
        status, body, content_type = type(self).answers(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: somebody asks every few seconds."""


def _answer(path: str, readiness: Readiness) -> Answer:
    """Return what a path answers."""
    match path:
        case "/metrics":
            body, content_type = exposition()
            return HTTPStatus.OK, body, content_type
        case "/health" | "/healthz":
            return HTTPStatus.OK, b'{"status": "ok"}', JSON
        case "/readyz":
            return _ready(readiness())
    error = {"code": "not_found", "message": f"there is no {path}", "http_status_code": 404}
    return HTTPStatus.NOT_FOUND, json.dumps(error).encode(), JSON


def _ready(checks: Sequence[Check]) -> Answer:
    """Return what `/readyz` answers; the API answers the same."""
    ready = all(check.ok for check in checks)
    body = {
        "status": "ok" if ready else "unavailable",
        "checks": [
            {
                "name": check.name,
                "ok": check.ok,
                "latency_ms": check.latency_ms,
                "message": check.message,
            }
            for check in checks
        ],
    }
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return status, json.dumps(body).encode(), JSON
