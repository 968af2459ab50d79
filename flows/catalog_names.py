"""Names in a catalog file: how one object finds another, and where problems are collected."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flows.catalog_problems import Place, nearest, refusal
from schemas.errors import Refused, ValidationFailed
from schemas.ids import Fact, derived

Thing = TypeVar("Thing")

# Where everything that a file defines lives (platform.md 1).
TENANT = "tenant_default"
ENVIRONMENT = "env_development"


def identity(prefix: str, *facts: Fact) -> str:
    """Return the derived id of an object of a file.

    >>> identity("meter", "tokens") == derived("meter", TENANT, ENVIRONMENT, "tokens")
    True
    """
    return derived(prefix, TENANT, ENVIRONMENT, *facts)


@dataclass(slots=True)
class Findings:
    """The problems of one file, collected so that they can be told together."""

    path: str
    problems: list[tuple[Place, str]] = field(default_factory=list)

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Note a refusal at a place instead of raising it; what was made there is left out."""
        try:
            yield
        except Refused as error:
            inner = tuple(error.field.split(".")) if error.field else ()
            self.problems.append(((*place, *inner), str(error)))

    def end_phase(self) -> None:
        """Raise if there are problems: what builds on broken parts would only repeat them."""
        if self.problems:
            raise refusal(self.path, self.problems)


@dataclass(slots=True)
class Names(Generic[Thing]):
    """The objects of one kind by lookup key, and by name where that is unique."""

    kind: str
    by_key: dict[str, Thing] = field(default_factory=dict)
    by_name: dict[str, list[Thing]] = field(default_factory=dict)

    def add(self, thing: Thing, *, key: str, name: str = "", key_field: str) -> None:
        """Add an object; a key that is taken is refused."""
        if key in self.by_key:
            raise ValidationFailed(f"another {self.kind} is called {key!r}", field=key_field)
        self.by_key[key] = thing
        if name:
            self.by_name.setdefault(name, []).append(thing)

    def find(self, text: str, *, key_field: str) -> Thing:
        """Return the object of a key or a unique name; anything else is refused with a hint."""
        if text in self.by_key:
            return self.by_key[text]
        named = self.by_name.get(text, [])
        if len(named) == 1:
            return named[0]
        if named:
            raise ValidationFailed(
                f"{len(named)} {self.kind}s are named {text!r}; use the lookup_key", field=key_field
            )
        hint = nearest(text, {*self.by_key, *self.by_name})
        raise ValidationFailed(f"no {self.kind} is called {text!r}{hint}", field=key_field)
