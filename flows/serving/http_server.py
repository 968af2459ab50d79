"""The HTTP server on a thread of its own, so that the main thread is free to wait for signals."""

import socket
import threading
from typing import Any

import uvicorn

from schemas.errors import StoreError

# Requests that are under way get so long when the server is stopped.
GRACE_SECONDS = 10


class HttpServer:
    """Serves an ASGI application on a socket that listens already."""

    def __init__(self, application: Any, bound: socket.socket):
        self._socket = bound
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                loop="uvloop",
                http="httptools",
                lifespan="off",
                timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=75,
                server_header=False,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests that are under way, and end."""
        self._server.should_exit = True
        self._thread.join(GRACE_SECONDS + 5)

    def _serve(self) -> None:
        """Serve until it is stopped."""
        self._server.run(sockets=[self._socket])


def url_of(bound: socket.socket) -> str:
    """Return where clients find what listens on a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Raises StoreError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as cause:
        raise StoreError(f"nothing can listen on {host}:{port}: {cause}") from cause
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)
    except OSError as cause:
        bound.close()
        raise StoreError(f"nothing can listen on {host}:{port}: {cause}") from cause
    bound.set_inheritable(True)
    return bound
