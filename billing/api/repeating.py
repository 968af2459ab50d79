"""Repeating what another writer was first with: a bounded number of times, on fresh reads."""

from collections.abc import Callable
from typing import TypeVar

from schemas.errors import VersionConflict

Result = TypeVar("Result")

ATTEMPTS = 4


def repeated(work: Callable[[], Result]) -> Result:
    """Do something, and do it again where what it was decided on has moved on meanwhile.

    Raises VersionConflict where that happens every time.

    >>> repeated(lambda: "done")
    'done'
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except VersionConflict:
            continue
    return work()
