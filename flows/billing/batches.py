"""What travels between the steps of the billing flow: batches of usage rows, then bills or claims."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from billing.accounts import Account
from flows.metering.observing import Receipts
from flows.stores.tables import STORED_MEMBERS
from schemas.alert import Alert
from schemas.errors import Refused
from schemas.period import Interval
from schemas.usage import USAGE

if TYPE_CHECKING:
    from billing.running import BillingRun


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """Cumulative rows of cells (USAGE) and members of cells that count them (STORED_MEMBERS).

    Rows and their members need not come in one batch; nothing rests on how they are cut.
    """

    rows: pa.Table
    members: pa.Table


NOTHING = UsageBatch(USAGE.empty_table(), STORED_MEMBERS.empty_table())


@dataclass(frozen=True, slots=True)
class ShardedUsage:
    """The part of a batch that belongs to the customers of one shard, perhaps nothing."""

    shard: int
    usage: UsageBatch


@dataclass(frozen=True, slots=True)
class CustomerBill:
    """All that a customer comes to at an instant, from the usage so far, or why it was refused.

    A later bill of the same customer takes the place of an earlier one, as cumulative rows do.
    """

    account: Account
    at: datetime
    outcome: "BillingRun | Refused"


@dataclass(frozen=True, slots=True)
class PublishedUsage:
    """Rows that metering has stored and published, on their way to those who keep claims.

    `missed` holds windows of which rows were left out: they are to be read from the store. `begins`
    is 1 on the first of each partition, empty or not: what was stored before is to be read once all
    have begun. All usage of the `partition` that was accepted before `until` is in this or came before.
    `receipts` tell when the events were accepted that are new in the rows.
    """

    rows: pa.Table
    missed: Interval | None = None
    begins: int = 0
    until: datetime | None = None
    receipts: tuple[Receipts, ...] = ()
    partition: str = ""


@dataclass(frozen=True, slots=True)
class ShardNews:
    """The part of published usage that belongs to the customers of one shard, perhaps no row."""

    shard: int
    published: PublishedUsage


@dataclass(frozen=True, slots=True)
class KeptClaims:
    """What a flush of a shard has kept: how many claims, which alerts it told, whom it refused.

    `at` is when balances showed it; alerts and refusals come with the customers' names. Where nobody
    waits any more, all usage before `until` is in the claims.
    """

    at: datetime
    customers: int
    alerts: tuple[tuple[str, Alert], ...] = ()
    refused: tuple[tuple[str, Refused], ...] = ()
    receipts: tuple[Receipts, ...] = ()
    until: datetime | None = None
