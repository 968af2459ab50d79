"""The statements of `billing/stores/webhooks.py`, each for the scope that it is run in."""

from sqlalchemy import and_, bindparam, func, insert, literal_column, or_, select, update

from billing.stores.money_models import OutboxMessageRow
from billing.stores.outbox import COUNTED, MESSAGE, OF_SCOPE
from billing.stores.scoped import here, table_of
from billing.stores.transactions import Upsert
from billing.stores.webhook_models import AttemptRow, DeliveryRow, EndpointRow, LaneRow
from schemas.webhook import DeliveryStatus

# The lock of whoever makes deliveries, or changes who gets them.
FAN_OUT = ("webhooks", "fan_out")

ENDPOINT = (
    select(EndpointRow.record).where(here(EndpointRow)).where(EndpointRow.id == bindparam("name"))
)
ENDPOINTS = (
    select(EndpointRow.record)
    .where(here(EndpointRow))
    .where(~EndpointRow.deleted)
    .order_by(EndpointRow.created_at.desc(), EndpointRow.id.desc())
)
PUT_ENDPOINT = Upsert(EndpointRow)

IS_UNSEEN = and_(
    OF_SCOPE, OutboxMessageRow.fanned_out_at.is_(None), OutboxMessageRow.event.is_not(None)
)
UNSEEN = (
    select(OutboxMessageRow.sequence, OutboxMessageRow.key, OutboxMessageRow.event)
    .where(IS_UNSEEN)
    .order_by(OutboxMessageRow.sequence)
    .limit(bindparam("rows"))
)
SEEN = (
    update(table_of(OutboxMessageRow))
    .where(OF_SCOPE)
    .where(OutboxMessageRow.sequence == bindparam("place"))
    .values(fanned_out_at=bindparam("then"))
)
UNSEEN_BACKLOG = select(COUNTED, func.min(OutboxMessageRow.at).label("oldest_at")).where(IS_UNSEEN)

# A lane that has something to send keeps what is first in it.
JOIN_LANE = Upsert(
    LaneRow,
    sets={
        "sequence": "coalesce(webhook_lanes.sequence, excluded.sequence)",
        "due_at": "coalesce(webhook_lanes.due_at, excluded.due_at)",
    },
)
OF_ENDPOINT = and_(here(LaneRow), LaneRow.endpoint_id == bindparam("name"))
IS_DUE = and_(
    LaneRow.due_at <= bindparam("at"),
    or_(LaneRow.lease_until.is_(None), LaneRow.lease_until <= bindparam("at")),
)
DUE_ENDPOINTS = (
    select(LaneRow.endpoint_id)
    .where(here(LaneRow))
    .where(IS_DUE)
    .distinct()
    .order_by(LaneRow.endpoint_id)
)
DUE_LANES = (
    select(LaneRow.key)
    .where(OF_ENDPOINT)
    .where(IS_DUE)
    .order_by(LaneRow.due_at, LaneRow.key)
    .limit(bindparam("rows"))
    .with_for_update(skip_locked=True)
)
LANE = (
    select(LaneRow.sequence, LaneRow.due_at, LaneRow.lease_until)
    .where(OF_ENDPOINT)
    .where(LaneRow.key == bindparam("lane"))
    .with_for_update()
)
LEASE_LANE = (
    update(table_of(LaneRow))
    .where(OF_ENDPOINT)
    .where(LaneRow.key == bindparam("lane"))
    .values(lease_until=bindparam("until"))
)
SET_LANE = (
    update(table_of(LaneRow))
    .where(OF_ENDPOINT)
    .where(LaneRow.key == bindparam("lane"))
    .values(sequence=bindparam("first"), due_at=bindparam("due"), lease_until=None)
)
CLEAR_LANES = (
    update(table_of(LaneRow))
    .where(OF_ENDPOINT)
    .values(sequence=None, due_at=None, lease_until=None)
)

FIRST = (
    select(*MESSAGE, DeliveryRow.created_at, DeliveryRow.status, DeliveryRow.attempts)
    .select_from(LaneRow)
    .join(
        DeliveryRow,
        and_(
            here(DeliveryRow),
            DeliveryRow.endpoint_id == LaneRow.endpoint_id,
            DeliveryRow.sequence == LaneRow.sequence,
        ),
    )
    .join(OutboxMessageRow, OutboxMessageRow.sequence == LaneRow.sequence)
    .where(OF_ENDPOINT)
    .where(LaneRow.key.in_(bindparam("lanes", expanding=True)))
    .order_by(LaneRow.due_at, LaneRow.key)
)
TO_ENDPOINT = and_(here(DeliveryRow), DeliveryRow.endpoint_id == bindparam("name"))
COLUMNS = (
    DeliveryRow.sequence,
    DeliveryRow.key,
    DeliveryRow.created_at,
    DeliveryRow.status,
    DeliveryRow.attempts,
)
DELIVERIES = select(*COLUMNS).where(TO_ENDPOINT).order_by(DeliveryRow.sequence)
DELIVERY = select(*COLUMNS).where(TO_ENDPOINT).where(DeliveryRow.sequence == bindparam("place"))
ADD_DELIVERY = insert(table_of(DeliveryRow))
SET_DELIVERY = (
    update(table_of(DeliveryRow))
    .where(TO_ENDPOINT)
    .where(DeliveryRow.sequence == bindparam("place"))
    .values(status=bindparam("now"), attempts=bindparam("tries"))
)
# Spelled out, as the condition of the index is: a parameter would not be known to match it.
IS_PENDING = DeliveryRow.status == literal_column(f"'{DeliveryStatus.PENDING}'")
STOP = (
    update(table_of(DeliveryRow))
    .where(TO_ENDPOINT)
    .where(IS_PENDING)
    .values(status=bindparam("now"))
)
NEXT_PENDING = (
    select(func.min(DeliveryRow.sequence))
    .where(TO_ENDPOINT)
    .where(IS_PENDING)
    .where(DeliveryRow.key == bindparam("lane"))
)
PENDING_BACKLOG = (
    select(COUNTED, func.min(DeliveryRow.created_at).label("oldest_at"))
    .where(here(DeliveryRow))
    .where(IS_PENDING)
)

ADD_ATTEMPT = insert(table_of(AttemptRow))
ATTEMPTS = (
    select(
        AttemptRow.number,
        AttemptRow.at,
        AttemptRow.status,
        AttemptRow.failure,
        AttemptRow.latency_ms,
        AttemptRow.answer,
    )
    .where(here(AttemptRow))
    .where(AttemptRow.endpoint_id == bindparam("name"), AttemptRow.sequence == bindparam("place"))
    .order_by(AttemptRow.number)
)
