"""Subscriptions over HTTP: made, found, activated, and cancelled (api.md 4.10 and 4.13)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from billing.api import entitled, subscription_lines, subscription_search, subscription_usage
from billing.api.invoice_answers import invoice_answer, known_of
from billing.api.own_prices import added_prices, own_prices
from billing.api.reading import read
from billing.api.routing import Built, Call
from billing.api.subscription_answers import beside, known, subscription_answer
from billing.api.subscription_creation import agreed
from billing.api.wire import Answer, shown
from billing.use_cases.subscription_cancellations import (
    CancelledSubscription,
    cancel_subscription,
    drop_cancellation,
)
from billing.use_cases.subscriptions import (
    Created,
    activate_subscription,
    create_subscription,
)
from schemas.api.answers.invoices import InvoiceResponse
from schemas.api.answers.subscriptions import (
    CancelSubscriptionResponse,
    ProrationDetail,
    SubscriptionResponse,
)
from schemas.api.requests.subscriptions import (
    ActivateDraftSubscriptionRequest,
    CancelSubscriptionRequest,
    CreateSubscriptionRequest,
    UpdateSubscriptionRequest,
)
from schemas.cancellation import (
    CancellationInvoicePolicy,
    CancellationRequest,
    CancellationType,
)
from schemas.errors import InvalidOperation, ValidationFailed
from schemas.ids import SubscriptionId
from schemas.invoice import Invoice
from schemas.subscription import ProrationBehavior, Subscription, SubscriptionStatus


def add_subscription(call: Call) -> Answer:
    """Subscribe a customer to a plan, all that is asked for or nothing."""
    asked = read(CreateSubscriptionRequest, call.json)
    kept, at = call.environment, call.services.clock()
    name = SubscriptionId(kept.new_id("subs"))
    agreement = agreed(kept.objects, asked, name, kept.new_id, at)
    record = replace(agreement, created_by=call.caller)
    draft = asked.subscription_status == "draft"
    with added_prices(kept, own_prices(record), at, call.caller):
        created = create_subscription(kept.stores, record, at=at, draft=draft)
    return shown(_after(call, created, at), 201)


def _after(call: Call, created: Created, at: datetime) -> SubscriptionResponse:
    """Return what was made or activated, with its opening invoice and what is worth a word."""
    near = beside(call.environment.objects, call.scope, at, [created.subscription])
    invoice = _shown_invoice(call, created.invoice)
    return subscription_answer(
        created.subscription, near, invoice=invoice, warnings=created.warnings
    )


def _shown_invoice(call: Call, invoice: Invoice | None) -> InvoiceResponse | None:
    """Return an invoice as it is read, None for none."""
    if invoice is None:
        return None
    return invoice_answer(invoice, known_of(call.environment, call.scope, [invoice]))


def _shown(call: Call, subscription: Subscription) -> Answer:
    """Show a subscription whole."""
    at = call.services.clock()
    near = beside(call.environment.objects, call.scope, at, [subscription])
    return shown(subscription_answer(subscription, near))


def read_subscription(call: Call) -> Answer:
    """Show one subscription with its lines."""
    return _shown(call, known(call))


def activate(call: Call) -> Answer:
    """Take a draft live from the start that is given."""
    asked = read(ActivateDraftSubscriptionRequest, call.json)
    at, name = call.services.clock(), known(call).id
    created = activate_subscription(
        call.environment.stores, name, at=at, start_date=asked.start_date
    )
    return shown(_after(call, created, at))


def cancel(call: Call) -> Answer:
    """Cancel a subscription now, at the end of its period or on a date."""
    asked = read(CancelSubscriptionRequest, call.json)
    policy = asked.cancel_immediately_invoice_policy or asked.cancel_immediately_inovice_policy
    behavior = asked.proration_behavior
    request = CancellationRequest(
        CancellationType(asked.cancellation_type),
        asked.cancel_at,
        CancellationInvoicePolicy(policy or CancellationInvoicePolicy.GENERATE_INVOICE),
        None if behavior is None else ProrationBehavior(behavior),
        asked.reason or "",
    )
    at = call.services.clock()
    done = cancel_subscription(
        call.environment.stores, call.environment.usage, known(call).id, request, at=at
    )
    return shown(_cancelled(call, request, done, at))


def _cancelled(
    call: Call, request: CancellationRequest, done: CancelledSubscription, at: datetime
) -> CancelSubscriptionResponse:
    """Return what a cancellation did or planned."""
    assert done.decided is not None, "a cancellation was decided"
    effective, planned = done.decided.effective_at, done.decided.planned
    return CancelSubscriptionResponse(
        subscription_id=done.subscription.id,
        status=done.subscription.status.value,
        cancellation_type=request.type.value,
        effective_date=effective,
        processed_at=at,
        message=f"the subscription {'will end' if planned else 'ended'} at {effective.isoformat()}",
        reason=request.reason or None,
        proration_details=list(_details(done)),
        total_credit_amount=done.credit,
        proration_invoice=_shown_invoice(call, done.invoice),
    )


def _details(done: CancelledSubscription) -> Iterator[ProrationDetail]:
    """Yield what a cancellation gives back for each period of a line."""
    for each in done.settled.credits if done.settled else ():
        line, prorated = each.part.line, each.part.proration
        yield ProrationDetail(
            line_item_id=line.id,
            price_id=line.price.id,
            description=line.display_name,
            original_amount=each.charged.charged,
            credit_amount=each.amount,
            charge_amount=Decimal(0),
            proration_days=(prorated.service.end - prorated.service.start).days,
        )


def change_subscription(call: Call) -> Answer:
    """Plan or drop a cancellation; a status is a step only where it lawfully follows."""
    asked = read(UpdateSubscriptionRequest, call.json)
    kept, at, before = call.environment, call.services.clock(), known(call)
    if asked.cancel_at is not None and asked.cancel_at_period_end:
        text = "cancel_at and cancel_at_period_end exclude each other"
        raise ValidationFailed(text, field="cancel_at")
    request = _planned(asked, before)
    if request is not None:
        done = cancel_subscription(kept.stores, kept.usage, before.id, request, at=at)
        return _shown(call, done.subscription)
    if asked.cancel_at_period_end is False:
        dropped = drop_cancellation(kept.stores, kept.usage, before.id, at=at)
        return _shown(call, dropped.subscription)
    if asked.status == "active" and before.status is SubscriptionStatus.DRAFT:
        return shown(_after(call, activate_subscription(kept.stores, before.id, at=at), at))
    return _shown(call, before)


def _planned(asked: UpdateSubscriptionRequest, before: Subscription) -> CancellationRequest | None:
    """Return the cancellation that a change asks for. Raises InvalidOperation for another status."""
    if asked.cancel_at is not None:
        return CancellationRequest(CancellationType.SCHEDULED_DATE, asked.cancel_at)
    if asked.cancel_at_period_end:
        return CancellationRequest(CancellationType.END_OF_PERIOD)
    if asked.status is None or asked.status == before.status:
        return None
    if asked.status == "cancelled":
        return CancellationRequest(CancellationType.IMMEDIATE)
    step = before.status is SubscriptionStatus.DRAFT and asked.status == "active"
    if not step:
        text = f"a subscription that is {before.status} does not become {asked.status} on request"
        raise InvalidOperation(text)
    return None


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/subscriptions"): Built(
        add_subscription, takes=CreateSubscriptionRequest, gives=SubscriptionResponse
    ),
    ("GET", "/v1/subscriptions/{id}"): Built(read_subscription, gives=SubscriptionResponse),
    ("PUT", "/v1/subscriptions/{id}"): Built(
        change_subscription, takes=UpdateSubscriptionRequest, gives=SubscriptionResponse
    ),
    ("POST", "/v1/subscriptions/{id}/activate"): Built(
        activate, takes=ActivateDraftSubscriptionRequest, gives=SubscriptionResponse
    ),
    ("POST", "/v1/subscriptions/{id}/cancel"): Built(
        cancel, takes=CancelSubscriptionRequest, gives=CancelSubscriptionResponse
    ),
    **subscription_search.BUILT,
    **entitled.BUILT,
    **subscription_lines.BUILT,
    **subscription_usage.BUILT,
}
