"""The ledger of a wallet: every write is a function from what it holds to what is appended.

Each write first posts the expiries that are due, so the ledger does not depend on when sweeps ran.
A refused or replayed write posts nothing (wallets-alerts.md 3 and 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.wallets import lots as rules
from billing.wallets.holdings import (
    Holdings,
    Posted,
    half_up_credits,
    payable,
    settled_credits,
    value_of,
)
from billing.wallets.lots import credits_of
from billing.wallets.posting import swept
from schemas.decimals import EXACT, plain
from schemas.errors import AlreadyExists, InvalidOperation, ValidationFailed
from schemas.ids import EntryId, LotId, derived
from schemas.money import total
from schemas.wallet import (
    TOP_UP_REASONS,
    Entry,
    EntryType,
    Reason,
    ReferenceType,
    Wallet,
    WalletStatus,
    WalletType,
)

INSUFFICIENT_BALANCE = "insufficient_balance"


@dataclass(frozen=True, slots=True)
class TopUp:
    """A request for credits: credits, or an amount of currency that buys them; credits win."""

    reason: Reason
    credits: Decimal | None = None
    amount: Decimal | None = None
    priority: int | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    description: str = ""
    lot_id: LotId | None = None
    # Writes of our own set it: a grant that is late is given although its credits have expired.
    clock_checked: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_by: str = ""
    # A purchase that is completed stays the transaction that it was while it was pending.
    entry_id: EntryId | None = None


@dataclass(frozen=True, slots=True)
class Debit:
    """A request to take credits by hand."""

    credits: Decimal
    reason: Reason
    idempotency_key: str | None
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_by: str = ""


def noted(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return metadata as facts of a request's content, whatever the order of its members.

    >>> noted({"b": "2", "a": "1"})
    ('a', '1', 'b', '2')
    """
    return tuple(part for pair in sorted(metadata.items()) for part in pair)


def _replayed(
    holdings: Holdings, key: str | None, content: str, recorded: Entry | None
) -> Posted | None:
    """Return the empty write of a repeated key, None for a first one; other content is refused."""
    if key is None or recorded is None:
        return None
    if recorded.content != content:
        raise AlreadyExists(
            f"idempotency key {key!r} was used for another request", field="idempotency_key"
        )
    return Posted(base=holdings.sequence, holdings=holdings, replays=recorded.id)


def unusable(wallet: Wallet) -> InvalidOperation:
    """Return the refusal of what a wallet that is closed or frozen cannot do."""
    status = wallet.wallet_status
    return InvalidOperation(f"wallet {wallet.id} is already {status}", reason=f"wallet_{status}")


def bought(wallet: Wallet, request: TopUp) -> Decimal:
    """Return the credits that a top-up asks for, after checking its shape.

    Raises ValidationFailed naming the field. Source: wallets-alerts.md 2 and 5.
    """
    if request.credits is not None:
        added, field = credits_of(request.credits), "credits_to_add"
    elif request.amount is not None:
        price = Fraction(request.amount) / Fraction(wallet.topup_conversion_rate)
        added, field = half_up_credits(price), "amount"
    else:
        raise ValidationFailed("give credits_to_add or amount", field="credits_to_add")
    if added <= 0:
        raise ValidationFailed("a top-up must add more than 0 credits", field=field)
    if request.reason not in TOP_UP_REASONS:
        raise ValidationFailed(
            f"{request.reason} is no reason for a top-up", field="transaction_reason"
        )
    if request.priority is not None and request.priority < 0:
        raise ValidationFailed("priority must not be negative", field="priority")
    return added


def top_up(
    holdings: Holdings,
    request: TopUp,
    at: datetime,
    *,
    unfinalized_end: datetime | None = None,
    recorded: Entry | None = None,
) -> Posted:
    """Add credits as one entry and one lot; the debt is repaid first.

    `recorded` is the entry that the idempotency key stands for, if it was used before: the same
    content appends nothing, other content raises AlreadyExists. Raises ValidationFailed for a
    request that is malformed or whose credits have expired, InvalidOperation for a closed wallet.
    Source: wallets-alerts.md 5.
    """
    wallet = holdings.wallet
    added = bought(wallet, request)
    content = derived(
        "content",
        "top_up",
        wallet.id,
        credits_of(request.credits) if request.credits is not None else None,
        request.amount if request.credits is None else None,
        request.reason,
        request.priority,
        request.expires_at,
        request.description,
        *noted(request.metadata),
    )
    if replay := _replayed(holdings, request.idempotency_key, content, recorded):
        return replay
    if request.clock_checked and request.expires_at is not None and request.expires_at <= at:
        raise ValidationFailed("the credits would have expired already", field="expiry_date_utc")
    if wallet.wallet_status is WalletStatus.CLOSED:
        raise unusable(wallet)
    writing = swept(holdings, at, unfinalized_end)
    entry = writing.entry(
        EntryType.CREDIT,
        added,
        request.reason,
        (ReferenceType.EXTERNAL, request.idempotency_key),
        key=request.idempotency_key,
        content=content,
        description=request.description,
        entry_id=request.entry_id,
        metadata=request.metadata,
        created_by=request.created_by,
    )
    writing.open_lot(
        entry, lot_id=request.lot_id, priority=request.priority, expires_at=request.expires_at
    )
    return writing.posted()


def check_debit(request: Debit) -> Decimal:
    """Return the credits that a debit asks for, after checking its shape.

    Raises ValidationFailed naming the field. Source: wallets-alerts.md 5.
    """
    wanted = credits_of(request.credits)
    if wanted <= 0:
        raise ValidationFailed("a debit must take more than 0 credits", field="credits")
    if request.reason is not Reason.MANUAL_BALANCE_DEBIT:
        raise ValidationFailed(
            f"{request.reason} is no reason for a manual debit", field="transaction_reason"
        )
    if not request.idempotency_key:
        raise ValidationFailed("a debit needs an idempotency_key", field="idempotency_key")
    return wanted


def debit(
    holdings: Holdings,
    request: Debit,
    at: datetime,
    *,
    unfinalized_end: datetime | None = None,
    recorded: Entry | None = None,
) -> Posted:
    """Take credits by hand, at most down to the overdraft limit.

    Raises InvalidOperation with reason `insufficient_balance` where the balance does not allow it;
    the other refusals are those of `top_up`. Source: wallets-alerts.md 5.
    """
    wallet, wanted = holdings.wallet, check_debit(request)
    told = (request.description, *noted(request.metadata))
    content = derived("content", "debit", wallet.id, wanted, *told)
    if replay := _replayed(holdings, request.idempotency_key, content, recorded):
        return replay
    if wallet.wallet_status is not WalletStatus.ACTIVE:
        raise unusable(wallet)
    available = settled_credits(holdings, at)
    after = value_of(wallet, EXACT.subtract(available, wanted))
    if after < wallet.overdraft_limit.copy_negate():
        raise InvalidOperation(
            f"wallet {wallet.id} has {plain(available)} credits, {plain(wanted)} were asked for",
            reason=INSUFFICIENT_BALANCE,
            details={
                "reason": INSUFFICIENT_BALANCE,
                "available": plain(available),
                "requested": plain(wanted),
            },
        )
    writing = swept(holdings, at, unfinalized_end)
    entry = writing.entry(
        EntryType.DEBIT,
        wanted,
        request.reason,
        (ReferenceType.EXTERNAL, request.idempotency_key),
        key=request.idempotency_key,
        content=content,
        description=request.description,
        metadata=request.metadata,
        created_by=request.created_by,
    )
    writing.consume(entry, *rules.draw(rules.spendable(writing.holdings.lots, at), wanted))
    return writing.posted()


def take(
    holdings: Holdings,
    amount: Decimal,
    at: datetime,
    *,
    invoice_id: str,
    period_end: datetime | None = None,
    unfinalized_end: datetime | None = None,
    attempt: int = 1,
) -> Posted:
    """Take at most an amount for an invoice whose service period ends at `period_end`.

    Takes what there is, in whole minor units; it never fails and never overdraws. Taking nothing is
    no write at all. A period that has ended keeps the lots that lived to its end (wallets-alerts.md
    6). PRE_PAID wallets write CREDIT_ADJUSTMENT, POST_PAID ones INVOICE_PAYMENT; `attempt` numbers
    the tries to pay one invoice, each a payment of its own.
    """
    wallet = holdings.wallet
    if wallet.wallet_status is not WalletStatus.ACTIVE:
        return Posted(base=holdings.sequence, holdings=holdings)
    taken = min(amount, payable(holdings, at, period_end))
    if taken <= 0:
        return Posted(base=holdings.sequence, holdings=holdings)
    ends = [end for end in (unfinalized_end, period_end) if end is not None and end <= at]
    writing = swept(holdings, at, min(ends, default=None))
    prepaid = wallet.wallet_type is WalletType.PRE_PAID
    payment = derived("pay", invoice_id, wallet.id, attempt)
    entry = writing.entry(
        EntryType.DEBIT,
        half_up_credits(Fraction(taken) / Fraction(wallet.conversion_rate)),
        Reason.CREDIT_ADJUSTMENT if prepaid else Reason.INVOICE_PAYMENT,
        (ReferenceType.INVOICE, invoice_id) if prepaid else (ReferenceType.PAYMENT, payment),
        settled=taken,
        key=derived("key", invoice_id, wallet.id, attempt),
    )
    eligible = rules.spendable(writing.holdings.lots, at, period_end)
    draws, uncovered = rules.draw(eligible, entry.credits)
    assert not uncovered, "what is payable is never more than the lots hold"
    writing.consume(entry, draws)
    return writing.posted(taken)


def sweep(holdings: Holdings, at: datetime, *, unfinalized_end: datetime | None = None) -> Posted:
    """Write down the expiries that are due; it changes no balance.

    Lots that a period may still claim stay. Source: wallets-alerts.md 5 and 6.
    """
    return swept(holdings, at, unfinalized_end).posted()


def terminate(holdings: Holdings, at: datetime) -> Posted:
    """Close a wallet: its value is forfeited, claimable lots included.

    Raises InvalidOperation for a wallet that is not active, or that is overdrawn until it is
    repaid. Source: wallets-alerts.md 5.
    """
    wallet = holdings.wallet
    if wallet.wallet_status is not WalletStatus.ACTIVE:
        raise unusable(wallet)
    if settled_credits(holdings, at) < 0:
        raise InvalidOperation(f"wallet {wallet.id} is overdrawn", reason="negative_balance")
    writing = swept(holdings, at, None)
    rest = rules.spendable(writing.holdings.lots, at)
    if rest:
        forfeited = total(lot.remaining for lot in rest)
        entry = writing.entry(
            EntryType.DEBIT,
            forfeited,
            Reason.WALLET_TERMINATION,
            (ReferenceType.REQUEST, wallet.id),
            key=derived("key", "termination", wallet.id),
        )
        writing.consume(entry, *rules.draw(rest, forfeited))
    closed = replace(wallet, wallet_status=WalletStatus.CLOSED)
    writing.holdings = replace(writing.holdings, wallet=closed)
    return writing.posted()
