"""What outcomes show later (G3): who objects, who takes up the help, who reads lists, and whether people still decide.

These are functions over tables of outcomes, in a registry of their own: a verdict cannot ask them, since it is older
than any outcome. No person stands in a table, only counts by group (:meth:`ethics.GroupRegister.sums` gives them). Need
missed and need at the same score are measured on realised outcomes as at G1: :func:`ethics.measure`, then C401 and
C403.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ethics.check_register import BuiltCheck, Context, Finding, Unanswerable, moment, none_wrong
from ethics.count_bounds import Ratio, rate_ratio, share_bounds
from ethics.group_checks import bucket
from ethics.policy import Policy
from ethics.verdict import Check

if TYPE_CHECKING:
    import polars as pl

_MIN_EXPECTED = 5
"""Fewer expected events or decisions than this in a group show nothing either way."""


@dataclass(frozen=True, kw_only=True)
class OutcomeTables:
    """Outcomes since the verdict, as counts. None: not gathered, and the check that asks is an error.

    Attributes
    ----------
    objections : polars.DataFrame
        ``attribute``, ``group``, ``n`` (people covered), ``objecting``.
    uptake : polars.DataFrame
        ``attribute`` (channel, language, accessibility need or an audit attribute), ``group``, ``n`` (people
        contacted), ``taken_up``.
    complaints : sequence of moments
        When each complaint that is still open came in.
    reads : sequence of {list_id, unit, role, list_unit, logged}
        Each reading of a list that any system knows of; ``list_unit`` is whose list it is, ``logged`` whether the audit
        log holds it.
    roles : collection of str
        Roles that may read lists.
    decisions : polars.DataFrame
        ``attribute``, ``group``, ``n`` (rows a human decided on), ``overridden``.
    in_rank_order : (int, int)
        Rows that were actioned strictly in rank order, and rows actioned at all.
    reviewer_load : (float, float)
        Rows per reviewer-hour, and what was declared.
    """

    objections: pl.DataFrame | None = None
    uptake: pl.DataFrame | None = None
    complaints: Sequence[datetime] | None = None
    reads: Sequence[Mapping[str, Any]] | None = None
    roles: Sequence[str] = ()
    decisions: pl.DataFrame | None = None
    in_rank_order: tuple[int, int] | None = None
    reviewer_load: tuple[float, float] | None = None


OUTCOME_CHECKS: dict[str, BuiltCheck] = {}
"""Check id → check over :class:`OutcomeTables`."""


def judge_outcomes(tables: OutcomeTables, policy: Policy, now: datetime) -> tuple[Check, ...]:
    """Ask every outcome check. Where :func:`revokes` says so, the caller revokes the verdict that let the lists leave.

    Parameters
    ----------
    now : datetime
        With a time zone.
    """
    if now.tzinfo is None:
        raise ValueError("a moment without a time zone")
    context = Context(policy, now)
    # A table of outcomes is a case of its own, which only these checks take.
    case: Any = tables
    return tuple(answer for built in OUTCOME_CHECKS.values() for answer in built.run(case, context))


def revokes(checks: Iterable[Check]) -> bool:
    """Whether an answer takes the verdict back: a block does, a warning or an unanswered question does not.

    >>> revokes([])
    False
    """
    return any(check.state == "block" for check in checks)


_Answer = Callable[[Any, Context], Iterable[Finding]]


def _outcome(id: str, severity: str, *cases: str) -> Callable[[_Answer], _Answer]:
    """Register a check over outcomes."""

    def register(answer: _Answer) -> _Answer:
        OUTCOME_CHECKS[id] = BuiltCheck(id, severity, cases, answer, for_lists=False, for_models=False)
        return answer

    return register


@_outcome("C104", "W", "pass", "warn", "not_testable")
def groups_object_alike(tables: OutcomeTables, context: Context) -> Iterable[Finding]:
    """No group objects more than twice as often as the others."""
    limit = context.policy.thresholds.max_objection_ratio
    for named, ratio in _ratios(_given(tables.objections), "objecting"):
        state = "warn" if ratio.low > limit else "pass"
        yield _compared("objection_ratio", ratio, limit, state, context) | named


@_outcome("C413", "W", "pass", "warn", "not_testable")
def contact_reaches_alike(tables: OutcomeTables, context: Context) -> Iterable[Finding]:
    """By channel, language and accessibility need, help is taken up at least 0.8 times as often as by the others."""
    limit = context.policy.thresholds.min_uptake_ratio
    for named, ratio in _ratios(_given(tables.uptake), "taken_up"):
        state = "warn" if ratio.high < limit else "pass"
        yield _compared("uptake_ratio", ratio, limit, state, context) | named


@_outcome("C503", "W", "pass", "warn")
def complaints_are_answered(tables: OutcomeTables, context: Context) -> Iterable[Finding]:
    """No complaint has been open for longer than the policy's days."""
    limit = timedelta(days=context.policy.thresholds.max_complaint_days)
    came = [moment(when) for when in _given(tables.complaints)]
    if any(when > context.now for when in came):
        raise Unanswerable("a complaint came in after now: a clock is wrong")
    late = sum(context.now - when > limit for when in came)
    state = "warn" if late else "pass"
    yield {"state": state, "statistic": "complaints_overdue", "value": late, "threshold": 0}


@_outcome("C706", "B", "pass", "block")
def only_declared_readers(tables: OutcomeTables, context: Context) -> Iterable[Finding]:
    """Lists are read only in their own unit by a declared role, and every reading is in the audit log."""
    if not tables.roles:
        raise Unanswerable("no role is declared as a reader")
    wrong = []
    for read in _given(tables.reads):
        reasons = [
            *([] if read["unit"] == read["list_unit"] else [f"unit {read['unit']} read a list of {read['list_unit']}"]),
            *([] if read["role"] in tables.roles else [f"role {read['role']} read a list"]),
            *([] if read["logged"] is True else [f"a reading in unit {read['unit']} is not in the log"]),
        ]
        wrong += reasons
    finding = none_wrong("reads_without_right", list(dict.fromkeys(wrong)))
    yield finding | {"value": len(wrong)}


@_outcome("C803", "W", "pass", "rubber_stamp", "many", "one_way", "in_order", "not_testable")
def people_decide(tables: OutcomeTables, context: Context) -> Iterable[Finding]:
    """Overrides are neither almost none nor the rule, alike in all groups, and the order is not followed blindly.

    An alarm needs proof: the upper bound below the least share, or the lower bound above the most. By group it warns
    where the rate of overriding is proved to be under half or over twice that of the others.
    """
    limits, decisions = context.policy.thresholds, _given(tables.decisions)
    first = decisions.filter(decisions["attribute"] == decisions["attribute"][0])
    n, overridden = int(first["n"].sum()), int(first["overridden"].sum())
    low, high = share_bounds(overridden, n)
    share: Finding = {"statistic": "override_share", "value": overridden / n, "low": low, "high": high}
    if high < limits.min_override_share:
        share |= {"state": "warn", "threshold": limits.min_override_share, "facts": {"case": "rubber_stamp"}}
    elif low > limits.max_override_share:
        share |= {"state": "warn", "threshold": limits.max_override_share, "facts": {"case": "many"}}
    else:
        share |= {"state": "pass", "threshold": limits.max_override_share}
    yield share
    for named, ratio in _ratios(decisions, "overridden"):
        twice = 2.0 if ratio.value >= 1 else 0.5
        proved = ratio.low > 2 or ratio.high < 0.5
        yield (
            _compared(
                "override_ratio", ratio, twice, "warn" if proved else "pass", context, "one_way" if proved else ""
            )
            | named
        )
    in_order, actioned = _given(tables.in_rank_order)
    low, high = share_bounds(in_order, actioned)
    most = 1 - limits.min_override_share
    blind = low > most
    yield {
        "state": "warn" if blind else "pass",
        "statistic": "share_in_rank_order",
        "value": in_order / actioned,
        "low": low,
        "high": high,
        "threshold": most,
        "facts": {"case": "in_order"} if blind else {},
    }


@_outcome("C804", "W", "pass", "warn")
def there_is_time_to_review(tables: OutcomeTables, context: Context) -> Iterable[Finding]:
    """Rows per reviewer-hour are no more than declared."""
    found, declared = _given(tables.reviewer_load)
    if not (found >= 0 and declared > 0):
        raise Unanswerable("rows per hour are not numbers")
    state = "warn" if found > declared else "pass"
    yield {"state": state, "statistic": "cases_per_hour", "value": float(found), "threshold": float(declared)}


def _given(table: Any) -> Any:
    if table is None or (hasattr(table, "is_empty") and table.is_empty()):
        raise Unanswerable("the outcomes were not gathered")
    return table


def _ratios(table: pl.DataFrame, column: str) -> Iterable[tuple[Finding, Ratio]]:
    """Each group's rate against that of everybody else of the attribute."""
    for attribute in table["attribute"].unique(maintain_order=True):
        part = table.filter(table["attribute"] == attribute)
        people, events = float(part["n"].sum()), float(part[column].sum())
        for row in part.iter_rows(named=True):
            n, found = float(row["n"]), float(row[column])
            if not (0 <= found <= n):
                raise Unanswerable("more events than people")
            if not n or n == people:
                continue
            named: Finding = {"group": f"{attribute}={row['group']}", "n_bucket": bucket(int(n))}
            yield named, rate_ratio(found, n, events - found, people - n)


def _compared(statistic: str, ratio: Ratio, threshold: float, state: str, context: Context, case: str = "") -> Finding:
    """A finding about a group's rate; of too few expected events, that it cannot be told."""
    if ratio.expected < _MIN_EXPECTED and state == "pass":
        return {
            "state": "not_testable",
            "statistic": statistic,
            "threshold": threshold,
            "facts": {"case": "not_testable"},
        }
    numbers = {name: value for name, value in ratio._asdict().items() if name != "expected" and value != float("inf")}
    return {
        "state": state,
        "statistic": statistic,
        "threshold": threshold,
        **numbers,
        "facts": {"case": case} if case else {},
    }
