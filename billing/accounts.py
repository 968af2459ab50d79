"""Accounts: what billing knows of one customer, so that each is billed for itself.

Nothing but the idempotency keys of top-ups is shared between customers; where those collide is
found before anybody is billed. So who else is billed, where, and in which order, changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from billing.planned_changes import DebitWallet, PlannedChange, TopUpWallet, in_order
from billing.wallets.opening import WalletOpening
from schemas.errors import AlreadyExists
from schemas.ids import CustomerId
from schemas.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Account:
    """A customer with its subscriptions, and with the wallets that are opened for it.

    `external_id` is the name by which events know it, and answers too. `changes` are what happens to
    its subscriptions and wallets later, in order of time.
    """

    customer_id: CustomerId
    external_id: str
    subscriptions: tuple[Subscription, ...] = ()
    openings: tuple[WalletOpening, ...] = ()
    changes: tuple[PlannedChange, ...] = ()


def accounts_of(
    subscriptions: Iterable[Subscription],
    openings: Iterable[WalletOpening],
    names: Mapping[CustomerId, str] | None = None,
    changes: Mapping[CustomerId, Sequence[PlannedChange]] | None = None,
) -> tuple[Account, ...]:
    """Return the account of everybody who has a subscription or a wallet, in order of their names.

    A customer without a name in `names` or in a subscription is called by its id. Subscriptions and
    openings keep the order given. Raises AlreadyExists where top-ups of two customers come with the
    same idempotency key: keys are one space for all wallets (wallets-alerts.md 5).

    >>> accounts_of([], [])
    ()
    """
    known: dict[CustomerId, str] = dict(names or {})
    agreed: dict[CustomerId, list[Subscription]] = {}
    opened: dict[CustomerId, list[WalletOpening]] = {}
    for subscription in subscriptions:
        known[subscription.customer_id] = subscription.external_customer_id
        agreed.setdefault(subscription.customer_id, []).append(subscription)
    for opening in openings:
        opened.setdefault(opening.customer_id, []).append(opening)
    accounts = [
        Account(
            customer_id,
            known.get(customer_id, customer_id),
            tuple(agreed.get(customer_id, ())),
            tuple(opened.get(customer_id, ())),
            tuple(sorted((changes or {}).get(customer_id, ()), key=in_order)),
        )
        for customer_id in agreed.keys() | opened.keys()
    ]
    _check_keys(accounts)
    return tuple(sorted(accounts, key=lambda each: (each.external_id, each.customer_id)))


def _check_keys(accounts: Iterable[Account]) -> None:
    """Refuse an idempotency key that two customers use; inside one account the ledger judges."""
    owners: dict[str, CustomerId] = {}
    for account in accounts:
        for key in _keys(account):
            if key and owners.setdefault(key, account.customer_id) != account.customer_id:
                raise AlreadyExists(
                    f"idempotency key {key!r} was used for another request",
                    field="idempotency_key",
                )


def _keys(account: Account) -> Iterator[str | None]:
    """Yield the idempotency keys of what moves credits of an account."""
    for opening in account.openings:
        yield from (each.request.idempotency_key for each in opening.top_ups)
    for planned in account.changes:
        if isinstance(planned.change, TopUpWallet | DebitWallet):
            yield planned.change.request.idempotency_key
