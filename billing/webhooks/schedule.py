"""When an attempt is made again, and what an answer means for a delivery (wallets-alerts.md 13)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from schemas.webhook import Answer, DeliveryAction

# After each failed attempt so long: about three days in all.
DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
ATTEMPTS_MAX = len(DELAYS) + 1
RETRY_AFTER_MAX = timedelta(hours=1)
JITTER = 0.1

GONE = 410
# The statuses whose Retry-After says when the receiver hopes to be back.
PATIENT = (429, 503)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens after an attempt: when the next one is due, and whether the endpoint is gone."""

    action: DeliveryAction
    retry_at: datetime | None = None
    disables: bool = False


def judge(answer: Answer, number: int, at: datetime, chance: float) -> Verdict:
    """Return what the answer to attempt `number`, from 1, means.

    2xx is success. 410 disables the endpoint. Everything else, redirects too, is tried again until
    there were `ATTEMPTS_MAX`. `chance` is from 0 to 1 and moves the retry by up to 10 % either way.

    >>> judge(Answer(204), 1, datetime(2026, 1, 1, tzinfo=UTC), 0.5).action.value
    'succeed'
    """
    if answer.status is not None and 200 <= answer.status <= 299:
        return Verdict(DeliveryAction.SUCCEED)
    if answer.status == GONE:
        return Verdict(DeliveryAction.GIVE_UP, disables=True)
    if number >= ATTEMPTS_MAX:
        return Verdict(DeliveryAction.GIVE_UP)
    delay = jittered(DELAYS[number - 1], chance)
    if answer.status in PATIENT:
        delay = max(delay, min(asked_delay(answer.retry_after, at), RETRY_AFTER_MAX))
    return Verdict(DeliveryAction.FAIL, at + delay)


def jittered(delay: timedelta, chance: float) -> timedelta:
    """Return a delay moved by up to 10 %: a chance of 0 makes it shortest, of 1 longest.

    >>> jittered(timedelta(seconds=100), 0).seconds, jittered(timedelta(seconds=100), 1).seconds
    (90, 110)
    """
    assert 0 <= chance <= 1, chance
    return delay * (1 - JITTER + 2 * JITTER * chance)


def asked_delay(header: str | None, at: datetime) -> timedelta:
    """Return how long a Retry-After asks to wait, in seconds or as a date; nothing if it is neither.

    >>> asked_delay("120", datetime(2026, 1, 1, tzinfo=UTC)).seconds
    120
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        # Longer than this nobody waits; the number may have any length.
        return min(timedelta(seconds=int(text[:9])), RETRY_AFTER_MAX)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return timedelta()
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(until - at, timedelta())
