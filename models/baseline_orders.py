"""Simple orders that a model must beat, learnt from the rows the model learnt from and from nothing else.

The best single column, the need of one's district, and a logistic regression. With chance and the unit's own rule
(which are not learnt) they answer: would something simpler do?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.attributes import attribute_history
from features.keyed_rows import keyed_rows
from models.column_rankers import found_by_columns, learn_directions, sampled_rows
from models.linear_columns import LinearColumns
from models.rule import rule_order
from models.written_order import OrderTerm

if TYPE_CHECKING:
    from features.city import City
    from features.matrix import Matrix

Floats = NDArray[np.float64]

BEST_COLUMN, AREA, LOGISTIC = "best_column", "area", "logistic"
LEARNT = (BEST_COLUMN, AREA, LOGISTIC)
"""Orders learnt from data, as columns of judged rows name them."""

AREA_ATTRIBUTE = "district"
MOST_ROWS = 20_000
"""Rows that directions and the logistic regression are learnt from at most; more would cost, and hardly change them."""

_PRIOR_ROWS = 20.0


@dataclass(frozen=True)
class AreaRates:
    """Share in need per district among training rows, drawn towards the whole by twenty rows.

    Attributes
    ----------
    rates : mapping
        District → share.
    overall : float
        Share of all, which a district that nobody taught has too.
    """

    rates: Mapping[str, float]
    overall: float

    def scores(self, districts: pl.Series) -> Floats:
        """Rates of rows: float64 (n,)."""
        found = districts.replace_strict(dict(self.rates), default=self.overall, return_dtype=pl.Float64)
        return np.array(found.fill_null(self.overall).to_numpy())


@dataclass(frozen=True, eq=False)
class Logistic:
    """A logistic regression with an L2 penalty on :class:`models.linear_columns.LinearColumns`."""

    columns: LinearColumns
    coefficients: Floats
    intercept: float

    def scores(self, X: np.ndarray) -> Floats:
        """Log odds of need: float64 (n,)."""
        return self.columns.weighted_sum(X, self.coefficients) + self.intercept


@dataclass(frozen=True, eq=False)
class LearntOrders:
    """What rows to learn from say about simpler orders.

    Attributes
    ----------
    terms : tuple of OrderTerm (p,)
        Each column with its direction.
    best : OrderTerm
        The one that finds the most at capacity among the training rows.
    area : AreaRates or None
        None where the city knows no district.
    logistic : Logistic
    n_rows, n_sampled : int
        Training rows with a known outcome, and how many of them taught directions and the regression.
    """

    terms: tuple[OrderTerm, ...]
    best: OrderTerm
    area: AreaRates | None
    logistic: Logistic
    n_rows: int
    n_sampled: int

    def scores(self, city: City, matrix: Matrix) -> dict[str, Floats]:
        """Rank scores of other rows, per order there is: name → float64 (n,); those of ``logistic`` are log odds."""
        found = {BEST_COLUMN: rule_order(matrix.names, matrix.X, (self.best,))}
        if self.area is not None:
            districts = attribute_of_rows(city, matrix.keys, AREA_ATTRIBUTE)
            assert districts is not None  # the city that taught has districts
            found[AREA] = self.area.scores(districts)
        return {**found, LOGISTIC: self.logistic.scores(matrix.X)}

    def in_words(self) -> dict[str, str]:
        """What each order is."""
        some = "" if self.n_sampled == self.n_rows else f", on {self.n_sampled:,} of {self.n_rows:,} training rows"
        words = {BEST_COLUMN: str(self.best)}
        if self.area is not None:
            words[AREA] = f"share in need in one's {AREA_ATTRIBUTE} among the training rows"
        return {**words, LOGISTIC: f"logistic regression on all columns{some}"}


def learn_orders(city: City, training: Matrix, k: int, seed: int, weights: np.ndarray | None = None) -> LearntOrders:
    """Learn the simple orders from a matrix.

    Parameters
    ----------
    city : City
        For the district of each row on its day.
    training : Matrix
        With labels that vary; rows whose label is unknown are left out.
    k : int
        Capacity per as-of date: the best column is the one that finds the most in as many places as there are dates
        times k.
    seed : int
        Draws the sample of at most :data:`MOST_ROWS` rows.
    weights : float64 (n,), optional
    """
    assert training.y is not None
    known = np.flatnonzero(np.isfinite(training.y))
    y = training.y[known]
    w = np.ones(known.size) if weights is None else np.asarray(weights, dtype=np.float64)[known]
    some = sampled_rows(known.size, MOST_ROWS, seed)
    X, y_some, w_some = training.X[known[some]], y[some], w[some]
    terms = learn_directions(X, y_some, training.names, w_some)
    # Columns that do not tell anybody apart find what chance finds; the first of equals is taken.
    places = float(k) * training.keys["as_of_date"].n_unique()
    X_known = training.X if known.size == len(training.X) else training.X[known]
    scale = 1.0 if weights is None else training.y.size / w.sum()  # the known stand for all, who compete for the places
    found = found_by_columns(X_known, y, terms, places, w * scale)
    return LearntOrders(
        terms=terms,
        best=terms[int(np.argmax(found))],
        area=_learn_area(city, training.keys[known], y, w),
        logistic=_learn_logistic(X, y_some, w_some),
        n_rows=known.size,
        n_sampled=some.size,
    )


def attribute_of_rows(city: City, keys: pl.DataFrame, attribute: str) -> pl.Series | None:
    """What the city held of each row's person when the row's day began: text (n,), null where nothing was known.

    None where neither the fixed columns nor the history has the attribute.
    """
    history = attribute_history(city, attribute)
    if history is None:
        return None
    number = pl.Series(history.on(keyed_rows(city, keys).rows))
    return history.values.gather(number.set(number < 0, None).cast(pl.UInt32)).alias(attribute)


def _learn_area(city: City, keys: pl.DataFrame, y: Floats, w: Floats) -> AreaRates | None:
    districts = attribute_of_rows(city, keys, AREA_ATTRIBUTE)
    if districts is None:
        return None
    overall = float(w @ y / w.sum())
    rates = (
        pl.DataFrame({"district": districts, "in_need": w * y, "rows": w})
        .drop_nulls("district")
        .group_by("district")
        .agg(rate=(pl.col("in_need").sum() + _PRIOR_ROWS * overall) / (pl.col("rows").sum() + _PRIOR_ROWS))
        .sort("district")
    )
    return AreaRates(dict(rates.iter_rows()), overall)


def _learn_logistic(X: np.ndarray, y: Floats, w: Floats) -> Logistic:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    columns = LinearColumns(X)
    Z = columns(X)
    if not Z.shape[1] or len(np.unique(y)) < 2:
        share = float(np.clip(w @ y / w.sum(), 1e-9, 1 - 1e-9))
        return Logistic(columns, np.zeros(Z.shape[1]), float(np.log(share / (1 - share))))
    with threadpool_limits(1):  # sums in another order would be other bits
        fitted = LogisticRegression(C=1.0, tol=1e-4, max_iter=500).fit(Z, y, sample_weight=w)
    return Logistic(columns, np.ascontiguousarray(fitted.coef_[0], dtype=np.float64), float(fitted.intercept_[0]))
