"""JSON values kept as they were written: which digits a number had is never lost by reading it.

Everything here takes texts that `operators.json_text` found in order: so nothing here can fail, and
nesting is bounded.
"""

import msgspec

# The last of equal keys counts, which is the rule of metering.md 2.1.
OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
TEXT = msgspec.json.Decoder(str)


def is_absent(raw: msgspec.Raw | None) -> bool:
    """Tell whether a member is not there, null or the empty text, which all mean the same.

    >>> is_absent(None), is_absent(msgspec.Raw(b"null")), is_absent(msgspec.Raw(b"0"))
    (True, True, False)
    """
    return raw is None or bytes(raw) in (b"null", b'""')


def text_of(raw: msgspec.Raw) -> str | None:
    """Return the content of a text, or None for a value of any other type.

    >>> text_of(msgspec.Raw(b'"a"')), text_of(msgspec.Raw(b"5"))
    ('a', None)
    """
    written = bytes(raw)
    return TEXT.decode(written) if written.startswith(b'"') else None


def without_repeats(written: bytes) -> bytes:
    """Return a JSON value in which no object has a key twice: the last one counts, at every level.

    A text without any repeated key may come back as it was written.

    >>> without_repeats(b'{"n": 1.50, "n": 2.50}'), without_repeats(b'{"n": 1.50}')
    (b'{"n":2.50}', b'{"n": 1.50}')
    """
    # As many keys as colons: then no key repeats, and nothing below has any.
    if written.startswith(b"{") and len(OBJECT.decode(written)) == written.count(b":"):
        return written
    return _rewritten(written)


def _rewritten(written: bytes) -> bytes:
    """Write a value anew without repeated keys; its depth is bounded, so recursion is safe."""
    if written.startswith(b"{"):
        members = OBJECT.decode(written)
        return msgspec.json.encode(
            {key: msgspec.Raw(_rewritten(bytes(value))) for key, value in members.items()}
        )
    if written.startswith(b"["):
        items = ARRAY.decode(written)
        return msgspec.json.encode([msgspec.Raw(_rewritten(bytes(item))) for item in items])
    return written
