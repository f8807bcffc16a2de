"""Refits for the gate's evidence, of bounded size: the same recipe on some of the persons, with so many trees at most.

Rows are binned once. A refit leaves persons out, draws them again, or may not use some columns; between two refits with
one seed nothing else differs, not even which columns a tree may choose from. So what sets them apart is what was
changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ethics.refusals import BadInput
from models.metrics import numbered
from models.sample_weights import row_weights
from models.tree_fitting import binned, settings_of

if TYPE_CHECKING:
    import lightgbm

    from features.matrix import Matrix
    from models.need import Need
    from models.training import NeedModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

MOST_ROWS = 10_000
"""Training rows of a refit at most: whole persons are drawn until so many are reached."""
MOST_TREES = 100
"""Trees of a refit at most; each then learns as much more as there are fewer."""
SMALL, TREES_OF_SMALL = 5_000, 50
"""Fewer rows than this are refitted with fewer trees: there is less to learn, and small needs are to stay quick."""
_FASTEST = 0.5
_FEWEST_OF_EACH = 10


@dataclass(frozen=True, eq=False)
class RefitGround:
    """Some of what a candidate learnt from, binned, with the candidate's own parameters.

    Attributes
    ----------
    X : float32 (m, p)
    y : float64 (m,) of 0 and 1
    weight : float64 (m,)
        What the rows count in learning, 1 on average.
    people : int32 (m,)
        Whose row it is: 0 … ``n_people`` - 1.
    parameters : mapping
        Those the candidate was fitted with.
    of_rows : int
        Rows that taught the candidate.
    """

    need: Need
    data: lightgbm.Dataset
    X: NDArray[np.float32]
    y: Floats
    weight: Floats
    people: Ints
    n_people: int
    parameters: Mapping[str, int | float]
    of_rows: int

    @property
    def is_small(self) -> bool:
        """Whether fewer trees and fewer pairs of refits do."""
        return len(self.y) < SMALL

    @property
    def most_trees(self) -> int:
        """Trees of a refit at most."""
        return TREES_OF_SMALL if self.is_small else MOST_TREES

    @classmethod
    def of(
        cls, model: NeedModel, training: Matrix, weights: np.ndarray | None, seed: int, most_rows: int = MOST_ROWS
    ) -> RefitGround | None:
        """The ground of a candidate's refits; None where too little of each outcome is there to learn from.

        Parameters
        ----------
        weights : float64 (n,), optional
            As :func:`models.training.train` took them.
        """
        try:
            chosen = row_weights(training, model.need.model, weights)
        except BadInput:
            return None  # weights that are not the candidate's
        rows, learning = chosen.rows, chosen.learning
        codes, n_people = numbered(training.keys["person_id"].to_numpy()[rows])
        kept = _some_persons(codes, n_people, most_rows, seed)
        rows = rows[kept]
        learning = np.ones(len(rows)) if learning is None else learning[kept]
        y = np.asarray(training.y)[rows]
        if min(y.sum(), len(y) - y.sum()) < _FEWEST_OF_EACH:
            return None
        people, n_people = numbered(codes[kept])
        X = training.X if len(rows) == len(training.X) else training.X[rows]
        parameters = parameters_of(model)
        data = binned(X, y, model.need, parameters)
        return cls(model.need, data, X, y, learning, people, n_people, parameters, len(chosen.rows))

    def grow(
        self,
        seed: int,
        *,
        drawn: np.ndarray | None = None,
        unused: Collection[int] = (),
        most_trees: int | None = None,
        threads: int | None = None,
    ) -> bytes | None:
        """Trees of a refit; None where those drawn are all alike.

        Parameters
        ----------
        drawn : int (n_people,), optional
            How often each person counts; once if left out.
        unused : collection of int
            Columns that no tree may split on. The draws of columns stay those of the refit that may use them.
        """
        times = np.ones(len(self.y)) if drawn is None else np.asarray(drawn, dtype=np.float64)[self.people]
        rows = np.flatnonzero(times > 0)
        share = self.y[rows]
        if not rows.size or share.min() == share.max():
            return None
        taught = self.data.subset(rows.tolist()).construct()
        taught.set_weight((self.weight * times)[rows])
        return self._grown(taught, seed, unused, most_trees or self.most_trees, threads)

    def _grown(
        self, taught: lightgbm.Dataset, seed: int, unused: Collection[int], most_trees: int, threads: int | None
    ) -> bytes:
        import lightgbm

        bounded = bounded_parameters(self.parameters, most_trees)
        settings: dict[str, Any] = settings_of(self.need, bounded, seed, len(self.y), threads)
        if unused:  # a gain that counts for nothing is never chosen
            settings["feature_contri"] = [0.0 if j in unused else 1.0 for j in range(self.X.shape[1])]
        booster = lightgbm.train(settings, taught, int(bounded["n_estimators"]))
        trees: str = booster.model_to_string().split("\nparameters:", 1)[0] + "\n"
        return trees.encode("utf-8")


def parameters_of(model: NeedModel) -> dict[str, int | float]:
    """Parameters that a candidate's trees were fitted with, as its manifest has them."""
    numbers = {name: float(value) for name, value in model.facts["parameters"].items()}
    return {name: int(value) if value.is_integer() else value for name, value in numbers.items()}


def bounded_parameters(parameters: Mapping[str, int | float], most_trees: int) -> dict[str, int | float]:
    """Parameters with so many trees at most, of which each learns as much more, up to half of what is left.

    >>> bounded_parameters({"n_estimators": 200, "learning_rate": 0.03}, 100)
    {'n_estimators': 100, 'learning_rate': 0.06}
    """
    n_trees = int(parameters["n_estimators"])
    if n_trees <= most_trees:
        return dict(parameters)
    rate = float(parameters["learning_rate"])
    faster = max(rate, min(_FASTEST, rate * n_trees / most_trees))
    return {**parameters, "n_estimators": most_trees, "learning_rate": faster}


def columns_used(trees: bytes) -> NDArray[np.int64]:
    """Columns that some tree splits on, ascending."""
    found = {
        int(column)
        for line in trees.split(b"\n")
        if line.startswith(b"split_feature=")
        for column in line[len(b"split_feature=") :].split()
    }
    return np.array(sorted(found), dtype=np.int64)


def _some_persons(people: Ints, n_people: int, most_rows: int, seed: int) -> NDArray[np.int64]:
    """Rows of as many persons, in a drawn order, as together have at most so many rows; in the rows' order."""
    if len(people) <= most_rows:
        return np.arange(len(people))
    order = np.random.default_rng(seed).permutation(n_people)
    upto = np.cumsum(np.bincount(people, minlength=n_people)[order])
    kept = np.zeros(n_people, dtype=np.bool_)
    kept[order[: max(1, int(np.searchsorted(upto, most_rows, side="right")))]] = True
    return np.flatnonzero(kept[people])
