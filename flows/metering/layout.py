"""The folder of a metering flow: where its state and its recovery store are, in how many shards."""

import json
from pathlib import Path

from bytewax.recovery import init_db_dir

from schemas.errors import ValidationFailed

LAYOUT = "layout.json"


def prepare(data: Path, shards: int) -> tuple[Path, Path]:
    """Make the folders of state and recovery, once, and return them.

    Their number of shards is fixed for their life. Raises ValidationFailed for another number.
    """
    state, recovery = data / "metering", data / "metering" / "recovery"
    layout = state / LAYOUT
    if not layout.exists():
        recovery.mkdir(parents=True, exist_ok=True)
        init_db_dir(recovery, shards)
        layout.write_text(json.dumps({"shards": shards}))
    made_with = json.loads(layout.read_text())["shards"]
    if made_with != shards:
        raise ValidationFailed(
            f"{state} was made with {made_with} shards, which is fixed: set TALLY_SHARDS={made_with}",
            field="shards",
        )
    return state, recovery


def shards_of_folder(data: Path) -> int | None:
    """Return the number of shards that a folder was made with; None if it is new."""
    layout = data / "metering" / LAYOUT
    return int(json.loads(layout.read_text())["shards"]) if layout.exists() else None
