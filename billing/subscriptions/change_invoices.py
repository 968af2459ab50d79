"""The invoice of a change: all its credits and charges as lines, each explained (billing.md 6, 18)."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.invoices.adjusting import ADJUSTS_LINE_ID, ADJUSTS_ROLE
from billing.invoices.amounts import Terms, with_terms
from billing.invoices.drafting import ServiceKey
from billing.pricing import explanation as explain
from billing.pricing.explanation import Explained
from billing.subscriptions.changing import ChargePart, CreditPart, Part, SettledChange
from schemas.ids import InvoiceId, InvoiceLineId, derived
from schemas.invoice import (
    BillingReason,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceType,
    Role,
)
from schemas.money import total
from schemas.period import Interval
from schemas.subscription import Subscription


def change_invoice_id(subscription: Subscription, change_id: str) -> InvoiceId:
    """Return the id of the invoice of a change: the same change, the same invoice."""
    return InvoiceId(derived("inv", subscription.id, InvoiceKind.CHANGE.value, change_id))


def change_invoice(
    subscription: Subscription,
    settled: SettledChange,
    *,
    change_id: str,
    effective_at: datetime,
    at: datetime,
    terms: Terms,
    billed: Collection[ServiceKey] = (),
) -> Invoice:
    """Return the draft of a change's invoice, with its discounts; it is finalized at once.

    `terms` are the coupons and taxes that it has, `billed` the services on invoices that are not
    void. Of a service that is billed already, because a version was replaced where it began, the
    charge is an adjustment. Source: billing.md 6 and 15.4.
    """
    name = change_invoice_id(subscription, change_id)
    credited = [_credit_line(name, subscription, each) for each in settled.credits]
    charged = [_charge_line(name, subscription, each, billed) for each in settled.charges]
    lines = (*credited, *charged)
    subtotal = total(line.amount for line in lines)
    blank = Invoice(
        id=name,
        customer_id=subscription.payer_id,
        subscription_id=subscription.id,
        kind=InvoiceKind.CHANGE,
        billing_reason=BillingReason.SUBSCRIPTION_UPDATE,
        currency=subscription.currency.lower(),
        period=Interval(effective_at, max(effective_at, settled.until)),
        dated_at=effective_at,
        finalize_at=at,
        lines=lines,
        subtotal=subtotal,
        total=subtotal,
        invoice_type=InvoiceType.ONE_OFF,
        computed_at=at,
        created_at=at,
    )
    return with_terms(blank, terms)


def _credit_line(name: InvoiceId, subscription: Subscription, given: CreditPart) -> InvoiceLine:
    """Return the line that gives back what is not used of an earlier line, as its adjustment."""
    part, taken = given.part, given.charged
    amount = given.amount.copy_negate()
    # What is bounded by what was charged has nothing left to round.
    exact = amount if given.amount < given.unused else _exact(part) * -1
    told = _explained(Role.ADJUSTMENT, subscription, part, exact, amount)
    told["change"] = {
        "unused": f"{given.unused:f}",
        "charged": f"{taken.charged:f}",
        "credited_before": f"{taken.credited:f}",
    }
    return replace(
        _line(name, part, Role.ADJUSTMENT, amount, told),
        quantity=part.line.quantity.copy_negate(),
        metadata={ADJUSTS_LINE_ID: taken.line_id or "", ADJUSTS_ROLE: Role.FIXED.value},
    )


def _charge_line(
    name: InvoiceId, subscription: Subscription, charge: ChargePart, billed: Collection[ServiceKey]
) -> InvoiceLine:
    """Return the line that charges for the rest of a period."""
    part = charge.part
    again = (part.line.chain_id, part.period.start, part.period.end, Role.FIXED) in billed
    role = Role.ADJUSTMENT if again else Role.FIXED
    told = _explained(role, subscription, part, _exact(part), charge.amount)
    line = _line(name, part, role, charge.amount, told)
    return replace(line, metadata={ADJUSTS_ROLE: Role.FIXED.value}) if again else line


def _exact(part: Part) -> Fraction:
    """Return what a part costs, unrounded."""
    return Fraction(part.cost.amount) * part.proration.coefficient


def _explained(
    role: Role, subscription: Subscription, part: Part, exact: Decimal | Fraction, amount: Decimal
) -> Explained:
    """Return how the cost of a full period and its part come to an amount."""
    line, measured = part.line, part.proration
    how = explain.priced(
        line.price, part.period, line.quantity, part.cost.components, part.cost.amount
    )
    return explain.explained(
        role,
        subscription.currency.lower(),
        exact,
        amount,
        pricing=[how],
        prorated=measured if measured.coefficient < 1 else None,
    )


def _line(name: InvoiceId, part: Part, role: Role, amount: Decimal, told: Explained) -> InvoiceLine:
    """Return the invoice line of a part, whose id follows from the line, the part and its side."""
    line, period = part.line, part.period
    side = "credit" if amount < 0 else "charge"
    return InvoiceLine(
        id=InvoiceLineId(derived("inv_line", name, line.id, period.start, period.end, side)),
        subscription_line_id=line.id,
        chain_id=line.chain_id,
        role=role,
        price_id=line.price.id,
        price_type=line.price.type,
        display_name=line.display_name,
        quantity=line.quantity,
        amount=amount,
        period=period,
        explanation=told,
    )
