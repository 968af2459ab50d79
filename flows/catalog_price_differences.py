"""What a catalog file would change of the prices of a plan: other terms make successors.

A price is matched by its lookup key, or by its place in the plan's list, which its id follows from.
Changes of the file count once their time has come.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from billing.catalog import next_sequence, prices_of
from billing.pricing.versions import change_price, terms_of
from billing.subscriptions.subscribing import chains
from flows.catalog_differences import (
    Action,
    Comparison,
    FieldChange,
    Write,
    differing,
)
from flows.catalog_names import identity
from schemas.errors import Refused
from schemas.price import Price
from schemas.stored import Stored

IN_PLACE = ("lookup_key", "display_name", "description", "metadata", "min_quantity",
            "trial_period_days", "end_date")  # fmt: skip
FIXED = ("type", "currency", "billing_period", "billing_period_count", "invoice_cadence",
         "meter_id")  # fmt: skip
MONEY = ("billing_model", "amount", "tier_mode", "tiers", "transform_quantity")


@dataclass(slots=True)
class _Chain:
    """The versions of a stored price as they will be, with what is written for that.

    `changes` are its new terms, and since when.
    """

    versions: list[Stored[Price]]
    last: Price
    added: list[Price] = field(default_factory=list)
    touched: dict[str, Price] = field(default_factory=dict)
    changes: list[FieldChange] = field(default_factory=list)

    def succeed(self, wanted: Price, at: datetime, successor_id: str, sequence: int) -> None:
        """End the last version at an instant, and start its successor. Raises as the rule does."""
        ended, successor = change_price(self.last, terms_of(wanted), at, successor_id=successor_id)
        self.changes += differing(self.last, successor, MONEY)
        self._put(ended)
        self.last = replace(successor, sequence=sequence)
        self.added.append(self.last)

    def amend(self, record: Price) -> None:
        """Change the last version in place."""
        self.changes += differing(self.last, record, IN_PLACE)
        self.last = record
        self._put(record)

    def _put(self, record: Price) -> None:
        if any(each.id == record.id for each in self.added):
            self.added = [record if each.id == record.id else each for each in self.added]
        else:
            self.touched[record.id] = record

    def writes(self) -> tuple[Write, ...]:
        """Return what is written: predecessors before successors, so that keys are given up first."""
        before = {each.record.id: each for each in self.versions}
        changed = [Write("prices", before[name], each) for name, each in self.touched.items()]
        return (*changed, *(Write("prices", None, each) for each in self.added))


class PriceComparison:
    """The prices of one plan of the file, compared with those that are stored of it."""

    def __init__(self, comparison: Comparison, plan_id: str, plan: str, at: datetime) -> None:
        self._comparison = comparison
        self._plan_id = plan_id
        self._plan = plan
        self._at = at
        stored = prices_of(comparison.objects, plan_id)
        self._stored = {each.record.id: each for each in stored}
        self._sequence = next_sequence(each.record for each in stored)
        self._chains = {
            chain[0].parent_price_id or chain[0].id: chain
            for chain in chains(each.record for each in stored)
        }

    def compare(self, prices: Sequence[Price]) -> None:
        """Note what becomes of each price of the file, and which stored ones it does not have."""
        met: set[str] = set()
        for number, chain in enumerate(chains(prices)):
            name = f"{self._plan}/{chain[0].lookup_key or chain[0].display_name or number}"
            wanted = [
                replace(self._comparison.mapped(each), entity_id=self._plan_id) for each in chain
            ]
            due, waiting = self._due(wanted)
            root = self._root(wanted[0])
            self._comparison.ids[chain[0].id] = root or wanted[0].id
            if root is None:
                self._create(name, due)
            else:
                met.add(root)
                self._compare(name, due, root)
            for each in waiting:
                assert each.start_date is not None, "a version that waits has a start"
                self._note(
                    name,
                    Action.WAITS,
                    note=f"other terms from {each.start_date:%Y-%m-%d %H:%M:%S}Z",
                )
        self._note_others(met)

    def _due(self, chain: Sequence[Price]) -> tuple[list[Price], list[Price]]:
        """Return the versions whose time has come, and those that wait for theirs.

        The last of the due ones ends where the price does, and not where a change waits.
        """
        due = [
            each
            for number, each in enumerate(chain)
            if number == 0 or each.start_date is None or each.start_date <= self._at
        ]
        waiting = list(chain[len(due) :])
        return [*due[:-1], replace(due[-1], end_date=chain[-1].end_date)], waiting

    def _root(self, first: Price) -> str | None:
        """Return the id of the stored chain that a price of the file is; None if there is none."""
        if first.id in self._chains:
            return first.id
        by_key = self._comparison.objects.prices.by_lookup(first.lookup_key)
        if not first.lookup_key or by_key is None:
            return None
        root = by_key.record.parent_price_id or by_key.record.id
        return root if root in self._chains else None

    def _create(self, name: str, due: Sequence[Price]) -> None:
        """Note a price that is new, with all its versions that are due."""
        taken = self._comparison.objects.prices.by_lookup(due[0].lookup_key)
        if due[0].lookup_key and taken is not None:
            self._note(name, Action.REFUSED, note="a price of another plan has this lookup_key")
            return
        after = [each.id for each in due[1:]]
        made = [
            replace(each, sequence=self._next(), replaced_by=successor)
            for each, successor in zip(due, [*after, None], strict=True)
        ]
        writes = tuple(Write("prices", None, each) for each in made)
        self._note(name, Action.CREATE, writes=writes)

    def _compare(self, name: str, due: Sequence[Price], root: str) -> None:
        """Note what becomes of a stored price."""
        stored = self._chains[root]
        last, wanted = stored[-1], due[-1]
        fixed = differing(last, wanted, FIXED)
        if due[0].start_date is not None:
            fixed += differing(stored[0], due[0], ("start_date",))
        if fixed:
            names = " and ".join(each.field for each in fixed)
            hint = "give the new price another lookup_key"
            text = f"{names} of a price cannot change: {hint}"
            self._note(name, Action.REFUSED, fields=fixed, note=text)
            return
        if last.end_date is not None and last.end_date <= self._at and wanted.end_date is None:
            text = f"it has ended at {last.end_date:%Y-%m-%d %H:%M:%S}Z: another lookup_key begins anew"
            self._note(name, Action.LEFT_ALONE, note=text)
            return
        chain = _Chain([self._stored[each.id] for each in stored], last)
        try:
            self._bring_up(chain, due, root)
        except Refused as error:
            self._note(name, Action.REFUSED, note=str(error))
            return
        action = (
            Action.NEW_VERSION
            if chain.added
            else Action.UPDATE
            if chain.changes
            else Action.UNCHANGED
        )
        since = f"from {chain.last.start_date:%Y-%m-%d %H:%M:%S}Z" if chain.added else ""
        self._note(name, action, fields=tuple(chain.changes), note=since, writes=chain.writes())

    def _bring_up(self, chain: _Chain, due: Sequence[Price], root: str) -> None:
        """Change a stored chain until its last version is that of the file. Raises as the rules do."""
        wanted = due[-1]
        values = {each: getattr(wanted, each) for each in IN_PLACE}
        known = {each.record.id for each in chain.versions}
        for version in due[1:]:
            begun = chain.last.start_date
            assert version.start_date is not None, "a later version has a start"
            if version.id not in known and (begun is None or begun < version.start_date):
                chain.succeed(version, version.start_date, version.id, self._next())
        amended = replace(chain.last, **values)
        if amended != chain.last:
            chain.amend(amended)
        if terms_of(wanted) != terms_of(chain.last):
            begins = max(self._at, chain.last.start_date or self._at)
            chain.succeed(wanted, begins, identity("price", root, begins), self._next())

    def _next(self) -> int:
        """Return the next place in the sequence of the plan."""
        self._sequence += 1
        return self._sequence - 1

    def _note_others(self, met: Iterable[str]) -> None:
        """Note the prices of the plan that are in force and that the file does not have."""
        for root, chain in self._chains.items():
            last = chain[-1]
            ended = last.end_date is not None and last.end_date <= self._at
            if root not in met and not ended:
                name = f"{self._plan}/{last.lookup_key or last.display_name or last.id}"
                self._note(name, Action.LEFT_ALONE, note="not in the file")

    def _note(
        self,
        name: str,
        action: Action,
        *,
        fields: tuple[FieldChange, ...] = (),
        note: str = "",
        writes: tuple[Write, ...] = (),
    ) -> None:
        together = f"plan {self._plan_id}"
        self._comparison.note("prices", name, action, together, fields, note=note, writes=writes)
