"""Lists over HTTP: a unit reads its own as they stand today, and tells what came of them, as on the command line.

Another unit's list, and one that never was, are one answer: the same words after the same look.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ethics.refusals import BadInput, Fault
from serving.acts import actor_of, caller_of
from serving.answers import refuse_foreign_need
from serving.exchange import Act, Answer, Asked, Unanswered
from serving.list_schemas import (
    AttemptsRequest,
    ListsResponse,
    OutcomesRequest,
    UnitListResponse,
    WorkResponse,
    parse_work,
    shown_row,
)

if TYPE_CHECKING:
    from pathlib import Path

    from scoring.outcomes import Imported

_LIST_ID = re.compile(r"[0-9A-Za-z_-]{1,40}")
_HOME_ZONE = ZoneInfo("Europe/Helsinki")
_UNKNOWN = Fault("list", "is none that is known here", "GET /lists says which there are")


async def lists(asked: Asked) -> Answer:
    """A unit's lists of a need, newest first."""
    found: ListsResponse = await asked.state.lists.do(_lists, asked)
    return Answer(found.model_dump_json().encode())


async def unit_list(asked: Asked) -> Answer:
    """A unit's part of a list as it stands today; the look is recorded."""
    found: UnitListResponse = await asked.state.lists.do(_unit_list, asked)
    people = [row.person_id for row in found.rows if row.person_id is not None]
    facts: dict[str, str | int] = {"list": found.list_id, "unit": found.unit, "n": len(found.rows)}
    acts = (Act("view", facts, tuple(people)),)
    return Answer(found.model_dump_json().encode(), acts=acts, rows=len(found.rows))


async def attempts(asked: Asked) -> Answer:
    """Attempts to reach people, and what came of each."""
    return await _work(asked, AttemptsRequest, "attempts")


async def outcomes(asked: Asked) -> Answer:
    """What came of earlier attempts, later on."""
    return await _work(asked, OutcomesRequest, "outcomes")


async def _work(asked: Asked, schema: type[AttemptsRequest | OutcomesRequest], act: str) -> Answer:
    found, people = await asked.state.lists.do(_kept_work, asked, schema)
    facts = {"list": found.list_id, "unit": asked.query["unit"], "rows": found.rows}
    facts |= {"attempts": found.attempts, "outcomes": found.outcomes}
    return Answer(found.model_dump_json().encode(), acts=(Act(act, facts, tuple(people)),), rows=found.rows)


def _lists(asked: Asked) -> ListsResponse:
    need, unit = asked.query["need"], asked.query["unit"]
    refuse_foreign_need(asked, need, "query: need")
    if not caller_of(asked).may_see_list(need, unit):
        raise _unknown()
    store = asked.state.home.store
    published, exports = store.lists(need), store.exports()
    recalled = set(exports.filter(unit_id=unit).drop_nulls("recalled_at")["list_id"])
    stands: dict[Any, str] = dict(published.sort("list_id").select("as_of_date", "list_id").iter_rows())
    told = []
    for row in published.sort("published_at", "list_id", descending=True).to_dicts():
        units = {one["unit_id"]: one["listed"] for one in store.list_facts(row["list_id"])["units"]}
        if unit in units:
            newest = stands[row["as_of_date"]]
            told.append(
                {
                    **{name: row[name] for name in ("list_id", "as_of_date", "period", "published_at")},
                    "n": units[unit],
                    "recalled": row["list_id"] in recalled,
                    "replaced_by": None if newest == row["list_id"] else newest,
                }
            )
    return ListsResponse.model_validate({"need": need, "unit": unit, "lists": tuple(told)})


def _unit_list(asked: Asked) -> UnitListResponse:
    from scoring.reasons import Words
    from serving.past_lists import rows_today

    home, unit = asked.state.home, asked.query["unit"]
    list_id, need = own_list(asked, unit)
    facts = home.store.list_facts(list_id)
    rows = rows_today(home, need, list_id, unit, _city_with_contacts(asked), more=("payload",))
    kept = home.store.lists(need).filter(list_id=list_id).row(0, named=True)
    home.store.view(list_id, unit, actor_of(asked), asked.purpose)  # so that a resident is told who looked
    words = Words.of(facts["language"])
    shown = []
    for row in rows:
        one = shown_row(row, json.loads(row.pop("payload") or "{}"))
        for reason in one["reasons"]:
            reason["source"] = None if reason["source"] is None else words.source(reason["source"])
        shown.append(one)
    told = {"list_id": list_id, "need": need, "unit": unit, "language": facts["language"], "rows": shown}
    told |= {name: str(kept[name]) for name in ("as_of_date", "period")}
    return UnitListResponse.model_validate_json(json.dumps({**told, "published_at": kept["published_at"].isoformat()}))


def _kept_work(asked: Asked, schema: type[AttemptsRequest | OutcomesRequest]) -> tuple[WorkResponse, Sequence[str]]:
    from scoring.import_words import ImportWords
    from scoring.outcomes import ReadRow, keep_outcomes

    home, unit = asked.state.home, asked.query["unit"]
    list_id, _ = own_list(asked, unit)
    only_outcomes = schema is OutcomesRequest
    try:
        wanted = parse_work(asked.body, schema)
        words = ImportWords(wanted.language)
        rows = [
            ReadRow(words.row(number), {"list_id": list_id, **row.model_dump(exclude_none=True)})
            for number, row in enumerate(wanted.rows, start=1)
        ]
        found: Imported = keep_outcomes(
            home.store,
            rows,
            actor_of(asked),
            datetime.now(_HOME_ZONE).date(),
            language=wanted.language,
            unit=unit,
            only_outcomes=only_outcomes,
            before=[fault for row in rows for fault in _typed_faults(row)],
        )
    except BadInput as refusal:
        raise Unanswered(422, "The body cannot be used", *refusal.faults) from None
    told = {
        "list_id": list_id,
        "rows": found.rows,
        "attempts": found.attempts,
        "outcomes": found.outcomes,
        "known_before": found.rows - found.erased - (found.outcomes if only_outcomes else found.attempts),
        "erased": found.erased,
        "by_outcome": dict(found.by_outcome),
    }
    return WorkResponse.model_validate(told), sorted({row.cells["person_id"] for row in rows})


def _typed_faults(row: Any) -> list[Fault]:
    """What no command may keep either: personal identity codes, and texts that are none."""
    from serving.objection_work import person_fault
    from serving.typed_texts import free_text_fault

    found = [person_fault(row.cells["person_id"])]
    found += [free_text_fault(name, row.cells.get(name, "")) for name in ("channel", "worker")]
    return [fault._replace(where=f"{row.where}: {fault.where}") for fault in found if fault is not None]


# ---- whose ---------------------------------------------------------------------------------------------------------


def own_list(asked: Asked, unit: str) -> tuple[str, str]:
    """The id and the need of the list that the path names, if the unit's part of it is the caller's.

    Raises
    ------
    Unanswered
        404, and nothing is told of whether there is such a list.
    """
    list_id, home = asked.path["list_id"], asked.state.home
    need: str | None = home.store.need_of(list_id if _LIST_ID.fullmatch(list_id) else "-")
    if need is None or need not in asked.state.desk.guarded or not caller_of(asked).may_see_list(need, unit):
        raise _unknown()
    if unit not in {one["unit_id"] for one in home.store.list_facts(list_id)["units"]}:
        raise _unknown()
    return list_id, need


def _unknown() -> Unanswered:
    return Unanswered(404, "Unknown list", _UNKNOWN)


def _city_with_contacts(asked: Asked) -> Path | None:
    """The city that is served, where its contact book tells whose guardian somebody is."""
    from serving.guardian_lists import has_contact_book

    city: Path | None = asked.state.settings.city
    return city if city is not None and has_contact_book(city) else None
