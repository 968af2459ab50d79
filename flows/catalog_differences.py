"""What a catalog file would change of the objects that are stored: found first, written later.

An object of the file is matched by its id, which follows from its names in the file, or by its key.
What the file cannot say of an object stays as it is, and so do objects that the file does not have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from billing.catalog import live
from billing.ports.objects import Objects
from billing.stores.object_kinds import KINDS
from schemas.stored import Status, Stored, changed, made

# Who has written what a command writes.
AUTHOR = "tally apply"

# Longer values are cut where people read them.
SHOWN_CHARACTERS_MAX = 60


class Action(StrEnum):
    """What becomes of an object."""

    CREATE = "create"
    UPDATE = "update"
    NEW_VERSION = "new version"
    UNCHANGED = "unchanged"
    WAITS = "waits"
    LEFT_ALONE = "left alone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that gets another value."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of one object, which fields change, and why where that is not plain."""

    kind: str
    name: str
    action: Action
    fields: tuple[FieldChange, ...] = ()
    note: str = ""

    def sentence(self) -> str:
        """Return the changes and the note in one line.

        >>> amount = FieldChange("amount", 20, 25)
        >>> Difference("price", "seat", Action.UPDATE, (amount,)).sentence()
        'amount: 20 → 25'
        """
        changes = [
            f"{each.field}: {text_of(each.old)} → {text_of(each.new)}" for each in self.fields
        ]
        return "; ".join((*changes, *([self.note] if self.note else [])))


@dataclass(frozen=True, slots=True)
class Write:
    """The next version of an object of a kind, or its first."""

    kind: str
    before: Stored[Any] | None
    record: Any

    def apply(self, objects: Objects, at: datetime) -> None:
        """Write it; raises as the store does."""
        store = getattr(objects, self.kind)
        if self.before is None:
            store.add(made(self.record, at, AUTHOR))
        else:
            after = changed(self.before, self.record, at, AUTHOR, Status.PUBLISHED)
            store.replace(after)


@dataclass(frozen=True, slots=True)
class Planned:
    """A difference with its writes; those of one `together` are one transaction."""

    difference: Difference
    together: str
    writes: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Which fields of a kind the file says, and which of them cannot change any more."""

    free: tuple[str, ...]
    fixed: tuple[str, ...] = ()


PERSON_FIELDS = (
    "name", "timezone", "email", "contact", "address_line1", "address_line2", "address_city",
    "address_state", "address_postal_code", "address_country", "metadata", "billing_currency",
    "contact_persons", "tax_treatment",
)  # fmt: skip
GRANT_FIELDS = (
    "name", "credits", "cadence", "expiration_type", "period", "period_count",
    "expiration_duration", "expiration_duration_unit", "priority", "conversion_rate",
    "topup_conversion_rate", "metadata",
)  # fmt: skip
COUPON_FIELDS = (
    "type", "value", "cadence", "currency", "duration_in_periods", "max_redemptions",
    "redeem_after", "redeem_before",
)  # fmt: skip
RULES: Mapping[str, Rules] = {
    "meters": Rules(
        ("name", "lookup_key", "event_name", "aggregation", "filters", "reset_usage")
    ),
    "features": Rules(
        ("name", "lookup_key", "description", "unit_singular", "unit_plural", "metadata"),
        ("type", "meter_id"),
    ),
    "plans": Rules(("name", "lookup_key", "description", "display_order", "metadata")),
    "entitlements": Rules(
        (
            "is_enabled", "usage_limit", "usage_reset_period", "is_soft_limit", "static_value",
            "config_value",
        ),
        ("feature_type", "meter_id"),
    ),
    "credit_grants": Rules(GRANT_FIELDS),
    "coupons": Rules(("name", "metadata"), COUPON_FIELDS),
    "tax_rates": Rules(("name", "description", "metadata"), ("type", "value", "scope")),
    "tax_associations": Rules(("priority", "auto_apply", "currency", "inclusive")),
    "customers": Rules(PERSON_FIELDS),
}  # fmt: skip
# Fields that name another object.
REFERENCES = ("meter_id", "feature_id", "entity_id", "plan_id", "tax_rate_id")


class Comparison:
    """Collects what a file would change of stored objects, as they are read now.

    `ids` tells which stored object an id of the file stands for, `planned` what was found.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.ids: dict[str, str] = {}
        self.planned: list[Planned] = []
        self._met: dict[str, set[str]] = {kind: set() for kind in RULES}

    def compare(self, kind: str, record: Any, name: str, together: str = "") -> str:
        """Note what becomes of an object of the file, and return the id that it has in the store."""
        wanted = self.mapped(record)
        found = self.found(kind, wanted)
        together = together or kind
        if found is None:
            self.note(kind, name, Action.CREATE, together, writes=(Write(kind, None, wanted),))
            self.ids[record.id] = wanted.id
            return str(wanted.id)
        self.ids[record.id] = found.record.id
        self._met[kind].add(found.record.id)
        rules = RULES[kind]
        fixed = differing(found.record, wanted, rules.fixed)
        if fixed:
            self.note(kind, name, Action.REFUSED, together, fixed, note=fixed_note(kind, fixed))
            return str(found.record.id)
        changes = differing(found.record, wanted, rules.free)
        if not found.is_live:
            changes = (*changes, FieldChange("status", found.status, Status.PUBLISHED))
        if not changes:
            self.note(kind, name, Action.UNCHANGED, together)
            return str(found.record.id)
        values = {each: getattr(wanted, each) for each in rules.free}
        after = Write(kind, found, replace(found.record, **values))
        self.note(kind, name, Action.UPDATE, together, changes, writes=(after,))
        return str(found.record.id)

    def note(
        self,
        kind: str,
        name: str,
        action: Action,
        together: str,
        fields: tuple[FieldChange, ...] = (),
        *,
        note: str = "",
        writes: tuple[Write, ...] = (),
    ) -> None:
        """Note what becomes of an object."""
        word = KINDS[kind].word if kind in KINDS else kind
        self.planned.append(Planned(Difference(word, name, action, fields, note), together, writes))

    def mapped(self, record: Any) -> Any:
        """Return a record of the file that names stored objects by their ids."""
        named = {
            each: self.ids[getattr(record, each)]
            for each in REFERENCES
            if getattr(record, each, None) in self.ids
        }
        return replace(record, **named) if named else record

    def found(self, kind: str, record: Any) -> Stored[Any] | None:
        """Return the stored object that a record of the file is: a live one, if there is one."""
        store = getattr(self.objects, kind)
        by_id: Stored[Any] | None = store.get(record.id)
        if by_id is not None and by_id.is_live:
            return by_id
        key = KINDS[kind].key(record)
        by_key: Stored[Any] | None = store.by_lookup(key) if key else None
        return by_key or by_id

    def note_others(self, kind: str, stored: Iterable[Stored[Any]] | None = None) -> None:
        """Note the live objects of a kind that the file does not have: of all, or of some."""
        rows = live(getattr(self.objects, kind)) if stored is None else stored
        for each in rows:
            if each.record.id not in self._met[kind]:
                name = KINDS[kind].key(each.record) or KINDS[kind].name(each.record)
                self.note(
                    kind, name or each.record.id, Action.LEFT_ALONE, "", note="not in the file"
                )


def differing(old: Any, new: Any, names: Iterable[str]) -> tuple[FieldChange, ...]:
    """Return the fields of two records that have other values."""
    return tuple(
        FieldChange(name, getattr(old, name), getattr(new, name))
        for name in names
        if getattr(old, name) != getattr(new, name)
    )


def fixed_note(kind: str, changes: Iterable[FieldChange]) -> str:
    """Say that fields cannot change, and what to do."""
    names = " and ".join(each.field for each in changes)
    word = KINDS[kind].word
    return f"{names} of a {word} cannot change: give the file another {word} instead"


def as_plain(value: object) -> object:
    """Return a value as JSON has it.

    >>> from decimal import Decimal
    >>> as_plain(Decimal("2.50"))
    '2.50'
    """
    return msgspec.to_builtins(value)


def text_of(value: object) -> str:
    """Return a value as people read it, cut where it is long.

    >>> text_of(None), text_of("a"), text_of({"a": 1})
    ('nothing', 'a', '{"a":1}')
    """
    if value is None or value in ("", (), {}):
        return "nothing"
    plain = as_plain(value)
    text = plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"
