"""Adapters for invoice.json: how subscriptions go live and end, what becomes of invoices."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.invoices.adjusting import adjustment_amount
from billing.invoices.numbers import NumberFormat, Numbering, next_number
from billing.invoices.voiding import void_refund
from billing.periods.due_dates import due_date
from billing.pricing.allowances import Allowance, WindowUsage, cover_windows
from billing.pricing.commitments import Committed, commit, worth
from billing.pricing.ladders import cost
from billing.subscriptions.activation import activation_action
from billing.subscriptions.cancelling import cancellation
from schemas.cancellation import (
    CancellationInvoicePolicy,
    CancellationRequest,
    CancellationType,
)
from schemas.collection import CollectionMethod, PaymentBehavior, PaymentTerms
from schemas.commitment import Commitment, CommitmentType
from schemas.decimals import plain
from schemas.errors import Refused
from schemas.invoice import InvoiceStatus, PaymentStatus
from schemas.money import settle
from schemas.period import Interval
from schemas.price import Price
from schemas.price_request import PriceRequest, price_from
from schemas.subscription import ProrationBehavior, SubscriptionStatus, after

FILES = ("invoice.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]

# What a price of the vectors leaves out.
REST = {"type": "USAGE", "currency": "usd", "billing_period": "MONTHLY", "meter_id": "meter"}


def _refusing(adapter: Callable[[Body], Answer]) -> Callable[[Body], Answer]:
    """Answer a refusal with its code."""

    def answer(body: Body) -> Answer:
        try:
            return adapter(body)
        except Refused as refused:
            return {"error": refused.code}

    return answer


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _activation(body: Body) -> Answer:
    action = activation_action(
        CollectionMethod(body["collection_method"]),
        PaymentBehavior(body["payment_behavior"]),
        Decimal(body["amount_due"]),
        paid=body["paid"],
    )
    return {"subscription_status": after(SubscriptionStatus.DRAFT, action)}


def _cancellation(body: Body) -> Answer:
    start, end = body["current_period"]
    policy = body["invoice_policy"] or CancellationInvoicePolicy.GENERATE_INVOICE
    request = CancellationRequest(
        CancellationType(body["type"]),
        None if body["cancel_at"] is None else _instant(body["cancel_at"]),
        invoice_policy=CancellationInvoicePolicy(policy),
    )
    found = cancellation(
        request,
        status=SubscriptionStatus(body["subscription_status"]),
        current_period=Interval(_instant(start), _instant(end)),
        proration_behavior=ProrationBehavior(body["proration_behavior"]),
        now=_instant(body["now"]),
    )
    return {
        "effective_at": found.effective_at.isoformat(),
        "subscription_status": found.status,
        "invoice": found.invoice,
        "refund": found.refund,
    }


def _committed(body: Body | None, price: Price, used: Decimal) -> Committed:
    """Return the parts of a line: all of it is within where nothing was promised."""
    if body is None:
        return Committed(Fraction(used))
    promised = Commitment(
        CommitmentType(body["type"]),
        Decimal(body["value"]),
        Decimal(body["overage_factor"]),
        body["true_up"],
    )
    part, whole = body["prorate"]
    measured = Fraction(worth(price, promised)) * Fraction(part) / Fraction(whole)
    return commit(used, measured, promised.overage_factor, true_up=promised.true_up)


def _adjust(body: Body) -> Answer:
    given = body["allowance"]
    allowance = given and Allowance(given["limit"], Decimal(given["used_before"]))
    usage = WindowUsage(None, None, allowance, Decimal(body["usage"]))
    billable = cover_windows([usage]).billable
    price = price_from(PriceRequest.model_validate({**REST, **body["price"]}), id="price")
    parts = _committed(body["commitment"], price, cost(price, billable).amount)
    correct = settle(parts.exact, body["currency"])
    billed = [Decimal(amount) for amount in body["billed"]]
    return {
        "billable": plain(billable),
        "line_amount": plain(correct),
        "adjustment": plain(adjustment_amount(correct, billed)),
    }


def _invoice_number(body: Body) -> Answer:
    numbering = Numbering(
        prefix=body["prefix"],
        format=NumberFormat(body["format"]),
        separator=body["separator"],
        suffix_length=int(body["suffix_length"]),
        timezone=body["timezone"],
    )
    last = int(body["sequence"]) - 1
    return {"number": next_number(numbering, _instant(body["invoice_date"]), last).text}


def _due_date(body: Body) -> Answer:
    terms, days = body["payment_terms"], body["due_date_days"]
    end = _instant(body["period_end"])
    due = due_date(
        end,
        body["timezone"],
        terms=None if terms is None else PaymentTerms(terms),
        due_date_days=None if days is None else int(days),
        finalized_at=end,
    )
    return {"due_date": due.isoformat()}


def _void_invoice(body: Body) -> Answer:
    found = void_refund(
        InvoiceStatus(body["invoice_status"]),
        PaymentStatus(body["payment_status"]),
        amount_paid=Decimal(body["amount_paid"]),
        credits_applied=Decimal(body["credits_applied"]),
        refunded=Decimal(body["refunded"]),
    )
    return {
        "refund": plain(found.refund),
        "credits_returned": plain(found.credits_returned),
        "payment_status": found.payment_status,
    }


OPS = {
    "activation": _refusing(_activation),
    "cancellation": _refusing(_cancellation),
    "adjust": _refusing(_adjust),
    "invoice_number": _refusing(_invoice_number),
    "due_date": _refusing(_due_date),
    "void_invoice": _refusing(_void_invoice),
}
