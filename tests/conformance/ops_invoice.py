"""Adapters for invoice.json: the invoices of a subscription, and the table of their states."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from billing.invoices.closing import closing_action
from billing.invoices.drafting import draft
from billing.invoices.payments import paid_state
from billing.periods.services import schedule_of, windows
from billing.ports import UsageQuantity
from billing.subscriptions.subscribing import line_quantity
from schemas.decimals import plain
from schemas.errors import Refused
from schemas.ids import CustomerId, SubscriptionId, SubscriptionLineId
from schemas.invoice import Invoice, InvoiceAction, InvoiceStatus
from schemas.invoice import after as invoice_after
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.period import Interval
from schemas.price import (
    BillingModel,
    BillingPeriod,
    InvoiceCadence,
    Price,
    PriceType,
    Rounding,
    Tier,
    TierMode,
    TransformQuantity,
)
from schemas.subscription import (
    BillingCycle,
    ProrationBehavior,
    ProrationStrategy,
    Subscription,
    SubscriptionAction,
    SubscriptionLine,
    SubscriptionStatus,
)
from schemas.subscription import after as subscription_after

FILES = ("invoice.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


class SameEverywhere:
    """A reader whose meters have the quantity of their line in every interval."""

    def __init__(self, quantities: Mapping[str, Decimal]) -> None:
        self._quantities = quantities

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return it."""
        assert interval.start < interval.end
        value = self._quantities[meter.id]
        return UsageQuantity(value, value, 1)


def _price(body: Body, line: Body, currency: str) -> Price:
    package, mode = body.get("transform_quantity"), body.get("tier_mode")
    return Price(
        id=line["id"],
        type=PriceType(line["price_type"]),
        billing_model=BillingModel(body["billing_model"]),
        currency=currency,
        amount=Decimal(body.get("amount") or 0),
        tiers=tuple(
            Tier(tier["up_to"], Decimal(tier["unit_amount"]), Decimal(tier["flat_amount"]))
            for tier in body.get("tiers") or ()
        ),
        tier_mode=TierMode(mode) if mode else None,
        transform_quantity=TransformQuantity(int(package["divide_by"]), Rounding(package["round"]))
        if package
        else None,
        billing_period=BillingPeriod(line["billing_period"]),
        billing_period_count=int(line["billing_period_count"]),
        invoice_cadence=InvoiceCadence(line["invoice_cadence"]),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _lines(body: Body) -> tuple[SubscriptionLine, ...]:
    start = datetime.fromisoformat(body["subscription"]["start"])
    made: dict[str, SubscriptionLine] = {}
    for line in body["lines"]:
        name = SubscriptionLineId(line["id"])
        begins = _instant(line["start"]) or start
        before = made.get(line["replaces"] or "")
        usage = line["price_type"] == "USAGE"
        count = Aggregation(AggregationType.COUNT)
        made[name] = SubscriptionLine(
            id=name,
            chain_id=before.chain_id if before else name,
            price=_price(line["price"], line, body["currency"]),
            display_name=name,
            start_date=begins,
            chain_start=before.chain_start if before else begins,
            end_date=_instant(line["end"]),
            quantity=Decimal(line["quantity"]),
            meter=Meter(name, "t", "e", name, name, count) if usage else None,
            replaces=before.id if before else None,
        )
    return tuple(made.values())


def _subscription(body: Body) -> Subscription:
    given = body["subscription"]
    return Subscription(
        id=SubscriptionId("subscription"),
        customer_id=CustomerId("customer"),
        external_customer_id="customer",
        currency=body["currency"],
        start_date=datetime.fromisoformat(given["start"]),
        billing_period=BillingPeriod(given["billing_period"]),
        billing_period_count=int(given["billing_period_count"]),
        billing_cycle=BillingCycle(given["billing_cycle"]),
        billing_anchor=_instant(given["billing_anchor"]),
        end_date=_instant(given["end"]),
        cancelled_at=_instant(body["cancel_at"]),
        timezone=given["timezone"],
        proration_behavior=ProrationBehavior(given["proration_behavior"]),
        proration_strategy=ProrationStrategy(given["proration_strategy"]),
        lines=_lines(body),
    )


def _invoices(body: Body) -> Answer:
    try:
        subscription = _subscription(body)
        schedule_of(replace(subscription, cancelled_at=None))
        usage = SameEverywhere({line["id"]: Decimal(line["quantity"]) for line in body["lines"]})
        forever = subscription.start_date + timedelta(days=36500)
        skip, take = int(body["skip"]), int(body["take"])
        made = []
        billed: set[Any] = set()
        for window in islice(windows(subscription, forever), skip + take):
            invoice = draft(subscription, window, usage, (), as_of=forever, billed=billed)
            billed |= {
                (line.chain_id, line.period.start, line.period.end, line.role)
                for line in invoice.lines
            }
            made.append(invoice)
        return {"invoices": [_shown(invoice) for invoice in made[skip:]]}
    except Refused as refused:
        return {"error": refused.code}


def _shown(invoice: Invoice) -> Answer:
    lines = sorted(invoice.lines, key=lambda line: (line.subscription_line_id, line.period.start))
    return {
        "kind": invoice.kind,
        "period": [invoice.period.start.isoformat(), invoice.period.end.isoformat()],
        "lines": [
            {
                "id": line.subscription_line_id,
                "start": line.period.start.isoformat(),
                "end": line.period.end.isoformat(),
                "amount": plain(line.amount),
            }
            for line in lines
        ],
        "total": plain(invoice.subtotal),
    }


def _line_quantity(body: Body) -> Answer:
    least = body["min_quantity"]
    requested = body["requested"]
    price = Price(
        id="price",
        type=PriceType(body["price_type"]),
        billing_model=BillingModel.FLAT_FEE,
        currency="usd",
        min_quantity=None if least is None else int(least),
    )
    try:
        asked = None if requested is None else Decimal(requested)
        return {"quantity": plain(line_quantity(price, asked))}
    except Refused as refused:
        return {"error": refused.code}


def _finalize(body: Body) -> Answer:
    amounts = [Decimal(amount) for amount in body["lines"]]
    action = closing_action(amounts, requested=body["requested"])
    status = invoice_after(InvoiceStatus.DRAFT, action)
    # A skipped invoice has nothing to pay, whatever it adds up to.
    due = Decimal(0) if status is InvoiceStatus.SKIPPED else Decimal(body["total"])
    return {"invoice_status": status, "payment_status": paid_state(due, []).payment_status}


def _transition(body: Body) -> Answer:
    state, action = body["state"], body["action"]
    try:
        if body["machine"] == "invoice":
            return {"state": invoice_after(InvoiceStatus(state), InvoiceAction(action))}
        assert body["machine"] == "subscription", "credit notes come later"
        done = subscription_after(SubscriptionStatus(state), SubscriptionAction(action))
    except Refused as refused:
        return {"error": refused.code}
    return {"state": done}


OPS = {
    "finalize": _finalize,
    "transition": _transition,
    "invoices": _invoices,
    "line_quantity": _line_quantity,
}
