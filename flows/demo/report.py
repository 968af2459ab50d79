"""The demo from its log to its report: usage, invoices, wallets and alerts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from billing.running import BillingRun
from flows.answering import Metered, usage_rows, whole_days
from flows.billing.metered import bill_metered
from flows.catalog import Catalog, load_catalog
from flows.demo.generator import END_AT

USAGE_COLUMNS = ("meter", "external_customer_id", "group", "value", "event_count")


@contextmanager
def catalog_path() -> Iterator[Path]:
    """Give the path of the demo's catalog, also where the package is no folder."""
    with resources.as_file(resources.files("flows.demo").joinpath("catalog.yaml")) as path:
        yield path


def demo_catalog() -> Catalog:
    """Return what the demo sells, to whom."""
    with catalog_path() as path:
        return load_catalog(str(path))


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The usage of the whole log (rows of `flows.answering.COLUMNS`), and what is billed for it."""

    usage: list[dict[str, object]]
    run: BillingRun


def demo_report(catalog: Catalog, metered: Metered) -> DemoReport:
    """Return the usage of the whole log, and what is billed when it ends."""
    period = whole_days(metered.first_event_at, metered.last_event_at)
    assert period is not None, "the demo has events"
    usage = usage_rows(metered, catalog.meters, catalog.names, period)
    return DemoReport(usage, bill_metered(catalog, metered, END_AT))
