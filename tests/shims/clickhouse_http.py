"""A stand-in for a ClickHouse server: enough of its HTTP interface in front of the embedded engine.

It is no ClickHouse: no users, compression, sessions, external data. Each connection of HTTP is a
connection to the engine, so that statements of different ones run side by side. It serves what the
client library sends for DDL, Arrow inserts and queries, and errors, so that the HTTP path of the
store is tested on the same engine. Run as a program: `clickhouse_http.py FOLDER` prints its port
and serves until its standard input ends.
"""

import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb

# What the client sends to the server itself, not to the engine.
OF_THE_TRANSPORT = {
    "buffer_size",
    "client_protocol_version",
    "compress",
    "database",
    "decompress",
    "default_format",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "query",
    "query_id",
    "send_progress_in_http_headers",
    "session_id",
    "wait_end_of_query",
}


class Server(ThreadingHTTPServer):
    """The one engine of this process, with a session for each connection of HTTP."""

    daemon_threads = True

    def __init__(self, folder: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self._folder = folder
        # Held open while no client is connected.
        self._sessions = [Session(folder)]
        self._idle: list[Session] = []
        self._lock = threading.Lock()

    def session(self) -> "Session":
        """Return a session that nobody else uses."""
        with self._lock:
            if not self._idle:
                self._idle.append(Session(self._folder))
                self._sessions += self._idle
            return self._idle.pop()

    def give_back(self, session: "Session") -> None:
        """Take a session that is no longer used."""
        with self._lock:
            self._idle.append(session)

    def server_close(self) -> None:
        """Close all sessions: the engine does not end well beside an open one."""
        super().server_close()
        for each in reversed(self._sessions):
            each.engine.close()


class Session:
    """A connection to the engine, in a database and with settings."""

    def __init__(self, folder: str):
        self.engine = chdb.connect(folder)
        self._database = ""
        self._settings: dict[str, str] = {}

    def run(self, fields: dict[str, str], body: bytes) -> bytes:
        """Run the statement of a request in its database, with its settings and no others."""
        self._prepare(fields)
        parameters = {
            name.removeprefix("param_"): value
            for name, value in fields.items()
            if name.startswith("param_")
        }
        if "query" not in fields:
            answer_format = fields.get("default_format", "TabSeparated")
            answer = self.engine.query(body.decode(), answer_format, params=parameters)
        elif body:
            return self._insert(fields["query"], body)
        else:
            answer = self.engine.query(fields["query"], "TabSeparated", params=parameters)
        return answer.bytes() or b""

    def _prepare(self, fields: dict[str, str]) -> None:
        """Enter the database of a request and set what it sets, as far as that is not so already."""
        database = fields.get("database") or "default"
        if database != self._database:
            self.engine.query(f"USE `{database}`")
            self._database = database
        wanted = {
            name: value
            for name, value in fields.items()
            if name not in OF_THE_TRANSPORT and not name.startswith("param_")
        }
        for name in self._settings.keys() - wanted.keys():
            self.engine.query(f"SET {name} = DEFAULT")
            del self._settings[name]
        for name, value in wanted.items():
            if self._settings.get(name) != value:
                self.engine.query(f"SET {name} = '{value}'")
                self._settings[name] = value

    def _insert(self, statement: str, data: bytes) -> bytes:
        """Insert data that follows a statement `INSERT INTO … FORMAT …`."""
        target, _, data_format = statement.rpartition("FORMAT")
        with tempfile.NamedTemporaryFile(suffix=".raw") as file:
            file.write(data)
            file.flush()
            place = f"FROM INFILE '{file.name}' FORMAT {data_format}"
            return self.engine.query(f"{target} {place}").bytes() or b""


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection with what the engine says."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        """Begin a session."""
        super().setup()
        self._session = self.server.session()

    def finish(self) -> None:
        """End the session."""
        self.server.give_back(self._session)
        super().finish()

    def do_GET(self) -> None:
        """Answer a ping or a statement in the address."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answer a statement in the body, or an insert whose data is the body."""
        self._answer(self._body())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        """Return the request's body, sent whole or in chunks."""
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, body: bytes) -> None:
        """Run the request's statement, and send the answer or the engine's complaint."""
        address = urlsplit(self.path)
        fields = dict(parse_qsl(address.query, keep_blank_values=True))
        if address.path == "/ping":
            self._send(200, b"Ok.\n", {})
            return
        try:
            answer = self._session.run(fields, body)
        except RuntimeError as error:
            text = str(error)
            code = text.partition("Code: ")[2].partition(".")[0] or "1"
            self._send(500, text.encode(), {"X-ClickHouse-Exception-Code": code})
        else:
            self._send(200, answer, {"X-ClickHouse-Summary": "{}", "X-ClickHouse-Timezone": "UTC"})

    def _send(self, status: int, answer: bytes, headers: dict[str, str]) -> None:
        """Send an answer whole."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value.replace("\n", " "))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def main() -> None:
    """Serve until standard input ends."""
    server = Server(str(Path(sys.argv[1]).resolve()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
