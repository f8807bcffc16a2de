"""The shorter stories: look at a city or invent one, keys, stop switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault
from ethics.whole_file import write_whole
from serving.gate_question import groups_file
from serving.home import Home
from serving.progress import Step, masked, silent

if TYPE_CHECKING:
    from ethics.fairness import FairnessTable

_MOST_REJECTS_TOLD = 100
DEMONSTRATION_NAMES = {
    "gate": "Demonstration gate",
    "auditor": "Demonstration auditor",
    "service_owner": "Demonstration service owner",
    "equality_officer": "Demonstration equality officer",
    "domain_professional": "Demonstration domain professional",
    "dpo": "Demonstration data protection officer",
    "lawyer": "Demonstration lawyer",
    "ethics_board": "Demonstration ethics board",
    "accessibility_specialist": "Demonstration accessibility specialist",
    "security_owner": "Demonstration security owner",
}


def look_at_city(
    home: Home, place: str | Path, step: Step = silent, *, rejects_to: Path | None = None
) -> dict[str, Any]:
    """Persons, events, period, codes, and what the door rejected for which reason.

    ``rejects_to`` is a new CSV file for every row rejected (file, row, column, reason), written also where the city is
    refused for them.
    """
    import numpy as np

    from features.city import open_city

    if rejects_to is not None:
        _refuse_old_file(rejects_to)
    with _telling_rejects(rejects_to):
        city = open_city(place, max_reject_share=home.policy.limits.max_reject_share, progress=step)
    if rejects_to is not None:
        write_whole(rejects_to, city.rejects.write_csv().encode())
    log = city.events
    counts = np.bincount(log.code, minlength=len(log.codes)).tolist()
    days = (log.time.min(), log.time.max()) if log.time.size else (None, None)
    reasons = city.rejects.group_by("file", "column", "reason").len()
    reasons = reasons.sort("len", "file", "column", "reason", descending=[True, False, False, False])
    return {
        "city": city.name,
        "persons": city.persons.height,
        "events": int(log.time.size),
        "event_rows": city.n_event_rows,
        "first_event": _day(days[0]),
        "last_event": _day(days[1]),
        "extract_date": str(city.extract_date),
        "timezone": city.timezone,
        "invented": city.invented,
        "codes": dict(sorted(zip(log.codes, counts, strict=True), key=lambda pair: -pair[1])),
        "cohorts": {name: table.height for name, table in city.cohorts.items()},
        "rejected": city.rejects.height,
        "rejects_by_reason": {
            f"{row['reason']} ({row['file']}: {row['column']})": row["len"] for row in reasons.iter_rows(named=True)
        },
        "rejects": city.rejects.head(_MOST_REJECTS_TOLD).to_dicts(),
        "rejects_path": None if rejects_to is None else str(rejects_to),
        "digest": city.digest,
    }


@contextmanager
def _telling_rejects(path: Path | None) -> Iterator[None]:
    """Write the rejects also of a city that is refused for them; without a path, say how to see them."""
    from features.city import DataError

    try:
        yield
    except DataError as error:
        if error.rejects.is_empty():
            raise
        if path is not None:
            write_whole(path, error.rejects.write_csv().encode())
        where = "`ennakko city check CITY --rejects FILE.csv` writes it" if path is None else f"it is in {path}"
        faults = [fault._replace(mend=f"{fault.mend}: {where}") for fault in error.faults]
        raise DataError(*faults, rejects=error.rejects) from None


def _refuse_old_file(path: Path) -> None:
    """A file somebody asks for is new, and stands in a folder that exists."""
    if path.exists():
        raise BadInput(Fault(str(path), "exists already", "Give the path of a new file"))
    if not path.parent.is_dir():
        raise BadInput(Fault(str(path.parent), "is not a folder", "Give a path in a folder that exists"))


def _day(moment_us: int | None) -> str | None:
    return None if moment_us is None else str((datetime(1970, 1, 1) + timedelta(microseconds=int(moment_us))).date())


def invent_city(folder: Path, n_persons: int, seed: int, step: Step = silent) -> dict[str, Any]:
    """Write an invented city."""
    from features.synthetic import synthetic_city

    folder.parent.mkdir(parents=True, exist_ok=True)
    truth = synthetic_city(
        folder, n_persons, seed=seed, progress=lambda done, total: step("inventing a city", done, total)
    )
    return {
        "folder": str(folder),
        "persons": truth.n_persons,
        "events": truth.n_events,
        "known_late": truth.n_known_late,
        "seed": seed,
    }


def make_demonstration_keys(home: Home, now: datetime) -> dict[str, Any]:
    """A key for every role, for seven days and loopback only; and the stop switch, tested once."""
    # A run that was cut short may have left some of them: only what is missing is made.
    there = {key.role for key in home.key_ring.trust().values() if key.state(now) == "in date"}
    missing = {role: name for role, name in DEMONSTRATION_NAMES.items() if role not in there}
    if not missing:
        wrong = "has a key in date for every role"
        raise BadInput(Fault("keys", wrong, "Use them; demonstration keys are made anew after they expire"))
    made = [
        home.key_ring.make(role, name, demonstration=True, days=home.policy.demonstration_days, now=now)
        for role, name in missing.items()
    ]
    home.stop_switch.test(now)
    valid_to = home.key_ring.trust()[made[0]].valid_to
    home.audit_log.append("keys", "system", made=len(made), demonstration=1)
    return {"roles": list(missing), "keyids": made, "valid_to": valid_to.isoformat(timespec="minutes")}


def use_stop_switch(home: Home, action: str, reason: str, now: datetime) -> dict[str, Any]:
    """Set, clear, test or look at the stop switch."""
    switch = home.stop_switch
    if action == "on":
        switch.set(masked(reason))  # never refused for its words: stopping goes before everything
    elif action == "off":
        switch.clear()
    elif action == "test":
        switch.test(now)
    if action != "status":
        home.audit_log.append(f"stop {action}", "service owner")
    tested = switch.tested_at()
    return {"set": switch.is_set(), "reason": switch.reason(), "tested_at": tested.isoformat() if tested else None}


def measure_by_other_label(home: Home, city: Path, ranked_by: str, labelled_by: str) -> FairnessTable:
    """Fairness of one run's ranking against another run's label, on the people that both judged."""
    from ethics.cells import Cuts
    from ethics.groups import GroupRegister
    from models.baselines import audit_cut_of
    from models.evidence_files import read_evidence
    from models.registry import run_model

    ranking, truth = (read_evidence(home.runs / run).rows for run in (ranked_by, labelled_by))
    need = run_model(home.registry, labelled_by).need
    cut = audit_cut_of(truth, need, home.policy.verdict_days, home.policy.audit_recall)
    rows = ranking.drop("label").join(truth.select("person_id", "label"), on="person_id", maintain_order="left")
    groups = GroupRegister.open(groups_file(city))
    return groups.measure(rows, Cuts(need.listed_k, cut), home.policy, seed=0)
