"""Past lists: shown, rebuilt, and changed by hand; everything through the store, and every look recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, Fault, NotTrusted
from ethics.whole_file import write_whole
from serving.home import Home
from serving.typed_texts import refuse_typed

_ROW = ("unit_id", "position", "kind", "person_id", "rank_band", "row_hash")


def show_list(home: Home, list_id: str, unit: str | None = None, *, by: str = "", purpose: str = "") -> dict[str, Any]:
    """What a past list rests on and what became of it; with a unit, also its people as they stand today.

    Parameters
    ----------
    unit : str, optional
        Whose people to show; then ``by`` and ``purpose`` say who looks and what for, which is recorded.

    Returns
    -------
    dict
        The facts as published, ``published_at``, ``proof`` {rows, redacted, whole}, ``files``, ``changes`` (by act),
        ``views`` (who, what for, when), ``objected_since`` (people of it who object by now), and with a unit ``rows``:
        of those who do not object, each with ``not_by``, the channels that the person objects to.
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
        rows = store.current(list_id, unit).select("position", "kind", "person_id", "rank_band", "worker").to_dicts()
        result["rows"] = _without_objectors(home, facts["need"], rows)
    return result


def _without_objectors(home: Home, need_id: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that may still be worked; the erased keep theirs, which names nobody."""
    people = [row["person_id"] for row in rows if row["person_id"] is not None]
    gone = {person for person, no in zip(people, home.objections.objecting(people, need_id), strict=True) if no}
    refused = home.objections.refused_channels(people, need_id)
    return [{**row, "not_by": list(refused.get(row["person_id"], ()))} for row in rows if row["person_id"] not in gone]


def rebuild_list(home: Home, list_id: str, out: Path | None = None) -> dict[str, Any]:
    """Write a past list out of the store as it was published, once its digest and every row's hash have been proved.

    The record is JSON lines: what the digest is over, then every row. The same list gives the same bytes each time; the
    row of somebody who was erased says ``{"redacted": true}`` and keeps its hash, so that the digest still holds.
    The file is recorded as an export, so that a recall finds it.

    Raises
    ------
    NotTrusted
        Rows, hashes and digest do not agree: every place where.
    """
    from scoring.store import Export

    proof = home.store.proof(list_id)
    if proof.faults:
        raise NotTrusted(*proof.faults)
    facts = home.store.list_facts(list_id)
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
    home.audit_log.append("rebuild", "service", list=list_id, redacted=proof.redacted)
    return {
        "list_id": list_id,
        "list_digest": proof.digest,
        "rows": proof.n,
        "redacted": proof.redacted,
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
        As the store says; what was typed cannot be kept; or whoever is to be added or given to a worker objects to the
        need.
    """
    refuse_typed(person_id, by=by, reason=reason, worker=worker)
    need_id = home.store.list_facts(list_id)["need"]
    if act in ("added", "assigned") and home.objections.objecting([person_id], need_id)[0]:
        mend = "Leave the person in peace; an objection is withdrawn by the resident alone"
        raise BadInput(Fault("person", "has objected to this need, or was erased", mend))
    home.store.change(list_id, unit, person_id, act, by, reason=reason, worker=worker)
    home.audit_log.append("list-change", by, list=list_id, unit=unit, act=act)
    return {"list_id": list_id, "unit_id": unit, "act": act}
