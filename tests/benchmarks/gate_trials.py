"""The gate before worlds whose truth is known: fair ones must not be blocked, planted faults must. ``make trials``.

Every line prints its count, its share with an exact bound (Clopper-Pearson), and the target. Sizes are those of a city:
70 000 youths with a weekly capacity of 60, 6 500 pre-schoolers, and mixed worlds for the false alarms.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

YOUTHS, PRESCHOOLERS = 70_000, 6_500
WEEKLY_CALLS, WEEKS = 60, 13
AUDIT_RECALL = 0.30
MOST_FALSE_BLOCKS = 0.02
LEAST_YOUTHS_PASS = 0.80
LEAST_FOUND = 0.95


def upper_bound(hits: int, n: int, level: float = 0.95) -> float:
    """Exact one-sided upper bound of a share (Clopper and Pearson 1934).

    >>> round(upper_bound(0, 2000), 4)
    0.0015
    """
    return 1.0 if hits >= n else float(beta.ppf(level, hits + 1, n - hits))


def lower_bound(hits: int, n: int, level: float = 0.95) -> float:
    """Exact one-sided lower bound of a share."""
    return 0.0 if hits <= 0 else float(beta.ppf(1 - level, hits, n - hits + 1))


# ---- one world -------------------------------------------------------------------------------------------------


def checks_of(
    world: Any, seed: int, capacity: int, periods: int, *, replicates: int = 1000, crossed: bool = True
) -> list[Any]:
    """The checks about groups that the gate gives a world, all other evidence being in order.

    ``crossed``: attributes are put together too, and C402 is asked. It takes most of the time where there are six.
    """
    from ethics_cases import evidence
    from gate_worlds import need_world

    from ethics import Cuts, Policy, audit_cut, measure
    from ethics.check_register import Context
    from ethics.checks import BUILT

    people = need_world(world, seed)
    policy = Policy.load()
    order = np.argsort(-people.score, kind="stable")
    cuts = Cuts(capacity, audit_cut(people.label[order], capacity, periods, policy.audit_recall))
    table = measure(
        label=people.label,
        groups=dict(people.groups),
        score=people.score,
        probability=people.score,
        indicators=dict(people.indicators),
        cuts=cuts,
        seed=seed,
        replicates=replicates,
        thresholds=policy.fairness,
        crossings=None if crossed else (),
    )
    case = evidence(indicator_names=tuple(people.indicators), eligible_n=world.n, capacity_k=capacity)
    from ethics_cases import NOW

    context = Context(policy, NOW, table)
    asked = (id for id in GROUP_CHECKS if crossed or id != "C402")
    return [check for id in asked for check in BUILT[id].run(case, context)]


GROUP_CHECKS = ("C401", "C402", "C403", "C404", "C405")
FEW = 400
"""Replicates where only a probability of 0.95 has to be known: its standard error is 1.1 %, against 0.7 % of 1000."""


def states_of(checks: Iterable[Any]) -> Counter[tuple[str, str]]:
    """How often each check ended in each state."""
    return Counter((check.id, check.state) for check in checks)


# ---- parts -----------------------------------------------------------------------------------------------------


def mixed_world(seed: int) -> tuple[Any, int, int]:
    """A fair world of a size, base rate and capacity drawn from what cities have, and its capacity and periods."""
    from gate_worlds import SIX_ATTRIBUTES, NeedWorld

    rng = np.random.default_rng([seed, 5])
    n = int(rng.choice([2_000, 5_000, 12_000, 30_000]))
    names = rng.permutation(list(SIX_ATTRIBUTES))[: int(rng.integers(1, 5))]
    world = NeedWorld(
        n=n,
        base_rate=float(rng.uniform(0.03, 0.15)),
        spread=float(rng.uniform(0.5, 1.5)),
        attributes={str(name): SIX_ATTRIBUTES[str(name)] for name in names},
    )
    return world, max(10, int(n * rng.uniform(0.002, 0.02))), 13


def fair_world(seed: int) -> Counter[tuple[str, str]]:
    """States of one mixed fair world, crossings with them."""
    world, capacity, periods = mixed_world(seed)
    return states_of(checks_of(world, seed, capacity, periods, replicates=FEW))


def youths(seed: int) -> Counter[tuple[str, str]]:
    """States of one fair world of a city's youths: six attributes, 60 calls a week, 13 weeks."""
    from gate_worlds import NeedWorld

    return states_of(checks_of(NeedWorld(n=YOUTHS, base_rate=0.08), seed, WEEKLY_CALLS, WEEKS))


def preschoolers(seed: int) -> dict[str, Any]:
    """One fair world of a city's pre-schoolers: states, and how many periods C401 asks to pool."""
    from gate_worlds import NeedWorld

    checks = checks_of(NeedWorld(n=PRESCHOOLERS, base_rate=0.10), seed, 40, 4)
    open_ones = [check for check in checks if check.id == "C401" and check.state == "inconclusive"]
    pool = [int(check.facts["periods_to_pool"]) for check in open_ones if "periods_to_pool" in check.facts]
    return {"states": states_of(checks), "inconclusive": len(open_ones), "pool": pool}


def unequal(seed: int) -> Counter[tuple[str, str]]:
    """States of one calibrated world in which a group has about twice the others' need."""
    from gate_worlds import NeedWorld

    rng = np.random.default_rng([seed, 6])
    shift = {"other": float(rng.uniform(0.4, 1.0)), "yes": float(rng.uniform(-0.6, 0.8))}
    return states_of(checks_of(NeedWorld(n=40_000, base_rate=0.08, shift=shift), seed, 100, 13))


def recall_drop(seed: int) -> Counter[tuple[str, str]]:
    """A score that misses a third of a group's need and more: planted recall ratio at most 0.7 at 3 000 positives."""
    from gate_worlds import NeedWorld

    world = NeedWorld(n=230_000, base_rate=0.08, unseen={"other": 0.45}, attributes=_three())
    return states_of(checks_of(world, seed, 3_000, 10))


def under_labelled(seed: int) -> Counter[tuple[str, str]]:
    """A label that shows only half of a group's need; two indicators show it whole."""
    from gate_worlds import NeedWorld

    world = NeedWorld(n=60_000, base_rate=0.10, unlabelled={"other": 0.5}, attributes=_three())
    return states_of(checks_of(world, seed, 300, 13))


def _three() -> dict[str, Any]:
    from gate_worlds import SIX_ATTRIBUTES

    return {name: SIX_ATTRIBUTES[name] for name in ("language_group", "sex", "age_band")}


# ---- running and telling ---------------------------------------------------------------------------------------


def run(part: Callable[[int], Any], seeds: range, workers: int) -> list[Any]:
    """A part over its seeds, in processes of one thread each."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(part, seeds, chunksize=4))


def blocked(states: Counter[tuple[str, str]]) -> bool:
    """Whether any check blocks."""
    return any(state == "block" for _, state in states)


def broken(states: Counter[tuple[str, str]]) -> bool:
    """Whether any check could not be answered."""
    return any(state == "error" for _, state in states)


def fires(states: Counter[tuple[str, str]], id: str) -> bool:
    """Whether a check says more than pass, warn, inconclusive or not testable."""
    return any(check == id and state in ("block", "needs_attestation") for check, state in states)


def passes(states: Counter[tuple[str, str]], id: str) -> bool:
    """Whether every finding of a check is a pass or a warning."""
    found = [state for check, state in states if check == id]
    return bool(found) and all(state in ("pass", "warn") for state in found)


def tell(name: str, hits: int, n: int, wanted: str, good: bool, bound: str) -> bool:
    """One line of the table."""
    print(f"{name:58} {hits:5} of {n:5}  {bound:24} wanted {wanted:18} {'ok' if good else 'MISSED'}", flush=True)
    return good


def null_part(worlds: int, workers: int) -> list[bool]:
    """False blocks among mixed fair worlds."""
    found = run(fair_world, range(worlds), workers)
    errors, blocks = sum(map(broken, found)), sum(map(blocked, found))
    bound = upper_bound(blocks, worlds)
    good = bound <= MOST_FALSE_BLOCKS
    lines = [
        tell("mixed fair worlds blocked", blocks, worlds, f"<= {MOST_FALSE_BLOCKS:.0%}", good, _at_most(bound)),
        tell("  of which a check is an error", errors, worlds, "0", errors == 0, ""),
    ]
    for id in GROUP_CHECKS:
        for what, states in (("blocks", {"block"}), ("asks for an attestation", {"needs_attestation"})):
            n = sum(any(check == id and state in states for check, state in one) for one in found)
            if n or states == {"block"}:
                print(f"{'  of which ' + id + ' ' + what:58} {n:5} of {worlds:5}  {_at_most(upper_bound(n, worlds))}")
    return lines


def youths_part(worlds: int, workers: int) -> list[bool]:
    """Fair worlds of a city's youths that C401 passes without anybody's word."""
    found = run(youths, range(worlds), workers)
    passed = sum(passes(one, "C401") for one in found)
    blocks = sum(map(blocked, found))
    return [
        tell(
            "fair worlds of 70 000 youths that pass C401",
            passed,
            worlds,
            f">= {LEAST_YOUTHS_PASS:.0%}",
            passed / worlds >= LEAST_YOUTHS_PASS,
            _at_least(lower_bound(passed, worlds)),
        ),
        tell(
            "  of which blocked by any check", blocks, worlds, "0", blocks == 0, _at_most(upper_bound(blocks, worlds))
        ),
    ]


def preschool_part(worlds: int, workers: int) -> list[bool]:
    """Fair worlds of a city's pre-schoolers: what passes, and what must be pooled."""
    found = run(preschoolers, range(worlds), workers)
    passed = sum(passes(one["states"], "C401") for one in found)
    open_ones = [one for one in found if not passes(one["states"], "C401")]
    told = sum(len(one["pool"]) == one["inconclusive"] for one in open_ones)
    periods = sorted(number for one in open_ones for number in one["pool"])
    middle = f"periods to pool: median {periods[len(periods) // 2]}, most {periods[-1]}" if periods else "none to pool"
    return [
        tell("fair worlds of 6 500 pre-schoolers that pass C401", passed, worlds, "(printed)", True, middle),
        tell(
            "  the rest say how many periods to pool, group by group",
            told,
            len(open_ones),
            "all",
            told == len(open_ones),
            "",
        ),
    ]


def unequal_part(worlds: int, workers: int) -> list[bool]:
    """Calibrated worlds with unequal base rates."""
    found = run(unequal, range(worlds), workers)
    blocks = sum(map(blocked, found))
    asked = sum(fires(one, "C401") for one in found)
    return [
        tell(
            "calibrated worlds with unequal base rates blocked",
            blocks,
            worlds,
            "0",
            blocks == 0,
            _at_most(upper_bound(blocks, worlds)),
        ),
        tell("  of which C401 asks for AT-06", asked, worlds, "(printed)", True, ""),
    ]


def faults_part(worlds: int, workers: int) -> list[bool]:
    """Planted faults of need and label: each fires its own check, and others no more than in worlds without it."""
    lines = []
    for name, part, id in (
        ("45 % of a group's need unseen (ratio <= 0.7): C401", recall_drop, "C401"),
        ("half of a group's need unlabelled: C403", under_labelled, "C403"),
    ):
        found = run(part, range(worlds), workers)
        hits = sum(fires(one, id) for one in found)
        bound = _at_least(lower_bound(hits, worlds))
        lines.append(tell(name, hits, worlds, f">= {LEAST_FOUND:.0%}", hits / worlds >= LEAST_FOUND, bound))
    return lines


PARTS: dict[str, tuple[Callable[[int, int], list[bool]], int]] = {
    "null": (null_part, 2000),
    "youths": (youths_part, 200),
    "preschool": (preschool_part, 200),
    "unequal": (unequal_part, 300),
    "faults": (faults_part, 60),
}
"""Part → what runs it, and how many worlds."""


def _at_most(bound: float) -> str:
    return f"(95 % bound {100 * bound:.2f} %)"


def _at_least(bound: float) -> str:
    return f"(95 % bound {100 * bound:.1f} %)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--worlds", type=int, help="worlds of each part (each has its own number)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    os.environ |= {"OMP_THREAD_LIMIT": "1", "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    good = [ok for name in options.parts for ok in PARTS[name][0](options.worlds or PARTS[name][1], options.workers)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
