"""How single members of requests are read: words out of a list, and whole numbers within bounds."""

from collections.abc import Callable, Iterable

from pydantic_core import PydanticCustomError


def word_of(
    words: Iterable[str], *, cased: Callable[[str], str] | None
) -> Callable[[object], object]:
    """Return a reader of one of these words; without `cased` they are compared exactly.

    >>> word_of(["asc", "desc"], cased=str.lower)("ASC")
    'asc'
    """
    accepted = [str(word) for word in words]

    def read_word(value: object) -> object:
        if value is None or value == "":
            return None
        if isinstance(value, str):
            word = cased(value) if cased else value
            if word in accepted:
                return word
        raise PydanticCustomError(
            "unknown_word",
            "must be one of {listed}",
            {"listed": ", ".join(accepted), "accepted": accepted},
        )

    return read_word
