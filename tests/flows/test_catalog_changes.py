"""The changes of a catalog file: read as REST calls, tried out, and told in order of time."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billing.planned_changes import (
    Activate,
    AddLine,
    Cancel,
    ChangeLine,
    DebitWallet,
    EndLine,
    TerminateWallet,
    TopUpWallet,
)
from billing.running import BillingRun, bill
from billing.use_cases.opening_invoices import NothingUsed
from flows.catalog import Catalog, load_catalog
from schemas.cancellation import CancellationInvoicePolicy, CancellationType
from schemas.errors import ValidationFailed
from schemas.invoice import InvoiceKind
from schemas.subscription import ProrationBehavior, SubscriptionStatus

WHOLE = """
meters: [{name: tokens, event_name: e, aggregation: {type: SUM, field: n}}]
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {lookup_key: seat, display_name: Seat, type: FIXED, billing_model: FLAT_FEE, amount: "31",
         currency: usd, billing_period: MONTHLY, invoice_cadence: ADVANCE}
      - {lookup_key: use, type: USAGE, meter: tokens, billing_model: FLAT_FEE, amount: "1",
         currency: usd, billing_period: MONTHLY}
  - name: Extra
    lookup_key: extra
    prices:
      - {lookup_key: support, display_name: Support, type: FIXED, billing_model: FLAT_FEE,
         amount: "62", currency: usd, billing_period: MONTHLY, invoice_cadence: ADVANCE}
customers: [{external_id: acme}]
subscriptions:
  - {customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z",
     proration_behavior: create_prorations}
  - {customer: acme, plan: pro, lookup_key: later, start_date: "2026-01-01T00:00:00Z",
     subscription_status: draft}
wallets: [{customer: acme, currency: usd}]
changes:
"""
SUB = "subscription: acme/pro"
WALLET = "customer: acme, currency: usd"

INCOMPLETE = "{type: FIXED, billing_model: FLAT_FEE, billing_period: MONTHLY}"

Write = Callable[[str], str]


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a writer of a file with changes, each of them one line after its instant."""

    def made(*changes: str) -> str:
        path = tmp_path / "catalog.yaml"
        listed = "".join(f'  - {{at: "2026-{each}}}\n' for each in changes)
        path.write_text(WHOLE + listed)
        return str(path)

    return made


def on(day: str, rest: str) -> str:
    return f'{day}T00:00:00Z", {rest}'


def billed(catalog: Catalog, as_of: datetime) -> BillingRun:
    return bill(
        catalog.agreed,
        catalog.wallets,
        NothingUsed(),
        as_of=as_of,
        changes=catalog.changes,
    )


def lines(run: BillingRun, kind: InvoiceKind) -> list[tuple[str, str]]:
    return [
        (line.display_name, f"{line.amount:f}")
        for invoice in run.invoices
        if invoice.kind is kind
        for line in invoice.lines
    ]


def test_every_route_is_read_with_its_body(write: Write) -> None:
    path = write(
        on("01-20", f"{SUB}, route: lineitem-delete, line: support, body: {{effective_from: "
           '"2026-01-25T00:00:00Z", proration_behavior: none}'),
        on("01-10", f"{SUB}, route: lineitem-add, body: {{price_id: support, quantity: 2}}"),
        on("01-05", f"{SUB}, route: lineitem-update, line: seat, body: {{quantity: 3, amount: 40}}"),
        on("01-06", f"{WALLET}, route: top-up, body: {{credits_to_add: 50}}"),
        on("01-07", f"{WALLET}, route: debit, body: {{credits: 7}}"),
        on("01-08", f"{WALLET}, route: terminate"),
        on("01-09", "subscription: later, route: activate"),
        on("02-10", f"{SUB}, route: cancel, body: {{cancellation_type: end_of_period, reason: x}}"),
    )  # fmt: skip
    catalog = load_catalog(path)
    (changes,) = catalog.changes.values()
    kinds = [ChangeLine, TopUpWallet, DebitWallet, TerminateWallet, Activate, AddLine, EndLine]
    assert [type(each.change) for each in changes] == [*kinds, Cancel]
    assert [each.at.day for each in changes] == [5, 6, 7, 8, 9, 10, 20, 10]
    line, ended = changes[0].change, changes[6].change
    assert isinstance(line, ChangeLine)
    assert (line.terms.quantity, line.terms.price and line.terms.price.amount) == (3, 40)
    assert isinstance(ended, EndLine)
    assert (ended.effective_from, ended.behavior) == (at(1, 25), ProrationBehavior.NONE)


def test_a_cancellation_has_all_members_of_the_call(write: Write) -> None:
    body = (
        '{cancellation_type: immediate, cancel_at: "2026-01-15T00:00:00Z", reason: moved,'
        " cancel_immediately_inovice_policy: skip, proration_behavior: none}"
    )
    catalog = load_catalog(write(on("01-20", f"{SUB}, route: cancel, body: {body}")))
    (change,) = (each.change for of in catalog.changes.values() for each in of)
    assert isinstance(change, Cancel)
    assert change.request.type is CancellationType.IMMEDIATE
    assert change.request.cancel_at == at(1, 15)
    assert change.request.invoice_policy is CancellationInvoicePolicy.SKIP
    assert change.request.proration_behavior is ProrationBehavior.NONE
    assert change.request.reason == "moved"


def test_changes_happen_in_order_of_time(write: Write) -> None:
    path = write(
        on("01-16", f"{SUB}, route: cancel, body: {{cancellation_type: immediate}}"),
        on("01-09", f"{SUB}, route: lineitem-update, line: seat, body: {{quantity: 2}}"),
    )
    run = billed(load_catalog(path), at(1, 20))
    assert lines(run, InvoiceKind.CHANGE) == [("Seat", "-23.00"), ("Seat", "46.00")]
    # 62 × 16 / 31 come back.
    assert [state.ongoing.balance for state in run.wallets] == [Decimal("32.00")]


def test_a_quantity_and_a_price_at_once_are_one_change(write: Write) -> None:
    change = f"{SUB}, route: lineitem-update, line: seat, body: {{quantity: 2, amount: 62}}"
    run = billed(load_catalog(write(on("01-16", change))), at(1, 20))
    assert lines(run, InvoiceKind.CHANGE) == [("Seat", "-16.00"), ("Seat", "64.00")]


def test_a_line_that_is_added_is_called_by_its_price_from_then_on(write: Write) -> None:
    inline = (
        "{price: {lookup_key: own, display_name: Own, type: FIXED, billing_model: FLAT_FEE,"
        " amount: 31, billing_period: MONTHLY, invoice_cadence: ADVANCE}}"
    )
    path = write(
        on("01-11", f"{SUB}, route: lineitem-add, body: {inline}"),
        on("01-11", f"{SUB}, route: lineitem-add, body: {{price_id: support}}"),
        on("01-16", f"{SUB}, route: lineitem-update, line: own, body: {{quantity: 2}}"),
        on("01-21", f"{SUB}, route: lineitem-delete, line: support"),
    )
    run = billed(load_catalog(path), at(1, 31))
    assert sorted(lines(run, InvoiceKind.CHANGE)) == [
        ("Own", "-16.00"),
        ("Own", "21.00"),
        ("Own", "32.00"),
        ("Support", "42.00"),
    ]
    assert [state.ongoing.balance for state in run.wallets] == [Decimal("22.00")]


def test_wallets_are_filled_debited_and_closed(write: Write) -> None:
    path = write(
        on("01-06", f"{WALLET}, route: top-up, body: {{credits_to_add: 50}}"),
        on("01-07", f"{WALLET}, route: debit, body: {{credits: 7}}"),
        on("01-09", f"{WALLET}, route: terminate"),
    )
    catalog = load_catalog(path)
    balances = [billed(catalog, at(1, day)).wallets[0].ongoing.balance for day in (6, 8, 10)]
    assert balances == [Decimal(50), Decimal(43), Decimal(0)]
    assert billed(catalog, at(1, 10)).wallets[0].wallet.wallet_status.value == "closed"


def test_a_draft_is_billed_from_its_activation_on(write: Write) -> None:
    catalog = load_catalog(write(on("01-16", "subscription: later, route: activate")))
    draft = next(each for each in catalog.agreed if each.lookup_key == "later")
    assert draft.status is SubscriptionStatus.DRAFT
    assert {each.subscription_id for each in billed(catalog, at(1, 15)).invoices} != {draft.id}
    opened = [
        each for each in billed(catalog, at(1, 17)).invoices if each.subscription_id == draft.id
    ]
    assert [(each.dated_at, each.total) for each in opened] == [(at(1, 16), Decimal(31))]


def test_who_runs_on_from_a_file_knows_its_cancellations(write: Write) -> None:
    cancel = f"{SUB}, route: cancel, body: {{cancellation_type: end_of_period}}"
    catalog = load_catalog(write(on("01-20", cancel)))
    planned = next(each for each in catalog.subscriptions if each.lookup_key == "acme/pro")
    assert (planned.cancelled_at, planned.cancel_decided_at) == (at(2), at(1, 20))
    assert planned.status is SubscriptionStatus.ACTIVE
    assert all(each.cancelled_at is None for each in catalog.agreed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (f"{SUB}, route: lineitem-update, line: seats, body: {{quantity: 2}}",
         "changes[0].line: the subscription has no line of a price 'seats'; did you mean seat?"),
        (f"{SUB}, route: lineitem-update, line: use, body: {{quantity: 2}}",
         "changes[0].body.quantity: the meter gives the quantity of usage"),
        (f"{SUB}, route: lineitem-update, line: seat, body: {{quantity: -2}}",
         "changes[0].body.quantity: must not be negative"),
        (f"{SUB}, route: lineitem-update, line: seat, body: {{amount: -2}}",
         "changes[0].body.amount: "),
        (f"{SUB}, route: lineitem-add, body: {{}}",
         "changes[0].body.price: give a price or a price_id, and not both"),
        (f"{SUB}, route: lineitem-add, body: {{price_id: none}}",
         "changes[0].body.price_id: no price has the lookup_key 'none'"),
        (f"{SUB}, route: lineitem-add, body: {{price: {INCOMPLETE}}}",
         "changes[0].body.price.amount: "),
        (f"{SUB}, route: lineitem-delete, line: seat, body: {{when: now}}",
         "changes[0].body.when: unknown key"),
        (f"{SUB}, route: cancel, body: {{cancellation_type: scheduled_date}}",
         "changes[0].body.cancel_at: a scheduled cancellation needs its date"),
        ("subscription: later, route: cancel, body: {cancellation_type: immediate}",
         "changes[0].body: cannot cancel a subscription that is draft"),
        (f"{SUB}, route: activate", "changes[0].body: "),
        ("customer: acme, currency: eur, route: terminate",
         "changes[0].currency: the file opens no PRE_PAID wallet in eur for the customer"),
        (f"{WALLET}, route: debit, body: {{credits: 7}}", "changes[0].body: "),
        (f"{WALLET}, route: top-up, body: {{}}", "changes[0].body.credits_to_add: "),
    ],
)  # fmt: skip
def test_an_impossible_change_is_refused_at_its_place(write: Write, change: str, told: str) -> None:
    path = write(on("01-16", change))
    with pytest.raises(ValidationFailed) as refused:
        load_catalog(path)
    (line,) = str(refused.value).splitlines()
    assert line.removeprefix(f"{path}: ").startswith(told)


def test_the_first_change_that_is_refused_is_named(write: Write) -> None:
    cancel = f"{SUB}, route: cancel, body: {{cancellation_type: immediate}}"
    path = write(on("01-16", cancel), on("01-17", cancel), on("01-10", cancel))
    with pytest.raises(ValidationFailed, match=r"changes\[0\]\.body: cannot cancel"):
        load_catalog(path)
