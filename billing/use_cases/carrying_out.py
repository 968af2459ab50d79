"""Carrying out: a planned change is done when its instant has come, by the use case that it names."""

from datetime import datetime

from billing.planned_changes import (
    Activate,
    AddLine,
    Cancel,
    ChangeLine,
    DebitWallet,
    DropCancellation,
    EndLine,
    PlannedChange,
    TerminateWallet,
    TopUpWallet,
)
from billing.ports import Stores, UsageReader
from billing.use_cases import wallets
from billing.use_cases.subscription_cancellations import cancel_subscription, drop_cancellation
from billing.use_cases.subscription_changes import (
    When,
    add_line,
    change_line,
    end_line,
)
from billing.use_cases.subscriptions import activate_subscription
from schemas.errors import NotFound
from schemas.ids import SubscriptionId, SubscriptionLineId


def carry_out(stores: Stores, usage: UsageReader, planned: PlannedChange) -> None:
    """Do a planned change at its instant. Raises as the use case does that it names."""
    at, key = planned.at, planned.key
    match planned.change:
        case Cancel(name, request):
            cancel_subscription(stores, usage, name, request, at=at)
        case DropCancellation(name):
            drop_cancellation(stores, usage, name, at=at)
        case Activate(name, start_date):
            activate_subscription(stores, name, at=at, start_date=start_date)
        case ChangeLine(name, chain, terms, effective_from, behavior):
            line_id = line_then(stores, name, chain, effective_from or at)
            when = When(effective_from, key, behavior)
            change_line(stores, usage, name, line_id, terms, at=at, when=when)
        case AddLine(name, line, behavior):
            add_line(stores, usage, name, line, at=at, when=When(None, key, behavior))
        case EndLine(name, chain, effective_from, behavior):
            line_id = line_then(stores, name, chain, effective_from or at)
            when = When(effective_from, key, behavior)
            end_line(stores, usage, name, line_id, at=at, when=when)
        case TopUpWallet(wallet, top_up):
            wallets.top_up(stores, wallet, top_up, at)
        case DebitWallet(wallet, debit):
            wallets.debit(stores, wallet, debit, at)
        case TerminateWallet(wallet):
            wallets.terminate(stores, wallet, at)


def line_then(
    stores: Stores, subscription_id: SubscriptionId, chain_id: SubscriptionLineId, at: datetime
) -> SubscriptionLineId:
    """Return the version of a chain that is in force at an instant, else the first after it.

    Raises NotFound where there is none.
    """
    subscription = stores.subscription(subscription_id)
    chain = [
        line
        for line in (subscription.lines if subscription else ())
        if line.chain_id == chain_id and (line.end_date is None or line.end_date > at)
    ]
    if not chain:
        raise NotFound(f"subscription {subscription_id} has no line {chain_id} then")
    return min(chain, key=lambda line: line.start_date).id
