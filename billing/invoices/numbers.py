"""Invoice numbers: one series for each prefix and date part, without gaps (billing.md 15.4).

A number is taken in the transaction that finalizes, from the last one of its series that was
committed. So a crash or a refused commit leaves no gap, and two writers never get the same one.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.errors import ValidationFailed
from schemas.zones import zone


class NumberFormat(StrEnum):
    """Which part of the invoice date a number shows."""

    YYYYMM = "YYYYMM"
    YYYYMMDD = "YYYYMMDD"
    YYMMDD = "YYMMDD"
    YY = "YY"
    YYYY = "YYYY"


# A year is written with four digits whatever the platform's strftime makes of small ones.
SHOWN = {
    NumberFormat.YYYYMM: "{0.year:04}{0.month:02}",
    NumberFormat.YYYYMMDD: "{0.year:04}{0.month:02}{0.day:02}",
    NumberFormat.YYMMDD: "{1:02}{0.month:02}{0.day:02}",
    NumberFormat.YY: "{1:02}",
    NumberFormat.YYYY: "{0.year:04}",
}


@dataclass(frozen=True, slots=True)
class Numbering:
    """How a tenant numbers invoices: the members of setting invoice_config that say so.

    A changed start_sequence reaches series that have no number yet. Raises ValidationFailed naming
    the member.
    """

    prefix: str = "INV"
    format: NumberFormat = NumberFormat.YYYYMM
    separator: str = "-"
    start_sequence: int = 1
    suffix_length: int = 5
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.start_sequence < 0:
            raise ValidationFailed("must not be negative", field="start_sequence")
        if self.suffix_length < 1:
            raise ValidationFailed("must be 1 or more", field="suffix_length")
        zone(self.timezone)


@dataclass(frozen=True, slots=True)
class Series:
    """What is numbered together, within one tenant and environment."""

    prefix: str
    date_part: str


@dataclass(frozen=True, slots=True)
class InvoiceNumber:
    """A number that is taken: its place in its series, and its text."""

    series: Series
    sequence: int
    text: str


def series_of(numbering: Numbering, dated_at: datetime) -> Series:
    """Return the series of an invoice date, which is read in the tenant's zone.

    >>> from datetime import UTC
    >>> series_of(Numbering(), datetime(2026, 1, 31, 20, tzinfo=UTC)).date_part
    '202601'
    """
    local = dated_at.astimezone(zone(numbering.timezone))
    shown = SHOWN[numbering.format].format(local, local.year % 100)
    return Series(numbering.prefix, shown)


def invoice_number(numbering: Numbering, dated_at: datetime, sequence: int) -> str:
    """Return the text of a number: prefix, date and padded sequence, joined by the separator.

    A sequence that is longer than `suffix_length` is written in full. Source: billing.md 15.4.

    >>> from datetime import UTC
    >>> invoice_number(Numbering(), datetime(2026, 2, 1, tzinfo=UTC), 1)
    'INV-202602-00001'
    """
    series = series_of(numbering, dated_at)
    padded = str(sequence).zfill(numbering.suffix_length)
    return numbering.separator.join((series.prefix, series.date_part, padded))


def next_number(numbering: Numbering, dated_at: datetime, last: int | None) -> InvoiceNumber:
    """Return the number that follows the last one of its series, None if it has none yet.

    The caller reads `last` and writes the new sequence in the transaction that finalizes.

    >>> from datetime import UTC
    >>> february = datetime(2026, 2, 1, tzinfo=UTC)
    >>> next_number(Numbering(), february, None).sequence, next_number(Numbering(), february, 7).text
    (1, 'INV-202602-00008')
    """
    sequence = numbering.start_sequence if last is None else last + 1
    return InvoiceNumber(
        series_of(numbering, dated_at), sequence, invoice_number(numbering, dated_at, sequence)
    )
