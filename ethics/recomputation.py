"""A verdict's statistics, computed again from its cells: what an auditor needs neither a city nor a model for.

The fairness table follows from the file of cells, the cuts, thresholds, seed and replicates that the verdict holds; the
checks marked ``from_cells`` follow from that table. Where numbers come out otherwise, either the signed checks or the
cells are not those that were judged together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ethics.case import Evidence
from ethics.cells import blocks_of
from ethics.check_register import Context
from ethics.demands_audit import audit_recall_of, policy_of
from ethics.digests import decimal
from ethics.group_record import group_record
from ethics.policy_floor import FLOOR
from ethics.refusal_ids import STATISTICS
from ethics.refusals import Fault

if TYPE_CHECKING:
    import polars as pl

    from ethics.fairness import FairnessTable
    from ethics.verdict import Check, Verdict

_TOUCHED = "Take verdict and cells as they were written together; a verdict is never edited"
_STEP = 5
GROUP_TABLES = ("crossings", "decomposition", "exposure", "power")
_NO_MEASURE = ("environment", "changes", "owner", "trained_by")
"""Entries of a record that measure nothing, or are compared elsewhere."""
_SAME = 1e-4
"""Relative: another machine's arithmetic may differ in the last of the six digits written, and no edit is so small."""


def recomputed_ids(verdict: Verdict) -> list[str]:
    """The verdict's checks that can be derived again from cells, by the versions of them that are built here."""
    from ethics.checks import BUILT

    run = {(check.id, check.version) for check in verdict.checks}
    run -= {(check.id, check.version) for check in verdict.checks if check.state == "error"}
    return [id for id, built in BUILT.items() if built.from_cells and (id, built.version) in run]


def statistics_faults(verdict: Verdict, cells: pl.DataFrame, cells_digest: str | None = None) -> list[Fault]:
    """Every signed check, and every fact about the measurement, that is not what the cells give.

    Parameters
    ----------
    cells_digest : str, optional
        SHA-256 of the file the cells were read from, where one was; see :func:`ethics.judged_table.table_of`.

    Raises
    ------
    NotTrusted
        The cells are not those of the verdict's digest.
    """
    from ethics.checks import BUILT
    from ethics.judged_table import table_of

    table = table_of(verdict, cells, cells_digest)
    assert table is not None  # there are cells
    context = Context(policy_of(verdict), verdict.issued_at, table)
    evidence = _evidence_of(verdict, table)
    faults = [*_facts_that_differ(verdict, table), *_cut_that_differs(verdict, table, cells)]
    faults += _tables_that_differ(verdict, table)
    for id in recomputed_ids(verdict):
        signed = [check for check in verdict.checks if check.id == id]
        faults += _checks_that_differ(signed, BUILT[id].run(evidence, context))
    return faults


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
        model_digest=str(verdict.subject.get("model") or verdict.subject["scores"]),
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


def _cut_that_differs(verdict: Verdict, table: FairnessTable, cells: pl.DataFrame) -> Iterator[Fault]:
    """The audit cut follows from recall and capacity: one set by hand could lie where no harm can be seen.

    Bins of the score are as fine as it can be told. A cut deeper than recall asks for is the capacity's, of as many
    periods as a verdict may hold for.
    """
    if table.fixed or not table.has_label:
        return
    scope, cut = verdict.scope, table.cuts.k_audit
    count = blocks_of(cells, table.indicators)[0].count.sum(axis=0)
    ends, found = count.sum(axis=1).cumsum(), count[:, 1].cumsum()
    bin = int((found < audit_recall_of(scope) * found[-1] - 1e-9).sum())
    step = int(count.sum(axis=1).max())
    n, enough = int(ends[-1]), int(ends[min(bin, len(ends) - 1)])
    stated = verdict.record.get("stated") or {}
    # Scores alone have periods without days; a model's period has days.
    given = stated.get("periods")
    periods = int(given) if given else math.ceil(FLOOR["verdict_days"][1] / int(scope["period_days"]))
    least = min(enough - step, n // 2) - 1
    most = min(max(enough + step, int(scope["capacity_k"]) * periods), max(n, int(scope["eligible_n"])) // 2)
    if not least <= cut <= most + 1:
        wrong = f"says {cut}, and recall in the cells and the capacity give {max(1, least)} to {max(1, most)}"
        yield Fault("scope: measured_k_audit", wrong, _TOUCHED, STATISTICS)


def _tables_that_differ(verdict: Verdict, table: FairnessTable) -> Iterator[Fault]:
    """The record's tables of groups, which follow from the cells as the checks do."""
    for name, found in group_record(table, int(verdict.scope["min_persons_shown"])).items():
        said = verdict.record.get(name)
        same = isinstance(said, list) and len(said) == len(found) and all(map(_same_row, said, found))
        if not same:
            yield Fault(f"record: {name}", "is not what the cells give", _TOUCHED, STATISTICS)


def _same_row(said: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    def alike(one: Any, other: Any) -> bool:
        try:
            return bool(one == other) or _same(one, other)
        except (TypeError, ValueError):  # names, not numbers
            return False

    return said.keys() == found.keys() and all(alike(said[name], found[name]) for name in said)


def not_recomputed(verdict: Verdict, *, with_cells: bool) -> list[str]:
    """The record's entries that hold something and do not follow from the cells (or from cells that are not here)."""
    derived = {*GROUP_TABLES, "fair_worlds_pass"} if with_cells else set()
    return [name for name, held in verdict.record.items() if held and name not in {*derived, *_NO_MEASURE}]


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
    """Equal text and facts; residents missed, who are rounded to five, may fall one step apart."""
    if not (isinstance(said, Mapping) and isinstance(found, Mapping)):
        return bool(said == found)
    return said.keys() == found.keys() and all(
        said[name] == found[name]
        or (
            name.startswith("missed")
            and isinstance(said[name], int)
            and isinstance(found[name], int)
            and abs(said[name] - found[name]) <= _STEP
        )
        for name in said
    )
