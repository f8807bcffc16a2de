"""The pages of a week, from store, state, city and verdicts: the leader's page in three languages, the area table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import Refusal
from ethics.whole_file import write_whole
from serving.approval import read_verdict, revoked_verdicts, verdict_place
from serving.happened_work import numbers, reviewed_first, with_registers
from serving.home import Home
from serving.list_work import value_of_capacity
from serving.progress import Step
from serving.week_state import NeedCounts, WeekState, week_folder

if TYPE_CHECKING:
    import polars as pl

    from features.city import City
    from models.need import Need

_ROUNDLY = 10
"""Whole cohorts are told to so many times the smallest number that may be told."""
LOOKED_BACK_DAYS = 91
"""Earlier lists that the page tells of: a quarter of a year."""
_PAST = ("listed", "tried", "reached", "found", "taken_up", "reach", "found_share", "uptake")


def write_pages(
    home: Home,
    city: City,
    as_of: date,
    state: WeekState,
    needs: Sequence[Mapping[str, Any]],
    about_city: Mapping[str, Any],
    step: Step,
) -> dict[str, Any]:
    """Write the leader's page (three languages, and its numbers as JSON) and the area table (CSV and JSON).

    Returns
    -------
    dict
        ``pages`` and ``area_table``: the paths.
    """
    from scoring.leader_page import LANGUAGES, render_page

    step("writing the leader's page and the area table")
    folder = week_folder(home, as_of)
    facts = leader_facts(home, city, as_of, state, needs, about_city)
    content = json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    pages = {"leader.json": content + "\n"}
    pages |= {f"leader.{language}.html": render_page(facts, language) for language in LANGUAGES}
    tables = _area_files(home, as_of, state, facts)
    for name, text in {**pages, **tables}.items():
        write_whole(folder / name, text.encode("utf-8"))
    return {name: [str(folder / file) for file in files] for name, files in (("pages", pages), ("area_table", tables))}


def _area_files(home: Home, as_of: date, state: WeekState, facts: Mapping[str, Any]) -> dict[str, str]:
    """The area table of the lists that stand; a need whose list no counts are kept of has no rows."""
    from scoring.area_table import District, area_rows, as_csv, as_json

    least = home.policy.min_persons_public
    rows, titles = [], {}
    for need in facts["needs"]:
        counts = _counts(state, need)
        if counts is not None:
            districts = [District(*one.model_dump().values()) for one in counts.districts]
            rows += area_rows(need["need"], districts, least)
            titles[need["need"]] = need["title"]
    banners = [name for name in ("demonstration", "invented") if facts[name]]
    return {"area.csv": as_csv(rows), "area.json": as_json(rows, as_of.isoformat(), titles, least, banners)}


def leader_facts(
    home: Home,
    city: City,
    as_of: date,
    state: WeekState,
    needs: Sequence[Mapping[str, Any]],
    about_city: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything the leader's page says, as JSON values; what may not be told is withheld already."""
    from scoring.leader_numbers import about

    least = home.policy.min_persons_public
    told = [_need_facts(home, city, as_of, state, need) for need in needs]
    return {
        "as_of_date": as_of.isoformat(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": state.run,
        "city": dict(about_city),
        "invented": city.invented,
        "demonstration": any(need["verdict"] and need["verdict"]["demonstration"] for need in told),
        "least": least,
        "objections_about": about(home.objections.count(), least),
        "needs": told,
    }


def _need_facts(home: Home, city: City, as_of: date, state: WeekState, told: Mapping[str, Any]) -> dict[str, Any]:
    need_id = told["need"]
    said = {"need": need_id, "state": told["state"], "errors": told.get("errors", [])}
    if "list_id" not in told:
        need = _approved_need(home, need_id)
        return {**said, "title": _title(need, need_id), "list_id": None, "verdict": _approved_verdict(home, need_id)}
    facts = home.store.list_facts(told["list_id"])
    need = _need_of(home, need_id, facts["model_digest"])
    counts = _counts(state, {**told, "list_digest": facts["list_digest"]})
    expected = None if counts is None or counts.expected is None else counts.expected.model_dump()
    return {
        **said,
        "title": _title(need, need_id),
        "list_digest": facts["list_digest"],
        "objected_since": told["objected_since"],
        "verdict": _verdict(home, need_id, facts["verdict_id"]),
        "expected": expected,
        **_list_numbers(home, city, as_of, need, facts, counts),
    }


def _list_numbers(
    home: Home, city: City, as_of: date, need: Need, facts: Mapping[str, Any], counts: NeedCounts | None
) -> dict[str, Any]:
    """What the list holds, what earlier ones came to, what it costs, what more places would find."""
    from scoring.leader_numbers import about, cost_of_found, left_out, unit_rows

    least = home.policy.min_persons_public
    period = home.store.lists(need.id, as_of).filter(list_id=facts["list_id"])["period"][0]
    worked, made = _worked(home, city, as_of, need)
    to_contact = worked.filter("is_listed")
    expected = {one.unit_id: one for one in counts.units} if counts is not None else {}
    units = [
        {
            **unit,
            "name": expected[unit["unit_id"]].name if unit["unit_id"] in expected else unit["unit_id"],
            "expected": _dumped(expected.get(unit["unit_id"])),
        }
        for unit in facts["units"]
    ]
    past = _happened(worked, to_contact, least)
    whole = None if counts is None or counts.expected is None else counts.expected.model_dump()
    attempts = _attempts(made, to_contact)
    attempt = city.attempt_cost.get(need.service)
    return {
        "list_id": facts["list_id"],
        "period": period,
        "service": need.service,
        "is_rule": need.kind == "rule",
        "k": facts["capacity_k"],
        "places": need.list.places(facts["capacity_k"]),
        "listed": facts["listed"],
        "attempts_per_person": facts["attempts_per_person"],
        "expected_reached": need.capacity.reached_in(facts["listed"], facts["attempts_per_person"]),
        "cohort_about": about(facts["cohort_n"], _ROUNDLY * least),
        "units": unit_rows(units, to_contact, least),
        "left_out": left_out(facts["excluded"], least),
        "happened": past,
        "cost": {
            "attempt": attempt,
            "attempts": attempts,
            "expected": cost_of_found(attempt, facts["listed"] * facts["attempts_per_person"], whole),
            "measured": cost_of_found(attempt, attempts, _found(past)),
        },
        "worth": _worth(home, need, facts["verdict_id"]),
    }


# ---- what came of earlier lists --------------------------------------------------------------------------------


def _worked(home: Home, city: City, as_of: date, need: Need) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of lists whose period the city has seen to its end, with what came of them; and the attempts."""
    import polars as pl

    from scoring.worked_lists import work_of

    over = city.extract_date - timedelta(days=need.capacity.period_days)
    first = as_of - timedelta(days=LOOKED_BACK_DAYS)
    last = min(as_of, over)
    work = work_of(
        home.store.lists(need.id, first).filter(pl.col("as_of_date") <= last),
        home.store.rows(need_id=need.id, first=first, last=last),
        home.store.changes(),
        home.store.attempts(need_id=need.id),
        home.store.outcomes(need_id=need.id),
    )
    return with_registers(work.rows, city, need), work.attempts


def _happened(worked: pl.DataFrame, to_contact: pl.DataFrame, least: int) -> dict[str, Any]:
    """Counts and shares over all earlier lists, and the need missed below the line by their random checks."""
    from scoring.leader_numbers import about, totals_told
    from scoring.what_happened import missed_need, shares_of

    if to_contact.is_empty():
        return {"lists": 0, "days": LOOKED_BACK_DAYS}
    sample = worked.filter(worked["kind"] == "sample").with_columns(in_need=reviewed_first())
    missed = missed_need(sample)
    told = numbers(missed._asdict())
    # From the exact number of those below the line, who was left out for a reason that is withheld might follow.
    below = told["below_about"] = about(told.pop("below_n"), _ROUNDLY * least)
    people = {end: share * below for end, share in told["share"].items()} if below and missed.known else None
    told["people"] = people
    shares = numbers(shares_of(to_contact)._asdict())
    return {
        "lists": to_contact["list_id"].n_unique(),
        "days": LOOKED_BACK_DAYS,
        "first": str(to_contact["as_of_date"].min()),
        "last": str(to_contact["as_of_date"].max()),
        **totals_told({name: shares[name] for name in _PAST}, to_contact, least),
        "missed": told if missed.known else None,
    }


def _attempts(attempts: pl.DataFrame, to_contact: pl.DataFrame) -> int:
    """Attempts made for people of earlier lists, those of outcomes that came without one counted once each."""
    import polars as pl

    key = ["list_id", "person_ref"]
    made = attempts.join(to_contact.select(key), on=key, how="semi")
    tried = to_contact.filter(pl.col("tried")).join(made, on=key, how="anti")
    return made.height + tried.height


def _found(past: Mapping[str, Any]) -> dict[str, float] | None:
    """People whose need was found in earlier lists, with the interval of their share of those reached.

    None where few: what each of them cost would tell how many they are.
    """
    share = past.get("found_share")
    if not share or share["value"] is None:
        return None
    return {end: share[end] * past["reached"] for end in ("value", "low", "high")}


def _worth(home: Home, need: Need, verdict_id: str) -> dict[str, Any] | None:
    """What one more worker would find; None where nothing is kept to tell it by."""
    try:
        return value_of_capacity(home, need, verdict_id)
    except Refusal:
        return None


# ---- needs and verdicts ----------------------------------------------------------------------------------------


def _counts(state: WeekState, need: Mapping[str, Any]) -> NeedCounts | None:
    """The counts kept of a need's list, if they are of that list."""
    counts = state.counts.get(need["need"])
    return counts if counts is not None and counts.list_digest == need.get("list_digest") else None


def _dumped(unit: Any) -> dict[str, float] | None:
    return None if unit is None or unit.expected is None else unit.expected.model_dump()


def _title(need: Need | None, need_id: str) -> dict[str, str]:
    from scoring.leader_texts import LANGUAGES

    return {language: need_id if need is None else str(getattr(need.title, language)) for language in LANGUAGES}


def _need_of(home: Home, need_id: str, model_digest: str) -> Need:
    """The need as the list's model was trained for it."""
    from models.registry import find_version

    return _read_need(find_version(home.registry, need_id, model_digest)[1], need_id)


def _approved_need(home: Home, need_id: str) -> Need | None:
    from models.registry import approved_model

    try:
        return _read_need(approved_model(home.registry, need_id).folder, need_id)
    except (Refusal, OSError):
        return None


def _read_need(folder: Path, need_id: str) -> Need:
    from models.need import parse_need

    return parse_need((folder / "need.toml").read_bytes(), f"{need_id}.toml")


def _approved_verdict(home: Home, need_id: str) -> dict[str, Any] | None:
    """The verdict of the model in use; None where none is."""
    from models.registry import approved_model

    try:
        verdict_id = approved_model(home.registry, need_id).tags.get("verdict", "")
    except Refusal:
        return None
    return _verdict(home, need_id, verdict_id)


def _verdict(home: Home, need_id: str, verdict_id: str) -> dict[str, Any]:
    """State and life of a verdict; a state of None: it cannot be read, or nobody trusted signed it."""
    now = datetime.now(UTC)
    said: dict[str, Any] = {"id": verdict_id, "state": None, "holds": False, "demonstration": False}
    try:
        verdict = read_verdict(home, verdict_place(home, need_id, verdict_id), now)
        revoked = verdict_id in revoked_verdicts(home)
    except Refusal:
        return said
    return {
        **said,
        "state": verdict.state,
        "expires_at": verdict.expires_at.isoformat(timespec="seconds"),
        "days_left": max(0, (verdict.expires_at - now).days),
        "holds": now < verdict.expires_at and not revoked,
        "demonstration": verdict.demonstration,
    }
