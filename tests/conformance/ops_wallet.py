"""Adapters for wallet.json: opening, the story of a wallet, balances, bonus and auto top-up."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.wallets.auto_topup import AutoTopUp, CapPeriod, Made, TopUpStatus, guard
from billing.wallets.balances import Claim, ClaimState, Ongoing, ongoing_balances
from billing.wallets.bonus import BonusSlab, BonusType, bonus
from billing.wallets.holdings import Holdings, Posted, balance, settled_credits
from billing.wallets.ledger import Debit, TopUp, debit, sweep, take, terminate, top_up
from billing.wallets.lots import live
from billing.wallets.opening import open_wallet
from billing.wallets.settlement import NetLine
from schemas.decimals import plain
from schemas.errors import NotFound, Refused, ValidationFailed
from schemas.ids import CustomerId, EntryId, LotId, WalletId
from schemas.price import PriceType
from schemas.wallet import (
    AllowedType,
    Entry,
    EntryType,
    Lot,
    Reason,
    Wallet,
    WalletRequest,
    WalletStatus,
    WalletType,
)

FILES = ("wallet.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


def instant(text: str | None) -> datetime | None:
    """Read an instant."""
    return None if text is None else datetime.fromisoformat(text)


def decimal(text: str | None) -> Decimal | None:
    """Read a decimal."""
    return None if text is None else Decimal(text)


def lot_of(body: Body) -> Lot:
    """Read a lot with what remains of it."""
    left = Decimal(body["credits"])
    return Lot(
        id=LotId(body["lot"]),
        entry_id=EntryId(f"entry of {body['lot']}"),
        credits=left,
        remaining=left,
        reason=Reason.FREE_CREDIT_GRANT,
        created_at=datetime.fromisoformat(body["created_at"]),
        priority=None if body["priority"] is None else int(body["priority"]),
        expires_at=instant(body["expires_at"]),
    )


def holdings_of(body: Body) -> Holdings:
    """Read a wallet with its lots."""
    created_at = body.get("created_at") or "2026-01-01T00:00:00Z"
    priority = body.get("priority")
    wallet = Wallet(
        id=WalletId(body["wallet"]),
        customer_id=CustomerId("customer"),
        currency=body["currency"],
        wallet_type=WalletType(body["wallet_type"]),
        created_at=datetime.fromisoformat(created_at),
        wallet_status=WalletStatus(body["wallet_status"]),
        conversion_rate=Decimal(body["conversion_rate"]),
        allowed_price_types=tuple(AllowedType(word) for word in body["allowed_price_types"]),
        priority=None if priority is None else int(priority),
    )
    return Holdings(
        wallet, lots=tuple(lot_of(lot) for lot in body["lots"] if Decimal(lot["credits"]))
    )


def net_line(body: Body) -> NetLine:
    """Read a line less its discounts."""
    net = Decimal(body["amount"])
    for discount in ("line_discount", "invoice_discount"):
        net -= Decimal(body[discount])
    return NetLine(PriceType(body["type"]), net)


def _wallet_create(body: Body) -> Answer:
    request = dict(body["request"])
    customer = request.pop("customer")
    types = request.pop("allowed_price_types")
    asked = {**request, "config": {"allowed_price_types": types}, "external_customer_id": customer}
    try:
        if customer is None:
            raise ValidationFailed("name the customer", field="customer_id")
        if customer not in body["customers"]:
            raise NotFound(f"no customer {customer}")
        try:
            door = WalletRequest.model_validate(asked)
        except ValueError as error:
            raise ValidationFailed(str(error)) from error
        posted = open_wallet(
            door,
            wallet_id=WalletId("wallet"),
            customer_id=CustomerId(customer),
            existing=[_existing(other) for other in body["existing"]],
            at=datetime.fromisoformat("2026-01-10T00:00:00Z"),
        )
    except Refused as refused:
        return {"error": refused.code, "wallet": None}
    return {"error": None, "wallet": _opened(posted)}


def _existing(body: Body) -> Wallet:
    return Wallet(
        id=WalletId("other"),
        customer_id=CustomerId(body["customer"]),
        currency=body["currency"],
        wallet_type=WalletType(body["wallet_type"]),
        created_at=datetime.fromisoformat("2026-01-01T00:00:00Z"),
        wallet_status=WalletStatus(body["wallet_status"]),
    )


def _opened(posted: Posted) -> Answer:
    wallet, at = posted.holdings.wallet, posted.holdings.wallet.created_at
    return {
        "currency": wallet.currency,
        "wallet_type": wallet.wallet_type,
        "wallet_status": wallet.wallet_status,
        "name": wallet.name,
        "conversion_rate": plain(wallet.conversion_rate),
        "topup_conversion_rate": plain(wallet.topup_conversion_rate),
        "allowed_price_types": list(wallet.allowed_price_types),
        "credit_balance": plain(settled_credits(posted.holdings, at)),
        "balance": plain(balance(posted.holdings, at)),
    }


class Story:
    """One wallet through its steps, with everything that its ledger wrote."""

    def __init__(self, wallet: Body) -> None:
        self.holdings = Holdings(
            Wallet(
                id=WalletId("wallet"),
                customer_id=CustomerId("customer"),
                currency=wallet["currency"],
                wallet_type=WalletType(wallet["wallet_type"]),
                created_at=datetime.fromisoformat("2026-01-01T00:00:00Z"),
                conversion_rate=Decimal(wallet["conversion_rate"]),
                topup_conversion_rate=Decimal(wallet["topup_conversion_rate"]),
                overdraft_limit=Decimal(wallet["overdraft_limit"] or 0),
            )
        )
        self.entries: list[Entry] = []
        self.lots: list[str] = []
        self.keys: dict[str, Entry] = {}
        self.lot_of_entry: dict[str, str] = {}

    def step(self, step: Body) -> Answer:
        """Do one step; return what a reader of the ledger sees."""
        at = datetime.fromisoformat(step["at"])
        try:
            posted = self._write(step, at)
        except Refused as refused:
            return self._state(at, refused.code, None)
        self.holdings = posted.holdings
        self.entries += posted.entries
        for entry in posted.entries:
            if entry.idempotency_key is not None:
                assert entry.idempotency_key not in self.keys
                self.keys[entry.idempotency_key] = entry
        for lot in posted.lots:
            self.lots.append(lot.id)
            self.lot_of_entry[lot.entry_id] = lot.id
        self._check(posted, at)
        return self._state(at, "replayed" if posted.replays else "ok", posted)

    def _write(self, step: Body, at: datetime) -> Posted:
        waiting = instant(step["unfinalized_period_end"])
        recorded = self.keys.get(step.get("key") or "")
        match step["do"]:
            case "top_up":
                request = TopUp(
                    reason=Reason(step["reason"]),
                    credits=decimal(step["credits"]),
                    amount=decimal(step["amount"]),
                    priority=None if step["priority"] is None else int(step["priority"]),
                    expires_at=instant(step["expires_at"]),
                    idempotency_key=step["key"],
                    lot_id=LotId(step["lot"]),
                )
                return top_up(
                    self.holdings, request, at, unfinalized_end=waiting, recorded=recorded
                )
            case "debit":
                asked = Debit(Decimal(step["credits"]), Reason(step["reason"]), step["key"])
                return debit(self.holdings, asked, at, unfinalized_end=waiting, recorded=recorded)
            case "pay":
                return take(
                    self.holdings,
                    Decimal(step["amount"]),
                    at,
                    invoice_id=f"invoice {len(self.entries)}",
                    period_end=instant(step["period_end"]),
                    unfinalized_end=waiting,
                )
            case "sweep":
                return sweep(self.holdings, at, unfinalized_end=waiting)
            case "terminate":
                return terminate(self.holdings, at)
            case _:
                return Posted(base=self.holdings.sequence, holdings=self.holdings)

    def _check(self, posted: Posted, at: datetime) -> None:
        """Hold the ledger to the laws that the runner of these vectors must check."""
        credited = sum(e.credits for e in self.entries if e.type is EntryType.CREDIT)
        debited = sum(e.credits for e in self.entries if e.type is EntryType.DEBIT)
        dead = sum(lot.remaining for lot in self.holdings.lots if not live(lot, at))
        held = settled_credits(self.holdings, at)
        assert credited - debited == held + dead == self.holdings.running
        assert [entry.sequence for entry in self.entries] == list(range(1, len(self.entries) + 1))
        assert sum(posting.value for posting in posted.postings) == 0

    def _state(self, at: datetime, result: str, posted: Posted | None) -> Answer:
        spendable = {lot.id: lot.remaining for lot in self.holdings.lots if live(lot, at)}
        closed = self.holdings.wallet.wallet_status is WalletStatus.CLOSED
        held = Decimal(0) if closed else settled_credits(self.holdings, at)
        return {
            "result": result,
            "credit_balance": plain(held),
            "balance": plain(held * self.holdings.wallet.conversion_rate),
            "wallet_status": self.holdings.wallet.wallet_status,
            "lots": {name: plain(spendable.get(LotId(name), Decimal(0))) for name in self.lots},
            "entries": [self._entry(entry, posted) for entry in posted.entries] if posted else [],
        }

    def _entry(self, entry: Entry, posted: Posted) -> Answer:
        if entry.type is EntryType.CREDIT:
            lots = [{"lot": self.lot_of_entry[entry.id], "credits": plain(entry.credits)}]
        else:
            lots = [
                {"lot": part.lot_id, "credits": plain(part.credits)}
                for part in posted.consumptions
                if part.entry_id == entry.id
            ]
        return {
            "type": entry.type,
            "reason": entry.reason,
            "credits": plain(entry.credits),
            "lots": lots,
        }


def _wallet_steps(body: Body) -> Answer:
    story = Story(body["wallet"])
    return {"steps": [story.step(step) for step in body["steps"]]}


def _claim(body: Body) -> Claim:
    return Claim(
        state=ClaimState(body["state"]),
        currency=body["currency"],
        period_end=instant(body["period_end"]),
        lines=tuple(net_line(line) for line in body["lines"]),
        credits_applied=tuple(Decimal(line["credits_applied"]) for line in body["lines"]),
        tax=Decimal(body["tax"]),
        amount_paid=Decimal(body["amount_paid"]),
    )


def _ongoing(answer: Ongoing) -> Answer:
    return {
        "wallet": answer.wallet_id,
        "credit_balance": plain(answer.credit_balance),
        "balance": plain(answer.balance),
        "current_period_usage": plain(answer.current_period_usage),
        "unpaid_invoices_amount": plain(answer.unpaid_invoices_amount),
        "real_time_balance": plain(answer.real_time_balance),
        "real_time_credit_balance": plain(answer.real_time_credit_balance),
    }


def _ongoing_balance(body: Body) -> Answer:
    answers = ongoing_balances(
        [holdings_of(wallet) for wallet in body["wallets"]],
        [_claim(claim) for claim in body["claims"]],
        datetime.fromisoformat(body["at"]),
    )
    return {"wallets": [_ongoing(answer) for answer in answers]}


def _bonus(body: Body) -> Answer:
    setting = body["setting"] or {"enabled": False, "slabs": []}
    slabs = [
        BonusSlab(
            Decimal(slab["threshold"]),
            BonusType(slab["bonus"]["type"]),
            Decimal(slab["bonus"]["value"]),
        )
        for slab in setting["slabs"]
    ]
    try:
        earned = bonus(
            slabs if setting["enabled"] else [],
            Reason(body["reason"]),
            Decimal(body["credits"]),
            decimal(body["explicit"]),
        )
    except Refused as refused:
        return {"error": refused.code, "bonus": None}
    return {"error": None, "bonus": None if earned is None else plain(earned)}


def _auto_topup(body: Body) -> Answer:
    given = body["settings"]
    wait, cap = given["cooldown"], given["max_per_period"]
    settings = AutoTopUp(
        enabled=given["enabled"],
        threshold=Decimal(given["threshold"]),
        amount=Decimal(given["amount"]),
        invoicing=given["invoicing"],
        cooldown=timedelta(**{f"{wait['unit']}s": int(wait["value"])}) if wait else timedelta(),
        cap=int(cap["count"]) if cap else 10,
        cap_period=CapPeriod(cap["unit"]) if cap else CapPeriod.DAY,
    )
    made: list[Made] = []
    answers: list[Answer] = []
    for step in body["steps"]:
        if step["outcome"] is not None:
            paid = step["outcome"] == "paid"
            status = TopUpStatus.COMPLETED if paid else TopUpStatus.FAILED
            made[-1] = replace(made[-1], status=status)
            answers.append({"fired": False, "guard": None})
            continue
        at = datetime.fromisoformat(step["at"])
        kept = guard(settings, made, Decimal(step["ongoing_credits"]), at)
        if kept is None:
            status = TopUpStatus.PENDING if settings.invoicing else TopUpStatus.COMPLETED
            made.append(Made(at, status))
        answers.append({"fired": kept is None, "guard": kept})
    return {"steps": answers}


OPS = {
    "bonus": _bonus,
    "auto_topup": _auto_topup,
    "wallet_create": _wallet_create,
    "wallet_steps": _wallet_steps,
    "ongoing_balance": _ongoing_balance,
}
