"""Shadows: models that score beside the champions, are compared with them, and are never served.

A shadow needs no verdict, since nobody is listed or answered by it: what leaves are figures about a whole cohort. No
score of a person by a shadow is kept, logged or sent.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault, Refusal

if TYPE_CHECKING:
    import polars as pl

    from features.city import City
    from features.matrix import Matrix
    from models.rule import RuleModel
    from models.training import NeedModel
    from scoring.scorer import Scorer
    from serving.desk import ScoreDesk
    from serving.home import Home

_LOG = logging.getLogger("ennakko.service")
_LOOK_SECONDS = 2.0
FEWEST = 50
"""People of a cohort below which nothing is told: figures about a few would be figures about each."""


@dataclass(frozen=True)
class Comparison:
    """How a shadow's scores of a day's cohort stand to the champion's.

    Attributes
    ----------
    need, as_of_date, extract_date, champion, shadow : str
        Which need and day, of which data, by which models (digests).
    n : int
        People scored by both.
    rank_correlation : float or None
        Spearman's, -1 to 1; None where one of them gives everybody the same score.
    overlap : float
        Share of the first ``k`` of one who are among the first ``k`` of the other, 0 to 1; equals stand in the order
        of the list.
    k : int
        The need's capacity, or all where they are fewer.
    mean_difference : float or None
        Mean absolute difference of the scores, 0 to 1; None where one of them is a rule, which gives none.
    """

    need: str
    as_of_date: str
    extract_date: str
    champion: str
    shadow: str
    n: int
    rank_correlation: float | None
    overlap: float
    k: int
    mean_difference: float | None


def compare(
    scorer: Scorer, shadow: NeedModel | RuleModel, city: City, matrix: Matrix, home: Home, as_of_date: date
) -> Comparison:
    """Score the rows of a champion's matrix by a shadow, and compare.

    A shadow of other features gets a matrix of the same people by its own. Whoever has objected, or was erased, since
    the champion's matrix was made is scored by neither.

    Raises
    ------
    BadInput
        Fewer than :data:`FEWEST` people are scored by both.
    """
    from scoring.forest import raw_scores

    X, own, people = _of_both(scorer, shadow, city, matrix, home)
    n = len(people)
    if n < FEWEST:
        wrong = f"has {n} people on {as_of_date}, fewer than {FEWEST}: figures about a few are figures about each"
        raise BadInput(Fault("cohort", wrong, "Compare on a day with more"))
    ours, theirs = raw_scores(scorer.model, X), raw_scores(shadow, own)
    k = min(scorer.need.capacity.k, n)
    keys = np.argsort(np.argsort(np.asarray(scorer.tie_keys(people.to_list(), as_of_date))))
    first = [set(np.lexsort((keys, -raw))[:k].tolist()) for raw in (ours, theirs)]
    return Comparison(
        need=scorer.need.id,
        as_of_date=as_of_date.isoformat(),
        extract_date=city.extract_date.isoformat(),
        champion=str(scorer.model.digest),
        shadow=str(shadow.digest),
        n=n,
        rank_correlation=_spearman(ours, theirs),
        overlap=len(first[0] & first[1]) / k,
        k=k,
        mean_difference=_difference(scorer.model, shadow, ours, theirs),
    )


def _of_both(
    scorer: Scorer, shadow: NeedModel | RuleModel, city: City, matrix: Matrix, home: Home
) -> tuple[NDArray[Any], NDArray[Any], pl.Series]:
    """The champion's rows, the shadow's, and whose they are, of whoever may be scored now.

    A day's matrix is kept while the service runs, so who objects and who is erased is asked anew, last of all.
    """
    import polars as pl

    from features.matrix import build_matrix

    X, own, people = matrix.X, matrix.X, matrix.keys["person_id"]
    if shadow.need.features != scorer.need.features:
        built = build_matrix(
            city, shadow.need.features, matrix.keys, objections=home.objections, need_id=scorer.need.id
        )
        here = people.is_in(built.keys["person_id"].implode())
        X, own, people = X[here.to_numpy()], built.X, people.filter(here)
    may = ~home.objections.objecting(people.to_list(), scorer.need.id)
    return (X, own, people) if may.all() else (X[may], own[may], people.filter(pl.Series(may)))


def _spearman(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float | None:
    from scipy.stats import rankdata

    ranks = rankdata(ours), rankdata(theirs)
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _difference(champion: Any, shadow: Any, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float | None:
    if "rule" in (champion.kind, shadow.kind):
        return None
    return float(np.abs(champion.probability(ours) - shadow.probability(theirs)).mean())


# ---- kept --------------------------------------------------------------------------------------------------------


def kept_path(home: Home) -> Path:
    """Where comparisons are kept: one JSON object a line, oldest first, without anything about a person."""
    return home.root / "serving" / "shadow.jsonl"


def kept_comparisons(home: Home, need_id: str | None = None) -> list[dict[str, Any]]:
    """The comparisons made so far, oldest first; a line that a killed process left half is left out."""
    path = kept_path(home)
    found = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and need_id in (None, row.get("need")):
            found.append(row)
    return found


@contextmanager
def _alone(home: Home) -> Iterator[bool]:
    """Whether this process may compare now: one at a time, so that several workers do the work once."""
    path = kept_path(home).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _keep(home: Home, found: Comparison) -> None:
    row = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(found)}
    handle = os.open(kept_path(home), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{json.dumps(row, allow_nan=False)}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- while serving -----------------------------------------------------------------------------------------------


class Shadows:
    """Compares, in a thread of its own, the days that a desk has ready with what their needs' shadows say of them.

    Parameters
    ----------
    home : Home
    desk : ScoreDesk
    tell : callable
        ``tell(event, need_id, **facts)``: told of each comparison, and of a shadow that cannot be compared.
    show : callable
        ``show(need_id, figures)``: the last figures of a need, for the measures.
    """

    def __init__(
        self,
        home: Home,
        desk: ScoreDesk,
        tell: Callable[..., None],
        show: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._home, self._desk, self._tell, self._show = home, desk, tell, show
        self._models: dict[str, tuple[tuple[str, ...], NeedModel | RuleModel]] = {}
        self._done: set[tuple[Any, ...]] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="shadows", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Compare no more."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            for need_id, guarded in self._desk.guarded.items():
                try:
                    self._look(need_id, guarded.scorer)
                except Exception as error:
                    _LOG.error("%s while a shadow was looked for", type(error).__name__)

    def _look(self, need_id: str, scorer: Scorer) -> None:
        from models.registry import shadow_pointer

        pointer = shadow_pointer(self._home.registry, need_id)
        if not pointer:
            self._models.pop(need_id, None)
            return
        for day in self._desk.days.ready(scorer):
            about = (need_id, pointer, scorer.model.digest, day.as_of_date)
            if about in self._done or self._closed.is_set():
                continue
            with _alone(self._home) as alone:
                if not alone:
                    return
                self._done.add(about)
                try:
                    self._one(need_id, pointer, scorer, day)
                except Refusal as refusal:
                    self._tell("shadow not compared", need_id, reasons=" ".join(f.where for f in refusal.faults))

    def _one(self, need_id: str, pointer: tuple[str, ...], scorer: Scorer, day: Any) -> None:
        shadow, city = self._model(need_id, pointer), self._desk.city
        about = (
            *(need_id, day.as_of_date.isoformat(), city.extract_date.isoformat()),
            *(str(scorer.model.digest), str(shadow.digest)),
        )
        for row in reversed(kept_comparisons(self._home, need_id)):  # by another worker, or before a restart
            if tuple(row.get(name) for name in ("need", "as_of_date", "extract_date", "champion", "shadow")) == about:
                self._show(need_id, row)
                return
        matrix = day.matrix or scorer.matrix(city, day.as_of_date, self._home.objections)
        found = compare(scorer, shadow, city, matrix, self._home, day.as_of_date)
        _keep(self._home, found)
        self._show(need_id, asdict(found))
        facts = asdict(found)
        self._tell("shadow compared", facts.pop("need"), **facts)

    def _model(self, need_id: str, pointer: tuple[str, ...]) -> NeedModel | RuleModel:
        from models.registry import shadow_model

        kept = self._models.get(need_id)
        if kept is None or kept[0] != pointer:
            model = shadow_model(self._home.registry, need_id)
            if model is None or model.need.id != need_id:
                raise BadInput(Fault("shadow", "is of another need, or gone", "Set it again: ennakko shadow set"))
            kept = self._models[need_id] = pointer, model
        return kept[1]


# ---- by command --------------------------------------------------------------------------------------------------


def begin_shadow(home: Home, run_id: str) -> dict[str, Any]:
    """Let the model of a run be watched beside its need's champion; it needs no verdict, and is never served.

    Raises
    ------
    BadInput
        The run is unknown.
    NotTrusted
        The artefact was altered.
    """
    from models.registry import run_model, set_shadow

    model = run_model(home.registry, run_id)
    version = set_shadow(home.registry, model.need.id, run_id)
    home.audit_log.append("shadow", "service owner", need=model.need.id, run=run_id, model=str(model.digest))
    return {"need": model.need.id, "run_id": run_id, "version": version, "model_digest": str(model.digest)}


def stop_shadow(home: Home, need_id: str) -> dict[str, Any]:
    """Watch no model beside a need's champion any more.

    Raises
    ------
    BadInput
        None was watched.
    """
    from models.registry import end_shadow

    if not end_shadow(home.registry, need_id):
        raise BadInput(Fault("--need", f"'{need_id}' has no shadow", "Nothing is to be done"))
    home.audit_log.append("shadow ended", "service owner", need=need_id)
    return {"need": need_id, "ended": True}
