"""Does outreach learn rightly from its own work? Invented worlds with known truth; ``make trials``.

1. **Help that hides need**: a first model lists people, some are reached, help prevents most of their need. A second
   model is trained on what followed: as it was recorded (``ignore``), with the labels of the contacted unknown
   (``censor``), and with the others weighed for them (``ipw``); beside a model of the same people in a world without
   help. In the unlimited population, at the same share listed, ``ignore`` must find less than the world without help,
   and ``censor`` more than ``ignore``: intervals over worlds exclude 0.
2. **Lists by a cut alone**: everybody above the cut is contacted. Nobody can stand for them: ``ipw`` must say so in
   nearly every world, and in few of part 1.
3. **Missed need**: a few below the line are drawn each week and reviewed, some of them cannot be reached. The interval
   of missed need must hold the truth in 90 to 99 % of worlds.
4. **Effect of a place**: places around the cut are given by lot. The interval must hold the truth in at least 90 %.

Run ``python tests/benchmarks/outreach_trials.py [--worlds 40] [--draws 1000]``; exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from datetime import timedelta

import numpy as np
import polars as pl
from model_trials import exact_bounds
from model_worlds import DAYS, TRAIN_QUARTERS, Nature, Rows, World, true_figures, world_matrix, world_need
from scipy.stats import t

from features.matrix import Matrix
from models.contacted_rows import contact_days, heed_contacts, weigh_contacts
from models.need import Need
from models.training import NeedModel, train
from scoring.drawn_shares import Effect
from scoring.what_happened import MissedNeed, effect_of_a_place, missed_need, with_lots, worked_rows

LISTED = 0.10
REACHED = 0.6
HELPED = 0.8
FRESH = 30_000
LEARNT = ("no help", "ignore", "censor", "ipw")


# ---- 1. and 2. help that hides need --------------------------------------------------------------------------------


def contacted_world(seed: int, *, reached: float = REACHED, persons: int = 3000) -> dict[str, float]:
    """What each way to learn finds among fresh people, at the same share listed, and how the weights came out."""
    world = World(seed=seed, persons=persons, base_rate=0.12, strength=1.6, capacity_share=LISTED)
    nature, generator = Nature(world), np.random.default_rng([seed, 7])
    need = world_need(world, persons)
    first = learnt(world_matrix(nature.rows(persons, TRAIN_QUARTERS, seed=1), need), need)
    untouched = nature.rows(persons, TRAIN_QUARTERS, seed=2)
    helped, contacts = after_outreach(untouched, first, generator, reached)
    matrix = world_matrix(helped, need)
    fresh = nature.rows(FRESH, (0,), seed=3)
    figures: dict[str, float] = {}
    for way in LEARNT:
        if way == "no help":
            model = learnt(world_matrix(untouched, need), need)
        elif way == "ignore":
            model = learnt(matrix, need)
        else:
            model, weighed = heeding(matrix, need, contacts, way)
            figures |= {"represented": weighed.represented, "is_fallback": float(weighed.is_fallback)}
        found = true_figures(model.raw(fresh.X), None, fresh.chance, LISTED)
        figures |= {f"{way}: recall": found["recall_at_capacity"], f"{way}: auc": found["auc"]}
    return figures


def learnt(matrix: Matrix, need: Need, weights: np.ndarray | None = None) -> NeedModel:
    """A model of some rows."""
    return train(matrix, need, 0, weights=weights)


def heeding(matrix: Matrix, need: Need, contacts: pl.DataFrame, way: str):
    """A model that knows who was contacted, and what became of its weights."""
    assert need.label is not None
    label = need.label.model_copy(update={"contacted": way})
    heeded, contacted = heed_contacts(matrix, label, contact_days(matrix.keys, contacts))
    weighed = weigh_contacts(heeded, label, contacted, 0)
    return learnt(heeded, need, weighed.weight), weighed


def after_outreach(
    rows: Rows, model: NeedModel, generator: np.random.Generator, reached: float
) -> tuple[Rows, pl.DataFrame]:
    """What followed once the model's lists were worked, and who was contacted when.

    On each date the first ``LISTED`` are tried within two weeks; help prevents need that has not shown itself yet.
    """
    need_day, contacts = rows.need_day.copy(), []
    score = model.raw(rows.X)
    for quarter in TRAIN_QUARTERS:
        here = np.flatnonzero(rows.quarter == quarter)
        listed = here[np.argsort(-score[here], kind="stable")[: round(LISTED * here.size)]]
        met = listed[generator.random(listed.size) < reached]
        day = np.floor(14 * generator.random(met.size))
        works = (generator.random(met.size) < HELPED) & (need_day[met] > day)
        need_day[met[works]] = np.inf
        contacts.append((rows.person[met], quarter, day))
    frame = pl.concat(
        pl.DataFrame(
            {
                "person_id": [f"P{person:07d}" for person in people.tolist()],
                "at": [first_day(quarter) + timedelta(days=int(d)) for d in day],
                "outcome": ["helped"] * people.size,
            }
        )
        for people, quarter, day in contacts
    )
    return dataclasses.replace(rows, need_day=need_day), frame


def first_day(quarter: int):
    """The as-of date of a quarter, as :func:`model_worlds.world_matrix` has it."""
    from model_worlds import _FIRST_DAY

    return _FIRST_DAY + timedelta(days=DAYS * quarter)


def over_worlds(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean over worlds with its 95 % interval."""
    mean, n = float(differences.mean()), differences.size
    half = float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


# ---- 3. missed need ------------------------------------------------------------------------------------------------


def list_rows(list_id: str, kind: str, people: np.ndarray, probability: float | None, listed: np.ndarray | None = None):
    """Rows as the store gives them."""
    n = people.size
    return pl.DataFrame(
        {
            "list_id": [list_id] * n,
            "unit_id": ["all"] * n,
            "kind": [kind] * n,
            "person_ref": [f"{person:06d}" for person in people.tolist()],
            "person_id": [f"{person:06d}" for person in people.tolist()],
            "probability": [probability] * n,
            "is_held_out": [False] * n if listed is None else (~listed).tolist(),
        }
    )


def sampled_world(seed: int) -> tuple[MissedNeed, float]:
    """What the reviews of some weeks' samples say of need below the line, and what there was: a share.

    Need lasts over weeks, the same people may be drawn again, and the weeks' probabilities differ.
    """
    generator = np.random.default_rng([seed, 31])
    people, weeks = 1500, int(generator.integers(1, 9))
    rate = generator.uniform(0.02, 0.15)
    tendency = generator.beta(1.0, 1.0 / rate - 1.0, people)
    drawn, said, in_need_n, below_n = [], [], 0, 0
    for week in range(weeks):
        below = np.flatnonzero(generator.random(people) < generator.uniform(0.5, 0.9))
        in_need = np.zeros(people, dtype=bool)
        in_need[below] = generator.random(below.size) < tendency[below]
        n = int(generator.integers(40, 120))
        sample = generator.choice(below, n, replace=False)
        in_need_n, below_n = in_need_n + int(in_need.sum()), below_n + below.size
        drawn.append(list_rows(f"L{week}", "sample", sample, n / below.size))
        answers = generator.random(n) < 0.8
        codes = np.where(answers, np.where(in_need[sample], "helped", "not_relevant"), "not_reached")
        said.append(drawn[-1].select("list_id", "person_ref", pl.lit(week).alias("at"), pl.Series("outcome", codes)))
    rows, outcomes = pl.concat(drawn), pl.concat(said)
    attempts = outcomes.select("list_id", "person_ref", "at", pl.lit("phone").alias("channel"))
    worked = worked_rows(with_lots(rows), attempts, outcomes)
    return missed_need(worked.with_columns(in_need="reviewed")), in_need_n / below_n


# ---- 4. the effect of a place --------------------------------------------------------------------------------------


def lots_world(seed: int, effect: float) -> tuple[Effect, float]:
    """What lots around the cut show of a place's effect, and what it was on average over those drawn."""
    generator = np.random.default_rng([seed, 41])
    drawn, truth, followed = [], [], []
    for block in range(int(generator.integers(8, 40))):
        size = int(generator.integers(4, 20))
        places = int(generator.integers(1, size))
        chance = np.clip(generator.normal(0.35, 0.1) + generator.normal(0, 0.1, size), 0.02, 0.98)
        luck = generator.random(size)
        without, placed_too = luck < chance, luck < np.clip(chance - effect, 0, 1)
        listed = np.zeros(size, dtype=bool)
        listed[generator.choice(size, places, replace=False)] = True
        people = generator.choice(400, size, replace=False)
        drawn.append(list_rows(f"L{block}", "margin", people, places / size, listed))
        truth.append(placed_too.astype(float) - without)
        followed.append(np.where(listed, placed_too, without).astype(float))
    rows = with_lots(pl.concat(drawn)).with_columns(in_need=pl.Series(np.concatenate(followed)))
    return effect_of_a_place(rows, draws=99), float(np.concatenate(truth).mean())


# ---- all of it -----------------------------------------------------------------------------------------------------


def share_told(name: str, hits: int, n: int, low: float, high: float) -> bool:
    """Print a share of worlds with its exact interval, and whether it is where it should be."""
    below, above = exact_bounds(hits, n)
    is_right = low <= hits / n <= high
    print(f"  {name:<58} {hits / n:7.1%}  ({below:.1%}–{above:.1%})  {'ok' if is_right else 'MISSED'}", flush=True)
    return is_right


def learning_trials(worlds: int) -> bool:
    """Parts 1 and 2."""
    print(f"Learning from one's own work: {worlds} worlds; recall at the same {LISTED:.0%} listed")
    found = [contacted_world(seed) for seed in range(worlds)]
    for way in LEARNT:
        mean, low, high = over_worlds(np.array([one[f"{way}: recall"] for one in found]))
        auc, *_ = over_worlds(np.array([one[f"{way}: auc"] for one in found]))
        print(f"  {way:<58} {mean:7.3f}  ({low:.3f}–{high:.3f})  AUC {auc:.3f}")
    is_right = True
    for better, worse in (("no help", "ignore"), ("censor", "ignore"), ("ipw", "ignore")):
        gaps = np.array([one[f"{better}: recall"] - one[f"{worse}: recall"] for one in found])
        mean, low, high = over_worlds(gaps)
        is_right &= low > 0
        said = "ok" if low > 0 else "MISSED"
        print(f"  {better + ' finds more than ' + worse:<58} {mean:+7.3f}  ({low:+.3f} to {high:+.3f})  {said}")
    is_right &= share_told("ipw falls back though many were not reached", fallbacks(found), worlds, 0.0, 0.1)
    certain = [contacted_world(1000 + seed, reached=1.0) for seed in range(worlds // 2)]
    return (
        share_told("ipw falls back where the cut alone decides", fallbacks(certain), len(certain), 0.9, 1.0) & is_right
    )


def fallbacks(found: list[dict[str, float]]) -> int:
    """In how many worlds the contacts were called nearly decided by the columns."""
    return int(sum(one["is_fallback"] for one in found))


def interval_trials(draws: int) -> bool:
    """Parts 3 and 4."""
    print(f"Intervals: {draws} worlds each")
    missed = [sampled_world(seed) for seed in range(draws)]
    hits = sum(one.share.low <= truth <= one.share.high for one, truth in missed)
    is_right = share_told("missed need within its interval", hits, draws, 0.90, 0.99)
    for effect in (0.0, 0.15):
        found = [lots_world(seed, effect) for seed in range(draws)]
        hits = sum(one.difference.low <= truth <= one.difference.high for one, truth in found)
        is_right &= share_told(f"effect of {-effect:+.2f} within its interval", hits, draws, 0.90, 1.0)
        claimed = sum(one.p_value <= 0.05 for one, _ in found)
        if not effect:
            is_right &= share_told("claimed at 5 % where there is none", claimed, draws, 0.0, 0.07)
        else:
            print(f"  {'claimed at 5 % where there is one':<58} {claimed / draws:7.1%}")
    return is_right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--worlds", type=int, default=40, help="worlds in which is learnt (default 40)")
    parser.add_argument("--draws", type=int, default=1000, help="worlds of each interval (default 1000)")
    options = parser.parse_args()
    began = time.process_time()
    is_right = learning_trials(options.worlds) & interval_trials(options.draws)
    print(f"{time.process_time() - began:.0f} s of CPU")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
