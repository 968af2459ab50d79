"""What an instance on one folder takes where nothing was said: settings, and a catalog to begin with."""

import os
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from flows.catalog import Catalog, load_catalog
from flows.metering.layout import shards_of_folder
from flows.settings import Settings, read_settings_file, resolve


def dev_settings(
    flags: Mapping[str, object], defaults: Mapping[str, object], file: str | None
) -> Settings:
    """Return the settings of an instance in one process; a folder keeps the shards it was made with.

    Raises ValidationFailed.
    """
    said = read_settings_file(file) if file else {}
    settings = resolve(flags=flags, environment=os.environ, file=said, defaults=defaults)
    made_with = shards_of_folder(Path(settings.data))
    if made_with is None or "TALLY_SHARDS" in os.environ or "shards" in said:
        return settings
    return resolve(
        flags=flags, environment=os.environ, file=said, defaults={**defaults, "shards": made_with}
    )


def catalog_of(settings: Settings) -> tuple[Catalog, str]:
    """Return the catalog that the settings name, or the sample, and a line that says which."""
    if settings.catalog:
        loaded = load_catalog(settings.catalog)
        return loaded, f"{settings.catalog}: {len(loaded.meters)} meters"
    with as_file(files("flows.serving") / "sample.yaml") as path:
        loaded = load_catalog(str(path))
    names = ", ".join(sorted(loaded.names[meter.id] for meter in loaded.meters))
    return loaded, f"the sample, with three meters: {names} (--catalog FILE loads yours)"
