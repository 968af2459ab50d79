"""Arrow's columns and compute functions, as the type checker is to see them.

The published stubs make `Array` generic, which it is not when the program runs, and know compute
functions only with Arrow's own scalars, while the calls here pass Python's as well.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    Column: TypeAlias = pa.Array[Any]
    Chunks: TypeAlias = pa.ChunkedArray[Any]
else:
    Column = pa.Array
    Chunks = pa.ChunkedArray

compute: Any = pc
