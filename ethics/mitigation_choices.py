"""What to try first where the gate found fault: the attribute, the group and the features that its findings name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.proxy_checks import proxies_without_worth

if TYPE_CHECKING:
    from ethics.case import Evidence
    from ethics.policy import Policy
    from ethics.verdict import Check

VOUCHED_BY = {"weights": "AT-06", "cut": "AT-09"}
"""Ways of mending that name a group, and the statement each asks for, whatever the gate says of the result."""
OF_GROUPS = ("C401", "C403", "C414", "C402")
_GRAVEST = ("block", "needs_attestation", "inconclusive", "warn")
MOST_FEATURES = 3


class NamedGroup(NamedTuple):
    """A group of one attribute."""

    attribute: str
    group: str


def worst_group(checks: Sequence[Check], attributes: Sequence[str]) -> NamedGroup | None:
    """The group of the gravest finding about recall, need at the same score, label choice or crossings.

    Graver is what is nearer to a block; of equals, the earlier in :data:`OF_GROUPS`, then what lies further beyond its
    threshold. A crossing counts for its first attribute.

    Parameters
    ----------
    checks : sequence of Check
    attributes : sequence of str
        Attributes that may be chosen.

    Returns
    -------
    NamedGroup or None
        None where no finding is about a group of these.
    """
    found = []
    for position, check in enumerate(checks):
        named = _named(check)
        if check.id in OF_GROUPS and check.state in _GRAVEST and named is not None and named.attribute in attributes:
            gravity = (_GRAVEST.index(check.state), OF_GROUPS.index(check.id), -_beyond(check), position)
            found.append((gravity, named))
    return min(found)[1] if found else None


def _named(check: Check) -> NamedGroup | None:
    """The group a finding is about; of a crossing ("sex × age=f × 20"), the first."""
    attribute, sign, group = (check.group or "").partition("=")
    if not sign:
        return None
    return NamedGroup(attribute.split(" × ")[0], group.split(" × ")[0] if " × " in attribute else group)


def _beyond(check: Check) -> float:
    """How far beyond its threshold a value lies, as a ratio above 1 in either direction; 0 where it is not known."""
    if not check.value or not check.threshold or check.value < 0:
        return 0.0
    ratio = check.value / check.threshold
    return max(ratio, 1 / ratio)


def features_to_drop(
    checks: Sequence[Check], evidence: Evidence, policy: Policy, keep: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """At most :data:`MOST_FEATURES` features to leave out, each with why: those that findings name, or the least worth.

    Named are features without worth (C605), columns that tell a group and give nothing (C604), attributes that decide
    (C410), and of a group that the score tells (C603) the feature with the column that tells it best.

    Parameters
    ----------
    keep : sequence of str
        Features that cannot be left out.
    """
    feature_of = {str(row["column"]): str(row["feature"]) for row in evidence.features}
    wrong = [check for check in checks if check.state not in ("pass", "error", "not_testable")]
    named: dict[str, str] = {}
    for check in wrong:
        if check.id in ("C605", "C410") and check.facts.get("name") and "not_done" not in str(check.facts.get("case")):
            named.setdefault(str(check.facts["name"]), f"named by {check.id}")
    proxies = sorted(evidence.column_proxies or (), key=lambda row: -float(row["auc"]))
    if any(check.id == "C604" for check in wrong):
        for row in sorted(proxies_without_worth(evidence, policy), key=lambda row: -float(row["auc"])):
            named.setdefault(feature_of[row["column"]], "named by C604")
    told = {check.group for check in wrong if check.id == "C603" and check.state == "needs_attestation"}
    for group in sorted(filter(None, told)):
        best = next((row for row in proxies if row["group"] == group), None)
        if best is not None:
            named.setdefault(feature_of[best["column"]], "named by C603")
    chosen = [(name, why) for name, why in named.items() if name not in keep]
    chosen = chosen or [(name, "worth least") for name in _by_worth(evidence.feature_value or ()) if name not in keep]
    return chosen[:MOST_FEATURES]


def _by_worth(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Features that some tree uses and whose worth was measured, the least first."""
    measured = [row for row in rows if row["used"] and row["worth"] is not None]
    return [str(row["feature"]) for row in sorted(measured, key=lambda row: (row["worth"], row["feature"]))]
