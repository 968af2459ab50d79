"""What operators ask needs no key and waits for nobody (platform.md 8)."""

from typing import Any

import pytest

from schemas.health import Check


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("POST", "/health"), ("GET", "/healthz")]
)
def test_a_process_that_serves_is_alive_whatever_it_depends_on(
    api: Any, method: str, path: str
) -> None:
    api.checks = [Check("store", ok=False, latency_ms=2000, message="no answer")]
    response = api.call(method, path, key=None)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["content-type"] == "application/json"


def test_ready_shows_every_check(api: Any) -> None:
    response = api.call("GET", "/readyz", key=None)
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "checks": [{"name": "log", "ok": True, "latency_ms": 1, "message": ""}],
    }


def test_one_check_that_fails_is_enough_not_to_be_ready(api: Any) -> None:
    api.checks = [*api.checks, Check("store", ok=False, latency_ms=2000, message="no answer")]
    response = api.call("GET", "/readyz", key=None)
    assert response.status_code == 503
    body = response.json()
    assert body["status"] == "unavailable"
    assert body["checks"][1] == {
        "name": "store",
        "ok": False,
        "latency_ms": 2000,
        "message": "no answer",
    }
    assert body["http_status_code"] == 503
    assert "store" in body["message"]


def test_metrics_are_text_as_prometheus_reads_it(api: Any) -> None:
    response = api.call("GET", "/metrics", key=None)
    assert response.text == "tally_build_info 1\n"
    assert response.headers["content-type"] == "text/plain; version=0.0.4"
