"""P7, security: what is used is what was judged, and who signs is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ethics.case import COMPARED, SUBJECTS, Evidence, ListEvidence, names_holder
from ethics.check_register import Case, Context, Finding, check, moment, none_wrong


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
    for what in ("keyid", "name"):
        if len({key[what] for key in signing}) < min(len(signing), len(context.policy.sign_roles)):
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
