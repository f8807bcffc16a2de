"""How well each way of calibrating does on fresh persons: the figures of docs/adr/0016-calibration-of-large-cohorts.md.

    python tests/benchmarks/calibration_trials.py [--rows 50000 125000] [--worlds 2] [--kinds plain weak]

Every world has persons with four rows each, whose columns and need hardly change between rows: trees that know one row
of a person know the others, so scores of persons they have seen are far too sure. Calibrated models are judged by
25 000 persons drawn afresh: slope 1, observed / expected 1 and error 0 are perfect.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from features.spec import FeatureSpec
from models.calibration import CalibrationPlan, deal_folds, fit_calibration, hold_out
from models.need import NEEDS, Need, load_need
from models.tree_fitting import binned, grow, parameters_for, raw_scores

PER_PERSON, COLUMNS, FRESH_PERSONS = 4, 40, 25_000
KINDS = {"plain": (1.0, -3.1), "weak": (0.35, -2.5), "rare": (1.0, -5.2)}
"""Strength of what the columns say, and level: shares in need of about 6, 8 and 1 %."""
MEASURES = ("auc", "slope", "intercept", "observed_expected", "error")
THREADS = 1  # the machine that tells the figures of the decision record is shared


def world(kind: str, n_persons: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Columns, need and person of each row: counts that are mostly 0, and values of which 55 % are missing."""
    rng, fixed = np.random.default_rng([seed, n_persons]), np.random.default_rng(99).normal(size=COLUMNS)
    who = np.repeat(np.arange(n_persons), PER_PERSON)
    n, stable = len(who), rng.normal(size=n_persons)[who]
    X = np.empty((n, COLUMNS), dtype=np.float32)
    for j in range(COLUMNS):
        own = rng.normal(size=n_persons)[who]
        if j % 2 == 0:
            X[:, j] = rng.poisson(np.exp(-1.8 + 0.4 * fixed[j] * stable + 0.6 * own))
        else:
            X[:, j] = np.round(0.4 * fixed[j] * stable + 0.8 * own + 0.6 * rng.normal(size=n), 2)
            X[rng.random(n) < 0.55, j] = np.nan
    strength, level = KINDS[kind]
    effect = stable + 0.5 * np.nan_to_num(X[:, 1]) * (X[:, 0] > 0) + 0.3 * np.minimum(X[:, 2], 3)
    y = (rng.random(n) < expit(level + strength * (effect - 0.3 * np.isnan(X[:, 5])))).astype(np.float64)
    return X, y, [f"P{i:07d}" for i in who.tolist()]


def trial(kind: str, n_rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """One world: what each way of calibrating promises fresh persons, and what comes of them."""
    X, y, people = world(kind, n_rows // PER_PERSON, seed)
    fresh_X, fresh_y, _ = world(kind, FRESH_PERSONS, 1000 + seed)
    need = need_of(COLUMNS)
    settings = parameters_for(need, len(y))
    data = binned(X, y, need, settings)
    whole = raw_scores(grow(data, need, settings, seed, threads=THREADS), fresh_X, threads=THREADS)
    ways: dict[str, tuple[CalibrationPlan, bool]] = {
        "cross-fitting, 3 folds": (deal_folds(people, 3, seed), True),
        "cross-fitting, 5 folds": (deal_folds(people, 5, seed), True),
        "two fifths score the rest": (hold_out(people, 0.6, seed), True),
        "a tenth held out": (hold_out(people, 0.1, seed), False),
        "a fifth held out": (hold_out(people, 0.2, seed), False),
    }
    for name, (plan, whole_is_kept) in ways.items():
        rows, scores, kept = [], [], whole
        for held, others in plan.parts():
            trees = grow(data, need, settings, seed, rows=others, threads=THREADS)
            rows.append(held)
            scores.append(raw_scores(trees, X, held, threads=THREADS))
            if not whole_is_kept:
                kept = raw_scores(trees, fresh_X, threads=THREADS)
        slope, intercept = fit_calibration(np.concatenate(scores), y[np.concatenate(rows)])
        fits = sum(len(others) for _, others in plan.parts()) / len(y) + whole_is_kept
        about = {"world": kind, "rows": len(y), "in_need": int(y.sum()), "seed": seed, "way": name}
        yield {**about, "fits": round(fits, 2), **figures(fresh_y, kept, slope * kept + intercept)}


def figures(y: np.ndarray, raw: np.ndarray, logit: np.ndarray) -> dict[str, float]:
    """What fresh rows say of scores and of the probabilities made of them; the error is over tenths of the rows."""
    p = expit(logit)
    tenths = np.argsort(np.argsort(p, kind="stable")) * 10 // len(p)
    slope, intercept = fit_calibration(logit, y)
    found = {
        "auc": roc_auc_score(y, raw),
        "slope": slope,
        "intercept": intercept,
        "observed_expected": y.sum() / p.sum(),
        "error": np.abs(np.bincount(tenths, y - p)).sum() / len(p),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def need_of(n_columns: int) -> Need:
    """A need with so many columns; what it says of cohort and label does not matter here."""
    need = load_need(sorted(NEEDS.glob("youth*.toml"))[0])
    first = next(feature for feature in need.features if feature.codes)
    features = tuple(
        FeatureSpec(**{**first.model_dump(), "name": f"f{j}", "windows": (30,), "measures": ("count",)})
        for j in range(n_columns)
    )
    return need.model_copy(update={"features": features, "model": type(need.model)()})


def summary(found: list[dict[str, Any]]) -> Iterator[str]:
    """Mean of each figure over the worlds of a kind and size, and the root mean square error of the slope."""
    yield "| world | rows | in need | way | fits | AUC | slope (rms error) | intercept | O/E | error |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    groups = dict.fromkeys((one["world"], one["rows"], one["way"]) for one in found)
    for kind, rows, way in groups:
        same = [one for one in found if (one["world"], one["rows"], one["way"]) == (kind, rows, way)]
        mean = {name: np.mean([one[name] for one in same]) for name in (*MEASURES, "in_need")}
        off = np.sqrt(np.mean([(one["slope"] - 1) ** 2 for one in same]))
        yield (
            f"| {kind} | {rows:,} | {mean['in_need']:,.0f} | {way} | {same[0]['fits']:.1f} | {mean['auc']:.4f} "
            f"| {mean['slope']:.3f} ({off:.3f}) | {mean['intercept']:.3f} | {mean['observed_expected']:.3f} "
            f"| {mean['error']:.4f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 125_000])
    parser.add_argument("--worlds", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=["plain", "weak"])
    chosen = parser.parse_args()
    everything = []
    for kind in chosen.kinds:
        for n_rows in chosen.rows:
            for seed in range(chosen.worlds):
                for one in trial(kind, n_rows, seed):
                    everything.append(one)
                    print(json.dumps(one), flush=True)
    print("\n".join(summary(everything)))
