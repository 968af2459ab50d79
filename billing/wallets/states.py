"""Wallet states: the table of what can happen to a wallet (wallets-alerts.md 4)."""

from enum import StrEnum

from schemas.errors import InvalidOperation
from schemas.wallet import WalletStatus


class WalletAction(StrEnum):
    """What can happen to a wallet as a whole."""

    TERMINATE = "terminate"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


# The whole state machine. What is not in this table cannot happen; closed is final.
TRANSITIONS = {
    (WalletStatus.ACTIVE, WalletAction.TERMINATE): WalletStatus.CLOSED,
    (WalletStatus.ACTIVE, WalletAction.FREEZE): WalletStatus.FROZEN,
    (WalletStatus.FROZEN, WalletAction.UNFREEZE): WalletStatus.ACTIVE,
}


def after(status: WalletStatus, action: WalletAction) -> WalletStatus:
    """Return the status that an action leads to; any other pair raises InvalidOperation.

    >>> after(WalletStatus.ACTIVE, WalletAction.TERMINATE).value
    'closed'
    """
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise InvalidOperation(f"cannot {action} a wallet that is {status}") from None
