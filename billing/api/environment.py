"""What the API works with in one environment: its stores, its usage, and how new things are named."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from billing.ports import Stores, UsageReader
from billing.ports.claims import ClaimStore
from billing.ports.objects import Objects
from billing.ports.outbox import DeliveryStore
from billing.ports.settings import SettingStore

if TYPE_CHECKING:
    from billing.stores.money_reading import MoneyReader


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment of one tenant; threads share it.

    `new_id` names what no fact makes: a prefix and a ULID. `usage` answers what a bill asks of
    meters, from the rows that usage queries are answered from.
    """

    stores: Stores
    reader: "MoneyReader"
    objects: Objects
    settings: SettingStore
    claims: ClaimStore
    webhooks: DeliveryStore
    usage: UsageReader
    new_id: Callable[[str], str]
