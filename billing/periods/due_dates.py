"""Due dates: until when an invoice is to be paid, and when not paying it has consequences."""

from datetime import datetime

from billing.periods.grid import days_later
from schemas.collection import PaymentTerms
from schemas.errors import NotBuiltYet, ValidationFailed

# Local days after the end of the period.
NET_DAYS = {
    PaymentTerms.NET_15: 15,
    PaymentTerms.NET_30: 30,
    PaymentTerms.NET_45: 45,
    PaymentTerms.NET_60: 60,
    PaymentTerms.NET_75: 75,
    PaymentTerms.NET_90: 90,
}


def due_date(
    period_end: datetime,
    timezone: str,
    *,
    terms: PaymentTerms | None,
    due_date_days: int | None,
    finalized_at: datetime,
) -> datetime:
    """Return when an invoice is due: so many local days after its period.

    The days are those of the payment terms, else `due_date_days`; with neither it is due when it is
    finalized. Raises ValidationFailed for negative days, NotBuiltYet for terms that count in months.
    Source: billing.md 15.4 and 20.

    >>> from datetime import UTC
    >>> february = datetime(2026, 2, 1, tzinfo=UTC)
    >>> due_date(february, "UTC", terms=PaymentTerms.NET_15, due_date_days=1,
    ...          finalized_at=february).day
    16
    """
    if terms is not None:
        if terms not in NET_DAYS:
            raise NotBuiltYet(f"payment terms {terms} are not built yet", field="payment_terms")
        return days_later(period_end, NET_DAYS[terms], timezone)
    if due_date_days is None:
        return finalized_at
    if due_date_days < 0:
        raise ValidationFailed("must not be negative", field="due_date_days")
    return days_later(period_end, due_date_days, timezone)


def unpaid_too_long(
    due_at: datetime, at: datetime, *, grace_period_days: int, timezone: str
) -> bool:
    """Tell whether an unpaid invoice is so late that its subscription is cancelled, if enabled.

    Source: billing.md 9.1; setting subscription_config.grace_period_days.

    >>> from datetime import UTC
    >>> due = datetime(2026, 2, 1, tzinfo=UTC)
    >>> unpaid_too_long(due, due.replace(day=4), grace_period_days=3, timezone="UTC")
    True
    """
    return at >= days_later(due_at, grace_period_days, timezone)
