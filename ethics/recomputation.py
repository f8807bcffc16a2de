"""A verdict's statistics, computed again from its cells: what an auditor needs neither a city nor a model for.

The fairness table follows from the file of cells, the cuts, thresholds, seed and replicates that the verdict holds; the
checks marked ``from_cells`` follow from that table. Where numbers come out otherwise, either the signed checks or the
cells are not those that were judged together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ethics.case import Evidence
from ethics.check_register import Context
from ethics.digests import decimal
from ethics.policy import GateThresholds, Policy
from ethics.refusal_ids import STATISTICS
from ethics.refusals import Fault

if TYPE_CHECKING:
    import polars as pl

    from ethics.fairness import FairnessTable
    from ethics.verdict import Check, Verdict

_TOUCHED = "Take verdict and cells as they were written together; a verdict is never edited"
_STEP = 5
_SAME = 1e-4
"""Relative: another machine's arithmetic may differ in the last of the six digits written, and no edit is so small."""


def recomputed_ids(verdict: Verdict) -> list[str]:
    """The verdict's checks that can be derived again from cells, by the versions of them that are built here."""
    from ethics.checks import BUILT

    run = {(check.id, check.version) for check in verdict.checks}
    run -= {(check.id, check.version) for check in verdict.checks if check.state == "error"}
    return [id for id, built in BUILT.items() if built.from_cells and (id, built.version) in run]


def statistics_faults(verdict: Verdict, cells: pl.DataFrame) -> list[Fault]:
    """Every signed check, and every fact about the measurement, that is not what the cells give.

    Raises
    ------
    NotTrusted
        The cells are not those of the verdict's digest.
    """
    from ethics.checks import BUILT
    from ethics.judged_table import table_of

    table = table_of(verdict, cells)
    assert table is not None  # there are cells
    context = Context(_policy_of(verdict), verdict.issued_at, table)
    evidence = _evidence_of(verdict, table)
    faults = list(_facts_that_differ(verdict, table))
    for id in recomputed_ids(verdict):
        signed = [check for check in verdict.checks if check.id == id]
        faults += _checks_that_differ(signed, BUILT[id].run(evidence, context))
    return faults


def _policy_of(verdict: Verdict) -> Policy:
    """The thresholds that were judged by, as the verdict holds them; the rest of a policy no such check asks for."""
    scope = verdict.scope
    numbers = {name: float(text) for name, text in scope["thresholds"].items()}
    whole = {name: int(value) if value == int(value) else value for name, value in numbers.items()}
    return Policy.load().model_copy(
        update={
            "thresholds": GateThresholds.model_validate(whole),
            "min_persons_shown": int(scope["min_persons_shown"]),
            "strict_services": (verdict.service,) if scope.get("strict") else (),
            "required": verdict.required,
        }
    )


def _evidence_of(verdict: Verdict, table: FairnessTable) -> Evidence:
    """A case that knows what verdict and cells tell, and nothing else: what else is asked for is an error."""
    import polars as pl

    scope = verdict.scope
    return Evidence(
        need_id=verdict.need_id,
        kind=scope["kind"],
        service=verdict.service,
        use=verdict.use,
        texts={name: dict(text) for name, text in verdict.purpose.items()},
        owner=dict(verdict.record.get("owner", {})),
        model_digest=str(verdict.subject["model"]),
        subject={},
        recorded={},
        rows=pl.DataFrame(),
        indicator_names=table.indicators,
        capacity_k=int(scope["capacity_k"]),
        period_days=int(scope["period_days"]),
        eligible_n=int(scope["eligible_n"]),
        n_objectors_in_rows=0,
        duel=(),
        auc=None,
        plausible_auc_max=None,
        single_columns=(),
        additivity_max_error=None,
        features=(),
        model_columns=(),
        sort_key=(),
        stop_switch_tested_at=None,
        signing_keys=(),
        seed=int(verdict.subject["seed"]),
        trained_by=str(verdict.record.get("trained_by", "")),
    )


def _facts_that_differ(verdict: Verdict, table: FairnessTable) -> Iterator[Fault]:
    """What scope and record say about the measurement, beside what the cells give."""
    scope = verdict.scope
    said_and_found: dict[str, tuple[Any, Any]] = {
        "scope: group_attributes": (scope.get("group_attributes"), list(table.attributes)),
        "scope: indicators": (scope.get("indicators"), list(table.indicators)),
        "scope: measured_n": (scope.get("measured_n"), table.n),
    }
    for where, (said, found) in said_and_found.items():
        if said != found:
            yield Fault(where, f"says {said}, and the cells give {found}", _TOUCHED, STATISTICS)
    said, found = verdict.record.get("fair_worlds_pass"), decimal(table.fair_worlds_pass)
    if not _same(said, found):
        yield Fault("record: fair_worlds_pass", f"says {said}, and the cells give {found}", _TOUCHED, STATISTICS)


def _checks_that_differ(signed: list[Check], found: list[Check]) -> Iterator[Fault]:
    def keyed(checks: list[Check]) -> dict[tuple[str, str | None, int], dict[str, Any]]:
        turns: dict[str | None, int] = {}
        rows = {}
        for check in checks:
            turns[check.group] = turns.get(check.group, 0) + 1
            rows[check.id, check.group, turns[check.group]] = replace(check, attested_by=None).to_json()
        return rows

    was, now = keyed(signed), keyed(found)
    for key in dict.fromkeys((*was, *now)):
        where = f"{key[0]}{' ' + key[1] if key[1] else ''}"
        if key not in was or key not in now:
            wrong = "does not follow from the cells" if key in was else "follows from the cells, and is not signed"
            yield Fault(where, wrong, _TOUCHED, STATISTICS)
            continue
        for name in was[key]:
            said, gives = was[key][name], now[key][name]
            same = _same(said, gives) if name in ("value", "low", "high", "threshold") else _alike(said, gives)
            if not same:
                yield Fault(f"{where}: {name}", f"says {said}, and the cells give {gives}", _TOUCHED, STATISTICS)


def _same(said: str | None, found: str | None) -> bool:
    if said is None or found is None:
        return said == found
    one, other = float(said), float(found)
    return abs(one - other) <= _SAME * max(abs(one), abs(other), 1e-9)


def _alike(said: Any, found: Any) -> bool:
    """Equal text and facts; counts of people, which are rounded to five, may fall one step apart."""
    if not (isinstance(said, Mapping) and isinstance(found, Mapping)):
        return bool(said == found)
    return said.keys() == found.keys() and all(
        said[name] == found[name]
        or (isinstance(said[name], int) and isinstance(found[name], int) and abs(said[name] - found[name]) <= _STEP)
        for name in said
    )
