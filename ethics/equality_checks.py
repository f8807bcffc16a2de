"""P4, equality beyond measured groups: neutral ties, no group in use, nobody left out of what is scored."""

from __future__ import annotations

from collections.abc import Iterable

from ethics.case import SORT_KEY, ListEvidence
from ethics.check_register import Case, Context, Finding, check, none_wrong
from ethics.group_checks import measured


@check("C409", "B", "pass", "block", lists=True)
def ties_are_broken_neutrally(case: Case, context: Context) -> Iterable[Finding]:
    """The sort key is the score and then the neutral tie key; no group and nothing else."""
    attributes = case.group_attributes if isinstance(case, ListEvidence) else measured(context).attributes
    key = list(case.sort_key)
    wrong = [] if key == list(SORT_KEY) else key or ["nothing"]
    groups = [name for name in attributes if any(part.split()[:1] == [name] for part in key)]
    yield none_wrong("wrong_sort_keys", wrong, **({"groups": ", ".join(groups)} if groups else {}))
