"""How the members of request bodies and queries are read: strictly, and all problems at once.

Source: api.md 1.4 to 1.7 and 1.11. For optional texts null, an absent key and "" mean the same; a
time is never the empty text.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from schemas.api.fields import word_of
from schemas.doors import read_integer
from schemas.errors import ValidationFailed
from schemas.meter import Filter, WindowSize
from schemas.period import Interval
from schemas.zones import zone

DEFAULT_RANGE = timedelta(days=7)
PAGE_SIZE = 50
PAGE_SIZE_MAX = 1000

REQUIRED = "is required"

SOURCE = "source"
PROPERTIES = "properties."

Model = TypeVar("Model", bound=BaseModel)

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII
)


class Body(BaseModel):
    """A request body; members that it does not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Search(BaseModel):
    """A body or query that filters a list; members that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read(model: type[Model], value: Mapping[str, object]) -> Model:
    """Return what a body says. Raises ValidationFailed, with every problem in its details."""
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        problems = [_problem(model, each) for each in error.errors(include_url=False)]
    names = ", ".join(dict.fromkeys(str(each["field"]) for each in problems))
    raise ValidationFailed(
        f"the request is not valid at {names}: see details", details={"fields": problems}
    )


def _problem(model: type[BaseModel], error: Mapping[str, object]) -> dict[str, object]:
    """Return one problem as the wire shows it; the accepted words come along where they are few."""
    place, context = error["loc"], error.get("ctx")
    assert isinstance(place, tuple)
    text = str(error["msg"]).removeprefix("Value error, ")
    problem: dict[str, object] = {"field": ".".join(map(str, place)), "problem": text}
    if error["type"] == "missing":
        problem["problem"] = REQUIRED
    elif error["type"] == "extra_forbidden":
        problem["problem"] = "is no known member"
        problem["accepted"] = sorted(model.model_fields)
    elif isinstance(context, Mapping) and "accepted" in context:
        problem["accepted"] = context["accepted"]
    return problem


def read_time(value: object) -> datetime | None:
    """Return an RFC 3339 time with zone as an instant, cut to microseconds as events are.

    >>> read_time("2026-01-01T01:00:00.123456789+01:00")
    datetime.datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=datetime.timezone.utc)
    """
    if value is None:
        return None
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be an RFC 3339 time with a zone, as 2026-01-01T00:00:00Z")
    clock, fraction, offset = found.groups()
    try:
        at = datetime.fromisoformat(clock + offset).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside the years 1 to 9999") from error
    return at.replace(microsecond=int((fraction or "")[:6].ljust(6, "0")))


def _text(value: object) -> object:
    """Take the empty text for none."""
    return None if value == "" else value


def _required(value: object) -> object:
    """Refuse null and the empty text, which are as good as absent (api.md 1.6)."""
    if value is None or value == "":
        raise ValueError(REQUIRED)
    return value


def required_word_of(
    words: Iterable[str], *, cased: Callable[[str], str] | None
) -> Callable[[object], object]:
    """Return a reader of one of these words that refuses null and the empty text."""
    read_word = word_of(words, cased=cased)
    return lambda value: read_word(_required(value))


def _window(value: object) -> object:
    word = word_of(WindowSize, cased=None)(value)
    return None if word is None else WindowSize(str(word))


def read_filters(value: object) -> object:
    """Return the filters of a map from names to accepted values; the rules are those of meters.

    >>> read_filters({"model": ["large", ""]})
    (Filter(key='model', values=('large', '')),)
    """
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise ValueError("must be an object of lists of texts")
    filters = []
    for key, values in value.items():
        if not key:
            raise ValueError("filter_key_empty: a filter needs the name of a property")
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            raise ValueError(f"the values of {key!r} must be a list of texts")
        if not values:
            raise ValueError(f"filter_values_empty: {key!r} needs at least one value")
        filters.append(Filter(key, tuple(values)))
    return tuple(filters)


def grouping_of(further: Sequence[str] = ()) -> Callable[[object], object]:
    """Return a reader of `group_by`: `source`, `properties.NAME`, and what else is given."""
    accepted = [*further, SOURCE, f"{PROPERTIES}<name>"]

    def read_grouping(value: object) -> object:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise ValueError("must be a list of texts")
        for each in value:
            named = isinstance(each, str) and each.startswith(PROPERTIES) and each != PROPERTIES
            if not named and each not in accepted[:-1]:
                raise PydanticCustomError(
                    "unknown_group",
                    "may hold {listed}",
                    {"listed": ", ".join(accepted), "accepted": accepted},
                )
        return tuple(dict.fromkeys(value))

    return read_grouping


def _timezone(value: object) -> object:
    if value is None or value == "":
        return "UTC"
    if not isinstance(value, str):
        raise ValueError("must be the IANA name of a time zone")
    try:
        zone(value)
    except ValidationFailed as error:
        raise ValueError(str(error)) from error
    return value


Time = Annotated[datetime | None, BeforeValidator(read_time)]
Text = Annotated[str | None, BeforeValidator(_text)]
RequiredText = Annotated[str, BeforeValidator(_required)]
Window = Annotated[WindowSize | None, BeforeValidator(_window)]
Timezone = Annotated[str, BeforeValidator(_timezone)]
Filters = Annotated[tuple[Filter, ...], BeforeValidator(read_filters)]
Texts = Annotated[
    list[str], BeforeValidator(lambda value: [] if value is None or value == "" else value)
]
GroupBy = Annotated[tuple[str, ...], BeforeValidator(grouping_of())]
Order = Annotated[
    Literal["asc", "desc"] | None, BeforeValidator(word_of(["asc", "desc"], cased=str.lower))
]


def whole(least: int, most: int | None = None) -> Callable[[object], object]:
    """Return a reader of a JSON integer from `least` to `most`; null is not given.

    >>> whole(1, 1000)(50)
    50
    """
    bounds = f"from {least} to {most}" if most is not None else f"{least} or more"

    def read_whole(value: object) -> object:
        if value is None:
            return None
        number = read_integer(value)
        if number < least or (most is not None and number > most):
            raise ValueError(f"must be {bounds}")
        return number

    return read_whole


PageSize = Annotated[int | None, BeforeValidator(whole(1, PAGE_SIZE_MAX))]
Offset = Annotated[int | None, BeforeValidator(whole(0, 2**53))]


def period_of(start: datetime | None, end: datetime | None, now: datetime) -> Interval:
    """Return the range of a question: up to now, and 7 days long where it does not say.

    Raises ValidationFailed where the end comes before the start. Source: metering.md 9.

    >>> noon = datetime(2026, 1, 8, 12, tzinfo=UTC)
    >>> period_of(None, None, noon).start.isoformat()
    '2026-01-01T12:00:00+00:00'
    """
    until = end or now
    try:
        since = start or until - DEFAULT_RANGE
    except OverflowError as error:
        raise ValidationFailed("end_time lies too early", field="end_time") from error
    if until < since:
        raise ValidationFailed("end_time must not be before start_time", field="end_time")
    return Interval(since, until)


def query_of(text: str, lists: Sequence[str] = ()) -> dict[str, object]:
    """Return the parameters of a query; those in `lists` may repeat, or hold commas.

    Raises ValidationFailed for another one that is there twice. Source: api.md 1.11.

    >>> query_of("limit=5&expand=a,b&expand=c", lists=["expand"])
    {'limit': '5', 'expand': ['a', 'b', 'c']}
    """
    found: dict[str, object] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in lists:
            held = found.setdefault(name, [])
            assert isinstance(held, list)
            held += [part for part in value.split(",") if part]
        elif name in found:
            raise ValidationFailed(f"the parameter {name} is there twice", field=name)
        else:
            found[name] = value
    return found
