"""The story of training: learn a need from a city, measure it, gather the gate's evidence, log the run."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.digests import code_digest, environment_digest, sha256
from ethics.refusals import BadInput, Fault
from serving.home import Home, whole_folder
from serving.opening import (
    folder_of,
    need_path,
    open_city_for,
    open_need,
    refuse_misfitting_effects,
    refuse_unfounded,
)
from serving.outcome_work import contacted_people
from serving.progress import Step, silent
from serving.training_result import number_or_null as number_or_null
from serving.training_result import trained_result

if TYPE_CHECKING:
    import polars as pl

    from features.city import City
    from models.evidence_files import GatheredEvidence
    from models.experiment import Experiment
    from models.experiment_layout import Layout
    from models.mitigation import Candidate
    from models.need import Need
    from models.run_contents import Further
    from models.run_record import RunRecord
    from models.selection import SearchResult


def train_need(
    home: Home,
    city_folder: str | Path,
    need: Path,
    seed: int = 0,
    step: Step = silent,
    by: str = "data scientist",
    *,
    trials: int = 0,
    workers: int = 1,
    thorough: bool = False,
) -> dict[str, Any]:
    """Train a need's model (or write a rule), measure it, gather the gate's evidence and log the run.

    Parameters
    ----------
    by : str
        Role of whoever trains: the gate refuses an auditor who audits a model of her own.
    trials : int
        Settings of the trees to try on the past before the judged date; 0 takes the need's and the defaults.
    workers : int
        Processes of that search; the result is the same with any number.
    thorough : bool
        Also what each feature is worth, and whether more persons to learn from would help, by refits.
    """
    from models.evidence_files import write_evidence
    from models.experiment_layout import lay_out
    from models.run_contents import run_contents
    from models.tracking import clear_drafts, end_dead_runs, run_under_way

    opened = open_need(home, need)
    _refuse_unaskable(opened, trials, workers, thorough)
    city_folder = folder_of(city_folder)
    city = open_city_for(home, city_folder, opened, step)
    refuse_unfounded(home, opened, city.name)
    refuse_misfitting_effects(home, opened)
    # Refuses what cannot be learnt before a run is begun.
    laid = lay_out(city, opened, home.objections, seed, step, contacted_people(home, opened.id))
    clear_drafts(home.registry, home.runs)
    for dead in end_dead_runs(home.registry):
        shutil.rmtree(home.runs / dead, ignore_errors=True)  # whose rows nothing else knows of
    with run_under_way(home.registry, opened.id, f"seed {seed}") as run_id:
        experiment, further = _learn(home, laid, city, step, trials, workers, thorough)
        step(f"{opened.id}: gathering evidence")
        recorded = {"policy": home.policy.digest, "code": code_digest(), "environment": environment_digest()}
        judged_date = experiment.split.judged_dates[-1]
        gathered = gather_for_gate(home, city, experiment, judged_date, recorded, seed, by, step)
        step(f"{opened.id}: drawing and logging the run")
        contents = run_contents(experiment, further, extract_date=city.extract_date, invented=city.invented, seed=seed)
        with whole_folder(home.runs / run_id) as folder:
            write_evidence(folder, gathered)
            result = trained_result(run_id, experiment, further, gathered.rows, contents.findings)
            result["benefit"] = benefit = _benefit(home, city, experiment, gathered)
            result["mlflow"] = _mlflow_of(home, run_id)
            record = {**result, **_whereabouts(city, city_folder, opened, need)}
            (folder / "run.json").write_text(json.dumps(record, ensure_ascii=False, indent=1), "utf-8")
        # The evidence has its name before MLflow calls the run finished: a candidate can always be judged.
        try:
            _log(home, city, experiment, contents, recorded, home.runs / run_id, run_id, seed, benefit)
        except BaseException:
            shutil.rmtree(home.runs / run_id, ignore_errors=True)
            raise
    home.audit_log.append("train", by, need=opened.id, run=run_id, model=experiment.model.digest)
    return result


def _refuse_unaskable(need: Need, trials: int, workers: int, thorough: bool) -> None:
    faults = []
    if workers > 1 and not trials:
        faults.append(Fault("--workers", f"is {workers}, and only a search has workers", "Give --search N with it"))
    if need.kind == "rule" and (trials or thorough):
        asked = "--search" if trials else "--thorough"
        wrong = f"refits trees, and {need.id} is a written rule, which has none"
        faults.append(Fault(asked, wrong, "Leave it out"))
    if faults:
        raise BadInput(*faults)


def _learn(
    home: Home, laid: Layout, city: City, step: Step, trials: int, workers: int, thorough: bool
) -> tuple[Experiment, Further]:
    """The experiment, and what is measured only when asked for."""
    from models.experiment import run_experiment
    from models.feature_refits import feature_value
    from models.learning_shares import learning_curve
    from models.run_contents import Further

    need, seed = laid.need, laid.seed
    found = _search(home, laid, trials, workers, step) if trials else None
    parameters = found.parameters if found is not None and found.parameters else None
    asked: dict[str, Any] = {"parameters": parameters, "policy": home.policy, "laid": laid}
    experiment = run_experiment(city, need, home.objections, seed, step, **asked)
    matrix, judged = experiment.train_matrix, experiment.judged
    if matrix is None or not thorough:
        return experiment, Further(found)
    refits: dict[str, Any] = {"parameters": parameters, "weights": experiment.train_weights, "step": step}
    refits |= {"weight": experiment.weight, "k": experiment.k}
    curve = learning_curve(matrix, judged, need, seed, **refits)
    return experiment, Further(found, curve, feature_value(matrix, judged, need, seed, **refits))


def _search(home: Home, laid: Layout, trials: int, workers: int, step: Step) -> SearchResult:
    """Settings of the trees, compared on dates before the first judged one; resumed where it was left."""
    import numpy as np

    from models.selection import search

    taught = laid.taught(laid.split.candidate)
    known, weights = laid.weights(taught), None
    if known is not None:
        weights = np.full(len(taught), np.nan)
        weights[taught] = known
    store = home.root / "searches" / f"{laid.need.id}.db"
    store.parent.mkdir(exist_ok=True)
    return search(
        laid.matrix,
        laid.need,
        laid.split,
        laid.seed,
        trials=trials,
        store=store,
        workers=workers,
        step=step,
        weights=weights,
    )


def gather_for_gate(
    home: Home,
    city: City,
    candidate: Experiment | Candidate,
    judged_date: date,
    recorded: dict[str, str],
    seed: int,
    by: str,
    step: Step,
) -> GatheredEvidence:
    """The gate's evidence about what was learnt and is judged, with what the city and the home know beside it.

    Parameters
    ----------
    candidate : Experiment or Candidate
        Of which ``need``, ``model``, ``judged``, ``train_matrix``, ``seen_in_training``, ``orders``, ``weight``, ``k``
        and ``train_weights`` are read.
    judged_date : date
        On which it is asked who lives with whom.
    recorded : mapping
        Digests of ``policy``, ``code`` and ``environment``.
    by : str
        Role of whoever trains.
    """
    from ethics.label_audit import FROM_CONTACT, VALUE
    from features.label import label_values, produced_by_contacts
    from models.evidence import gather_evidence

    label, keys = candidate.need.label, candidate.judged.keys
    found = {}
    if label is not None:
        found = {FROM_CONTACT: produced_by_contacts(city, keys, label), VALUE: label_values(city, keys, label)}
    return gather_evidence(
        candidate.model,
        candidate.judged,
        training=candidate.train_matrix,
        seen_in_training=candidate.seen_in_training,
        secret=home.tie_secret(candidate.need.id),
        recorded=recorded,
        seed=seed,
        trained_by=by,
        households=_households(city, judged_date),
        orders=candidate.orders,
        weight=candidate.weight,
        k=candidate.k,
        train_weights=candidate.train_weights,
        policy=home.policy,
        step=step,
        of_label={name: values for name, values in found.items() if values is not None},
    )


def _log(
    home: Home,
    city: City,
    experiment: Experiment,
    contents: RunRecord,
    recorded: dict[str, str],
    evidence: Path,
    run_id: str,
    seed: int,
    benefit: dict[str, Any] | None,
) -> None:
    """Record the run in MLflow, with the digest of its evidence."""
    from models.evidence_files import evidence_digest
    from models.tracking import log_run

    by_date = {str(day): estimates for day, estimates in experiment.by_date.items()}
    figures: dict[str, Any] = {"test": experiment.metrics, "by_date": by_date, "unseen": experiment.unseen}
    if benefit is not None:
        recorded = {**recorded, "effects": benefit["table_sha256"]}
        figures["benefit"] = _numbers_within(benefit["lists"] or {})
    log_run(
        home.registry,
        experiment.model,
        figures=figures,
        parameters={"seed": seed, "split": experiment.split.kind, "judged": _days(experiment.split.judged_dates)},
        digests={
            **recorded,
            "city": city.digest,
            "test_matrix": experiment.judged.digest,
            "evidence": evidence_digest(evidence),
        },
        record=contents,
        run_id=run_id,
    )


def _benefit(home: Home, city: City, experiment: Experiment, gathered: GatheredEvidence) -> dict[str, Any] | None:
    """The benefit list beside the risk list, where the home has an evidence table that is about this need."""
    from models.benefit_report import benefit_report

    judged, need = experiment.judged, experiment.need
    table = home.effects
    if table is None or need.kind == "rule":
        return None
    rows = judged.keys.select("person_id").join(gathered.rows, on="person_id", how="left", maintain_order="left")
    return benefit_report(
        need,
        city.name,
        table=table,
        probability=rows["probability"].to_numpy(),
        columns={name: judged.X[:, i] for i, name in enumerate(judged.names)},
        tie_keys=rows["tie_key"].to_list(),
        today=datetime.now(UTC).date(),
    )


def _numbers_within(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested figures without those that are null."""
    kept = {name: _numbers_within(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    return {name: value for name, value in kept.items() if value is not None}


def _mlflow_of(home: Home, run_id: str) -> dict[str, str]:
    """Where MLflow keeps the run, and the command that shows it."""
    from models.registry import experiment_name

    uri = _without_password(home.settings.mlflow)
    return {
        "experiment": experiment_name(home.registry, run_id),
        "run_id": run_id,
        "uri": uri,
        "artefacts": str(home.mlflow_artefacts),
        # MLflow's own command would send usage figures home too.
        "show": f"MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {shlex.quote(uri)}",
    }


def _without_password(uri: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(uri).render_as_string(hide_password=True)


def _households(city: City, day: date) -> pl.DataFrame | None:
    """Who lives with whom on a day, where the city says so: intervals widen by it, no feature reads it."""
    from features.attributes import attribute_on

    found = attribute_on(city, "household_id", day)
    return None if found is None else found.rename({"value": "household"})


def _whereabouts(city: City, city_folder: Path, need: Need, need_file: Path) -> dict[str, Any]:
    """What judging and approving will look for again."""
    groups = city.groups_path
    return {
        "city": str(city_folder.resolve()),
        "need_id": need.id,
        "need_file": str(need_path(need_file).resolve()),
        "units": [] if city.units is None else city.units["unit_id"].to_list(),
        "invented": city.invented,
        "groups_sha256": None if groups is None else sha256(groups.read_bytes()),
    }


def _days(days: tuple[date, ...]) -> str:
    return ", ".join(map(str, days))
