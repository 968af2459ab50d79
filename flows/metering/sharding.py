"""Shards: which part of a batch goes where. Keys are fixed for the life of a deployment.

Identities are sharded by the digest of the id, so that all copies of an id meet; cells by the digest of
the customer, so that one shard knows all about a customer.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.digests import halves, text_digests
from operators.partials import Partials, empty


def shard_key(shard: int) -> str:
    """Return the key by which Bytewax routes a shard.

    >>> shard_key(3)
    '0003'
    """
    return f"{shard:04d}"


def identity_shards(digests: pa.Array, shards: int) -> np.ndarray:
    """Return the shard of each digest of an id."""
    return (halves(digests)[0] % np.uint64(shards)).astype(np.int64)


def by_identity(copies: pa.Table, shards: int) -> Iterator[tuple[int, pa.Table]]:
    """Split COPIES by identity shard; shards without a row are left out."""
    if shards == 1:
        yield 0, copies
        return
    numbers = identity_shards(copies["event_digest"].combine_chunks(), shards)
    for shard in np.unique(numbers):
        yield int(shard), copies.filter(pa.array(numbers == shard))


def by_customer(partials: dict[str, Partials], shards: int) -> list[dict[str, Partials]]:
    """Split partials by the shard of their customer; each shard gets its part, even if that is nothing."""
    if shards == 1:
        return [partials]
    parts: list[dict[str, Partials]] = [{} for _ in range(shards)]
    for name, whole in partials.items():
        rows = customer_shards(whole.table, shards)
        members = None if whole.members is None else customer_shards(whole.members, shards)
        for shard, part in enumerate(parts):
            table = whole.table.filter(pa.array(rows == shard))
            some = empty(name).members
            if whole.members is not None:
                some = whole.members.filter(pa.array(members == shard))
            part[name] = Partials(table, some)
    return parts


def customer_shards(table: pa.Table, shards: int) -> np.ndarray:
    """Return the shard of each row's customer."""
    encoded = pc.dictionary_encode(table["external_customer_id"]).combine_chunks()
    numbers = identity_shards(text_digests(encoded.dictionary), shards)
    return np.asarray(numbers[encoded.indices.to_numpy()])
