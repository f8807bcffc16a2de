"""Keys that sign and keys that are trusted: Ed25519, each with a role, a holder and dates.

A key is *retired* when another takes its place: its private part is destroyed, and what it signed before counts while
that lives. A key is *revoked* when it can no longer be believed: nothing that it ever signed counts from then on.
Neither leaves ``trust.json``, so that old signatures can still be named.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, field_validator

from ethics.policy import ROLES
from ethics.refusal_ids import KEY_EXPIRED, KEY_NOT_YET_VALID, KEY_RETIRED, KEY_REVOKED
from ethics.refusals import BadInput, Fault, NotTrusted, did_you_mean, faults_of
from ethics.whole_file import write_whole

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

DEMONSTRATION_DAYS = 7
SIGNED_DAYS = {False: 90, True: 7}
"""The longest life of a verdict, by demonstration: for so long the signatures of a retired key may still count."""
_OTHERS_MAY_READ = 0o077
_IN_USE = ("in date", "not yet valid")
_NOT_ASKED = {"public", "retired_at", "revoked_at", "revoked_because"}


class TrustedKey(BaseModel):
    """A public key the city trusts: whose, in which role, from when to when.

    ``valid_to`` is until when its signatures count; ``retired_at`` from when on it signs nothing new; ``revoked_at``
    since when nothing counts that it ever signed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    public: str
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    demonstration: bool
    name: str
    retired_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    revoked_because: str | None = None

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
        where, mend = f"key {keyid[:12]} of {self.name}", f"Make a new {self.role} key: ennakko keys make"
        if self.revoked_at is not None:
            wrong = f"was revoked at {self.revoked_at.isoformat()} ({self.revoked_because})"
            return Fault(where, wrong, "Nothing it signed counts; have another key sign", KEY_REVOKED)
        if now < self.valid_from:
            return Fault(where, f"is not valid before {self.valid_from.isoformat()}", mend, KEY_NOT_YET_VALID)
        if now >= self.valid_to:
            return Fault(where, f"expired at {self.valid_to.isoformat()}", mend, KEY_EXPIRED)
        return None

    def retired_fault(self, keyid: str, made_at: datetime) -> Fault | None:
        """Why what was made at a moment cannot have been signed with this key, if the key had been retired by then."""
        if self.retired_at is None or made_at < self.retired_at:
            return None
        wrong = f"was retired at {self.retired_at.isoformat()}, and this was made at {made_at.isoformat()}"
        return Fault(f"key {keyid[:12]} of {self.name}", wrong, f"Sign with the {self.role} key in use", KEY_RETIRED)

    def state(self, now: datetime) -> str:
        """``in date``, ``not yet valid``, ``expired``, ``retired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        if now >= self.valid_to:
            return "expired"
        if self.retired_at is not None and now >= self.retired_at:
            return "retired"
        return "not yet valid" if now < self.valid_from else "in date"

    def facts(self, keyid: str) -> dict[str, Any]:
        """What C702 asks about a key."""
        return {"keyid": keyid, **self.model_dump(exclude=_NOT_ASKED)}


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
            An unknown role, no days or too many, a folder that git would keep, or a key of the role that is still in
            date (an expired one is replaced; trust.json keeps it, so that old signatures can still be read).
        """
        from securesystemslib.signer import CryptoSigner

        now = now or datetime.now(UTC)
        self._refuse_bad_words(role, name, days, demonstration)
        with self._alone():
            if self._current(role, now):
                mend = "Use it, put another in its place (ennakko keys rotate), or wait until it expires"
                raise BadInput(Fault(f"{role}.pem", "exists and is in date", mend))
            signer = CryptoSigner.generate_ed25519()
            self._trust_and_keep(signer, role, name, demonstration=demonstration, days=days, now=now)
        return str(signer.public_key.keyid)

    def rotate(self, role: str, *, days: int | None, now: datetime) -> tuple[str, str]:
        """Put a new key in the place of a role's key; what the old one signed counts for one verdict life at most.

        ``days`` is how long the new key holds: a year, or a demonstration key's week, if None.

        Returns
        -------
        (str, str)
            Ids of the key retired, whose private part is gone, and of the new one.

        Raises
        ------
        BadInput
            The role has no key in date to retire; a key that has expired is replaced by :meth:`make`.
        """
        from securesystemslib.signer import CryptoSigner

        with self._alone():
            if not self._current(role, now):
                mend = f"Make one: ennakko keys make --role {role}"
                raise BadInput(Fault(f"{role}.pem", "is no key in date, so there is nothing to rotate", mend))
            old = str(self.signer(role).public_key.keyid)
            keys = dict(self.trust())
            key = keys[old]
            days = days or (DEMONSTRATION_DAYS if key.demonstration else 365)
            self._refuse_bad_words(role, key.name, days, key.demonstration)
            lives_to = min(key.valid_to, now + timedelta(days=SIGNED_DAYS[key.demonstration]))
            keys[old] = key.model_copy(update={"retired_at": now, "valid_to": lives_to})
            signer = CryptoSigner.generate_ed25519()
            self._trust_and_keep(
                signer, role, key.name, demonstration=key.demonstration, days=days, now=now, known=keys
            )
        return old, str(signer.public_key.keyid)

    def revoke(self, keyid: str, reason: str, now: datetime) -> str:
        """Believe a key no more, by its id or the beginning of it; its private part, if it is here, is destroyed.

        Raises
        ------
        BadInput
            No key, or several, of that id; no reason; or revoked already.
        """
        with self._alone():
            keys = dict(self.trust())
            found = [known for known in keys if keyid and known.startswith(keyid)]
            faults = []
            if len(found) != 1:
                wrong = f"begins the ids of {len(found)} keys" if found else "is no key of this home"
                faults.append(Fault("--key", wrong, "Give the id of one: ennakko keys list"))
            elif keys[found[0]].revoked_at is not None:
                faults.append(Fault("--key", "was revoked already", "Nothing is left to do"))
            if not reason.strip():
                faults.append(Fault("--reason", "is empty", "Say why nothing it signed counts any more"))
            if faults:
                raise BadInput(*faults)
            key = keys[found[0]]
            changes = {"revoked_at": now, "revoked_because": reason.strip()}
            keys[found[0]] = key.model_copy(update=changes)
            # Trust first: a key that leaked, or whose file is damaged or gone, is no longer believed whatever follows.
            write_whole(self.folder / "trust.json", trust_bytes(keys))
            try:
                mine = self._lies_there(key.role).public_key.keyid == found[0]
            except NotTrusted:
                mine = False  # nobody can say whose it is; `make` puts another in its place
            if mine:
                self._private(key.role).unlink()
        return found[0]

    def _refuse_bad_words(self, role: str, name: str, days: int, demonstration: bool) -> None:
        faults: list[Fault] = []
        most = DEMONSTRATION_DAYS if demonstration else 3650
        if role not in ROLES:
            faults.append(Fault("role", f"is {role!r}", did_you_mean(role, ROLES)))
        if not 1 <= days <= most:
            faults.append(Fault("days", f"is {days}", f"Give 1 to {most} days"))
        if not name.strip():
            faults.append(Fault("name", "is empty", 'Name the holder by role, e.g. "Equality officer"'))
        if kept_by := kept_by_git(self.folder):
            faults.append(
                Fault(str(self.folder), kept_by, "Add it to .gitignore, or give a home outside the repository")
            )
        if faults:
            raise BadInput(*faults)

    def _trust_and_keep(
        self,
        signer: CryptoSigner,
        role: str,
        name: str,
        *,
        demonstration: bool,
        days: int,
        now: datetime,
        known: Mapping[str, TrustedKey] | None = None,
    ) -> None:
        """Trust first: a private key that is cut short of its trust could never be used nor replaced."""
        public = signer.public_key
        keys = dict(self.trust() if known is None else known)
        keys[public.keyid] = TrustedKey(
            role=role,
            public=public.keyval["public"],
            valid_from=now,
            valid_to=now + timedelta(days=days),
            demonstration=demonstration,
            name=name,
        )
        write_whole(self.folder / "trust.json", trust_bytes(keys))
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
        return read_trust(path) if path.exists() else {}

    def signer(self, role: str) -> CryptoSigner:
        """The private key of a role, ready to sign; none that is unknown, retired or revoked."""
        signer = self._kept(role)
        path, trusted = self._private(role), self.trust().get(signer.public_key.keyid)
        if trusted is None:
            raise NotTrusted(Fault(str(path), "is not in trust.json", "Restore trust.json, or make the key anew"))
        for wrong, since, code in (
            ("was revoked", trusted.revoked_at, KEY_REVOKED),
            ("was retired", trusted.retired_at, KEY_RETIRED),
        ):
            if since is not None:
                mend = f"Make a new key: ennakko keys make --role {role}"
                raise NotTrusted(Fault(str(path), f"{wrong} at {since.isoformat()}", mend, code))
        return signer

    def _kept(self, role: str) -> CryptoSigner:
        """The private key of a role, trusted or not, that nobody else on this machine may read."""
        signer, path = self._lies_there(role), self._private(role)
        mode = path.stat().st_mode & 0o777
        if mode & _OTHERS_MAY_READ:
            wrong = f"has mode {mode:o}, so others on this machine could sign"
            raise NotTrusted(Fault(str(path), wrong, f"Run: chmod 600 {path}"))
        return signer

    def _lies_there(self, role: str) -> CryptoSigner:
        """The private key of a role as it lies in the folder, trusted or not, whoever may read it."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.signer import CryptoSigner

        path = self._private(role)
        mend = f"Make one: ennakko keys (role {role})"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise NotTrusted(Fault(str(path), f"cannot be read ({error.strerror})", mend)) from None
        try:
            return CryptoSigner(load_pem_private_key(content, None))
        except (ValueError, TypeError):
            raise NotTrusted(Fault(str(path), "is not a private key", mend)) from None

    def _private(self, role: str) -> Path:
        return self.folder / f"{role}.pem"

    def _current(self, role: str, now: datetime) -> bool:
        """Whether the role's private key is one in use; a damaged file is none where the role has no key in use."""
        in_use = any(key.role == role and key.state(now) in _IN_USE for key in self.trust().values())
        if not self._private(role).exists():
            return False
        try:
            kept = self._lies_there(role)
        except NotTrusted:
            if in_use:
                raise
            return False
        key = self.trust().get(kept.public_key.keyid)
        if key is None:
            raise NotTrusted(Fault(f"{role}.pem", "is not in trust.json", "Restore trust.json, or move the key away"))
        return key.state(now) in _IN_USE


def read_trust(path: Path) -> dict[str, TrustedKey]:
    """The public keys of a file as :func:`trust_bytes` writes it, by their ids.

    Raises
    ------
    NotTrusted
        The file cannot be read, or holds an id that is not its key's; every fault at once.
    """
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


def trust_bytes(keys: Mapping[str, TrustedKey]) -> bytes:
    """Public keys as a file, with nothing private: what an auditor verifies signatures by."""
    entries = {keyid: key.model_dump(mode="json", exclude_none=True) for keyid, key in sorted(keys.items())}
    return json.dumps(entries, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def kept_by_git(folder: Path) -> str | None:
    """Why private keys in this folder could end up in a git repository, or None; git itself is asked."""
    folder = folder.resolve()
    tree = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
    if tree is None:
        return None
    words = ["git", "-C", str(tree), "check-ignore", "--quiet", "--", str(folder / "gate.pem")]
    try:
        answer = subprocess.run(words, capture_output=True, timeout=10, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return f"lies in the git repository {tree}, and git cannot be asked whether it ignores the keys"
    return None if answer == 0 else f"lies in the git repository {tree}, which does not ignore it"


def _keyid_of(public: str) -> str:
    from securesystemslib.signer._utils import compute_default_keyid

    return compute_default_keyid("ed25519", "ed25519", {"public": public})
