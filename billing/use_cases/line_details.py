"""Details of lines that change in place: what they are labelled with, and what they promise.

Nothing is settled for them: the invoice of the current period knows the change, and those before it
stay as they are (api-fields.md, UpdateSubscriptionLineItemRequest).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from billing.ports import Changes, Stores
from billing.pricing.commitment_terms import NOT_BOTH, check_duration
from billing.subscriptions.current import current_period
from billing.subscriptions.versions import (
    check_changeable,
    line_of,
    recorded,
    with_end,
    with_line,
)
from billing.use_cases.subscription_changes import UNCHARGED, LineChanged
from billing.use_cases.telling_subscriptions import UPDATED, subscription_row
from billing.use_cases.transactions import retried
from schemas.commitment import Commitment
from schemas.errors import NotFound, ValidationFailed
from schemas.ids import SubscriptionId, SubscriptionLineId, derived
from schemas.price import PriceType
from schemas.subscription import Subscription, SubscriptionLine


@dataclass(frozen=True, slots=True)
class LineDetails:
    """What is to be different about a line; None leaves what it has."""

    metadata: Mapping[str, str] | None = None
    commitment: Commitment | None = None

    @property
    def given(self) -> bool:
        """Tell whether they say anything."""
        return self != LineDetails()


def describe_line(
    stores: Stores,
    subscription_id: SubscriptionId,
    line_id: SubscriptionLineId,
    details: LineDetails,
    *,
    at: datetime,
) -> LineChanged:
    """Give a line other details; the same ones change nothing.

    Raises NotFound, InvalidOperation for a subscription that is over, and ValidationFailed for a
    commitment of a fee, beside one of the subscription, or of a duration that does not fit.
    """

    def decide() -> LineChanged:
        known = stores.subscription(subscription_id)
        if known is None:
            raise NotFound(f"there is no subscription {subscription_id}")
        with stores.deciding(known.payer_id) as held:
            before = held.subscription(subscription_id) or known
            check_changeable(before)
            line = line_of(before, line_id)
            after = _described(before, line, details)
            if after == line:
                return LineChanged(before, line)
            made, described = _with(before, line, after, at)
            made = replace(made, version=before.version + 1)
            held.commit(
                Changes(
                    subscriptions=(made,),
                    outbox=(subscription_row(UPDATED, made, at),),
                    wake={made.payer_id: at},
                )
            )
            return LineChanged(made, described)

    return retried(decide)


def _with(
    before: Subscription, line: SubscriptionLine, after: SubscriptionLine, at: datetime
) -> tuple[Subscription, SubscriptionLine]:
    """Return a subscription with a line described anew, and that line.

    Where another commitment would change what earlier periods came to, a version of the line has it
    from the start of the current period on.
    """
    start = current_period(before, at).start
    billed = before.status not in UNCHARGED and line.start_date < start
    if after.commitment == line.commitment or not billed:
        lines = tuple(after if each is line else each for each in before.lines)
        return replace(before, lines=lines), after
    facts = before.id, before.version, "commitment", line.id
    version = replace(
        after,
        id=SubscriptionLineId(derived("subs_line", *facts)),
        start_date=start,
        replaces=line.id,
    )
    made = with_line(with_end(before, line.id, start), version)
    change = derived("change", *facts)
    return recorded(before, made, id=change, decided_at=at, effective_at=start), version


def _described(
    subscription: Subscription, line: SubscriptionLine, details: LineDetails
) -> SubscriptionLine:
    """Return a line with other details."""
    promised = details.commitment or line.commitment
    if details.commitment is not None:
        if line.price.type is not PriceType.USAGE:
            raise ValidationFailed("only usage has a commitment", field="commitment_type")
        if subscription.commitment is not None:
            raise ValidationFailed(NOT_BOTH, field="commitment_type")
        period = line.price.billing_period, line.price.billing_period_count
        check_duration(details.commitment, period)
    metadata = line.metadata if details.metadata is None else details.metadata
    return replace(line, commitment=promised, metadata=metadata)
