"""Tax rates and their attachments as answers show them."""

from collections.abc import Sequence

from billing.api.records import record_members
from billing.ports.objects import Objects
from schemas.api.answers.taxes import TaxAssociationResponse, TaxRateResponse
from schemas.scope import Scope
from schemas.stored import Stored
from schemas.tax import TaxAssociation, TaxRate, TaxRateType


def rate_answer(stored: Stored[TaxRate], scope: Scope) -> TaxRateResponse:
    """Return a rate; clients know the type percentage only, so fixed ones say it too."""
    rate = stored.record
    fixed = rate.type is TaxRateType.FIXED
    return TaxRateResponse(
        **record_members(stored, scope),
        name=rate.name,
        code=rate.code,
        tax_rate_type=TaxRateType.PERCENTAGE.value,
        percentage_value=None if fixed else rate.value,
        fixed_value=rate.value if fixed else None,
        scope=rate.scope.value,
        tax_rate_status=rate.status.value,
        description=rate.description,
        metadata=dict(rate.metadata),
    )


def association_answers(
    objects: Objects, rows: Sequence[Stored[TaxAssociation]], scope: Scope
) -> list[TaxAssociationResponse]:
    """Return attachments with their rates as these are now."""
    rates = objects.tax_rates.those({each.record.tax_rate_id for each in rows})
    found = []
    for each in rows:
        record = each.record
        found.append(
            TaxAssociationResponse(
                **record_members(each, scope),
                tax_rate_id=record.tax_rate_id,
                tax_rate=rate_answer(rates[record.tax_rate_id], scope),
                entity_type=record.entity_type.value,
                entity_id=record.entity_id,
                priority=record.priority,
                auto_apply=record.auto_apply,
                currency=record.currency or "",
                start_date=record.start_date or each.created_at,
                end_date=record.end_date,
                metadata=dict(record.metadata),
            )
        )
    return found
