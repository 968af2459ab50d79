"""The changes of a catalog file: what happens later, as REST calls with their bodies.

The `route` says which call it is: `cancel` and `activate` a subscription, `lineitem-add`,
`lineitem-update` and `lineitem-delete` its lines, `top-up`, `debit` and `terminate` a wallet, `update`
a price of a plan. `at` is the "now" of the call. A line is named by the lookup key of its price, a
wallet by its customer and currency.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from schemas.cancellation import CancellationInvoicePolicy, CancellationType
from schemas.catalog_products import (
    CatalogPrice,
    CatalogPriceChange,
    CatalogPriceUpdate,
    Lower,
    Name,
    Part,
    Upper,
)
from schemas.doors import DecimalField, InstantField, MetadataField
from schemas.subscription import ProrationBehavior
from schemas.wallet import Reason, TopUpRequest, WalletType


class CatalogCancelBody(Part):
    """The body of a cancellation; `cancel_at` is the instant of the change where it is not given."""

    cancellation_type: Annotated[CancellationType, Lower]
    cancel_at: InstantField | None = None
    cancel_immediately_invoice_policy: Annotated[CancellationInvoicePolicy, Lower] | None = None
    # The older name of the same, misspelt as clients send it; the other one wins.
    cancel_immediately_inovice_policy: Annotated[CancellationInvoicePolicy, Lower] | None = None
    proration_behavior: Annotated[ProrationBehavior, Lower] | None = None
    reason: str = ""


class CatalogCancellation(Part):
    """A subscription is cancelled at once, at the end of its period or on a date."""

    at: InstantField
    route: Literal["cancel"]
    subscription: Name
    body: CatalogCancelBody


class CatalogActivateBody(Part):
    """The body of an activation: the new start, the instant of the change where it is not given."""

    start_date: InstantField | None = None


class CatalogActivation(Part):
    """A subscription that is a draft goes live."""

    at: InstantField
    route: Literal["activate"]
    subscription: Name
    body: CatalogActivateBody = Field(default_factory=CatalogActivateBody)


class CatalogInlinePrice(CatalogPrice):
    """A price for one line of one subscription, whose currency it has."""

    currency: ClassVar[Any]  # type: ignore[misc]  # no key of the file


class CatalogLineBody(Part):
    """The body of a line that is added: with a price of a plan by its lookup key, or one of its own."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "commitment_amount",
            "commitment_duration",
            "commitment_overage_factor",
            "commitment_quantity",
            "commitment_time_buckets",
            "commitment_true_up_enabled",
            "commitment_type",
            "commitment_windowed",
            "subscription_phase_id",
        }
    )

    price_id: Name | None = None
    price: CatalogInlinePrice | None = None
    quantity: DecimalField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    display_name: str = ""
    metadata: MetadataField = Field(default_factory=dict)
    proration_behavior: Annotated[ProrationBehavior, Lower] | None = None


class CatalogLineAdded(Part):
    """A subscription gets one more line."""

    at: InstantField
    route: Literal["lineitem-add"]
    subscription: Name
    body: CatalogLineBody


class CatalogLineTerms(CatalogPriceUpdate):
    """The body of a line's change: another quantity, or money terms of its own, or both."""

    LATER: ClassVar[frozenset[str]] = CatalogLineBody.LATER | frozenset(
        {"bucket_size", "metadata", "price_unit_amount", "price_unit_tiers"}
    ) - {"subscription_phase_id"}

    quantity: DecimalField | None = None
    effective_from: InstantField | None = None
    proration_behavior: Annotated[ProrationBehavior, Lower] | None = None


class CatalogLineChanged(Part):
    """A line of a subscription, by the lookup key of its price, gets other terms."""

    at: InstantField
    route: Literal["lineitem-update"]
    subscription: Name
    line: Name
    body: CatalogLineTerms


class CatalogLineEnd(Part):
    """The body of a line's end: when, the instant of the change where it is not given."""

    effective_from: InstantField | None = None
    proration_behavior: Annotated[ProrationBehavior, Lower] | None = None


class CatalogLineEnded(Part):
    """A line of a subscription, by the lookup key of its price, ends."""

    at: InstantField
    route: Literal["lineitem-delete"]
    subscription: Name
    line: Name
    body: CatalogLineEnd = Field(default_factory=CatalogLineEnd)


class OfWallet(Part):
    """Which wallet a change is of: that of a customer in a currency, prepaid unless said otherwise."""

    at: InstantField
    customer: Name
    currency: Annotated[str, Lower]
    wallet_type: Annotated[WalletType, Upper] = WalletType.PRE_PAID


class CatalogTopUpBody(TopUpRequest, Part):
    """The body of a top-up."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "bonus_credits_expiry_date_utc",
            "bonus_credits_to_add",
            "checkout",
            "coupons",
            "effective_date",
            "force_sync_invoice",
        }
    )

    transaction_reason: Annotated[Reason, Upper] = Reason.PURCHASED_CREDIT_DIRECT
    metadata: MetadataField = Field(default_factory=dict)


class CatalogTopUpChange(OfWallet):
    """Credits come into a wallet; those that are planned with it may stand in its `top_ups` too."""

    route: Literal["top-up"]
    body: CatalogTopUpBody


class CatalogDebitBody(Part):
    """The body of a debit by hand; its key may be left out in a file."""

    credits: DecimalField
    transaction_reason: Annotated[Reason, Upper] = Reason.MANUAL_BALANCE_DEBIT
    idempotency_key: str = ""
    description: str = ""
    metadata: MetadataField = Field(default_factory=dict)


class CatalogDebit(OfWallet):
    """Credits are taken from a wallet by hand."""

    route: Literal["debit"]
    body: CatalogDebitBody


class CatalogTermination(OfWallet):
    """A wallet is closed, and what it holds is forfeited."""

    route: Literal["terminate"]


# What happens later, told apart by the route; others of the API come later.
CatalogChange = Annotated[
    CatalogPriceChange
    | CatalogCancellation
    | CatalogActivation
    | CatalogLineAdded
    | CatalogLineChanged
    | CatalogLineEnded
    | CatalogTopUpChange
    | CatalogDebit
    | CatalogTermination,
    Field(discriminator="route"),
]
