"""Customers: who is billed, under the name by which events know them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.doors import read_lower
from schemas.errors import ValidationFailed
from schemas.ids import CustomerId
from schemas.zones import zone

# What events carry (metering.md 2.2).
EXTERNAL_ID_BYTES_MAX = 1024

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_COUNTRY = re.compile(r"[A-Za-z]{2}", re.ASCII)
_CURRENCY = re.compile(r"[a-z]{3}", re.ASCII)


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


def check_email(text: str) -> str:
    """Return an e-mail address that has the form of one; "" is none. Raises ValueError.

    >>> check_email("ann@example.com")
    'ann@example.com'
    """
    if text and _EMAIL.fullmatch(text) is None:
        raise ValueError("must be an e-mail address, as ann@example.com")
    return text


def _check_external_id(text: str) -> str:
    if not text:
        raise ValueError("is required")
    if len(text.encode("utf-8", "surrogatepass")) > EXTERNAL_ID_BYTES_MAX:
        raise ValueError(f"must have at most {EXTERNAL_ID_BYTES_MAX} bytes, as in events")
    return text


def _check_country(text: str) -> str:
    if text and _COUNTRY.fullmatch(text) is None:
        raise ValueError("must be a country in two letters (ISO 3166)")
    return text


def _check_currency(text: str) -> str:
    if text and _CURRENCY.fullmatch(text) is None:
        raise ValueError("must be a currency in three letters")
    return text


def _check_zone(text: str) -> str:
    if text:
        try:
            zone(text)
        except ValidationFailed as error:
            raise ValueError(str(error)) from error
    return text


# How the texts of a customer are read, each "" where there is none (api-fields.md).
ExternalId = Annotated[str, AfterValidator(_check_external_id)]
NameText = Annotated[str, Field(max_length=255)]
CityText = Annotated[str, Field(max_length=100)]
CodeText = Annotated[str, Field(max_length=20)]
EmailText = Annotated[str, Field(max_length=255), AfterValidator(check_email)]
CountryText = Annotated[str, AfterValidator(_check_country)]
ZoneText = Annotated[str, AfterValidator(_check_zone)]
CurrencyText = Annotated[str, BeforeValidator(read_lower), AfterValidator(_check_currency)]
