"""The story of a list: scored, drawn up, asked about, published whole; and why somebody is not on it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault
from serving.approval import bytes_of, open_champion, verdict_place
from serving.contacted_once import settling, taken_by_others
from serving.gate_question import groups_file
from serving.guardian_lists import channels_refused
from serving.home import CELLS, Home, locked
from serving.objection_work import recall_late_objectors
from serving.opening import folder_of, need_path, open_city_for
from serving.progress import Step, silent

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need
    from scoring.contacts import ContactBook, Masked, Refusals
    from scoring.hygiene import Past
    from scoring.list_evidence import Surroundings
    from scoring.list_records import OutreachList
    from scoring.outreach import DrawnUp
    from scoring.scorer import Scorer, Scores
    from scoring.store import Export
    from serving.approval import Champion

_DRAFT = ".draft-"


def list_need(
    home: Home,
    city_folder: str | Path,
    need: Path,
    as_of: date,
    unit: str | None = None,
    step: Step = silent,
    *,
    language: str = "en",
) -> dict[str, Any]:
    """The outreach list of every unit (or one) in a language, if the gate lets it leave."""
    from scoring.reasons import Words

    Words.of(language)  # or it would be refused only after the scoring
    _, scorer, city, scores = scored(home, city_folder, need, as_of, step)
    return list_scored(home, folder_of(city_folder), scorer, city, scores, unit, step, language=language)


def list_scored(
    home: Home,
    city_folder: Path,
    scorer: Scorer,
    city: City,
    scores: Scores,
    unit: str | None = None,
    step: Step = silent,
    *,
    language: str = "en",
) -> dict[str, Any]:
    """As :func:`list_need`, of scores that are there already.

    One list is made at a time; what a killed run left half done is finished, or cleared away, first. Whom a list of
    another need holds in the same period is on no list of this one.
    """
    need = scorer.need
    with settling(home), locked(home.lists / f".{need.id}.lock"):
        finish_interrupted(home, need.id)
        step(f"{need.id}: writing the list")
        elsewhere = left_to_others(home, city_folder, scorer, city, scores)
        listed = list_made(home, city_folder, scorer, city, scores, language=language, elsewhere=elsewhere)
        home.store.add_scores(scores)  # so that a resident can be told; the same scores are kept once
        files, n_late = publish_to_units(home, city_folder, listed, unit)
    expected = need.capacity.reached_in(listed.listed, listed.attempts_per_person)
    value = value_of_capacity(home, need, listed.verdict_id)
    return {
        **listed.facts(),
        "expected_reached": expected,
        "capacity_value": value,
        "objected_meanwhile": n_late,
        "files": [str(path) for path in files],
    }


def list_made(
    home: Home,
    city_folder: Path,
    scorer: Scorer,
    city: City,
    scores: Scores,
    *,
    language: str = "en",
    elsewhere: Collection[str] = (),
) -> OutreachList:
    """The list of some scores, drawn up and let through by the gate; nothing is published yet."""
    from scoring.hygiene import past_of
    from scoring.outreach import outreach_list

    now = datetime.now(UTC)
    past = past_of(home.store, scorer.need, scores.as_of_date)
    return outreach_list(
        scores,
        scorer,
        city,
        objections=home.objections,
        policy=home.policy,
        stop_switch=home.stop_switch,
        past=past,
        erased=home.store.is_erased,
        elsewhere=elsewhere,
        guardians=guardians_of(city_folder, scorer.need, scores, past),
        surroundings=_surroundings(home, scorer, city_folder, now),
        row_keys=home.store.row_keys,
        issued_at=now,
        language=language,
    )


def contacts_of(
    city_folder: Path, need: Need, refusals: Refusals | None = None, masked: Masked | None = None
) -> ContactBook | None:
    """The contact book, where the need's columns show anything of it and the city has one; open it after ranking.

    ``refusals`` says who objects to which channel, and ``masked`` who objects to the need or was erased; of guardians
    too.
    """
    from scoring.contacts import ContactBook, contacts_file
    from scoring.list_cells import needs_contacts

    path = contacts_file(city_folder) if needs_contacts(need.list.columns) else None
    if path is None:
        return None
    return ContactBook.open(path, refusals, masked)


def publish_to_units(
    home: Home, city_folder: Path, listed: OutreachList, unit: str | None = None
) -> tuple[tuple[Path, ...], int]:
    """Publish a list with the contacts its units may see; its files, and how many objected while it was made."""
    need_id, register = listed.need.id, home.objections
    refusals, masked = partial(register.refused_channels, need_id=need_id), partial(register.objecting, need_id=need_id)
    book = contacts_of(city_folder, listed.need, refusals, masked)
    people = [row.person_id for part in listed.parts for row in part.rows]
    guardians = {} if book is None else book.guardians(people, secret=True)
    before = channels_refused(home, need_id, guardians)
    files = publish(home, listed, unit, book)
    after = channels_refused(home, need_id, guardians)
    late = {child for child, channels in after.items() if not {*channels} <= {*before.get(child, ())}}
    return files, recall_late_objectors(home, need_id, listed.list_id, late)


def publish(
    home: Home, listed: OutreachList, unit: str | None = None, contacts: ContactBook | None = None
) -> tuple[Path, ...]:
    """Write a list's files and keep it in the store: all of it, or nothing.

    The files are written to a draft folder; one transaction of the store then publishes the list with its rows and the
    digest of every file; and the folder gets its name. A run killed before the transaction has made no list; one
    killed after it is finished by the next (:func:`finish_interrupted`).
    """
    folder = home.lists / listed.need.id
    draft, target = folder / f"{_DRAFT}{listed.list_id}", folder / listed.list_id
    try:
        written = [target / path.name for path in listed.write(draft, unit, contacts)]
        home.store.publish(listed, _exports(listed, draft / listed.list_id, target))
    except BaseException:
        if home.store.lists(listed.need.id).filter(list_id=listed.list_id).is_empty():
            shutil.rmtree(draft, ignore_errors=True)
        raise
    _record(home, listed.need.id, listed.list_id, listed.verdict_id, listed.listed)
    (draft / listed.list_id).rename(target)
    draft.rmdir()
    return tuple(written)


def finish_interrupted(home: Home, need_id: str) -> None:
    """Name the files of lists that were published by a run that was killed then, and clear away all other drafts."""
    for draft in sorted((home.lists / need_id).glob(f"{_DRAFT}*")):
        list_id = draft.name.removeprefix(_DRAFT)
        written, target = draft / list_id, draft.with_name(list_id)
        is_published = not home.store.lists(need_id).filter(list_id=list_id).is_empty()
        if is_published and written.is_dir() and not target.exists():
            facts = home.store.list_facts(list_id)
            if list_id not in {act.get("list") for act in home.audit_log.facts_of("list")}:
                _record(home, need_id, list_id, facts["verdict_id"], facts["listed"])
            written.rename(target)
            recall_late_objectors(home, need_id, list_id)
        shutil.rmtree(draft)


def _record(home: Home, need_id: str, list_id: str, verdict_id: str, n: int) -> None:
    home.audit_log.append("list", "service", need=need_id, verdict=verdict_id, list=list_id, n=n)


def _exports(listed: OutreachList, written: Path, target: Path) -> list[Export]:
    """Each file with its digest and whose people it holds: those of the unit it is named after, or of all."""
    from scoring.list_records import ROWS
    from scoring.store import Export

    of_all = ("list.json", ROWS)
    units = {part.file_name: part.unit_id for part in listed.parts}
    return [
        Export(
            str(target / path.name),
            sha256(path.read_bytes()),
            None if path.name in of_all else units[path.name.partition(".")[0]],
        )
        for path in sorted(written.iterdir())
    ]


def guardians_of(city_folder: Path, need: Need, scores: Scores, past: Past) -> dict[str, str] | None:
    """Guardians of those ranked and of those at rest, where the need merges siblings; None where the city knows none.

    The ranking is made by now: the contact book is opened for nothing else.
    """
    if need.list.merge != "guardian":
        return None
    from scoring.contacts import ContactBook, contacts_file

    path = contacts_file(city_folder)
    if path is None:
        return None
    return ContactBook.open(path).guardians([*scores.frame["person_id"], *sorted(past.resting)])


def value_of_capacity(home: Home, need: Need, verdict_id: str) -> dict[str, Any] | None:
    """What one more worker and a better order would find, on the people whom the model in use was judged on.

    None where the need has no label, or the judged rows are no longer kept. Computed once for each verdict.
    """
    import json

    from ethics.whole_file import write_whole
    from models.evidence_files import read_evidence
    from models.registry import approved_model, logged_digests
    from scoring.capacity_value import value_of_places
    from serving.gate_question import refuse_other_evidence

    kept = home.root / "capacity_value" / need.id / f"{verdict_id}.json"
    if kept.exists():
        value: dict[str, Any] | None = json.loads(kept.read_bytes())
        return value
    run_id = approved_model(home.registry, need.id).run_id
    folder = home.runs / run_id
    if need.label is None or not folder.is_dir():
        return None
    refuse_other_evidence(folder, logged_digests(home.registry, run_id))
    gathered = read_evidence(folder)
    value = value_of_places(gathered.rows, need, int(gathered.facts["capacity_k"]), home.policy.min_persons_public)
    write_whole(kept, json.dumps(value, sort_keys=True, allow_nan=False).encode())
    return value


def wanted_elsewhere(
    home: Home,
    prepared: Sequence[tuple[Scorer, City, Scores]],
    city_folder: Path,
    taken: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Mapping[str, frozenset[str]]:
    """Of several needs of one period, whom each leaves to another, so that nobody is contacted twice.

    Parameters
    ----------
    prepared : sequence of (scorer, city, scores)
        One for each need; scores of one as-of date.
    taken : mapping, optional
        Need → people whom published lists of other needs hold; they are left to those needs for good.
    """
    import polars as pl

    from scoring.contention import Cut, settled

    known: dict[str, frozenset[str]] = {scorer.need.id: frozenset() for scorer, _, _ in prepared}

    def cut_of(scorer: Scorer, city: City, scores: Scores) -> Cut:
        need_id = scorer.need.id
        gone = frozenset(taken.get(need_id, ()))

        def cut(out: frozenset[str]) -> pl.DataFrame:
            while True:
                drawn = drawn_up(home, city_folder, scorer, city, scores, out | known[need_id])
                met = gone & set(drawn.listed["person_id"])
                if not met:
                    return drawn.listed.select("person_id", "score")
                known[need_id] |= met

        return cut

    cuts = {scorer.need.id: cut_of(scorer, city, scores) for scorer, city, scores in prepared}
    left = settled(cuts, home.settings.secret("contention"))
    return {need_id: out | known[need_id] for need_id, out in left.items()}


def left_to_others(home: Home, city_folder: Path, scorer: Scorer, city: City, scores: Scores) -> frozenset[str]:
    """Whom the list of one need leaves to lists of other needs that are published already."""
    taken = taken_by_others(home, scorer.need, scores.as_of_date)
    if not taken:
        return frozenset()
    return wanted_elsewhere(home, [(scorer, city, scores)], city_folder, {scorer.need.id: taken})[scorer.need.id]


def drawn_up(
    home: Home, city_folder: Path, scorer: Scorer, city: City, scores: Scores, elsewhere: Collection[str] = ()
) -> DrawnUp:
    """The list as it would be drawn up now; the gate is not asked, and nothing is kept."""
    from scoring.hygiene import past_of
    from scoring.outreach import draw_up

    past = past_of(home.store, scorer.need, scores.as_of_date)
    return draw_up(
        scores,
        scorer,
        city,
        objections=home.objections,
        past=past,
        erased=home.store.is_erased,
        elsewhere=elsewhere,
        guardians=guardians_of(city_folder, scorer.need, scores, past),
    )


def why_not_listed(
    home: Home, city_folder: str | Path, need: Path, as_of: date, person_id: str, step: Step = silent
) -> dict[str, Any]:
    """Why somebody is, or is not, on a need's list of a day: the reason, or the rank band and the place.

    Returns
    -------
    dict
        ``need``, ``as_of_date``, ``what`` ("listed", "below the line", "held out", "excluded", "not covered", "not
        known to the city"), ``reason`` (of those excluded), ``unit_id``, ``rank_band``, ``place``, ``k``. Recorded in
        the audit log, without the person.
    """
    from scoring.hygiene import ERASED, OBJECTED
    from scoring.outreach import Standing

    champion, scorer, city, scores = scored(home, city_folder, need, as_of, step)
    folder = folder_of(city_folder)
    elsewhere = left_to_others(home, folder, scorer, city, scores)
    standing = drawn_up(home, folder, scorer, city, scores, elsewhere).standing(person_id)
    if standing.what == "not scored":
        if home.store.is_erased([person_id])[0]:
            standing = Standing("excluded", ERASED)
        elif home.objections.objecting([person_id], champion.need.id)[0]:
            standing = Standing("excluded", OBJECTED)
        elif person_id not in city.persons["person_id"]:
            standing = Standing("not known to the city")
        else:
            standing = Standing("not covered")
    home.audit_log.append("why", "service", need=champion.need.id, n=1)
    return {"need": champion.need.id, "as_of_date": str(as_of), **standing._asdict()}


def scored(home: Home, city_folder: str | Path, need: Path, as_of: date, step: Step) -> Any:
    """The approved model, its scorer, the city, and the scores of a day's cohort."""
    file = need_path(need)
    return scored_by(home, city_folder, file.stem, file, as_of, step)


def scored_by(
    home: Home, city_folder: str | Path, need_id: str, file: Path | None, as_of: date, step: Step = silent
) -> tuple[Champion, Scorer, City, Scores]:
    """As :func:`scored`, of a need by its id; without a file, the one it was trained from is compared where it is."""
    from scoring.scorer import Scorer

    city_folder = folder_of(city_folder)
    step(f"{need_id}: verifying the verdict")
    champion = open_champion(home, need_id, file)
    city = open_city_for(home, city_folder, champion.need, step)
    _refuse_later_than(city, as_of)
    step(f"{champion.need.id}: scoring")
    scorer = Scorer(champion.verified, champion.model, champion.tie_secret)
    return champion, scorer, city, scorer.score(city, as_of, home.objections, scratch=home.root)


def _refuse_later_than(city: City, as_of: date) -> None:
    if as_of > city.extract_date:
        wrong = f"is {as_of}, after the extract date {city.extract_date}: the city does not know that day yet"
        raise BadInput(Fault("--as-of", wrong, f"Give {city.extract_date} or earlier"))


def _surroundings(home: Home, scorer: Scorer, city_folder: Path, now: datetime) -> Surroundings:
    """What the gate compares a list with; the groups are opened for it alone."""
    from ethics.groups import GroupRegister
    from scoring.list_evidence import Surroundings
    from scoring.override_rehearsal import rehearsed_overrides
    from serving.retention import stored_ages

    verdict = scorer.verified.verdict
    cells = bytes_of(verdict_place(home, verdict.need_id, verdict.verdict_id).with_name(CELLS))
    path = groups_file(city_folder)
    overrides = rehearsed_overrides(home.store)
    return Surroundings(GroupRegister.open(path), cells, stored_ages(home, path, now), overrides)
