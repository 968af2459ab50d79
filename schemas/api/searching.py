"""What every list and search may ask: pages, order, conditions (api.md 1.11). Strict: nothing else."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from schemas.api.requests.objects import FilterCondition, SortCondition
from schemas.api.words import SortDirectionWord, StatusWord
from schemas.doors import InstantField, IntegerField

PAGE_SIZE = 50
PAGE_SIZE_MAX = 1000
OFFSET_MAX = 2**53


def _within(least: int, most: int) -> BeforeValidator:
    """Return the reader of a whole number, which a query gives as text."""

    def read_within(value: Any) -> Any:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:20])
        if isinstance(value, int) and not isinstance(value, bool) and not least <= value <= most:
            raise ValueError(f"must be from {least} to {most}")
        return value

    return BeforeValidator(read_within)


class ApiSearch(BaseModel):
    """The members that all search bodies and list queries have; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[IntegerField, _within(1, PAGE_SIZE_MAX)] = PAGE_SIZE
    offset: Annotated[IntegerField, _within(0, OFFSET_MAX)] = 0
    sort: list[SortCondition] | str | None = None
    order: SortDirectionWord | None = None
    status: StatusWord | None = None
    expand: str | list[str] | None = None
    start_time: InstantField | None = None
    end_time: InstantField | None = None
    filters: list[FilterCondition] = []

    @model_validator(mode="before")
    @classmethod
    def _asked(cls, body: Any) -> Any:
        """Drop known members that ask for nothing: null, and "" where no number is due."""
        if not isinstance(body, dict):
            return body
        empty = {name for name, value in body.items() if value is None}
        empty |= {name for name, value in body.items() if value == ""} - {"limit", "offset"}
        return {name: body[name] for name in body if name not in empty & cls.model_fields.keys()}
