"""The report of `tally bill`: everything due by an instant, as JSON and as tables for people."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from billing.running import BillingRun, as_json
from flows.arithmetic import arithmetic
from flows.cli.output import Figure
from schemas.decimals import EXACT, plain
from schemas.money import minor_units

Report = Mapping[str, Any]
Rows = list[dict[str, object]]
# Title, columns and rows.
Table = tuple[str, Sequence[str], Rows]

# What csv and parquet hold: each line with the invoice that it stands on.
LINE_COLUMNS = (
    "customer",
    "subscription",
    "currency",
    "display_name",
    "price_type",
    "period_start",
    "period_end",
    "quantity",
    "amount",
    "how",
)
# What people read.
INVOICE_COLUMNS = ("line", "period", "quantity", "amount", "how")
DEBIT_COLUMNS = ("customer", "at", "reason", "credits", "amount", "currency")
WALLET_COLUMNS = ("customer", "balance", "ongoing_balance", "currency")
ALERT_COLUMNS = ("customer", "at", "type", "level")

# What an invoice adds up to, and the member that holds it; without coupons or taxes not all of it.
AMOUNTS = {
    "subtotal": "subtotal",
    "discounts": "total_discount",
    "credits": "total_prepaid_credits_applied",
    "tax": "total_tax",
    "total": "total",
}

MIDNIGHT = "T00:00:00Z"


def report_of(run: BillingRun) -> dict[str, Any]:
    """Return a run as `tally bill --format json` prints it."""
    return as_json(run)


def line_rows(report: Report) -> Rows:
    """Return each invoice line as one row, with its arithmetic as text. out: LINE_COLUMNS."""
    return [
        {
            **{name: line[name] for name in LINE_COLUMNS if name in line},
            **{name: invoice[name] for name in ("customer", "subscription", "currency")},
            "how": arithmetic(line["explanation"]),
        }
        for invoice in report["invoices"]
        for line in invoice["lines"]
    ]


def money_text(amount: Decimal | str, currency: str) -> str:
    """Return an amount with the digits of its currency, or more where it has more.

    >>> money_text("20", "usd"), money_text("0.125", "usd"), money_text("5", "jpy")
    ('20.00', '0.125', '5')
    """
    exact = Decimal(amount)
    settled = exact.quantize(Decimal(1).scaleb(-minor_units(currency)), context=EXACT)
    return f"{settled:f}" if settled == exact else plain(exact)


def day_text(at: str) -> str:
    """Return an instant as people read it: a midnight is its day.

    >>> day_text("2026-02-01T00:00:00Z"), day_text("2026-02-01T02:00:00Z")
    ('2026-02-01', '2026-02-01T02:00:00Z')
    """
    return at.removesuffix(MIDNIGHT)


def period_text(of: Report) -> str:
    """Return the period of an invoice or a line."""
    return f"{day_text(of['period_start'])} – {day_text(of['period_end'])}"


def invoice_table(invoice: Report) -> Table:
    """Return an invoice as a table: a row a line, and its amounts at the end."""
    currency = invoice["currency"]
    rows: Rows = [
        {
            "line": line["display_name"],
            "period": period_text(line),
            "quantity": Decimal(line["quantity"]),
            "amount": Figure(money_text(line["amount"], currency)),
            "how": arithmetic(line["explanation"]),
        }
        for line in invoice["lines"]
    ]
    for name, member in AMOUNTS.items():
        if name in ("discounts", "tax") and not Decimal(invoice[member]):
            continue
        amount = Figure(money_text(invoice[member], currency))
        rows.append(dict.fromkeys(INVOICE_COLUMNS) | {"line": name, "amount": amount})
    title = f"Invoice of {invoice['subscription']} · {period_text(invoice)} · {currency}"
    return title, INVOICE_COLUMNS, rows


def debit_rows(run: BillingRun) -> Rows:
    """Return what was taken from wallets, in order of time. out: DEBIT_COLUMNS."""
    wallets = {state.wallet.id: state.wallet for state in run.wallets}
    return [
        {
            "customer": run.customers[wallets[entry.wallet_id].customer_id],
            "at": entry.created_at,
            "reason": entry.reason.value,
            "credits": entry.credits,
            "currency": wallets[entry.wallet_id].currency,
            "amount": Figure(money_text(entry.amount, wallets[entry.wallet_id].currency)),
        }
        for entry in run.debits
    ]


def wallet_rows(report: Report) -> Rows:
    """Return the balances of the wallets. out: WALLET_COLUMNS."""
    return [
        wallet
        | {
            name: Figure(money_text(wallet[name], wallet["currency"]))
            for name in ("balance", "ongoing_balance")
        }
        for wallet in report["wallets"]
    ]


def tables(run: BillingRun) -> Iterator[Table]:
    """Yield the tables of a run: title, columns and rows; those without rows are left out."""
    report = report_of(run)
    yield from map(invoice_table, report["invoices"])
    others: list[Table] = [
        ("Wallet deductions", DEBIT_COLUMNS, debit_rows(run)),
        ("Wallets", WALLET_COLUMNS, wallet_rows(report)),
        ("Alerts", ALERT_COLUMNS, report["alerts"]),
    ]
    yield from (each for each in others if each[2])
