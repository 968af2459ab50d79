"""Customers over HTTP: who is billed, found by our id or to the letter by their own (api.md 4.6)."""

from collections.abc import Mapping
from dataclasses import asdict

from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.reading import query_of, read
from billing.api.records import record_members
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.use_cases import customers as use_cases
from billing.use_cases.found import subject
from schemas.api.answers.customers import (
    AnsweredCustomerContactPerson,
    CustomerResponse,
    ListCustomersResponse,
)
from schemas.api.requests.customers import (
    CreateCustomerRequest,
    CustomerFilter,
    CustomerNamed,
    UpdateCustomerRequest,
)
from schemas.customer import ContactPerson, Customer
from schemas.errors import ValidationFailed
from schemas.scope import Scope
from schemas.stored import Stored

CUSTOMERS = Listing(
    Customer,
    {
        name: name
        for name in (
            "external_id",
            "name",
            "email",
            "contact",
            "address_line1",
            "address_line2",
            "address_city",
            "address_state",
            "address_postal_code",
            "address_country",
            "timezone",
            "billing_currency",
            "tax_treatment",
        )
    },
)


def customer_answer(stored: Stored[Customer], scope: Scope) -> CustomerResponse:
    """Return a customer as answers show it."""
    customer = stored.record
    persons = customer.contact_persons
    return CustomerResponse(
        **record_members(stored, scope),
        external_id=customer.external_id,
        name=customer.name,
        email=customer.email,
        contact=customer.contact or None,
        address_line1=customer.address_line1,
        address_line2=customer.address_line2,
        address_city=customer.address_city,
        address_state=customer.address_state,
        address_postal_code=customer.address_postal_code,
        address_country=customer.address_country,
        timezone=customer.timezone or "UTC",
        metadata=dict(customer.metadata),
        billing_currency=customer.billing_currency,
        contact_persons=None if persons is None else [_person(each) for each in persons],
        tax_treatment=customer.tax_treatment,
    )


def _person(person: ContactPerson) -> AnsweredCustomerContactPerson:
    """Return somebody to talk to, with what is known."""
    known = {name: value for name, value in asdict(person).items() if value != ""}
    return AnsweredCustomerContactPerson(**known)


def add_customer(call: Call) -> Answer:
    """Create a customer, with its taxes."""
    asked = read(CreateCustomerRequest, call.json)
    kept = call.environment
    stored = use_cases.create_customer(
        kept.objects,
        asked.customer(kept.new_id("cust")),
        asked.tax_rate_overrides,
        scope=call.scope,
        new_id=kept.new_id,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(customer_answer(stored, call.scope), 201)


def read_customer(call: Call) -> Answer:
    """Show one customer."""
    stored = subject(call.environment.objects.customers, call.parameters["id"], "customer")
    return shown(customer_answer(stored, call.scope))


def read_by_external_id(call: Call) -> Answer:
    """Show the customer that its owner calls so."""
    wanted = call.parameters["external_id"]
    stored = use_cases.customer_by_external_id(call.environment.objects, wanted)
    return shown(customer_answer(stored, call.scope))


def change_customer(call: Call) -> Answer:
    """Change the customer that the query names, and show it."""
    named = read(CustomerNamed, query_of(call.query))
    asked = read(UpdateCustomerRequest, call.json)
    kept = call.environment
    stored = use_cases.update_customer(
        kept.objects,
        kept.stores,
        _named(call, named),
        asked.changes(),
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(customer_answer(stored, call.scope))


def _named(call: Call, named: CustomerNamed) -> str:
    """Return the id of the customer that a query names. Raises ValidationFailed, NotFound."""
    if (named.id is None) == (named.external_customer_id is None):
        raise ValidationFailed("give exactly one of id and external_customer_id", field="id")
    if named.id is not None:
        return named.id
    assert named.external_customer_id is not None, "one of the two is there"
    objects = call.environment.objects
    return use_cases.customer_by_external_id(objects, named.external_customer_id).record.id


def search_customers(call: Call) -> Answer:
    """Show a page of customers."""
    asked = read(CustomerFilter, call.json)
    expanded(asked.expand, CUSTOMERS.expands)
    wanted = said(
        {
            "id": asked.customer_ids,
            "external_id": asked.external_id,
            "email": asked.email,
            **{("metadata", name): value for name, value in (asked.metadata or {}).items()},
        }
    )
    wanted += said({"external_id": asked.external_ids})
    page = call.environment.objects.customers.page(query_for(asked, CUSTOMERS, wanted))
    scope = call.scope
    return page_of(page.rows, page.total, asked, lambda each: customer_answer(each, scope))


def remove_customer(call: Call) -> Answer:
    """Delete a customer that has nothing alive; its invoices and events stay."""
    kept = call.environment
    use_cases.delete_customer(
        kept.objects,
        kept.stores,
        call.parameters["id"],
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return Answer(204, b"")


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/customers"): Built(
        add_customer, takes=CreateCustomerRequest, gives=CustomerResponse
    ),
    ("PUT", "/v1/customers"): Built(
        change_customer, takes=UpdateCustomerRequest, asks=CustomerNamed, gives=CustomerResponse
    ),
    ("POST", "/v1/customers/search"): Built(
        search_customers, takes=CustomerFilter, gives=ListCustomersResponse
    ),
    ("GET", "/v1/customers/{id}"): Built(read_customer, gives=CustomerResponse),
    ("DELETE", "/v1/customers/{id}"): Built(remove_customer),
    ("GET", "/v1/customers/external/{external_id}"): Built(
        read_by_external_id, gives=CustomerResponse
    ),
}
