"""Past lists: shown, rebuilt, and changed by hand; everything through the store, and every look recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ethics.digests import canonical_json, sha256
from ethics.objections import CHANNELS
from ethics.refusals import BadInput, Fault, NotTrusted
from ethics.whole_file import write_whole
from serving.guardian_lists import refused_by_guardians
from serving.home import Home
from serving.objection_work import recall_late_objectors
from serving.typed_texts import refuse_typed

_TODAY = ("position", "kind", "person_id", "rank_band", "worker")
_ROW = ("unit_id", "position", "kind", "person_id", "rank_band", "row_hash")


def show_list(
    home: Home, list_id: str, unit: str | None = None, *, by: str = "", purpose: str = "", city: Path | None = None
) -> dict[str, Any]:
    """What a past list rests on and what became of it; with a unit, also its people as they stand today.

    Parameters
    ----------
    unit : str, optional
        Whose people to show; then ``by`` and ``purpose`` say who looks and what for, which is recorded.
    city : Path, optional
        A city folder whose contact book tells the guardians: what they refuse then counts for their children's rows.

    Returns
    -------
    dict
        The facts as published, ``published_at``, ``proof`` {rows, redacted, whole}, ``files``, ``changes`` (by act),
        ``views`` (who, what for, when), ``objected_since`` (people of it who object by now), and with a unit ``rows``:
        of those who do not object, each with ``not_by``, the channels that the person (or the guardian) objects to.
    """
    store = home.store
    facts = store.list_facts(list_id)
    proof = store.proof(list_id)
    kept = store.lists(facts["need"]).filter(list_id=list_id)
    if unit is not None:
        units = [one["unit_id"] for one in facts["units"]]
        refuse_typed(by=by, purpose=purpose)
        if unit not in units:
            raise BadInput(Fault("--unit", f"'{unit}' is not on this list", f"Give one of: {', '.join(units)}"))
        _refuse_names(home, {"--by": by, "--purpose": purpose})
        store.view(list_id, unit, by, purpose)
        home.audit_log.append("view", by, list=list_id, unit=unit, purpose=purpose)
    exports = store.exports(list_id=list_id)
    result = {
        **facts,
        "period": kept["period"][0],
        "published_at": kept["published_at"][0].isoformat(),
        "proof": {"rows": proof.n, "redacted": proof.redacted, "whole": not proof.faults},
        "files": exports.select("file", "sha256", "unit_id", recalled=exports["recalled_at"].is_not_null()).to_dicts(),
        "changes": dict(store.changes(list_id).group_by("act").len().sort("act").iter_rows()),
        "views": [
            {**view, "at": view["at"].isoformat()}
            for view in store.views(list_id).select("unit_id", "actor", "purpose", "at").to_dicts()
        ],
    }
    people = store.current(list_id)["person_id"].drop_nulls().to_list()
    result["objected_since"] = int(home.objections.objecting(people, facts["need"]).sum())
    if unit is not None:
        result["rows"] = rows_today(home, facts["need"], list_id, unit, city)
    return result


def rows_today(
    home: Home, need_id: str, list_id: str, unit: str, city: Path | None = None, *, more: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A unit's rows as they stand today, without those who object.

    Parameters
    ----------
    city : Path, optional
        See :func:`show_list`.
    more : sequence of str
        Further columns of the store's rows.

    Returns
    -------
    list of dict
        ``position``, ``kind``, ``person_id`` (None: erased), ``rank_band``, ``worker``, those of ``more``, and
        ``not_by``.
    """
    rows = home.store.current(list_id, unit).select(*_TODAY, *more).to_dicts()
    return _without_objectors(home, need_id, rows, city)


def _without_objectors(home: Home, need_id: str, rows: list[dict[str, Any]], city: Path | None) -> list[dict[str, Any]]:
    """The rows that may still be worked; the erased keep theirs, which names nobody."""
    people = [row["person_id"] for row in rows if row["person_id"] is not None]
    gone = {person for person, no in zip(people, home.objections.objecting(people, need_id), strict=True) if no}
    refused: dict[str | None, set[str]] = {
        person: {*channels} for person, channels in home.objections.refused_channels(people, need_id).items()
    }
    if city is not None:
        for child, channels in refused_by_guardians(home, need_id, people, city).items():
            refused.setdefault(child, set()).update(channels)
    return [
        {**row, "not_by": [channel for channel in CHANNELS if channel in refused.get(row["person_id"], ())]}
        for row in rows
        if row["person_id"] not in gone
    ]


def rebuild_list(home: Home, list_id: str, out: Path | None = None, *, by: str, purpose: str) -> dict[str, Any]:
    """Write a past list out of the store as it was published, once its digest and every row's hash have been proved.

    The record is JSON lines: what the digest is over, then every row. The same list gives the same bytes each time; the
    row of somebody who was erased says ``{"redacted": true}`` and keeps its hash, so that the digest still holds.
    The file is recorded as an export, so that a recall finds it; and as recalled at once if somebody on the list has
    objected since, for it names them as they were listed.

    Parameters
    ----------
    out : Path, optional
        Default: ``<list_id>.jsonl`` here.
    by, purpose : str
        Who asks for it, by role, and what for; recorded as a look at the whole list.

    Returns
    -------
    dict
        ``list_id``, ``list_digest``, ``rows``, ``redacted``, ``objected_since`` (people of it who object by now, or to
        a channel: the file is recalled), ``sha256``, ``path``.

    Raises
    ------
    BadInput
        Nothing is said of who asks or what for, or it names somebody.
    NotTrusted
        Rows, hashes and digest do not agree: every place where.
    """
    from scoring.store import Export

    _refuse_names(home, {"--by": by, "--purpose": purpose})
    proof = home.store.proof(list_id)
    if proof.faults:
        raise NotTrusted(*proof.faults)
    facts = home.store.list_facts(list_id)
    home.store.view(list_id, None, by, purpose)
    home.audit_log.append("rebuild", by, list=list_id, purpose=purpose, redacted=proof.redacted)
    lines = [canonical_json({"list_id": list_id, "list_digest": proof.digest, "need": facts["need"]})]
    for row in home.store.rows(list_id).sort("unit_id", "position").to_dicts():
        if row["person_id"] is None or row["payload"] is None:
            said = {name: row[name] for name in ("unit_id", "position", "row_hash")} | {"redacted": True}
        else:
            said = {name: row[name] for name in _ROW} | {"payload": json.loads(row["payload"])}
        lines.append(canonical_json(said))
    content = b"\n".join(lines) + b"\n"
    path = (out or Path(f"{list_id}.jsonl")).resolve()
    write_whole(path, content)
    home.store.add_exports(list_id, [Export(str(path), sha256(content))])  # for recall: it names people
    n_objected = recall_late_objectors(home, facts["need"], list_id)
    return {
        "list_id": list_id,
        "list_digest": proof.digest,
        "rows": proof.n,
        "redacted": proof.redacted,
        "objected_since": n_objected,
        "sha256": sha256(content),
        "path": str(path),
    }


def change_list(
    home: Home, list_id: str, unit: str, person_id: str, act: str, by: str, *, reason: str = "", worker: str = ""
) -> dict[str, Any]:
    """Add somebody by hand, remove somebody with a reason, or give somebody to a worker.

    Raises
    ------
    BadInput
        As the store says; what was typed cannot be kept, or names somebody, which the person concerned could read on
        their page; or whoever is to be added or given to a worker objects to the need.
    """
    refuse_typed(person_id, by=by, reason=reason, worker=worker)
    _refuse_names(home, {"--reason": reason, "--by": by, "--worker": worker})
    need_id = home.store.list_facts(list_id)["need"]
    if act in ("added", "assigned") and home.objections.objecting([person_id], need_id)[0]:
        mend = "Leave the person in peace; an objection is withdrawn by the resident alone"
        raise BadInput(Fault("person", "has objected to this need, or was erased", mend))
    home.store.change(list_id, unit, person_id, act, by, reason=reason, worker=worker)
    home.audit_log.append("list-change", by, list=list_id, unit=unit, act=act)
    return {"list_id": list_id, "unit_id": unit, "act": act}


def _refuse_names(home: Home, said: Mapping[str, str]) -> None:
    """Refuse texts that name anybody the store knows: they are kept for years, and told to other people."""
    from scoring.named_people import naming

    named = naming(home.store, list(said.values()))
    mend = "Say it without naming anybody: those whom it concerns may read it"
    faults = [Fault(where, "names a person", mend) for where, names in zip(said, named, strict=True) if names]
    if faults:
        raise BadInput(*faults)
