"""The stories of keys, of a city's signed policy, and of taking a verdict back."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, did_you_mean
from ethics.whole_file import write_whole
from serving.approval import bytes_of, revoked_listed, revoked_path, revoked_verdicts
from serving.home import VERDICT, Home, locked

if TYPE_CHECKING:
    from ethics.keys import TrustedKey

_TOOK_PART = "service owner"


def make_key(home: Home, role: str, name: str, days: int, now: datetime) -> dict[str, Any]:
    """Make a key that signs in earnest, and trust it."""
    keyid = home.key_ring.make(role, name, demonstration=False, days=days, now=now)
    home.audit_log.append("keys make", _TOOK_PART, role=role, keyid=keyid)
    return _said(keyid, home.key_ring.trust()[keyid], now)


def list_keys(home: Home, now: datetime) -> list[dict[str, Any]]:
    """Every key this home has trusted, what is in date first; nothing private."""
    keys = [_said(keyid, key, now) for keyid, key in home.key_ring.trust().items()]
    return sorted(keys, key=lambda key: (key["state"] != "in date", key["role"], key["valid_from"]))


def rotate_key(home: Home, role: str, days: int | None, now: datetime) -> dict[str, Any]:
    """Put a new key in the place of a role's key; verdicts signed before stay signed."""
    old, new = home.key_ring.rotate(role, days=days, now=now)
    home.audit_log.append("keys rotate", _TOOK_PART, role=role, retired=old, keyid=new)
    return {**_said(new, home.key_ring.trust()[new], now), "retired": old}


def revoke_key(home: Home, keyid: str, reason: str, now: datetime) -> dict[str, Any]:
    """Believe a key no more: what it signed counts no longer, verdicts in use among it."""
    revoked = home.key_ring.revoke(keyid, reason, now)
    home.audit_log.append("keys revoke", _TOOK_PART, keyid=revoked, reason=reason)
    return {**_said(revoked, home.key_ring.trust()[revoked], now), "reason": reason}


def export_trust(home: Home, to: Path) -> dict[str, Any]:
    """Write the public keys into a new file, for an auditor who has no home."""
    from ethics.keys import trust_bytes

    trust = home.key_ring.trust()
    if not trust:
        raise BadInput(Fault("keys", "this home trusts none yet", "Make some: ennakko keys make"))
    _refuse_old(to)
    write_whole(to, trust_bytes(trust))
    return {"path": str(to), "keys": len(trust)}


def _said(keyid: str, key: TrustedKey, now: datetime) -> dict[str, Any]:
    dates = {name: getattr(key, name) for name in ("valid_from", "valid_to", "retired_at", "revoked_at")}
    return {
        "keyid": keyid,
        "role": key.role,
        "name": key.name,
        **{name: moment and moment.isoformat(timespec="minutes") for name, moment in dates.items()},
        "demonstration": key.demonstration,
        "state": key.state(now),
    }


def sign_policy(home: Home, path: Path, role: str, now: datetime) -> dict[str, Any]:
    """Add an officer's signature to a policy; once both have signed, the home obeys it.

    The envelope is written beside a TOML, or over the envelope given, whole or not at all.

    Raises
    ------
    BadInput
        A role that does not sign policies, or a policy that is wrong or looser than even a signed one may be.
    NotTrusted
        No key in date, a damaged envelope, or signed by this key before.
    """
    from ethics.policy_envelope import POLICY_SIGNERS, is_envelope, read_policy
    from ethics.policy_envelope import sign_policy as signed
    from ethics.refusals import NotTrusted

    if role not in POLICY_SIGNERS:
        raise BadInput(Fault("--role", f"'{role}' does not sign policies", did_you_mean(role, POLICY_SIGNERS)))
    if not path.is_file():
        raise BadInput(Fault(str(path), "is not a file", "Give a policy, as TOML or as an envelope signed in part"))
    content = bytes_of(path)
    signer = home.key_ring.signer(role)
    trust = home.key_ring.trust()
    if fault := trust[signer.public_key.keyid].date_fault(signer.public_key.keyid, now):
        raise NotTrusted(fault)
    to = path if is_envelope(content) else path.with_suffix(".json")
    if to != path:
        _refuse_old(to)
    envelope = signed(content, str(path), signer)
    try:
        policy = read_policy(envelope, str(to), trust, now)
    except NotTrusted as unfinished:
        missing = [fault.wrong for fault in unfinished.faults]
        if len(json.loads(envelope)["signatures"]) >= len(POLICY_SIGNERS):
            raise  # everybody has signed, and it still does not hold
        policy = None
    else:
        missing = []
        write_whole(home.signed_policy_path, envelope)
    write_whole(to, envelope)
    home.audit_log.append("sign policy", role, in_force=int(policy is not None), policy=policy.digest if policy else "")
    return {
        "path": str(to),
        "role": role,
        "in_force": policy is not None,
        "in_force_at": str(home.signed_policy_path) if policy else None,
        "digest": policy.digest if policy else None,
        "demonstration": policy.demonstration if policy else None,
        "looser_than_template": policy.looser_than_template() if policy else None,
        "missing": missing,
    }


def revoke_verdict(home: Home, which: str, reason: str) -> dict[str, Any]:
    """Take a verdict back, by its id or its file: from now on it is refused everywhere.

    The audit log keeps the revocation, so that nobody undoes it by editing ``revoked.json``.

    Raises
    ------
    BadInput
        No such verdict in this home, no reason, or revoked already.
    """
    known = {path.parent.name: path.parent.parent.name for path in home.verdicts.glob(f"*/*/{VERDICT}")}
    verdict_id = Path(which).resolve().parent.name if Path(which).name == VERDICT else which
    faults = []
    if verdict_id not in known:
        faults.append(Fault("--verdict", f"'{which}' is no verdict of this home", did_you_mean(which, known)))
    elif verdict_id in revoked_verdicts(home):
        faults.append(Fault("--verdict", f"{verdict_id} was revoked already", "Nothing is left to do"))
    if not reason.strip():
        faults.append(Fault("--reason", "is empty", "Say why the verdict no longer holds"))
    if faults:
        raise BadInput(*faults)
    with locked(home.verdicts / ".revoked.lock"):
        listed = revoked_listed(home)
        home.audit_log.append("revoke", _TOOK_PART, need=known[verdict_id], verdict=verdict_id, reason=reason.strip())
        write_whole(revoked_path(home), json.dumps(sorted({*listed, verdict_id})).encode("ascii"))
    return {"verdict_id": verdict_id, "need": known[verdict_id], "reason": reason.strip()}


def _refuse_old(path: Path) -> None:
    if path.exists():
        raise BadInput(Fault(str(path), "exists already", "Give the path of a new file, or move that one away"))
    if not path.parent.is_dir():
        raise BadInput(Fault(str(path.parent), "is not a folder", "Give a path in a folder that exists"))
