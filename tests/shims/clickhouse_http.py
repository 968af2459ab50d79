"""A stand-in for a ClickHouse server: enough of its HTTP interface in front of the embedded engine.

It is no ClickHouse: one statement at a time, no users, compression, sessions, external data. It
serves what the client library sends for DDL, Arrow inserts and queries, and errors, so that the
HTTP path of the store is tested on the same engine. Run as a program: `clickhouse_http.py FOLDER`
prints its port and serves until its standard input ends.
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
    """The one engine of this process, with a lock around each statement."""

    daemon_threads = True

    def __init__(self, folder: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.engine = chdb.connect(folder)
        self.one_at_a_time = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers one request with what the engine says."""

    protocol_version = "HTTP/1.1"
    server: Server

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
            with self.server.one_at_a_time:
                answer = self._run(fields, body)
        except RuntimeError as error:
            text = str(error)
            code = text.partition("Code: ")[2].partition(".")[0] or "1"
            self._send(500, text.encode(), {"X-ClickHouse-Exception-Code": code})
        else:
            self._send(200, answer, {"X-ClickHouse-Summary": "{}", "X-ClickHouse-Timezone": "UTC"})

    def _run(self, fields: dict[str, str], body: bytes) -> bytes:
        """Set the database and the settings of a request, then run its statement."""
        engine = self.server.engine
        engine.query(f"USE `{fields.get('database') or 'default'}`")
        for name, value in fields.items():
            if name not in OF_THE_TRANSPORT and not name.startswith("param_"):
                engine.query(f"SET {name} = '{value}'")
        parameters = {
            name.removeprefix("param_"): value
            for name, value in fields.items()
            if name.startswith("param_")
        }
        if "query" not in fields:
            answer_format = fields.get("default_format", "TabSeparated")
            return engine.query(body.decode(), answer_format, params=parameters).bytes() or b""
        if not body:
            return engine.query(fields["query"], "TabSeparated", params=parameters).bytes() or b""
        return self._insert(fields["query"], body)

    def _insert(self, statement: str, data: bytes) -> bytes:
        """Insert data that follows a statement `INSERT INTO … FORMAT …`."""
        target, _, data_format = statement.rpartition("FORMAT")
        with tempfile.NamedTemporaryFile(suffix=".raw") as file:
            file.write(data)
            file.flush()
            place = f"FROM INFILE '{file.name}' FORMAT {data_format}"
            return self.server.engine.query(f"{target} {place}").bytes() or b""

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
    server.engine.close()


if __name__ == "__main__":
    main()
