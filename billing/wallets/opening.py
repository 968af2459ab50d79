"""Opening a wallet: what a request must say, and what it need not say (wallets-alerts.md 4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from billing.alerts.levels import check_settings
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import TopUp, top_up
from schemas.errors import AlreadyExists, ValidationFailed
from schemas.ids import CustomerId, WalletId
from schemas.money import minor_units
from schemas.wallet import (
    AllowedType,
    Reason,
    TopUpRequest,
    Wallet,
    WalletRequest,
    WalletStatus,
    WalletType,
)


@dataclass(frozen=True, slots=True)
class TopUpAt:
    """Credits that come into a wallet, and when."""

    at: datetime
    request: TopUp


@dataclass(frozen=True, slots=True)
class WalletOpening:
    """A wallet as it is opened at an instant, and what comes into it later, in order."""

    id: WalletId
    customer_id: CustomerId
    at: datetime
    request: WalletRequest
    top_ups: tuple[TopUpAt, ...] = ()


TITLES = {WalletType.PRE_PAID: "Prepaid Wallet", WalletType.POST_PAID: "Postpaid Wallet"}
RATE_DECIMALS_MAX = 9


def _rate(value: Decimal | None, default: Decimal, field: str) -> Decimal:
    """Return a rate: the default where absent, else above 0 and of at most 9 decimals."""
    if value is None:
        return default
    exponent = value.normalize().as_tuple().exponent
    if value <= 0 or (isinstance(exponent, int) and exponent < -RATE_DECIMALS_MAX):
        raise ValidationFailed("a rate is above 0 and has at most 9 decimals", field=field)
    return value


def _expiry(request: WalletRequest) -> datetime | None:
    """Return when the initial credits expire: the instant, or the start of the YYYYMMDD day."""
    if request.initial_credits_expiry_date_utc is not None:
        return request.initial_credits_expiry_date_utc
    day = request.initial_credits_to_load_expiry_date
    if day is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(str(day)), time(), UTC)
    except ValueError:
        field = "initial_credits_to_load_expiry_date"
        raise ValidationFailed(f"{day} is no day as YYYYMMDD", field=field) from None


def open_wallet(
    request: WalletRequest,
    *,
    wallet_id: WalletId,
    customer_id: CustomerId,
    existing: Iterable[Wallet],
    at: datetime,
) -> Posted:
    """Open the wallet of a customer who is known, with the defaults filled in.

    `existing` are the customer's wallets: a second active one of the same currency and type raises
    AlreadyExists. Initial credits are an entry of the same write. Raises ValidationFailed naming
    the field. A conversion_rate of 0 counts as absent (api-fields.md).
    """
    minor_units(request.currency)
    conversion = _rate(request.conversion_rate or None, Decimal(1), "conversion_rate")
    topup = _rate(request.topup_conversion_rate, conversion, "topup_conversion_rate")
    initial = request.initial_credits_to_load
    if initial < 0:
        raise ValidationFailed("must not be negative", field="initial_credits_to_load")
    if request.priority is not None and request.priority < 0:
        raise ValidationFailed("must not be negative", field="priority")
    overdraft = (request.config and request.config.overdraft_limit) or Decimal(0)
    if overdraft < 0:
        raise ValidationFailed("must not be negative", field="overdraft_limit")
    asked = request.alert_settings
    settings = None if asked is None else asked.settings()
    if settings is not None:
        check_settings(settings)
    currency = request.currency.lower()
    types = tuple((request.config and request.config.allowed_price_types) or (AllowedType.ALL,))
    wallet = Wallet(
        id=wallet_id,
        customer_id=customer_id,
        currency=currency,
        wallet_type=request.wallet_type,
        created_at=at,
        name=request.name or f"{TITLES[request.wallet_type]} - {currency.upper()}",
        description=request.description,
        conversion_rate=conversion,
        topup_conversion_rate=topup,
        allowed_price_types=types,
        overdraft_limit=overdraft,
        priority=request.priority,
        alert_settings=settings,
        metadata=request.metadata,
    )
    for other in existing:
        _check_unique(wallet, other)
    if not initial:
        return Posted(base=0, holdings=Holdings(wallet))
    grant = TopUp(Reason.FREE_CREDIT_GRANT, credits=initial, expires_at=_expiry(request))
    return top_up(Holdings(wallet), grant, at)


def _check_unique(wallet: Wallet, other: Wallet) -> None:
    """Refuse a second active wallet of one customer, currency and type."""
    same = (
        other.customer_id == wallet.customer_id
        and other.currency.lower() == wallet.currency
        and other.wallet_type is wallet.wallet_type
    )
    if same and other.wallet_status is WalletStatus.ACTIVE:
        raise AlreadyExists(
            f"the customer has an active {wallet.wallet_type} wallet in {wallet.currency}",
            field="wallet_type",
        )


def top_up_of(request: TopUpRequest) -> TopUp:
    """Return the ledger's request for a body of a top-up.

    >>> top_up_of(TopUpRequest(credits_to_add="5", transaction_reason="CREDIT_NOTE")).credits
    Decimal('5')
    """
    return TopUp(
        reason=request.transaction_reason,
        credits=request.credits_to_add,
        amount=request.amount,
        priority=request.priority,
        expires_at=request.expiry_date_utc,
        idempotency_key=request.idempotency_key,
        description=request.description,
        metadata=request.metadata,
    )
