"""Requests about customers, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.doors import MetadataField
from schemas.tax import TaxRateOverride


class CustomerContactPerson(ApiRequest):
    """What a request says of: customer contact person."""

    first_name: RequiredText
    last_name: str | None = None
    email: str | None = None
    mobile: str | None = None
    salutation: str | None = None
    designation: str | None = None
    department: str | None = None
    is_primary: StrictBool = False
    id: str | None = None


class CreateCustomerRequest(ApiRequest):
    """What a request says of: create customer."""

    LATER: ClassVar[Mapping[str, str]] = {
        "integration_entity_mapping": "M4",
        "onboarding_workflow_name": "M3",
        "skip_onboarding_workflow": "M3",
    }

    external_id: RequiredText
    name: str | None = None
    email: str | None = None
    contact: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    address_city: str | None = None
    address_state: str | None = None
    address_postal_code: str | None = None
    address_country: str | None = None
    timezone: str | None = None
    metadata: MetadataField = {}
    tax_rate_overrides: list[TaxRateOverride] | None = None
    billing_currency: str | None = None
    contact_persons: list[CustomerContactPerson] | None = None
    tax_treatment: str | None = None


class UpdateCustomerRequest(ApiUpdate):
    """What a request says of: update customer."""

    LATER: ClassVar[Mapping[str, str]] = {"integration_entity_mapping": "M4"}

    external_id: str | None = None
    name: str | None = None
    email: str | None = None
    contact: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    address_city: str | None = None
    address_state: str | None = None
    address_postal_code: str | None = None
    address_country: str | None = None
    timezone: str | None = None
    metadata: MetadataField | None = None
    billing_currency: str | None = None
    contact_persons: list[CustomerContactPerson] | None = None
    tax_treatment: str | None = None


class CustomerFilter(ApiSearch):
    """What a search asks of: customer."""

    customer_ids: list[str] | None = None
    external_id: str | None = None
    external_ids: list[str] | None = None
    email: str | None = None
    metadata: MetadataField | None = None
