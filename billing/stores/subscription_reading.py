"""Reading customers, their subscriptions, and what billing remembers about those."""

from collections.abc import Sequence
from operator import attrgetter

from sqlalchemy import bindparam, select

from billing.stores.money_models import (
    AlertStreamRow,
    CustomerRow,
    GrantApplicationRow,
    RedemptionRow,
    SubscriptionRow,
)
from billing.stores.scoped import here
from billing.stores.scoped_reading import ScopedReader
from schemas.alert import AlertStream
from schemas.coupon import CouponId
from schemas.credit_grant import CreditGrantId, GrantApplication
from schemas.customer import Customer
from schemas.ids import AlertStreamId, CustomerId, SubscriptionId
from schemas.subscription import Subscription, SubscriptionStatus

CUSTOMER = (
    select(CustomerRow.record).where(here(CustomerRow)).where(CustomerRow.id == bindparam("id"))
)
SUBSCRIPTION = (
    select(SubscriptionRow.record)
    .where(here(SubscriptionRow))
    .where(SubscriptionRow.id == bindparam("id"))
)
LIVE = (
    select(SubscriptionRow.record)
    .where(here(SubscriptionRow))
    .where(SubscriptionRow.status != SubscriptionStatus.DRAFT)
)
OF_PAYER = LIVE.where(SubscriptionRow.payer_id == bindparam("customer_id"))
NAMING = (
    select(SubscriptionRow.record)
    .where(here(SubscriptionRow))
    .where(
        (SubscriptionRow.customer_id == bindparam("customer_id"))
        | (SubscriptionRow.payer_id == bindparam("customer_id"))
    )
)
REDEEMED = (
    select(RedemptionRow.redeemed_by)
    .where(here(RedemptionRow))
    .where(RedemptionRow.coupon_id == bindparam("coupon_id"))
)
LAST_APPLICATION = (
    select(GrantApplicationRow.record)
    .where(here(GrantApplicationRow))
    .where(GrantApplicationRow.grant_id == bindparam("grant_id"))
    .order_by(GrantApplicationRow.period_start.desc())
    .limit(1)
)
STREAM = (
    select(AlertStreamRow.record)
    .where(here(AlertStreamRow))
    .where(AlertStreamRow.id == bindparam("id"))
)


class SubscriptionReader(ScopedReader):
    """Reads customers, subscriptions, redemptions, applications of grants, and alert streams."""

    def customer(self, customer_id: CustomerId) -> Customer | None:
        """Return a customer, None if there is none."""
        with self._reading() as transaction:
            return transaction.one(CUSTOMER, id=customer_id)

    def external_id_of(self, customer_id: CustomerId) -> str:
        """Return the name of a customer; one without a name is called by its id."""
        known = self.customer(customer_id)
        return known.external_id if known else customer_id

    def subscription(self, subscription_id: SubscriptionId) -> Subscription | None:
        """Return a subscription, None if there is none."""
        with self._reading() as transaction:
            return transaction.one(SUBSCRIPTION, id=subscription_id)

    def live_subscriptions(self) -> Sequence[Subscription]:
        """Return all subscriptions that are no drafts, in the order of their ids."""
        with self._reading() as transaction:
            return tuple(sorted(transaction.all(LIVE), key=attrgetter("id")))

    def subscriptions_of(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return those that a customer is invoiced for, in the order of their ids."""
        with self._reading() as transaction:
            found = transaction.all(OF_PAYER, customer_id=customer_id)
        return tuple(sorted(found, key=attrgetter("id")))

    def subscriptions_naming(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return all that name a customer, in the order of their ids."""
        with self._reading() as transaction:
            found = transaction.all(NAMING, customer_id=customer_id)
        return tuple(sorted(found, key=attrgetter("id")))

    def redeemed_by(self, coupon_id: CouponId) -> frozenset[str]:
        """Return who has redeemed a coupon; inside `deciding` nobody else can until the end."""
        with self._reading() as transaction:
            if self._transaction is not None:
                transaction.lock("coupon", coupon_id)
            return frozenset(transaction.all(REDEEMED, coupon_id=coupon_id))

    def last_application(self, grant_id: CreditGrantId) -> GrantApplication | None:
        """Return the application of a grant that starts last."""
        with self._reading() as transaction:
            return transaction.one(LAST_APPLICATION, grant_id=grant_id)

    def stream(self, stream_id: AlertStreamId) -> AlertStream | None:
        """Return an alert stream as it was committed last."""
        with self._reading() as transaction:
            return transaction.one(STREAM, id=stream_id)
