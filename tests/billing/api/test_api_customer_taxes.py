"""The taxes that a customer starts with: those of the tenant, or those that it names (billing.md 14)."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.object_query import Query
from schemas.scope import Scope
from schemas.stored import made
from schemas.tax import (
    TaxAssociation,
    TaxAttachmentId,
    TaxEntityType,
    TaxRate,
    TaxRateId,
    TaxRateStatus,
    TaxRateType,
)

HERE = Scope("tenant_1", "env_1")
ACME = {"external_id": "acme"}


def customer(api: Any, **members: Any) -> Any:
    answer = api.post("/v1/customers", {**ACME, **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def taxes(kept: Any) -> list[TaxAssociation]:
    page = kept.environment(HERE).objects.tax_associations.page(Query())
    return [
        each.record
        for each in page.rows
        if each.is_live and each.record.entity_type is TaxEntityType.CUSTOMER
    ]


def rate(kept: Any, code: str, status: TaxRateStatus = TaxRateStatus.ACTIVE) -> TaxRate:
    found = TaxRate(
        TaxRateId(f"taxrate_{code}"), TaxRateType.PERCENTAGE, Decimal(19), code, status=status
    )
    kept.environment(HERE).objects.tax_rates.add(made(found, kept.now))
    return found


def test_overrides_become_taxes_of_the_customer(api: Any, kept: Any) -> None:
    vat, levy = rate(kept, "vat"), rate(kept, "levy")
    found = customer(
        api,
        tax_rate_overrides=[
            {"tax_rate_code": "vat", "currency": "USD"},
            {
                "tax_rate_code": "levy",
                "currency": "usd",
                "auto_apply": False,
                "priority": 2,
                "metadata": {"a": "b"},
            },
        ],
    )
    of_customer = {each.tax_rate_id: each for each in taxes(kept)}
    assert {each.entity_id for each in of_customer.values()} == {found["id"]}
    assert of_customer[vat.id].currency == "usd"
    assert (of_customer[vat.id].auto_apply, of_customer[vat.id].priority) == (True, 0)
    assert (of_customer[levy.id].auto_apply, of_customer[levy.id].priority) == (False, 2)
    assert of_customer[levy.id].metadata == {"a": "b"}
    assert api.call("DELETE", f"/v1/customers/{found['id']}").status_code == 204
    assert taxes(kept) == []


@pytest.mark.parametrize(
    ("members", "count"),
    [({}, 1), ({"tax_rate_overrides": None}, 1), ({"tax_rate_overrides": []}, 0)],
)
def test_a_customer_starts_with_the_taxes_of_the_tenant_unless_it_says_otherwise(
    api: Any, kept: Any, members: dict[str, Any], count: int
) -> None:
    vat = rate(kept, "vat")
    of_tenant = TaxAssociation(
        TaxAttachmentId("ta_1"), vat.id, TaxEntityType.TENANT, "tenant_1", 3, currency="usd"
    )
    kept.environment(HERE).objects.tax_associations.add(made(of_tenant, kept.now))
    found = customer(api, **members)
    assert [(each.entity_id, each.priority, each.currency) for each in taxes(kept)] == [
        (found["id"], 3, "usd")
    ] * count


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ([{"tax_rate_code": "none", "currency": "usd"}], "tax_rate_overrides.0.tax_rate_code"),
        ([{"tax_rate_code": "old", "currency": "usd"}], "tax_rate_overrides.0.tax_rate_code"),
        ([{"tax_rate_code": "vat"}], "tax_rate_overrides.0.currency"),
        ([{"tax_rate_code": "vat", "currency": "xxx"}], "tax_rate_overrides.0.currency"),
        ([{"tax_rate_code": "vat", "currency": "usd"}] * 2, "tax_rate_overrides.1.tax_rate_code"),
    ],
)
def test_a_tax_that_names_nothing_leaves_no_customer(
    api: Any, kept: Any, overrides: list[dict[str, Any]], field: str
) -> None:
    rate(kept, "vat")
    rate(kept, "old", TaxRateStatus.INACTIVE)
    answer = api.post("/v1/customers", {**ACME, "tax_rate_overrides": overrides})
    assert answer.status_code == 400, answer.text
    assert [each["field"] for each in answer.json()["details"]["fields"]] == [field]
    assert api.call("GET", "/v1/customers/external/acme").status_code == 404
    assert taxes(kept) == []
