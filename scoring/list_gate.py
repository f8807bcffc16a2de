"""Asking the gate before a list or a score leaves (G2): the evidence, and what its answer means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ethics.digests import code_digest, environment_digest
from ethics.gate import LIST_CHECKS, ListEvidence, judge_list
from ethics.refusals import Blocked, Fault, NotTrusted

if TYPE_CHECKING:
    from ethics.gate import Check, Policy
    from ethics.stop_switch import StopSwitch
    from scoring.scorer import Scorer

# What these find is a matter of trust (exit 30); what the others find is a block (exit 20).
_TRUST = ("C502", "C701", "C702", "C801")
_FOUNDATION = ("source", "purpose", "basis")


@lru_cache(maxsize=1)
def running_digests() -> dict[str, str]:
    """Digests of the code and the packages of this process; taken once, since both were loaded once."""
    return {"code": code_digest(), "environment": environment_digest()}


def ask_gate(
    scorer: Scorer,
    policy: Policy,
    stop_switch: StopSwitch,
    *,
    n_objectors: int,
    columns: Sequence[str],
    sort_key: Sequence[str],
    max_error: float,
    moment: datetime,
    checks: Collection[str] = LIST_CHECKS,
    determinism: Mapping[str, int] | None = None,
    about_the_list: Mapping[str, Any] | None = None,
) -> tuple[Check, ...]:
    """Let the gate judge what is about to leave.

    Parameters
    ----------
    n_objectors : int
        Objectors among the people who are about to leave, counted afresh.
    columns : sequence of str
        What the scores were made from.
    sort_key : sequence of str
        What they were put in order by.
    max_error : float
        How far reasons are from adding up to scores.
    moment : datetime
        Now, with a timezone.
    checks : collection of str
        All list checks, or those of one online score.
    determinism : mapping, optional
        What :func:`models.rescoring.rescoring` says of the scores; without it C704 cannot be answered.
    about_the_list : mapping, optional
        What only a list has (:func:`scoring.list_evidence.list_facts`); without it, the checks of lists are errors.

    Returns
    -------
    tuple of Check
        All of them ``pass`` or ``warn``: a warning goes with the list.

    Raises
    ------
    NotTrusted
        A digest, signer, expiry or the stop switch forbids it, or a check could not be answered.
    Blocked
        Another check blocks.
    """
    verdict, need = scorer.verified.verdict, scorer.need
    founded = {row["feature"] for row in verdict.record["features"] if all(row[key] for key in _FOUNDATION)}
    evidence = ListEvidence(
        kind=need.kind,
        use=need.use,
        n_objectors=n_objectors,
        sort_key=tuple(sort_key),
        group_attributes=tuple(verdict.scope["group_attributes"]),
        columns=tuple(columns),
        allowed_columns=tuple(name for f in need.features if f.name in founded for name in f.columns()),
        expected={name: str(digest) for name, digest in verdict.subject.items()},
        actual={**scorer.digests, "policy": policy.digest, **running_digests()},
        additivity_max_error=None if need.kind == "rule" else max_error,
        signing_keys=[signed.key.facts(signed.keyid) for signed in scorer.verified.signed_by],
        verdict_expires_at=verdict.expires_at,
        stop_switch_set=stop_switch.is_set(),
        stop_switch_tested_at=stop_switch.tested_at(),
        moment=moment,
        determinism=determinism,
        register=verdict.record.get("register"),
        attestations=verdict.attestations,
        **(about_the_list or {}),
    )
    answers = judge_list(evidence, policy, checks)
    failed = [check for check in answers if check.state not in ("pass", "warn")]
    if any(check.state != "block" or check.id in _TRUST for check in failed):
        raise NotTrusted(*map(_fault, failed))
    if failed:
        raise Blocked(*map(_fault, failed))
    if missing := sorted(set(checks) - {check.id for check in answers}):
        raise NotTrusted(Fault("gate", f"gave no answer to {', '.join(missing)}", "Judge again with this version"))
    return answers


def _fault(check: Check) -> Fault:
    said = str(check.facts.get("names", check.facts.get("wrong", "")))
    number = "" if check.value is None else f" {check.value:g}"
    limit = "" if check.threshold is None else f" (limit {check.threshold:g})"
    wrong = f"{check.state}: {check.statistic.replace('_', ' ')}{number}{limit}{': ' + said if said else ''}"
    group = f" {check.group}" if check.group else ""
    return Fault(f"check {check.id}{group}", wrong, _MEND.get(check.id, "Mend what it names, judge and approve again"))


_MEND = {
    "C407": "Draw a sample ([list] sample), give fewer places by lot, or have AT-08 attested; judge and approve again",
    "C802": "Mend the store of lists, or restore it from the backup: until then nobody could change the list",
    "C103": "Make the scores again: somebody has objected since",
    "C202": "Write when the need is reviewed next, judge and approve again",
    "C502": "Have it attested anew by those who may, judge and approve again",
    "C204": "Say in the need's [notice] how people are told, then judge and approve again",
    "C408": "Find who is missing from the data or was taken off the ranking; judge again if the city has changed",
    "C411": "Complete the missing districts, and reach those left out as the need's alternative describes",
    "C610": "Delete what is named (ennakko erase --overdue); where judged rows are overdue, train and judge again",
    "C611": "Take the features out of the need, or record the basis in city.toml [purposes]",
    "C703": "Find what happened to the data; if the change is real, train and judge again",
    "C701": "Use what was judged, or judge and approve what is used now",
    "C702": "Judge, sign and approve again with keys that are in date",
    "C801": "Clear the stop switch when its reason is gone, and test it: ennakko stop test",
}
