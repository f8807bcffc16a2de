"""The scores of a whole cohort on a day, kept ready, so that a question about one person is a look into an array.

They are made by the same call as those of the weekly list, and hold for one model, one verdict and one day.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ethics.refusals import Refusal
from scoring.forest import contributions, raw_scores

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister
    from features.city import City
    from features.matrix import Matrix
    from scoring.scorer import Scorer

_LOG = logging.getLogger("ennakko.service")
_MOST_DAYS, _MOST_WAITING, _MOST_MADE_LIKE = 8, 8, 3
_MOST_MATRIX_BYTES = 2**28
_EXPLAINED = 32
ABSENT = 255
"""In ``Day.band``: the person has no score of that day that is ready."""

_Key = tuple[str, str, str, date]


@dataclass(frozen=True, eq=False, slots=True)
class Day:
    """The scores of one day, by the person's place in the city.

    Attributes
    ----------
    scorer : Scorer
        By which they were made.
    as_of_date : date
    score : float64 (n_persons,)
        NaN for a rule, and for the absent.
    band : uint8 (n_persons,)
        Place in :data:`scoring.scorer.RANK_BANDS`, or :data:`ABSENT`.
    row : int32 (n_persons,)
        Row of ``matrix``; -1 for the absent.
    columns : tuple of str
        Of what was scored.
    matrix : Matrix or None
        What was scored, where it is small enough to be kept.
    state : str or None
        Of all objections when it was made, where other people's objections change somebody's score; None where they
        cannot.
    max_error : float
        How far reasons are from adding up to these scores (C301).
    has_scores : bool
        False for a rule.
    verdict_id : str
    named, rests_on : bytes
        The date, and the digest of the model and the id of the verdict as keys of a JSON object.
    """

    scorer: Scorer
    as_of_date: date
    score: NDArray[np.float64]
    band: NDArray[np.uint8]
    row: NDArray[np.int32]
    columns: tuple[str, ...]
    matrix: Matrix | None
    state: str | None
    max_error: float
    has_scores: bool
    verdict_id: str
    named: bytes
    rests_on: bytes


class PreparedDays:
    """Makes days in a thread of its own, one at a time, and keeps the eight that were asked for last.

    Those of a new champion are made beside it.

    Parameters
    ----------
    city : City
    objections : ObjectionRegister
    places : mapping
        Person id → place in the city.
    """

    def __init__(self, city: City, objections: ObjectionRegister, places: Mapping[str, int]) -> None:
        self._city, self._objections, self._places = city, objections, places
        self._days: OrderedDict[_Key, Day] = OrderedDict()
        self._waiting: set[_Key] = set()
        self._era, self._lock = 0, Lock()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="prepared day")

    def of(self, scorer: Scorer, as_of_date: date, state: Callable[[], str]) -> Day | None:
        """The day, if it is ready and still holds; ``state`` tells the present state of all objections."""
        key = _key(scorer, as_of_date)
        day = self._days.get(key)
        if day is None or (day.state is not None and day.state != state()):
            return None
        with contextlib.suppress(KeyError):  # it was forgotten this very moment
            self._days.move_to_end(key)
        return day

    def ready(self, scorer: Scorer) -> list[Day]:
        """The days that are ready by a scorer."""
        of = _key(scorer, date.min)[:3]
        return [day for key, day in list(self._days.items()) if key[:3] == of]

    def ask_for(self, scorer: Scorer, as_of_date: date, state: Callable[[], str]) -> None:
        """Have a day made, unless it is being made or too many wait."""
        key = _key(scorer, as_of_date)
        if key in self._waiting or len(self._waiting) >= _MOST_WAITING:
            return
        present = state() if _depends_on_others(scorer) else None
        day = self._days.get(key)
        if day is not None and day.state == present:
            return
        self._waiting.add(key)
        self._maker.submit(self._make, key, scorer, as_of_date, present)

    def make_like(self, old: Scorer, new: Scorer, state: Callable[[], str]) -> None:
        """Make the days that are ready by one scorer by another, the last asked for first; waits until they are.

        They are made in the thread that asks, so that no day that waits comes before them. What is ready by the old
        one alone is then let go: nobody will ask for it again.
        """
        kept = [day.as_of_date for day in reversed(self.ready(old))]
        for as_of_date in kept[:_MOST_MADE_LIKE]:
            present = state() if _depends_on_others(new) else None
            self._make(_key(new, as_of_date), new, as_of_date, present)
        for as_of_date in kept:
            self._days.pop(_key(old, as_of_date), None)

    def forget(self) -> None:
        """Let go of every day that is ready, and of those being made: somebody whose row they hold was erased."""
        with self._lock:
            self._era += 1
            self._days.clear()

    def close(self) -> None:
        """Make no more."""
        self._maker.shutdown(wait=False, cancel_futures=True)

    def _make(self, key: _Key, scorer: Scorer, as_of_date: date, state: str | None) -> None:
        era = self._era
        try:
            day = self._made(scorer, as_of_date, state)
            with self._lock:
                if era == self._era:  # otherwise it was begun before somebody was erased
                    self._days[key] = day
                while len(self._days) > _MOST_DAYS:
                    self._days.popitem(last=False)
        except Refusal:
            pass  # whoever asks about a person of that day is told why
        except Exception as error:
            _LOG.error("%s while preparing a day", type(error).__name__)
        finally:
            self._waiting.discard(key)

    def _made(self, scorer: Scorer, as_of_date: date, state: str | None) -> Day:
        found = scorer.unordered(self._city, as_of_date, self._objections)
        n, m = len(self._places), len(found.person_ids)
        score, band = np.full(n, np.nan), np.full(n, ABSENT, dtype=np.uint8)
        row = np.full(n, -1, dtype=np.int32)
        at = np.fromiter((self._places[person] for person in found.person_ids), np.int64, m)
        score[at] = np.nan if found.score is None else found.score
        band[at], row[at] = found.band, np.arange(m)
        matrix = found.matrix if found.matrix.X.nbytes <= _MOST_MATRIX_BYTES else None
        error = additivity_error(scorer.model, found.matrix.X)
        verdict_id = scorer.verified.verdict.verdict_id
        rests_on = json.dumps(
            {"model_digest": str(scorer.model.digest), "verdict_id": verdict_id}, separators=(",", ":")
        )
        return Day(
            scorer=scorer,
            as_of_date=as_of_date,
            score=score,
            band=band,
            row=row,
            columns=tuple(found.matrix.names),
            matrix=matrix,
            state=state,
            max_error=error,
            has_scores=found.score is not None,
            verdict_id=str(verdict_id),
            named=as_of_date.isoformat().encode(),
            rests_on=rests_on[1:-1].encode(),
        )


def _key(scorer: Scorer, as_of_date: date) -> _Key:
    return *scorer.named, as_of_date


def _depends_on_others(scorer: Scorer) -> bool:
    """Whether another person's objection changes somebody's score: a rule's order, or a household's events."""
    return scorer.need.kind == "rule" or any(feature.of != "self" for feature in scorer.need.features)


def additivity_error(model: Any, X: NDArray[np.float32]) -> float:
    """How far reasons are from adding up to the scores of some of the rows, spread evenly; 0 for a rule (C301)."""
    if model.kind == "rule" or not len(X):
        return 0.0
    some = X[np.unique(np.linspace(0, len(X) - 1, _EXPLAINED).astype(np.int64))]
    return float(np.abs(contributions(model, some).sum(axis=1) - raw_scores(model, some)).max())
