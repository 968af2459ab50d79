"""The log of alerts over HTTP: changes of state of all that is watched (api.md 4.17)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing.api.customers import customer_answer
from billing.api.features import feature_answers, settings_answer
from billing.api.listing import Listing, expanded, page_of, query_for, said, unknown
from billing.api.reading import read
from billing.api.routing import Built, Call
from billing.api.wallet_answers import showing, wallet_answer
from billing.api.wire import Answer
from schemas.alert import Alert, log_id
from schemas.api.answers.alerts import AlertInfo, AlertLogResponse, ListAlertLogsResponse
from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.features import FeatureResponse
from schemas.api.answers.wallets import WalletResponse
from schemas.api.requests.alerts import AlertLogFilter
from schemas.scope import Scope
from schemas.stored import Status


@dataclass(frozen=True, slots=True)
class AlertFields:
    """What alerts are asked by, beside what every record has."""

    entity_type: str
    entity_id: str
    customer_id: str
    alert_type: str
    alert_status: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What is shown beside alerts, by ids; what was not asked for is empty."""

    customers: Mapping[str, CustomerResponse]
    wallets: Mapping[str, WalletResponse]
    features: Mapping[str, FeatureResponse]


CUSTOMER, WALLET, FEATURE = "customer", "wallet", "feature"
ALERTS = Listing(
    AlertFields,
    {name: name for name in AlertFields.__slots__},
    frozenset({CUSTOMER, WALLET, FEATURE}),
)
SORTS = frozenset({"id", "created_at", "updated_at", *AlertFields.__slots__})
# What the parent of an entity is, where it has one.
PARENTS = {
    "feature": WALLET,
    "subscription_line_item": "subscription",
    "group": "subscription",
    "entitlement_grant": "subscription",
}


def alert_answer(alert: Alert, scope: Scope, beside: Beside) -> AlertLogResponse:
    """Return one change of state; the wallet of a feature's is its parent."""
    wallet = alert.entity_id if alert.entity_type == WALLET else alert.parent_id
    # Its words are those of what is watched; the answer refuses any other.
    entity_type: Any = alert.entity_type
    return AlertLogResponse(
        id=log_id(alert),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        status=Status.PUBLISHED.value,
        created_at=alert.at,
        updated_at=alert.at,
        created_by="",
        updated_by="",
        entity_type=entity_type,
        entity_id=alert.entity_id,
        parent_entity_type=None if alert.parent_id is None else PARENTS.get(alert.entity_type),
        parent_entity_id=alert.parent_id,
        customer_id=alert.customer_id or None,
        alert_type=alert.alert_type.value,
        alert_status=alert.status.value,
        alert_info=AlertInfo(
            alert_settings=settings_answer(alert.settings),
            value_at_time=alert.value,
            timestamp=alert.at,
        ),
        customer=beside.customers.get(alert.customer_id),
        wallet=beside.wallets.get(wallet or ""),
        feature=beside.features.get(alert.entity_id) if alert.entity_type == FEATURE else None,
    )


def search_alerts(call: Call) -> Answer:
    """Show a page of changes of state, the newest first."""
    asked = read(AlertLogFilter, call.json)
    expands = expanded(asked.expand, ALERTS.expands)
    names = ("entity_type", "entity_id", "alert_type", "alert_status", "customer_id")
    query = query_for(asked, ALERTS, said({name: getattr(asked, name) for name in names}))
    for sort in query.sort:
        if sort.field not in SORTS:
            raise unknown("sort", str(sort.field), SORTS)
    rows, total = call.environment.reader.alerts_where(query)
    beside = _beside(call, rows, expands)
    return page_of(rows, total, asked, lambda alert: alert_answer(alert, call.scope, beside))


def _beside(call: Call, rows: tuple[Alert, ...], expands: frozenset[str]) -> Beside:
    """Return what is asked for beside some alerts."""
    kept, at, scope = call.environment, call.services.clock(), call.scope
    customers: dict[str, CustomerResponse] = {}
    wallets: dict[str, WalletResponse] = {}
    features: dict[str, FeatureResponse] = {}
    if CUSTOMER in expands:
        found = kept.objects.customers.those({alert.customer_id for alert in rows})
        customers = {name: customer_answer(each, scope) for name, each in found.items()}
    if WALLET in expands:
        names = {name for alert in rows for name in (alert.entity_id, alert.parent_id) if name}
        held = kept.reader.wallets_by_id(names)
        how = showing(kept, scope, at, held.values())
        wallets = {name: wallet_answer(each, how) for name, each in held.items()}
    if FEATURE in expands:
        named = {alert.entity_id for alert in rows if alert.entity_type == FEATURE}
        stored = list(kept.objects.features.those(named).values())
        features = {each.id: each for each in feature_answers(kept.objects, stored, scope)}
    return Beside(customers, wallets, features)


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/alerts/search"): Built(
        search_alerts, takes=AlertLogFilter, gives=ListAlertLogsResponse
    ),
}
