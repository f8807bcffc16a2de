"""A tiny invented city, a need, a really trained model and a really judged, sealed and verified verdict.

Everything is made by the packages' own functions. Only what the gate is shown about fairness is invented: a large fair
world, since no city of this size could be shown to be fair.
"""

from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from ethics_cases import PASSING, register, responsible, trusting, vouched

from ethics.case import SORT_KEY, Evidence
from ethics.digests import code_digest, environment_digest
from ethics.fairness import Cuts
from ethics.gate import judge
from ethics.groups import GroupRegister
from ethics.keys import KeyRing
from ethics.objections import ObjectionRegister
from ethics.policy import Policy
from ethics.population_stability import reference_of
from ethics.signing import countersign, seal, verify
from ethics.stop_switch import StopSwitch
from ethics.whole_file import write_whole
from features.city import City, open_city
from features.cohort import build_cohort
from features.matrix import build_matrix
from models.gate_case import declared_exploration
from models.need import parse_need
from models.registry import approve
from models.rule import RuleModel
from models.tracking import log_run
from models.training import train
from scoring.list_evidence import Surroundings
from scoring.outreach import outreach_list
from scoring.override_rehearsal import rehearsed_overrides
from scoring.scorer import Scorer
from serving.home import CELLS, VERDICT, Home
from serving.settings import Settings

AS_OF = date(2024, 6, 3)
TRAIN = date(2023, 6, 5)
NOW = datetime.now(UTC).replace(microsecond=0)
TEXTS = {"fi": "teksti", "sv": "text", "en": "text"}


def known_from(plain: str, source: str) -> str:
    return (
        f'plain = {{ fi = "a", sv = "b", en = "{plain}" }}\n'
        f'source = "{source}"\npurpose = "To test"\nbasis = "None: invented"'
    )


HEAD = f"""
schema = 1
kind = "model"
service = "youth-work"
use = "outreach_ranking"
title = {{ fi = "Otsikko", sv = "Rubrik", en = "Young people" }}
question = {{ fi = "a", sv = "b", en = "Who?" }}
action = {{ fi = "a", sv = "b", en = "A youth worker offers a meeting" }}
benefit = {{ fi = "a", sv = "b", en = "Help in time" }}
alternative = {{ fi = "a", sv = "b", en = "Anyone can get in touch" }}
owner = {{ name = "Head of youth work", email = "head@example.invalid", phone = "+358 9 000" }}
deputy = {{ name = "Deputy", email = "deputy@example.invalid", phone = "+358 9 001" }}
dpo = {{ name = "Data protection officer", email = "dpo@example.invalid", phone = "+358 9 002" }}
review_by = 2030-01-01
[cohort]
age = [15, 30]
as_of = {{ first = 2023-06-05, last = 2024-06-03, every_days = 364 }}
[capacity]
workers = 2
attempts_per_worker_per_period = 10
contact_success = 0.5
period_days = 7
[notice]
phone = "+358 9 003"
letter = "youth-work/a-meeting"
[[features]]
name = "absence"
codes = ["school.absence.*"]
windows = [90, "ever"]
measures = ["count", "days_since_last"]
changeable = true
{known_from("absences from school", "school register")}
[[features]]
name = "pressure"
codes = ["health.pressure"]
windows = ["ever"]
measures = ["last"]
visible_to = ["clinic"]
{known_from("blood pressure reading", "health register")}
[[features]]
attribute = "age"
{known_from("age", "population register")}
"""
MODEL_NEED = f"""{HEAD}
[label]
codes = ["status.neet"]
horizon_days = 180
[splits]
kind = "temporal"
[baseline]
rule = "absence.count.90d desc"
[model]
n_estimators = 40
min_data_in_leaf = 20
"""
RULE_NEED = f"""{HEAD.replace('kind = "model"', 'kind = "rule"')}
[rule]
order = ["absence.count.90d desc", "pressure.last.ever desc missing first", "age asc"]
"""


def write_city(folder: Path, n: int = 900, seed: int = 1, *, units: bool = False, districts: bool = True) -> Path:
    """A city folder: absences before 3 June foretell ``status.neet`` after it, in 2023 and in 2024."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    ids = [f"{i:06d}" for i in range(n)]
    born = [date(1998, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 365 * 9, n)]
    pl.DataFrame({"person_id": ids, "birth_date": born}).write_parquet(folder / "persons.parquet")
    events = []
    for year, centre in ((2023, TRAIN), (2024, AS_OF)):
        risk = rng.gamma(1.0, 2.0, n)
        for i in range(n):
            for _ in range(rng.poisson(risk[i])):
                day = centre - timedelta(days=int(rng.integers(1, 200)))
                events.append((ids[i], day, "school.absence.unexcused", None))
            if rng.random() < 0.7:
                day = centre - timedelta(days=int(rng.integers(1, 300)))
                events.append((ids[i], day, "health.pressure", float(rng.normal(128, 15))))
            if year == 2023 and rng.random() < 1 / (1 + np.exp(2.5 - 0.6 * risk[i])):
                events.append((ids[i], centre + timedelta(days=int(rng.integers(5, 150))), "status.neet", None))
    types = {"person_id": pl.String, "event_date": pl.Date, "code": pl.String, "value": pl.Float64}
    pl.DataFrame(events, schema=types, orient="row").write_parquet(folder / "events.parquet")
    if districts:
        homes = ["Kallio", "Vuosaari", "Nowhere"]
        where = [homes[int(r)] for r in rng.choice(3, n, p=[0.6, 0.38, 0.02])]
        pl.DataFrame(
            {"person_id": ids, "attribute": "district", "value": where, "from_date": date(2020, 1, 1)}
        ).write_parquet(folder / "history.parquet")
    if units:
        pl.DataFrame(
            {"unit_id": ["north", "east"], "name": ["North", "East"], "districts": [["Kallio"], ["Vuosaari"]]}
        ).write_parquet(folder / "units.parquet")
    (folder / "city.toml").write_text("extract_date = 2024-06-30\n")
    return folder


def fair_rows(n: int = 24_000, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judged rows and groups of a world that is fair and large enough for the gate to see it."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(-2.6, 1.3, n)
    probability = 1 / (1 + np.exp(-raw))
    ids = [f"r{i}" for i in range(n)]
    rows = pl.DataFrame(
        {
            "person_id": ids,
            "rank_score": raw,
            "tie_key": [f"{i:06x}" for i in rng.permutation(n)],
            "probability": probability,
            "label": (rng.random(n) < probability).astype(float),
            "indicator:one": rng.random(n) < probability,
            "indicator:two": rng.random(n) < probability,
        }
    )
    return rows, pl.DataFrame({"person_id": ids, "sex": rng.choice(["f", "m"], n)})


@dataclass
class World:
    """Everything a scorer, a list or a server needs, made when first asked for."""

    folder: Path
    need_text: str = MODEL_NEED
    need_id: str = "youth"
    policy: Policy = field(default_factory=Policy.load)
    districts: bool = True
    demonstration: bool = True
    units: bool = False
    now: datetime = NOW
    shared_home: Home | None = None
    shared_city: City | None = None
    lots_vouched_for: bool = True
    """Whether AT-08 was given: for the need's few people drawn by lot, or its many."""

    @cached_property
    def city(self) -> City:
        return self.shared_city or open_city(
            write_city(self.folder / "city", units=self.units, districts=self.districts)
        )

    @cached_property
    def need(self):
        return parse_need(self.need_text.encode(), f"{self.need_id}.toml")

    @cached_property
    def home(self) -> Home:
        if self.shared_home is not None:
            return self.shared_home
        home = Home(Settings(home=self.folder / "home"))
        home.stop_switch.test(self.now)
        for role in ("gate", "auditor"):
            holder = f"Demonstration {role}"
            home.key_ring.make(role, holder, demonstration=self.demonstration, days=7, now=self.now)
        trusting(home.key_ring)
        return home

    @property
    def objections(self) -> ObjectionRegister:
        return self.home.objections

    @property
    def stop_switch(self) -> StopSwitch:
        return self.home.stop_switch

    @property
    def keys(self) -> KeyRing:
        return self.home.key_ring

    @cached_property
    def model(self):
        if self.need.kind == "rule":
            return RuleModel.of(self.need)
        keys = build_cohort(self.city, self.need.cohort, [TRAIN])
        matrix = build_matrix(
            self.city,
            self.need.features,
            keys,
            objections=self.objections,
            need_id=self.need.id,
            label=self.need.label,
        )
        return train(matrix, self.need, seed=0)

    @cached_property
    def subject(self) -> dict[str, str]:
        return {
            "model": self.model.digest,
            "need": self.need.digest,
            "policy": self.policy.digest,
            "code": code_digest(),
            "environment": environment_digest(),
            "training_matrix": "a" * 64,
            "test_matrix": "b" * 64,
        }

    @cached_property
    def fairness(self):
        rows, groups = fair_rows()
        register = GroupRegister(groups, "groups")
        return rows, register.measure(rows, Cuts(60, 4000), self.policy, seed=0)

    @cached_property
    def verdict(self):
        rows, table = self.fairness
        trusted = [key.facts(keyid) for keyid, key in self.keys.trust().items()]
        evidence = Evidence(
            need_id=self.need.id,
            kind=self.need.kind,
            service=self.need.service,
            use=self.need.use,
            texts=dict.fromkeys(("title", "question", "action", "benefit", "alternative"), TEXTS),
            owner=self.need.owner.model_dump(),
            model_digest=self.model.digest,
            subject=self.subject,
            recorded=self.subject,
            rows=rows,
            indicator_names=["one", "two"],
            capacity_k=self.need.capacity.k,
            period_days=7,
            eligible_n=rows.height,
            n_objectors_in_rows=0,
            duel=[{"rival": "chance", "ours": 300, "theirs": 100, "difference": 200, "low": 150, "high": 250}],
            auc={"value": 0.75, "low": 0.74, "high": 0.76},
            plausible_auc_max=0.9,
            single_columns=[{"column": "age", "auc": 0.52}],
            additivity_max_error=1e-12,
            features=[
                {
                    "column": column,
                    "feature": feature.name,
                    "source": feature.source,
                    "purpose": feature.purpose,
                    "basis": feature.basis,
                    "plain": feature.plain.model_dump(),
                    "changeable": bool(feature.changeable),
                }
                for feature in self.need.features
                for column in feature.columns()
            ],
            model_columns=self.need.columns,
            sort_key=SORT_KEY,
            stop_switch_tested_at=self.stop_switch.tested_at(),
            signing_keys=trusted,
            seed=0,
            trained_by="Demonstration data scientist",
            invented=True,
            **{
                **{part.name: getattr(PASSING, part.name) for part in fields(Evidence) if part.default is None},
                "exploration": declared_exploration(self.need, rows.height),
                "override": rehearsed_overrides(self.home.store),
                "reference": self.reference,
                "rivals_due": (),
                "register": register(self.subject, revision_date="2030-01-01"),
                "responsible": responsible(review_by="2030-01-01"),
            },
        )
        lots = (("C407", "AT-08"),) if self.lots_vouched_for else ()
        given = vouched(self.need.id, self.model.digest, self.policy.digest, self.now, lots)
        return judge(evidence, table, self.policy, given, issued_at=self.now, demonstration=self.demonstration)

    @cached_property
    def reference(self):
        """What lists are compared with: the people of the day for which lists are made."""
        keys = build_cohort(self.city, self.need.cohort, [AS_OF])
        matrix = build_matrix(self.city, self.need.features, keys, objections=self.objections, need_id=self.need.id)
        raw = None if self.need.kind == "rule" else self.model.raw(matrix.X)
        return reference_of(raw, matrix.names, matrix.X)

    @cached_property
    def groups(self) -> GroupRegister:
        """The sex of the city's people, which nothing here depends on."""
        ids = self.city.persons["person_id"]
        sex = np.random.default_rng(3).choice(["f", "m"], len(ids))
        return GroupRegister(pl.DataFrame({"person_id": ids, "sex": sex}), "groups")

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(self.groups, self.cells, (), rehearsed_overrides(self.home.store))

    @cached_property
    def envelope(self) -> bytes:
        return countersign(seal(self.verdict, self.keys.signer("gate")), self.keys.signer("auditor"))

    @cached_property
    def cells(self) -> bytes:
        return self.fairness[1].cells_bytes

    @cached_property
    def verified(self):
        return verify(
            self.envelope,
            self.cells,
            trust=self.keys.trust(),
            expected=self.subject,
            use="outreach_ranking",
            now=self.now,
            revoked=(),
            stop_switch=self.stop_switch,
            allow_demonstration=True,
        )

    @cached_property
    def scorer(self) -> Scorer:
        return Scorer(self.verified, self.model, self.home.settings.secret(f"need-{self.need_id}"))

    def score(self, *person_ids: str, as_of_date: date = AS_OF):
        """Scores of the whole cohort, or of some persons."""
        return self.scorer.score(self.city, as_of_date, self.objections, person_ids or None)

    def list(self, scores=None, **changes):
        """The outreach list of some scores, the whole cohort's by default."""
        asked = {
            "objections": self.objections,
            "policy": self.policy,
            "stop_switch": self.stop_switch,
            "surroundings": self.surroundings,
            "row_keys": self.home.store.row_keys,
            "issued_at": self.now,
        }
        return outreach_list(scores or self.score(), self.scorer, self.city, **{**asked, **changes})

    def approve(self) -> Path:
        """Log the model and approve it, as a home that judged it would have; returns the path of the verdict."""
        registry = self.home.registry
        run_id = log_run(registry, self.model, figures={}, parameters={}, digests={})
        folder = self.home.verdicts / self.need_id / self.verdict.verdict_id
        write_whole(folder / VERDICT, self.envelope)
        write_whole(folder / CELLS, self.cells)
        approve(registry, self.verified, run_id, self.verdict.verdict_id)
        return folder / VERDICT
