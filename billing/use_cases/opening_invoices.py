"""Opening: a subscription goes live, with the invoice of what its first period charges in advance.

Called inside `deciding`, at creation, activation and the end of a trial. An opening invoice bills
nothing that was used, so it is computed and finalized in the transaction itself (billing.md 7, 8).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.closing import CLOSED, charges_nothing
from billing.invoices.computing import Background, computed
from billing.invoices.drafting import invoice_id
from billing.periods.services import Window, never_billed, windows
from billing.ports import Changes, Stores, UsageQuantity
from billing.subscriptions.activation import activated, activation_action, check_creation
from billing.use_cases.finalizing import finalized
from billing.use_cases.paid import is_paid
from billing.use_cases.telling_subscriptions import ACTIVATED, UPDATED, subscription_row
from billing.wallets.grant_applications import apply_grants
from schemas.invoice import Invoice, InvoiceStatus
from schemas.meter import Meter
from schemas.period import Interval
from schemas.subscription import Subscription, SubscriptionAction, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Opened:
    """A subscription that went live or waits for payment, and its opening invoice if there is one."""

    subscription: Subscription
    invoice: Invoice | None = None


class NothingUsed:
    """Usage of what has not begun: nothing."""

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return 0 for every question."""
        del meter, external_customer_ids, interval, timezone, billing_anchor
        return UsageQuantity(Decimal(0), Decimal(0), 0)


def open_subscription(
    held: Stores, subscription: Subscription, at: datetime, *, creating: bool = False
) -> Opened:
    """Take a stored draft or trialing subscription live as its opening invoice has it, and commit.

    Credits that its grants owe come before the invoice where it goes live whatever is paid, and
    after it otherwise. One that begins later is live at once, and its opening invoice is made then.
    While `creating`, `error_if_incomplete` refuses what cannot be paid: ValidationFailed.
    Source: billing.md 7, wallets-alerts.md 10.
    """
    method, behavior = subscription.collection_method, subscription.payment_behavior
    sure = activation_action(method, behavior, Decimal(1), paid=False)
    if sure is SubscriptionAction.ACTIVATE:
        live = _live(held, subscription, Decimal(0), at, creating=creating)
        apply_grants(held, (live,), at, until=live.starts_at)
        invoice, changes = _opening(held, live, at)
        held.commit(changes)
        return Opened(live, invoice)
    invoice, changes = _opening(held, subscription, at)
    due = invoice.amount_remaining if invoice else Decimal(0)
    paid = invoice is not None and (is_paid(invoice) or invoice.status is InvoiceStatus.SKIPPED)
    if creating:
        check_creation(method, behavior, due, paid=paid)
    held.commit(changes)
    live = _live(held, subscription, due, at, paid=paid, creating=creating)
    if live.status is SubscriptionStatus.ACTIVE:
        apply_grants(held, (live,), at, until=live.starts_at)
    return Opened(live, invoice)


def _live(
    held: Stores,
    subscription: Subscription,
    due: Decimal,
    at: datetime,
    *,
    paid: bool = False,
    creating: bool = False,
) -> Subscription:
    """Commit what a subscription becomes by its opening invoice, and return it.

    Of one that is being created it is told as a whole, later.
    """
    method, behavior = subscription.collection_method, subscription.payment_behavior
    made = activated(subscription, method, behavior, due, paid=paid)
    active = made.status is SubscriptionStatus.ACTIVE
    live = replace(made, activated_at=at if active else None, version=subscription.version + 1)
    row = subscription_row(ACTIVATED if active else UPDATED, live, at)
    told = () if creating else (row,)
    held.commit(Changes(subscriptions=(live,), outbox=told, wake={live.payer_id: at}))
    return live


def opening_window(subscription: Subscription, at: datetime) -> Window | None:
    """Return the window of the opening invoice if it is due by an instant."""
    if never_billed(subscription) or subscription.starts_at > at:
        return None
    return next(windows(subscription, at), None)


def _opening(
    held: Stores, subscription: Subscription, at: datetime
) -> tuple[Invoice | None, Changes]:
    """Return the opening invoice that is due and not made, finalized, with what goes with it."""
    window = opening_window(subscription, at)
    if window is None or charges_nothing(subscription, window):
        return None, Changes()
    known = held.invoice(invoice_id(subscription, window))
    if known is not None and known.status in CLOSED:
        return known, Changes()
    config = held.config()
    background = Background(
        tuple(held.invoices_of(subscription.id)),
        held.wallets_of(subscription.payer_id),
        config.tax_base,
        config.finalization_delay,
    )
    made = computed(subscription, window, NothingUsed(), background, at, last=True)
    if not made.lines:
        return None, Changes()
    if known is not None:
        made = replace(made, version=known.version)
    # What follows from its payment is decided here: the subscription goes live or waits.
    return finalized(held, made, at, subscription=subscription)
