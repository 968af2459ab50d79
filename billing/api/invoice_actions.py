"""What requests about invoices name, made into what the use cases take."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from billing.api.environment import Environment
from billing.catalog import hanging_on, live
from billing.invoices.one_off import OneOffLine, OneOffRequest
from billing.ports.objects import ObjectStore, Record
from schemas.api.requests.invoices import CreateInvoiceLineItemRequest, CreateInvoiceRequest
from schemas.coupon import Coupon
from schemas.decimals import plain
from schemas.errors import NotFound, ValidationFailed
from schemas.ids import CustomerId, SubscriptionId, derived
from schemas.invoice import BillingReason, InvoiceType, PaymentStatus
from schemas.object_query import Condition, Operator
from schemas.period import Interval
from schemas.price import PriceType
from schemas.tax import (
    TaxAttachment,
    TaxAttachmentId,
    TaxEntityType,
    TaxRateId,
    tax_attachment_from,
)

# Why an invoice can be made that no subscription bills; others are told as made by hand.
REASONS = frozenset(BillingReason)


def one_off_of(environment: Environment, asked: CreateInvoiceRequest) -> OneOffRequest:
    """Return the invoice of a request, with the coupons and taxes that it names or its customer has.

    Raises NotFound for the customer, and ValidationFailed for whatever else names nothing.
    """
    customer = environment.objects.customers.get(asked.customer_id)
    if customer is None or not customer.is_live:
        raise NotFound(f"there is no customer {asked.customer_id}")
    _check_names(environment, asked)
    status, paid = _paid(asked)
    return OneOffRequest(
        customer_id=CustomerId(asked.customer_id),
        currency=asked.currency.lower(),
        lines=_lines(environment, asked),
        amount_due=asked.amount_due,
        subtotal=asked.subtotal,
        invoice_type=InvoiceType(asked.invoice_type),
        billing_reason=_reason(asked.billing_reason),
        issue_date=asked.issue_date,
        due_date=asked.due_date,
        period=_period(asked.period_start, asked.period_end, ""),
        coupons=_coupons(environment, asked),
        taxes=_taxes(environment, asked),
        subscription_id=SubscriptionId(asked.subscription_id) if asked.subscription_id else None,
        description=asked.description,
        metadata=asked.metadata,
        draft=asked.invoice_status == "DRAFT",
        idempotency_key=asked.idempotency_key,
        number=asked.invoice_number,
        pdf_url=asked.invoice_pdf_url,
        payment_status=status,
        amount_paid=paid,
        content=content_of(asked),
    )


def content_of(asked: CreateInvoiceRequest) -> str:
    """Return a name for what a request says, its key aside: decimals by value, absent as null."""
    said = asked.model_dump(exclude={"idempotency_key"}, exclude_none=True)
    return derived("content", json.dumps(said, sort_keys=True, default=_by_value))


def _by_value(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)


def _check_names(environment: Environment, asked: CreateInvoiceRequest) -> None:
    """Refuse a subscription, a price or a meter that there is not, naming its place."""
    named: set[str] = {"", *(each.subscription_id or "" for each in asked.line_items)}
    named.add(asked.subscription_id or "")
    known = environment.reader.subscriptions_by_id([SubscriptionId(each) for each in named])
    agreed = [line for each in known.values() for line in each.lines]
    prices = {line.price.id for line in agreed}
    meters = {line.meter.id for line in agreed if line.meter is not None}
    prices |= set(environment.objects.prices.those(_said(asked.line_items, "price_id") - prices))
    meters |= set(environment.objects.meters.those(_said(asked.line_items, "meter_id") - meters))
    _check("subscription_id", asked.subscription_id, known)
    for place, line in enumerate(asked.line_items):
        _check(f"line_items.{place}.subscription_id", line.subscription_id, known)
        _check(f"line_items.{place}.price_id", line.price_id, prices)
        _check(f"line_items.{place}.meter_id", line.meter_id, meters)


def _said(lines: Sequence[CreateInvoiceLineItemRequest], member: str) -> set[str]:
    """Return what lines name in a member."""
    return {getattr(line, member) for line in lines} - {None}


def _check(place: str, name: str | None, known: Iterable[str]) -> None:
    if name and name not in set(known):
        raise ValidationFailed(f"there is no {name}", field=place)


def _reason(word: str) -> BillingReason:
    """Return why an invoice is made; a word that billing has no use for is told as by hand."""
    return BillingReason(word) if word in REASONS else BillingReason.MANUAL


def _period(start: datetime | None, end: datetime | None, place: str) -> Interval | None:
    """Return a period of which one end is enough, None without both. Raises ValidationFailed."""
    first, last = start or end, end or start
    if first is None or last is None:
        return None
    if last < first:
        raise ValidationFailed("must not be before period_start", field=f"{place}period_end")
    return Interval(first, last)


def _lines(environment: Environment, asked: CreateInvoiceRequest) -> tuple[OneOffLine, ...]:
    """Return the lines of a request, each with the coupons of its price."""
    prices = _said(asked.line_items, "price_id")
    for place, each in enumerate(asked.line_item_coupons):
        if each.line_item_id not in prices:
            text = f"no line has the price {each.line_item_id}"
            raise ValidationFailed(text, field=f"line_item_coupons.{place}.line_item_id")
    names = [each.coupon_id for each in asked.line_item_coupons]
    found = _those(environment.objects.coupons, names, "line_item_coupons")
    granted: dict[str, list[Coupon]] = {}
    for each in asked.line_item_coupons:
        granted.setdefault(each.line_item_id, []).append(found[each.coupon_id])
    return tuple(
        OneOffLine(
            amount=line.amount,
            display_name=line.display_name,
            quantity=line.quantity,
            price_type=PriceType(line.price_type or PriceType.FIXED),
            price_id=line.price_id,
            meter_id=line.meter_id,
            period=_period(line.period_start, line.period_end, f"line_items.{place}."),
            coupons=tuple(granted.get(line.price_id or "", ())),
            metadata=line.metadata,
        )
        for place, line in enumerate(asked.line_items)
    )


def _coupons(environment: Environment, asked: CreateInvoiceRequest) -> tuple[Coupon, ...]:
    """Return the coupons of the whole invoice, in the order in which they are named."""
    coupons = environment.objects.coupons
    found = _those(coupons, asked.coupons, "coupons")
    named = [each.coupon_id for each in asked.invoice_coupons]
    return tuple({**found, **_those(coupons, named, "invoice_coupons")}.values())


def _those(store: ObjectStore[Record], names: Sequence[str], place: str) -> Mapping[str, Record]:
    """Return the live objects of some ids. Raises ValidationFailed for one that there is not."""
    found = store.those(names) if names else {}
    for name in names:
        if name not in found or not found[name].is_live:
            raise ValidationFailed(f"there is no {name}", field=place)
    return {name: found[name].record for name in names}


def _taxes(environment: Environment, asked: CreateInvoiceRequest) -> tuple[TaxAttachment, ...]:
    """Return the taxes of an invoice: those that are named, else those of its customer."""
    if asked.tax_rate_overrides is None and not asked.tax_rates:
        return customer_taxes(environment, asked.customer_id)
    rates = _those(environment.objects.tax_rates, asked.tax_rates, "tax_rates")
    made = [
        TaxAttachment(_attachment_id(asked, rate.id), rate, priority=place)
        for place, rate in enumerate(rates.values())
    ]
    for place, override in enumerate(asked.tax_rate_overrides or ()):
        known = environment.objects.tax_rates.by_lookup(override.tax_rate_code)
        if known is None:
            text = f"there is no tax rate {override.tax_rate_code!r}"
            raise ValidationFailed(text, field=f"tax_rate_overrides.{place}.tax_rate_code")
        name = _attachment_id(asked, known.record.id)
        made.append(tax_attachment_from(override, known.record, id=name))
    return tuple(made)


def _attachment_id(asked: CreateInvoiceRequest, rate_id: TaxRateId) -> TaxAttachmentId:
    """Return the id of a rate's attachment to one invoice alone."""
    return TaxAttachmentId(derived("ta", "invoice", asked.customer_id, rate_id))


def customer_taxes(environment: Environment, customer_id: str) -> tuple[TaxAttachment, ...]:
    """Return the taxes that a customer has, each with its rate. Source: billing.md 14."""
    objects = environment.objects
    of_customers = Condition("entity_type", Operator.EQ, TaxEntityType.CUSTOMER.value)
    known = live(objects.tax_associations, hanging_on(customer_id), of_customers)
    rates = objects.tax_rates.those([each.record.tax_rate_id for each in known])
    return tuple(
        each.record.attachment(rates[each.record.tax_rate_id].record)
        for each in known
        if each.record.tax_rate_id in rates
    )


def _paid(asked: CreateInvoiceRequest) -> tuple[PaymentStatus | None, Decimal | None]:
    """Return what a request says of the payment of its invoice: nothing, a state, an amount."""
    status = PaymentStatus(asked.payment_status or PaymentStatus.PENDING)
    if not asked.amount_paid:
        return (None if status is PaymentStatus.PENDING else status), None
    if asked.payment_status is None and asked.amount_paid >= asked.total:
        status = PaymentStatus.SUCCEEDED
    return status, asked.amount_paid
