"""Taxes: rates, what they are attached to, and the doors that both come through (billing.md 14)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, NewType

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, model_validator

from schemas.doors import (
    DOOR,
    DecimalField,
    IntegerField,
    MetadataField,
    given,
    read_lower,
    read_upper,
)
from schemas.errors import ValidationFailed
from schemas.money import minor_units

TaxRateId = NewType("TaxRateId", str)
TaxAttachmentId = NewType("TaxAttachmentId", str)


class TaxRateType(StrEnum):
    """Whether a tax is a part of its base or an amount."""

    PERCENTAGE = "percentage"
    FIXED = "fixed"


class TaxRateScope(StrEnum):
    """What a rate is for; kept and shown, and without effect on amounts."""

    INTERNAL = "INTERNAL"
    EXTERNAL = "EXTERNAL"
    ONETIME = "ONETIME"


class TaxRateStatus(StrEnum):
    """Whether a rate takes part in invoices."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


class TaxEntityType(StrEnum):
    """What a rate is attached to; what a tenant has, its customers start with."""

    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"
    TENANT = "tenant"


class TaxBase(StrEnum):
    """What taxes are on: what is left after discounts, or after credits too (our setting)."""

    BEFORE_CREDITS = "before_credits"
    AFTER_CREDITS = "after_credits"


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A tax rate: `value` is its percentage, or its amount in whatever currency is invoiced."""

    id: TaxRateId
    type: TaxRateType
    value: Decimal
    code: str = ""
    name: str = ""
    scope: TaxRateScope = TaxRateScope.INTERNAL
    status: TaxRateStatus = TaxRateStatus.ACTIVE
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaxAttachment:
    """A rate that is attached to a subscription or customer, valid in [start_date, end_date).

    Without dates it is valid always, without a currency in any. An inclusive one is a part of what
    the lines cost and not added to it.
    """

    id: TaxAttachmentId
    rate: TaxRate
    priority: int = 0
    auto_apply: bool = True
    currency: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    inclusive: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # An amount that is the same for every base is in none of them (billing.md 20).
        if self.inclusive and self.rate.type is TaxRateType.FIXED:
            raise ValidationFailed("a fixed tax cannot be inclusive", field="tax_behavior")


@dataclass(frozen=True, slots=True)
class TaxAssociation:
    """A rate on a customer, a subscription or the tenant, as it is kept: the rate by its id.

    Subscriptions carry the attachments of theirs; those of customers and the tenant are copied when
    a subscription is made (billing.md 14).
    """

    id: TaxAttachmentId
    tax_rate_id: TaxRateId
    entity_type: TaxEntityType
    entity_id: str
    priority: int = 0
    auto_apply: bool = True
    currency: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    inclusive: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    def attachment(self, rate: TaxRate) -> TaxAttachment:
        """Return what billing works with: the association with its rate in it."""
        assert rate.id == self.tax_rate_id, "an association has one rate"
        return TaxAttachment(
            self.id,
            rate,
            self.priority,
            self.auto_apply,
            self.currency,
            self.start_date,
            self.end_date,
            self.inclusive,
            self.metadata,
        )


class CreateTaxRateRequest(BaseModel):
    """CreateTaxRateRequest as the API and the catalog file take it; `tax_rate_from` judges it."""

    model_config = DOOR

    name: Annotated[str, Field(min_length=1)]
    code: Annotated[str, Field(min_length=1)]
    percentage_value: DecimalField | None = None
    fixed_value: DecimalField | None = None
    tax_rate_type: Annotated[TaxRateType, BeforeValidator(read_lower)] = TaxRateType.PERCENTAGE
    scope: Annotated[TaxRateScope, BeforeValidator(read_upper)] = TaxRateScope.INTERNAL
    description: str = ""
    metadata: MetadataField = {}

    _given = model_validator(mode="before")(given)


class TaxRateOverride(BaseModel):
    """A rate by its code, with the terms that it is attached on; inclusive ones come later."""

    model_config = DOOR

    tax_rate_code: Annotated[str, Field(min_length=1)]
    currency: Annotated[str, BeforeValidator(read_lower)]
    auto_apply: StrictBool = True
    priority: IntegerField = 0
    metadata: MetadataField = {}
    tax_behavior: Literal["exclusive"] = "exclusive"

    _given = model_validator(mode="before")(given)


def tax_rate_from(request: CreateTaxRateRequest, *, id: str) -> TaxRate:  # noqa: A002 (the field)
    """Make the rate of a request that was read, under an id.

    Raises ValidationFailed (`percentage_value`, `fixed_value`) for a value that is missing or out
    of range; the value that its type has no use for is dropped. Source: api-fields.md.

    >>> body = {"name": "VAT", "code": "vat", "percentage_value": "19"}
    >>> tax_rate_from(CreateTaxRateRequest.model_validate(body), id="tax_1").value
    Decimal('19')
    """
    if request.tax_rate_type is TaxRateType.FIXED:
        value, value_max, named = request.fixed_value, Decimal("Infinity"), "fixed_value"
        problem = "must be given, 0 or more, for a fixed tax"
    else:
        value, value_max, named = request.percentage_value, Decimal(100), "percentage_value"
        problem = "must be given, from 0 to 100, for a percentage"
    if value is None or not 0 <= value <= value_max:
        raise ValidationFailed(f"{named} {problem}", field=named)
    return TaxRate(
        id=TaxRateId(id),
        type=request.tax_rate_type,
        value=value,
        code=request.code,
        name=request.name,
        scope=request.scope,
        description=request.description,
        metadata=request.metadata,
    )


def tax_attachment_from(
    request: TaxRateOverride,
    rate: TaxRate,
    *,
    id: str,  # noqa: A002 (the field)
) -> TaxAttachment:
    """Make the attachment of an override, for the rate that its code names.

    Raises ValidationFailed (`currency`, `tax_rate_code`) for an unknown currency and a rate that is
    not active.
    """
    minor_units(request.currency)
    if rate.status is not TaxRateStatus.ACTIVE:
        raise ValidationFailed(f"the tax rate {rate.code!r} is not active", field="tax_rate_code")
    return TaxAttachment(
        id=TaxAttachmentId(id),
        rate=rate,
        priority=request.priority,
        auto_apply=request.auto_apply,
        currency=request.currency,
        metadata=request.metadata,
    )
