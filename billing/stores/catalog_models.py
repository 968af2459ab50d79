"""The tables of what is sold: one for each kind of object, all alike, and those of the settings."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from billing.stores.columns import Document
from billing.stores.models import Model, in_scope
from billing.stores.scoped import Id, Scoped, index
from schemas.coupon import Coupon
from schemas.credit_grant import CreditGrant
from schemas.group import Group
from schemas.meter import Meter
from schemas.price import Price
from schemas.subscription import Entitlement, Feature, Plan
from schemas.tax import TaxAssociation, TaxRate


class ObjectRow(Scoped):
    """A record with its life; a key is taken by one live object of a kind.

    What is searched by stands in columns; `billing.stores.object_kinds` says where it comes from.
    """

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - a class is what it is called on
        """Return the constraints that all these tables have."""
        name: str = cls.__tablename__  # type: ignore[attr-defined]  # each kind names its table
        return (
            in_scope(),
            index(f"uq_{name}_lookup_key", "lookup_key", where="status = 'published'", unique=True),
            index(f"ix_{name}_created_at", "created_at", "id"),
            index(f"ix_{name}_parent", "parent_id"),
        )

    id: Mapped[Id] = mapped_column(primary_key=True)
    lookup_key: Mapped[Id | None]
    name: Mapped[Id]
    parent_id: Mapped[Id | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    created_by: Mapped[str]
    updated_by: Mapped[str]
    version: Mapped[int]


class MeterRow(ObjectRow, Model):
    """A meter."""

    __tablename__ = "meters"

    record: Mapped[Meter] = mapped_column(Document(Meter))


class FeatureRow(ObjectRow, Model):
    """A feature."""

    __tablename__ = "features"

    record: Mapped[Feature] = mapped_column(Document(Feature))


class PlanRow(ObjectRow, Model):
    """A plan, without what hangs on it."""

    __tablename__ = "plans"

    record: Mapped[Plan] = mapped_column(Document(Plan))


class PriceRow(ObjectRow, Model):
    """A version of a price."""

    __tablename__ = "prices"

    record: Mapped[Price] = mapped_column(Document(Price))


class EntitlementRow(ObjectRow, Model):
    """An entitlement; its key is its entity with its feature."""

    __tablename__ = "entitlements"

    record: Mapped[Entitlement] = mapped_column(Document(Entitlement))


class CreditGrantRow(ObjectRow, Model):
    """A credit grant of a plan or an add-on."""

    __tablename__ = "credit_grants"

    record: Mapped[CreditGrant] = mapped_column(Document(CreditGrant))


class CouponRow(ObjectRow, Model):
    """A coupon; its key is its code in lower case."""

    __tablename__ = "coupons"

    record: Mapped[Coupon] = mapped_column(Document(Coupon))


class TaxRateRow(ObjectRow, Model):
    """A tax rate; its key is its code."""

    __tablename__ = "tax_rates"

    record: Mapped[TaxRate] = mapped_column(Document(TaxRate))


class TaxAssociationRow(ObjectRow, Model):
    """What a tax rate is attached to; its key is both of them."""

    __tablename__ = "tax_associations"

    record: Mapped[TaxAssociation] = mapped_column(Document(TaxAssociation))


class GroupRow(ObjectRow, Model):
    """A group of prices or features."""

    __tablename__ = "groups"

    record: Mapped[Group] = mapped_column(Document(Group))


class SettingRow(Scoped, Model):
    """The members of a setting that somebody has set, as they are now."""

    __tablename__ = "settings"
    __table_args__ = (in_scope(),)

    key: Mapped[Id] = mapped_column(primary_key=True)
    version: Mapped[int]
    value: Mapped[dict[str, Any]] = mapped_column(Document(dict[str, Any]))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    created_by: Mapped[str]
    updated_by: Mapped[str]


class SettingChangeRow(Scoped, Model):
    """A change of a setting: what its members were from then on, who made it and when."""

    __tablename__ = "setting_changes"
    __table_args__ = (in_scope(),)

    key: Mapped[Id] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(Document(dict[str, Any]))
    changed_at: Mapped[datetime]
    changed_by: Mapped[str]
