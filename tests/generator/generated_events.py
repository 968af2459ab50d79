"""Seeded events whose values are known before they are written down, for tests and benchmarks.

`values` draws a table of values: integers and texts, one row an event, no JSON anywhere;
written_records.py writes each row as a log record would hold it. Whoever checks a program against
these events calculates from the values alone, and never reads a record.

An amount is whole + fraction / 10^18, negative or not, and null where the record will hold
something that is no number.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

START = 1_772_323_200_000_000  # 2026-03-01T00:00:00Z in microseconds
SPAN = 2 * 3600 * 1_000_000
SECOND, MILLISECOND = 1_000_000, 1_000

CUSTOMERS = 200
PLAIN_CUSTOMERS = 10_000
NAMES = ["llm.completion", "api.call", "job.run", "storage.level", "audit.entry"]
LEVELS = NAMES.index("storage.level")
NAME_SHARES = [0.40, 0.30, 0.15, 0.10, 0.05]
MODELS = ["large", "médium", "small", None]
MODEL_SHARES = [0.30, 0.30, 0.38, 0.02]
ZONES = ["eu", "us", "12.5", "", None]
ZONE_SHARES = [0.50, 0.30, 0.10, 0.05, 0.05]

API, STORED, CLOUD = 0, 1, 2
FORM_SHARES = [0.60, 0.25, 0.15]

# How a timestamp is written. The first is written by every kind of client.
ZULU, OFFSET, NANOSECONDS, WHOLE_SECONDS, ABSENT = range(5)
CLOCK_SHARES = [0.70, 0.15, 0.05, 0.05, 0.05]

# How an amount is written; the last is something that is no number at all. There are so many
# huge ones that the sum of a busy minute needs more than the 38 digits of a value.
NUMBER, LONG_NUMBER, TEXT, PADDED_TEXT, EXPONENT, TIE, HUGE, UNUSABLE = range(8)
AMOUNT_SHARES = [0.68, 0.08, 0.10, 0.03, 0.03, 0.01, 0.05, 0.02]

LATE_SHARE = 0.005


def values(
    count: int,
    seed: int,
    *,
    door: str = "kafka",
    plain: bool = False,
    first: int = 0,
    total: int = 0,
) -> pa.Table:
    """Draw the values of `count` events, in the order in which they will be appended.

    `door` "file" leaves out what only a broker can fill in: absent timestamps. `plain` draws what
    ordinary clients send, one form and one spelling, of many customers; the other draws are full of
    rare spellings. A draw may be a piece of `total` events: `first` numbers its events from there.
    """
    chance = np.random.default_rng([seed, first])
    form = chance.choice(3, count, p=FORM_SHARES).astype(np.int8)
    clock = chance.choice(5, count, p=CLOCK_SHARES).astype(np.int8)
    if door == "file":
        clock[clock == ABSENT] = ZULU
    name = chance.choice(len(NAMES), count, p=NAME_SHARES)
    # A few customers have most of the events, as everywhere.
    customer = np.minimum(chance.zipf(1.3, count) - 1, 10**6) % CUSTOMERS
    if plain:
        form[:], clock[:] = API, ZULU
        customer = np.minimum(chance.zipf(1.1, count) - 1, 10**9) % PLAIN_CUSTOMERS
    index = np.arange(first, first + count)
    columns = {
        "index": index,
        "form": form,
        "event_name": pa.array(NAMES).take(pa.array(name)),
        "customer": _customers(plain=plain).take(pa.array(customer)),
        "happened_at": _instants(chance, index, clock, total=total or count, coarse=name == LEVELS),
        "clock": clock,
        "model": _texts(chance, count, MODELS, MODEL_SHARES),
        "zone": _texts(chance, count, ZONES, ZONE_SHARES),
        "status": chance.choice([200, 404, 500, 503], count, p=[0.9, 0.05, 0.03, 0.02]),
        "tokens": chance.integers(0, 20_000, count),
        **_amounts(chance, count, plain=plain),
        **_users(chance, count),
        # 4 asks for nothing but a source.
        "spelling": np.full(count, 4) if plain else chance.integers(0, 1000, count),
    }
    return pa.table(columns)


def _customers(*, plain: bool) -> pa.StringArray:
    """Return the external ids of the customers; some need care in JSON, some beyond ASCII."""
    if plain:
        return pa.array([f"customer-{number}" for number in range(PLAIN_CUSTOMERS)])
    return pa.array(
        [
            f'acme "{number}" \\ co'
            if number % 50 == 7
            else f"team:{number}"
            if number % 50 == 11
            else f"kunde-ü{number}"
            if number % 20 == 3
            else f"customer-{number}"
            for number in range(CUSTOMERS)
        ]
    )


def _texts(
    chance: np.random.Generator, count: int, texts: list[str | None], shares: list[float]
) -> pa.StringArray:
    return pa.array(texts).take(pa.array(chance.choice(len(texts), count, p=shares)))


def _instants(
    chance: np.random.Generator,
    index: np.ndarray,
    clock: np.ndarray,
    *,
    total: int,
    coarse: np.ndarray,
) -> np.ndarray:
    """Return event times: rising but for some disorder, some late by days, cut as written."""
    count = len(index)
    at = START + index * SPAN // total + chance.integers(-SECOND, SECOND, count)
    late = chance.random(count) < LATE_SHARE
    at = np.where(late, at - chance.integers(3600, 5 * 86400, count) * SECOND, at)
    # Readings often share their second, so that the greater id must decide which is the latest.
    at = np.where((clock == WHOLE_SECONDS) | coarse, at // SECOND * SECOND, at)
    return np.where(clock == ABSENT, at // MILLISECOND * MILLISECOND, at)


def _amounts(chance: np.random.Generator, count: int, *, plain: bool) -> dict[str, object]:
    """Return whole, fraction and sign of the amounts, and how each is written.

    `digits` are the digits of the fraction that the record holds: of a tie one more 5 follows them,
    and `fraction` is what rounding half to even at 18 makes of it.
    """
    spelled = chance.choice(8, count, p=AMOUNT_SHARES).astype(np.int8)
    if plain:
        spelled[:] = NUMBER
    places = np.where(spelled == NUMBER, chance.integers(0, 3, count), 18)
    places = np.where((spelled == TEXT) | (spelled == LONG_NUMBER), 15, places)
    digits = chance.integers(0, 10**18 - 1, count)
    step = 10 ** (18 - places)
    digits = digits // step * step
    whole = chance.integers(0, 10_000, count)
    whole = np.where(spelled == HUGE, chance.integers(10**17, 9 * 10**18, count), whole)
    odd = digits % 2
    fraction = np.where(spelled == TIE, digits + odd, digits)
    unusable = spelled == UNUSABLE
    return {
        "amount_spelled": pa.array(spelled),
        "negative": pa.array(chance.random(count) < 0.05),
        "whole_written": pa.array(whole),
        "digits": pa.array(digits),
        "whole": pa.array(whole, mask=unusable),
        "fraction": pa.array(fraction, mask=unusable),
    }


def _users(chance: np.random.Generator, count: int) -> dict[str, object]:
    """Return users as the canonical text that tells them apart, and how each is written.

    Spelled as a number, as a number with a point, or as text: 7, 7.0 and "7" are one user. 3 is
    text that is no number, 4 is no user at all.
    """
    number = chance.integers(0, 300, count)
    spelled = chance.choice(5, count, p=[0.3, 0.1, 0.3, 0.28, 0.02]).astype(np.int8)
    texts = pa.array([str(each) for each in range(300)] + [f"usér-{each}" for each in range(300)])
    chosen = texts.take(pa.array(np.where(spelled == 3, number + 300, number)))
    user = pc.if_else(pa.array(spelled == 4), pa.scalar(None, pa.string()), chosen)
    return {"user": user, "user_number": pa.array(number), "user_spelled": pa.array(spelled)}
