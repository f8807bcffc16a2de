"""The gate before worlds whose truth is known: fair ones must not be blocked, planted faults must. ``make trials``.

Every line prints its count, its share with an exact bound (Clopper-Pearson), and the target. Sizes are those of a city:
70 000 youths with a weekly capacity of 60, 6 500 pre-schoolers, and mixed worlds of 2 000 to 30 000 people, with one to
four attributes and all their crossings, for the false alarms. Where only alarms are counted, and no passes, 400
replicates are drawn in place of the gate's 1 000.
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
sys.path.insert(0, str(Path(__file__).resolve().parent))

YOUTHS, PRESCHOOLERS = 70_000, 6_500
WEEKLY_CALLS, WEEKS = 60, 13
AUDIT_RECALL = 0.30
MOST_FALSE_BLOCKS = 0.02
LEAST_YOUTHS_PASS = 0.80
GROUP_CHECKS = ("C401", "C402", "C403", "C404", "C405")
FEW = 400
"""Replicates where only a probability of 0.95 has to be known: its standard error is 1.1 %, against 0.7 % of 1000."""


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
    world: Any,
    seed: int,
    capacity: int,
    periods: int,
    *,
    replicates: int = 1000,
    crossed: bool = True,
    ids: Sequence[str] | None = GROUP_CHECKS,
) -> list[Any]:
    """What checks say of a world, all other evidence being in order.

    Parameters
    ----------
    crossed : bool
        Whether attributes are put together too, and C402 is asked: most of the work where there are six of them.
    ids : sequence of str or None
        Which checks; None: all of models.
    """
    from ethics_cases import evidence
    from gate_worlds import need_world

    from ethics import Cuts, Policy, audit_cut, measure
    from ethics.check_register import Context
    from ethics.gate import BUILT, MODEL_CHECKS

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
    asked = (id for id in (MODEL_CHECKS if ids is None else ids) if crossed or id != "C402")
    return [check for id in asked for check in BUILT[id].run(case, context)]


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
    """States of one fair world of a city's youths: six attributes, 60 calls a week, 13 weeks; no crossings."""
    from gate_worlds import NeedWorld

    return states_of(checks_of(NeedWorld(n=YOUTHS, base_rate=0.08), seed, WEEKLY_CALLS, WEEKS, crossed=False))


def crossed_youths(seed: int) -> Counter[tuple[str, str]]:
    """What C402 says of the same world: every pair of its six attributes, and all of them together."""
    from gate_worlds import NeedWorld

    world = NeedWorld(n=YOUTHS, base_rate=0.08)
    return states_of(checks_of(world, seed, WEEKLY_CALLS, WEEKS, replicates=FEW, ids=("C402",)))


def preschoolers(seed: int) -> tuple[Counter[tuple[str, str]], list[dict[str, Any]]]:
    """One fair world of a city's pre-schoolers: states, and what C401 tells of each group that is not shown fair."""
    from gate_worlds import NeedWorld

    checks = checks_of(NeedWorld(n=PRESCHOOLERS, base_rate=0.10), seed, 40, 4, crossed=False)
    unsettled = [check for check in checks if check.id == "C401" and check.state in ("inconclusive", "not_testable")]
    return states_of(checks), [dict(check.facts) for check in unsettled]


def unequal(seed: int) -> Counter[tuple[str, str]]:
    """States of one calibrated world in which two groups have other need than the rest, crossings with them."""
    from gate_worlds import SIX_ATTRIBUTES, THREE_ATTRIBUTES, NeedWorld

    rng = np.random.default_rng([seed, 6])
    shift = {"other": float(rng.uniform(0.4, 1.0)), "yes": float(rng.uniform(-0.6, 0.8))}
    attributes = {**THREE_ATTRIBUTES, "support_need": SIX_ATTRIBUTES["support_need"]}
    world = NeedWorld(n=40_000, base_rate=0.08, shift=shift, attributes=attributes)
    return states_of(checks_of(world, seed, 100, 13, replicates=FEW))


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


def worst_state(states: Counter[tuple[str, str]], id: str) -> str:
    """The gravest state that a check ended in."""
    order = ("error", "block", "needs_attestation", "not_testable", "inconclusive", "warn", "pass")
    return min((state for check, state in states if check == id), key=order.index)


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
    """Fair worlds of a city's youths that C401 passes without anybody's word; apart, what C402 says of some."""
    found = run(youths, range(worlds), workers)
    passed, blocks = sum(passes(one, "C401") for one in found), sum(map(blocked, found))
    good, bound = passed / worlds >= LEAST_YOUTHS_PASS, _at_least(lower_bound(passed, worlds))
    lines = [
        tell("fair worlds of 70 000 youths that pass C401", passed, worlds, f">= {LEAST_YOUTHS_PASS:.0%}", good, bound),
        tell("  of which blocked by any check", blocks, worlds, "0", not blocks, _at_most(upper_bound(blocks, worlds))),
    ]
    some = min(CROSSED_WORLDS, worlds)
    crossed = run(crossed_youths, range(some), workers)
    for what, states in (("pass", ("pass", "warn")), ("inconclusive", ("inconclusive",)), ("ask", _ATTEST)):
        n = sum(worst_state(one, "C402") in states for one in crossed)
        print(f"{'  crossings of six attributes (C402): ' + what:58} {n:5} of {some:5}", flush=True)
    n = sum(map(blocked, crossed))
    lines.append(
        tell("  crossings of six attributes (C402): block", n, some, "0", not n, _at_most(upper_bound(n, some)))
    )
    return lines


def preschool_part(worlds: int, workers: int) -> list[bool]:
    """Fair worlds of a city's pre-schoolers: what passes, and what of the rest would settle it, group by group."""
    found = run(preschoolers, range(worlds), workers)
    passed, blocks = sum(passes(states, "C401") for states, _ in found), sum(blocked(states) for states, _ in found)
    groups = [facts for _, unsettled in found for facts in unsettled]
    told = sum(bool(facts.keys() & _SETTLES) for facts in groups)
    periods = sorted(int(facts["periods_to_pool"]) for facts in groups if "periods_to_pool" in facts)
    middle = f"(to pool: median {periods[len(periods) // 2]}, most {periods[-1]} periods)" if periods else ""
    open_ones = sum(bool(unsettled) for _, unsettled in found)
    lines = [
        tell("fair worlds of 6 500 pre-schoolers that pass C401", passed, worlds, "(printed)", True, ""),
        tell("  that are inconclusive or not testable", open_ones, worlds, "(printed)", True, ""),
        tell(
            "  groups of these that are told what would settle them",
            told,
            len(groups),
            "all",
            told == len(groups),
            middle,
        ),
    ]
    for name in sorted(_SETTLES):
        print(f"{'    ' + name:58} {sum(name in facts for facts in groups):5} of {len(groups):5}")
    bound = _at_most(upper_bound(blocks, worlds))
    return [*lines, tell("  of which blocked by any check", blocks, worlds, "0", not blocks, bound)]


_SETTLES = {"periods_to_pool", "periods_to_test", "never_testable"}
"""Facts of C401 that say what would settle a group."""
_ATTEST = ("needs_attestation",)


def unequal_part(worlds: int, workers: int) -> list[bool]:
    """Calibrated worlds with unequal base rates: asked about, never blocked."""
    found = run(unequal, range(worlds), workers)
    blocks, asked = sum(map(blocked, found)), sum(fires(one, "C401") for one in found)
    bound = _at_most(upper_bound(blocks, worlds))
    return [
        tell("calibrated worlds with unequal base rates blocked", blocks, worlds, "0", not blocks, bound),
        tell("  of which C401 asks for AT-06", asked, worlds, "(printed)", True, ""),
    ]


def faults_part(worlds: int, workers: int) -> list[bool]:
    """The matrix of planted faults (:mod:`gate_faults`)."""
    from gate_faults import matrix, model_fault, score_fault

    return matrix(run(score_fault, range(worlds), workers), run(model_fault, range(worlds), workers))


CROSSED_WORLDS = 20
PARTS: dict[str, tuple[Callable[[int, int], list[bool]], int]] = {
    "null": (null_part, 2000),
    "youths": (youths_part, 100),
    "preschool": (preschool_part, 100),
    "unequal": (unequal_part, 200),
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
