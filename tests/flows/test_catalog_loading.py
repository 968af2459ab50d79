"""A catalog is loaded whole, or refused with the place and the reason of every fault."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from flows.catalog import load_catalog
from schemas.errors import InputUnreadable, ValidationFailed

METER = "{name: tokens, event_name: llm, aggregation: {type: SUM, field: tokens}}"
FEE = (
    "{lookup_key: fee, type: FIXED, billing_model: FLAT_FEE, amount: 20, currency: usd, "
    "billing_period: MONTHLY, invoice_cadence: ADVANCE}"
)
SLAB = (
    "{lookup_key: slab, type: USAGE, meter: tokens, billing_model: TIERED, tier_mode: SLAB, "
    "currency: usd, billing_period: MONTHLY, tiers: %s}"
)
TIERS = '[{up_to: 1000, unit_amount: "0.02"}, {unit_amount: "0.01"}]'
ACME = "customers: [{external_id: a}]\n"
START = '"2026-01-01T00:00:00Z"'

WHOLE = f"""
meters: [{METER}]
features: [{{name: Tokens, type: metered, meter: tokens}}]
plans:
  - name: Pro
    lookup_key: pro
    prices: [{FEE}, {SLAB % TIERS}]
    entitlements: [{{feature: tokens, usage_limit: 500, usage_reset_period: MONTHLY}}]
customers: [{{external_id: acme, name: Acme}}]
subscriptions: [{{customer: acme, plan: pro, start_date: {START}}}]
wallets: [{{customer: Acme, currency: usd, top_ups: [{{credits_to_add: 50, at: {START}}}]}}]
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> str:
        path = tmp_path / "catalog.yaml"
        path.write_text(text)
        return str(path)

    return written


def plan(*prices: str) -> str:
    return f"meters: [{METER}]\nplans: [{{name: Pro, prices: [{', '.join(prices)}]}}]\n"


def refusals(path: str) -> list[str]:
    with pytest.raises(ValidationFailed) as refused:
        load_catalog(path)
    lines = str(refused.value).splitlines()
    assert all(line.startswith(path + ": ") for line in lines)
    return [line.removeprefix(path + ": ") for line in lines]


def test_objects_find_each_other_by_lookup_key_external_id_or_name(write: Write) -> None:
    catalog = load_catalog(write(WHOLE))

    (subscription,) = catalog.subscriptions
    fee, tokens = subscription.lines
    assert (fee.price.amount, fee.quantity) == (Decimal(20), Decimal(1))
    assert tokens.meter == catalog.meters[0]
    assert subscription.external_customer_id == "acme"
    assert subscription.currency == "usd"
    assert subscription.entitlements[0].meter_id == catalog.meters[0].id
    (wallet,) = catalog.wallets
    assert wallet.customer_id == subscription.customer_id
    assert catalog.names[subscription.id] == "acme/pro"


def test_the_same_file_gives_the_same_ids(write: Write) -> None:
    assert load_catalog(write(WHOLE)) == load_catalog(write(WHOLE))


def test_json_and_yaml_give_the_same_catalog(write: Write, tmp_path: Path) -> None:
    body = {"meters": [{"name": "n", "event_name": "e", "aggregation": {"type": "COUNT"}}]}
    (tmp_path / "catalog.json").write_text(json.dumps(body))

    as_json = load_catalog(str(tmp_path / "catalog.json"))

    assert as_json == load_catalog(write(json.dumps(body)))


def test_numbers_keep_all_their_digits(write: Write) -> None:
    price = FEE.replace("amount: 20", "amount: 0.1000000000000000055511151231257827")

    (line,) = load_catalog(write(plan(price))).plans[0].prices

    assert line.amount == Decimal("0.1000000000000000055511151231257827")


def test_an_empty_file_is_an_empty_catalog(write: Write) -> None:
    assert load_catalog(write("")).meters == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mters: []", "mters: unknown key; did you mean meters?"),
        ("- 1", "expected a mapping with meters, plans, customers and so on"),
        ("meters: {a: 1}", "meters: expected a list, not a mapping"),
        ("meters: [{name: [", "line 1: not YAML: expected the node content, but found"),
        ("meters: []\nmeters: []", "line 2: the key meters is given twice"),
        (
            f"meters: [{METER.replace('field: tokens', 'feild: tokens')}]",
            "meters[0].aggregation.feild: unknown key; did you mean field?",
        ),
        (
            f"meters: [{METER.replace(', field: tokens', '')}]",
            "meters[0].aggregation.field: field_required: every type but COUNT needs",
        ),
        (
            "meters: [{name: m, event_name: e, aggregation: {type: SUM, expression: a + b}}]",
            "meters[0].aggregation.expression: expressions are not built yet",
        ),
        (f"meters: [{METER}, {METER}]", "meters[1].name: another meter is called 'tokens'"),
        ("meters: [{name: 5}]", "meters[0].name: expected a text, not 5"),
        (
            "features: [{name: F, type: metered, meter: tokens}]",
            "features[0].meter: no meter is called 'tokens'",
        ),
        (
            "customers: [{external_id: a, timezone: Mars/Base}]",
            "customers[0].timezone: 'Mars/Base'",
        ),
        ("addons: [{name: half}]", "addons: is not supported by this version; leave it out"),
        (
            "subscriptions: [{customer: a, plan: p, auto_invoice_threshold: 5}]",
            "subscriptions[0].auto_invoice_threshold: is not supported by this version; leave it",
        ),
        (
            f"subscriptions: [{{customer: a, plan: p, start_date: {START}}}]",
            "subscriptions[0].customer: no customer is called 'a'",
        ),
        (
            f"changes: [{{at: {START}, route: pause, subscription: a}}]",
            "changes[0]: this version knows no route 'pause', only 'update', 'cancel'",
        ),
        (
            "wallets: [{customer: a, currency: xyz}]",
            "wallets[0].customer: no customer is called 'a'",
        ),
        (
            f"{ACME}wallets: [{{customer: a, currency: xyz}}]",
            "wallets[0].currency: 'xyz' is no currency that can be billed",
        ),
        (
            f"{ACME}wallets: [{{customer: a, currency: usd, top_ups: [{{at: {START}}}]}}]",
            "wallets[0].top_ups[0].credits_to_add: is needed, or amount",
        ),
    ],
)
def test_a_fault_is_told_with_its_place_and_what_was_expected(
    write: Write, text: str, expected: str
) -> None:
    told = refusals(write(text))

    assert any(line.startswith(expected) for line in told), told


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ('[{up_to: "ten", unit_amount: 1}]', "tiers[0].up_to: must be an integer"),
        ("[{unit_amount: -1}]", "tiers[0].unit_amount: must rise strictly"),
        ("[{up_to: 10, unit_amount: 1}, {up_to: 10, unit_amount: 1}]", "tiers[1].up_to: must rise"),
        ("[{unit_amount: 1}, {up_to: 10, unit_amount: 1}]", "tiers[0].up_to: must rise"),
        ("[{up_to: 0, unit_amount: 1}]", "tiers[0].up_to: must rise"),
        ("[{up_to: 10}]", "tiers[0].unit_amount: is needed"),
        ("[]", "tiers: must rise strictly"),
    ],
)
def test_an_impossible_tier_is_refused_at_its_place(
    write: Write, tiers: str, expected: str
) -> None:
    (told,) = refusals(write(plan(FEE, SLAB % tiers)))

    assert told.startswith("plans[0].prices[1]." + expected), told


def test_several_faults_are_told_together(write: Write) -> None:
    prices = (FEE.replace("usd", "xyz"), FEE.replace("amount: 20, ", "").replace("fee", "other"))

    told = refusals(write(plan(*prices)))

    assert [line.partition(": ")[0] for line in told] == [
        "plans[0].prices[0].currency",
        "plans[0].prices[1].amount",
    ]


def test_a_price_update_ends_the_price_and_starts_its_successor(write: Write) -> None:
    change = 'changes: [{at: "2026-01-20T00:00:00Z", price: slab, route: update, body: %s}]'
    body = "{billing_model: FLAT_FEE, amount: 0.03}"

    catalog = load_catalog(write(WHOLE + change % body))

    first, second = catalog.plans[0].prices[1:]
    at = datetime(2026, 1, 20, tzinfo=UTC)
    assert (first.end_date, second.start_date, second.parent_price_id) == (at, at, first.id)
    assert (second.amount, second.tiers, second.meter_id) == (Decimal("0.03"), (), first.meter_id)
    old, new = catalog.subscriptions[0].lines[1:]
    assert (old.end_date, new.start_date, new.chain_id) == (at, at, old.id)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "{at: %s, price: slb, route: update, body: {}}",
            "price: no price has the lookup_key 'slb'",
        ),
        ("{at: %s, price: slab, route: update, body: {tiers: []}}", "body.tiers: must rise"),
        ("{at: %s, price: slab, route: update, body: {amout: 1}}", "body.amout: unknown key"),
        (
            "{at: %s, route: cancel, subscription: acme, body: {cancellation_type: immediate}}",
            "subscription: no subscription is called 'acme'; did you mean acme/pro?",
        ),
    ],
)
def test_an_impossible_change_is_refused(write: Write, change: str, expected: str) -> None:
    (told,) = refusals(write(f"{WHOLE}changes: [{change % START}]"))

    assert told.startswith("changes[0]." + expected), told


def test_a_cancelled_subscription_ends_at_the_change(write: Write) -> None:
    change = (
        'changes: [{at: "2026-01-20T00:00:00Z", subscription: acme/pro, route: cancel, '
        "body: {cancellation_type: immediate}}]"
    )

    (subscription,) = load_catalog(write(WHOLE + change)).subscriptions

    assert subscription.ends_at == datetime(2026, 1, 20, tzinfo=UTC)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputUnreadable, match=r"absent\.yaml: no such file"):
        load_catalog(str(tmp_path / "absent.yaml"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(b"meters: \xff")

    assert refusals(str(path)) == ["not UTF-8 at byte 8"]
