"""Customers: who is billed, under the name by which events know them."""

from dataclasses import dataclass

from schemas.ids import CustomerId


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer; `external_id` is what events carry. An absent time zone is "" and means UTC."""

    id: CustomerId
    external_id: str
    name: str = ""
    timezone: str = ""
