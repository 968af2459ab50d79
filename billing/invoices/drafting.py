"""Drafting: from a subscription, its usage and its wallets to an invoice.

Preview, draft and final invoice are this one function: the same inputs give the same lines to the
byte. Nothing is stored and no clock is read (billing.md 8 and 15.5).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from billing.invoices.amounts import NO_TERMS, Terms, with_taxes, with_terms
from billing.periods.services import FINALIZATION_DELAY, Service, Window, as_known, services
from billing.ports import UsageReader
from billing.pricing.charging import Charge, Charging
from billing.pricing.committing import charges
from billing.pricing.explanation import with_credits
from billing.wallets.holdings import Holdings
from billing.wallets.settlement import NetLine, Settlement, Take, prepaid_credits, settle_invoice
from schemas.ids import InvoiceId, InvoiceLineId, derived
from schemas.invoice import CreditOnLine, Invoice, InvoiceLine, Role
from schemas.money import LOSSLESS, total
from schemas.subscription import Subscription

ServiceKey = tuple[str, datetime, datetime, Role]


def invoice_id(subscription: Subscription, window: Window, generation: int = 0) -> InvoiceId:
    """Return the id of the invoice of a window: the same facts, the same invoice.

    `generation` is the number of voided predecessors. Source: billing.md 15.6.
    """
    facts = (subscription.id, window.kind.value, window.period.start, window.period.end)
    return InvoiceId(derived("inv", *facts, generation))


def line_id(
    invoice: InvoiceId, chain_id: str, start: datetime, end: datetime, role: str
) -> InvoiceLineId:
    """Return the id of the line of a service on an invoice (billing.md 15.6)."""
    return InvoiceLineId(derived("inv_line", invoice, chain_id, start, end, role))


def service_key(line: InvoiceLine) -> ServiceKey:
    """Return what may be on one invoice only, as long as that is not void (billing.md 15.6)."""
    return line.chain_id, line.period.start, line.period.end, line.role


def draft(
    subscription: Subscription,
    window: Window,
    usage: UsageReader,
    wallets: Sequence[Holdings] | None,
    *,
    as_of: datetime,
    billed: Collection[ServiceKey] = (),
    delay: timedelta = FINALIZATION_DELAY,
    generation: int = 0,
    terms: Terms = NO_TERMS,
    adjustments: Sequence[InvoiceLine] = (),
) -> Invoice:
    """Return the invoice of a window, with the usage before `as_of` and what wallets would give.

    `billed` are the services on invoices that are not void: they are not billed again. `terms` are
    its coupons and taxes, `adjustments` the lines that correct earlier invoices, with the line
    discounts that they have. Wallets give what they would give at `as_of`; nothing is taken. With
    None it is not settled: who finalizes it does that, on what wallets hold then.
    Source: billing.md 8, 11, 13 to 16.
    """
    known = as_known(subscription, window.dated_at)
    charging = Charging(known, usage, as_of)
    name = invoice_id(subscription, window, generation)
    charged = charges(charging, services(subscription, window), window.arrear)
    made = (_line(name, service, charge) for service, charge in charged)
    lines = [*(line for line in made if service_key(line) not in billed), *adjustments]
    subtotal = total(line.amount for line in lines)
    blank = Invoice(
        id=name,
        customer_id=subscription.payer_id,
        subscription_id=subscription.id,
        kind=window.kind,
        billing_reason=window.reason,
        currency=subscription.currency.lower(),
        period=window.period,
        dated_at=window.dated_at,
        finalize_at=window.finalize_at(delay),
        lines=tuple(lines),
        subtotal=subtotal,
        total=subtotal,
        computed_at=as_of,
        created_at=as_of,
        generation=generation,
    )
    agreed = with_terms(blank, terms)
    return agreed if wallets is None else with_settlement(agreed, wallets, as_of)


def with_settlement(invoice: Invoice, wallets: Sequence[Holdings], at: datetime) -> Invoice:
    """Return an invoice with the prepaid credits that wallets would give at an instant, and tax.

    Payments are no part of a draft: they follow its finalization. Source: wallets-alerts.md 7.
    """
    return settled_at(invoice, wallets, at)[0]


def settled_at(
    invoice: Invoice, wallets: Sequence[Holdings], at: datetime
) -> tuple[Invoice, Settlement]:
    """Return an invoice settled at an instant, and what its settlement takes from wallets.

    Credits first, then tax, which may be on what they leave; payments are in the settlement alone.
    Source: billing.md 15.1, wallets-alerts.md 7.
    """
    nets, end = net_lines(invoice), period_end(invoice)
    prepaid = prepaid_credits(nets, wallets, at, currency=invoice.currency, period_end=end)
    taxed = with_taxes(invoice, prepaid.total)
    settled = settle_invoice(
        nets,
        wallets,
        at,
        currency=invoice.currency,
        period_end=end,
        tax=taxed.total_tax,
        prepaid=prepaid,
    )
    lines = tuple(map(_credited, invoice.lines, settled.prepaid.lines))
    drafted = replace(
        taxed,
        lines=lines,
        total_prepaid_credits_applied=settled.prepaid.total,
        total=settled.total,
        carried_credit=settled.carried_credit,
        amount_remaining=settled.total,
    )
    return drafted, settled


def _credited(line: InvoiceLine, takes: Sequence[Take]) -> InvoiceLine:
    """Return a line with what wallets give for it, and an explanation that tells of it."""
    given = tuple(CreditOnLine(take.wallet_id, take.amount) for take in takes)
    if given == line.credits:
        return line
    return replace(line, credits=given, explanation=with_credits(dict(line.explanation), given))


def net_lines(invoice: Invoice) -> tuple[NetLine, ...]:
    """Return the lines of an invoice as a settlement sees them: less their discounts."""
    return tuple(
        NetLine(
            line.price_type,
            LOSSLESS.subtract(line.amount, LOSSLESS.add(line.line_discount, line.invoice_discount)),
        )
        for line in invoice.lines
    )


def period_end(invoice: Invoice) -> datetime:
    """Return the end of the service period that an invoice claims lots for."""
    return invoice.period.end


def _line(name: InvoiceId, service: Service, charge: Charge) -> InvoiceLine:
    """Return the invoice line of a charge."""
    line, price = service.line, service.line.price
    period = service.period
    return InvoiceLine(
        id=line_id(name, line.chain_id, period.start, period.end, charge.role.value),
        subscription_line_id=line.id,
        chain_id=line.chain_id,
        role=charge.role,
        price_id=price.id,
        price_type=price.type,
        display_name=line.display_name,
        quantity=charge.quantity,
        amount=charge.amount,
        period=service.period,
        explanation=charge.explanation,
        covered_quantity=charge.covered,
        meter_id=line.meter.id if line.meter else None,
        metadata=charge.metadata,
    )
