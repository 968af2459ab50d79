"""The tables of running claims: the claims, how far usage is in them, and for whom they are outdated."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from billing.stores.columns import Document
from billing.stores.models import Model, in_scope
from billing.stores.scoped import Id, Scoped
from billing.wallets.balances import Claim


class ClaimsRow(Scoped, Model):
    """The claims of a customer as the billing dataflow worked them out last."""

    __tablename__ = "running_claims"
    __table_args__ = (in_scope(),)

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    claims: Mapped[tuple[Claim, ...]] = mapped_column(Document(tuple[Claim, ...]))
    usage_until: Mapped[datetime]
    computed_at: Mapped[datetime]


class ClaimProgressRow(Scoped, Model):
    """Up to when usage is in the claims of one of so many shards."""

    __tablename__ = "claim_progress"
    __table_args__ = (in_scope(),)

    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shards: Mapped[int]
    usage_until: Mapped[datetime]


class AccountChangeRow(Scoped, Model):
    """A customer whose money changed since claims were made; `mark` tells this change from the next."""

    __tablename__ = "account_changes"
    __table_args__ = (in_scope(),)

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    mark: Mapped[str]
