"""Models of known worlds before the gate, honest ones and some with one fault; each table by the code that makes it.

A case is trained, looked into, joined to groups and judged as any model is; a list is made of later people of the same
world. What a city states about itself (register, people responsible, keys) is that of ``tests/ethics_cases.py``.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ethics_cases import LIST, NOW, PASSING, POLICY, register, responsible
from gate_worlds import sign_of
from model_worlds import TRAIN_QUARTERS, Nature, Rows, World, plant_leak, world_matrix, world_need
from sqlalchemy import create_engine

from ethics.case import Evidence, ListEvidence
from ethics.cells import Cuts
from ethics.check_register import Context
from ethics.fairness import FairnessTable
from ethics.gate import BUILT, LIST_CHECKS, MODEL_CHECKS
from ethics.groups import GroupRegister
from ethics.objections import ObjectionRegister
from ethics.population_stability import counts_like
from features.matrix import Matrix
from models.baselines import audit_cut_of
from models.evidence import gather_evidence
from models.evidence_files import read_evidence, write_evidence
from models.gate_case import declared_exploration, load_evidence
from models.need import Need
from models.training import NeedModel, train
from models.tree_fitting import binned, grow
from scoring.override_rehearsal import rehearsed_overrides
from scoring.store import Store, StoreKeys

PERSONS = 6_000
JUDGED, LATER = (6,), (7,)
GROUPS: Mapping[str, Mapping[str, float]] = {
    "language_group": {"fi": 0.76, "other": 0.20, "sv": 0.04},
    "sex": {"f": 0.49, "m": 0.51},
}
SIGNS = ("sign one", "sign two")
PROXY = 7
"""The column that carries nothing in an honest world, and the group in a faulted one."""
RARE, COMMON = "sv", "other"
MORE_NEED = 0.25
"""Share of the rare group's other people who are in need too, for a cause that only the proxy shows."""
_RECORDED = {"policy": POLICY.digest, "code": "4" * 64, "environment": "5" * 64}
_KEY = b"a key for one trial only"

Found = frozenset[tuple[str, str]]
"""Check and state, of every finding."""


@dataclass(frozen=True)
class Case:
    """One model before the gate.

    Attributes
    ----------
    evidence : Evidence
    fairness : FairnessTable
    listed : ListEvidence
        Of this model and later people.
    groups : GroupRegister
    cuts : Cuts
    later : Matrix
        The people of the list.
    model : NeedModel
    """

    evidence: Evidence
    fairness: FairnessTable
    listed: ListEvidence
    groups: GroupRegister
    cuts: Cuts
    later: Matrix
    model: NeedModel

    def found(self) -> Found:
        """What every check of models and of lists says."""
        return of_model(self.evidence, self.fairness) | of_list(self.listed)


def of_model(evidence: Evidence, fairness: FairnessTable | None) -> Found:
    """What every check of models says."""
    context = Context(POLICY, NOW, fairness)
    return frozenset((check.id, check.state) for id in MODEL_CHECKS for check in BUILT[id].run(evidence, context))


def of_list(listed: ListEvidence) -> Found:
    """What every check of lists says."""
    context = Context(POLICY, NOW)
    return frozenset((check.id, check.state) for id in LIST_CHECKS for check in BUILT[id].run(listed, context))


# ---- people ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """Rows of a world, which group each is in, and what independent signs of need they show."""

    rows: Rows
    groups: Mapping[str, np.ndarray]
    signs: Mapping[str, np.ndarray]

    def matrix(self, need: Need) -> Matrix:
        """The rows as the features room hands them over."""
        return replace(world_matrix(self.rows, need), indicators=dict(self.signs))


Plant = Callable[[Rows, Mapping[str, np.ndarray], np.random.Generator], Rows]


def draw(nature: Nature, quarters: tuple[int, ...], part: int, plant: Plant | None) -> Drawn:
    """People of a world, no two parts with a person in common; ``plant`` puts a fault into their rows."""
    rng = np.random.default_rng([nature.world.seed, 11, part])
    rows = nature.rows(PERSONS, quarters, part)
    groups = {
        name: np.asarray(list(shares))[rng.choice(len(shares), PERSONS, p=list(shares.values()))][rows.person]
        for name, shares in GROUPS.items()
    }
    rows = dataclasses.replace(rows, person=rows.person + part * PERSONS)
    if plant is not None:
        rows = plant(rows, groups, rng)
    return Drawn(rows, groups, {name: sign_of(rows.label > 0, rng) for name in SIGNS})


def leak(seed: int) -> Plant:
    """The outcome in a column: by one of four ways, or as a running number that people get once need is found."""
    kind = ("copy", "noisy copy", "known late", "contact after", "running number")[seed % 5]

    def plant(rows: Rows, groups: Mapping[str, np.ndarray], rng: np.random.Generator) -> Rows:
        if kind != "running number":
            return plant_leak(rows, kind, seed)
        X = rows.X.copy()
        X[:, -1] = np.argsort(np.argsort(rows.label + 1.05 * rng.random(len(X)))) * 1000 // len(X)
        return dataclasses.replace(rows, X=X)

    return plant


def used_proxy(rows: Rows, groups: Mapping[str, np.ndarray], rng: np.random.Generator) -> Rows:
    """A rare group has more need, for a cause that nothing shows but a column that tells the group."""
    member = groups["language_group"] == RARE
    more = member & ~np.isfinite(rows.need_day) & (rng.random(len(member)) < MORE_NEED)
    return dataclasses.replace(_with_proxy(rows, member), need_day=np.where(more, 30.0, rows.need_day))


def idle_proxy(rows: Rows, groups: Mapping[str, np.ndarray], rng: np.random.Generator) -> Rows:
    """A column tells a group whose need is as everybody's."""
    return _with_proxy(rows, groups["language_group"] == COMMON)


def _with_proxy(rows: Rows, member: np.ndarray) -> Rows:
    X = rows.X.copy()
    X[:, PROXY] += 6.0 * member  # told without a doubt: else the people mistaken for others would be under-predicted
    return dataclasses.replace(rows, X=X)


# ---- cases -----------------------------------------------------------------------------------------------------


def model_case(seed: int, plant: Plant | None = None, *, tiny_leaves: bool = False) -> Case:
    """A world, a model learnt from its past, and what the gate is given of it."""
    nature = Nature(World(seed=seed, persons=PERSONS, base_rate=0.15))
    training, judged, later = (
        draw(nature, quarters, part, plant) for part, quarters in enumerate((TRAIN_QUARTERS, JUDGED, LATER))
    )
    need = world_need(nature.world, len(judged.rows.person))
    taught, asked = training.matrix(need), judged.matrix(need)
    model = train(taught, need, seed)
    if tiny_leaves:
        model = _with_tiny_leaves(model, taught, seed)
    gathered = gather_evidence(
        model,
        asked,
        training=taught,
        seen_in_training=np.zeros(len(asked.X), dtype=bool),
        secret=b"s" * 32,
        recorded=_RECORDED,
        seed=seed,
        trained_by=PASSING.trained_by,
        replicates=200,
        policy=POLICY,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_evidence(Path(folder), gathered)
        evidence = load_evidence(
            Path(folder),
            model,
            policy=POLICY,
            subject=gathered.facts["recorded"],
            objections=objections(),
            stop_switch_tested_at=PASSING.stop_switch_tested_at,
            signing_keys=PASSING.signing_keys,
        )
        features = read_evidence(Path(folder)).features
    evidence = replace(
        evidence,
        owner=PASSING.owner,
        texts=PASSING.texts,
        exploration=declared_exploration(exploring(need), evidence.eligible_n),
        override=rehearsed_overrides(store()),
        register=register(evidence.subject),
        responsible=responsible(),
    )
    groups = GroupRegister(
        pl.DataFrame({"person_id": evidence.rows["person_id"], **judged.groups}), "groups of an invented world"
    )
    cuts = Cuts(need.capacity.k, audit_cut_of(evidence.rows, need, POLICY.verdict_days, POLICY.audit_recall))
    examined = groups.examine(evidence.rows, features, cuts, POLICY, seed=seed, gain=_gain(model))
    fairness = groups.measure(evidence.rows, cuts, POLICY, seed=seed)
    evidence, coming = replace(evidence, **examined), later.matrix(need)
    return Case(evidence, fairness, list_of(evidence, model, coming.X), groups, cuts, coming, model)


def list_of(evidence: Evidence, model: NeedModel, X: np.ndarray) -> ListEvidence:
    """The list of people with columns ``X``, as the gate is asked about it."""
    assert evidence.reference is not None
    return replace(
        LIST,
        columns=evidence.model_columns,
        allowed_columns=evidence.model_columns,
        expected=evidence.subject,
        actual=evidence.subject,
        additivity_max_error=evidence.additivity_max_error,
        determinism=evidence.determinism,
        register=evidence.register,
        exploration=evidence.exploration,
        override=evidence.override,
        reference=evidence.reference,
        today=counts_like(evidence.reference, model.raw(X), model.columns, X),
    )


def objections() -> ObjectionRegister:
    """A register in memory to which nobody has objected yet."""
    return ObjectionRegister(create_engine("sqlite://"), _KEY)


def store(kind: type[Store] = Store) -> Store:
    """A store in memory that holds nothing yet."""
    return kind(create_engine("sqlite://"), StoreKeys(_KEY, _KEY[::-1]))


def exploring(need: Need, **settings: Any) -> Need:
    """The need with people drawn for review, as an honest city has it: for a twentieth of its places, one at least."""
    drawn = {"sample": max(1, need.capacity.k // 20), **settings}
    return need.model_copy(update={"list": need.list.model_copy(update=drawn)})


def _with_tiny_leaves(model: NeedModel, taught: Matrix, seed: int) -> NeedModel:
    """The same recipe by the fitting room's own hands, but a leaf may describe one person: no need may ask for it."""
    facts = json.loads(model.manifest)
    parameters: dict[str, Any] = {
        name: float(value) if "." in value else int(value) for name, value in facts["parameters"].items()
    }
    parameters |= {"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0}
    assert taught.y is not None
    trees = grow(binned(taught.X, taught.y, model.need, parameters), model.need, parameters, seed)
    facts["parameters"] = {name: str(value) for name, value in parameters.items()}
    return replace(model, trees=trees, manifest=json.dumps(facts).encode())


def _gain(model: NeedModel) -> dict[str, float]:
    """Each column's share of what the trees gain, as it is judged by."""
    from serving.gate_question import gain_of

    return gain_of(model) or {}
