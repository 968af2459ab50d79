"""The diagrams of states in ARCHITECTURE.md are drawn from the tables that the program obeys.

`WRITE_DIAGRAMS=1` draws them anew instead of complaining that they are out of date.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest

from billing.alerts.levels import NEVER, SEVERITY, next_state
from billing.wallets import states as wallet_states
from billing.wallets.states import WalletAction
from schemas import invoice, payment, subscription
from schemas.alert import AlertCondition, AlertState, Threshold
from schemas.errors import InvalidOperation
from schemas.payment import PaymentState
from schemas.wallet import WalletStatus

ARCHITECTURE = Path(__file__).resolve().parent.parent / "ARCHITECTURE.md"
BEGIN = "<!-- state diagrams: drawn from the tables by `make diagrams` -->"
END = "<!-- end of the state diagrams -->"

# From a state to a state, and what does it.
Edge = tuple[str, str, str]


def edges_of(table: Iterable[tuple[tuple[str, str], str]]) -> Iterator[Edge]:
    """Yield the edges of the rows of a table (state, action) → state."""
    for (before, action), now in table:
        yield str(before), str(now), str(action)


def of_alerts() -> Iterator[Edge]:
    """Yield the moves that the rule of alerts makes, found by asking it for every value."""
    settings = replace(
        NEVER,
        alert_enabled=True,
        hysteresis_percent=Decimal(20),
        critical=Threshold(Decimal(10), AlertCondition.BELOW),
        warning=Threshold(Decimal(20), AlertCondition.BELOW),
        info=Threshold(Decimal(30), AlertCondition.BELOW),
    )
    moves = {
        (present, next_state(settings, present, Decimal(value)))
        for present, value in product(AlertState, range(50))
    }
    for present, now in product(AlertState, AlertState):
        if present is not now and (present, now) in moves:
            entered = SEVERITY[now] > SEVERITY[present]
            yield str(present), str(now), "reached" if entered else "band left"


RECOVERY = """Entering is immediate, leaving waits for the band of the hysteresis. Disabled settings and a new
period take any state to ok in silence."""

# Each machine with the state that it begins in, and what its arrows do not say.
MACHINES: dict[str, tuple[str, tuple[Edge, ...], str]] = {
    "Invoice": (
        str(invoice.InvoiceStatus.DRAFT),
        tuple(edges_of(invoice.TRANSITIONS.items())),
        "",
    ),
    "Subscription": (
        str(subscription.SubscriptionStatus.DRAFT),
        tuple(edges_of(subscription.TRANSITIONS.items())),
        "",
    ),
    "Payment": (
        str(PaymentState.INITIATED),
        tuple(edges_of(payment.TRANSITIONS.items())),
        "",
    ),
    "Alert": (str(AlertState.OK), tuple(of_alerts()), RECOVERY),
    "Wallet": (
        str(WalletStatus.ACTIVE),
        tuple(edges_of(wallet_states.TRANSITIONS.items())),
        "",
    ),
}


def diagram(name: str, start: str, edges: Iterable[Edge], remark: str) -> str:
    """Return one machine as Mermaid draws it; actions between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for before, now, action in edges:
        arrows.setdefault((before, now), []).append(action)
    lines = [f"    [*] --> {start}"]
    for (before, now), actions in arrows.items():
        label = ", ".join(action for action in actions if action)
        lines.append(f"    {before} --> {now}" + (f": {label}" if label else ""))
    text = "\n".join([f"### {name}", "", "```mermaid", "stateDiagram-v2", *lines, "```"])
    return f"{text}\n\n{remark}" if remark else text


def diagrams() -> str:
    """Return all machines, between the two marks."""
    drawn = [diagram(name, *machine) for name, machine in MACHINES.items()]
    return "\n\n".join([BEGIN, *drawn, END])


def redrawn(document: str) -> str:
    """Return a document with what is between the marks replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "ARCHITECTURE.md has lost the mark where the diagrams begin"
    assert end, "ARCHITECTURE.md has lost the mark where the diagrams end"
    return before + diagrams() + after


def test_the_diagrams_are_those_of_the_tables() -> None:
    document = ARCHITECTURE.read_text()
    if os.environ.get("WRITE_DIAGRAMS"):
        ARCHITECTURE.write_text(redrawn(document))
        return
    assert document == redrawn(document), "out of date: make diagrams"


def test_a_mark_that_is_gone_is_noticed() -> None:
    for document in ("", BEGIN, END):
        with pytest.raises(AssertionError):
            redrawn(document)


def test_every_state_of_every_machine_is_drawn_and_reached() -> None:
    kinds = {
        "Invoice": invoice.InvoiceStatus,
        "Subscription": subscription.SubscriptionStatus,
        "Payment": PaymentState,
        "Alert": AlertState,
        "Wallet": WalletStatus,
    }
    assert kinds.keys() == MACHINES.keys()
    for name, (start, edges, _) in MACHINES.items():
        reached = {start} | {now for _, now, _ in edges}
        assert reached == {str(state) for state in kinds[name]}, name


@pytest.mark.parametrize(
    ("status", "action"),
    list(product(subscription.SubscriptionStatus, subscription.SubscriptionAction)),
)
def test_a_subscription_does_only_what_its_table_says(
    status: subscription.SubscriptionStatus, action: subscription.SubscriptionAction
) -> None:
    if (status, action) in subscription.TRANSITIONS:
        assert subscription.after(status, action) is subscription.TRANSITIONS[status, action]
        return
    with pytest.raises(InvalidOperation):
        subscription.after(status, action)


@pytest.mark.parametrize(("status", "action"), list(product(WalletStatus, WalletAction)))
def test_a_wallet_does_only_what_its_table_says(status: WalletStatus, action: WalletAction) -> None:
    if (status, action) in wallet_states.TRANSITIONS:
        assert wallet_states.after(status, action) is wallet_states.TRANSITIONS[status, action]
        return
    with pytest.raises(InvalidOperation):
        wallet_states.after(status, action)


def test_what_is_final_stays_so() -> None:
    final = {
        "Invoice": {"VOIDED"},
        "Subscription": {"cancelled"},
        "Payment": {"REFUNDED", "VOIDED"},
        "Alert": set(),
        "Wallet": {"closed"},
    }
    for name, (_, edges, _) in MACHINES.items():
        leaving = {before for before, now, _ in edges if before != now}
        reached = {now for _, now, _ in edges}
        assert reached - leaving == final[name], name
