"""Learn a need from the past: fit trees, and make their scores probabilities that can be believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from ethics.digests import canonical_json, decimal, sha256
from ethics.refusals import BadInput, Fault, NotTrusted
from models.artefact import manifest_of, read_artefact, write_artefact
from models.calibration import CalibrationPlan, fit_calibration, plan_calibration, score_thresholds
from models.need import Need, parse_need
from models.rule import RuleModel
from models.sample_weights import RowWeights, row_weights
from models.tree_fitting import (
    binned,
    categories_of,
    grow,
    grow_safely,
    parameters_for,
    raw_scores,
)

if TYPE_CHECKING:
    import lightgbm

    from features.matrix import Matrix

SCORE_BANDS = (1, 5, 10, 25, 50)
"""Top shares, in per cent, whose raw-score thresholds the manifest holds."""

_FEW_ROWS = 1000
_FEWEST_OF_EACH = 10


@dataclass(frozen=True)
class NeedModel:
    """A learned need: trees, calibration, and the manifest that fixes both.

    Attributes
    ----------
    need : Need
    trees : bytes
        LightGBM's text form, without the part that depends on the machine.
    slope, intercept : float
        ``score = 1 / (1 + exp(-(slope * raw + intercept)))``.
    manifest : bytes
        Canonical; its SHA-256 is ``digest``.
    """

    need: Need
    trees: bytes
    slope: float
    intercept: float
    manifest: bytes
    kind = "model"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the matrix it scores."""
        return self.need.columns

    @property
    def digest(self) -> str:
        """Model digest."""
        return sha256(self.manifest)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the manifest says."""
        facts: dict[str, Any] = json.loads(self.manifest)
        return facts

    @property
    def score_bands(self) -> dict[int, float]:
        """Per cent → raw score from which a person is in that top share, scored by models that had not seen them."""
        return {int(share): float(raw) for share, raw in self.facts["score_bands"].items()}

    @cached_property
    def booster(self) -> Any:
        """The trees as LightGBM reads them."""
        import lightgbm

        return lightgbm.Booster(model_str=self.trees.decode("utf-8"))

    def raw(self, X: np.ndarray) -> np.ndarray:
        """Raw scores, which rank.

        Parameters
        ----------
        X : float32 (n, p)

        Returns
        -------
        float64 (n,)
        """
        if len(X) == 0:
            return np.zeros(0)
        threads = {"num_threads": 1} if len(X) < _FEW_ROWS else {}
        return np.asarray(self.booster.predict(_rows(X, self), raw_score=True, **threads), dtype=np.float64)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of need: float64 (n,) in [0, 1]."""
        return self.probability(self.raw(X))

    def probability(self, raw: np.ndarray) -> np.ndarray:
        """Probabilities of raw scores, element by element, so that one row and a million give the same bits."""
        return np.asarray(expit(self.slope * raw + self.intercept), dtype=np.float64)

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """What each column adds to the raw score, and last the level they start from: float64 (n, p + 1)."""
        if len(X) == 0:
            return np.zeros((0, len(self.columns) + 1))
        return np.asarray(self.booster.predict(_rows(X, self), pred_contrib=True), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the artefact of contracts.md §4, all or nothing."""
        write_artefact(folder, _files(self.need, self.trees, self.slope, self.intercept), self.manifest)

    @classmethod
    def load(cls, folder: Path, expected_digest: str | None = None) -> NeedModel:
        """Read what :meth:`save` wrote, every digest compared before anything is parsed.

        Raises
        ------
        NotTrusted
            Each file that is missing or altered, with both digests.
        """
        found = load_model(folder, expected_digest)
        if not isinstance(found, cls):
            wrong = f'holds a need of kind "{found.need.kind}"'
            raise NotTrusted(Fault(str(folder), wrong, "Give the folder of a learned model"))
        return found


def load_model(folder: Path, expected_digest: str | None = None) -> NeedModel | RuleModel:
    """Read an artefact of either kind, every digest compared before anything is parsed; see :meth:`NeedModel.load`."""
    files, manifest, content = read_artefact(folder, expected_digest)
    need = parse_need(files["need.toml"], str(folder / "need.toml"), manifest["need"])
    if json.loads(files["columns.json"])["columns"] != list(need.columns):
        wrong = "lists other columns than need.toml makes with this Ennakko"
        raise NotTrusted(Fault(str(folder / "columns.json"), wrong, "Train and judge again"))
    if manifest["kind"] == "rule":
        return RuleModel(need, content)
    calibration = json.loads(files["calibration.json"])
    return NeedModel(need, files["trees.txt"], float(calibration["slope"]), float(calibration["intercept"]), content)


def train(
    matrix: Matrix,
    need: Need,
    seed: int,
    *,
    weights: np.ndarray | None = None,
    parameters: Mapping[str, int | float] | None = None,
) -> NeedModel:
    """Fit and calibrate a model of a need.

    Parameters
    ----------
    matrix : Matrix (n, p)
        With labels; rows whose label is unknown (NaN) are left out.
    need : Need
        Its ``[model]`` says what counts for how much, and in which direction scores may go.
    seed : int
    weights : float64 (n,), optional
        Whom the rows stand for (inverse probabilities of censoring, say), in any unit; rows of weight 0 are left out.
    parameters : mapping, optional
        Parameters of LightGBM that stand above the need's own.

    Raises
    ------
    BadInput
        The matrix is another need's; a label that does not vary enough to learn from; weights that cannot be weights; a
        parameter that may not be set.

    Notes
    -----
    The bytes are the same in every process and with any number of threads. With few persons in need the trees learn
    from everybody and are calibrated by cross-fitting; with many, some persons are held out of the trees instead
    (:func:`models.calibration.plan_calibration`; the manifest says which).
    """
    chosen = _checked(matrix, need, weights)
    X, y, settings = _taught(matrix, need, chosen, parameters)
    people = matrix.keys["person_id"].gather(chosen.rows).to_list()
    data = binned(X, y, need, settings, chosen.learning)
    plan = plan_calibration(y, people, chosen.population, seed)
    trees, settings, scored, raw = _grown(data, X, y, need, settings, plan, seed)
    stands_for = None if chosen.population is None else chosen.population[scored]
    slope, intercept = fit_calibration(raw, y[scored], stands_for)
    bands = score_thresholds(raw, stands_for, SCORE_BANDS)
    dates = sorted({day.isoformat() for day in matrix.keys["as_of_date"].unique().to_list()})
    manifest = manifest_of(
        "model",
        need.id,
        _files(need, trees, slope, intercept),
        calibration=plan.facts,
        categories={name: list(values) for name, values in categories_of(need).items()},
        parameters={name: decimal(value, 17) for name, value in sorted(settings.items())},
        score_bands={str(share): decimal(raw_score, 17) for share, raw_score in bands.items()},
        seed=seed,
        training={
            "as_of_dates": dates,
            "matrix_digest": matrix.digest,
            "n_positives": int(y.sum()),
            "n_rows": len(y),
        },
        weights=chosen.facts,
    )
    return NeedModel(need, trees, slope, intercept, manifest)


def fit_uncalibrated(
    matrix: Matrix,
    need: Need,
    seed: int,
    *,
    weights: np.ndarray | None = None,
    parameters: Mapping[str, int | float] | None = None,
    threads: int | None = None,
) -> bytes:
    """The trees alone, of every row that teaches, for whoever compares orders; :func:`models.tree_fitting.raw_scores`.

    Parameters and refusals are those of :func:`train`. ``threads`` changes no byte.
    """
    chosen = _checked(matrix, need, weights)
    X, y, settings = _taught(matrix, need, chosen, parameters)
    return grow_safely(binned(X, y, need, settings, chosen.learning), need, settings, seed, threads=threads)[0]


def _checked(matrix: Matrix, need: Need, weights: np.ndarray | None) -> RowWeights:
    """The rows of a matrix that the need can be learnt from, and their weights."""
    if tuple(matrix.names) != need.columns:
        differing = sorted(set(matrix.names) ^ set(need.columns)) or ["the order"]
        wrong = f"has other columns than {need.id}.toml makes: {', '.join(differing)}"
        raise BadInput(Fault("matrix", wrong, "Build the matrix from this need"))
    if matrix.y is None:
        raise BadInput(Fault("matrix", "has no label to learn from", "Build it with label=need.label"))
    chosen = row_weights(matrix, need.model, weights)
    n, n_pos = len(chosen.rows), int(matrix.y[chosen.rows].sum())
    if min(n_pos, n - n_pos) < _FEWEST_OF_EACH:
        wrong = f"{n_pos} of the {n} training rows with a known outcome are in need"
        mend = f"Learning takes at least {_FEWEST_OF_EACH} who are and {_FEWEST_OF_EACH} who are not: widen the cohort"
        raise BadInput(Fault("label", wrong, mend))
    return chosen


def _taught(
    matrix: Matrix, need: Need, chosen: RowWeights, parameters: Mapping[str, int | float] | None
) -> tuple[np.ndarray, np.ndarray, dict[str, int | float]]:
    """Cells and labels of the rows that teach, copied only if some do not, and the parameters for so many."""
    X = matrix.X if len(chosen.rows) == len(matrix.X) else matrix.X[chosen.rows]
    return X, np.asarray(matrix.y)[chosen.rows], parameters_for(need, len(X), parameters)


def _grown(
    data: lightgbm.Dataset,
    X: np.ndarray,
    y: np.ndarray,
    need: Need,
    parameters: Mapping[str, int | float],
    plan: CalibrationPlan,
    seed: int,
) -> tuple[bytes, dict[str, int | float], np.ndarray, np.ndarray]:
    """The trees to keep, their parameters; rows, and their raw scores by trees that had not seen their persons."""
    if plan.method == "held out":
        ((held, others),) = plan.parts()
        trees, used = grow_safely(data, need, parameters, seed, rows=others)
        return trees, used, held, raw_scores(trees, X, held)
    trees, used = grow_safely(data, need, parameters, seed)
    level = float(np.log(y.mean() / (1 - y.mean())))
    rows, scores = [], []
    for held, others in plan.parts():
        rows.append(held)
        if len(np.unique(y[others])) < 2:
            scores.append(np.full(len(held), level))  # nothing to learn without these persons
        else:
            scores.append(raw_scores(grow(data, need, used, seed, rows=others), X, held))
    return trees, used, np.concatenate(rows), np.concatenate(scores)


def _files(need: Need, trees: bytes, slope: float, intercept: float) -> dict[str, bytes]:
    return {
        "trees.txt": trees,
        "calibration.json": canonical_json({"slope": decimal(slope, 17), "intercept": decimal(intercept, 17)}),
        "need.toml": need.bytes,
        "columns.json": canonical_json({"columns": list(need.columns)}),
    }


def _rows(X: np.ndarray, model: NeedModel) -> np.ndarray:
    if X.ndim != 2 or X.shape[1] != len(model.columns):
        wrong = f"has shape {X.shape}, and the model takes {len(model.columns)} columns"
        raise BadInput(Fault("matrix", wrong, f"Build the matrix from {model.need.id}.toml"))
    return np.ascontiguousarray(X, dtype=np.float32)
