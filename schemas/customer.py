"""Customers: who is billed, under the name by which events know them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.ids import CustomerId


@dataclass(frozen=True, slots=True)
class ContactPerson:
    """Somebody to talk to at a customer."""

    first_name: str
    last_name: str = ""
    email: str = ""
    mobile: str = ""
    salutation: str = ""
    designation: str = ""
    department: str = ""
    is_primary: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer; `external_id` is what events carry. An absent time zone is "" and means UTC.

    `billing_currency`, `contact_persons` and `tax_treatment` are kept and shown, without an effect.
    """

    id: CustomerId
    external_id: str
    name: str = ""
    timezone: str = ""
    email: str = ""
    contact: str = ""
    address_line1: str = ""
    address_line2: str = ""
    address_city: str = ""
    address_state: str = ""
    address_postal_code: str = ""
    address_country: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    billing_currency: str | None = None
    contact_persons: tuple[ContactPerson, ...] | None = None
    tax_treatment: str | None = None
    parent_customer_id: CustomerId | None = None
