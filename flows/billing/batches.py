"""What travels between the steps of the billing flow: batches of usage rows, then bills."""

from dataclasses import dataclass

import pyarrow as pa

from billing.accounts import Account
from billing.running import BillingRun
from flows.stores.tables import STORED_MEMBERS
from schemas.errors import Refused
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
class CustomerBill:
    """All that a customer comes to, from the usage that is there so far, or why it was refused.

    A later bill of the same customer takes the place of an earlier one, as cumulative rows do.
    """

    account: Account
    outcome: BillingRun | Refused
