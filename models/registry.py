"""Versions of the models of each need, and the names that point to one of them: candidate, champion, shadow.

An alias is a pointer, not a gate: anyone who can write MLflow's database can move it. So approval recomputes the digest
from the artefact's own bytes, and whoever uses the model does so again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from ethics.refusals import BadInput, Fault, Inconclusive, NotTrusted
from models.tracking import Registry
from models.training import NeedModel, load_model

if TYPE_CHECKING:
    from ethics.signing import VerifiedVerdict
    from models.rule import RuleModel

CHAMPION = "champion"
SHADOW = "shadow"
_DIGEST = "digest."
_POINTS_NOWHERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How MLflow says that there is no such model, or no such alias; anything else is no answer."""
_DEPTH = 4  # <need>/<run>/artifacts/model


class RegistrySilent(NotTrusted):
    """The registry does not answer now: which model is approved is not known, which is not that none is."""


@dataclass(frozen=True)
class ApprovedModel:
    """The approved model of a need: its artefact folder, and what was recorded about it."""

    folder: Path
    run_id: str
    version: int
    tags: Mapping[str, str]


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


def record_evidence(registry: Registry, run_id: str, digest: str) -> None:
    """Log what a run's evidence is now, after somebody was erased from it; the audit log keeps what it was before.

    Raises
    ------
    BadInput
        There is no such run with a model.
    """
    _version(registry, run_id)
    registry.client.set_tag(run_id, f"{_DIGEST}evidence", digest)


def experiment_name(registry: Registry, run_id: str) -> str:
    """Name of the experiment that a run stands in: the need's, or another where the home was moved."""
    experiment = registry.client.get_run(run_id).info.experiment_id
    return str(registry.client.get_experiment(experiment).name)


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


def set_shadow(registry: Registry, need_id: str, run_id: str) -> int:
    """Let the model of a run be the need's shadow: it may be watched beside the champion, and serves no score.

    No verdict is asked for, since nobody is listed by it; nothing that scores ever reads this alias.

    Returns
    -------
    int
        Version of the need's model.

    Raises
    ------
    BadInput
        The run is unknown, or of another need.
    NotTrusted
        The artefact was altered.
    """
    version, folder = _version(registry, run_id)
    model = load_model(folder)
    if model.need.id != need_id:
        wrong = f"run {run_id} is of '{model.need.id}', not of '{need_id}'"
        raise BadInput(Fault("run", wrong, "Give a run of this need"))
    registry.client.set_registered_model_alias(need_id, SHADOW, str(version))
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
    RegistrySilent
        The registry does not tell now.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = registry.client.get_model_version_by_alias(need_id, CHAMPION)
    except MlflowException as error:
        if error.error_code not in _POINTS_NOWHERE:
            raise _silent(error.error_code) from None
        wrong = f"no model of '{need_id}' is approved"
        mend = "Train it, judge the run, sign the verdict and approve it"
        raise NotTrusted(Fault("registry", wrong, mend)) from None
    return ApprovedModel(_local(registry, found.source), found.run_id, int(found.version), dict(found.tags))


def approved_pointer(registry: Registry, need_id: str) -> tuple[str, ...]:
    """What is another whenever another model, or another verdict, is approved for a need; empty where nothing is.

    For whoever looks often: no file is read.

    Raises
    ------
    RegistrySilent
        The registry does not answer now.
    """
    return _pointer(registry, need_id, CHAMPION, ("verdict", "verdict_sha256"))


def shadow_model(registry: Registry, need_id: str) -> NeedModel | RuleModel | None:
    """The model that is watched beside the champion, its files verified; None where there is none.

    Raises
    ------
    NotTrusted
        Its files are not those that were trained.
    """
    if not _pointer(registry, need_id, SHADOW, ()):
        return None
    found = registry.client.get_model_version_by_alias(need_id, SHADOW)
    return load_model(_local(registry, found.source), str(found.tags.get("digest.model", "")))


def shadow_pointer(registry: Registry, need_id: str) -> tuple[str, ...]:
    """As :func:`approved_pointer`, of the shadow."""
    return _pointer(registry, need_id, SHADOW, ("digest.model",))


def end_shadow(registry: Registry, need_id: str) -> bool:
    """Watch no model beside the champion any more; False where none was."""
    if not _pointer(registry, need_id, SHADOW, ()):
        return False
    registry.client.delete_registered_model_alias(need_id, SHADOW)
    return True


def _pointer(registry: Registry, need_id: str, alias: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Version, run and some tags of what an alias points to; empty where it points to nothing."""
    from mlflow.exceptions import MlflowException

    try:
        found = registry.client.get_model_version_by_alias(need_id, alias)
    except MlflowException as error:
        if error.error_code in _POINTS_NOWHERE:
            return ()
        raise _silent(error.error_code) from None
    return str(found.version), str(found.run_id), *(str(found.tags.get(name, "")) for name in tags)


def _silent(error_code: str) -> RegistrySilent:
    mend = "See that the database or server of MLflow (ENNAKKO_MLFLOW_URI) runs, and try again"
    return RegistrySilent(Fault("registry", f"does not answer ({error_code})", mend))


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
