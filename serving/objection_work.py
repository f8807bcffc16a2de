"""The story of an objection: recorded or withdrawn, in force at once everywhere, files with the person recalled."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, did_you_mean
from serving.guardian_lists import listed_children
from serving.home import Home

if TYPE_CHECKING:
    import polars as pl

    from ethics.objections import Objection
    from scoring.store import Store

WHY_RECALLED = "objection"
"""What the store keeps as the reason of such a recall; whose it was stands beside it as a reference."""
WHY_RECALLED_OF_CHILD = "their guardian objected"
LONGEST_ID = 200
_PERSONAL_IDENTITY_CODE = re.compile(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Z]", re.IGNORECASE)


def person_fault(person_id: str) -> Fault | None:
    """What is wrong with what was given as a pseudonym; it is never repeated."""
    mend = "Give the pseudonym, e.g. 000123"
    if not person_id:
        return Fault("person", "is empty", mend)
    wrong = f"what was given ({len(person_id)} characters)"
    if _PERSONAL_IDENTITY_CODE.search(person_id):
        return Fault("person", f"{wrong} has the form of a personal identity code", mend)
    if len(person_id) > LONGEST_ID or not person_id.isprintable():  # undecodable bytes are not printable either
        return Fault("person", f"{wrong} cannot be a pseudonym", mend)
    return None


def record_objection(
    home: Home,
    person_id: str,
    need_id: str = "*",
    *,
    channel: str | None = None,
    withdraw: bool = False,
    by: str = "service_point",
    city: Path | None = None,
    said_of_act: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Record or withdraw a resident's objection; the log learns that it happened, not whose it was.

    An objection is in force once this returns: every process reads the register afresh whenever it forms a matrix, a
    score or a list, or answers a request. Files already handed out in which the person stands are recalled.

    Parameters
    ----------
    need_id : str
        ``"*"``: every need.
    channel : str, optional
        Of :data:`ethics.objections.CHANNELS`: takes the channel away, not the person.
    by : {"resident", "service_point"}
        In what capacity it is brought in.
    city : Path, optional
        A city folder whose contact book tells whose guardian the person is: files with those children are recalled too.
    said_of_act : mapping, optional
        What else the audit log keeps of this act: never about the person.

    Returns
    -------
    dict
        ``need``, ``channel``, ``by``, ``objecting``, ``changed`` (False: it stood already, or the person was erased),
        ``erased``, ``standing`` (the person's objections now), ``recalled`` (files, with the list, the unit, and
        whether this act recalled them), ``places`` (place proposals of the home in which the person stands; who holds a
        copy is not recorded, so people call them back), ``seen_before`` (whether the person was ever scored or listed
        here; None while nobody was), ``objections`` on record.

    Raises
    ------
    BadInput
        No person; a need that this home does not know, which would protect nobody; nothing to withdraw. All at once.
    """
    person_id, need_id = person_id.strip(), need_id.strip()
    _refuse(home, person_id, need_id, channel, by)
    register, store = home.objections, store_if_begun(home)
    children = [] if withdraw or store is None else listed_children(home, person_id, city)
    is_erased = store is not None and bool(store.is_erased([person_id])[0])
    changed = False
    if withdraw:
        if not register.withdraw(person_id, need_id, channel=channel, by=by):
            raise BadInput(_nothing_to_withdraw(register.standing(person_id), need_id, channel))
        changed = True
    elif not is_erased:  # whoever was erased is masked already, and nothing new is kept of them
        changed = register.object(person_id, need_id, channel=channel, by=by)
    recalled = [] if withdraw or store is None else _recalled(store, person_id, need_id, children)
    facts = {"need": need_id, **({} if channel is None else {"channel": channel})}
    n_new = sum(file["new"] for file in recalled)
    action = "withdraw" if withdraw else "object"
    more = {"changed": int(changed), "recalled": n_new, **(said_of_act or {})}
    home.audit_log.append(action, by.replace("_", " "), **facts, **more)
    return {
        **facts,
        "channel": channel,
        "by": by,
        "objecting": not withdraw,
        "changed": changed,
        "erased": is_erased,
        "standing": [one._asdict() for one in register.standing(person_id)],
        "recalled": recalled,
        "places": [] if withdraw or channel is not None else place_proposals_with(home, person_id),
        "seen_before": None if store is None else bool(store.refs([person_id])),
        "objections": register.count(),
    }


def place_proposals_with(home: Home, person_id: str) -> list[str]:
    """The folders of the home's pre-school place proposals that propose, or deny, this child a place."""
    import polars as pl

    def names(path: Path) -> bool:
        return (
            path.is_file() and not pl.scan_parquet(path).filter(pl.col("person_id") == person_id).collect().is_empty()
        )

    folders = sorted((home.root / "places").glob("places-*"))
    return [str(one) for one in folders if any(names(one / f"{name}.parquet") for name in ("proposals", "no_place"))]


def recall_late_objectors(home: Home, need_id: str, list_id: str, also: Collection[str] = ()) -> int:
    """Recall the files of a list that somebody objected to while it was being made; how many people did.

    An objection recalls what is published by then. One that falls between the drawing up of a list and its publishing
    finds no list yet; so whoever has published one looks again. Whichever comes last, one of the two sees the other.
    ``also`` are people of the list whose guardian said no meanwhile.
    """
    rows = home.store.rows(list_id).drop_nulls("person_id")
    late = late_objectors(home, need_id, rows) | {*also}
    for person in sorted(late):
        home.store.recall(person, WHY_RECALLED, need_id=need_id)
    if late:
        home.audit_log.append("recall", "service", need=need_id, list=list_id, n=len(late))
    return len(late)


def late_objectors(home: Home, need_id: str, rows: pl.DataFrame) -> set[str]:
    """Who of a list's rows objects to the need by now, or to a channel that the row does not say."""
    people = rows["person_id"].to_list()
    objecting = home.objections.objecting(people, need_id)
    late = {person for person, objects in zip(people, objecting, strict=True) if objects}
    refused = home.objections.refused_channels(people, need_id)
    for person, payload in rows.select("person_id", "payload").iter_rows():
        if person in refused and not set(refused[person]) <= set(json.loads(payload or "{}").get("not_by", ())):
            late.add(person)
    return late


def store_if_begun(home: Home) -> Store | None:
    """The store, unless nothing was ever kept in it: an objection begins none."""
    from scoring.store_opening import is_begun

    return home.store if home.settings.secret_path("people").exists() or is_begun(home.engine) else None


def known_needs(home: Home) -> list[str]:
    """Ids of the needs that come with Ennakko, and of those that this home has trained."""
    from models.need import NEEDS

    trained = {folder.name for folder in home.mlflow_artefacts.glob("[!.]*")}
    return sorted({path.stem for path in NEEDS.glob("*.toml")} | trained)


def _refuse(home: Home, person_id: str, need_id: str, channel: str | None, by: str) -> None:
    from ethics.objections import CAPACITIES, CHANNELS, EVERY_NEED

    known, faults = known_needs(home), []
    if fault := person_fault(person_id):
        faults.append(fault)
    if need_id not in (EVERY_NEED, *known):
        wrong = f"'{need_id}' is no need of this home"
        faults.append(Fault("--need", wrong, did_you_mean(need_id, [EVERY_NEED, *known])))
    if channel is not None and channel not in CHANNELS:
        faults.append(Fault("--channel", f"'{channel}' is no channel", did_you_mean(channel, CHANNELS)))
    if by not in CAPACITIES:
        faults.append(Fault("--by", f"'{by}' is no capacity", did_you_mean(by, CAPACITIES)))
    if faults:
        raise BadInput(*faults)


def _nothing_to_withdraw(standing: tuple[Objection, ...], need_id: str, channel: str | None) -> Fault:
    """That the objection named does not stand, and which do."""
    asked = "every need" if need_id == "*" else f"need {need_id}"
    wrong = f"has no objection to withdraw for {asked}" + ("" if channel is None else f" by {channel}")
    if not standing:
        return Fault("person", wrong, "Nothing is on record for this pseudonym: check it")
    return Fault("person", wrong, f"What stands is withdrawn by: {'; '.join(map(_options_of, standing))}")


def _options_of(one: Objection) -> str:
    need = "" if one.need_id == "*" else f" --need {one.need_id}"
    return f"ennakko object ID{need}{'' if one.channel is None else f' --channel {one.channel}'} --withdraw"


def _recalled(store: Store, person_id: str, need_id: str, children: Sequence[str]) -> list[dict[str, Any]]:
    """Mark the files in which the person or a child of theirs stands; all of them, with whether just now."""
    of_need = None if need_id == "*" else need_id
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in (person_id, *children):
        before = store.exports(person_id=one).select("list_id", "file", "sha256", "recalled_at")
        known = {tuple(key) for *key, at in before.iter_rows() if at}
        why = WHY_RECALLED if one == person_id else WHY_RECALLED_OF_CHILD
        for file in store.recall(one, why, need_id=of_need).to_dicts():
            key = (file["list_id"], file["file"], file["sha256"])
            said = {name: file[name] for name in ("file", "list_id", "unit_id")}
            found.setdefault(key, {**said, "new": key not in known})
    return list(found.values())
