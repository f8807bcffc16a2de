"""Honest scores are never stopped by C608: what suppression leaves, its attacker finds nothing in."""

import numpy as np
import polars as pl
import pytest
from ethics_cases import POLICY

from ethics.cells import Cuts, audit_cut
from ethics.disclosure import suppress
from ethics.groups import GroupRegister
from ethics.public_tables import REACHED, published_tables
from ethics.published_figures import is_silent, tells_too_nearly, told_about
from ethics.rate_counts import rates_on
from ethics.report_figures import Figures
from ethics.report_tables import CountTable
from ethics.score_case import neutral_tie_keys
from ethics.suppression_attack import attack

STOPPED = (11, 27, 31, 37, 106, 118)
"""Worlds of which C608 found a count of 24 to 31 people told to within five by a ratio that was left."""
SEEDS = (*STOPPED, *range(200, 218))
CUTS = ("k_audit", "k")
MEASURES = ("recall", "recall_ratio", "missed_residents", "precision", "false_omission_rate")
RATES = rates_on([*(f"{name}@{cut}" for cut in CUTS for name in MEASURES), "selection_rate@k_audit", "power"])


def honest(seed):
    """Tables by group of :func:`world`, of two cuts, without any replicate."""
    chance, need, members = world(seed)
    rank = np.argsort(np.argsort(-chance))
    cuts = {"k_audit": audit_cut(need[np.argsort(-chance)].astype(float), 60, 1, POLICY.audit_recall), "k": 60}
    return [_table(name, member, need, rank, cuts) for name, member in members.items()]


def world(seed):
    """Scores that are probabilities, and two attributes drawn at random with groups of very unequal sizes."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3000, 6000, 12000]))
    sizes = [int(size) for size in rng.integers(2, 8, 2)]
    risk = rng.gamma(1, 1, n)
    chance = np.minimum(risk * 0.08, 0.9)
    need = rng.random(n) < chance
    members = {f"attr{i}": rng.choice(size, n, p=rng.dirichlet(np.full(size, 0.6))) for i, size in enumerate(sizes)}
    return chance, need, members


def _table(name, member, need, rank, cuts):
    def count(mask):
        return tuple(int(np.sum(mask & (member == group))) for group in np.unique(member))

    counts, sums = {"n": count(np.ones(len(member), dtype=bool)), "need": count(need)}, []
    for cut, k in cuts.items():
        above = rank < k
        counts |= {f"selected_{cut}": count(above), f"below_{cut}": count(~above)}
        counts |= {f"found_{cut}": count(need & above), f"missed_{cut}": count(need & ~above)}
        sums += [("n", (f"selected_{cut}", f"below_{cut}")), ("need", (f"found_{cut}", f"missed_{cut}"))]
    return CountTable(
        "groups",
        name,
        tuple(f"g{group}" for group in np.unique(member)),
        counts,
        totals={column: sum(people) for column, people in counts.items()},
        shown=("n", "need", "selected_k_audit", "selected_k"),
        sums=tuple(sums),
        rates=RATES,
        tested=tuple(people >= 30 for people in counts["need"]),
    )


def _public(table):
    names = ("need", "found_k_audit", "missed_k_audit")
    counts = {name: table.counts[name] for name in names}
    return CountTable(
        "public",
        table.attribute,
        table.groups,
        counts,
        totals={name: sum(people) for name, people in counts.items()},
        sums=(("need", names[1:]),),
        rates=rates_on([REACHED]),
        tested=table.tested,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_what_suppression_leaves_its_attacker_finds_nothing_in(seed):
    tables = honest(seed)
    public = suppress([_public(table) for table in tables], least=POLICY.min_persons_public)
    assert attack(public, POLICY.min_persons_public) == []
    shown = suppress(tables, least=POLICY.min_persons_shown, earlier=public)
    assert attack(shown, POLICY.min_persons_shown, earlier=public) == []


def test_not_everything_goes():
    told = [table for seed in SEEDS[:6] for table in suppress(honest(seed), least=POLICY.min_persons_shown)]
    assert sum(map(is_silent, told)) < len(told) / 10


def test_withholding_reckons_as_the_attacker_does():
    for people in range(400):
        low, high = told_about(people)
        assert low <= people <= high
        assert tells_too_nearly(people, 5) == (high - low < 5)
    assert tells_too_nearly(27, 5)  # 2 · 0.1 · 27 is more than five, and only 25 … 29 are whole


@pytest.mark.parametrize("seed", STOPPED)
def test_c608_passes_honest_scores(seed):
    # as the gate judges them, with crossings and recall at other cuts
    chance, need, members = world(seed)
    ids = [f"p{number}" for number in range(len(chance))]
    groups = {name: [f"g{group}" for group in member] for name, member in members.items()}
    rows = pl.DataFrame(
        {
            "person_id": ids,
            "rank_score": chance,
            "probability": pl.Series([None] * len(ids), dtype=pl.Float64),
            "label": need.astype(float),
            "tie_key": neutral_tie_keys(ids, 0),
        }
    )
    cut = audit_cut(need[np.argsort(-chance)].astype(float), 60, 1, POLICY.audit_recall)
    register = GroupRegister(pl.DataFrame({"person_id": ids, **groups}), "g", "x" * 64)
    table = register.measure(rows, Cuts(60, cut), POLICY, seed=0)
    public = published_tables(table, POLICY.min_persons_public)
    told = Figures(table, POLICY.min_persons_shown, earlier=public).counts.values()
    assert attack(public, POLICY.min_persons_public) == []
    assert attack(list(told), POLICY.min_persons_shown, earlier=public) == []
