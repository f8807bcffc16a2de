"""Does uplift find what is there, and only that? Randomised letters, real and with the draw shuffled away.

1. The letters as they were sent (``../shared/data/gotv``): the fifth with the highest predicted effect must gain more
   than the lowest, with an interval that excludes 0, for both learners, for every letter and for the strongest one;
   and again with neighbouring rows taken as households, in which the letters were dealt (the file names none).
2. Copies of the strongest letter's trial in which the draw is shuffled, so that nothing differs between people: at
   most two of 20 may claim heterogeneity (one-sided 2.5 %).
3. Invented trials with one constant effect: how often heterogeneity is claimed one fold after the other, and how often
   it would be by ordinary cross-fitting, which is why it is not done so.

Run ``python tests/benchmarks/uplift_trials.py``; exit code 1 when a target is missed. One core.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import binom

from models.metrics import Estimate
from models.uplift_learning import Learner, learn_uplift, person_folds, worth_of_uplift
from models.uplift_measures import effect_scores, rank_effects
from models.uplift_trial import Trial, randomised_trial

LETTERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "gotv" / "social.parquet"
SHARES = {"any letter": 3 / 8, "Neighbors": 1 / 6}
"""Planned: four letters to 20 000 households each beside 100 000 without; the file lacks one of the four letters."""
LEVEL = 0.025
SMALL_TREES = {"n_estimators": 20, "learning_rate": 0.2, "num_leaves": 4}


def letters(frame: pl.DataFrame, letter: str) -> Trial:
    """The trial of one letter, or of any, against none."""
    if letter in frame["messages"].unique():
        frame = frame.filter(pl.col("messages").is_in(["Control", letter]))
    X = frame.select(pl.col("sex") == "female", "yearofbirth", "primary2004", "hhsize").cast(pl.Float32).to_numpy()
    return randomised_trial(
        X,
        (frame["messages"] != "Control").to_numpy(),
        frame["primary2006"].to_numpy(),
        share=SHARES[letter],
        person=np.arange(len(frame)),
        outcome_is="wanted",
    )


def shuffled(trial: Trial, seed: int) -> Trial:
    """The same people and outcomes with the draw made anew, so that it had no effect on anybody."""
    return dataclasses.replace(trial, treated=np.random.default_rng(seed).permutation(trial.treated))


def constant_world(seed: int, n: int = 1000) -> Trial:
    """Everybody is helped alike; outcomes differ greatly."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    treated = rng.random(n) < 0.5
    chance = 0.8 / (1 + np.exp(-X[:, 0])) + 0.1 * treated
    return randomised_trial(X, treated, rng.random(n) < chance, share=0.5, person=np.arange(n), outcome_is="wanted")


def p_by_cross_fitting(trial: Trial, seed: int, folds: int = 5) -> float:
    """The p-value if every fold were judged by a model of all others, and the folds taken as independent."""
    fold = person_folds(trial.person, folds, seed)
    predicted, score = np.zeros(len(trial)), np.zeros(len(trial))
    for number in range(folds):
        here = fold == number
        model = learn_uplift(trial, ~here, learner="t", seed=seed, parameters=SMALL_TREES)
        predicted[here] = model.predict(trial.X[here])
        outcomes = model.outcomes(trial.X[here])
        score[here] = effect_scores(trial.treated[here], trial.outcome[here], trial.share[here], *outcomes)
    return rank_effects(predicted, score, trial.person, fold).p_value


def per_cent(estimate: Estimate) -> str:
    """A value with its interval."""
    value, low, high = (100 * part for part in estimate)
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def real_letters(frame: pl.DataFrame) -> bool:
    """Part 1, printed; whether every interval excludes 0."""
    print("letters as sent: effect on turnout, by fifth of predicted effect, per cent")
    met = True
    for letter in SHARES:
        trial = letters(frame, letter)
        for learner in ("t", "dr"):
            met &= one_real(f"{letter:10} {learner:2}", trial, learner)
    trial = letters(frame, "Neighbors")
    in_households = dataclasses.replace(trial, person=likely_households(trial))
    return one_real("Neighbors  t , by household", in_households, "t") and met


def one_real(name: str, trial: Trial, learner: Learner) -> bool:
    """One trial of letters, printed; whether its interval excludes 0."""
    worth = worth_of_uplift(trial, learner=learner, seed=1)
    fifths = " ".join(f"{100 * fifth.value:5.1f}" for fifth in worth.fifths)
    print(f"  {name:28} {len(trial):>7,} rows  {fifths}")
    print(
        f"      top less bottom {per_cent(worth.top_minus_bottom)}, "
        f"AUTOC {per_cent(worth.autoc)}, Qini {per_cent(worth.qini)}",
        flush=True,
    )
    return worth.top_minus_bottom.low > 0


def likely_households(trial: Trial) -> np.ndarray:
    """Runs of rows of one arm and household size, cut into households of that size: int64 (n,)."""
    size = trial.X[:, 3].astype(np.int64)
    new = np.flatnonzero(np.concatenate(([True], (np.diff(size) != 0) | (trial.treated[1:] != trial.treated[:-1]))))
    run = np.repeat(np.arange(len(new)), np.diff(np.append(new, len(size))))
    within = (np.arange(len(size)) - new[run]) // size
    return np.unique(np.stack((run, within)), axis=1, return_inverse=True)[1].ravel()


def shuffled_letters(frame: pl.DataFrame, copies: int) -> bool:
    """Part 2, printed; whether at most a tenth of the copies claim heterogeneity."""
    trial = letters(frame, "Neighbors")
    claims = dict.fromkeys(("t", "dr"), 0)
    print(f"\n{copies} copies with the draw shuffled: one-sided p of 'top fifth above bottom fifth'")
    for seed in range(copies):
        copy = shuffled(trial, seed)
        found = {learner: worth_of_uplift(copy, learner=learner, seed=seed) for learner in claims}
        for learner, worth in found.items():
            claims[learner] += worth.heterogeneous
        print(f"  copy {seed:2}  " + "  ".join(f"{name:2} {w.p_value:.3f}" for name, w in found.items()), flush=True)
    for learner, n in claims.items():
        print(f"  {learner:2}: {n} of {copies} claim heterogeneity (at most {copies // 10} wanted)")
    return max(claims.values()) <= copies // 10


def constant_worlds(worlds: int) -> bool:
    """Part 3, printed; whether the share of false claims is compatible with 2.5 %."""
    ours, crossed = 0, 0
    for seed in range(worlds):
        trial = constant_world(seed)
        ours += worth_of_uplift(trial, learner="t", seed=seed, parameters=SMALL_TREES).heterogeneous
        crossed += p_by_cross_fitting(trial, seed) < LEVEL
    most = int(binom.ppf(0.99, worlds, LEVEL))
    print(f"\n{worlds} invented trials of 1,000 persons with one constant effect; false claims at 2.5 %:")
    print(f"  one fold after the other {ours} (at most {most} wanted); ordinary cross-fitting {crossed}")
    return ours <= most


def main() -> int:
    """Print the three parts; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--worlds", type=int, default=200)
    options = parser.parse_args()
    start = time.process_time()
    met = []
    if LETTERS.exists():
        frame = pl.read_parquet(LETTERS)
        met += [real_letters(frame), shuffled_letters(frame, options.copies)]
    else:
        print("the letters (../shared/data/gotv/social.parquet) are not here: parts 1 and 2 are left out")
    met.append(constant_worlds(options.worlds))
    print(
        f"\n{'all targets met' if all(met) else 'A TARGET IS MISSED'}; {time.process_time() - start:.0f} s of one core"
    )
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
