"""One-off invoices: what somebody asks for that no subscription bills, as a draft (billing.md 15.5).

Coupons and taxes are by the same rules as ever; amounts are settled line by line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.amounts import Terms, with_terms
from billing.invoices.drafting import with_settlement
from billing.pricing import explanation as explain
from billing.wallets.holdings import Holdings
from schemas.coupon import Coupon, CouponAttachment, CouponAttachmentId, CouponType
from schemas.errors import ValidationFailed
from schemas.ids import (
    CustomerId,
    Fact,
    InvoiceId,
    InvoiceLineId,
    SubscriptionId,
    SubscriptionLineId,
    derived,
)
from schemas.invoice import (
    BillingReason,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceType,
    PaymentStatus,
    Role,
)
from schemas.money import minor_units, settle, total
from schemas.period import Interval
from schemas.price import PriceType
from schemas.tax import TaxAttachment, TaxBase


@dataclass(frozen=True, slots=True)
class OneOffLine:
    """A line that is asked for; its amount is taken as it is, its quantity is shown."""

    amount: Decimal
    display_name: str = ""
    quantity: Decimal = Decimal(1)
    price_type: PriceType = PriceType.FIXED
    price_id: str | None = None
    meter_id: str | None = None
    period: Interval | None = None
    coupons: tuple[Coupon, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OneOffRequest:
    """An invoice that is asked for, with the coupons and taxes that it names or its customer has.

    `amount_due` and `subtotal` are what the caller makes of the lines, None where it does not say.
    `draft` keeps it open. Dates that are absent are those of its creation. `number` stands in no
    series. `payment_status` and `amount_paid` say what was paid already, None for nothing. `content`
    names what was asked for, to tell a repeat from another request.
    """

    customer_id: CustomerId
    currency: str
    lines: tuple[OneOffLine, ...] = ()
    amount_due: Decimal | None = None
    subtotal: Decimal | None = None
    invoice_type: InvoiceType = InvoiceType.ONE_OFF
    billing_reason: BillingReason = BillingReason.MANUAL
    issue_date: datetime | None = None
    due_date: datetime | None = None
    period: Interval | None = None
    coupons: tuple[Coupon, ...] = ()
    taxes: tuple[TaxAttachment, ...] = ()
    subscription_id: SubscriptionId | None = None
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    draft: bool = False
    idempotency_key: str | None = None
    number: str | None = None
    pdf_url: str = ""
    payment_status: PaymentStatus | None = None
    amount_paid: Decimal | None = None
    content: str | None = None


def check_one_off(request: OneOffRequest) -> None:
    """Refuse a request that contradicts itself: ValidationFailed, naming the field.

    Lines are at least 0, unless they buy credits, and their settled amounts sum to `amount_due` and
    `subtotal`. A coupon of a fixed amount is in the currency. A draft is not paid.
    Source: billing.md 15.5.
    """
    minor_units(request.currency)
    negative = any(line.amount < 0 for line in request.lines)
    if negative and request.invoice_type is not InvoiceType.CREDIT:
        raise ValidationFailed("a line must not be negative", field="line_items")
    added = total(settle(line.amount, request.currency) for line in request.lines)
    for name, told in (("amount_due", request.amount_due), ("subtotal", request.subtotal)):
        if told is not None and told != added:
            raise ValidationFailed(f"the lines sum to {added}, not {told}", field=name)
    for coupon in coupons_of(request):
        if coupon.type is CouponType.FIXED and coupon.currency != request.currency.lower():
            text = f"takes off {coupon.currency} and the invoice is in {request.currency.lower()}"
            raise ValidationFailed(text, field="coupons")
    if request.draft and request.payment_status is not None:
        raise ValidationFailed("a draft cannot be paid", field="payment_status")


def coupons_of(request: OneOffRequest) -> tuple[Coupon, ...]:
    """Return the coupons of an invoice and of its lines, each once."""
    every = [*request.coupons, *(each for line in request.lines for each in line.coupons)]
    return tuple({coupon.id: coupon for coupon in every}.values())


def keyed_id(key: str) -> InvoiceId:
    """Return the id of the invoice that a key stands for."""
    return InvoiceId(derived("inv", "one off", key))


def one_off_id(request: OneOffRequest, at: datetime, number: int) -> InvoiceId:
    """Return the id of an invoice: of its key, else of how many its customer had at an instant."""
    if request.idempotency_key is not None:
        return keyed_id(request.idempotency_key)
    return InvoiceId(derived("inv", "one off", request.customer_id, at, number))


def one_off(
    request: OneOffRequest,
    name: InvoiceId,
    at: datetime,
    *,
    kind: InvoiceKind = InvoiceKind.ONE_OFF,
    wallets: Sequence[Holdings] = (),
    tax_base: TaxBase = TaxBase.BEFORE_CREDITS,
) -> Invoice:
    """Return the draft of a request that was checked, with its discounts, credits and taxes.

    The ids of its lines name what was asked for, so that a repeated key shows whether it came with
    the same content. Somebody asked for it, so it is finalized even if it comes to nothing.
    """
    dated = request.issue_date or at
    period = request.period or Interval(dated, dated)
    lines = _lines(request, name, period)
    subtotal = total(line.amount for line in lines)
    blank = Invoice(
        id=name,
        customer_id=request.customer_id,
        subscription_id=request.subscription_id,
        kind=kind,
        billing_reason=request.billing_reason,
        currency=request.currency.lower(),
        period=period,
        dated_at=dated,
        finalize_at=at,
        lines=lines,
        subtotal=subtotal,
        total=subtotal,
        invoice_type=request.invoice_type,
        computed_at=at,
        created_at=at,
        due_date=request.due_date,
        requested=True,
        description=request.description,
        metadata=request.metadata,
        invoice_number=request.number,
        pdf_url=request.pdf_url,
        idempotency_key=request.idempotency_key,
        content=request.content,
    )
    terms = Terms(_attachments(request, lines, period.start), request.taxes, tax_base=tax_base)
    asked = () if request.invoice_type is InvoiceType.CREDIT else wallets
    return with_settlement(with_terms(blank, terms), asked, at)


def same_content(known: Invoice, request: OneOffRequest) -> bool:
    """Tell whether an invoice was made by the same request, whatever has become of it since."""
    if known.content is not None and request.content is not None:
        return known.content == request.content
    period = request.period or known.period
    asked = {line.id for line in _lines(request, known.id, period)}
    said = (request.customer_id, request.currency.lower(), request.invoice_type)
    return (
        asked == {line.id for line in known.lines}
        and said == (known.customer_id, known.currency, known.invoice_type)
        and request.description == known.description
        and (request.issue_date or known.dated_at) == known.dated_at
        and period == known.period
    )


def _lines(request: OneOffRequest, name: InvoiceId, period: Interval) -> tuple[InvoiceLine, ...]:
    """Return the lines of a request, each a chain of its own."""
    content = _content(request)
    return tuple(
        _line(request, InvoiceLineId(derived("inv_line", name, content, place)), line, period)
        for place, line in enumerate(request.lines)
    )


def _line(
    request: OneOffRequest, name: InvoiceLineId, line: OneOffLine, period: Interval
) -> InvoiceLine:
    amount = settle(line.amount, request.currency)
    currency = request.currency.lower()
    return InvoiceLine(
        id=name,
        subscription_line_id=None,
        chain_id=name,
        role=Role.FIXED,
        price_id=line.price_id,
        price_type=line.price_type,
        display_name=line.display_name,
        quantity=line.quantity,
        amount=amount,
        period=line.period or period,
        explanation=explain.explained(Role.FIXED, currency, line.amount, amount),
        meter_id=line.meter_id,
        metadata=line.metadata,
    )


def _content(request: OneOffRequest) -> str:
    """Return a name for what the lines and coupons of a request say."""
    facts: list[Fact] = [coupon.id for coupon in request.coupons]
    for line in request.lines:
        facts += ["line", line.display_name, line.amount, line.quantity, line.price_type.value]
        facts += [coupon.id for coupon in line.coupons]
    return derived("content", *facts)


def _attachments(
    request: OneOffRequest, lines: Sequence[InvoiceLine], start: datetime
) -> tuple[CouponAttachment, ...]:
    """Return the coupons of a request as they take part: of the whole invoice, or of one line."""

    def attached(coupon: Coupon, chain: str | None, place: int) -> CouponAttachment:
        name = derived("coupon_assoc", *(line.id for line in lines[:1]), coupon.id, chain, place)
        chain_id = None if chain is None else SubscriptionLineId(chain)
        made = CouponAttachment(CouponAttachmentId(name), coupon, start, chain_id=chain_id)
        return replace(made, subscription_id=request.subscription_id)

    whole = {coupon.id: coupon for coupon in request.coupons}
    found = [attached(coupon, None, place) for place, coupon in enumerate(whole.values())]
    for asked, line in zip(request.lines, lines, strict=True):
        own = {coupon.id: coupon for coupon in asked.coupons}
        found += [
            attached(coupon, line.chain_id, place) for place, coupon in enumerate(own.values())
        ]
    return tuple(found)
