"""Answers about customers, with the fields of api-fields.md."""

from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record


class AnsweredCustomerContactPerson(ApiAnswer):
    """Somebody to talk to at a customer."""

    first_name: str
    last_name: IfSet[str] = None
    email: IfSet[str] = None
    mobile: IfSet[str] = None
    salutation: IfSet[str] = None
    designation: IfSet[str] = None
    department: IfSet[str] = None
    is_primary: IfSet[bool] = None
    id: IfSet[str] = None


class CustomerResponse(Record):
    """A customer."""

    external_id: str
    name: str
    email: str
    contact: IfSet[str] = None
    address_line1: str
    address_line2: str
    address_city: str
    address_state: str
    address_postal_code: str
    address_country: str
    timezone: str
    metadata: dict[str, str]
    billing_currency: IfSet[str] = None
    contact_persons: IfSet[list[AnsweredCustomerContactPerson]] = None
    tax_treatment: IfSet[str] = None


class ListCustomersResponse(ApiAnswer):
    """A page of customers."""

    items: list[CustomerResponse]
    pagination: PaginationResponse
