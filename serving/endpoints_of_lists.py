"""Rows of the table of endpoints: units' lists and what came of them, and the area table for everybody."""

from __future__ import annotations

from serving.endpoint_shape import HEAVY, NEED, SYSTEM, TEXT, UNIT, Endpoint, Parameter
from serving.exchange import CSV
from serving.list_schemas import (
    MAX_WORK_ROWS,
    AttemptsRequest,
    ListsResponse,
    OutcomesRequest,
    UnitListResponse,
    WorkResponse,
)

_WORK_BYTES = MAX_WORK_ROWS * 240  # a row with every key and long ids is half of that
_UNIT_ASKED = Parameter(name="unit", says="The unit whose part of a list it is.", schema=TEXT, example="kallio")
_LIST = {
    "list_id": "01J3ZV5Q8W2M7R4T6Y9B1C0D3F",
    "as_of_date": "2024-06-03",
    "period": "2024-06-03/2024-06-10",
    "published_at": "2024-06-03T05:12:09+00:00",
    "n": 40,
    "recalled": False,
    "replaced_by": None,
}
_CAME = {"person_id": "000123", "at": "2024-06-05T09:30", "outcome": "reached"}
_KEPT = {"outcomes": 1, "known_before": 0, "erased": 0, "by_outcome": {"reached": 1}}

LISTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/lists",
        handler="list_desk.lists",
        title="A unit's lists",
        says="The published lists of a need that have a part for the unit, newest first; nobody is named.",
        roles=(UNIT, SYSTEM),
        query=(NEED, _UNIT_ASKED),
        answer=ListsResponse,
        problems={404: ("Unknown need", "Unknown list"), **HEAVY},
        answer_example={"need": "youth_exclusion", "unit": "kallio", "lists": [_LIST]},
    ),
    Endpoint(
        method="GET",
        path="/lists/{list_id}",
        handler="list_desk.unit_list",
        title="A unit's part of a list",
        says="Its rows as they stand today, without those who object; the look is recorded, and residents are told of "
        "it. Reasons are those of the published list.",
        roles=(UNIT, SYSTEM),
        purpose=True,
        query=(_UNIT_ASKED,),
        answer=UnitListResponse,
        problems={404: ("Unknown list",), **HEAVY},
        answer_example={
            **{name: _LIST[name] for name in ("list_id", "as_of_date", "period", "published_at")},
            "need": "youth_exclusion",
            "unit": "kallio",
            "language": "fi",
            "rows": [
                {
                    "position": 1,
                    "kind": "ranked",
                    "person_id": "000123",
                    "rank_band": "top_1",
                    "worker": None,
                    "not_by": ["phone"],
                    "reasons": [
                        {
                            "text": "12 poissaoloa koulusta",
                            "source": "koulurekisteri",
                            "changeable": True,
                            "day": "2024-05-30",
                        }
                    ],
                    "cautions": [],
                    "attempts": None,
                    "who_helps": None,
                }
            ],
        },
    ),
    Endpoint(
        method="POST",
        path="/lists/{list_id}/attempts",
        handler="list_desk.attempts",
        title="Tell of attempts to reach people",
        says="Each with what came of it, as a file of outcomes has it: all rows are kept or none, and every fault is "
        "told by its row. The same attempt sent twice is kept once.",
        roles=(UNIT, SYSTEM),
        purpose=True,
        query=(_UNIT_ASKED,),
        body=AttemptsRequest,
        max_body_bytes=_WORK_BYTES,
        answer=WorkResponse,
        problems={404: ("Unknown list",), 415: ("Not JSON",)},
        example={"rows": [{**_CAME, "channel": "phone", "worker": "A12"}], "language": "fi"},
        answer_example={"list_id": _LIST["list_id"], "rows": 1, "attempts": 1, **_KEPT},
    ),
    Endpoint(
        method="POST",
        path="/lists/{list_id}/outcomes",
        handler="list_desk.outcomes",
        title="Tell what came of earlier attempts",
        says="As attempts are told of, where nothing was tried anew: no attempt is counted.",
        roles=(UNIT, SYSTEM),
        purpose=True,
        query=(_UNIT_ASKED,),
        body=OutcomesRequest,
        max_body_bytes=_WORK_BYTES,
        answer=WorkResponse,
        problems={404: ("Unknown list",), 415: ("Not JSON",)},
        example={"rows": [_CAME], "language": "fi"},
        answer_example={"list_id": _LIST["list_id"], "rows": 1, "attempts": 0, **_KEPT},
    ),
    Endpoint(
        method="GET",
        path="/open-data/{need}.csv",
        handler="open_data.area_table",
        title="The area table of a need",
        says="Districts in bands, as the weekly run published them last: an empty cell is withheld or not known. "
        "With an `ETag`, so that `If-None-Match` is answered by 304 while nothing is new.",
        answer_kinds=(CSV,),
        successes=(200, 304),
        problems={404: ("Nothing published",)},
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        handler="answers.openapi",
        title="This description",
        says="OpenAPI 3.1, made from the same table as the routes.",
        answer_kinds=("application/json",),
    ),
)
