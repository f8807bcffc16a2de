"""The story of training: learn a need from a city, measure it, gather the gate's evidence, log the run."""

from __future__ import annotations

import json
import math
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.digests import code_digest, environment_digest, sha256
from serving.home import Home, whole_folder
from serving.opening import folder_of, need_path, open_city_for, open_need
from serving.progress import Step, silent

if TYPE_CHECKING:
    import polars as pl

    from features.city import City
    from models.experiment import Experiment
    from models.need import Need


def train_need(
    home: Home, city_folder: str | Path, need: Path, seed: int = 0, step: Step = silent, by: str = "data scientist"
) -> dict[str, Any]:
    """Train a need's model (or write a rule), measure it, gather the gate's evidence and log the run.

    ``by`` is the role of whoever trains: the gate refuses an auditor who audits a model of her own.
    """
    from models.evidence import evidence_digest, gather_evidence, write_evidence
    from models.experiment import run_experiment
    from models.registry import log_run

    opened = open_need(home, need)
    city_folder = folder_of(city_folder)
    city = open_city_for(home, city_folder, opened, step)
    experiment = run_experiment(city, opened, home.objections, seed, step)
    step(f"{opened.id}: gathering evidence")
    recorded = {"policy": home.policy.digest, "code": code_digest(), "environment": environment_digest()}
    gathered = gather_evidence(
        experiment.model,
        experiment.judged,
        training=experiment.train_matrix,
        seen_in_training=experiment.seen_in_training,
        secret=home.tie_secret(opened.id),
        recorded=recorded,
        seed=seed,
        trained_by=by,
        households=_households(city, experiment.split.judged_dates[-1]),
    )
    step(f"{opened.id}: logging the run")
    with tempfile.TemporaryDirectory(dir=home.root) as scratch:
        draft = Path(scratch)
        write_evidence(draft, gathered)
        run_id = log_run(
            home.registry,
            experiment.model,
            figures={"test": experiment.metrics, "by_date": {str(day): f for day, f in experiment.by_date.items()}},
            parameters={"seed": seed, "split": experiment.split.kind, "judged": _days(experiment.split.judged_dates)},
            digests={
                **recorded,
                "city": city.digest,
                "test_matrix": experiment.judged.digest,
                "evidence": evidence_digest(draft),
            },
        )
        result = _trained(run_id, experiment, gathered.rows)
        record = {**result, **_whereabouts(city, city_folder, opened, need)}
        (draft / "run.json").write_text(json.dumps(record, ensure_ascii=False, indent=1), "utf-8")
        with whole_folder(home.runs / run_id) as folder:
            for file in draft.iterdir():
                file.rename(folder / file.name)
    home.audit_log.append("train", by, need=opened.id, run=run_id, model=experiment.model.digest)
    return result


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


def _trained(run_id: str, experiment: Experiment, rows: Any) -> dict[str, Any]:
    from models.evidence import duels

    need, split = experiment.need, experiment.split
    test: dict[str, Any] = {name: _estimate(figure) for name, figure in experiment.metrics.items()}
    test["by_date"] = {
        str(day): {name: _estimate(figure) for name, figure in figures.items()}
        for day, figures in experiment.by_date.items()
    }
    fought = [] if need.label is None else duels(rows, (need.capacity.k,), 0)
    return {
        "run_id": run_id,
        "need": need.id,
        "model_digest": experiment.model.digest,
        "train_as_of_dates": [str(day) for day in split.train_dates],
        "test_as_of_dates": [str(day) for day in split.test_dates],
        "judged_as_of_dates": [str(day) for day in split.judged_dates],
        "n_train": 0 if experiment.train_matrix is None else len(experiment.train_matrix.keys),
        "n_judged": len(experiment.judged.keys),
        "test": test,
        "duel": [
            {
                "rival": duel.rival,
                "k": duel.cut,
                "ours": number_or_null(duel.ours.value),
                "theirs": number_or_null(duel.theirs.value),
                "difference": number_or_null(duel.difference.value),
                "low": number_or_null(duel.difference.low),
                "high": number_or_null(duel.difference.high),
            }
            for duel in fought
        ],
    }


def _estimate(figure: Any) -> dict[str, float | None]:
    return {part: number_or_null(value) for part, value in figure._asdict().items()}


def number_or_null(value: float | None) -> float | None:
    """A figure as JSON can hold it: what was not measured is null."""
    return value if value is not None and math.isfinite(value) else None


def _days(days: tuple[date, ...]) -> str:
    return ", ".join(map(str, days))
