"""What a home recorded, verified: its audit log, the chains of its verdicts, and that neither was taken away.

Nothing is made here that is to be verified: an empty home or an empty log, made in passing, would always hold.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.envelopes import open_envelope
from ethics.refusal_ids import CHAIN, LOG_GONE
from ethics.refusals import BadInput, Fault, NotTrusted
from serving.approval import bytes_of, chain_of, verdict_place, verify_verdict
from serving.home import VERDICT, Home

if TYPE_CHECKING:
    from serving.settings import Settings

_HEAD = "audit_head.json"
_BELONGINGS = (
    "keys",
    "verdicts",
    "attestations",
    "runs",
    "scores",
    "lists",
    "policy",
    "trials",
    "rehearsals",
    "issuer",
)
"""Folders that no act fills without a line in the log."""
_BEGUN_BEFORE_ANY_ACT = ("objections", "feature-cache")
"""Secrets that even a look at features makes, which is no act and leaves no line."""
_RESTORE_LOG = "Restore the database and audit_head.json from the backup"
_RESTORE_VERDICTS = "Restore the verdicts of this need from the backup"


def standing_home(settings: Settings) -> Home:
    """The home that is there; unlike any other command, an audit makes none.

    Raises
    ------
    BadInput
        No such folder, or one in which nothing of a home lies.
    """
    root = settings.home
    if not root.is_dir():
        wrong = f"is '{root}', and there is no home: {'that is a file' if root.exists() else 'no such folder'}"
        raise BadInput(Fault("--home", wrong, "Give the folder of the home to audit"))
    known = (*_BELONGINGS, "secrets", "stop", _HEAD, "ennakko.db")
    if not any(_holds_anything(root / name) for name in known):
        wrong = f"is '{root}', and there is no home: it holds no keys, no secrets, no verdicts and no log"
        raise BadInput(Fault("--home", wrong, "Give the folder of the home to audit"))
    return Home(settings)


def _holds_anything(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file()


def log_faults(home: Home) -> list[Fault]:
    """Every place where the audit log does not hold, that there is none where there must be one among them.

    Raises
    ------
    BadInput
        Nothing was ever done in this home: there is nothing to verify, which is not the same as verified.
    """
    if _has_log(home):
        return home.audit_log.verify()
    begun = _what_shows_acts(home)
    if not begun:
        wrong = "holds no act, and nothing here shows that one was ever done"
        raise BadInput(Fault("audit log", wrong, "Verify a home in which something was done: there is nothing here"))
    wrong = f"holds no act, though this home holds {', '.join(begun)}: it was cut off, or put away"
    return [Fault("audit log", wrong, _RESTORE_LOG, LOG_GONE)]


def verify_records(settings: Settings, verdict_path: Path | None) -> dict[str, Any]:
    """Verify a verdict against the bytes in use, or the chains of the audit log and of every need's verdicts.

    Raises
    ------
    BadInput
        There is no home, or nothing was ever done in it.
    NotTrusted
        What was touched.
    """
    if verdict_path is not None and verdict_path.is_file():
        open_envelope(bytes_of(verdict_path), str(verdict_path))  # what is no signed verdict needs no home to say so
    home = standing_home(settings)
    if verdict_path is not None:
        return _verify_in_use(home, verdict_path)
    faults = log_faults(home)
    paths = sorted(home.verdicts.glob(f"*/[!.]*/{VERDICT}"))
    needs = sorted({path.parent.parent.name for path in paths})
    chains = {need_id: chain_of(home, need_id) for need_id in needs}
    faults += [fault for _, broken in chains.values() for fault in broken]
    if _has_log(home):
        faults += _judged_and_gone(home) + _kept_and_not_told(home, paths)
    faults += _touched_foundations(home)
    if faults:
        raise NotTrusted(*faults)
    n = {need_id: len(links) for need_id, (links, _) in chains.items()}
    chained = "".join(f"; {need_id}, {length} verdict{'s' * (length != 1)}" for need_id, length in n.items())
    return {"what": f"audit log, {len(home.audit_log.rows())} rows{chained}", "verdicts": n}


def _verify_in_use(home: Home, verdict_path: Path) -> dict[str, Any]:
    verified = verify_verdict(home, verdict_path)
    before = verified.verdict.previous_sha256
    kept = {link.payload_sha256 for link in chain_of(home, verified.verdict.need_id)[0]}
    if before is not None and before not in kept:
        wrong = f"names {before[:12]}… as the verdict before it, and no such verdict is kept here"
        raise NotTrusted(Fault("verdict chain", wrong, _RESTORE_VERDICTS, CHAIN))
    return {"what": f"{verified.verdict.verdict_id}, {verified.verdict.state}", "state": verified.verdict.state}


def _has_log(home: Home) -> bool:
    """Whether the log holds any act; a database that is not there is not made by asking."""
    from ethics.audit_log import AuditLog

    return _has_database(home) and AuditLog.is_begun(home.engine)


def _has_database(home: Home) -> bool:
    file = home.settings.database.removeprefix("sqlite:///")
    return file == home.settings.database or Path(file).is_file()


def _what_shows_acts(home: Home) -> list[str]:
    """What lies in a home only after an act that its log must tell of."""
    from ethics.objections import ObjectionRegister

    found = [name for name in (*_BELONGINGS, _HEAD) if _holds_anything(home.root / name)]
    found += ["a tested stop switch"] * _holds_anything(home.root / "stop")
    secrets = {path.stem for path in home.settings.secret_path("any").parent.glob("*.key")}
    found += ["secrets"] * bool(secrets - set(_BEGUN_BEFORE_ANY_ACT))
    if "objections" in secrets and not (_has_database(home) and ObjectionRegister.is_begun(home.engine)):
        found.append("the key of an objection register that is gone as well")
    return found


def _touched_foundations(home: Home) -> list[Fault]:
    """The signed policy and every signed statement of the home, where they are not as they were signed."""
    from ethics.foundations_audit import statement_file_faults, toml_of

    now, trust = datetime.now(UTC), home.key_ring.trust()
    faults = []
    if home.signed_policy_path.exists():
        faults += toml_of(bytes_of(home.signed_policy_path), str(home.signed_policy_path), trust, now)[1]
    for path in sorted(home.attestations.glob("*/*/*.json")):
        faults += statement_file_faults(bytes_of(path), path.relative_to(home.root).as_posix(), trust, now)
    return faults


def _judged_and_gone(home: Home) -> list[Fault]:
    """Verdicts that the log tells of and that are not kept: a chain does not show that its last one was taken away."""
    return [
        Fault(
            f"verdict chain: {facts['need']}",
            f"{facts['verdict']} was judged, says the audit log, and is not kept here",
            _RESTORE_VERDICTS,
            CHAIN,
        )
        for facts in home.audit_log.facts_of("judge")
        if not verdict_place(home, str(facts["need"]), str(facts["verdict"])).is_file()
    ]


def _kept_and_not_told(home: Home, paths: list[Path]) -> list[Fault]:
    """Verdicts that are kept and that the log does not tell of: its end was cut off, head and all, or they came later.

    A judging killed between the two leaves the same, and no less needs a look.
    """
    told = {str(facts["verdict"]) for facts in home.audit_log.facts_of("judge")}
    mend = f"{_RESTORE_LOG}; a verdict that was never judged here is put away, and the model judged again"
    return [
        Fault("audit log", f"does not tell that {path.parent.name} was judged, which is kept here", mend, LOG_GONE)
        for path in paths
        if path.parent.name not in told
    ]
