"""Logs: a JSON object a line, and never a secret or what an event holds."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from flows.logs import configure_logs
from schemas.errors import ValidationFailed

# A word that nobody writes by chance.
SECRET = "hunter2QZX"  # noqa: S105 - a secret made up for these tests


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logs(level, stream=stream)
    return stream


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_context() -> None:
    stream = lines()
    with structlog.contextvars.bound_contextvars(request_id="req_1", environment_id="env_a"):
        structlog.get_logger().info("request", status=202, text="two\nlines")
    (line,) = read(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "req_1",
        "environment_id": "env_a",
        "status": 202,
        "text": "two\nlines",
    }
    assert list(json.loads(stream.getvalue()))[:3] == ["timestamp", "level", "event"]


def test_the_standard_library_logs_in_the_same_form() -> None:
    stream = lines()
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        logging.getLogger("uvicorn.error").warning("at %s", f"postgresql://me:{SECRET}@host/db")
        logging.getLogger("alembic.runtime.migration").info("upgraded")
    first, second = read(stream)
    assert (first["level"], first["event"]) == ("warning", "at postgresql://***@host/db")
    assert (first["logger"], first["request_id"]) == ("uvicorn.error", "req_1")
    assert second["event"] == "upgraded"


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", 3), ("INFO", 2), ("warning", 1), ("critical", 0)],
)
def test_lines_below_the_level_are_not_written(level: str, written: int) -> None:
    stream = lines(level)
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    logging.getLogger("flows").warning("c")
    assert len(read(stream)) == written


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValidationFailed, match="log_level must be one of debug, info"):
        configure_logs("loud")


def test_a_failure_is_told_with_its_traceback_but_without_its_secret() -> None:
    stream = lines()
    try:
        raise RuntimeError(f"no entry for sk_{SECRET} at kafka://u:{SECRET}@host")
    except RuntimeError as error:
        structlog.get_logger().error("failed", exc_info=error)
        logging.getLogger("flows").exception("failed as well")
    assert SECRET not in stream.getvalue()
    assert all("RuntimeError: no entry for sk_***" in line["exception"] for line in read(stream))


def test_what_an_event_holds_is_told_only_to_those_who_look_for_a_fault() -> None:
    stream = lines("debug")
    log = structlog.get_logger()
    log.debug("decoded", properties={"tokens": 7})
    log.info(
        "decoded", properties={"tokens": 7}, events=[{"properties": "{}", "event_name": "llm"}]
    )
    shown, hidden = read(stream)
    assert shown["properties"] == {"tokens": 7}
    assert hidden["properties"] == "***"
    assert hidden["events"] == [{"properties": "***", "event_name": "llm"}]


NAMES = ["key", "api_key", "API-Key", "x-api-key", "Authorization", "password", "database_password",
         "client_secret", "access_token", "cookie"]  # fmt: skip
TEXTS = st.sampled_from(
    [
        f"sk_{SECRET}",
        f"Bearer {SECRET}",
        f"postgresql+psycopg://tally:{SECRET}@db:5432/tally",
        f"the header was Authorization: Bearer {SECRET}",
        f'{{"password": "{SECRET} and more"}}',
        f"password='{SECRET} {SECRET}', retrying",
        f"https://host/path?api_key={SECRET}&page=2",
    ]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
HIDDEN = st.just(SECRET) | st.binary(max_size=9).map(lambda more: SECRET.encode() + more) | PLAIN


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return values that hold secrets in names that say so, and in texts that do not."""
    return st.recursive(
        leaves | TEXTS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            | st.dictionaries(st.sampled_from(NAMES), HIDDEN | st.lists(HIDDEN), max_size=2)
            | st.tuples(inner, inner)
        ),
        max_leaves=12,
    )


@given(
    nested(PLAIN),
    st.dictionaries(st.sampled_from(["api_key", "password", "authorization", "token"]), HIDDEN),
    st.sampled_from(["debug", "info", "error"]),
)
def test_no_secret_is_ever_in_a_line(value: Any, named: dict[str, Any], method: str) -> None:
    stream = lines("debug")
    getattr(structlog.get_logger(), method)("happened", value=value, **named)
    logging.getLogger("flows").info("happened %r", value if isinstance(value, str) else 0)
    assert SECRET not in stream.getvalue()
    assert len(read(stream)) == 2


@given(nested(PLAIN), PLAIN)
def test_properties_are_in_no_line_above_debug(value: Any, other: Any) -> None:
    stream = lines("debug")
    found = {"list": [{"properties": {"tokens": "seen?", "more": value}, "other": other}]}
    structlog.get_logger().info("happened", value=found, properties="seen?")
    assert "seen?" not in stream.getvalue()
