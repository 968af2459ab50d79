"""What travels between the steps of the billing flow: batches of usage rows, then bills."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pyarrow as pa

from billing.accounts import Account
from billing.running import BillingRun
from flows.stores.tables import STORED_MEMBERS
from schemas.errors import Refused
from schemas.ids import SubscriptionId, SubscriptionLineId
from schemas.period import Interval
from schemas.usage import USAGE


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
class RunningCharge:
    """What a usage line has come to in its service period so far, settled as its preview is."""

    subscription_id: SubscriptionId
    line_id: SubscriptionLineId
    display_name: str
    meter_id: str
    period: Interval
    quantity: Decimal
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class CustomerBill:
    """All that a customer comes to at an instant, from the usage so far, or why it was refused.

    A later bill of the same customer takes the place of an earlier one, as cumulative rows do.
    `charges` are those of the open periods; a flow that is run once leaves them out.
    """

    account: Account
    at: datetime
    outcome: BillingRun | Refused
    charges: tuple[RunningCharge, ...] = ()
