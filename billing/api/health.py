"""What operators ask: is the process alive, is it ready, and its metrics (platform.md 8)."""

from collections.abc import Mapping

from billing.api.errors import RETRY_AFTER_SECONDS
from billing.api.routing import Built, Call, Room
from billing.api.wire import Answer, answered

READY = "ok"
NOT_READY = "unavailable"


def alive(_: Call) -> Answer:
    """Say that the process serves; nothing that it depends on is asked."""
    return answered({"status": "ok"})


def ready(call: Call) -> Answer:
    """Say whether everything that the process needs is there: 200, or 503 with what is not."""
    checks = call.services.readiness()
    is_ready = all(check.ok for check in checks)
    body: dict[str, object] = {
        "status": READY if is_ready else NOT_READY,
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
    if is_ready:
        return answered(body)
    away = ", ".join(check.name for check in checks if not check.ok)
    # No answer but 2xx is without the members of the standard body.
    refusal = {
        "code": "service_unavailable",
        "message": f"not ready: {away}",
        "http_status_code": 503,
    }
    return answered({**body, **refusal}, 503, {"retry-after": RETRY_AFTER_SECONDS})


def metrics(call: Call) -> Answer:
    """Show the metrics as Prometheus reads them."""
    body, content_type = call.services.exposition()
    return Answer(200, body, content_type)


BUILT: Mapping[tuple[str, str], Built] = {
    ("GET", "/health"): Built(alive, Room.AT_ONCE),
    ("POST", "/health"): Built(alive, Room.AT_ONCE),
    ("GET", "/healthz"): Built(alive, Room.AT_ONCE),
    ("GET", "/readyz"): Built(ready, Room.WATCHING),
    ("GET", "/metrics"): Built(metrics, Room.WATCHING),
}
