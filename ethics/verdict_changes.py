"""What changed since a need's last verdict: one plain table, signed with the new verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ethics.verdict import Check, Verdict, moment_text

_NOTHING = "–"
_SCOPE = ("capacity_k", "period_days", "eligible_n", "min_persons_shown")
Change = dict[str, str]


def with_changes(verdict: Verdict, previous: Verdict | None) -> Verdict:
    """The verdict with ``record["changes"]``: what :func:`changes` says, null for a need's first."""
    told = None if previous is None else changes(previous, verdict)
    return replace(verdict, record={**verdict.record, "changes": told})


def changes(before: Verdict, after: Verdict) -> dict[str, Any]:
    """Compare two verdicts of one need.

    Returns
    -------
    dict
        ``since`` (id of the earlier one), ``issued_at`` (its moment), and ``rows``: a list of {``what``, ``name``,
        ``before``, ``after``}, all text, "–" where there is nothing. ``what`` is one of state, check, value, subject,
        threshold, policy, group, feature, scope. A check's state and its number are rows of their own, and a number is
        told only where its state is the same.
    """
    rows = [row for part in _PARTS for row in part(before, after)]
    return {"since": before.verdict_id, "issued_at": moment_text(before.issued_at), "rows": rows}


def _state(before: Verdict, after: Verdict) -> Iterator[Change]:
    yield from _differing("state", {"verdict": before.state}, {"verdict": after.state})


def _checks(before: Verdict, after: Verdict) -> Iterator[Change]:
    was, now = _by_name(before), _by_name(after)
    yield from _differing("check", {k: _word(c) for k, c in was.items()}, {k: _word(c) for k, c in now.items()})
    same = [name for name in was if name in now and _word(was[name]) == _word(now[name])]
    yield from _differing("value", {k: _number(was[k]) for k in same}, {k: _number(now[k]) for k in same})


def _subjects(before: Verdict, after: Verdict) -> Iterator[Change]:
    yield from _differing("subject", _short(before.subject), _short(after.subject))


def _thresholds(before: Verdict, after: Verdict) -> Iterator[Change]:
    yield from _differing("threshold", before.scope.get("thresholds", {}), after.scope.get("thresholds", {}))
    was, now = (dict.fromkeys(verdict.required, "required") for verdict in (before, after))
    yield from _differing("policy", was, now)


def _groups(before: Verdict, after: Verdict) -> Iterator[Change]:
    was, now = ({c.group: "measured" for c in verdict.checks if c.group} for verdict in (before, after))
    yield from _differing("group", was, now)


def _features(before: Verdict, after: Verdict) -> Iterator[Change]:
    was, now = (
        {str(row["feature"]): f"{row['columns']} columns" for row in verdict.record.get("features", ())}
        for verdict in (before, after)
    )
    yield from _differing("feature", was, now)


def _scope(before: Verdict, after: Verdict) -> Iterator[Change]:
    was, now = (
        {name: str(verdict.scope[name]) for name in _SCOPE if name in verdict.scope} for verdict in (before, after)
    )
    yield from _differing("scope", was, now)


_PARTS = (_state, _checks, _subjects, _thresholds, _groups, _features, _scope)


def _differing(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name, _NOTHING), after.get(name, _NOTHING)
        if was != now:
            yield {"what": what, "name": name, "before": str(was), "after": str(now)}


def _by_name(verdict: Verdict) -> dict[str, Check]:
    """Checks by id and group; where a check answers several times without a group, by its statistic and turn too."""
    named: dict[str, Check] = {}
    for check in verdict.checks:
        name = check.id if check.group is None else f"{check.id} {check.group}"
        if name in named:
            name = f"{name} {check.statistic}"
        turn = 2
        while name in named:
            name, turn = f"{name.partition(' #')[0]} #{turn}", turn + 1
        named[name] = check
    return named


def _word(check: Check) -> str:
    return f"{check.state} (attested)" if check.attested_by else check.state


def _number(check: Check) -> str:
    written = check.to_json()
    if written["value"] is None:
        return _NOTHING
    interval = f" ({written['low']} to {written['high']})" if written["low"] is not None else ""
    return f"{written['value']}{interval}"


def _short(subject: Mapping[str, str | int]) -> dict[str, str]:
    """Digests by their first twelve digits; numbers as they are."""
    return {name: str(value)[:12] for name, value in subject.items()}
