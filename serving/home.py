"""The home of all state: which folder holds what, and the registers kept in its database."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, NotTrusted
from serving.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sqlalchemy import Engine

    from ethics.audit_log import AuditLog
    from ethics.keys import KeyRing
    from ethics.objections import ObjectionRegister
    from ethics.policy import Policy
    from ethics.stop_switch import StopSwitch
    from models.benefit import EvidenceTable, KeptTrial
    from models.tracking import Registry
    from scoring.store import Store

VERDICT, CELLS, REPORT = "verdict.json", "cells.parquet", "report.html"
MODEL_DIGITS = 16
"""Of a model's digest, in the name of its folder of attestations."""
_RECORDED = frozenset({"need_id", "need_file", "city", "units", "invented", "groups_sha256"})
DEFAULT_POLICY = Path(__file__).resolve().parent.parent / "ethics" / "policy.toml"


class Home:
    """Everything Ennakko remembers: one folder, and a database that may stand elsewhere.

    Parameters
    ----------
    settings : Settings
        Where the folder, the database and MLflow are, and which policy is obeyed.
    impatient : bool
        For a service, whose callers wait: a statement or a lock that takes long is given up (PostgreSQL).

    Raises
    ------
    BadInput
        The folder cannot be made, or is none.
    """

    def __init__(self, settings: Settings, *, impatient: bool = False) -> None:
        self.settings = settings
        self._impatient = impatient
        self.root = settings.home
        self.runs = self.root / "runs"
        self.verdicts = self.root / "verdicts"
        self.attestations = self.root / "attestations"
        self.scores = self.root / "scores"
        self.lists = self.root / "lists"
        self.mlflow_artefacts = self.root / "mlartifacts"
        self.trials = self.root / "trials"
        self.tombstones = self.root / "tombstones.txt"
        self.effects_path = self.root / "effects.toml"
        self.signed_policy_path = self.root / "policy" / "policy.json"
        own = self.signed_policy_path if self.signed_policy_path.exists() else DEFAULT_POLICY
        self.policy_path = settings.policy or own
        self.trust_path = self.root / "keys" / "trust.json"
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            wrong = f"is '{self.root}', which cannot be a home: {error.strerror}"
            raise BadInput(Fault("--home", wrong, "Give a folder that you may write to")) from None

    @cached_property
    def engine(self) -> Engine:
        """The database of the registers."""
        return self.settings.engine(impatient=self._impatient)

    @cached_property
    def policy(self) -> Policy:
        """The policy this home obeys: an envelope that its officers have signed, or a TOML that is no looser."""
        from ethics.policy import Policy
        from ethics.policy_envelope import is_envelope, read_policy

        path = self.policy_path
        content = path.read_bytes() if path.is_file() else b""
        if not is_envelope(content):
            return Policy.load(path)
        return read_policy(content, str(path), self.key_ring.trust(), datetime.now(UTC))

    @property
    def effects(self) -> EvidenceTable | None:
        """The published effects this city relies on (``effects.toml``), read now; None where it has none."""
        from models.benefit import load_evidence_table

        return load_evidence_table(self.effects_path) if self.effects_path.exists() else None

    def trial_path(self, need_id: str) -> Path:
        """Where a trial of a need's action is kept."""
        return self.trials / f"{need_id}.json"

    def trial_of(self, need_id: str) -> KeptTrial | None:
        """What ``ennakko uplift --need`` kept of a trial of the need's action; None where there is none.

        Raises
        ------
        NotTrusted
            The file is not what was written.
        """
        from models.benefit import KeptTrial
        from models.metrics import Estimate

        path = self.trial_path(need_id)
        if not path.exists():
            return None
        try:
            kept = json.loads(path.read_text("utf-8"))
            return KeptTrial(Estimate(**kept["average"]), kept["shows_benefit"] is True)
        except (ValueError, KeyError, TypeError):
            mend = "Judge the trial again: ennakko uplift FILE --need …"
            raise NotTrusted(Fault(str(path), "cannot be read as a trial", mend)) from None

    @cached_property
    def objections(self) -> ObjectionRegister:
        """Who has objected to what.

        The key and the register are begun together and never apart: a new key beside an old register, or a new
        register beside an old key, would list every objector. The key gets its name last, so a process that was
        killed between is finished by the next.
        """
        from ethics.objections import ObjectionRegister

        key, draft = self.settings.secret_path("objections"), self.settings.secret_path("objections-begun")
        if not key.exists():
            with locked(key.with_name(".objections.lock")):
                is_begun = ObjectionRegister.is_begun(self.engine)
                if not key.exists() and not (is_begun and not draft.exists()):
                    register = ObjectionRegister(self.engine, self.settings.secret(draft.stem), self._erased)
                    draft.rename(key)
                    return register
        secret = self.settings.secret("objections", make=False)
        if not ObjectionRegister.is_begun(self.engine):
            where = "the database" if self.settings.database_url else self.settings.database.removeprefix("sqlite:///")
            wrong = f"holds no objection register, though its key is there ({key}): every objector would be listed"
            mend = f"Restore the database from the backup; only if nobody had objected yet, move {key.name} away"
            raise NotTrusted(Fault(where, wrong, mend))
        return ObjectionRegister(self.engine, secret, self._erased)

    def _erased(self, person_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Who was erased; nobody while there is no store."""
        import numpy as np

        if not self.is_store_begun:
            return np.zeros(len(person_ids), dtype=bool)
        return self.store.is_erased(person_ids)

    def n_erased(self) -> int:
        """How many people were erased; nobody while there is no store."""
        return self.store.n_erased() if self.is_store_begun else 0

    @property
    def is_store_begun(self) -> bool:
        """Whether there is a store, or its key: then somebody may have been erased."""
        from scoring.store_opening import is_begun

        return self.settings.secret_path("people").exists() or is_begun(self.engine)

    @cached_property
    def store(self) -> Store:
        """Scores, lists, and what came of them.

        Its keys and tables are begun together and never apart, as with objections: under a new key nobody would be
        found again and the erased would be listed. The people key gets its name last.
        """
        from scoring.store import Store, StoreKeys
        from scoring.store_opening import is_begun

        settings, names = self.settings, ("tombstones", "people")
        keys, drafts = ({n: settings.secret_path(f"{n}{end}") for n in names} for end in ("", "-begun"))
        if not keys["people"].exists():
            with locked(keys["people"].with_name(".store.lock")):
                if not keys["people"].exists() and not (is_begun(self.engine) and not drafts["people"].exists()):
                    begun = {n: settings.secret(n if keys[n].exists() else drafts[n].stem) for n in names}
                    store = Store(self.engine, StoreKeys(**begun), self.tombstones)
                    for name in names:
                        if not keys[name].exists():
                            drafts[name].rename(keys[name])
                    return store
        secrets = {name: settings.secret(name, make=False) for name in names}
        if not is_begun(self.engine):
            where = "the database" if settings.database_url else settings.database.removeprefix("sqlite:///")
            wrong = f"holds no store, though its key is there ({keys['people']}): nobody listed would be found"
            mend = "Restore the database from the backup; only if nothing was listed yet, move people.key away"
            raise NotTrusted(Fault(where, wrong, mend))
        return Store(self.engine, StoreKeys(**secrets), self.tombstones)

    @cached_property
    def audit_log(self) -> AuditLog:
        """Who did what."""
        from ethics.audit_log import AuditLog

        return AuditLog(self.engine, head_path=self.root / "audit_head.json")

    @cached_property
    def registry(self) -> Registry:
        """The MLflow store."""
        from models.tracking import configure

        return configure(self.settings.mlflow, self.mlflow_artefacts, impatient=self._impatient)

    @cached_property
    def key_ring(self) -> KeyRing:
        """Private keys, and the public keys this home trusts."""
        from ethics.keys import KeyRing

        return KeyRing(self.root / "keys")

    @cached_property
    def stop_switch(self) -> StopSwitch:
        """While it is set, no score leaves."""
        from ethics.stop_switch import StopSwitch

        return StopSwitch(self.root / "stop")

    def tie_secret(self, need_id: str) -> bytes:
        """The need's secret, by which equal scores are put in order."""
        return self.settings.secret(f"need-{need_id}")

    def attestation_folder(self, need_id: str, model_digest: str) -> Path:
        """An attestation binds one model, so each model has its own folder: what has expired troubles no other."""
        return self.attestations / need_id / model_digest[:MODEL_DIGITS]

    def run_record(self, run_id: str) -> dict[str, Any]:
        """What training recorded about a run: its city, need file, units and dates.

        Raises
        ------
        BadInput
            There is no such run.
        NotTrusted
            Its record is damaged.
        """
        known = sorted(path.parent.name for path in self.runs.glob("[!.]*/run.json"))
        if run_id not in known:
            mend = f"Give one of: {', '.join(known[-5:])}" if known else "Train a need first"
            raise BadInput(Fault("--run", f"'{run_id}' is not a finished run of this home", mend))
        path = self.runs / run_id / "run.json"
        try:
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
            damage = "lacks what training records" if not record.keys() >= _RECORDED else ""
        except (OSError, ValueError, AttributeError) as error:
            damage = f"cannot be read ({type(error).__name__})"
        if damage:
            raise NotTrusted(Fault(str(path), damage, "Restore it from the backup, or train again"))
        return record

    @contextmanager
    def in_use(self, *, alone: bool = False, wait: bool = True) -> Iterator[None]:
        """Commands that write work side by side; ``alone`` waits until they have ended, and keeps others waiting.

        Erasing works alone: what another command had read before would otherwise be written after. It is the folder
        itself that is locked, so nothing is left in it.

        Raises
        ------
        BlockingIOError
            Without ``wait``, where it would have to.
        """
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process (and thread) at a time; the lock ends with its holder, even a killed one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that appears at ``target`` whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield draft
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
