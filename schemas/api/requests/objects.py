"""Conditions and orders of searches (api.md 1.11)."""

from pydantic import BaseModel, ConfigDict, StrictBool

from schemas.api.values import RequiredText
from schemas.api.words import DataTypeWord, FilterOperatorTypeWord, SortDirectionWord
from schemas.doors import DecimalField, InstantField


class Strict(BaseModel):
    """A part of a search: members that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FilterValue(Strict):
    """The operand of a condition: the one member that fits the field is used."""

    string: str | None = None
    number: DecimalField | None = None
    boolean: StrictBool | None = None
    date: InstantField | None = None
    array: list[str] | None = None


class FilterCondition(Strict):
    """A condition on a field; all conditions of a search must hold."""

    field: RequiredText
    operator: FilterOperatorTypeWord
    data_type: DataTypeWord | None = None
    value: FilterValue


class SortCondition(Strict):
    """A field to order by; descending unless it says otherwise."""

    field: RequiredText
    direction: SortDirectionWord | None = None
