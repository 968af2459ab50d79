"""What both forms of billing share: whom flow and scheduler tell, and a single pass on demand."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from billing.ports import Stores, UsageReader
from billing.stores.turns import turn
from billing.use_cases.passes import AccountPass, PassFailure, PassReport
from flows.billing.batches import KeptClaims
from flows.billing.claims_flow import ClaimHooks
from flows.billing.live import now
from flows.billing.money import opened_money, put_into
from flows.billing.scheduling import PassHooks, Scheduler, Turn
from flows.billing_usage import AnsweredUsage
from flows.catalog import load_catalog
from flows.connectors.usage_answers import StoredAnswers
from flows.data_folder import STORE_FOLDER
from flows.metrics.billing_series import billing_series
from flows.metrics.series import series
from flows.serving.folder_lock import FolderLock
from flows.settings import Settings
from flows.stores.clickhouse import Store, open_store
from flows.stores.receipts import earliest_received_since
from schemas.alert import Alert
from schemas.errors import Refused, StoreError
from schemas.ids import CustomerId
from schemas.scope import Scope

JOB = "pass"


def _ignore() -> None:
    """Do nothing with a sign of life."""


@dataclass(slots=True)
class Telling:
    """Tells the log and the metrics of one environment what billing does.

    `until` is up to when usage is in the claims that this process keeps, None as long as it is not
    known.
    """

    environment: str
    until: datetime | None = None

    def hooks(self, on_heartbeat: Callable[[], None] = _ignore) -> ClaimHooks:
        """Return whom the flow tells."""
        return ClaimHooks(self.kept, self.alerted, self.refused, on_heartbeat)

    def scheduler(
        self,
        stores: Stores,
        answers: Store,
        scope: Scope,
        *,
        usage_until: Callable[[], datetime | None],
        mine: Turn,
        on_heartbeat: Callable[[], None] = _ignore,
    ) -> Scheduler:
        """Return the scheduler of a scope; `answers` is read by its thread."""
        hooks = PassHooks(self.passed, self.pass_failed, on_heartbeat)
        return Scheduler(stores, usage_until, usage_in(answers, scope), now, mine, hooks)

    def kept(self, kept: KeptClaims) -> None:
        """Take note of what a flush has kept."""
        self.until = kept.until or self.until
        billing_series().kept(self.environment, kept)

    def alerted(self, customer: str, alert: Alert) -> None:
        """Tell of an alert."""
        labels = self.environment, str(alert.alert_type), str(alert.status)
        series().alerts.labels(*labels).inc()
        _log().warning(
            "alert", customer=customer, type=str(alert.alert_type), state=str(alert.status)
        )

    def refused(self, customer: str, why: Refused) -> None:
        """Tell why a customer's claims could not be made."""
        _log().error("not billed", customer=customer, problem=str(why))

    def passed(self, report: PassReport, seconds: float) -> None:
        """Take note of what a pass has done."""
        for each in report.passed:
            billing_series().billed(self.environment, each.invoices)
        for failure in report.failed:
            _log().error("pass failed", customer=failure.customer_id, problem=str(failure.error))
        if report.passed or report.failed:
            billing_series().ran(JOB, seconds, failed=bool(report.failed))

    def pass_failed(self, why: StoreError, seconds: float) -> None:
        """Tell what kept a pass from being made."""
        _log().error("no pass", problem=str(why))
        billing_series().ran(JOB, seconds, failed=True)


@dataclass(frozen=True, slots=True)
class OncePassed:
    """What a pass on demand did, with the names by which the customers are known."""

    passed: tuple[AccountPass, ...]
    failed: tuple[PassFailure, ...]
    names: dict[CustomerId, str]


def pass_once(settings: Settings, at: datetime, catalog: str | None) -> OncePassed:
    """Do everything that is due by an instant, once, without Kafka, and return what that was.

    On ClickHouse and SQL by their URLs, or on a folder that nobody holds. A `catalog` is put into the
    money store first. Raises ValidationFailed, StoreError, and InvalidOperation for a folder in use.
    """
    data, scope = Path(settings.data), Scope(settings.tenant, settings.environment)
    passed: list[AccountPass] = []
    failed: list[PassFailure] = []
    with ExitStack() as held:
        if not (settings.clickhouse_url and settings.database_url):
            held.enter_context(FolderLock(data))
        database, stores = opened_money(settings, held)
        location = settings.clickhouse_url or str(data / STORE_FOLDER)
        answers = held.enter_context(open_store(location, settings.clickhouse_database))
        if catalog:
            put_into(database, stores, scope, load_catalog(catalog))
        usage = usage_in(answers, scope)
        mine = partial(turn, database, scope, JOB)
        scheduler = Scheduler(stores, lambda: at, usage, lambda: at, mine, watches=True)
        while True:
            report = scheduler.pass_at(at)
            passed += report.passed
            failed += report.failed
            if not (report.more and report.passed):
                break
        customers = {each.customer_id for each in passed} | {each.customer_id for each in failed}
        names = {customer: stores.external_id_of(customer) for customer in sorted(customers)}
    return OncePassed(tuple(passed), tuple(failed), names)


def usage_in(answers: Store, scope: Scope) -> Callable[[CustomerId], UsageReader]:
    """Return whom to ask for the usage of a customer, as a store has it then."""
    usage = AnsweredUsage(
        StoredAnswers(answers), scope, partial(earliest_received_since, answers, scope)
    )
    return lambda _: usage


def _log() -> structlog.stdlib.BoundLogger:
    """Return the log of the program."""
    log: structlog.stdlib.BoundLogger = structlog.get_logger("tally")
    return log
