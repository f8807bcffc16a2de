"""The story of a person's view: everything kept and computed here about one person, told to that person.

Whoever looks says who and what for, which is recorded before anything is read. A view lets no score leave: it tells a
person what was done, so it needs no verdict, and neither the stop switch nor an expired verdict closes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, Refusal
from ethics.whole_file import write_whole
from serving.audit_work import hashes_of, persons_of
from serving.home import Home
from serving.objection_work import person_fault, store_if_begun
from serving.opening import open_city_for
from serving.person_records import Records, records_of
from serving.progress import Step, silent

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need
    from scoring.store import Store

ACT = "person"
"""The act's name in the audit log."""
_LONGEST = 200
_PERSONAL_IDENTITY_CODE = re.compile(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Z]", re.IGNORECASE)


def look_at_person(
    home: Home,
    person_id: str,
    *,
    actor: str,
    purpose: str,
    language: str = "en",
    city: str | Path | City | None = None,
    numbers: bool = False,
    html: Path | None = None,
    step: Step = silent,
    said_of_look: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Tell a person what was used, computed, listed and done, by whom, and how to object.

    Parameters
    ----------
    actor, purpose : str
        Who looks, by role, and what for; kept in the store and in the audit log.
    language : {"fi", "sv", "en"}
    city : path, URL or City, optional
        The city the data are read from; default: the one each model was trained on, where it is still there.
    numbers : bool
        Also the scores as numbers; otherwise their bands alone (ethics.md §7.2).
    html : Path, optional
        A new file for the page.
    said_of_look : mapping, optional
        What else the audit log keeps of this look: never about the person.

    Returns
    -------
    dict
        ``state``: "known"; "not_seen" (no score or list ever held the person); "unknown" (nor does the city); or
        "erased". ``needs``, ``looks``, ``standing`` and ``history`` of objections, ``retention_days``. For the erased
        all of them are empty but ``needs``, which say what holds for everybody.

    Raises
    ------
    BadInput
        No person, nobody named who looks or what for, or a file that is there already: all at once.
    """
    person_id, actor, purpose = person_id.strip(), actor.strip(), purpose.strip()
    store = store_if_begun(home)
    _refuse(store, person_id, actor, purpose, html)
    refs = {} if store is None else store.refs([person_id])
    is_erased = store is not None and bool(store.is_erased([person_id])[0])
    if store is not None and refs:
        store.view(None, None, actor, purpose, person_id=person_id)
    about: dict[str, str | int] = {"person": refs[person_id]} if refs else {"known": 0}
    home.audit_log.append(ACT, actor, purpose=purpose, **about, **(said_of_look or {}))
    records = records_of(store, person_id if refs else None)
    cities = _Cities(home, city, step)
    step("reading what is kept")
    needs = [
        _need_view(home, need_id, records, person_id, language, cities, numbers=numbers, is_erased=is_erased)
        for need_id in _need_ids(home, records, person_id)
    ]
    view: dict[str, Any] = {
        "person_id": person_id,
        "language": language,
        "told_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": "erased" if is_erased else "known" if records.has_any else cities.state_of(person_id),
        "invented": cities.invented,
        "needs": sorted(needs, key=lambda need: not (need["scores"] or need["lists"] or need["contacts"])),
        "looks": [] if is_erased else _looks(home, person_id, records),
        "standing": [] if is_erased else [one._asdict() for one in home.objections.standing(person_id)],
        "history": [] if is_erased else [act._asdict() for act in home.objections.history(person_id)],
        "contacts_outside": [] if is_erased else records.contacts_of(None),
        "retention_days": _retention(home),
        "html": None if html is None else str(html),
    }
    if html is not None:
        from scoring.person_page import render_page

        write_whole(html, render_page(view).encode("utf-8"))
    return view


def _refuse(store: Store | None, person_id: str, actor: str, purpose: str, html: Path | None) -> None:
    from scoring.named_people import naming

    faults = [fault] if (fault := person_fault(person_id)) else []
    for option, text in (("--actor", actor), ("--purpose", purpose)):
        mend = "Say it in a few words, e.g. --actor resident --purpose 'asks what is kept'"
        if not text or len(text) > _LONGEST or not text.isprintable():
            faults.append(Fault(option, "is empty" if not text else "is too long, or not on one line", mend))
        elif _PERSONAL_IDENTITY_CODE.search(text) or (person_id and person_id in text.split()):
            faults.append(Fault(option, "names the person, and the log keeps it for years", mend))
        elif store is not None and naming(store, [text])[0]:
            faults.append(Fault(option, "names a person, and the log keeps it for years", mend))
    if html is not None and html.exists():
        faults.append(Fault("--html", f"{html} exists already", "Give the path of a new file"))
    elif html is not None and not html.parent.is_dir():
        faults.append(Fault("--html", f"{html.parent} is not a folder", "Give a path in a folder that exists"))
    if faults:
        raise BadInput(*faults)


def _need_ids(home: Home, records: Records, person_id: str) -> list[str]:
    """Needs with an approved model, and those that ever held the person or that the person objected to."""
    from models.registry import approved_needs

    approved = approved_needs(home.registry) if home.mlflow_artefacts.is_dir() else ()
    named = {one.need_id for one in home.objections.standing(person_id)} - {"*"}
    return sorted({*approved, *records.need_ids, *named})


def _need_view(
    home: Home,
    need_id: str,
    records: Records,
    person_id: str,
    language: str,
    cities: _Cities,
    *,
    numbers: bool,
    is_erased: bool,
) -> dict[str, Any]:
    """What one need did with the person; what holds for everybody where it never did anything."""
    from scoring.list_cells import needs_contacts
    from scoring.person_data import of_need

    scores = records.scores_of(need_id)
    last = scores[-1] if scores else None
    model = _model(home, need_id, None if last is None else last["model_digest"])
    need = _bundled(need_id) if model is None else model.need
    objects = not is_erased and bool(home.objections.objecting([person_id], need_id)[0])
    refused = {} if is_erased else home.objections.refused_channels([person_id], need_id)
    said: dict[str, Any] = {
        "need": need_id,
        "kind": None if need is None else need.kind,
        **_texts(need, need_id, language),
        "objects": objects,
        "not_by": list(refused.get(person_id, ())),
        "scores": [_score(score, numbers=numbers) for score in scores],
        "lists": records.lists_of(need_id),
        "contacts": records.contacts_of(need_id),
        "shows_contact": need is not None and needs_contacts(need.list.columns),
        "reads": [] if need is None else of_need(need, language),
        "data": None,
        "no_data": None,
    }
    if last is None:
        said["no_data"] = "never_scored"
    elif objects:
        said["no_data"] = "objects"  # nothing is computed for them, not even to explain it
    elif model is None:
        said["no_data"] = "no_model"
    else:
        said["data"], said["no_data"] = _data(home, model, last, person_id, language, cities)
    return said


def _score(score: dict[str, Any], *, numbers: bool) -> dict[str, Any]:
    told = {name: score[name] for name in ("as_of_date", "rank_band", "n")}
    return {**told, "score": score["score"], "rank": score["rank"]} if numbers else told


def _data(
    home: Home, model: Any, last: dict[str, Any], person_id: str, language: str, cities: _Cities
) -> tuple[dict[str, Any] | None, str | None]:
    """The person's row as it was built for the last score, told in words; or why it cannot be."""
    from scoring.person_data import data_of, plain_code, title_of
    from scoring.reasons import source_of

    city = cities.of(model.need)
    if city is None:
        return None, "no_city"
    if person_id not in city.events.person_ids:
        return None, "not_in_city"
    try:
        found = data_of(model, city, home.objections, person_id, date.fromisoformat(last["as_of_date"]), language)
    except Refusal:
        return None, "not_built"
    read = [
        {
            "feature": one.feature.name,
            "plain": title_of(one.feature, language),
            "source": one.feature.source,
            "of": one.feature.of,
            "changeable": one.feature.changeable,
            "special_category": one.feature.special_category,
            "statements": list(one.statements),
            "since": None if one.since is None else str(one.since),
            "events": [
                {"day": str(event.day), "what": plain_code(city, event.code, language), "value": event.value}
                for event in one.events
            ],
        }
        for one in found.read
    ]
    reasons = [{"text": one.text, "origin": source_of(one, language)} for one in found.reasons]
    said = {"as_of_date": last["as_of_date"], "read": read, "reasons": reasons}
    return {**said, "as_scored": found.is_as_scored(last["score"])}, None


def _texts(need: Need | None, need_id: str, language: str) -> dict[str, Any]:
    """What the need says of itself, and who answers for it; of a need whose file is gone, its id alone."""
    if need is None:
        return {"title": need_id, "service": None, "action": None, "alternative": None, "asking": None}
    ways = None if need.notice is None else need.notice.model_dump()
    people = {name: getattr(need, name).model_dump() for name in ("owner", "deputy", "dpo")}
    texts = {name: str(getattr(getattr(need, name), language)) for name in ("title", "action", "alternative")}
    return {**texts, "service": need.service, "asking": {"notice": ways, **people}}


def _model(home: Home, need_id: str, digest: str | None) -> Any:
    """The model that scored the person last, else the approved one; None where this home has neither whole."""
    from models.registry import approved_model, find_version
    from models.training import load_model

    if not home.mlflow_artefacts.is_dir():
        return None
    try:
        if digest is not None:
            return load_model(find_version(home.registry, need_id, digest)[1], digest)
        return load_model(approved_model(home.registry, need_id).folder)
    except Refusal:
        return None


def _bundled(need_id: str) -> Need | None:
    """The need of this id that comes with Ennakko."""
    from models.need import NEEDS, load_need

    path = NEEDS / f"{need_id}.toml"
    return load_need(path) if path.is_file() else None


def _looks(home: Home, person_id: str, records: Records) -> list[dict[str, Any]]:
    """Who looked at the person: at this view and at lists (from the store), at anything else (from the audit log).

    Who looked or what for is None where it names other people.
    """
    from scoring.named_people import naming

    wanted = hashes_of(home, person_id)
    found = list(records.views)
    for row in home.audit_log.rows_holding(wanted):
        facts = json.loads(row["facts"])
        if row["action"] != ACT and persons_of(facts) & wanted:
            more = {"need": facts.get("need"), "unit_id": None, "purpose": facts.get("purpose", "")}
            found.append({"at": row["at"], "what": row["action"], "actor": row["actor"], **more})
    for said in ("actor", "purpose") if found else ():
        about_others = naming(home.store, [look[said] for look in found], person_id)
        told = ({said: None if names else look[said]} for look, names in zip(found, about_others, strict=True))
        found = [look | one for look, one in zip(found, told, strict=True)]
    return sorted(found, key=lambda look: datetime.fromisoformat(look["at"]))


def _retention(home: Home) -> dict[str, int]:
    kept = home.policy.retention
    return {name: int(getattr(kept, f"{name}_days")) for name in ("scores", "lists", "log")}


class _Cities:
    """The city that a person's data are read from: the one given, else the one a model was trained on."""

    def __init__(self, home: Home, place: str | Path | City | None, step: Step) -> None:
        from features.city import City

        self._home, self._step = home, step
        self._given = place if isinstance(place, City) else None
        self._place = None if isinstance(place, City) else place
        self._opened: City | None = self._given
        self.invented = self._given is not None and self._given.invented

    def of(self, need: Need) -> City | None:
        """The city for a need; None where nobody gave one and the recorded one is not here, or is damaged."""
        if self._given is not None:
            return self._given
        place = self._place if self._place is not None else self._recorded(need)
        if place is None:
            return None
        try:
            self._opened = open_city_for(self._home, place, need, self._step)
        except Refusal:
            if self._place is not None:
                raise  # whoever gave it can mend it
            return None
        self.invented |= self._opened.invented
        return self._opened

    def state_of(self, person_id: str) -> str:
        """Of whom nothing is kept: whether the city knows the person; "not_seen" also where no city was given."""
        city = self._opened
        if city is None and self._place is not None:
            from features.city import open_city

            city = open_city(self._place, max_reject_share=self._home.policy.limits.max_reject_share)
            self.invented |= city.invented
        return "not_seen" if city is None or person_id in city.events.person_ids else "unknown"

    def _recorded(self, need: Need) -> str | Path | None:
        from models.registry import approved_model

        try:
            run_id = approved_model(self._home.registry, need.id).run_id
            place = str(self._home.run_record(run_id)["city"])
        except Refusal:
            return None
        if "://" in place:
            return place
        return Path(place) if Path(place).is_dir() else None
