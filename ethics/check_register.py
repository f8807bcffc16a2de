"""How a check is registered, what it may look at, and how its answer becomes findings; errors never become passes.

A check is a small function from evidence, fairness table and policy to findings. One that cannot be answered raises,
and the gate makes that an error; nothing here guesses in favour of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ethics.case import Evidence, ListEvidence
from ethics.fairness import FairnessTable
from ethics.policy import Policy
from ethics.verdict import NOT_A_NUMBER, NOTHING_EVALUATED, Check

DOES_NOT_APPLY = "does not apply to a rule"
Finding = dict[str, Any]
Case = Evidence | ListEvidence


class Unanswerable(ValueError):
    """A check that cannot be answered, in words that name no person and may be shown."""


@dataclass(frozen=True)
class Context:
    """What a check may look at beside the evidence."""

    policy: Policy
    now: datetime
    fairness: FairnessTable | None = None


@dataclass(frozen=True)
class BuiltCheck:
    """A check of the table: its severity, the message cases it can end in, and what it is asked of beside a model."""

    id: str
    severity: str
    cases: tuple[str, ...]
    answer: Callable[[Any, Context], Iterable[Finding]]
    for_lists: bool
    for_scores: bool = False
    core: bool = False
    for_models: bool = True
    version: int = 1
    from_cells: bool = False

    def run(self, case: Case, context: Context) -> list[Check]:
        """The findings as checks. An exception, a NaN or no finding at all is an error, never a pass."""
        try:
            checks = [
                Check(id=self.id, version=self.version, severity=self.severity, **finding)
                for finding in self.answer(case, context)
            ]
            if not checks:
                return [self.error(NOTHING_EVALUATED)]
        except Unanswerable as error:
            return [self.error(str(error))]
        except Exception as error:
            return [self.error(type(error).__name__)]
        return [self.error(NOT_A_NUMBER) if _is_nan(check) else check for check in checks]

    def error(self, wrong: str) -> Check:
        """This check could not be answered."""
        facts = {"wrong": wrong}
        return Check(
            id=self.id, version=self.version, severity=self.severity, state="error", statistic="error", facts=facts
        )


BUILT: dict[str, BuiltCheck] = {}


def check(
    id: str,
    severity: str,
    *cases: str,
    lists: bool = False,
    scores: bool = False,
    core: bool = False,
    from_cells: bool = False,
    models: bool = True,
) -> Callable[[Callable[[Any, Context], Iterable[Finding]]], Callable[[Any, Context], Iterable[Finding]]]:
    """Register a check of the table.

    Parameters
    ----------
    id : str
        C101 … C804.
    severity : "B", "BA", "W" or "A"
        Blocks; blocks unless attested; warns; asks for an attestation.
    cases : str
        The message cases it can end in: each has a text in ``messages/checks/<id>.toml`` (but ``pass``).
    lists : bool
        Whether it is asked of every list too (G2).
    scores : bool
        Whether it can be asked of scores alone, without a city or a model.
    core : bool
        Whether it stands in the report's first table.
    from_cells : bool
        Whether it rests on the fairness table, the thresholds and the need's name, kind, service and indicators alone,
        so that an auditor can derive it again from the cells (:mod:`ethics.recomputation`).
    models : bool
        Whether it is asked of a model (G1); False for what only a list can answer.
    """

    def register(answer: Callable[[Any, Context], Iterable[Finding]]) -> Callable[[Any, Context], Iterable[Finding]]:
        BUILT[id] = BuiltCheck(
            id, severity, cases, answer, lists, scores, core, for_models=models, from_cells=from_cells
        )
        return answer

    return register


def _is_nan(check: Check) -> bool:
    return any(
        number is not None and number != number for number in (check.value, check.low, check.high, check.threshold)
    )


def none_wrong(statistic: str, wrong: Sequence[str], **facts: str | int) -> Finding:
    """The usual finding: nothing in the list of wrongs, or a block that names them."""
    named = ", ".join(wrong[:12]) + (f" and {len(wrong) - 12} more" if len(wrong) > 12 else "")
    return {
        "state": "block" if wrong else "pass",
        "statistic": statistic,
        "value": len(wrong),
        "threshold": 0,
        "facts": {**({"names": named} if wrong else {}), **facts},
    }


RULE: Finding = {"state": "pass", "statistic": DOES_NOT_APPLY, "facts": {"case": "rule"}}


def whole(n: object) -> int:
    """The count itself; anything else cannot be answered."""
    if not isinstance(n, int) or n < 0:
        raise ValueError("not a count")
    return n


def moment(value: object) -> datetime:
    """A moment, from itself or its ISO text."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def is_vouched_for(
    statement: str, check_id: str, attestations: Sequence[Mapping[str, Any]] | None, context: Context
) -> bool:
    """Whether a statement by which the verdict passed still lifts that check: a list asks, long after the judging.

    Raises
    ------
    Unanswerable
        Which attestations the verdict rests on is not known.
    """
    if attestations is None:
        raise Unanswerable("which attestations the verdict rests on is not known")
    longest = timedelta(days=context.policy.attestations[statement].days)
    for given in attestations:
        begin = moment(given["given_at"])
        end = min(moment(given["expires_at"]), begin + longest)
        if (given["id"], given["check"]) == (statement, check_id) and begin <= context.now < end:
            return True
    return False
