"""What the tests of billing share: usage that is a list of readings, and a plan to bill it by."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby

import pytest

from billing.ports import UsageBucket, UsageQuantity
from schemas.ids import CustomerId, EntitlementId, FeatureId, PlanId, SubscriptionId
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.period import Interval
from schemas.price import BillingModel, InvoiceCadence, Price, PriceType, Tier, TierMode
from schemas.subscription import Entitlement, Plan, ResetPeriod, Subscription

Reading = tuple[datetime, Decimal]


class ListedUsage:
    """Usage as a list of readings, added up; buckets are UTC days."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = list(readings)
        self.asked = 0

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return the sum of the readings inside the interval."""
        self.asked += 1
        inside = sorted(each for each in self.readings if interval.holds(each[0]))
        signed = sum((value for _, value in inside), Decimal(0))
        if meter.aggregation.bucket_size is None:
            return UsageQuantity(max(signed, Decimal(0)), signed, len(inside))
        buckets = tuple(
            UsageBucket(
                datetime.combine(day, datetime.min.time(), UTC),
                "",
                sum((value for _, value in readings), Decimal(0)),
            )
            for day, readings in groupby(inside, key=lambda each: each[0].date())
        )
        return UsageQuantity(max(signed, Decimal(0)), signed, len(inside), buckets)


@pytest.fixture(scope="session")
def listed() -> Callable[[Sequence[Reading]], ListedUsage]:
    """Return the maker of listed usage."""
    return ListedUsage


@pytest.fixture(scope="session")
def daily() -> Callable[..., ListedUsage]:
    """Return the maker of usage with the same reading at noon of each day from 1 January 2026."""

    def make(value: str, days: int) -> ListedUsage:
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        return ListedUsage([(noon + timedelta(days=n), Decimal(value)) for n in range(days)])

    return make


@pytest.fixture(scope="session")
def tokens() -> Meter:
    """Return a meter that adds up tokens."""
    return Meter("tokens", "t", "e", "tokens", "llm", Aggregation(AggregationType.SUM, "tokens"))


@pytest.fixture(scope="session")
def pro(tokens: Meter) -> Plan:
    """Return a plan: 20 a month in advance, and tokens by slab beyond 500 a month."""
    return Plan(
        PlanId("pro"),
        "Pro",
        prices=(
            Price(
                "base",
                PriceType.FIXED,
                BillingModel.FLAT_FEE,
                "usd",
                amount=Decimal(20),
                invoice_cadence=InvoiceCadence.ADVANCE,
            ),
            Price(
                "use",
                PriceType.USAGE,
                BillingModel.TIERED,
                "usd",
                tiers=(Tier(1000, Decimal("0.02")), Tier(None, Decimal("0.01"))),
                tier_mode=TierMode.SLAB,
                meter_id="tokens",
            ),
        ),
        entitlements=(
            Entitlement(
                EntitlementId("included"),
                FeatureId("tokens"),
                meter_id="tokens",
                usage_limit=500,
                usage_reset_period=ResetPeriod.MONTHLY,
            ),
        ),
        meters={"tokens": tokens},
    )


@pytest.fixture(scope="session")
def acme() -> Subscription:
    """Return a monthly subscription from 1 January 2026, without lines."""
    return Subscription(
        SubscriptionId("acme"),
        CustomerId("acme"),
        "acme",
        "usd",
        datetime(2026, 1, 1, tzinfo=UTC),
        lookup_key="acme/pro",
    )
