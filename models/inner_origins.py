"""Dates inside the past on which parameters can be compared before the judged date comes.

A search that looked at the judged date would be judged on what it had seen. So it repeats the rolling origin inside
the dates the candidate learns from: their labels were complete when the first judged date came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ethics.refusals import BadInput, Fault
from models.need_parts import Splits
from models.splits import Split, hash_share, is_test_person, split_periods

if TYPE_CHECKING:
    from features.matrix import Matrix
    from models.need import Need

MOST_ORIGINS = 3
"""Inner origins at most: the latest, which resemble the judged date the most."""

PERSON_FOLDS = 3
"""Folds of persons where the past holds too few dates for an inner origin."""

FEWEST_OF_EACH = 10
"""In need, and not in need, that trees are taught by at least."""


@dataclass(frozen=True)
class InnerOrigin:
    """Rows to learn from and rows to compare on.

    Attributes
    ----------
    name : str
        The test date (of a period its first day), or ``persons 1`` …
    train, test : bool (n,)
        Rows of the matrix.
    k : int
        Places per period: the capacity, or a fold's share of it.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    k: int


def learnable_rows(matrix: Matrix, split: Split, seed: int) -> np.ndarray:
    """Rows the candidate may learn from, before anybody is judged: bool (n,)."""
    days = matrix.keys["as_of_date"].to_numpy()
    rows = np.isin(days, np.array(split.train_dates, dtype="datetime64[D]"))
    if split.kind == "person":
        rows = rows & ~is_test_person(matrix.keys["person_id"].to_list(), seed)
    return rows


def periods_of(matrix: Matrix, need: Need) -> np.ndarray:
    """The period of each row, within which rows compete for the places: int64 (n,).

    A fixed as-of date is a period of its own; dates that follow an event are grouped, counted back from the last.
    """
    days = matrix.keys["as_of_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    period_days = _period_days(need)
    return days if period_days is None or not days.size else (days - days.max()) // period_days


def _period_days(need: Need) -> int | None:
    as_of = need.cohort.as_of
    return None if as_of is None or as_of.on is None else as_of.period_days


def inner_origins(matrix: Matrix, need: Need, split: Split, seed: int) -> tuple[tuple[InnerOrigin, ...], str]:
    """Divide the learnable rows into comparisons over time, or over persons where there is too little time.

    Parameters
    ----------
    matrix : Matrix
        :func:`learnable_rows` alone.

    Returns
    -------
    (origins, method)
        In time order, and in words how they were made.

    Raises
    ------
    BadInput
        One class only; no date to compare on and too few persons for folds.
    """
    assert matrix.y is not None
    over_time = [origin for origin in _over_time(matrix, need, split) if _usable(origin, matrix.y)]
    if over_time:
        return tuple(over_time), f"rolling origin over {', '.join(origin.name for origin in over_time)}"
    folds = _over_persons(matrix, need, seed)
    if not all(_usable(fold, matrix.y) for fold in folds):
        raise BadInput(_too_few(matrix, matrix.y, split))
    why = (
        "a split of persons" if split.kind == "person" else f"no date to compare on before {split.candidate.test_date}"
    )
    return folds, f"{PERSON_FOLDS} folds of persons ({why})"


def _over_time(matrix: Matrix, need: Need, split: Split) -> list[InnerOrigin]:
    if split.kind != "temporal":
        return []
    for tests in range(MOST_ORIGINS, 0, -1):
        try:
            inner = split_periods(
                split.train_dates,
                need.label,
                split.candidate.test_date,
                Splits(kind="temporal", tests=tests, judged=1),
                period_days=_period_days(need),
            )
        except BadInput:  # so many dates there are not; fewer, then
            continue
        days = matrix.keys["as_of_date"].to_numpy()
        return [
            InnerOrigin(
                name=origin.test_date.isoformat(),
                train=np.isin(days, np.array(origin.train_dates, dtype="datetime64[D]")),
                test=np.isin(days, np.array(origin.test_dates, dtype="datetime64[D]")),
                k=need.listed_k,
            )
            for origin in inner.origins
        ]
    return []


def _over_persons(matrix: Matrix, need: Need, seed: int) -> tuple[InnerOrigin, ...]:
    shares = hash_share(matrix.keys["person_id"].to_list(), f"search {seed}")
    fold = (shares * PERSON_FOLDS).astype(np.int64)
    k = max(1, round(need.listed_k / PERSON_FOLDS))
    return tuple(InnerOrigin(f"persons {i + 1}", fold != i, fold == i, k) for i in range(PERSON_FOLDS))


def _usable(origin: InnerOrigin, y: np.ndarray) -> bool:
    """Whether there is enough to learn from, and both outcomes to compare on."""
    return rarer(y[origin.train]) >= FEWEST_OF_EACH and rarer(y[origin.test]) >= 1


def rarer(y: np.ndarray) -> int:
    """How many rows have the rarer of the two known outcomes."""
    known = y[np.isfinite(y)]
    in_need = int(known.sum())
    return min(in_need, len(known) - in_need)


def _too_few(matrix: Matrix, y: np.ndarray, split: Split) -> Fault:
    known = y[np.isfinite(y)]
    in_need = int(known.sum())
    persons = matrix.keys["person_id"].n_unique()
    if rarer(y) == 0:
        wrong = f"{in_need} of the {len(known)} rows with a known outcome are in need: one class only"
        return Fault("label", wrong, "Widen the cohort, or change what the label counts")
    wrong = (
        f"cannot be compared: before {split.candidate.test_date} no date has labels to learn from and labels to "
        f"compare on, and {in_need} in need among {persons} persons are too few for {PERSON_FOLDS} folds"
    )
    return Fault("parameters", wrong, "Start the cohort earlier, widen it, or train without a search")
