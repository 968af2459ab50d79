"""Numbers and due dates: gapless in each series, counted in the tenant's own days."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.numbers import NumberFormat, Numbering, invoice_number, next_number, series_of
from billing.periods.due_dates import due_date, unpaid_too_long
from schemas.collection import PaymentTerms
from schemas.errors import NotBuiltYet, ValidationFailed

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("numbering", "sequence", "text"),
    [
        (Numbering(), 1, "INV-202601-00001"),
        (Numbering(suffix_length=2), 123, "INV-202601-123"),  # Longer is allowed.
        (Numbering(format=NumberFormat.YYYYMMDD), 1, "INV-20260101-00001"),
        (Numbering(format=NumberFormat.YYMMDD, separator="/"), 1, "INV/260101/00001"),
        (Numbering(format=NumberFormat.YY, separator=""), 1, "INV2600001"),
        (Numbering(format=NumberFormat.YYYY, prefix="A"), 1, "A-2026-00001"),
        # It is still 2025 there.
        (Numbering(timezone="America/New_York"), 1, "INV-202512-00001"),
    ],
)
def test_a_number_is_prefix_date_and_sequence(
    numbering: Numbering, sequence: int, text: str
) -> None:
    assert invoice_number(numbering, NEW_YEAR, sequence) == text


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"start_sequence": -1}, "start_sequence"),
        ({"suffix_length": 0}, "suffix_length"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
    ],
)
def test_a_numbering_that_cannot_be_is_refused(members: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        Numbering(**members)  # type: ignore[arg-type]  # one member each, of its own type
    assert refused.value.field == field


finalizations = st.lists(
    st.tuples(st.integers(0, 24 * 400), st.sampled_from(["INV", "ACME"]), st.booleans())
)


@given(finalizations, st.integers(0, 1000), st.sampled_from(list(NumberFormat)))
def test_numbers_of_a_series_have_no_gap_whatever_fails(
    attempts: list[tuple[int, str, bool]], start: int, shown: NumberFormat
) -> None:
    """A finalization that fails commits no number, so the next one takes it."""
    committed: dict[tuple[str, str], list[int]] = defaultdict(list)
    texts = []
    for hour, prefix, commits in attempts:
        numbering = Numbering(prefix=prefix, format=shown, start_sequence=start)
        dated_at = NEW_YEAR + timedelta(hours=hour)
        series = series_of(numbering, dated_at)
        taken = committed[series.prefix, series.date_part]
        number = next_number(numbering, dated_at, taken[-1] if taken else None)
        if commits:
            taken.append(number.sequence)
            texts.append(number.text)
    for taken in committed.values():
        assert taken == list(range(start, start + len(taken)))
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("terms", "days", "due"),
    [
        ("30 NET", 1, datetime(2026, 1, 31, tzinfo=UTC)),  # The terms win.
        ("90 NET", None, datetime(2026, 4, 1, tzinfo=UTC)),
        (None, 10, datetime(2026, 1, 11, tzinfo=UTC)),
        (None, 0, NEW_YEAR),
        # With neither, it is due when it is finalized.
        (None, None, datetime(2026, 1, 1, 2, tzinfo=UTC)),
    ],
)
def test_an_invoice_is_due_local_days_after_its_period(
    terms: str | None, days: int | None, due: datetime
) -> None:
    finalized_at = NEW_YEAR + timedelta(hours=2)
    words = terms and PaymentTerms(terms)
    assert (
        due_date(
            NEW_YEAR, "UTC", terms=words or None, due_date_days=days, finalized_at=finalized_at
        )
        == due
    )


def test_due_days_are_those_of_the_local_calendar() -> None:
    # New York goes to daylight time on 8 March, so 15 local days are an hour short.
    start = datetime(2026, 3, 1, 5, tzinfo=UTC)
    due = due_date(
        start,
        "America/New_York",
        terms=PaymentTerms.NET_15,
        due_date_days=None,
        finalized_at=start,
    )
    assert due == datetime(2026, 3, 16, 4, tzinfo=UTC)


def test_terms_and_days_that_cannot_be_are_refused() -> None:
    for terms, days, error in (
        (PaymentTerms.END_OF_MONTH, 1, NotBuiltYet),
        (None, -1, ValidationFailed),
    ):
        with pytest.raises(error):
            due_date(NEW_YEAR, "UTC", terms=terms, due_date_days=days, finalized_at=NEW_YEAR)


def test_a_grace_period_is_over_at_its_end() -> None:
    end = NEW_YEAR + timedelta(days=3)
    for at, late in ((end - timedelta(seconds=1), False), (end, True)):
        assert unpaid_too_long(NEW_YEAR, at, grace_period_days=3, timezone="UTC") is late
