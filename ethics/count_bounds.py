"""Exact bounds of shares and of ratios of rates, one-sided 95 % each, for counts too small for anything else."""

from __future__ import annotations

from typing import NamedTuple


class Ratio(NamedTuple):
    """A group's rate against everyone else's, with one-sided 95 % bounds, and the events expected in the group."""

    value: float
    low: float
    high: float
    expected: float


def share_bounds(found: int, n: int) -> tuple[float, float]:
    """One-sided 95 % bounds of a share (Clopper-Pearson 1934).

    >>> [round(x, 3) for x in share_bounds(0, 100)]
    [0.0, 0.03]
    """
    from scipy.stats import beta

    if not 0 <= found <= n or not n:
        raise ValueError("not a count of so many")
    low = float(beta.ppf(0.05, found, n - found + 1)) if found else 0.0
    high = float(beta.ppf(0.95, found + 1, n - found)) if found < n else 1.0
    return low, high


def rate_ratio(events: float, n: float, other_events: float, other_n: float) -> Ratio:
    """A rate against another: bounds from the exact conditional (binomial) interval of two Poisson counts.

    Given both counts' sum, the first is binomial with share r n ÷ (r n + m); Clopper-Pearson bounds of that share give
    bounds of r. Conservative for rates that are not small.

    >>> [round(x, 2) for x in rate_ratio(20, 100, 40, 200)[:3]]
    [1.0, 0.61, 1.61]
    """
    from scipy.stats import beta

    total = events + other_events
    expected = total * n / (n + other_n)
    if not total:
        return Ratio(float("nan"), 0.0, float("inf"), expected)
    low = float(beta.ppf(0.05, events, other_events + 1)) if events else 0.0
    high = float(beta.ppf(0.95, events + 1, other_events)) if other_events else 1.0
    scale = other_n / n

    def as_ratio(share: float) -> float:
        return scale * share / (1 - share) if share < 1 else float("inf")

    return Ratio(as_ratio(events / total), as_ratio(low), as_ratio(high), expected)
