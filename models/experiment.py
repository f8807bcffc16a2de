"""One experiment: train what each origin could have known, measure it on the date that came after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from features.cohort import as_of_dates, build_cohort
from features.matrix import build_matrix
from models.metrics import Estimate, evaluate
from models.rule import RuleModel
from models.splits import Split, is_test_person, split_periods
from models.training import NeedModel, train

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister
    from features.city import City
    from features.matrix import Matrix
    from models.need import Need


@dataclass(frozen=True)
class Experiment:
    """What came of one need on one city.

    Attributes
    ----------
    model : NeedModel or RuleModel
        The candidate: trained at the first judged date, the only one that may be approved.
    split : Split
    train_matrix : Matrix or None
        What the candidate learnt from; None for a rule.
    judged : Matrix
        Rows the verdict is about: one per person, the latest.
    metrics : dict
        Measure → Estimate, pooled over all test dates; they describe the procedure.
    by_date : dict
        Test date → the same measures.
    seen_in_training : bool (n,)
        Which judged persons the candidate has learnt from at an earlier date.
    """

    need: Need
    model: NeedModel | RuleModel
    split: Split
    train_matrix: Matrix | None
    judged: Matrix
    metrics: dict[str, Estimate]
    by_date: dict[date, dict[str, Estimate]]
    seen_in_training: np.ndarray


def run_experiment(
    city: City, need: Need, objections: ObjectionRegister, seed: int, step: Callable[..., None]
) -> Experiment:
    """Train and measure a need on a city.

    Raises
    ------
    BadInput
        Nothing mature, an empty cohort, a label that never occurs, everyone objected: each says what to do.
    """
    split = split_periods(as_of_dates(city, need.cohort), need.label, city.extract_date, need.splits)
    dates = sorted({*split.test_dates, *(day for origin in split.origins for day in origin.train_dates)})
    step(f"{need.id}: building features")
    matrix = build_matrix(
        city,
        need.features,
        build_cohort(city, need.cohort, dates),
        objections=objections,
        need_id=need.id,
        label=need.label,
        indicators=need.indicators,
    )
    day = matrix.keys["as_of_date"].to_numpy()
    people = matrix.keys["person_id"].to_list()
    held_out = is_test_person(people, seed) if split.kind == "person" else None
    parts = _measured(matrix, need, split, day, held_out, seed, step)
    step(f"{need.id}: measuring, with intervals")
    pooled = _evaluate([part for _, part in parts], need, seed)
    # One test date is the pool itself.
    by_date = {test: _evaluate([part], need, seed) for test, part in parts} if len(parts) > 1 else {parts[0][0]: pooled}
    candidate = dict(parts)[split.judged_dates[0]]
    judged_rows = _latest_per_person(matrix, split.judged_dates, held_out)
    train_rows = None if split.kind == "rule" else _train_rows(day, split.train_dates, held_out)
    learnt = set() if train_rows is None else set(np.asarray(people, dtype=object)[train_rows].tolist())
    judged = matrix.rows(judged_rows)
    return Experiment(
        need=need,
        model=candidate.model,
        split=split,
        train_matrix=None if train_rows is None else matrix.rows(train_rows),
        judged=judged,
        metrics=pooled,
        by_date=by_date,
        seen_in_training=np.array([person in learnt for person in judged.keys["person_id"].to_list()], dtype=bool),
    )


@dataclass(frozen=True)
class _Part:
    """One test date: its rows and the model that could have been used that day."""

    model: NeedModel | RuleModel
    matrix: Matrix

    @cached_property
    def raw(self) -> np.ndarray:
        """Raw scores: float64 (n,)."""
        return self.model.raw(self.matrix.X)

    @cached_property
    def probability(self) -> np.ndarray:
        """Calibrated probabilities, NaN for a rule: float64 (n,)."""
        return self.model.probability(self.raw) if isinstance(self.model, NeedModel) else np.full(len(self.raw), np.nan)


def _measured(
    matrix: Matrix,
    need: Need,
    split: Split,
    day: np.ndarray,
    held_out: np.ndarray | None,
    seed: int,
    step: Callable[..., None],
) -> list[tuple[date, _Part]]:
    models: dict[tuple[date, ...], NeedModel | RuleModel] = {}
    parts = []
    for done, origin in enumerate(split.origins):
        step(f"{need.id}: training", done, len(split.origins))
        if origin.train_dates not in models:
            if split.kind == "rule":
                models[origin.train_dates] = RuleModel.of(need)
            else:
                rows = _train_rows(day, origin.train_dates, held_out)
                models[origin.train_dates] = train(matrix.rows(rows), need, seed)
        test = day == np.datetime64(origin.test_date)
        parts.append((origin.test_date, _Part(models[origin.train_dates], matrix.rows(_kept(test, held_out)))))
    return parts


def _train_rows(day: np.ndarray, train_dates: Sequence[date], held_out: np.ndarray | None) -> np.ndarray:
    rows = np.isin(day, np.array(train_dates, dtype="datetime64[D]"))
    return rows if held_out is None else rows & ~held_out


def _kept(rows: np.ndarray, held_out: np.ndarray | None) -> np.ndarray:
    return rows if held_out is None else rows & held_out


def _latest_per_person(matrix: Matrix, dates: Sequence[date], held_out: np.ndarray | None) -> np.ndarray:
    """The last row of each person on the judged dates: bool (n,)."""
    day = matrix.keys["as_of_date"].to_numpy()
    rows = _kept(np.isin(day, np.array(dates, dtype="datetime64[D]")), held_out)
    last = (
        matrix.keys.with_row_index("row")
        .filter(pl.Series(rows))
        .sort("as_of_date")
        .group_by("person_id", maintain_order=True)
        .agg(pl.col("row").last())["row"]
        .to_numpy()
    )
    chosen = np.zeros(len(day), dtype=bool)
    chosen[last] = True
    return chosen


def _evaluate(parts: Sequence[_Part], need: Need, seed: int) -> dict[str, Estimate]:
    if need.label is None:
        return {}
    return evaluate(
        label=np.concatenate([np.asarray(part.matrix.y) for part in parts]),
        rank_score=np.concatenate([part.raw for part in parts]),
        probability=None if need.kind == "rule" else np.concatenate([part.probability for part in parts]),
        person=np.concatenate([part.matrix.keys["person_id"].to_numpy() for part in parts]),
        k=need.capacity.k,
        period=np.concatenate([part.matrix.keys["as_of_date"].to_numpy() for part in parts]),
        seed=seed,
    )
