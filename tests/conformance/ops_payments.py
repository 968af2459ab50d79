"""Adapter for payments.json: the stories of one invoice and its payments.

The other ops of the file are in ops_settlement.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.invoices.paying import (
    Payable,
    answered,
    check_deletable,
    corrected,
    create_payment,
    noticed,
    process_payment,
)
from billing.invoices.payments import paid_state
from schemas.decimals import plain
from schemas.errors import NotFound, Refused
from schemas.ids import InvoiceId, PaymentId
from schemas.payment import GatewayResult, InvoicePayment, Notice, PaymentRequest, PaymentState

FILES = ("payments.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]

AT = datetime(2026, 1, 1, tzinfo=UTC)
ANSWERS = {"approve": GatewayResult.SUCCEEDED, "decline": GatewayResult.FAILED}


@dataclass
class Story:
    """An invoice and its payments, as a store would have them."""

    due: Payable
    payments: dict[str, InvoicePayment] = field(default_factory=dict)
    made: int = 0

    def rows(self) -> list[InvoicePayment]:
        return list(self.payments.values())

    def keep(self, payment: InvoicePayment, gateway: str | None) -> str:
        """Keep a payment, and what its gateway answers if it is being tried."""
        if payment.state is PaymentState.PROCESSING and gateway in ANSWERS:
            payment = answered(payment, ANSWERS[gateway], AT)
        self.payments[payment.id] = payment
        return payment.id

    def of(self, step: Body) -> InvoicePayment:
        try:
            return self.payments[step["payment"]]
        except KeyError:
            raise NotFound("no such payment") from None

    def create(self, step: Body) -> tuple[str, str]:
        request = PaymentRequest.model_validate(
            {
                "destination_id": "invoice",
                "payment_method_type": step["method"],
                "amount": step["amount"],
                "currency": step["currency"],
                "idempotency_key": step["key"],
                "process_payment": step["process"],
            }
        )
        keyed = [row for row in self.rows() if step["key"] and row.idempotency_key == step["key"]]
        payment = create_payment(
            self.due,
            request,
            self.rows(),
            AT,
            payment_id=PaymentId(f"p{self.made + 1}"),
            recorded=keyed[0] if keyed else None,
        )
        if keyed:
            return "replayed", payment.id
        self.made += 1
        return "ok", self.keep(payment, step["gateway"])

    def process(self, step: Body) -> tuple[str, str]:
        payment = process_payment(self.due, self.of(step), self.rows(), AT)
        return "ok", self.keep(payment, step["gateway"])

    def callback(self, step: Body) -> tuple[str, str]:
        before = self.of(step)
        notice = Notice(step["gateway_payment_id"], GatewayResult(step["result"]))
        payment = noticed(before, notice, AT)
        return "replayed" if payment is before else "ok", self.keep(payment, None)

    def correct_amount(self, step: Body) -> tuple[str, str]:
        payment = corrected(self.due, self.of(step), Decimal(step["amount"]), self.rows())
        return "ok", self.keep(payment, None)

    def delete(self, step: Body) -> tuple[str, str]:
        payment = self.of(step)
        check_deletable(payment)
        del self.payments[payment.id]
        return "ok", payment.id

    def take(self, step: Body) -> Answer:
        """Do a step, and show everything as it is afterwards."""
        try:
            result, name = getattr(self, step["do"])(step)
        except Refused as error:
            result, name = error.code, step.get("payment")
            if isinstance(error, NotFound):
                name = None
        payment = self.payments.get(name) if name else None
        found = paid_state(self.due.amount_due, self.rows())
        return {
            "result": result,
            "payment": name,
            "payment_status": payment.state if payment else None,
            "attempts": payment.attempts if payment else 0,
            "payments": len(self.payments),
            "invoice": {
                "amount_paid": plain(found.amount_paid),
                "amount_remaining": plain(found.amount_remaining),
                "payment_status": found.payment_status,
            },
        }


def _payment_steps(body: Body) -> Answer:
    invoice = body["invoice"]
    due = Payable(InvoiceId("invoice"), invoice["currency"], Decimal(invoice["amount_due"]))
    story = Story(due)
    return {"steps": [story.take(step) for step in body["steps"]]}


OPS = {"payment_steps": _payment_steps}
