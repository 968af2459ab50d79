"""Digests of 128 bits: MD5 by a vectorised kernel, because its values are fixed for ever.

They name things (ids, members); nobody relies on them to resist an attacker.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.kernels import select

# Sixteen digits stand for the scope, so that the whole mostly fits one block of MD5.
_SCOPES = """
SELECT md5(concat(length(tenant_id), ':', tenant_id, environment_id))[:16] AS scope FROM rows
"""
_IDENTITY = "SELECT md5_number(concat(scope, event_id)) AS digest FROM rows"


def text_digests(texts: pa.Array) -> pa.Array:
    """Return the MD5 of each text's UTF-8 bytes as binary(16); null where the text is null.

    >>> text_digests(pa.array(["a"]))[0].as_py().hex()
    '0cc175b9c0f1b6a831c399e269772661'
    """
    if len(texts) == 0:
        return pa.array([], pa.binary(16))
    digests = select("SELECT unhex(md5(text)) AS digest FROM rows", rows=pa.table({"text": texts}))
    return pc.cast(digests["digest"].combine_chunks(), pa.binary(16))


def identity_digests(events: pa.Table) -> pa.Array:
    """Return the digest of each event's (tenant, environment, event id) as binary(16).

    in:  tenant_id, environment_id, event_id
    """
    if not events.num_rows:
        return pa.array([], pa.binary(16))
    rows = pa.table({"scope": _scopes(events), "event_id": events["event_id"]})
    digests = select(_IDENTITY, rows=rows)["digest"]
    # DuckDB hands a HUGEINT over as 16 bytes, which are the bytes of the MD5.
    chunks = [
        pa.Array.from_buffers(
            pa.binary(16), len(chunk), [None, chunk.buffers()[1]], 0, chunk.offset
        )
        for chunk in digests.chunks
    ]
    return pa.chunked_array(chunks).combine_chunks()


def _scopes(events: pa.Table) -> pa.Array:
    """Return the digest of each event's tenant and environment, worked out once for each pair."""
    names = events.select(["tenant_id", "environment_id"])
    distinct = names.group_by(names.column_names, use_threads=False).aggregate([])
    scopes = select(_SCOPES, rows=distinct)["scope"]
    if distinct.num_rows == 1:
        return pa.repeat(scopes[0], events.num_rows)
    known = distinct.append_column("scope", scopes)
    rows = names.append_column("row", pa.array(np.arange(events.num_rows)))
    joined = rows.join(known, names.column_names).sort_by("row")
    return joined["scope"].combine_chunks()


def halves(digests: pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the high and the low 64 bits of binary(16) digests, for arithmetic on them."""
    words = (
        np.frombuffer(digests.buffers()[1], np.uint64) if len(digests) else np.empty(0, np.uint64)
    )
    words = words[2 * digests.offset :][: 2 * len(digests)].reshape(-1, 2)
    return words[:, 1], words[:, 0]


def fingerprints(values: pa.Array) -> npt.NDArray[np.uint64]:
    """Return a quick 64-bit hash of each value: unequal means different, equal is only a hint.

    The hash may change with DuckDB's version, so nothing but a hint may rest on it.
    """
    if len(values) == 0:
        return np.empty(0, np.uint64)
    hashes = select("SELECT hash(value) AS fingerprint FROM rows", rows=pa.table({"value": values}))
    return np.asarray(hashes["fingerprint"].to_numpy(), np.uint64)
