"""The home of all state: which folder holds what, and the registers kept in its database."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from serving.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ethics.audit_log import AuditLog
    from ethics.gate import Policy
    from ethics.keys import KeyRing
    from ethics.objections import ObjectionRegister
    from ethics.stop_switch import StopSwitch

DEFAULT_POLICY = Path(__file__).resolve().parent.parent / "ethics" / "policy.toml"


class Home:
    """Everything Ennakko remembers: one folder, and a database that may stand elsewhere.

    Parameters
    ----------
    settings : Settings
        Where the folder, the database and MLflow are, and which policy is obeyed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = settings.home
        self.runs = self.root / "runs"
        self.verdicts = self.root / "verdicts"
        self.attestations = self.root / "attestations"
        self.scores = self.root / "scores"
        self.lists = self.root / "lists"
        self.mlflow_artefacts = self.root / "mlartifacts"
        self.policy_path = settings.policy or DEFAULT_POLICY
        self.trust_path = self.root / "keys" / "trust.json"
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    @cached_property
    def engine(self) -> Engine:
        """The database of the registers."""
        return self.settings.engine()

    @cached_property
    def policy(self) -> Policy:
        """The policy this home obeys."""
        from ethics.gate import Policy

        return Policy.load(self.policy_path)

    @cached_property
    def objections(self) -> ObjectionRegister:
        """Who has objected to what."""
        from ethics.objections import ObjectionRegister

        return ObjectionRegister(self.engine, self.settings.secret("objections"))

    @cached_property
    def audit_log(self) -> AuditLog:
        """Who did what."""
        from ethics.audit_log import AuditLog

        return AuditLog(self.engine)

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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
