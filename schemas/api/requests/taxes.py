"""Requests about taxes, with the fields of api-fields.md.

The door of a new rate is `schemas.tax.CreateTaxRateRequest`, which the catalog file shares.
"""

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import BeforeValidator, StrictBool

from schemas.api.fields import word_of
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import TaxRateScope, TaxRateStatusWord
from schemas.doors import InstantField, IntegerField, MetadataField, read_lower
from schemas.errors import NotBuiltYet
from schemas.tax import TaxEntityType

TaxRateScopeWord = Annotated[
    TaxRateScope, BeforeValidator(word_of(get_args(TaxRateScope), cased=str.upper))
]
EntityTypeField = Annotated[TaxEntityType, BeforeValidator(read_lower)]
# The one behaviour that there is so far; SDKs may say so.
EXCLUSIVE = "exclusive"


def _exclusive(body: object) -> object:
    """Return a body unless it asks for a tax inside prices, which comes later."""
    if isinstance(body, Mapping) and body.get("tax_behavior") not in (None, "", EXCLUSIVE):
        raise NotBuiltYet("tax_behavior other than exclusive belongs to M2", field="tax_behavior")
    return body


class UpdateTaxRateRequest(ApiUpdate):
    """What is to be different about a rate: how it is called and whether it is in use, not its value."""

    name: str | None = None
    code: str | None = None
    description: str | None = None
    metadata: MetadataField | None = None
    tax_rate_status: TaxRateStatusWord | None = None


class TaxRatesQuery(ApiSearch):
    """Which rates a list is after."""

    taxrate_ids: list[str] = []
    taxrate_codes: list[str] = []
    scope: TaxRateScopeWord | None = None


class CreateTaxAssociationRequest(ApiRequest):
    """A rate by its code, what it is attached to, and the terms on which it takes part."""

    tax_rate_code: RequiredText
    entity_type: EntityTypeField | None = None
    entity_id: str = ""
    external_customer_id: str = ""
    currency: str | None = None
    auto_apply: StrictBool = True
    priority: IntegerField = 0
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    metadata: MetadataField = {}

    @classmethod
    def prepared(cls, body: object) -> object:
        """Return the body as its members are read, if its tax is added and not inside."""
        return super().prepared(_exclusive(body))


class TaxAssociationUpdateRequest(ApiUpdate):
    """What is to be different about how an attached rate takes part."""

    priority: IntegerField | None = None
    auto_apply: StrictBool | None = None
    metadata: MetadataField | None = None

    @classmethod
    def prepared(cls, body: object) -> object:
        """Return the body as it is, if its tax is added and not inside."""
        return super().prepared(_exclusive(body))


class TaxAssociationsQuery(ApiSearch):
    """Which attachments of rates a list is after."""

    entity_type: EntityTypeField | None = None
    entity_id: str | None = None
    external_customer_id: str | None = None
    tax_rate_id: str | None = None
