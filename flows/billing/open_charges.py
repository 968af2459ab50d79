"""Running charges by line: what the open periods of a customer cost so far, for whoever reads."""

from datetime import datetime

from billing.accounts import Account
from billing.periods.services import as_known, open_services
from billing.ports import UsageReader
from billing.pricing.charging import Charging
from flows.billing.batches import RunningCharge


def open_charges(account: Account, usage: UsageReader, at: datetime) -> tuple[RunningCharge, ...]:
    """Return the charge of each usage line that runs at an instant, in order of subscriptions.

    They are the numbers that the open claims of the ongoing balance are made of (`billing.wallets.claims`).

    >>> from datetime import UTC
    >>> from typing import cast
    >>> from schemas.ids import CustomerId
    >>> nobody = Account(CustomerId("c"), "acme")
    >>> open_charges(nobody, cast("UsageReader", None), datetime(2026, 1, 1, tzinfo=UTC))
    ()
    """
    found = []
    for subscription in account.subscriptions:
        known = as_known(subscription, at)
        running, _ = open_services(known, at)
        charging = Charging(known, usage, at)
        for service in running:
            assert service.line.meter is not None, "open services are those of usage"
            charge = charging.charge(service)
            found.append(
                RunningCharge(
                    subscription.id,
                    service.line.id,
                    service.line.display_name,
                    service.line.meter.id,
                    service.period,
                    charge.quantity,
                    charge.amount,
                    subscription.currency.lower(),
                )
            )
    return tuple(found)
