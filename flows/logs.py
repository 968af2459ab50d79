"""Logs: one JSON object a line, without secrets, and without properties of events above DEBUG.

What the standard library logs (the HTTP server, migrations) goes the same way. `request_id`,
`tenant_id` and `environment_id` are bound by those who know them and are on every line meanwhile.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from schemas.errors import ValidationFailed

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

MASK = "***"
# A member of one of these names, or of one that ends so, is a secret whatever it holds.
SECRET_NAMES = frozenset({"key", "cookie", "set_cookie", "credentials", "dsn"})
SECRET_ENDINGS = ("api_key", "authorization", "password", "secret", "token", "private_key")
# What events hold is the customers' own: shown only where somebody looks for a fault.
PROPERTY_NAMES = frozenset({"properties", "body", "payload"})
DEPTH_MAX = 12

# Secrets within a text: API keys, the credentials of a URL, and named ones as people write them.
_API_KEY = re.compile(r"sk_\w+")
_URL_CREDENTIALS = re.compile(r"(\w[\w+.-]*://)[^/?#\s\"']*@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',;]+")
_NAMED = re.compile(
    r"(?i)((?:api[_-]?key|authorization|password|secret|token)[\"']?\s*[:=]\s*)"
    r"(\"[^\"]*\"?|'[^']*'?|[^\s\"',;&)}\]]+)"
)

# Loggers that come with handlers of their own, or write a line for each request as we do.
_OTHERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "sqlalchemy")
_SILENT = ("uvicorn.access",)


def configure_logs(level: str, *, stream: TextIO = sys.stderr) -> None:
    """Write all logs of this process from a level on as JSON lines to a stream.

    May be called again, for instance in a worker. Raises ValidationFailed for an unknown level.
    """
    threshold = LEVELS.get(level.lower())
    if threshold is None:
        raise ValidationFailed(
            f"setting log_level must be one of {', '.join(LEVELS)}, not {level!r}",
            field="log_level",
        )
    structlog.configure(
        processors=[*_shared(), _rendered],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                *_shared(),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _OTHERS:
        other = logging.getLogger(name)
        other.handlers[:] = []
        other.propagate = name not in _SILENT


def _shared() -> list[Processor]:
    """Return what every line goes through, ours and those of the standard library."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_secrets,
    ]


def without_secrets(
    _logger: object, method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Return a line with its secrets masked and, unless it is of DEBUG, without event properties.

    >>> without_secrets(None, "info", {"event": "asked", "api_key": "sk_1", "properties": {"a": 1}})
    {'event': 'asked', 'api_key': '***', 'properties': '***'}
    >>> without_secrets(None, "debug", {"url": "http://me:pw@host/db", "properties": {"a": 1}})
    {'url': 'http://***@host/db', 'properties': {'a': 1}}
    """
    hidden = frozenset() if method == "debug" else PROPERTY_NAMES
    return {
        # The formatter of the standard library finds its record again by these.
        name: value if name in {"_record", "_from_structlog"} else _member(name, value, hidden, 0)
        for name, value in line.items()
    }


def _member(name: str, value: object, hidden: frozenset[str], depth: int) -> object:
    """Return the value of a member as it may be shown."""
    if value is None or isinstance(value, bool):
        return value
    plain = name.lower().replace("-", "_")
    if plain in hidden or plain in SECRET_NAMES or plain.endswith(SECRET_ENDINGS):
        return MASK
    return _shown(value, hidden, depth)


def _shown(value: object, hidden: frozenset[str], depth: int) -> object:
    """Return a value as JSON has it, with what is secret in it masked."""
    if depth > DEPTH_MAX:
        return "…"
    shown: object
    match value:
        case None | bool() | int():
            shown = value
        case float():
            shown = value if math.isfinite(value) else str(value)
        case bytes() | bytearray() | memoryview():
            # Nobody can tell what is in them.
            shown = f"<{len(value)} bytes>"
        case Mapping():
            shown = {
                masked(str(name)): _member(str(name), each, hidden, depth + 1)
                for name, each in value.items()
            }
        case list() | tuple() | set() | frozenset():
            shown = [_shown(each, hidden, depth + 1) for each in value]
        case _:
            shown = masked(str(value))
    return shown


def masked(text: str) -> str:
    """Return a text with what looks like a secret masked.

    >>> masked("password=hunter2, key sk_abc, Bearer abc.def, postgresql://u:p@host/db")
    'password=***, key sk_***, Bearer ***, postgresql://***@host/db'
    """
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _NAMED.sub(_named_masked, text)
    text = _URL_CREDENTIALS.sub(rf"\1{MASK}@", text)
    return _API_KEY.sub(f"sk_{MASK}", text)


def _named_masked(found: re.Match[str]) -> str:
    """Mask a named secret; of `Authorization: Bearer ***` the scheme stays."""
    name, value = found.groups()
    return found[0] if value.lower() in {"bearer", "basic"} else f"{name}{MASK}"


def _rendered(_logger: object, _method: str, line: MutableMapping[str, Any]) -> str:
    """Return a line as JSON: when, how grave and what first, the rest by name."""
    first = {name: line.pop(name) for name in ("timestamp", "level", "event") if name in line}
    return json.dumps(first | dict(sorted(line.items())), ensure_ascii=True, default=str)
