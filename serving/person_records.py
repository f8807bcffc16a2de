"""What the store keeps about one person, as JSON values by need: scores, lists, changes, files, contacts, looks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from scoring.named_people import naming

if TYPE_CHECKING:
    from scoring.store import Store

_Row = dict[str, Any]
_OF_CHANGE = ("act", "reason", "is_withheld")
"""What is told of a change by hand; who made it is another person. A reason that names others is withheld."""


@dataclass(frozen=True)
class Records:
    """What the store keeps of a person; all of it empty for whom it does not know.

    Attributes
    ----------
    scores, lists, contacts : mapping of need id to rows
        Oldest first; contacts outside any list stand under None.
    views : sequence of rows
        Looks at the person and at lists the person stands on.
    """

    scores: Mapping[str, Sequence[_Row]] = field(default_factory=dict)
    lists: Mapping[str, Sequence[_Row]] = field(default_factory=dict)
    contacts: Mapping[str | None, Sequence[_Row]] = field(default_factory=dict)
    views: Sequence[_Row] = ()

    @property
    def need_ids(self) -> set[str]:
        """Needs that ever scored, listed or contacted the person."""
        return {need for found in (self.scores, self.lists, self.contacts) for need in found if need is not None}

    @property
    def has_any(self) -> bool:
        """Whether anything but a look is kept."""
        return bool(self.scores or self.lists or self.contacts)

    def scores_of(self, need_id: str) -> list[_Row]:
        """``as_of_date``, ``rank_band``, ``n``, ``rank``, ``score``, ``model_digest``."""
        return list(self.scores.get(need_id, ()))

    def lists_of(self, need_id: str) -> list[_Row]:
        """``list_id``, ``as_of_date``, ``period``, ``unit_id``, ``kind``, ``rank_band``, ``reasons`` …"""
        return list(self.lists.get(need_id, ()))

    def contacts_of(self, need_id: str | None) -> list[_Row]:
        """``at``, ``channel``, ``result``; never who tried, which is another person's."""
        return list(self.contacts.get(need_id, ()))


def records_of(store: Store | None, person_id: str | None) -> Records:
    """Read what the store keeps of a person; None for whoever is not kept there."""
    if store is None or person_id is None:
        return Records()
    scores = store.scores_of(person_id)
    told = [{**row, "as_of_date": str(row["as_of_date"])} for row in scores.unique("batch_id").to_dicts()]
    told.sort(key=lambda row: (row["as_of_date"], row["at"]))
    keep = ("need_id", "as_of_date", "rank_band", "n", "rank", "score", "model_digest")
    lists, need_of = _lists(store, person_id)
    views = [
        {
            "at": view["at"].isoformat(timespec="seconds"),
            "what": "person" if view["list_id"] is None else "list",
            "actor": view["actor"],
            "purpose": view["purpose"],
            "need": need_of.get(view["list_id"]),
            "unit_id": view["unit_id"],
        }
        for view in store.views(person_id=person_id).to_dicts()
    ]
    return Records(
        _by_need({name: row[name] for name in keep} for row in told),
        _by_need(lists),
        _by_need(_contacts(store, person_id)),
        views,
    )


_ADDED: _Row = {"unit_id": None, "kind": "added", "rank_band": None, "payload": None, "is_held_out": False}


def _lists(store: Store, person_id: str) -> tuple[list[_Row], dict[str, str]]:
    """Every list the person stood on, as published or by hand; and the need of each."""
    changes = store.changes(person_id=person_id).to_dicts()
    about_others = naming(store, [change["reason"] for change in changes], person_id)
    for change, is_about_others in zip(changes, about_others, strict=True):
        change |= {"reason": None if is_about_others else change["reason"], "is_withheld": is_about_others}
    rows = {row["list_id"]: row for row in store.rows(person_id=person_id).to_dicts()}
    exports = store.exports(person_id=person_id)
    published = {row["list_id"]: row for row in store.lists().to_dicts()}
    found = []
    for list_id in sorted({*rows, *(change["list_id"] for change in changes)}):
        own = rows.get(list_id, _ADDED)
        kept, payload = published[list_id], json.loads(own["payload"] or "{}")
        acts = [change for change in changes if change["list_id"] == list_id]
        files = exports.filter(pl.col("list_id") == list_id, pl.col("unit_id").is_not_null())
        found.append(
            {
                "need_id": kept["need_id"],
                "list_id": list_id,
                "as_of_date": str(kept["as_of_date"]),
                "period": kept["period"],
                "published_at": kept["published_at"].isoformat(timespec="seconds"),
                "unit_id": own["unit_id"] or acts[-1]["unit_id"],
                "kind": _kind(own, acts),
                "rank_band": own["rank_band"],
                "language": store.list_facts(list_id)["language"],
                "reasons": [reason["text"] for reason in payload.get("reasons", ())],
                "cautions": payload.get("cautions", []),
                "changes": [
                    {"at": act["at"].isoformat(timespec="seconds"), **{k: act[k] for k in _OF_CHANGE}} for act in acts
                ],
                "files": files.height,
                "recalled": int(files["recalled_at"].is_not_null().sum()),
            }
        )
    return found, {list_id: str(row["need_id"]) for list_id, row in published.items()}


def _kind(own: Mapping[str, Any], acts: Sequence[_Row]) -> str:
    """Why the person stood there; whom the lot held out and somebody added stood there by hand."""
    if not own["is_held_out"]:
        return str(own["kind"])
    return "added" if any(act["act"] == "added" for act in acts) else "held_out"


def _contacts(store: Store, person_id: str) -> list[_Row]:
    """Attempts, each with what came of it; and outcomes of which no attempt was recorded."""
    attempts = store.attempts(person_id=person_id).to_dicts()
    told = [
        {"need_id": one["need_id"], "at": one["at"].isoformat(), "channel": one["channel"], "result": one["result"]}
        for one in attempts
    ]
    known = {(one["list_id"], one["at"], one["result"]) for one in attempts}
    for one in store.outcomes(person_id=person_id).to_dicts():
        if (one["list_id"], one["at"], one["outcome"]) not in known:
            said = {"at": one["at"].isoformat(), "channel": None, "result": one["outcome"]}
            told.append({"need_id": one["need_id"], **said})
    return sorted(told, key=lambda one: one["at"])


def _by_need(rows: Any) -> dict[Any, list[_Row]]:
    found: dict[Any, list[_Row]] = {}
    for row in rows:
        found.setdefault(row.pop("need_id"), []).append(row)
    return found
