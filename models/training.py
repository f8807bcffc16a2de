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
from models.need import Need, parse_need
from models.need_parts import SMALLEST_LEAF
from models.rule import RuleModel
from models.splits import hash_share

if TYPE_CHECKING:
    from features.matrix import Matrix

SCORE_BANDS = (1, 5, 10, 25, 50)
"""Top shares, in per cent, whose raw-score thresholds the manifest holds."""

_LARGE = 20_000
_FEW_ROWS = 1000
_SMALL_DEFAULTS: Mapping[str, int | float] = {
    "n_estimators": 200,
    "learning_rate": 0.03,
    "num_leaves": 12,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
}
_LARGE_DEFAULTS: Mapping[str, int | float] = {
    "n_estimators": 240,
    "learning_rate": 0.06,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
}
_FOLDS = 3
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


def train(matrix: Matrix, need: Need, seed: int) -> NeedModel:
    """Fit and calibrate a model of a need.

    Parameters
    ----------
    matrix : Matrix
        With labels; rows whose label is unknown (NaN) are left out.
    need : Need
    seed : int

    Raises
    ------
    BadInput
        The matrix is another need's; a label that does not vary enough to learn from.
    """
    labels = _checked_labels(matrix, need)
    known = np.flatnonzero(np.isfinite(labels))
    X, y = np.ascontiguousarray(matrix.X[known]), labels[known]
    parameters = parameters_for(need, len(y))
    people = matrix.keys["person_id"].gather(known).to_list()
    raw = _cross_fitted(X, y, people, need, parameters, seed)
    slope, intercept = fit_calibration(raw, y)
    trees = _fit(X, y, need, parameters, seed)
    dates = sorted({day.isoformat() for day in matrix.keys["as_of_date"].unique().to_list()})
    manifest = manifest_of(
        "model",
        need.id,
        _files(need, trees, slope, intercept),
        parameters={name: decimal(value, 17) for name, value in sorted(parameters.items())},
        score_bands={str(share): decimal(float(np.quantile(raw, 1 - share / 100)), 17) for share in SCORE_BANDS},
        seed=seed,
        training={
            "as_of_dates": dates,
            "matrix_digest": matrix.digest,
            "n_positives": int(y.sum()),
            "n_rows": len(y),
        },
    )
    return NeedModel(need, trees, slope, intercept, manifest)


def parameters_for(need: Need, n_rows: int) -> dict[str, int | float]:
    """Parameters of the trees: sensible for so many rows, untuned, and the need's own above them."""
    defaults = _SMALL_DEFAULTS if n_rows < _LARGE else _LARGE_DEFAULTS
    parameters = {**defaults, **need.model.parameters()}
    parameters["min_data_in_leaf"] = max(SMALLEST_LEAF, int(parameters["min_data_in_leaf"]))
    return parameters


def fit_calibration(raw: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of a logistic curve through (raw score, label), by Newton's method.

    Labels are drawn in a little (Source: Platt 1999, §2.2), so that a perfect separation has a finite answer. Scores
    that do not rank at all get slope 0: everyone has the share in need.

    Parameters
    ----------
    raw : float64 (n,)
        From models that had not seen the row.
    y : float64 (n,) of 0 and 1
    """
    n_pos = float(y.sum())
    n_neg = len(y) - n_pos
    target = np.where(y > 0, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))
    level = float(np.log(target.sum() / (len(y) - target.sum())))
    spread = float(raw.std())
    if spread == 0:
        return 0.0, level
    centre = float(raw.mean())
    x = (raw - centre) / spread
    a, b = 0.0, level
    for _ in range(100):
        p = expit(a * x + b)
        v = p * (1 - p)
        gradient = np.array([(target - p) @ x, (target - p).sum()])
        hessian = np.array([[v @ (x * x), v @ x], [v @ x, v.sum()]])
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 1.0 / float(np.abs(step).max()))
        a, b = a + float(step[0]), b + float(step[1])
        if np.abs(step).max() < 1e-12:
            break
    if a <= 0:
        return 0.0, level
    return a / spread, b - a * centre / spread


def _checked_labels(matrix: Matrix, need: Need) -> np.ndarray:
    """Labels of a matrix that the need can be learnt from."""
    if tuple(matrix.names) != need.columns:
        differing = sorted(set(matrix.names) ^ set(need.columns)) or ["the order"]
        wrong = f"has other columns than {need.id}.toml makes: {', '.join(differing)}"
        raise BadInput(Fault("matrix", wrong, "Build the matrix from this need"))
    if matrix.y is None:
        raise BadInput(Fault("matrix", "has no label to learn from", "Build it with label=need.label"))
    known = matrix.y[np.isfinite(matrix.y)]
    n_pos = int(known.sum())
    if min(n_pos, len(known) - n_pos) < _FEWEST_OF_EACH:
        wrong = f"{n_pos} of the {len(known)} training rows with a known outcome are in need"
        mend = f"Learning takes at least {_FEWEST_OF_EACH} who are and {_FEWEST_OF_EACH} who are not: widen the cohort"
        raise BadInput(Fault("label", wrong, mend))
    return matrix.y


def _cross_fitted(
    X: np.ndarray, y: np.ndarray, people: list[str], need: Need, parameters: Mapping[str, int | float], seed: int
) -> np.ndarray:
    """Raw scores of every row by models that had not seen its person: float64 (n,)."""
    import lightgbm

    fold = (hash_share(people, f"calibration {seed}") * _FOLDS).astype(np.int64)
    raw = np.zeros(len(y))
    level = float(np.log(y.mean() / (1 - y.mean())))
    for number in range(_FOLDS):
        held = fold == number
        if not held.any():
            continue
        if len(np.unique(y[~held])) < 2:
            raw[held] = level  # nothing to learn without these persons
            continue
        trees = _fit(X[~held], y[~held], need, parameters, seed)
        raw[held] = lightgbm.Booster(model_str=trees.decode("utf-8")).predict(X[held], raw_score=True)
    return raw


def _fit(X: np.ndarray, y: np.ndarray, need: Need, parameters: Mapping[str, int | float], seed: int) -> bytes:
    """The text of trees fitted to the rows, the same bytes whatever the number of threads."""
    import lightgbm

    settings: dict[str, Any] = {
        "objective": "binary",
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
        **{name: value for name, value in parameters.items() if name != "n_estimators"},
    }
    if len(y) < _LARGE:
        settings["num_threads"] = 1  # dividing little work costs more than it saves, most of all on a busy machine
    if need.model.monotone:
        settings["monotone_constraints"] = need.model.constraints(need.columns)
    data = lightgbm.Dataset(X, y, feature_name=list(need.columns), params=settings)
    text = lightgbm.train(settings, data, int(parameters["n_estimators"])).model_to_string()
    # What follows are settings, thread count and paths among them; the trees are complete without.
    trees: str = text.split("\nparameters:", 1)[0] + "\n"
    return trees.encode("utf-8")


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
