"""Requests about customers, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate
from schemas.customer import (
    CityText,
    CodeText,
    ContactPerson,
    CountryText,
    CurrencyText,
    Customer,
    EmailText,
    ExternalId,
    NameText,
    ZoneText,
)
from schemas.doors import MetadataField
from schemas.ids import CustomerId
from schemas.tax import TaxRateOverride


class CustomerContactPerson(ApiRequest):
    """Somebody to talk to at a customer."""

    first_name: Annotated[str, Field(min_length=1)]
    last_name: str = ""
    email: str = ""
    mobile: str = ""
    salutation: str = ""
    designation: str = ""
    department: str = ""
    is_primary: StrictBool = False


def persons_of(asked: list[CustomerContactPerson] | None) -> tuple[ContactPerson, ...] | None:
    """Return the people to talk to, None where there are none."""
    return tuple(ContactPerson(**each.model_dump()) for each in asked or ()) or None


class CreateCustomerRequest(ApiRequest):
    """A new customer, with the taxes that it starts with: the tenant's where it says nothing."""

    LATER: ClassVar[Mapping[str, str]] = {
        "integration_entity_mapping": "M4",
        "onboarding_workflow_name": "M3",
        "skip_onboarding_workflow": "M3",
    }

    external_id: ExternalId
    name: NameText = ""
    email: EmailText = ""
    contact: CodeText = ""
    address_line1: NameText = ""
    address_line2: NameText = ""
    address_city: CityText = ""
    address_state: CityText = ""
    address_postal_code: CodeText = ""
    address_country: CountryText = ""
    timezone: ZoneText = ""
    metadata: MetadataField = {}
    tax_rate_overrides: list[TaxRateOverride] | None = None
    billing_currency: CurrencyText | None = None
    contact_persons: list[CustomerContactPerson] | None = None
    tax_treatment: str | None = None

    def customer(self, name: str) -> Customer:
        """Return the record of this request under an id."""
        told = self.model_dump(exclude={"contact_persons", "tax_rate_overrides"})
        return Customer(CustomerId(name), **told, contact_persons=persons_of(self.contact_persons))


class UpdateCustomerRequest(ApiUpdate):
    """What is to change of a customer; "" clears a text, and the external id cannot be cleared."""

    LATER: ClassVar[Mapping[str, str]] = {"integration_entity_mapping": "M4"}

    external_id: ExternalId | None = None
    name: NameText | None = None
    email: EmailText | None = None
    contact: CodeText | None = None
    address_line1: NameText | None = None
    address_line2: NameText | None = None
    address_city: CityText | None = None
    address_state: CityText | None = None
    address_postal_code: CodeText | None = None
    address_country: CountryText | None = None
    timezone: ZoneText | None = None
    metadata: MetadataField | None = None
    billing_currency: CurrencyText | None = None
    contact_persons: list[CustomerContactPerson] | None = None
    tax_treatment: str | None = None

    def changes(self) -> dict[str, object]:
        """Return the members of the record that change, as it has them."""
        found: dict[str, object] = super().changes()
        if "contact_persons" in found:
            found["contact_persons"] = persons_of(self.contact_persons)
        for name in found.keys() & {"billing_currency", "tax_treatment"}:
            found[name] = found[name] or None
        return found


class CustomerNamed(ApiRequest):
    """Which customer a change is about: exactly one of the two names it."""

    id: str | None = None
    external_customer_id: str | None = None


class CustomerFilter(ApiSearch):
    """Which customers are asked for; external ids and e-mail addresses to the letter."""

    customer_ids: list[str] | None = None
    external_id: str | None = None
    external_ids: list[str] | None = None
    email: str | None = None
    metadata: MetadataField | None = None
