"""Invoices: made by hand, previewed, found, read, changed, finalized, paid and voided.

Source: api.md 4.14 and 4.15.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

from billing.api.customers import customer_answer
from billing.api.invoice_actions import content_of, one_off_of
from billing.api.invoice_answers import (
    CUSTOMER,
    EXPANDS,
    SUBSCRIPTION,
    Beside,
    invoice_answer,
    known_of,
    preview_answer,
)
from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.subscription_answers import beside as beside_subscriptions
from billing.api.subscription_answers import subscription_answer
from billing.api.wire import Answer, shown
from billing.invoices.editing import InvoiceEdit
from billing.invoices.summaries import summaries
from billing.use_cases.closing_periods import finalize_invoice
from billing.use_cases.invoice_edits import edit_invoice
from billing.use_cases.one_off import make_one_off, replay_of
from billing.use_cases.payments import attempt_payment, record_by_hand
from billing.use_cases.previewing import preview
from billing.use_cases.voiding import void_invoice
from schemas.api.answers.invoices import (
    CustomerInvoiceSummary,
    CustomerMultiCurrencyInvoiceSummary,
    InvoiceResponse,
    ListInvoicesResponse,
)
from schemas.api.answers.objects import SuccessResponse
from schemas.api.requests.invoices import (
    CreateInvoiceRequest,
    GetPreviewInvoiceRequest,
    InvoiceFilter,
    InvoiceQuery,
    UpdateInvoiceRequest,
)
from schemas.errors import NotBuiltYet, NotFound
from schemas.ids import CustomerId, InvoiceId, SubscriptionId
from schemas.invoice import Invoice, InvoiceStatus
from schemas.object_query import Condition, Field, Operator, Value
from schemas.payment import PaymentStatusRequest
from schemas.stored import Status

CREATED = 201
# What a repeated request is told (platform.md 6).
REPLAYED = {"Idempotency-Replayed": "true"}

PERIOD_START: Field = ("period", "start")
PERIOD_END: Field = ("period", "end")

FIELDS: Mapping[str, Field] = {
    "customer_id": "customer_id",
    "subscription_id": "subscription_id",
    "invoice_number": ("invoice_number",),
    "invoice_type": ("invoice_type",),
    "invoice_status": ("status",),
    "payment_status": ("payment_status",),
    "billing_reason": ("billing_reason",),
    "currency": ("currency",),
    "subtotal": ("subtotal",),
    "total": ("total",),
    "amount_due": ("total",),
    "amount_paid": ("amount_paid",),
    "amount_remaining": ("amount_remaining",),
    "period_start": PERIOD_START,
    "period_end": PERIOD_END,
    "issue_date": ("dated_at",),
    "due_date": ("due_date",),
    "finalized_at": ("finalized_at",),
    "paid_at": ("paid_at",),
    "voided_at": ("voided_at",),
    "description": ("description",),
}
INVOICES = Listing(Invoice, FIELDS, EXPANDS)


def create_invoice(call: Call) -> Answer:
    """Make an invoice that no subscription bills, finalized unless a draft is asked for."""
    asked = read(CreateInvoiceRequest, call.json)
    environment, key = call.environment, asked.idempotency_key
    made = replay_of(environment.stores, key, content_of(asked)) if key else None
    if made is None:
        made = make_one_off(
            environment.stores,
            one_off_of(environment, asked),
            call.services.clock(),
            answering=lambda invoice: _shown(call, invoice).body.decode(),
        )
    if made.answer is None:
        return _shown(call, made.invoice, status=CREATED)
    headers = REPLAYED if made.is_replay else None
    return Answer(CREATED, made.answer.encode(), headers=headers)


def preview_invoice(call: Call) -> Answer:
    """Show what the invoice of a subscription would be now; nothing is stored."""
    asked = read(GetPreviewInvoiceRequest, call.json)
    environment = call.environment
    made = preview(
        environment.stores,
        environment.usage,
        SubscriptionId(asked.subscription_id),
        call.services.clock(),
        start=asked.period_start,
        end=asked.period_end,
    )
    assert made.subscription_id is not None, "a preview is of a subscription"
    sequence = len(environment.stores.invoices_of(made.subscription_id)) + 1
    beside = known_of(environment, call.scope, [made])
    hides = asked.hide_zero_charges_line_items
    return shown(preview_answer(made, beside, sequence, without_zeros=hides))


def search_invoices(call: Call) -> Answer:
    """Show the invoices that are searched for, the newest first unless another order is asked for."""
    asked = read(InvoiceFilter, call.json)
    wanted = expanded(asked.expand, INVOICES.expands)
    query = query_for(asked, INVOICES, _conditions(call, asked), lives=False)
    found, number = call.environment.reader.invoices_where(query)
    beside = _beside(call, found, wanted, with_lines=not asked.skip_line_items)
    return page_of(found, number, asked, lambda each: invoice_answer(each, beside))


def read_invoice(call: Call) -> Answer:
    """Show one invoice, with its customer."""
    lists = ("expand", "group_by")
    asked = read(InvoiceQuery, query_of(call.query, lists=lists))
    wanted = expanded(asked.expand, INVOICES.expands)
    if asked.expand_by_source == "true":
        raise NotBuiltYet("usage by source belongs to M2: not built yet", field="expand_by_source")
    found = call.environment.stores.invoice(_name(call))
    if found is None:
        raise NotFound(f"there is no invoice {_name(call)}")
    return _shown(call, found, wanted)


def update_invoice(call: Call) -> Answer:
    """Change when an invoice is due, where its document is, and what is noted on it."""
    asked = read(UpdateInvoiceRequest, call.json)
    edit = InvoiceEdit(asked.due_date, asked.invoice_pdf_url, asked.metadata)
    changed = edit_invoice(call.environment.stores, _name(call), edit, call.services.clock())
    return _shown(call, changed)


def finalize(call: Call) -> Answer:
    """Finalize a draft: it is computed once more, settled, taxed and numbered."""
    environment = call.environment
    done = finalize_invoice(
        environment.stores, environment.usage, _name(call), call.services.clock()
    )
    return shown(SuccessResponse(message=f"invoice {done.id} is {done.status}"))


def update_payment(call: Call) -> Answer:
    """Record by hand how far an invoice is paid."""
    asked = read(PaymentStatusRequest, call.json)
    after = record_by_hand(
        call.environment.stores,
        _name(call),
        asked.payment_status,
        call.services.clock(),
        amount=asked.amount,
    )
    return _shown(call, after)


def attempt(call: Call) -> Answer:
    """Let the wallets of the customer pay what remains, as far as they reach."""
    after = attempt_payment(call.environment.stores, _name(call), call.services.clock())
    return shown(SuccessResponse(message=f"{after.amount_remaining:f} remain to be paid"))


def void(call: Call) -> Answer:
    """Void an invoice; what it took is given back."""
    done = void_invoice(call.environment.stores, _name(call), call.services.clock())
    return shown(SuccessResponse(message=f"invoice {done.id} is {done.status}"))


def summarize(call: Call) -> Answer:
    """Show what a customer owes, currency by currency."""
    environment, name = call.environment, call.parameters["id"]
    customer = environment.objects.customers.get(name)
    if customer is None or customer.status is Status.DELETED:
        raise NotFound(f"there is no customer {name}")
    found = summaries(environment.stores.invoices_for(CustomerId(name)), call.services.clock())
    parts = [CustomerInvoiceSummary(customer_id=name, **asdict(each)) for each in found]
    default = found[0].currency if found else customer.record.billing_currency or ""
    return shown(
        CustomerMultiCurrencyInvoiceSummary(
            customer_id=name, default_currency=default, summaries=parts
        )
    )


def _name(call: Call) -> InvoiceId:
    return InvoiceId(call.parameters["id"])


def _shown(
    call: Call, invoice: Invoice, wanted: frozenset[str] = frozenset(), *, status: int = 200
) -> Answer:
    """Return one invoice as an answer, with its customer."""
    beside = _beside(call, [invoice], wanted | {CUSTOMER})
    return shown(invoice_answer(invoice, beside), status)


def _beside(
    call: Call,
    invoices: tuple[Invoice, ...] | list[Invoice],
    wanted: frozenset[str],
    *,
    with_lines: bool = True,
) -> Beside:
    """Return what stands beside some invoices, and the sub-objects that are wanted whole."""
    environment, scope = call.environment, call.scope
    beside = known_of(environment, scope, invoices, with_lines=with_lines)
    if CUSTOMER in wanted:
        known = environment.objects.customers.those({each.customer_id for each in invoices})
        customers = {name: customer_answer(each, scope) for name, each in known.items()}
        beside = replace(beside, customers=customers)
    if SUBSCRIPTION in wanted:
        found = tuple(beside.subscriptions.values())
        near = beside_subscriptions(environment.objects, scope, call.services.clock(), found, ())
        subscriptions = {str(each.id): subscription_answer(each, near) for each in found}
        beside = replace(beside, shown_subscriptions=subscriptions)
    return beside


def _conditions(call: Call, asked: InvoiceFilter) -> list[Condition]:
    """Return the conditions of a search's own members; what names nobody finds nothing."""
    shown_ones = [each.value for each in InvoiceStatus if each is not InvoiceStatus.SKIPPED]
    found = said(
        {
            "id": asked.invoice_ids,
            "customer_id": asked.customer_id,
            "subscription_id": asked.subscription_id,
            ("invoice_type",): asked.invoice_type,
            ("status",): asked.invoice_status or shown_ones,
            ("payment_status",): asked.payment_status,
            ("billing_reason",): asked.billing_reason,
            ("currency",): asked.currency.lower() if asked.currency else None,
        }
    )
    bounds: list[tuple[Field, Operator, Value]] = [
        (("total",), Operator.GT, asked.amount_due_gt),
        (("amount_remaining",), Operator.GT, asked.amount_remaining_gt),
        (PERIOD_START, Operator.GTE, asked.period_start_gte),
        (PERIOD_START, Operator.LTE, asked.period_start_lte),
        (PERIOD_END, Operator.GTE, asked.period_end_gte),
        (PERIOD_END, Operator.LTE, asked.period_end_lte),
        (("finalized_at",), Operator.GTE, asked.finalized_at_gte),
        (("voided_at",), Operator.GTE, asked.voided_at_gte),
    ]
    found += [Condition(name, how, value) for name, how, value in bounds if value is not None]
    if asked.external_customer_id:
        known = call.environment.objects.customers.by_lookup(asked.external_customer_id)
        ids = (str(known.record.id),) if known else ()
        found.append(Condition("customer_id", Operator.IN, ids))
    if asked.subscription_customer_id:
        named = call.environment.reader.subscription_ids_of(asked.subscription_customer_id)
        found.append(Condition("subscription_id", Operator.IN, named))
    if asked.status not in {None, Status.PUBLISHED}:
        # Invoices are neither archived nor deleted.
        found.append(Condition("id", Operator.IN, ()))
    return found


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/invoices"): Built(
        create_invoice, takes=CreateInvoiceRequest, gives=InvoiceResponse
    ),
    ("POST", "/v1/invoices/preview"): Built(
        preview_invoice, takes=GetPreviewInvoiceRequest, gives=InvoiceResponse
    ),
    ("POST", "/v1/invoices/search"): Built(
        search_invoices, takes=InvoiceFilter, gives=ListInvoicesResponse
    ),
    ("GET", "/v1/invoices/{id}"): Built(read_invoice, asks=InvoiceQuery, gives=InvoiceResponse),
    ("PUT", "/v1/invoices/{id}"): Built(
        update_invoice, takes=UpdateInvoiceRequest, gives=InvoiceResponse
    ),
    ("POST", "/v1/invoices/{id}/finalize"): Built(finalize, gives=SuccessResponse),
    ("PUT", "/v1/invoices/{id}/payment"): Built(
        update_payment, takes=PaymentStatusRequest, gives=InvoiceResponse
    ),
    ("POST", "/v1/invoices/{id}/payment/attempt"): Built(attempt, gives=SuccessResponse),
    ("POST", "/v1/invoices/{id}/void"): Built(void, gives=SuccessResponse),
    ("GET", "/v1/customers/{id}/invoices/summary"): Built(
        summarize, gives=CustomerMultiCurrencyInvoiceSummary
    ),
}
