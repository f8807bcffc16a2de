"""How precisely figures are written, on the page and for machines: what one shows and the attacker reads off."""

from __future__ import annotations

from decimal import Decimal

DECIMALS = {"ratio": 2, "share": 3, "people": 0}
"""Decimals by kind; a share is written in per cent with one decimal on the page."""


def rounded(value: float, kind: str = "ratio") -> Decimal:
    """A figure as it is printed: with the decimals of its kind; a ratio below a hundredth with one digit.

    >>> [str(rounded(value)) for value in (1.2345, 0.995, 1.0, 0.0149, 0.0052)]
    ['1.23', '0.99', '1.00', '0.01', '0.005']
    >>> str(rounded(0.29549, "share"))
    '0.295'
    """
    if kind == "ratio" and 0 < abs(value) < 0.01:
        return Decimal(f"{Decimal(f'{value:.1g}'):f}")
    return Decimal(f"{value:.{DECIMALS[kind]}f}")


def bounds_read(value: float, kind: str = "ratio") -> tuple[float, float]:
    """The least and the greatest figure that are printed like this one.

    >>> bounds_read(1.2345)
    (1.225, 1.235)
    """
    printed = rounded(value, kind)
    half = Decimal((0, (5,), int(printed.as_tuple().exponent) - 1))
    return float(printed - half), float(printed + half)
