"""Planted faults before the gate: each fires its own check, and none that would not fire without it.

A row is one fault over many seeds. *Own*: the share in which the check that it was planted for fires, with the exact
bound. *Others*: every other check that would hold a verdict or a list up (block, needs attestation, error), compared
with the same worlds without the fault; the one that rises most is named, with the one-sided p-value of Fisher's exact
test, and below 1 % the row is missed. Checks that look at the same thing another way are named as *kin* and told, not
counted: they are to fire.

- Need unseen in a group makes the score too low there. C402 sees it in the group's crossings, C403 as more need at the
  same score.
- Need unlabelled in a group is planted so that the labels look alike in all groups: nothing but independent signs can
  show it. C402 asks them of crossings.

Sizes. *Unseen need* (ethics.md 5.4, overall recall 0.40): 35 % of the need of a group of 16.4 % unseen is a recall
ratio of 0.53, at 1 000 positives; 24 % is 0.70, at 3 000; 30 % is 0.61, at 3 000. *Unlabelled need*: half of a group of
16.4 % in 40 000, whose true need is twice the others'. *Models*: 5 100 people judged, 15 % in need, three times as many
rows learnt from.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

HOLDS_UP = ("block", "needs_attestation", "error")
LEAST_FOUND, MOST_CHANCE = 0.95, 0.01
REFUSED = "refused"
"""In place of a check: the rows were refused, and nothing is judged."""


@dataclass(frozen=True)
class Outcome:
    """One world: whether the own check fired, and which others hold the verdict or the list up."""

    own: bool
    others: frozenset[str]
    blocked: bool = False


@dataclass(frozen=True)
class Fault:
    """A row of the matrix.

    Attributes
    ----------
    name, own : str
    kin : tuple of str
        Checks that see the same fault another way.
    warns : bool
        Whether the own check is to warn, and need not hold anything up.
    """

    name: str
    own: str
    kin: tuple[str, ...] = ()
    warns: bool = False


def outcome(found: frozenset[tuple[str, str]], fault: Fault) -> Outcome:
    """What a fault's own check and the others say."""
    own, states = fault.own, ("warn", *HOLDS_UP) if fault.warns else HOLDS_UP
    return Outcome(
        own=any(id == own and state in states for id, state in found),
        others=frozenset(id for id, state in found if id != own and state in HOLDS_UP),
        blocked=(own, "block") in found,
    )


# ---- scores of known worlds ------------------------------------------------------------------------------------

SCORES = {
    "unseen: recall ratio 0.53, 1 000 positives": Fault("unseen_35", "C401", ("C402", "C403")),
    "unseen: recall ratio 0.61, 3 000 positives": Fault("unseen_30", "C401", ("C402", "C403")),
    "unseen: recall ratio 0.70, 3 000 positives": Fault("unseen_24", "C401", ("C402", "C403")),
    "half of a group's need has no label": Fault("unlabelled", "C403", ("C402",)),
}


def score_worlds() -> dict[str, tuple[Any, int, int]]:
    """World, capacity and periods of each fault of :data:`SCORES`, by the fault's name."""
    from gate_worlds import THREE_ATTRIBUTES, NeedWorld

    def unseen(n: int, share: float) -> tuple[Any, int, int]:
        world = NeedWorld(n=n, base_rate=0.15, attributes=THREE_ATTRIBUTES, unseen={"other": share})
        return world, round(0.0115 * n), 13  # 15 % of the people in a verdict's life: an overall recall of 0.40

    unlabelled = NeedWorld(
        n=40_000, base_rate=0.10, attributes=THREE_ATTRIBUTES, unlabelled={"other": 0.5}, shift={"other": 0.9}
    )
    return {
        "unseen_35": unseen(41_000, 0.35),
        "unseen_30": unseen(122_000, 0.30),
        "unseen_24": unseen(122_000, 0.24),
        "unlabelled": (unlabelled, 200, 13),
    }


def score_fault(seed: int) -> dict[str, Outcome]:
    """Every fault of scores in one world each, and the same worlds without it (named "… none")."""
    from gate_trials import FEW, checks_of

    found = {}
    for title, fault in SCORES.items():
        world, capacity, periods = score_worlds()[fault.name]
        without = dataclasses.replace(world, unseen={}, unlabelled={}, shift={})
        for name, drawn in ((title, world), (_null_of(title), without)):
            checks = checks_of(drawn, seed, capacity, periods, replicates=FEW, ids=None)
            found[name] = outcome(frozenset((check.id, check.state) for check in checks), fault)
    return found


def _null_of(title: str) -> str:
    return f"{title} (none)"


# ---- models ----------------------------------------------------------------------------------------------------

MODELS = {
    "the outcome in a column, five ways": Fault("leak", "C106"),
    "the score rests on a proxy of a group": Fault("used_proxy", "C603"),
    "a proxy of a group without worth": Fault("idle_proxy", "C604", warns=True),
    "leaves of a few people": Fault("tiny_leaves", "C607"),
}
CHEAP = {
    "an objector among the scored": Fault("objector", "C103"),
    "ties broken by another key": Fault("ties", "C409"),
    "six columns are no longer fed": Fault("drift", "C703"),
    "one column counts twice, or is in another unit": Fault("one_drifts", "C703", warns=True),
    "the register describes another model, or is overdue": Fault("stale", "C202"),
    "nobody is drawn by lot, or too few": Fault("unexplored", "C407"),
    "too many places are given by lot": Fault("much_by_lot", "C407"),
    "the store swallows changes, or takes them unexplained": Fault("no_override", "C802"),
    "a text of the need has no Swedish": Fault("need_text", "C101"),
    "a text of the register has no Swedish": Fault("register_text", "C203", warns=True),
    "a person twice": Fault("twice", REFUSED),
    "NaN among the rows": Fault("nan_rows", REFUSED),
    "NaN among the evidence": Fault("nan_evidence", "error"),
}
_HONEST = "an honest model"


def model_fault(seed: int) -> dict[str, Outcome]:
    """One world: the honest model and its cheap faults, and each dishonest model."""
    from gate_cases import idle_proxy, leak, model_case, used_proxy

    honest = model_case(seed)
    base = honest.found()
    outcomes = {_HONEST: outcome(base, Fault(_HONEST, ""))}
    outcomes |= {title: _cheap(fault, honest, seed) for title, fault in CHEAP.items()}
    cases = {
        "leak": lambda: model_case(seed, leak(seed)),
        "used_proxy": lambda: model_case(seed, used_proxy),
        "idle_proxy": lambda: model_case(seed, idle_proxy),
        "tiny_leaves": lambda: model_case(seed, tiny_leaves=True),
    }
    for title, fault in MODELS.items():
        outcomes[title] = outcome(cases[fault.name]().found(), fault)
    return outcomes


def _cheap(fault: Fault, case: Any, seed: int) -> Outcome:
    """An honest case with one thing wrong, which the seed chooses."""
    rng = np.random.default_rng([seed, 13])
    if fault.own == REFUSED:
        return _refused(fault, case, rng)
    if fault.name == "nan_evidence":
        return _nan_in_evidence(case, seed)
    return outcome(_PLANTS[fault.name](case, rng).found(), fault)


def _objector(case: Any, rng: np.random.Generator) -> Any:
    from gate_cases import objections

    people, need = case.evidence.rows["person_id"].to_list(), case.evidence.need_id
    register = objections()
    register.object(people[int(rng.integers(len(people)))], need if rng.random() < 0.5 else "*")
    n = int(register.objecting(people, need).sum())
    return replace(
        case,
        evidence=replace(case.evidence, n_objectors_in_rows=n),
        listed=replace(case.listed, n_objectors=n),
    )


def _ties(case: Any, rng: np.random.Generator) -> Any:
    wrong = (
        ("tie_key", "rank_score desc"),
        ("rank_score desc", "person_id"),
        ("rank_score desc",),
        ("rank_score desc", "sex", "tie_key"),
        ("rank_score desc", "language_group desc", "tie_key"),
        ("rank_score", "tie_key"),
        ("rank_score desc", "tie_key desc"),
        (),
    )[int(rng.integers(8))]
    return replace(
        case,
        evidence=replace(case.evidence, sort_key=wrong),
        listed=replace(case.listed, sort_key=wrong),
    )


def _drift(case: Any, rng: np.random.Generator) -> Any:
    """The registers behind six columns stop: nothing is counted any more, or nothing is known."""
    from gate_cases import list_of

    X = case.later.X.copy()
    X[:, :6] = 0.0 if rng.random() < 0.5 else np.nan
    return replace(case, listed=list_of(case.evidence, case.model, X))


def _one_drifts(case: Any, rng: np.random.Generator) -> Any:
    """One register counts everything twice, or one value comes in another unit."""
    from gate_cases import list_of

    X = case.later.X.copy()
    column = int(rng.integers(6))
    X[:, column] = X[:, column] * 2 if column < 4 else X[:, column] + 1.0
    return replace(case, listed=list_of(case.evidence, case.model, X))


def _stale(case: Any, rng: np.random.Generator) -> Any:
    record = dict(case.evidence.register)
    names = sorted(record["digests"])
    at = int(rng.integers(len(names) + 1))
    if at == len(names):
        from ethics_cases import NOW

        record["revision_date"] = (NOW.date() - timedelta(days=int(rng.integers(1, 400)))).isoformat()
    else:
        old = record["digests"][names[at]]
        place = int(rng.integers(len(old)))
        other = "0" if old[place] != "0" else "1"
        record["digests"] = {**record["digests"], names[at]: old[:place] + other + old[place + 1 :]}
    return replace(case, evidence=replace(case.evidence, register=record))


def _unexplored(case: Any, rng: np.random.Generator) -> Any:
    """A list that draws fewer for review than a fiftieth of its places, and gives few places by lot or none."""
    places = case.model.need.list.places(case.model.need.capacity.k)
    fewer = int(rng.integers(0, -(-places // 50)))
    return _drawing(case, sample=fewer, margin=0.0 if fewer else float(rng.choice([0.0, 0.5 / places])))


def _much_by_lot(case: Any, rng: np.random.Generator) -> Any:
    return _drawing(case, margin=float(rng.uniform(0.021, 0.5)))


def _drawing(case: Any, **settings: Any) -> Any:
    from gate_cases import exploring

    from models.gate_case import declared_exploration

    drawn = declared_exploration(exploring(case.model.need, **settings), case.evidence.eligible_n)
    return replace(
        case,
        evidence=replace(case.evidence, exploration=drawn),
        listed=replace(case.listed, exploration=drawn),
    )


def _no_override(case: Any, rng: np.random.Generator) -> Any:
    """A real store whose database swallows changes or loses their reasons, or that takes changes unexplained."""
    from gate_cases import store
    from sqlalchemy import text

    from scoring.override_rehearsal import rehearsed_overrides

    which = int(rng.integers(len(SWALLOWING) + 1))
    if which < len(SWALLOWING):
        broken = store()
        with broken._engine.begin() as connection:
            connection.execute(text(SWALLOWING[which]))
    else:
        broken = store(unexplained())
    found = rehearsed_overrides(broken)
    return replace(
        case,
        evidence=replace(case.evidence, override=found),
        listed=replace(case.listed, override=found),
    )


SWALLOWING = (
    "CREATE TRIGGER swallow BEFORE INSERT ON store_list_changes BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER refuse BEFORE INSERT ON store_list_changes BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER blank AFTER INSERT ON store_list_changes BEGIN "
    "UPDATE store_list_changes SET reason = NULL WHERE number = NEW.number; END",
    "CREATE TRIGGER forget AFTER INSERT ON store_list_changes WHEN NEW.act = 'removed' BEGIN "
    "DELETE FROM store_list_changes WHERE number = NEW.number; END",
)


def unexplained() -> type[Any]:
    """A kind of store that writes a reason itself where none was given."""
    from scoring.store import Store

    class Unexplained(Store):
        def change(self, *args: Any, reason: str = "", **more: Any) -> None:
            super().change(*args, reason=reason.strip() or "none given", **more)

    return Unexplained


def _need_text(case: Any, rng: np.random.Generator) -> Any:
    texts = {name: dict(said) for name, said in case.evidence.texts.items()}
    texts[sorted(texts)[int(rng.integers(len(texts)))]]["sv"] = "  "
    return replace(case, evidence=replace(case.evidence, texts=texts))


def _register_text(case: Any, rng: np.random.Generator) -> Any:
    from ethics_cases import register

    from ethics.register_record import ANSWERED

    name = ANSWERED[int(rng.integers(len(ANSWERED)))]
    said = {"fi": "Autamme. fi.", "sv": "", "en": "We help. en."}
    record = register(case.evidence.subject, **{name: said})
    return replace(case, evidence=replace(case.evidence, register=record))


_PLANTS: Mapping[str, Callable[[Any, np.random.Generator], Any]] = {
    "objector": _objector,
    "ties": _ties,
    "drift": _drift,
    "one_drifts": _one_drifts,
    "stale": _stale,
    "unexplored": _unexplored,
    "much_by_lot": _much_by_lot,
    "no_override": _no_override,
    "need_text": _need_text,
    "register_text": _register_text,
}


def _refused(fault: Fault, case: Any, rng: np.random.Generator) -> Outcome:
    """Rows with a person twice, or with a number that is none: nobody may measure them."""
    from ethics_cases import POLICY

    from ethics.refusals import BadInput

    rows: pl.DataFrame = case.evidence.rows
    at = int(rng.integers(rows.height))
    if fault.name == "twice":
        broken = pl.concat([rows, rows[at]])
    else:
        name = ("rank_score", "probability")[int(rng.integers(2))]
        values = rows[name].to_numpy().copy()
        values[at] = np.nan
        broken = rows.with_columns(pl.Series(name, values))
    try:
        case.groups.measure(broken, case.cuts, POLICY, seed=1)
    except BadInput:
        return Outcome(True, frozenset())
    return Outcome(False, frozenset())


def _nan_in_evidence(case: Any, seed: int) -> Outcome:
    """One number of the evidence is none: its own check, and no other, is an error."""
    from gate_cases import of_model

    evidence = case.evidence

    def of_row(rows: Any, **changes: float) -> Any:
        return [{**row, **changes} if position == 0 else row for position, row in enumerate(rows)]

    nan = float("nan")
    fields = (
        ("C105", {"duel": of_row(evidence.duel, low=nan)}),
        ("C106", {"auc": {**evidence.auc, "value": nan}}),
        ("C301", {"additivity_max_error": nan}),
        ("C303", {"reason_stability": {**evidence.reason_stability, "low": nan}}),
        ("C603", {"group_proxies": of_row(evidence.group_proxies, score_low=nan)}),
        ("C606", {"membership": of_row(evidence.membership, low=nan)}),
        ("C705", {"robustness": {**evidence.robustness, "low": nan}}),
    )
    id, changes = fields[seed % len(fields)]
    before, after = (of_model(part, case.fairness) for part in (evidence, replace(evidence, **changes)))
    own = (id, "error") in after
    kept = frozenset(check for check, state in before if state in HOLDS_UP)
    return Outcome(own, frozenset(check for check, state in after if state in HOLDS_UP and check != id) - (kept & {id}))


# ---- the matrix ------------------------------------------------------------------------------------------------


def matrix(of_scores: list[dict[str, Outcome]], of_models: list[dict[str, Outcome]]) -> list[bool]:
    """Print a line for each fault; whether each is found and leaves the other checks alone."""
    print(f"{'planted fault':54} {'own':8} {'fires':>11}  {'bound':>7}  others, and chance of such a rise")
    lines = [
        _line(title, fault, [world[title] for world in of_scores], [world[_null_of(title)] for world in of_scores])
        for title, fault in SCORES.items()
        if of_scores
    ]
    honest = [world[_HONEST] for world in of_models]
    for title, fault in (MODELS | CHEAP).items():
        lines.append(_line(title, fault, [world[title] for world in of_models], honest))
    return lines


def _line(title: str, fault: Fault, found: list[Outcome], null: list[Outcome]) -> bool:
    from gate_trials import lower_bound

    n, hits = len(found), sum(one.own for one in found)
    counts, without = (Counter(id for one in part for id in one.others) for part in (found, null))
    rises = {
        id: rise(counts[id], n, without[id], len(null)) for id in counts if id not in fault.kin and id != fault.own
    }
    worst = min(rises, key=lambda id: (rises[id], id), default="")
    good = hits / n >= LEAST_FOUND and all(p >= MOST_CHANCE for p in rises.values())
    others = "none"
    if worst:
        others = f"{worst} {counts[worst]}/{n}, without {without[worst]}/{len(null)}, p {rises[worst]:.2f}"
    kin = "".join(f"; kin {id} {counts[id]}/{n}, without {without[id]}/{len(null)}" for id in fault.kin)
    blocks = f"; blocks {sum(one.blocked for one in found)}/{n}" if fault.name.startswith("unseen") else ""
    shown = f"{hits:4} of {n:4}  {lower_bound(hits, n):7.1%}  {others}{kin}{blocks}"
    print(f"{title:54} {fault.own:8} {shown}  {'ok' if good else 'MISSED'}", flush=True)
    return good


def rise(hits: int, n: int, hits_without: int, n_without: int) -> float:
    """Chance of so many hits or more with a fault, were they as likely as without: Fisher's exact test, one-sided.

    >>> rise(3, 60, 3, 60) > 0.5, rise(12, 60, 0, 60) < 0.01
    (True, True)
    """
    from scipy.stats import fisher_exact

    table = [[hits, n - hits], [hits_without, n_without - hits_without]]
    return float(fisher_exact(table, alternative="greater").pvalue)
