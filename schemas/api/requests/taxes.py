"""Requests about taxes, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import TaxRateEntityTypeWord, TaxRateStatusWord
from schemas.doors import InstantField, IntegerField, MetadataField


class UpdateTaxRateRequest(ApiUpdate):
    """What a request says of: update tax rate."""

    name: str | None = None
    code: str | None = None
    description: str | None = None
    metadata: MetadataField | None = None
    tax_rate_status: TaxRateStatusWord | None = None


class CreateTaxAssociationRequest(ApiRequest):
    """What a request says of: create tax association."""

    LATER: ClassVar[Mapping[str, str]] = {"tax_behavior": "M2"}

    tax_rate_code: RequiredText
    entity_type: TaxRateEntityTypeWord | None = None
    entity_id: str | None = None
    external_customer_id: str | None = None
    currency: str | None = None
    auto_apply: StrictBool = True
    priority: IntegerField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    metadata: MetadataField = {}


class TaxAssociationUpdateRequest(ApiUpdate):
    """What a request says of: tax association update."""

    LATER: ClassVar[Mapping[str, str]] = {"tax_behavior": "M2"}

    priority: IntegerField | None = None
    auto_apply: StrictBool | None = None
    metadata: MetadataField | None = None
