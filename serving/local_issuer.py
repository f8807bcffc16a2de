"""The home's own issuer of tokens, for a city without an OpenID provider: one Ed25519 key, short-lived tokens.

Everything stands in one file that only its owner may read. Making the key anew ends every token at once.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.keys import kept_by_git
from ethics.refusals import BadInput, Fault, NotTrusted, did_you_mean
from ethics.whole_file import write_whole
from serving.home import Home, locked
from serving.identity import EVERY_NEED, ClaimNames, Identity, Role
from serving.issuer_keys import IssuerSilent, PublicKey, UnknownKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOCAL_AUDIENCE = "ennakko"
LOCAL_NAMES = ClaimNames()
MOST_MINUTES = 480
"""A working day: a token cannot be taken back but by making the issuer anew, which ends all of them."""
_ALGORITHM = "EdDSA"
_LONGEST_NAME = 200
_OTHERS_MAY_READ = 0o077
_NAMED = (Role.UNIT, Role.SYSTEM, Role.SERVICE_POINT)
"""Of these there are many: a token says which one it is for."""
_MAKE_ONE = "Make one: ennakko keys issuer"


@dataclass(frozen=True, repr=False)
class LocalIssuer:
    """What the file of the issuer holds.

    Attributes
    ----------
    issuer : str
        What its tokens say as ``iss``; of this home alone, and the same when the key is made anew.
    kid : str
        The key's id.
    demonstration : bool
        Its tokens count on this machine only.
    made_at : str
    private : str
        The private key, PEM.
    """

    issuer: str
    kid: str
    demonstration: bool
    made_at: str
    private: str

    def __repr__(self) -> str:
        return f"LocalIssuer({self.issuer})"

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        """The private key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(self.private.encode("ascii"), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("another kind of key")
        return key

    def said(self) -> dict[str, Any]:
        """What may be shown."""
        return {name: value for name, value in asdict(self).items() if name != "private"}


def issuer_path(home: Home) -> Path:
    """Where the issuer's file is."""
    return home.root / "issuer" / "issuer.json"


def read_issuer(path: Path) -> LocalIssuer:
    """The issuer of a home.

    Raises
    ------
    NotTrusted
        There is none, others can read it, or it is damaged.
    """
    try:
        if path.stat().st_mode & _OTHERS_MAY_READ:
            wrong = "can be read by others than its owner, so others could make tokens"
            mend = f"Run: chmod 600 {path}; if somebody may have read it: ennakko keys issuer --anew"
            raise NotTrusted(Fault(str(path), wrong, mend))
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotTrusted(Fault("token issuer", "is not there in this home", _MAKE_ONE)) from None
    try:
        issuer = LocalIssuer(**json.loads(content))
        issuer.key.public_key()
        if not all(isinstance(text, str) for text in (issuer.issuer, issuer.kid)):
            raise TypeError
    except (ValueError, TypeError, AttributeError):
        mend = "Restore it from the backup, or run: ennakko keys issuer --anew"
        raise NotTrusted(Fault(str(path), "is damaged", mend)) from None
    return issuer


def make_issuer(home: Home, now: datetime, *, demonstration: bool = False, anew: bool = False) -> dict[str, Any]:
    """Make the home's issuer, or put a new key in its place; then no token made before counts any more.

    Parameters
    ----------
    demonstration : bool
        For trying things out: a server that others than this machine can reach refuses to start with it.
    anew : bool
        There must be one already; its name stays.

    Raises
    ------
    BadInput
        There is one already, or with ``anew`` none; or git would keep the key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = issuer_path(home)
    if wrong := kept_by_git(path.parent):
        raise BadInput(Fault(str(path.parent), wrong, "Add it to .gitignore, or give a home outside the repository"))
    with locked(path.with_name(".lock")):
        if path.exists() and not anew:
            mend = "Use it, or put a new key in its place: ennakko keys issuer --anew"
            raise BadInput(Fault("token issuer", "is there already", mend))
        if anew and not path.exists():
            raise BadInput(Fault("--anew", "finds no issuer in this home", _MAKE_ONE))
        name = _name_of(path) if anew else None
        key = Ed25519PrivateKey.generate()
        made = LocalIssuer(
            issuer=name or f"urn:ennakko:{secrets.token_hex(8)}",
            kid=secrets.token_hex(8),
            demonstration=demonstration,
            made_at=now.astimezone(UTC).isoformat(timespec="seconds"),
            private=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"),
        )
        write_whole(path, json.dumps(asdict(made)).encode("ascii"))
    facts: dict[str, str | int] = {"kid": made.kid, "demonstration": int(demonstration), "anew": int(anew)}
    home.audit_log.append("keys issuer", "service owner", **facts)
    return {**made.said(), "anew": anew}


def _name_of(path: Path) -> str | None:
    """The issuer's name, if its file can still be read: a damaged one is replaced, name and all."""
    try:
        name = json.loads(path.read_bytes())["issuer"]
        return name if isinstance(name, str) and name.startswith("urn:ennakko:") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def issue_token(
    home: Home,
    role: str,
    *,
    needs: Sequence[str] = (),
    units: Sequence[str] = (),
    person_id: str | None = None,
    subject: str | None = None,
    minutes: int,
    now: datetime,
) -> dict[str, Any]:
    """Make a token for somebody in a role; the audit log learns for what, and keeps nothing by which it could be used.

    Parameters
    ----------
    needs, units : sequence of str
        A unit's own; a system's needs, ``*`` for all.
    person_id : str, optional
        Whose token a resident's is.
    subject : str, optional
        Who is to use it: the rate, the jobs and the logs (as a keyed hash) tell users apart by it. A unit, a system and
        a service point must have one; a resident is one of their own, unless it is given.
    minutes : int
        How long it counts, 1 to 480.

    Raises
    ------
    BadInput
        Every word that does not fit the role.
    NotTrusted
        The home has no issuer, or it is damaged.
    """
    import jwt

    if faults := _misfits(role, needs, units, person_id, subject, minutes):
        raise BadInput(*faults)
    issuer = read_issuer(issuer_path(home))
    about = _about(home, person_id) if person_id else {}
    begins = int(now.timestamp())
    expires = now + timedelta(minutes=minutes)
    claims: dict[str, Any] = {
        "iss": issuer.issuer,
        "aud": LOCAL_AUDIENCE,
        "sub": subject or _subject_of(home, role, about.get("person", person_id)),
        "iat": begins,
        "nbf": begins,
        "exp": begins + 60 * minutes,
        "jti": secrets.token_hex(8),
        LOCAL_NAMES.role: role,
    }
    claims |= {LOCAL_NAMES.needs: list(needs)} if needs else {}
    claims |= {LOCAL_NAMES.units: list(units)} if units else {}
    claims |= {LOCAL_NAMES.person: person_id} if person_id else {}
    token = jwt.encode(claims, issuer.key, _ALGORITHM, {"kid": issuer.kid})
    who = Identity(claims["sub"], issuer.issuer).mark(home.settings.secret("audit-subjects"))
    facts: dict[str, str | int] = {"role": role, "who": who, "minutes": minutes, "jti": claims["jti"]}
    facts |= {"needs": ", ".join(needs), "units": ", ".join(units)}
    facts |= about
    home.audit_log.append("token", "service owner", **facts)
    return {
        "token": token,
        "role": role,
        "expires_at": expires.astimezone(UTC).isoformat(timespec="seconds"),
        "demonstration": issuer.demonstration,
    }


def _subject_of(home: Home, role: str, person: str | None) -> str:
    """Whom a token is for where nobody is named: a resident by a keyed hash of the person, others by their role.

    ``person`` is the store's reference where there is one: nobody can form the hash again once the person is erased.
    """
    if person is None:
        return f"local {role}"
    key = home.settings.secret("audit-subjects")
    return f"local {role} {hmac.digest(key, f'local {role} {person}'.encode(), 'sha256').hex()[:32]}"


def _about(home: Home, person_id: str) -> dict[str, str]:
    """A person as the audit log holds them: the store's reference, which nobody can form again after an erasure."""
    from scoring.store_opening import is_begun

    ref = home.store.refs([person_id]).get(person_id) if is_begun(home.engine) else None
    return {} if ref is None else {"person": ref}


def _misfits(
    role: str, needs: Sequence[str], units: Sequence[str], person_id: str | None, subject: str | None, minutes: int
) -> list[Fault]:
    faults = []
    if role not in set(Role):
        return [Fault("--role", f"is '{role}'", did_you_mean(role, Role))]
    if role in (Role.UNIT, Role.SYSTEM) and not needs:
        every = f", or --need '{EVERY_NEED}' for all" if role == Role.SYSTEM else ""
        faults.append(Fault("--need", "is missing", f"Name the needs that a {role} may use{every}"))
    if role == Role.UNIT and EVERY_NEED in needs:
        faults.append(Fault("--need", f"is '{EVERY_NEED}', which is for systems", "Name the unit's own needs"))
    if role == Role.UNIT and not units:
        faults.append(Fault("--unit", "is missing", "Name the unit, or the units, whose lists it is for"))
    if role != Role.UNIT and units:
        faults.append(Fault("--unit", f"means nothing to a {role}", "Leave it out"))
    if role == Role.RESIDENT and not person_id:
        faults.append(Fault("--person", "is missing", "Give the pseudonym of the resident whose token it is"))
    if role != Role.RESIDENT and person_id:
        faults.append(Fault("--person", f"means nothing to a {role}", "Leave it out"))
    if role in _NAMED and subject is None:
        faults.append(Fault("--for", "is missing", "Say who is to use it, so that one is not taken for another"))
    if role in (Role.RESIDENT, Role.SERVICE_POINT) and needs:
        faults.append(Fault("--need", f"means nothing to a {role}", "Leave it out"))
    for where, names in (("--need", needs), ("--unit", units), ("--person", [person_id or "x"]), ("--for", [subject])):
        if any(name is not None and not 0 < len(name.strip()) <= _LONGEST_NAME for name in names):
            faults.append(Fault(where, f"is empty or longer than {_LONGEST_NAME} characters", "Give a short text"))
    if not 1 <= minutes <= MOST_MINUTES:
        faults.append(Fault("--minutes", f"is {minutes}", f"Give 1 to {MOST_MINUTES} minutes"))
    return faults


class LocalKeys:
    """The public key of a home's issuer, read again whenever its file has changed.

    Parameters
    ----------
    path : Path
    demonstration : bool
        Whether a demonstration issuer is good enough: only where nobody but this machine can knock.
    """

    def __init__(self, path: Path, *, demonstration: bool) -> None:
        self._path = path
        self._demonstration = demonstration
        self._read: tuple[Hashable, PublicKey] | None = None

    def issuer(self) -> LocalIssuer:
        """The issuer as its file holds it now.

        Raises
        ------
        NotTrusted
            It is gone, damaged, open to others, or a demonstration where that is not good enough.
        """
        issuer = read_issuer(self._path)
        if issuer.demonstration and not self._demonstration:
            wrong = "is a demonstration, and others than this machine can reach the server"
            mend = "Serve on 127.0.0.1, or run: ennakko keys issuer --anew"
            raise NotTrusted(Fault("token issuer", wrong, mend))
        return issuer

    def key_for(self, kid: str | None, algorithm: str) -> PublicKey:
        """The issuer's one key.

        Raises
        ------
        UnknownKey
            The token was signed with an earlier one.
        IssuerSilent
            The file is gone or can no longer be trusted.
        """
        stamp = self.stamp()
        if self._read is None or stamp is None or self._read[0] != stamp:
            try:
                issuer = self.issuer()
            except NotTrusted as refusal:
                # Which file it is, is told where the server was started, not over HTTP.
                raise IssuerSilent(*(fault._replace(where="token issuer") for fault in refusal.faults)) from None
            self._read = stamp, PublicKey(issuer.kid, (_ALGORITHM,), issuer.key.public_key(), stamp)
        key = self._read[1]
        if kid != key.kid or algorithm not in key.algorithms:
            raise UnknownKey(Fault("token", "is signed with a key that its issuer does not publish", "Ask anew"))
        return key

    def stamp(self) -> Hashable | None:
        """What the file looks like; None when it is gone."""
        return stamp_of(self._path)


def stamp_of(path: Path) -> Hashable | None:
    """What a file looks like: another one after every change; None when it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
