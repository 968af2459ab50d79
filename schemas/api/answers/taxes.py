"""Answers about taxes, with the fields of api-fields.md."""

from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireTime
from schemas.api.words import TaxRateEntityType, TaxRateScope, TaxRateStatus, TaxRateType


class TaxRateResponse(Record):
    """A tax rate."""

    name: str
    code: str
    tax_rate_type: TaxRateType
    percentage_value: IfSet[WireDecimal] = None
    fixed_value: IfSet[WireDecimal] = None
    scope: TaxRateScope
    tax_rate_status: TaxRateStatus
    description: IfSet[str] = None
    metadata: IfSet[dict[str, str]] = None


class ListTaxRatesResponse(ApiAnswer):
    """A page of tax rates."""

    items: list[TaxRateResponse]
    pagination: PaginationResponse


class TaxAssociationResponse(Record):
    """A tax rate that is attached to something, with the rate."""

    tax_rate_id: str
    tax_rate: TaxRateResponse
    entity_type: TaxRateEntityType
    entity_id: str
    priority: int
    auto_apply: bool
    currency: str
    start_date: WireTime
    end_date: IfSet[WireTime] = None
    metadata: IfSet[dict[str, str]] = None


class ListTaxAssociationsResponse(ApiAnswer):
    """A page of attachments of tax rates."""

    items: list[TaxAssociationResponse]
    pagination: PaginationResponse
