"""Memory of batches: kept by the process instead of handed back to the system after each one.

A batch takes tens of megabytes and gives them back some milliseconds later. Each time the system would map
and clear the pages anew, which took a quarter of the whole run before.
"""

import ctypes
import ctypes.util

# What glibc calls these options of mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Tell the allocator to keep what is freed; False where it cannot be told (no glibc)."""
    name = ctypes.util.find_library("c")
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEPT_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
