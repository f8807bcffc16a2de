"""Which models were trained, and which one is approved: the only user of MLflow.

What MLflow stores is a record, not a gate: tags and aliases can be changed by anyone who can write its database. So
approval recomputes the digest from the artefact's own bytes, and whoever uses the model does so again. No personal
data enter MLflow: parameters, figures, digests, the artefact and the need file only.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, Inconclusive, NotTrusted
from models.metrics import Estimate
from models.training import NeedModel, load_model

if TYPE_CHECKING:
    from ethics.signing import VerifiedVerdict
    from models.rule import RuleModel

CHAMPION = "champion"
_MODEL_FOLDER = "model"
_DIGEST = "digest."
_DEPTH = 4  # <need>/<run>/artifacts/model
_BUSY_SECONDS = 30
_BATCH = 100  # MLflow takes at most 100 parameters or tags, and 1000 metrics, in one call


@dataclass(frozen=True)
class Registry:
    """An open MLflow store; made by :func:`configure`."""

    client: Any
    artefacts: Path


@dataclass(frozen=True)
class ApprovedModel:
    """The approved model of a need: its artefact folder, and what was recorded about it."""

    folder: Path
    run_id: str
    version: int
    tags: Mapping[str, str]


def configure(uri: str, artefacts: Path) -> Registry:
    """Open (and on first use make) the store.

    Parameters
    ----------
    uri : str
        An SQLAlchemy address, e.g. ``sqlite:////srv/ennakko/mlflow.db``.
    artefacts : Path
        Local folder for the artefacts.

    Raises
    ------
    NotTrusted
        The SQLite file is damaged, or was left half-made by something else.
    """
    # Before MLflow is imported, and exactly so: it sends usage figures home otherwise.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    from alembic.util import CommandError
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    artefacts.mkdir(parents=True, exist_ok=True)
    file = _sqlite_file(uri)
    if file is not None and not _is_built(file):
        _build(file, artefacts.resolve())
    try:
        return Registry(MlflowClient(tracking_uri=uri, registry_uri=uri), artefacts.resolve())
    except (MlflowException, SQLAlchemyError, CommandError) as error:
        if file is None:
            raise
        wrong = f"cannot be opened by this version of MLflow ({type(error).__name__})"
        raise NotTrusted(Fault(str(file), wrong, "Restore it from the backup, or run: mlflow db upgrade")) from None


def log_run(
    registry: Registry,
    model: NeedModel | RuleModel,
    *,
    figures: Mapping[str, Any],
    parameters: Mapping[str, str | int | float],
    digests: Mapping[str, str],
) -> str:
    """Record a trained model (or a rule) as a run and as a new version of its need.

    Parameters
    ----------
    registry : Registry
    model : NeedModel or RuleModel
    figures : mapping
        Name → number, Estimate, or a further mapping: ``{"test": {"auc": Estimate(…)}}`` is recorded as
        ``test.auc.value``, ``test.auc.low`` and ``test.auc.high``; NaN is left out.
    parameters : mapping
        Further parameters, e.g. seed and split; those of the trees are taken from the model.
    digests : mapping
        Name → digest of what it was made of, recorded as tags ``digest.<name>``.

    Returns
    -------
    str
        Run id.

    Raises
    ------
    Exception
        Whatever logging raised; the run is then marked FAILED and no version is made.
    """
    client, need = registry.client, model.need
    run_id: str = client.create_run(_experiment(registry, need.id), tags={"need": need.id}).info.run_id
    try:
        tags = {"kind": need.kind, "digest.model": model.digest, "digest.need": need.digest}
        tags |= {f"digest.{name}": digest for name, digest in digests.items()}
        trees = model.facts["parameters"] if isinstance(model, NeedModel) else {}
        _log_batches(client, run_id, flat_figures(figures), {**trees, **parameters}, tags)
        with tempfile.TemporaryDirectory(dir=registry.artefacts) as scratch:
            folder = Path(scratch) / _MODEL_FOLDER
            model.save(folder)
            client.log_artifacts(run_id, str(folder), _MODEL_FOLDER)
        source = f"{client.get_run(run_id).info.artifact_uri}/{_MODEL_FOLDER}"
        if not client.search_registered_models(f"name = '{need.id}'"):
            client.create_registered_model(need.id)
        client.create_model_version(need.id, source, run_id, tags={"digest.model": model.digest})
    except BaseException:
        client.set_terminated(run_id, status="FAILED")
        raise
    client.set_terminated(run_id, status="FINISHED")
    return run_id


def flat_figures(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested figures with dotted names; see :func:`log_run`.

    >>> flat_figures({"by_date": {"2014-04-02": {"n": 3}}})
    {'by_date.2014-04-02.n': 3.0}
    """
    flat: dict[str, float] = {}
    for name, figure in figures.items():
        parts = figure._asdict() if isinstance(figure, Estimate) else figure
        if isinstance(parts, Mapping):
            flat |= flat_figures(parts, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = float(parts)
    return flat


def run_model(registry: Registry, run_id: str, expected_digest: str | None = None) -> NeedModel | RuleModel:
    """The model of a run, its files verified. Raises BadInput for an unknown run, NotTrusted for altered files."""
    return load_model(_version(registry, run_id)[1], expected_digest)


def logged_digests(registry: Registry, run_id: str) -> dict[str, str]:
    """The digests logged with a run, by name (``model``, ``need``, and those given to :func:`log_run`).

    Raises
    ------
    BadInput
        There is no such run with a model.
    """
    _version(registry, run_id)
    tags = registry.client.get_run(run_id).data.tags
    return {name.removeprefix(_DIGEST): value for name, value in tags.items() if name.startswith(_DIGEST)}


def approve(registry: Registry, verified: VerifiedVerdict, run_id: str, verdict_id: str) -> int:
    """Make the model of a run the one that is used, on the strength of a verified verdict about this very model.

    Recorded are the verdict's id and digest, never a path, so that a home can be moved or restored elsewhere.

    Returns
    -------
    int
        Version of the need's model.

    Raises
    ------
    TypeError
        ``verified`` is anything but a verdict that :func:`ethics.signing.verify` has passed.
    NotTrusted
        The verdict judges another model or need, or the artefact was altered.
    Inconclusive
        The model was measured on a split of persons, which never suffices.
    """
    from ethics.signing import VerifiedVerdict

    if not isinstance(verified, VerifiedVerdict):
        raise TypeError(f"approval needs a VerifiedVerdict, not {type(verified).__name__}")
    version, folder = _version(registry, run_id)
    verdict = verified.verdict
    model = load_model(folder, str(verdict.subject["model"]))
    need = model.need
    if verdict.need_id != need.id:
        wrong = f"judges '{verdict.need_id}', and run {run_id} is of '{need.id}'"
        raise NotTrusted(Fault(f"verdict {verdict_id}", wrong, "Approve the run that was judged"))
    refuse_person_split(model)
    client = registry.client
    for key, value in (("verdict", verdict_id), ("verdict_sha256", verified.envelope_sha256)):
        client.set_model_version_tag(need.id, str(version), key, value)
    client.set_registered_model_alias(need.id, CHAMPION, str(version))
    return version


def refuse_person_split(model: NeedModel | RuleModel) -> None:
    """A split of persons looks back from the future: it may be measured, never approved. Raises Inconclusive."""
    splits = model.need.splits
    if splits is not None and splits.kind == "person":
        wrong = 'is "person", which shows what a model could do at best and says nothing about a later date'
        raise Inconclusive(Fault(f"{model.need.id}.toml: splits.kind", wrong, 'Train with kind = "temporal"'))


def approved_model(registry: Registry, need_id: str) -> ApprovedModel:
    """The model last approved for a need.

    Its files are verified when they are loaded, against the digest in the verdict.

    Raises
    ------
    NotTrusted
        Nothing is approved for the need.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = registry.client.get_model_version_by_alias(need_id, CHAMPION)
    except MlflowException:
        wrong = f"no model of '{need_id}' is approved"
        mend = "Train it, judge the run, sign the verdict and approve it"
        raise NotTrusted(Fault("registry", wrong, mend)) from None
    return ApprovedModel(_local(registry, found.source), found.run_id, int(found.version), dict(found.tags))


def approved_needs(registry: Registry) -> tuple[str, ...]:
    """Ids of the needs that have an approved model, sorted."""
    found = registry.client.search_registered_models()
    return tuple(sorted(model.name for model in found if CHAMPION in (model.aliases or {})))


def find_version(registry: Registry, need_id: str, model_digest: str) -> tuple[str, Path]:
    """Run and artefact folder of the model with a digest; the latest, where it was trained twice alike.

    Raises
    ------
    NotTrusted
        No run of this home made such a model.
    """
    versions = registry.client.search_model_versions(f"name = '{need_id}'") if need_id.isidentifier() else []
    same = [version for version in versions if version.tags.get("digest.model") == model_digest]
    if not same:
        wrong = f"no run of '{need_id}' made the model {model_digest[:12]}… that was judged"
        raise NotTrusted(Fault("model", wrong, "Use the home in which it was trained"))
    latest = max(same, key=lambda version: int(version.version))
    return str(latest.run_id), _local(registry, latest.source)


def _experiment(registry: Registry, need_id: str) -> str:
    """The need's experiment. It holds its folder for good, so a home that was moved begins another."""
    location = (registry.artefacts / need_id).as_uri()
    for name in (need_id, f"{need_id} {sha256(location.encode())[:12]}"):
        found = registry.client.get_experiment_by_name(name)
        if found is None:
            return str(registry.client.create_experiment(name, artifact_location=location))
        if found.artifact_location == location:
            break
    return str(found.experiment_id)


def _log_batches(
    client: Any,
    run_id: str,
    metrics: Mapping[str, float],
    parameters: Mapping[str, str | int | float],
    tags: Mapping[str, str],
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    # Figures belong to the run, not to a moment; MLflow wants one all the same.
    figures = [Metric(name, value, 0, 0) for name, value in metrics.items() if math.isfinite(value)]
    settings = [Param(name, str(value)) for name, value in parameters.items()]
    marks = [RunTag(name, value) for name, value in tags.items()]
    for batch in _batches(figures):
        client.log_batch(run_id, metrics=batch)
    for batch in _batches(settings):
        client.log_batch(run_id, params=batch)
    for batch in _batches(marks):
        client.log_batch(run_id, tags=batch)


def _batches(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _version(registry: Registry, run_id: str) -> tuple[int, Path]:
    """Version number and artefact folder of a run."""
    versions = registry.client.search_model_versions(f"run_id = '{run_id}'") if run_id.isalnum() else []
    if not versions:
        mend = "Give the run_id that train printed"
        raise BadInput(Fault("run", f"'{run_id}' is not a finished run with a model", mend))
    return int(versions[0].version), _local(registry, versions[0].source)


def _local(registry: Registry, source: str) -> Path:
    """The folder MLflow recorded, in this home: after a move or a copy, the same folder below its own artefacts."""
    recorded = Path(unquote(urlparse(source).path))
    if recorded.is_relative_to(registry.artefacts):
        return recorded
    own = registry.artefacts.joinpath(*recorded.parts[-_DEPTH:]).resolve()
    return own if own.is_relative_to(registry.artefacts) and own.is_dir() else recorded


def _sqlite_file(uri: str) -> Path | None:
    from sqlalchemy.engine import make_url

    url = make_url(uri) if uri.startswith("sqlite") else None
    if url is None or not url.database or url.database.startswith((":memory:", "file:")):
        return None
    return Path(url.database).absolute()


def _is_built(file: Path) -> bool:
    """Whether a SQLite file holds anything; a damaged one is refused."""
    if not file.exists():
        return False
    try:
        # Not read-only: what a writer that was killed left half-written has to be taken back first.
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)) as database:
            said = database.execute("PRAGMA quick_check(1)").fetchone()
            tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:  # e.g. locked for too long
        mend = "Try again; if that does not help, restore it from the backup"
        raise NotTrusted(Fault(str(file), f"cannot be opened: {error}", mend)) from None
    except sqlite3.DatabaseError:
        said, tables = ("damaged",), (0,)
    if said != ("ok",):
        mend = "Restore it from the backup; the models themselves are in the folder of artefacts"
        raise NotTrusted(Fault(str(file), "is damaged: SQLite cannot read it", mend))
    return bool(tables[0])


def _build(file: Path, artefacts: Path) -> None:
    """Make MLflow's tables in a draft and give it its name when it is whole.

    MLflow makes them step by step, each step for good: a process that is killed among them, or a second one that
    starts, would leave a database that no later process can open.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_built(file):
            return
        draft = file.with_name(f".{file.name}.draft")
        for left in file.parent.glob(f"{draft.name}*"):  # by a process that was killed
            left.unlink()
        SqlAlchemyStore(f"sqlite:///{draft}", artefacts.as_uri()).engine.dispose()
        draft.replace(file)
