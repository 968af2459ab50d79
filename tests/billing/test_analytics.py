"""Analytics: which features of which lines are asked for, over which part of the range."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.analytics import AnalyticsItem, AnalyticsQuery, analyse
from schemas.answer import Answer, Group, Point
from schemas.event_query import EventPage, EventQuery, UsageQuery
from schemas.ids import CustomerId, FeatureId, SubscriptionId, SubscriptionLineId
from schemas.meter import Aggregation, AggregationType, Filter, Meter, WindowSize
from schemas.period import Interval
from schemas.price import BillingModel, Price, PriceType
from schemas.scope import Scope
from schemas.subscription import (
    Feature,
    FeatureType,
    Subscription,
    SubscriptionLine,
    SubscriptionStatus,
)

HERE = Scope("t", "e")


def day(number: int, month: int = 1) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


JANUARY = Interval(day(1), day(1, 2))
TOKENS = Meter("m_tokens", "t", "e", "Tokens", "llm", Aggregation(AggregationType.SUM, "tokens"))
PEAK = Meter(
    "m_peak",
    "t",
    "e",
    "Peak",
    "load",
    Aggregation(AggregationType.MAX, "load", bucket_size=WindowSize.MONTH),
)
CALLS = Meter("m_calls", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
FEATURES = [
    Feature(FeatureId("f_tokens"), "Tokens", FeatureType.METERED, meter_id="m_tokens"),
    Feature(FeatureId("f_peak"), "Peak", FeatureType.METERED, meter_id="m_peak"),
    Feature(FeatureId("f_calls"), "Calls", FeatureType.METERED, meter_id="m_calls"),
    Feature(FeatureId("f_sso"), "Sign-on", FeatureType.BOOLEAN),
]


def line(
    meter: Meter,
    start: datetime = JANUARY.start,
    end: datetime | None = None,
    kind: PriceType = PriceType.USAGE,
) -> SubscriptionLine:
    name = SubscriptionLineId(f"line_{meter.id}_{start:%d}")
    price = Price(f"price_{meter.id}", kind, BillingModel.FLAT_FEE, "usd", meter_id=meter.id)
    return SubscriptionLine(name, name, price, meter.name, start, start, end, meter=meter)


def subscribed(*lines: SubscriptionLine) -> Subscription:
    return Subscription(
        SubscriptionId("s"),
        CustomerId("cust_acme"),
        "acme",
        "usd",
        day(1),
        timezone="Europe/Berlin",
        lines=lines,
    )


class Catalog:
    """Three meters, their features, and the subscriptions of known customers."""

    def __init__(self, *subscriptions: Subscription) -> None:
        self.subscriptions = {"acme": list(subscriptions), "free": []}

    def meters(self, scope: Scope) -> Sequence[Meter]:
        assert scope == HERE
        return [TOKENS, PEAK, CALLS]

    def features(self, scope: Scope) -> Sequence[Feature]:
        assert scope == HERE
        return FEATURES

    def subscriptions_of(self, scope: Scope, external_customer_id: str) -> Sequence[Subscription]:
        assert scope == HERE
        return self.subscriptions[external_customer_id]

    def has_customer(self, scope: Scope, external_customer_id: str) -> bool:
        assert scope == HERE
        return external_customer_id in self.subscriptions


class Answers:
    """Answers with groups by the number of their keys, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[UsageQuery] = []

    def answer(self, query: UsageQuery) -> Answer:
        self.asked.append(query)
        point = Point(query.period.start, query.period.end, Decimal(4), Decimal(4), 2)
        points = (point,) if query.window else ()
        listed: dict[tuple[str, ...], list[tuple[str, ...]]] = {
            (): [],
            ("source",): [("web",), ("",), ("app",)],
            ("properties.model",): [("large",), ("",)],
            ("properties.model", "source"): [("large", "web"), ("large", ""), ("", "app")],
        }
        groups = tuple(
            Group(each, Decimal(2), Decimal(-2), 1, points) for each in listed[query.group_by]
        )
        return Answer(Decimal(4), Decimal(4), 2, query.window, points, (), groups)

    def events(self, query: EventQuery) -> EventPage:
        raise AssertionError(query)


def analysed(
    *subscriptions: Subscription, query: AnalyticsQuery | None = None
) -> tuple[tuple[AnalyticsItem, ...], list[UsageQuery]]:
    answers = Answers()
    query = query or AnalyticsQuery(HERE, JANUARY, "acme")
    return analyse(query, Catalog(*subscriptions), answers), answers.asked


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line(TOKENS)], [("f_tokens", day(1), day(1, 2))]),
        ([line(TOKENS, day(10))], [("f_tokens", day(10), day(1, 2))]),
        ([line(TOKENS, day(10), day(20))], [("f_tokens", day(10), day(20))]),
        (
            [line(TOKENS, day(1), day(10)), line(TOKENS, day(10))],
            [("f_tokens", day(1), day(10)), ("f_tokens", day(10), day(1, 2))],
        ),
        (
            [line(TOKENS), line(CALLS)],
            [("f_tokens", day(1), day(1, 2)), ("f_calls", day(1), day(1, 2))],
        ),
        ([line(TOKENS, day(1, 2))], []),
        ([line(TOKENS, day(5), day(5))], []),
        ([line(TOKENS, kind=PriceType.FIXED)], []),
    ],
)
def test_a_feature_is_used_where_a_usage_line_is_in_force(
    lines: list[SubscriptionLine], expected: list[tuple[str, datetime, datetime]]
) -> None:
    items, asked = analysed(subscribed(*lines))
    found = [
        (item.feature.id, query.period.start, query.period.end)
        for item, query in zip(items, asked, strict=True)
    ]
    assert found == expected
    assert all(query.external_customer_ids == ("acme",) for query in asked)


@pytest.mark.parametrize(
    ("changes", "period"),
    [
        ({}, (day(1), day(1, 2))),
        ({"trial_end": day(8)}, (day(8), day(1, 2))),
        ({"cancelled_at": day(20)}, (day(1), day(20))),
        ({"end_date": day(15)}, (day(1), day(15))),
        ({"status": SubscriptionStatus.CANCELLED, "cancelled_at": day(20)}, (day(1), day(20))),
        ({"trial_end": day(8), "cancelled_at": day(4)}, None),
    ],
)
def test_a_line_lives_no_longer_than_its_subscription(
    changes: dict[str, object], period: tuple[datetime, datetime] | None
) -> None:
    subscription = replace(subscribed(line(TOKENS)), **changes)  # type: ignore[arg-type] # a table
    _, asked = analysed(subscription)
    assert [(query.period.start, query.period.end) for query in asked] == (
        [] if period is None else [period]
    )


def test_the_same_meter_on_two_subscriptions_shows_in_both() -> None:
    first = subscribed(line(TOKENS))
    second = replace(first, id=SubscriptionId("s2"))
    items, _ = analysed(first, second)
    assert [item.subscription and item.subscription.id for item in items] == ["s", "s2"]


def test_a_subscription_that_was_never_in_force_bills_nothing() -> None:
    draft = replace(subscribed(line(TOKENS)), status=SubscriptionStatus.DRAFT)
    items, _ = analysed(draft)
    assert all(item.subscription is None for item in items)


@pytest.mark.parametrize(
    ("customer", "customers"), [("free", ("free",)), (None, None), ("nobody", "no question")]
)
def test_who_has_no_subscription_sees_all_metered_features_and_a_stranger_none(
    customer: str | None, customers: object
) -> None:
    items, asked = analysed(query=AnalyticsQuery(HERE, JANUARY, customer))
    if customers == "no question":
        assert (items, asked) == ((), [])
        return
    assert [item.feature.id for item in items] == ["f_tokens", "f_peak", "f_calls"]
    assert all(item.subscription is None and item.line is None for item in items)
    assert {query.external_customer_ids for query in asked} == {customers}
    assert {query.period for query in asked} == {JANUARY}


def test_what_narrows_a_query_reaches_every_question() -> None:
    query = AnalyticsQuery(
        HERE,
        JANUARY,
        "acme",
        feature_ids=frozenset({"f_calls"}),
        sources=("web",),
        filters=(Filter("model", ("large",)),),
        window=WindowSize.DAY,
    )
    items, (asked,) = analysed(subscribed(line(TOKENS), line(CALLS)), query=query)
    assert asked.meter == CALLS
    assert (asked.sources, asked.filters) == (("web",), (Filter("model", ("large",)),))
    assert (asked.window, asked.timezone) == (WindowSize.DAY, "Europe/Berlin")
    assert [item.window for item in items] == [WindowSize.DAY]
    assert [len(item.points) for item in items] == [1]


def test_only_months_that_are_priced_are_counted_from_the_anchor() -> None:
    subscription = replace(subscribed(line(TOKENS), line(PEAK)), billing_anchor=day(15))
    query = AnalyticsQuery(HERE, JANUARY, "acme", window=WindowSize.MONTH)
    _, asked = analysed(subscription, query=query)
    anchors = {each.meter.id: each.anchor for each in asked}
    assert anchors["m_tokens"] is None
    assert anchors["m_peak"] is not None
    # The grid is anchored at the day of the billing anchor.
    assert anchors["m_peak"].day == 15


@pytest.mark.parametrize(
    ("group_by", "keys"),
    [
        (("feature_id", "meter_id"), [(None, {})]),
        (("source",), [("web", {}), (None, {}), ("app", {})]),
        (("feature_id", "properties.model"), [(None, {"model": "large"}), (None, {})]),
        (
            ("properties.model", "source"),
            [("web", {"model": "large"}), (None, {"model": "large"}), ("app", {})],
        ),
    ],
)
def test_each_group_is_an_item_with_the_keys_that_it_has(
    group_by: tuple[str, ...], keys: list[tuple[str | None, dict[str, str]]]
) -> None:
    query = AnalyticsQuery(HERE, JANUARY, "acme", group_by=group_by)
    items, _ = analysed(subscribed(line(TOKENS)), query=query)
    assert [(item.source, dict(item.properties)) for item in items] == keys


def test_sources_are_told_once_each_for_each_group() -> None:
    plain = AnalyticsQuery(HERE, JANUARY, "acme", with_sources=True)
    (item,), _ = analysed(subscribed(line(TOKENS)), query=plain)
    assert item.sources == ("app", "web")
    grouped = replace(plain, group_by=("properties.model",))
    items, _ = analysed(subscribed(line(TOKENS)), query=grouped)
    assert [item.sources for item in items] == [("web",), ("app",)]
