"""The kinds of a property's value, as they stand in Arrow columns beside the texts."""

from enum import IntEnum


class Kind(IntEnum):
    """What JSON a property holds; MISSING where the event has no such property. Stored as uint8."""

    MISSING = 0
    NULL = 1
    FALSE = 2
    TRUE = 3
    NUMBER = 4
    TEXT = 5
    ARRAY = 6
    OBJECT = 7
