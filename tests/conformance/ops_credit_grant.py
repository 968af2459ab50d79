"""Adapters for credit_grant.json: which grants may be created, and which periods they give."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from billing.periods.schedules import schedule
from billing.wallets.credit_grants import create_grant
from billing.wallets.grant_applications import process
from billing.wallets.grant_periods import GrantFacts, Pause
from schemas.credit_grant import (
    ApplicationStatus,
    CreditGrant,
    CreditGrantId,
    CreditGrantRequest,
    ExpirationType,
    ExpirationUnit,
    GrantApplication,
    GrantApplicationId,
    GrantCadence,
    GrantScope,
)
from schemas.decimals import plain
from schemas.errors import Refused
from schemas.ids import SubscriptionId
from schemas.money import total
from schemas.price import BillingPeriod

FILES = ("credit_grant.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _facts(body: Body) -> GrantFacts:
    cycle = schedule(
        "anniversary",
        body["billing_period"],
        body["billing_period_count"],
        datetime.fromisoformat(body["start"]),
        end=_instant(body["end"]),
    )
    pauses = [
        Pause(datetime.fromisoformat(each["from"]), _instant(each["to"])) for each in body["pauses"]
    ]
    name = SubscriptionId("subscription")
    return GrantFacts(name, cycle, _instant(body["active_from"]), cycle.end, tuple(pauses))


def _grant(body: Body) -> CreditGrant:
    unit = body["expiration_duration_unit"]
    return CreditGrant(
        id=CreditGrantId("grant"),
        scope=GrantScope.SUBSCRIPTION,
        credits=Decimal(body["credits"]),
        cadence=GrantCadence(body["cadence"]),
        expiration_type=ExpirationType(body["expiration_type"]),
        period=None if body["period"] is None else BillingPeriod(body["period"]),
        period_count=body["period_count"] or 1,
        expiration_duration=body["expiration_duration"],
        expiration_duration_unit=None if unit is None else ExpirationUnit(unit),
        start_date=datetime.fromisoformat(body["start"]),
        end_date=_instant(body["end"]),
        anchor=_instant(body["anchor"]),
    )


def _shown(row: GrantApplication) -> Answer:
    return {
        "period_start": row.period_start,
        "period_end": row.period_end,
        "status": row.status,
        "reason": row.reason,
        "credits": plain(row.credits),
        "expires_at": row.expires_at,
        "applied_at": row.applied_at,
        "skipped_because": row.skipped_because,
    }


def _schedule(body: Body) -> Answer:
    grant, facts = _grant(body["grant"]), _facts(body["subscription"])
    rows: dict[GrantApplicationId, GrantApplication] = {}
    last = None
    for run in body["runs"]:
        for row in process(grant, facts, last, datetime.fromisoformat(run)):
            rows[row.id] = last = row
    applied = [row for row in rows.values() if row.status is ApplicationStatus.APPLIED]
    return {
        "applications": [_shown(row) for row in rows.values()],
        "credits_applied": plain(total(row.credits for row in applied)),
    }


def _validate(body: Body) -> Answer:
    asked, life = dict(body["grant"]), body["subscription"]
    asked["start_date"], asked["end_date"] = asked.pop("start"), asked.pop("end")
    try:
        create_grant(
            CreditGrantRequest.model_validate(asked),
            grant_id=CreditGrantId("grant"),
            known=body["known"],
            life=(datetime.fromisoformat(life["start"]), _instant(life["end"])),
        )
    except ValidationError:
        return {"error": "validation_error"}
    except Refused as error:
        return {"error": error.code}
    return {"error": None}


OPS = {"grant_schedule": _schedule, "grant_validate": _validate}
