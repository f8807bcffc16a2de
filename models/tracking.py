"""The MLflow store: opening it, and recording runs in it.

What MLflow stores is a record, not a gate: tags and aliases can be changed by anyone who can write its database. So
approval recomputes the digest from the artefact's own bytes, and whoever uses the model does so again. No personal
data enter MLflow: parameters, figures, aggregates, digests, the artefact and the need file only.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from ethics.digests import environment, sha256
from ethics.refusals import Fault, NotTrusted
from models.run_lock import abandoned, held, taken
from models.run_record import ChildRun, DatasetFacts, RunRecord, flat_figures
from models.sqlite_file import file_of, is_built
from models.training import NeedModel

if TYPE_CHECKING:
    from models.need import Need
    from models.rule import RuleModel

CANDIDATE = "candidate"
MODEL_FOLDER = "model"
PART = "part"
_HOLDER = "held_by"
_PARENT = "mlflow.parentRunId"
_RUN_NAME = "mlflow.runName"
_NOTE = "mlflow.note.content"
_BATCH = 100  # MLflow takes at most 100 parameters or tags, and 1000 metrics, in one call
_METRIC_BATCH = 1000
_LONGEST_DIGEST = 36  # of a dataset, by MLflow's own limit
_LONGEST_NOTE = 5000


@dataclass(frozen=True)
class Registry:
    """An open MLflow store; made by :func:`configure`."""

    client: Any
    artefacts: Path


_IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""How long a service waits for an MLflow server: MLflow itself would wait for minutes, seven times over."""


def configure(uri: str, artefacts: Path, *, impatient: bool = False) -> Registry:
    """Open (and on first use make) the store.

    Parameters
    ----------
    uri : str
        An SQLAlchemy address, e.g. ``sqlite:////srv/ennakko/mlflow.db``.
    artefacts : Path
        Local folder for the artefacts.
    impatient : bool
        For a service: an MLflow server that is silent is asked twice, for two seconds each, by this whole process.

    Raises
    ------
    NotTrusted
        The SQLite file is damaged, or was left half-made by something else.
    """
    # Before MLflow is imported, and exactly so: it sends usage figures home otherwise.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    if impatient:
        os.environ.update(_IMPATIENT)
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    from alembic.util import CommandError
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    artefacts.mkdir(parents=True, exist_ok=True)
    file = file_of(uri)
    if file is not None and not is_built(file):
        _build(file, artefacts.resolve())
    try:
        return Registry(MlflowClient(tracking_uri=uri, registry_uri=uri), artefacts.resolve())
    except (MlflowException, SQLAlchemyError, CommandError) as error:
        if file is None:
            raise
        wrong = f"cannot be opened by this version of MLflow ({type(error).__name__})"
        raise NotTrusted(Fault(str(file), wrong, "Restore it from the backup, or run: mlflow db upgrade")) from None


# ---- runs ----------------------------------------------------------------------------------------------------------


@contextmanager
def run_under_way(
    registry: Registry, need_id: str, name: str = "", tags: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A run that MLflow shows as running while the block lasts; :func:`log_run` fills and finishes it.

    A block that ends otherwise leaves the run FAILED, or KILLED if somebody stopped it. A process that dies leaves it
    RUNNING; the next run that begins marks it, and its children, KILLED, and clears away what it was writing. Whether
    a process still lives is told by a lock it holds on a file, which ends with its holder: neither a process id used
    again nor a restart misleads it.

    Parameters
    ----------
    need_id : str
        The need, whose experiment the run belongs to.
    name : str
        As the list of runs shows it; MLflow invents one if it is empty.
    tags : mapping, optional

    Yields
    ------
    str
        Run id.
    """
    end_dead_runs(registry)
    clear_drafts(registry, registry.artefacts)
    with held(_locks(registry)) as holder:
        marks = {"need": need_id, _HOLDER: holder, **(tags or {})}
        experiment = _experiment(registry, need_id)
        run_id: str = registry.client.create_run(experiment, tags=marks, run_name=name or None).info.run_id
        try:
            yield run_id
        except BaseException as error:
            _end(registry, run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        if _status(registry, run_id) == "RUNNING":
            _end(registry, run_id, "FAILED")


def end_dead_runs(registry: Registry) -> tuple[str, ...]:
    """Mark the runs of processes that are dead as KILLED, with their children; the ids of those that were RUNNING.

    Runs begun by anything but :func:`run_under_way` are left alone.
    """
    client = registry.client
    experiments = [found.experiment_id for found in client.search_experiments() if _is_own(registry, found)]
    ended = []
    for run in _all_runs(client, experiments, "attributes.status = 'RUNNING'"):
        holder = run.data.tags.get(_HOLDER, "")
        if not holder.isalnum():
            continue  # begun by something else
        with taken(_locks(registry), holder) as is_dead:
            # Read again under the lock: it may have finished since it was found.
            if is_dead and _status(registry, run.info.run_id) == "RUNNING":
                _end(registry, run.info.run_id, "KILLED")
                ended.append(str(run.info.run_id))
    return tuple(ended)


def clear_drafts(registry: Registry, folder: Path) -> tuple[Path, ...]:
    """Remove what dead processes were writing in a folder: folders called ``.<run id>.<anything>``; returns them.

    A run that has ended may still be about to give its draft a name, so what counts is whether its process lives.
    Drafts of runs that this store does not know, or that :func:`run_under_way` did not begin, are left alone.
    """
    from mlflow.exceptions import MlflowException

    def holder_of(run_id: str) -> str:
        try:
            return str(registry.client.get_run(run_id).data.tags.get(_HOLDER, ""))
        except MlflowException:
            return ""

    return abandoned(folder, _locks(registry), holder_of)


def log_run(
    registry: Registry,
    model: NeedModel | RuleModel,
    *,
    figures: Mapping[str, Any],
    parameters: Mapping[str, str | int | float],
    digests: Mapping[str, str],
    record: RunRecord | None = None,
    run_id: str | None = None,
) -> str:
    """Record a trained model (or a rule) as a run, and as a new version of its need, which is then the candidate.

    A model measured on a split of persons can never be approved, so it is no candidate.

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
    record : RunRecord, optional
        Curves, tables, plots, files, datasets and child runs.
    run_id : str, optional
        A run begun by :func:`run_under_way`; a new one if left out.

    Returns
    -------
    str
        Run id.

    Raises
    ------
    Exception
        Whatever logging raised; the run is then marked FAILED and no version is made.
    """
    record = record or RunRecord()
    under_way = nullcontext(run_id) if run_id else run_under_way(registry, model.need.id, record.name)
    with under_way as own_id:
        assert own_id is not None
        _log(registry, own_id, model, figures, parameters, digests, record)
        _register(registry, own_id, model, record)
    return own_id


def _log(
    registry: Registry,
    run_id: str,
    model: NeedModel | RuleModel,
    figures: Mapping[str, Any],
    parameters: Mapping[str, str | int | float],
    digests: Mapping[str, str],
    record: RunRecord,
) -> None:
    client, need = registry.client, model.need
    tags = {"kind": need.kind, "digest.model": model.digest, "digest.need": need.digest}
    tags |= {f"digest.{name}": digest for name, digest in digests.items()}
    if record.description:
        tags[_NOTE] = record.description[:_LONGEST_NOTE]
    if record.name:
        tags[_RUN_NAME] = record.name
    trees = model.facts["parameters"] if isinstance(model, NeedModel) else {}
    # Figures belong to the run, not to a moment; MLflow wants one all the same.
    points = [(name, 0, value) for name, value in flat_figures(figures).items()] + record.points()
    _log_batches(client, run_id, points, {**trees, **parameters}, tags)
    if record.datasets:
        client.log_inputs(run_id, [_dataset_input(data, need.id, digests.get("city", "")) for data in record.datasets])
    for child in record.children:
        _log_child(registry, run_id, need.id, child)
    with tempfile.TemporaryDirectory(prefix=f".{run_id}.", dir=registry.artefacts) as scratch:
        folder = Path(scratch) / "artefacts"
        model.save(folder / MODEL_FOLDER)
        _describe_for_mlflow(folder / MODEL_FOLDER, run_id, model)
        for name, content in record.artefacts().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        client.log_artifacts(run_id, str(folder))


def _register(registry: Registry, run_id: str, model: NeedModel | RuleModel, record: RunRecord) -> None:
    """A new version of the need, the end of the run, and last the alias: it never names what is not finished."""
    client, need_id = registry.client, model.need.id
    source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
    if not client.search_registered_models(f"name = '{need_id}'"):
        client.create_registered_model(need_id)
    tags, said = {"digest.model": model.digest}, record.description[:_LONGEST_NOTE] or None
    version = client.create_model_version(need_id, source, run_id, tags=tags, description=said).version
    client.set_terminated(run_id, status="FINISHED")
    if not of_person_split(model.need):
        client.set_registered_model_alias(need_id, CANDIDATE, str(version))


def of_person_split(need: Need) -> bool:
    """Whether a need is tested on other persons instead of a later date, which never suffices for approval."""
    return need.splits is not None and need.splits.kind == "person"


def _log_child(registry: Registry, parent: str, need_id: str, child: ChildRun) -> None:
    client = registry.client
    tags = {"need": need_id, _PARENT: parent, PART: child.part}
    experiment = _experiment(registry, need_id)
    run_id = client.create_run(experiment, tags=tags, run_name=child.name).info.run_id
    points = [(name, 0, value) for name, value in flat_figures(child.figures).items()]
    _log_batches(client, run_id, points, child.parameters, {})
    client.set_terminated(run_id, status="FINISHED")


def _end(registry: Registry, run_id: str, status: str) -> None:
    """End a run that came to nothing, and its children with it: they are no results either."""
    client = registry.client
    experiment = client.get_run(run_id).info.experiment_id
    for child in _all_runs(client, [experiment], f"tags.`{_PARENT}` = '{run_id}'"):
        client.set_terminated(child.info.run_id, status=status)
    client.set_terminated(run_id, status=status)


def _status(registry: Registry, run_id: str) -> str:
    return str(registry.client.get_run(run_id).info.status)


def _all_runs(client: Any, experiments: Sequence[str], wanted: str) -> Iterator[Any]:
    token = None
    while experiments:
        page = client.search_runs(list(experiments), wanted, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


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


def _is_own(registry: Registry, experiment: Any) -> bool:
    """Whether an experiment keeps its files here: of another home's runs nothing here tells who lives."""
    return Path(unquote(urlparse(experiment.artifact_location).path)).is_relative_to(registry.artefacts)


def _locks(registry: Registry) -> Path:
    return registry.artefacts / ".running"


def _log_batches(
    client: Any,
    run_id: str,
    points: Sequence[tuple[str, int, float]],
    parameters: Mapping[str, str | int | float],
    tags: Mapping[str, str],
) -> None:
    """Write figures (name, step, value), parameters and tags in as few calls as MLflow allows."""
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(name, value, 0, step) for name, step, value in points if math.isfinite(value)]
    settings = [Param(name, str(value)) for name, value in parameters.items()]
    marks = [RunTag(name, value) for name, value in tags.items()]
    for batch in _batches(metrics, _METRIC_BATCH):
        client.log_batch(run_id, metrics=batch)
    for first, second in _pairs(settings, marks):
        client.log_batch(run_id, params=first, tags=second)


def _pairs(settings: list[Any], marks: list[Any]) -> Iterable[tuple[list[Any], list[Any]]]:
    """Parameters and tags side by side, as many of each as one call takes."""
    longest = max(len(settings), len(marks))
    return ((settings[at : at + _BATCH], marks[at : at + _BATCH]) for at in range(0, longest, _BATCH))


def _batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


# ---- what MLflow itself reads --------------------------------------------------------------------------------------


def _dataset_input(data: DatasetFacts, need_id: str, city: str) -> Any:
    """A matrix as MLflow shows the inputs of a run: its digest, its columns and its size."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile: dict[str, Any] = {"num_rows": data.n_rows, "num_persons": data.n_persons}
    profile |= {"as_of_dates": list(data.as_of_dates), "sha256": data.digest}
    if data.n_in_need is not None:
        profile |= {"num_in_need": data.n_in_need, "num_outcome_unknown": data.n_unknown}
    dataset = Dataset(
        name=f"{need_id} {data.name}",
        digest=data.digest[:_LONGEST_DIGEST],
        source_type="ennakko city",
        source=json.dumps({"city_sha256": city}),
        schema=json.dumps({"mlflow_colspec": [{"type": "float", "name": name} for name in data.columns]}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", data.name)])


def _describe_for_mlflow(folder: Path, run_id: str, model: NeedModel | RuleModel) -> None:
    """Write beside the artefact what ``mlflow.pyfunc.load_model`` reads; the artefact's manifest takes no notice.

    Signature, environment and loader are said outright: what MLflow would infer costs seconds and may be wrong.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    versions = environment()
    python = versions.pop("python")
    answer = "probability" if isinstance(model, NeedModel) else "rank_score"
    signature = ModelSignature(
        Schema([ColSpec("double", name) for name in model.columns]), Schema([ColSpec("double", answer)])
    )
    said = Model(run_id=run_id, artifact_path=MODEL_FOLDER, signature=signature)
    said.add_flavor(
        "python_function",
        loader_module="models.pyfunc_loader",
        python_version=python,
        env={"virtualenv": "python_env.yaml"},
    )
    said.save(folder / "MLmodel")
    pinned = "".join(f"{name}=={version}\n" for name, version in versions.items())
    (folder / "requirements.txt").write_text(f"# The five packages of Ennakko itself are not on an index.\n{pinned}")
    (folder / "python_env.yaml").write_text(f"python: {python}\ndependencies:\n- -r requirements.txt\n")


# ---- the file of the store -----------------------------------------------------------------------------------------


def _build(file: Path, artefacts: Path) -> None:
    """Make MLflow's tables in a draft and give it its name when it is whole.

    MLflow makes them step by step, each step for good: a process that is killed among them, or a second one that
    starts, would leave a database that no later process can open.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_built(file):
            return
        draft = file.with_name(f".{file.name}.draft")
        for left in file.parent.glob(f"{draft.name}*"):  # by a process that was killed
            left.unlink()
        SqlAlchemyStore(f"sqlite:///{draft}", artefacts.as_uri()).engine.dispose()
        draft.replace(file)
