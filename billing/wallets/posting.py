"""Posting: the steps that every ledger write is made of.

An entry is posted on the wallet and on the account of its reason, so that its sides sum to 0; what
an invoice counts differently from its credits goes to `rounding` (wallets-alerts.md 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from billing.wallets import lots as rules
from billing.wallets.holdings import Debt, Holdings, Posted, value_of
from billing.wallets.lots import Draw
from schemas.decimals import EXACT
from schemas.ids import EntryId, LotId, derived
from schemas.wallet import Consumption, Entry, EntryType, Lot, Posting, Reason, ReferenceType

Reference = tuple[ReferenceType, str | None]


class Writing:
    """The appends of one write while it is being decided; each method is one step of a rule."""

    def __init__(self, holdings: Holdings, at: datetime) -> None:
        self.base = holdings.sequence
        self.holdings = holdings
        self.at = at
        self.entries: list[Entry] = []
        self.lots: list[Lot] = []
        self.consumptions: list[Consumption] = []
        self.postings: list[Posting] = []

    def entry(
        self,
        kind: EntryType,
        moved: Decimal,
        reason: Reason,
        reference: Reference,
        *,
        settled: Decimal | None = None,
        effective_at: datetime | None = None,
        key: str | None = None,
        content: str | None = None,
        description: str = "",
        entry_id: EntryId | None = None,
        metadata: Mapping[str, str] | None = None,
        created_by: str = "",
    ) -> Entry:
        """Append an entry with its postings; `settled` is what an invoice counts it for."""
        wallet, sequence = self.holdings.wallet, self.holdings.sequence + 1
        value = value_of(wallet, moved)
        name = entry_id or EntryId(derived("wtxn", wallet.id, sequence))
        reference_type, reference_id = reference
        entry = Entry(
            id=name,
            wallet_id=wallet.id,
            sequence=sequence,
            type=kind,
            credits=moved,
            amount=value if settled is None else settled,
            reason=reason,
            reference_type=reference_type,
            reference_id=reference_id or name,
            created_at=self.at,
            effective_at=effective_at or self.at,
            idempotency_key=key,
            content=content,
            description=description,
            metadata=metadata or {},
            created_by=created_by,
        )
        self.entries.append(entry)
        self._post(entry, f"wallet:{wallet.id}", value)
        self._post(entry, reason.value, entry.amount.copy_negate())
        self._post(entry, "rounding", EXACT.subtract(entry.amount, value))
        move = EXACT.add if kind is EntryType.CREDIT else EXACT.subtract
        running = move(self.holdings.running, moved)
        self.holdings = replace(self.holdings, sequence=sequence, running=running)
        return entry

    def _post(self, entry: Entry, account: str, value: Decimal) -> None:
        """Append one side of an entry, as a credit moves it; a debit moves it the other way."""
        if value:
            signed = value if entry.type is EntryType.CREDIT else value.copy_negate()
            currency = self.holdings.wallet.currency
            self.postings.append(Posting(entry.id, account, currency, signed))

    def consume(self, entry: Entry, draws: Sequence[Draw], uncovered: Decimal = Decimal(0)) -> None:
        """Take the draws for a debit; what is uncovered becomes its debt."""
        self.consumptions += [Consumption(entry.id, part.lot.id, part.credits) for part in draws]
        debts = self.holdings.debts
        if uncovered > 0:
            debts = (*debts, Debt(entry.id, uncovered))
        remaining = rules.drained(self.holdings.lots, draws)
        self.holdings = replace(self.holdings, lots=remaining, debts=debts)

    def expire(self, due: Sequence[Lot]) -> None:
        """Write one expiry for each lot, dated at the instant of its expiry."""
        for lot in sorted(due, key=rules.expiry_order):
            entry = self.entry(
                EntryType.DEBIT,
                lot.remaining,
                Reason.CREDIT_EXPIRED,
                (ReferenceType.REQUEST, lot.entry_id),
                effective_at=lot.expires_at,
                key=derived("key", "expiry", lot.id),
            )
            self.consume(entry, [Draw(lot, lot.remaining)])

    def open_lot(
        self,
        entry: Entry,
        *,
        lot_id: LotId | None = None,
        priority: int | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        """Make the lot of a credit; the oldest debts are repaid out of it first."""
        name = lot_id or LotId(derived("lot", entry.id))
        remaining, debts = entry.credits, []
        for debt in self.holdings.debts:
            part = min(debt.credits, remaining)
            if part:
                self.consumptions.append(Consumption(debt.entry_id, name, part))
                remaining = EXACT.subtract(remaining, part)
            if part < debt.credits:
                debts.append(Debt(debt.entry_id, EXACT.subtract(debt.credits, part)))
        lot = Lot(
            id=name,
            entry_id=entry.id,
            credits=entry.credits,
            remaining=remaining,
            reason=entry.reason,
            created_at=self.at,
            priority=priority,
            expires_at=expires_at,
        )
        self.lots.append(lot)
        held = (*self.holdings.lots, lot) if remaining else self.holdings.lots
        self.holdings = replace(self.holdings, lots=held, debts=tuple(debts))

    def posted(self, taken: Decimal = Decimal(0)) -> Posted:
        """Return everything that was appended."""
        return Posted(
            base=self.base,
            holdings=self.holdings,
            entries=tuple(self.entries),
            lots=tuple(self.lots),
            consumptions=tuple(self.consumptions),
            postings=tuple(self.postings),
            taken=taken,
        )


def swept(holdings: Holdings, at: datetime, unfinalized_end: datetime | None) -> Writing:
    """Begin a write: post the expiries that are due, as a sweep at the same instant would.

    `unfinalized_end` is the earliest end of a period that has ended and is not finalized: lots that
    lived to it are claimable and stay. Source: wallets-alerts.md 5 and 6.
    """
    writing = Writing(holdings, at)
    writing.expire(
        [
            lot
            for lot in holdings.lots
            if rules.expired(lot, at) and not rules.claimable(lot, at, unfinalized_end)
        ]
    )
    return writing
