"""Keys that sign and keys that are trusted: Ed25519, each with a role, a holder and dates."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, field_validator

from ethics.policy import ROLES
from ethics.refusals import BadInput, Fault, NotTrusted, did_you_mean, faults_of
from ethics.whole_file import write_whole

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

DEMONSTRATION_DAYS = 7
_OTHERS_MAY_READ = 0o077


class TrustedKey(BaseModel):
    """A public key the city trusts: whose, in which role, from when to when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    public: str
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    demonstration: bool
    name: str

    @field_validator("role")
    @classmethod
    def _role_exists(cls, role: str) -> str:
        if role not in ROLES:
            raise ValueError(f"no such role | {did_you_mean(role, ROLES)}")
        return role

    def verifier(self, keyid: str) -> SSlibKey:
        """The key as the signature library takes it."""
        from securesystemslib.signer import SSlibKey

        return SSlibKey(keyid, "ed25519", "ed25519", {"public": self.public})

    def date_fault(self, keyid: str, now: datetime) -> Fault | None:
        """Why the key does not count now, if it does not."""
        if self.valid_from <= now < self.valid_to:
            return None
        when = f"expired at {self.valid_to.isoformat()}"
        if now < self.valid_from:
            when = f"is not valid before {self.valid_from.isoformat()}"
        return Fault(f"key {keyid[:12]} of {self.name}", when, f"Make a new {self.role} key: ennakko keys")

    def facts(self, keyid: str) -> dict[str, Any]:
        """What C702 asks about a key."""
        return {"keyid": keyid, **self.model_dump(exclude={"public"})}


class KeyRing:
    """The folder of keys: ``<role>.pem`` private (mode 0600), ``trust.json`` public.

    Examples
    --------
    >>> import tempfile
    >>> ring = KeyRing(Path(tempfile.mkdtemp()) / "keys")
    >>> keyid = ring.make("gate", "Demonstration gate", demonstration=True, days=7)
    >>> ring.trust()[keyid].role, ring.signer("gate").public_key.keyid == keyid
    ('gate', True)
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def make(self, role: str, name: str, *, demonstration: bool, days: int, now: datetime | None = None) -> str:
        """Make a key pair and trust it; returns the key id.

        Raises
        ------
        BadInput
            An unknown role, no days or too many, or a key of the role that is still in date (an expired one is
            replaced; trust.json keeps it, so that old signatures can still be read).
        """
        from securesystemslib.signer import CryptoSigner

        now = now or datetime.now(UTC)
        faults: list[Fault] = []
        most = DEMONSTRATION_DAYS if demonstration else 3650
        if role not in ROLES:
            faults.append(Fault("role", f"is {role!r}", did_you_mean(role, ROLES)))
        if not 1 <= days <= most:
            faults.append(Fault("days", f"is {days}", f"Give 1 to {most} days"))
        if not name.strip():
            faults.append(Fault("name", "is empty", 'Name the holder by role, e.g. "Equality officer"'))
        if faults:
            raise BadInput(*faults)
        with self._alone():
            if self._current(role, now):
                mend = f"Wait until it expires, or move {role}.pem away first"
                raise BadInput(Fault(f"{role}.pem", "exists and is in date", mend))
            signer = CryptoSigner.generate_ed25519()
            self._trust_and_keep(signer, role, name, demonstration=demonstration, days=days, now=now)
        return str(signer.public_key.keyid)

    def _trust_and_keep(
        self, signer: CryptoSigner, role: str, name: str, *, demonstration: bool, days: int, now: datetime
    ) -> None:
        """Trust first: a private key that is cut short of its trust could never be used nor replaced."""
        public = signer.public_key
        keys = dict(self.trust())
        keys[public.keyid] = TrustedKey(
            role=role,
            public=public.keyval["public"],
            valid_from=now,
            valid_to=now + timedelta(days=days),
            demonstration=demonstration,
            name=name,
        )
        write_whole(self.folder / "trust.json", _trust_bytes(keys))
        write_whole(self._private(role), signer.private_bytes)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One maker at a time, over all processes: the second reads the trust the first has written."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def trust(self) -> Mapping[str, TrustedKey]:
        """Every trusted public key by its id; a damaged file or an id that is not its key's is refused."""
        path = self.folder / "trust.json"
        if not path.exists():
            return {}
        faults: list[Fault] = []
        keys = {}
        try:
            raw = json.loads(path.read_bytes())
            entries = dict(raw)
        except (OSError, ValueError, TypeError) as error:
            raise NotTrusted(Fault(str(path), f"cannot be read ({type(error).__name__})", "Restore it")) from None
        for keyid, entry in entries.items():
            try:
                key = TrustedKey.model_validate(entry)
            except ValidationError as error:
                faults += faults_of(error, f"{path}: {keyid[:12]}", TrustedKey)
                continue
            if _keyid_of(key.public) != keyid:
                faults.append(Fault(f"{path}: {keyid[:12]}", "is not the id of its key", "Restore the file"))
            keys[keyid] = key
        if faults:
            raise NotTrusted(*faults)
        return keys

    def signer(self, role: str) -> CryptoSigner:
        """The private key of a role, ready to sign."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.signer import CryptoSigner

        path = self._private(role)
        mend = f"Make one: ennakko keys (role {role})"
        try:
            mode = path.stat().st_mode & 0o777
            content = path.read_bytes()
        except OSError as error:
            raise NotTrusted(Fault(str(path), f"cannot be read ({error.strerror})", mend)) from None
        if mode & _OTHERS_MAY_READ:
            wrong = f"has mode {mode:o}, so others on this machine could sign"
            raise NotTrusted(Fault(str(path), wrong, f"Run: chmod 600 {path}"))
        try:
            signer = CryptoSigner(load_pem_private_key(content, None))
        except (ValueError, TypeError):
            raise NotTrusted(Fault(str(path), "is not a private key", mend)) from None
        if signer.public_key.keyid not in self.trust():
            raise NotTrusted(Fault(str(path), "is not in trust.json", "Restore trust.json, or make the key anew"))
        return signer

    def _private(self, role: str) -> Path:
        return self.folder / f"{role}.pem"

    def _current(self, role: str, now: datetime) -> bool:
        if not self._private(role).exists():
            return False
        keyid = self.signer(role).public_key.keyid
        return now < self.trust()[keyid].valid_to


def _trust_bytes(keys: Mapping[str, TrustedKey]) -> bytes:
    entries = {keyid: key.model_dump(mode="json") for keyid, key in sorted(keys.items())}
    return json.dumps(entries, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def _keyid_of(public: str) -> str:
    from securesystemslib.signer._utils import compute_default_keyid

    return compute_default_keyid("ed25519", "ed25519", {"public": public})
