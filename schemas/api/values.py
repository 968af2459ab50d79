"""How values stand in answers, and what all requests and answers share.

In answers decimals are texts and instants are UTC; the few decimals that clients read as numbers are
numbers with all their digits. Source: api.md 1.3 to 1.7 and 1.11.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from schemas.decimals import plain
from schemas.doors import given
from schemas.errors import NotBuiltYet

Value = TypeVar("Value")

REQUIRED = "is required"

PLAIN_DECIMAL = r"^(0|-?(0|[1-9]\d*)(\.\d*[1-9])?)$"


def wire_time(at: datetime) -> str:
    """Return an instant in UTC with `Z`, and with no more digits than it needs.

    >>> wire_time(datetime(2026, 1, 1, 12, 0, 0, 120000, tzinfo=UTC))
    '2026-01-01T12:00:00.12Z'
    >>> wire_time(datetime(2026, 1, 1, tzinfo=UTC))
    '2026-01-01T00:00:00Z'
    """
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if at.microsecond else text) + "Z"


def wire_number(value: Decimal) -> msgspec.Raw:
    """Return a decimal as a JSON number with all its digits.

    >>> bytes(wire_number(Decimal("0.1234567890123456789012345678901234567890")))
    b'0.123456789012345678901234567890123456789'
    """
    return msgspec.Raw(plain(value).encode())


def _is_none(value: object) -> bool:
    return value is None


def _required(value: object) -> object:
    """Refuse null and the empty text, which are as good as absent (api.md 1.6)."""
    if value is None or value == "":
        raise ValueError(REQUIRED)
    return value


WireDecimal = Annotated[
    Decimal,
    PlainSerializer(plain, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PLAIN_DECIMAL}),
]
WireNumber = Annotated[
    Decimal, PlainSerializer(wire_number, return_type=Any), WithJsonSchema({"type": "number"})
]
WireTime = Annotated[
    datetime,
    PlainSerializer(wire_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
# A member that is left out where there is no value.
IfSet = Annotated[Value | None, Field(exclude_if=_is_none)]
RequiredText = Annotated[str, BeforeValidator(_required)]


class ApiAnswer(BaseModel):
    """What an answer says. Members without a default are always written, null where they are None."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(ApiAnswer):
    """What every record of an environment says of itself."""

    id: str
    tenant_id: str
    environment_id: str
    status: str
    created_at: WireTime | None
    updated_at: WireTime | None
    created_by: str
    updated_by: str


class ApiRequest(BaseModel):
    """What a request says; members that it does not know are ignored.

    `LATER` has the members of later milestones, which are refused as what they are where they say
    anything.
    """

    LATER: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_later(cls, body: Any) -> Any:
        """Refuse what is not built, and drop what means "not given" (api.md 1.6)."""
        if isinstance(body, Mapping):
            for name, milestone in cls.LATER.items():
                if body.get(name) not in (None, "", [], {}, False):
                    raise NotBuiltYet(f"{name} belongs to {milestone}: not built yet", field=name)
        return cls.prepared(body)

    @classmethod
    def prepared(cls, body: object) -> object:
        """Return the body as its members are read: without those that mean "not given"."""
        return given(body)


class ApiUpdate(ApiRequest):
    """What a change says: an absent member leaves things as they are, null and "" may say something.

    `model_fields_set` tells which members were there.
    """

    @classmethod
    def prepared(cls, body: object) -> object:
        """Return the body as it is."""
        return body

    def changes(self) -> dict[str, Any]:
        """Return the members that say something; null leaves a thing as it is (api.md 1.6)."""
        found = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return {name: value for name, value in found.items() if value is not None}


def completed(*modules: ModuleType) -> dict[str, type[ApiAnswer]]:
    """Return the answers of some modules by their names, each knowing those that it holds."""
    found = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, ApiAnswer)
    }
    for model in found.values():
        model.model_rebuild(_types_namespace=found)
    return found
