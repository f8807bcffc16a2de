"""P7, security: what is used is what was judged, and who signs is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ethics.case import COMPARED, SUBJECTS, Evidence, ListEvidence, holder, names_holder
from ethics.check_register import RULE, Case, Context, Finding, Unanswerable, check, moment, none_wrong, whole


@check("C701", "B", "pass", "block", lists=True, core=True)
def nothing_changed_since(case: Case, context: Context) -> Iterable[Finding]:
    """What would be used is what was recorded, digest by digest; the model and policy before the gate among them."""
    names: Sequence[str] = COMPARED if isinstance(case, ListEvidence) else SUBJECTS
    if isinstance(case, ListEvidence):
        before, now = case.expected, case.actual
    else:
        # Training reads no policy; what counts is that the one judged by is the one signed for.
        before, now = {**case.recorded, "policy": context.policy.digest}, case.subject
    wrong = {name for name in names if not now.get(name) or now[name] != before.get(name)}
    if isinstance(case, Evidence):
        wrong |= {"model"} if now.get("model") != case.model_digest else set()
    yield none_wrong("digests_that_differ", [name for name in names if name in wrong])


@check("C702", "B", "pass", "block", lists=True, core=True)
def signers_are_trusted(case: Case, context: Context) -> Iterable[Finding]:
    """The gate and an auditor, two different keys of two different holders, trusted and in date."""
    keys = [key for key in case.signing_keys if moment(key["valid_from"]) <= context.now < moment(key["valid_to"])]
    wrong = [
        f"no key in date for {role}" for role in context.policy.sign_roles if all(key["role"] != role for key in keys)
    ]
    signing = [key for key in keys if key["role"] in context.policy.sign_roles]
    ids, holders = {key["keyid"] for key in signing}, {holder(key["name"]) for key in signing}
    for what, found in (("keyid", ids), ("name", holders)):
        if len(found) < min(len(signing), len(context.policy.sign_roles)):
            wrong.append(f"one {what} for two roles")
    if isinstance(case, Evidence):
        auditors = [key for key in signing if key["role"] == "auditor"]
        if any(names_holder(case.trained_by, key["name"], key["role"], key["keyid"]) for key in auditors):
            wrong.append("the auditor trained the model")
        if not case.trained_by.strip():
            wrong.append("nobody is named as who trained the model")
    if isinstance(case, ListEvidence) and case.verdict_expires_at <= context.now:
        wrong.append("the verdict has expired")
    yield none_wrong("faults_of_signers", wrong)


@check("C704", "B", "pass", "block", lists=True)
def scores_are_the_same_again(case: Case, context: Context) -> Iterable[Finding]:
    """Rows scored again get the same score to the byte."""
    if case.determinism is None:
        raise Unanswerable("nothing was scored again")
    rows, different = whole(case.determinism["rows"]), whole(case.determinism["different"])
    if not rows:
        raise Unanswerable("no row was scored again")
    state = "block" if different else "pass"
    yield {
        "state": state,
        "statistic": "scores_that_differ",
        "value": different,
        "threshold": 0,
        "facts": {"case": state, "rows": rows},
    }


@check("C705", "W", "pass", "brittle", "rule")
def the_cut_is_robust(evidence: Evidence, context: Context) -> Iterable[Finding]:
    """Most of the first people stay so when inputs are one quantum off; even the lower bound is high enough."""
    if evidence.kind == "rule":
        yield RULE
        return
    if evidence.robustness is None:
        raise Unanswerable("robustness was not gathered")
    found, limit = evidence.robustness, context.policy.thresholds.min_noise_overlap
    robust = found["low"] >= limit
    yield {
        "state": "pass" if robust else "warn",
        "statistic": "overlap_under_noise",
        "value": found["overlap"],
        "low": found["low"],
        "high": found["high"],
        "threshold": limit,
        "facts": {"case": "pass" if robust else "brittle", "cut": int(found["cut"])},
    }
