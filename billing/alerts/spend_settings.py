"""Settings of spend alerts: what may be watched, and how (wallets-alerts.md 11)."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from billing.alerts.levels import SettingsKind, check_settings
from schemas.alert import AlertSettings
from schemas.errors import AlreadyExists, NotFound, ValidationFailed


class Watchable(StrEnum):
    """What spend is watched of; wallets carry their settings themselves."""

    SUBSCRIPTION = "subscription"
    LINE = "subscription_line_item"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a setting is about: an entity, and the subscription that it is watched in."""

    entity: Watchable
    entity_id: str
    parent_id: str | None = None


def check_spend_setting(
    subject: Subject,
    settings: AlertSettings,
    *,
    subscriptions: Mapping[str, Collection[str]],
    groups: Collection[str],
    existing: Iterable[Subject],
) -> None:
    """Refuse a setting that may not be created; `subscriptions` maps ids to those of their lines.

    Checked in the order: the configuration and the shape, the parent, the entity, that they belong
    together, that there is no other. Raises ValidationFailed, NotFound or AlreadyExists.

    >>> from schemas.alert import AlertCondition, Threshold
    >>> from decimal import Decimal
    >>> above = AlertSettings(True, Threshold(Decimal(9), AlertCondition.ABOVE))
    >>> check_spend_setting(Subject(Watchable.SUBSCRIPTION, "sub"), above,
    ...                     subscriptions={"sub": []}, groups=[], existing=[])
    """
    check_settings(settings, SettingsKind.SPEND)
    alone = subject.entity is Watchable.SUBSCRIPTION
    if alone == (subject.parent_id is not None):
        raise ValidationFailed(
            "lines and groups are watched in a subscription, which has no parent itself",
            field="parent_entity_id",
        )
    if not alone and subject.parent_id not in subscriptions:
        raise NotFound(f"no subscription {subject.parent_id}")
    lines = [line for owned in subscriptions.values() for line in owned]
    known = {
        Watchable.SUBSCRIPTION: subscriptions,
        Watchable.LINE: lines,
        Watchable.GROUP: groups,
    }
    if subject.entity_id not in known[subject.entity]:
        raise NotFound(f"no {subject.entity} {subject.entity_id}")
    if (
        subject.entity is Watchable.LINE
        and subject.entity_id not in subscriptions[subject.parent_id or ""]
    ):
        raise ValidationFailed("the subscription does not own the line", field="entity_id")
    if subject in existing:
        raise AlreadyExists(f"{subject.entity} {subject.entity_id} is watched already")
