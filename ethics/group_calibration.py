"""What a score means in each group: calibration slope, intercept and error, from cells (C405).

*Slope*: of a logistic regression of need on the log odds that the model gives; 1 when the model is calibrated, under 1
when its probabilities are too extreme. *Intercept*: of the same with the slope held at 1; 0 when the level is right.
Both with Wald bounds from the information matrix, widened by the design effect. *Error* (ECE): the mean gap between
need and probability over ten equal bins of the group's own people. The gap of any finite sample is above 0, so its
bounds are those of the basic bootstrap, which takes the upward bias off.

Probabilities are taken at their mean in each bin of the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ethics.power import ONE_SIDED_95

if TYPE_CHECKING:
    from ethics.cells import Floats

ERROR_BINS = 10
_STEPS = 30
_LEAST = 1e-6


class WithBounds(NamedTuple):
    """A measure of each group (g,) and the bounds that hold with 95 % each."""

    value: Floats
    low: Floats
    high: Floats


def calibration_line(count: Floats, expected: Floats, design_effect: Floats) -> tuple[WithBounds, WithBounds]:
    """Slope and intercept of each group; NaN where everybody or nobody is in need.

    Parameters
    ----------
    count : float (g, b, 2)
        Persons by group, bin and label.
    expected : float (g, b, 2)
        Summed probabilities.
    """
    n, need = count.sum(axis=2), count[:, :, 1]
    odds = log_odds(n, expected.sum(axis=2))
    hopeless = (need.sum(axis=1) == 0) | (need.sum(axis=1) == n.sum(axis=1))
    level, slope = np.zeros(n.shape[0]), np.ones(n.shape[0])
    held = np.zeros(n.shape[0])
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            rate = _expit(level[:, None] + slope[:, None] * odds)
            weight, residual = n * rate * (1 - rate), need - n * rate
            a, b, c = (np.sum(weight * odds**power, axis=1) for power in range(3))
            determinant = a * c - b * b
            first, second = residual.sum(axis=1), (residual * odds).sum(axis=1)
            level = level + np.clip((c * first - b * second) / determinant, -2, 2)
            slope = slope + np.clip((a * second - b * first) / determinant, -2, 2)
            rate = _expit(held[:, None] + odds)
            information = np.sum(n * rate * (1 - rate), axis=1)
            held = held + np.clip(np.sum(need - n * rate, axis=1) / information, -2, 2)
        slope_error = np.sqrt(a / determinant * design_effect)
        level_error = np.sqrt(design_effect / information)
    return tuple(  # type: ignore[return-value]
        WithBounds(*(np.where(hopeless | ~np.isfinite(value), np.nan, value + side * error) for side in _SIDES))
        for value, error in ((slope, slope_error), (held, level_error))
    )


_SIDES = (0.0, -ONE_SIDED_95, ONE_SIDED_95)


def calibration_error(
    count: Floats, expected: Floats, *, n_replicates: int, design_effect: Floats, rng: np.random.Generator
) -> WithBounds:
    """ECE of each group over ten bins of its own people, shapes as in :func:`calibration_line`."""
    n, need, sums = (_tenths(values, count) for values in (count.sum(axis=2), count[:, :, 1], expected.sum(axis=2)))
    size = n.sum(axis=1)
    gap = need - sums
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.where(n > 0, need * (1 - need / n), 0.0) * design_effect[:, None])
        value = np.abs(gap).sum(axis=1) / size
        drawn = np.abs(gap + spread * rng.standard_normal((n_replicates, *gap.shape))).sum(axis=2) / size
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    return WithBounds(value, np.maximum(2 * value - high, 0.0), np.maximum(2 * value - low, value))


def _tenths(values: Floats, count: Floats) -> Floats:
    """Values (g, b) summed over tenths of each group's people, (g, 10)."""
    persons = count.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (np.cumsum(persons, axis=1) - persons / 2) / persons.sum(axis=1, keepdims=True)
    tenth = np.minimum((np.nan_to_num(middle) * ERROR_BINS).astype(np.int64), ERROR_BINS - 1)
    place = np.arange(values.shape[0])[:, None] * ERROR_BINS + tenth
    return np.bincount(place.ravel(), weights=values.ravel(), minlength=values.shape[0] * ERROR_BINS).reshape(
        -1, ERROR_BINS
    )


def log_odds(n: Floats, expected: Floats) -> Floats:
    """Log odds of the mean probability of each bin; 0 where nobody is."""
    rate = np.divide(expected, n, out=np.full(n.shape, 0.5), where=n > 0).clip(_LEAST, 1 - _LEAST)
    odds: Floats = np.log(rate / (1 - rate))
    return odds


def _expit(x: Floats) -> Floats:
    rate: Floats = 1 / (1 + np.exp(-x))
    return rate
