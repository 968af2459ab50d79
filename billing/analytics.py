"""Analytics: what each feature was used for in a range, per line that bills it (api.md 4.4).

The quantities come from `UsageAnswers`, the engine that invoices read as well, over the part of the
range in which a line was in force. Costs are not built yet.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from billing.periods.services import life_of, schedule_of
from billing.ports import CatalogReader, UsageAnswers
from schemas.answer import Answer, Group, Point
from schemas.event_query import UsageQuery
from schemas.meter import Filter, Meter, WindowSize
from schemas.period import Interval
from schemas.price import PriceType
from schemas.scope import Scope
from schemas.subscription import Feature, Subscription, SubscriptionLine, SubscriptionStatus

SOURCE = "source"
PROPERTIES = "properties."

# Each item is of one feature and one meter anyway, so these two split nothing.
ALREADY_APART = frozenset({"feature_id", "meter_id"})

# What was never in force bills nothing.
NOT_IN_FORCE = frozenset({SubscriptionStatus.DRAFT, SubscriptionStatus.INCOMPLETE})


@dataclass(frozen=True, slots=True)
class AnalyticsQuery:
    """Which usage is wanted; no customer asks for the whole environment, None of features for all.

    `group_by` holds `feature_id`, `meter_id`, `source` and `properties.NAME`.
    """

    scope: Scope
    period: Interval
    external_customer_id: str | None = None
    feature_ids: frozenset[str] | None = None
    sources: tuple[str, ...] | None = None
    filters: tuple[Filter, ...] = ()
    group_by: tuple[str, ...] = ()
    window: WindowSize | None = None
    with_sources: bool = False


@dataclass(frozen=True, slots=True)
class AnalyticsItem:
    """A feature, or one group of it, on the line that bills it; without a line nothing does.

    `source` and `properties` are the keys of the group; a key that its events lack is left out.
    `sources` is None unless it was asked for.
    """

    feature: Feature
    meter: Meter
    external_customer_id: str | None
    subscription: Subscription | None
    line: SubscriptionLine | None
    value: Decimal
    quantity_signed: Decimal
    counted: int
    window: WindowSize | None
    points: tuple[Point, ...] = ()
    source: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A feature in the part of the range in which a line bills it, or in all of the range."""

    feature: Feature
    meter: Meter
    period: Interval
    subscription: Subscription | None = None
    line: SubscriptionLine | None = None


def analyse(
    query: AnalyticsQuery, catalog: CatalogReader, answers: UsageAnswers
) -> tuple[AnalyticsItem, ...]:
    """Return the items of a query, in the order of subscriptions, lines and features.

    Of a customer with subscriptions, the features whose meters are on usage lines that are in force
    in the range; of one without, and of the whole environment, all metered features. An unknown
    customer has none. Raises ValidationFailed and StoreError: nothing is left out silently.
    """
    return tuple(item for part in _parts(query, catalog) for item in _items(query, part, answers))


def _parts(query: AnalyticsQuery, catalog: CatalogReader) -> Iterator[_Part]:
    """Yield what is to be asked for, one part for each feature and line."""
    customer = query.external_customer_id
    if customer is not None and not catalog.has_customer(query.scope, customer):
        return
    meters = {meter.id: meter for meter in catalog.meters(query.scope)}
    features = [
        feature
        for feature in catalog.features(query.scope)
        if feature.meter_id and (query.feature_ids is None or feature.id in query.feature_ids)
    ]
    subscriptions: Sequence[Subscription] = ()
    if customer is not None:
        subscriptions = [
            each
            for each in catalog.subscriptions_of(query.scope, customer)
            if each.status not in NOT_IN_FORCE
        ]
    if not subscriptions:
        for feature in features:
            meter = meters.get(feature.meter_id or "")
            if meter is not None:
                yield _Part(feature, meter, query.period)
    for subscription in subscriptions:
        for line in subscription.lines:
            yield from _parts_of_line(query, features, meters, subscription, line)


def _parts_of_line(
    query: AnalyticsQuery,
    features: Sequence[Feature],
    meters: Mapping[str, Meter],
    subscription: Subscription,
    line: SubscriptionLine,
) -> Iterator[_Part]:
    """Yield the features of a usage line, in the part of the range in which it is in force."""
    life = life_of(subscription, line)
    if line.price.type is not PriceType.USAGE or life is None:
        return
    start, end = life
    if end is None:
        end = max(query.period.end, start)
    period = query.period.cut(Interval(start, end))
    # A line keeps its meter, also one that was archived and is no longer in the catalog.
    meter = line.meter or meters.get(line.price.meter_id or "")
    if period is None or meter is None:
        return
    for feature in features:
        if feature.meter_id == meter.id:
            yield _Part(feature, meter, period, subscription, line)


def _items(query: AnalyticsQuery, part: _Part, answers: UsageAnswers) -> Iterator[AnalyticsItem]:
    """Yield the one item of a part, or one for each of its groups."""
    keys = tuple(each for each in query.group_by if each not in ALREADY_APART)
    found = answers.answer(_asked(query, part, keys, query.window))
    sources = _sources(query, part, keys, answers) if query.with_sources else None
    if not keys:
        yield _item(query, part, found, (), window=found.window, sources=sources)
    for group in found.groups if keys else ():
        texts = tuple(zip(keys, group.group, strict=True))
        yield _item(query, part, group, texts, window=found.window, sources=sources)


def _asked(
    query: AnalyticsQuery, part: _Part, keys: tuple[str, ...], window: WindowSize | None
) -> UsageQuery:
    """Return the question about a part.

    Months that a meter prices are counted from the subscription's anchor, as invoices count them;
    months that are only shown begin on the 1st.
    """
    customer, subscription = query.external_customer_id, part.subscription
    anchor = None
    if subscription is not None and part.meter.aggregation.bucket_size is WindowSize.MONTH:
        anchor = schedule_of(subscription).grid.first
    return UsageQuery(
        scope=query.scope,
        meter=part.meter,
        period=part.period,
        external_customer_ids=None if customer is None else (customer,),
        filters=query.filters,
        sources=query.sources,
        group_by=keys,
        window=window,
        timezone=subscription.timezone if subscription is not None else "UTC",
        anchor=anchor,
    )


def _sources(
    query: AnalyticsQuery, part: _Part, keys: tuple[str, ...], answers: UsageAnswers
) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """Return the distinct sources of each group, in the order of their texts."""
    found: dict[tuple[str, ...], set[str]] = {}
    for group in answers.answer(_asked(query, part, (*keys, SOURCE), None)).groups:
        *texts, source = group.group
        if source:
            found.setdefault(tuple(texts), set()).add(source)
    return {group: tuple(sorted(sources)) for group, sources in found.items()}


def _item(
    query: AnalyticsQuery,
    part: _Part,
    figures: Answer | Group,
    texts: tuple[tuple[str, str], ...],
    *,
    window: WindowSize | None,
    sources: Mapping[tuple[str, ...], tuple[str, ...]] | None,
) -> AnalyticsItem:
    """Return an item: the figures are those of a whole answer, or of one group of it."""
    keys = {name: text for name, text in texts if text}
    group = tuple(text for _, text in texts)
    return AnalyticsItem(
        feature=part.feature,
        meter=part.meter,
        external_customer_id=query.external_customer_id,
        subscription=part.subscription,
        line=part.line,
        value=figures.value,
        quantity_signed=figures.quantity_signed,
        counted=figures.counted,
        window=window if query.window is not None else None,
        points=figures.windows,
        source=keys.get(SOURCE),
        properties={
            name.removeprefix(PROPERTIES): text
            for name, text in keys.items()
            if name.startswith(PROPERTIES)
        },
        sources=None if sources is None else sources.get(group, ()),
    )
