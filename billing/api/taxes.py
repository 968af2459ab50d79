"""Taxes: rates, and what they are attached to (api.md 4.20)."""

from collections.abc import Mapping

from billing.api.listing import Listing, expanded, page_of, query_for, said, unknown
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.tax_answers import association_answers, rate_answer
from billing.api.wire import Answer, shown
from billing.use_cases.found import subject
from billing.use_cases.taxes import (
    association_of,
    associations,
    attach,
    delete_rate,
    detach,
    rate_for,
    update_association,
    update_rate,
)
from schemas.api.answers.taxes import (
    ListTaxAssociationsResponse,
    ListTaxRatesResponse,
    TaxAssociationResponse,
    TaxRateResponse,
)
from schemas.api.requests.taxes import (
    CreateTaxAssociationRequest,
    TaxAssociationsQuery,
    TaxAssociationUpdateRequest,
    TaxRatesQuery,
    UpdateTaxRateRequest,
)
from schemas.errors import ValidationFailed
from schemas.money import minor_units
from schemas.stored import Stored, made
from schemas.tax import (
    CreateTaxRateRequest,
    TaxAssociation,
    TaxAttachmentId,
    TaxEntityType,
    TaxRate,
    TaxRateStatus,
    tax_rate_from,
)

RATES = Listing(
    TaxRate,
    {
        "name": "name",
        "code": "code",
        "scope": "scope",
        "tax_rate_type": "type",
        # Not the life of the record, which has the same name.
        "tax_rate_status": ("status",),
        "description": "description",
    },
)
# What a list of attachments can be asked; they are ordered by when they were made.
ASKED = (
    "entity_type", "entity_id", "external_customer_id", "tax_rate_id", "expand", "limit", "offset",
    "sort", "order",
)  # fmt: skip
TAX_RATE = frozenset({"tax_rate"})
NEWEST = "created_at"


def create_rate(call: Call) -> Answer:
    """Add a tax rate."""
    request = read(CreateTaxRateRequest, call.json)
    kept = call.environment
    rate = tax_rate_from(request, id=kept.new_id("taxrate"))
    stored = made(rate, call.services.clock(), call.caller)
    kept.objects.tax_rates.add(stored)
    return shown(rate_answer(stored, call.scope), 201)


def read_rate(call: Call) -> Answer:
    """Show a tax rate."""
    stored = subject(call.environment.objects.tax_rates, call.parameters["id"], "tax rate")
    return shown(rate_answer(stored, call.scope))


def list_rates(call: Call) -> Answer:
    """Show a page of the tax rates."""
    lists = ["taxrate_ids", "taxrate_codes", "expand"]
    asked = read(TaxRatesQuery, query_of(call.query, lists=lists))
    expanded(asked.expand, RATES.expands)
    wanted = said(
        {"id": asked.taxrate_ids, "lookup_key": asked.taxrate_codes, "scope": asked.scope}
    )
    page = call.environment.objects.tax_rates.page(query_for(asked, RATES, wanted))
    return page_of(page.rows, page.total, asked, lambda each: rate_answer(each, call.scope))


def change_rate(call: Call) -> Answer:
    """Change the texts of a tax rate, and whether it is in use."""
    changes = read(UpdateTaxRateRequest, call.json).changes()
    for name in ("name", "code"):
        if changes.get(name) == "":
            raise ValidationFailed("must not be empty", field=name)
    if "tax_rate_status" in changes:
        changes["status"] = TaxRateStatus(changes.pop("tax_rate_status"))
    kept = call.environment
    stored = update_rate(
        kept.objects,
        kept.stores,
        kept.reader,
        call.parameters["id"],
        changes,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(rate_answer(stored, call.scope))


def remove_rate(call: Call) -> Answer:
    """Delete a tax rate that is attached to nothing."""
    kept = call.environment
    delete_rate(
        kept.objects,
        kept.reader,
        call.parameters["id"],
        at=call.services.clock(),
        by=call.caller,
    )
    return Answer(204, b"")


def create_association(call: Call) -> Answer:
    """Attach a tax rate to a customer, a subscription or the tenant."""
    asked = read(CreateTaxAssociationRequest, call.json)
    kept, at = call.environment, call.services.clock()
    rate = rate_for(kept.objects, asked.tax_rate_code)
    if asked.currency is not None:
        minor_units(asked.currency)
    entity_type, entity_id = _entity(call, asked)
    association = TaxAssociation(
        TaxAttachmentId(kept.new_id("ta")),
        rate.record.id,
        entity_type,
        entity_id,
        asked.priority,
        asked.auto_apply,
        None if asked.currency is None else asked.currency.lower(),
        asked.start_date or at,
        asked.end_date,
        metadata=asked.metadata,
    )
    stored = attach(kept.objects, kept.stores, association, at=at, by=call.caller)
    return _shown(call, stored)


def _entity(call: Call, asked: CreateTaxAssociationRequest) -> tuple[TaxEntityType, str]:
    """Return what a rate is to be attached to. Raises ValidationFailed naming what is missing."""
    kind, name = asked.entity_type, asked.entity_id
    if asked.external_customer_id:
        customer = call.environment.objects.customers.by_lookup(asked.external_customer_id)
        if customer is None:
            text = f"there is no customer of the external id {asked.external_customer_id}"
            raise ValidationFailed(text, field="external_customer_id")
        if kind not in (None, TaxEntityType.CUSTOMER) or name not in ("", customer.record.id):
            text = "must say the same as entity_type and entity_id"
            raise ValidationFailed(text, field="external_customer_id")
        return TaxEntityType.CUSTOMER, customer.record.id
    if kind is None:
        raise ValidationFailed("is required without external_customer_id", field="entity_type")
    if kind is TaxEntityType.TENANT:
        if name not in ("", call.scope.tenant_id):
            raise ValidationFailed(f"there is no tenant {name} here", field="entity_id")
        return kind, call.scope.tenant_id
    if not name:
        raise ValidationFailed("is required", field="entity_id")
    return kind, name


def read_association(call: Call) -> Answer:
    """Show an attachment of a tax rate."""
    kept = call.environment
    return _shown(call, association_of(kept.objects, kept.reader, call.parameters["id"]))


def list_associations(call: Call) -> Answer:
    """Show a page of the attachments of tax rates."""
    asked = read(TaxAssociationsQuery, query_of(call.query, lists=["expand"]))
    for member in sorted(asked.model_fields_set):
        if member not in ASKED:
            raise unknown(member, member, ASKED)
    expanded(asked.expand, TAX_RATE)
    if asked.sort not in (None, NEWEST):
        raise unknown("sort", str(asked.sort), [NEWEST])
    kept = call.environment
    kind, name = asked.entity_type, asked.entity_id
    if asked.external_customer_id:
        customer = kept.objects.customers.by_lookup(asked.external_customer_id)
        named = None if customer is None else customer.record.id
        if not named or kind not in (None, TaxEntityType.CUSTOMER) or name not in (None, named):
            nothing: list[TaxAssociationResponse] = []
            return page_of(nothing, 0, asked, lambda each: each)
        kind, name = TaxEntityType.CUSTOMER, named
    found = associations(
        kept.objects,
        kept.reader,
        entity_type=kind,
        entity_id=name or None,
        tax_rate_id=asked.tax_rate_id or None,
    )
    if asked.order == "asc":
        found.reverse()
    page = found[asked.offset : asked.offset + asked.limit]
    answers = association_answers(kept.objects, page, call.scope)
    return page_of(answers, len(found), asked, lambda each: each)


def change_association(call: Call) -> Answer:
    """Change on which terms an attached rate takes part."""
    changes = read(TaxAssociationUpdateRequest, call.json).changes()
    kept = call.environment
    stored = update_association(
        kept.objects,
        kept.stores,
        kept.reader,
        call.parameters["id"],
        changes,
        at=call.services.clock(),
        by=call.caller,
    )
    return _shown(call, stored)


def remove_association(call: Call) -> Answer:
    """Detach a tax rate, and show the attachment that was."""
    kept = call.environment
    stored = detach(
        kept.objects,
        kept.stores,
        kept.reader,
        call.parameters["id"],
        at=call.services.clock(),
        by=call.caller,
    )
    return _shown(call, stored)


def _shown(call: Call, stored: Stored[TaxAssociation]) -> Answer:
    return shown(association_answers(call.environment.objects, [stored], call.scope)[0])


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/taxes/rates"): Built(
        create_rate, takes=CreateTaxRateRequest, gives=TaxRateResponse
    ),
    ("GET", "/v1/taxes/rates"): Built(list_rates, asks=TaxRatesQuery, gives=ListTaxRatesResponse),
    ("GET", "/v1/taxes/rates/{id}"): Built(read_rate, gives=TaxRateResponse),
    ("PUT", "/v1/taxes/rates/{id}"): Built(
        change_rate, takes=UpdateTaxRateRequest, gives=TaxRateResponse
    ),
    ("DELETE", "/v1/taxes/rates/{id}"): Built(remove_rate),
    ("POST", "/v1/taxes/associations"): Built(
        create_association, takes=CreateTaxAssociationRequest, gives=TaxAssociationResponse
    ),
    ("GET", "/v1/taxes/associations"): Built(
        list_associations, asks=TaxAssociationsQuery, gives=ListTaxAssociationsResponse
    ),
    ("GET", "/v1/taxes/associations/{id}"): Built(read_association, gives=TaxAssociationResponse),
    ("PUT", "/v1/taxes/associations/{id}"): Built(
        change_association, takes=TaxAssociationUpdateRequest, gives=TaxAssociationResponse
    ),
    ("DELETE", "/v1/taxes/associations/{id}"): Built(
        remove_association, gives=TaxAssociationResponse
    ),
}
