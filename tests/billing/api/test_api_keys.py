"""Idempotency keys: one for a request, from its body or its header (platform.md 6)."""

from types import SimpleNamespace
from typing import Any

import pytest

from billing.api.idempotency import key_of
from schemas.errors import ValidationFailed


def call(header: str) -> Any:
    return SimpleNamespace(idempotency_key=header)


@pytest.mark.parametrize(
    ("header", "named", "key"),
    [("", None, None), ("h", None, "h"), ("", "b", "b"), ("same", "same", "same")],
)
def test_the_key_is_that_of_body_or_header(header: str, named: str | None, key: str | None) -> None:
    assert key_of(call(header), named) == key


@pytest.mark.parametrize(("header", "named"), [("h", "b"), ("h" * 256, None), ("", "b" * 256)])
def test_two_keys_and_long_ones_are_refused(header: str, named: str | None) -> None:
    with pytest.raises(ValidationFailed) as caught:
        key_of(call(header), named)
    assert caught.value.field == "idempotency_key"
