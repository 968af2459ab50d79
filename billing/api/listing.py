"""Lists and searches: from what a caller asks to a query of the stores, in one place (api.md 1.11).

Strict: a field, operator or name to expand that a resource does not have is refused by name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from billing.api.wire import Answer, answered
from schemas.api.requests.objects import FilterCondition, SortCondition
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiAnswer
from schemas.errors import ValidationFailed
from schemas.object_query import (
    OPERATORS,
    Condition,
    Either,
    Field,
    FieldKind,
    Operator,
    Query,
    Sort,
    Value,
    kind_of,
)
from schemas.stored import Status

Row = TypeVar("Row")

CREATED_AT = "created_at"
DESCENDING: Final = "desc"
# What every record has, whatever its kind.
RECORD_FIELDS = ("id", "status", "created_at", "updated_at", "created_by", "updated_by")
# Operators that the wire does not have.
UNWRITTEN = frozenset({Operator.LTE})


@dataclass(frozen=True, slots=True)
class Listing:
    """What the lists of a resource can be asked for.

    `record` is the type of its records; `fields` say which of its members may be named in
    conditions and orders, by their names on the wire; `expands` are the names of sub-objects.
    """

    record: type
    fields: Mapping[str, Field] = field(default_factory=dict)
    expands: frozenset[str] = frozenset()

    @property
    def known(self) -> Mapping[str, Field]:
        """Return every field that may be named."""
        return {**{name: name for name in RECORD_FIELDS}, **self.fields}

    def field_of(self, name: str, place: str) -> Field:
        """Return the field of a name, which stands at a place of the request.

        Raises ValidationFailed, with the names that there are.
        """
        found = self.known.get(name)
        if found is None:
            raise unknown(place, name, self.known)
        return found


def said(members: Mapping[Field, str | Sequence[str] | None]) -> list[Condition]:
    """Return the conditions of members that say something: the text itself, or one of a list.

    >>> [each.operator.value for each in said({"name": "Calls", "id": ["a", "b"], "event": ""})]
    ['eq', 'in']
    """
    return [
        Condition(name, Operator.EQ, value)
        if isinstance(value, str)
        else Condition(name, Operator.IN, tuple(value))
        for name, value in members.items()
        if value
    ]


def query_for(
    asked: ApiSearch,
    listing: Listing,
    conditions: Iterable[Condition | Either] = (),
    *,
    lives: bool = True,
) -> Query:
    """Return the query of a search: conditions of its own members, then those that all lists have.

    `status` is "published" unless it says otherwise; without `lives` the records have none, and it
    asks for nothing. Raises ValidationFailed naming what the
    resource does not have.
    """
    found: list[Condition | Either] = list(conditions)
    if lives:
        found.append(Condition("status", Operator.EQ, asked.status or Status.PUBLISHED))
    if asked.start_time is not None:
        found.append(Condition(CREATED_AT, Operator.GTE, asked.start_time))
    if asked.end_time is not None:
        found.append(Condition(CREATED_AT, Operator.LT, asked.end_time))
    found += [_condition(number, each, listing) for number, each in enumerate(asked.filters)]
    return Query(tuple(found), sorts_of(asked, listing), asked.limit, asked.offset)


def expanded(asked: str | Sequence[str] | None, names: frozenset[str]) -> frozenset[str]:
    """Return the sub-objects that a request wants to see, out of those that there are.

    >>> sorted(expanded("plan, prices", frozenset({"plan", "prices"})))
    ['plan', 'prices']
    """
    given = [asked] if isinstance(asked, str) else asked or []
    found = [name.strip() for text in given for name in text.split(",") if name.strip()]
    for name in found:
        if name not in names:
            raise unknown("expand", name, names)
    return frozenset(found)


def page_of(
    rows: Sequence[Row], total: int, asked: ApiSearch, show: Callable[[Row], ApiAnswer]
) -> Answer:
    """Return a page as the wire shows it; its `offset` is the one to ask for next."""
    pagination = {"total": total, "limit": asked.limit, "offset": asked.offset + asked.limit}
    return answered({"items": [show(row).model_dump() for row in rows], "pagination": pagination})


def sorts_of(asked: ApiSearch, listing: Listing) -> tuple[Sort, ...]:
    """Return the order that is asked for; `created_at`, newest first, where nothing is."""
    wanted = asked.sort or CREATED_AT
    if isinstance(wanted, str):
        wanted = [SortCondition(field=wanted, direction=asked.order or DESCENDING)]
    return tuple(
        Sort(listing.field_of(each.field, "sort"), (each.direction or DESCENDING) == DESCENDING)
        for each in wanted
    )


def _condition(number: int, asked: FilterCondition, listing: Listing) -> Condition:
    """Return a condition, if its operator fits the field and its value the operator."""
    place = f"filters.{number}"
    name = listing.field_of(asked.field, f"{place}.field")
    kind = kind_of(listing.record, name)
    operators = OPERATORS[kind] - UNWRITTEN
    operator = Operator(asked.operator)
    if operator not in operators:
        raise unknown(f"{place}.operator", operator, operators)
    return Condition(name, operator, _operand(f"{place}.value", asked, kind))


def _operand(place: str, asked: FilterCondition, kind: FieldKind) -> Value:
    """Return the operand: the member of the value that fits the field."""
    value = asked.value
    if asked.operator in {Operator.IN, Operator.NOT_IN}:
        if value.array is None:
            raise ValidationFailed("needs the member array", field=place)
        return tuple(value.array)
    members: Mapping[FieldKind, tuple[str, Value]] = {
        FieldKind.TEXT: ("string", value.string),
        FieldKind.NUMBER: ("number", value.number),
        FieldKind.INSTANT: ("date", value.date),
        FieldKind.TRUTH: ("boolean", value.boolean),
    }
    member, found = members[kind]
    if found is None:
        raise ValidationFailed(f"needs the member {member}", field=place)
    return found


def unknown(place: str, name: str, accepted: Iterable[str]) -> ValidationFailed:
    """Return the refusal of a name that is not there, with those that are."""
    listed = sorted(accepted)
    text = f"{name!r} is not known here: {', '.join(listed) or 'there is nothing to name'}"
    problem = {"field": place, "problem": text, "accepted": listed}
    return ValidationFailed(text, details={"fields": [problem]})
