"""Money: exact amounts of one currency, and the one function that rounds them (billing.md 2).

An amount stays exact until it is settled. Sums and products are formed in `LOSSLESS`, which raises
where a digit would be lost; quotients are fractions. Nothing here or elsewhere rounds money but
`settle`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import (
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from fractions import Fraction
from functools import reduce
from math import lcm

from schemas.errors import ValidationFailed

# What an amount may be before it is settled: a quotient has no end in decimals.
Exact = Decimal | Fraction

# As wide as `schemas.decimals.EXACT`, but a lost digit is a bug and raises.
LOSSLESS = Context(
    prec=160,
    rounding=ROUND_HALF_EVEN,
    traps=[Inexact, InvalidOperation, Overflow, DivisionByZero],
)

# A decimal of so many digits before the point is rounded as it is, any other amount as a fraction;
# both round the same, and the first is several times as fast.
DECIMAL_DIGITS = 100
ROUNDING = Context(prec=LOSSLESS.prec)
UNITS = tuple(Decimal(1).scaleb(-digits) for digits in range(5))

# ISO 4217 as of 1 January 2026, by digits after the point. Withdrawn codes and those without minor
# units (XAU, XDR, XTS, XXX …) are not among them, so they are refused.
CODES_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD
        CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
        GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD
        LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB
        PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP
        SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW
        ZWG
        """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_UNITS = {code: digits for digits, codes in CODES_BY_DIGITS.items() for code in codes.split()}


def minor_units(currency: str) -> int:
    """Return the digits after the point that amounts of a currency are settled in.

    Codes are compared without regard to case. Raises ValidationFailed (field `currency`) for a code
    that ISO 4217 does not list or gives no minor units. Source: billing.md 2.

    >>> minor_units("usd"), minor_units("JPY"), minor_units("KWD")
    (2, 0, 3)
    """
    # Only ASCII letters: upper() alone would let letters of other scripts in.
    digits = MINOR_UNITS.get(currency.upper()) if currency.isascii() else None
    if digits is None:
        raise ValidationFailed(
            f"{currency!r} is no currency that can be billed; give an ISO 4217 code",
            field="currency",
        )
    return digits


def settle(amount: Exact, currency: str) -> Decimal:
    """Round an exact amount half away from zero to the minor units of its currency.

    The result has exactly the currency's digits, and is never a negative zero. Raises TypeError for
    a float, ValidationFailed for an unknown currency. Source: billing.md 2.

    >>> settle(Decimal("10.275"), "usd"), settle(Decimal("-0.5"), "JPY")
    (Decimal('10.28'), Decimal('-1'))
    """
    digits = minor_units(currency)
    if isinstance(amount, Decimal) and amount.is_finite() and amount.adjusted() < DECIMAL_DIGITS:
        # Adding nothing makes a negative zero a zero.
        return LOSSLESS.plus(amount.quantize(UNITS[digits], ROUND_HALF_UP, context=ROUNDING))
    scaled = abs(_exact(amount)) * 10**digits
    units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return _from_units(units if amount >= 0 else -units, digits)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts up without losing a digit, as the built-in sum would above 28 of them.

    >>> total([Decimal("0.10"), Decimal("1267650600228229401496703205376")])
    Decimal('1267650600228229401496703205376.10')
    """
    return reduce(LOSSLESS.add, amounts, Decimal(0))


def allocate(amount: Decimal, weights: Sequence[Exact], currency: str) -> list[Decimal]:
    """Spread a settled amount over parts, in proportion to their weights, so that they sum to it.

    Each share is cut down to minor units; what is left goes, one unit each, to the largest
    remainders, ties to the earlier part. A part of weight 0 gets nothing; a negative amount is the
    same split with the sign changed. Raises ValidationFailed for an amount that is not settled
    (field `amount`), a negative weight, or weights that sum to 0 while the amount does not (field
    `weights`). Source: billing.md 2.

    >>> allocate(Decimal("0.10"), [Decimal("0.33"), Decimal("0.34"), Decimal("0.33")], "usd")
    [Decimal('0.03'), Decimal('0.04'), Decimal('0.03')]
    """
    digits = minor_units(currency)
    scaled = _exact(amount) * 10**digits
    if scaled.denominator != 1:
        raise ValidationFailed("only a settled amount is spread", field="amount")
    parts = [_exact(weight) for weight in weights]
    if any(part < 0 for part in parts):
        raise ValidationFailed("a weight must not be negative", field="weights")
    if scaled == 0:
        return [_from_units(0, digits) for _ in parts]
    common = lcm(*(part.denominator for part in parts))
    whole = [int(part * common) for part in parts]
    if not any(whole):
        raise ValidationFailed("an amount cannot be spread over nothing", field="weights")
    units = _spread(abs(int(scaled)), whole)
    return [_from_units(unit if scaled > 0 else -unit, digits) for unit in units]


def _spread(units: int, weights: Sequence[int]) -> list[int]:
    """Split whole units by largest remainder. Fewer are left over than parts have a remainder."""
    whole = sum(weights)
    shares = [units * weight // whole for weight in weights]
    remainders = [units * weight % whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda index: -remainders[index])
    for index in order[: units - sum(shares)]:
        shares[index] += 1
    return shares


def _exact(amount: object) -> Fraction:
    """Return an amount as a fraction; a float raises, since its digits are not what was meant."""
    if not isinstance(amount, Decimal | Fraction | int):
        raise TypeError(f"money is Decimal or Fraction, not {type(amount).__name__}")
    return Fraction(amount)


def _from_units(units: int, digits: int) -> Decimal:
    """Return whole minor units as an amount with that many digits after the point."""
    return Decimal(units).scaleb(-digits, LOSSLESS)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency, kept at full precision until it is settled.

    The currency is kept in lower case, as the wire shows it. A float raises TypeError, an unknown
    currency and two currencies in one sum raise ValidationFailed.

    >>> (Money(Decimal("0.005"), "USD") * Decimal(3)).settled()
    Money(amount=Decimal('0.02'), currency='usd')
    """

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError(f"amount must be Decimal, not {type(self.amount).__name__}")
        minor_units(self.currency)
        object.__setattr__(self, "currency", self.currency.lower())

    def __add__(self, other: "Money") -> "Money":
        """Add an amount of the same currency, without rounding."""
        return Money(LOSSLESS.add(self.amount, self._same(other)), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        """Take off an amount of the same currency, without rounding."""
        return Money(LOSSLESS.subtract(self.amount, self._same(other)), self.currency)

    def __neg__(self) -> "Money":
        """Return the same amount with the other sign."""
        return Money(LOSSLESS.minus(self.amount), self.currency)

    def __mul__(self, quantity: Decimal) -> "Money":
        """Multiply by a quantity, without rounding; a float raises TypeError."""
        return Money(LOSSLESS.multiply(self.amount, quantity), self.currency)

    def settled(self) -> "Money":
        """Return the amount rounded by `settle`."""
        return Money(settle(self.amount, self.currency), self.currency)

    def _same(self, other: "Money") -> Decimal:
        """Return the other's amount, if it is of this currency."""
        if other.currency != self.currency:
            raise ValidationFailed(
                f"{other.currency} cannot be added to {self.currency}", field="currency"
            )
        return other.amount
