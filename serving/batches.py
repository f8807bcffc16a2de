"""Many people in one question and one answer: as JSON or as Arrow IPC streams; nobody is silently missing.

Whoever has no score is a row of the answer that says why. The scores are made by the call that makes those of the
weekly list and of one person, so they are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pydantic_core
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from features.city import DataError
from scoring.scorer import RANK_BANDS
from serving.batch_schemas import MAX_EVENT_ROWS, MAX_ROWS, STATUSES, BatchRequest, parse_batch
from serving.exchange import ARROW, Unanswered
from serving.objection_work import LONGEST_ID
from serving.prepared_days import ABSENT, additivity_error
from serving.progress import PERSONAL_IDENTITY_CODE
from serving.sent_city import city_of_body, city_of_frames, misfits_of_need

if TYPE_CHECKING:
    from features.city import City
    from scoring.scorer import Scorer
    from serving.desk import ScoreDesk

SCORED, UNKNOWN, OBJECTED, NOT_COVERED = range(len(STATUSES))
_MEND = "Send person_ids, for persons of the city folder"
_NO_PSEUDONYM = rf"(?i){PERSONAL_IDENTITY_CODE}|[\p{{C}}\p{{Zl}}\p{{Zp}}]|[\p{{Zs}}&&[^ ]]|^.{{{LONGEST_ID + 1},}}$"
"""As :func:`serving.objection_work.person_fault` refuses, for many at once."""


@dataclass(frozen=True)
class Many:
    """A question about many people, whichever way it came: by id, or with tables.

    With ``only``, everybody else is answered as one whom nobody knows.
    """

    need: str
    as_of_date: date
    person_ids: pl.Series | None
    request: BatchRequest | None = None
    tables: tuple[pl.DataFrame, pl.DataFrame] | None = None
    only: frozenset[str] | None = None


@dataclass(frozen=True, eq=False)
class ManyScored:
    """An answer about many people, in the order of the question.

    Attributes
    ----------
    person_ids : pl.Series of str (n,)
    status : uint8 (n,)
        Place in ``STATUSES``.
    score : float64 (n,)
        NaN where there is none.
    band : uint8 (n,)
        Place in ``RANK_BANDS``, or ABSENT.
    """

    need: str
    as_of_date: date
    model_digest: str
    verdict_id: str
    person_ids: pl.Series
    status: NDArray[np.uint8]
    score: NDArray[np.float64]
    band: NDArray[np.uint8]

    @property
    def n_scored(self) -> int:
        """How many have a score."""
        return int((self.status == SCORED).sum())

    @property
    def concerned(self) -> tuple[str, ...]:
        """Ids of those whom the answer tells of."""
        return tuple(self.person_ids.filter(pl.Series(self.status != UNKNOWN)).unique(maintain_order=True))


# ---- in --------------------------------------------------------------------------------------------------------


def read_batch(body: bytes, kind: str, query: Mapping[str, str]) -> Many:
    """A question out of a body of JSON or Arrow.

    Raises
    ------
    BadInput, Unanswered
    """
    if kind != ARROW:
        request = parse_batch(body)
        if dict(query).items() - {"need": request.need, "as_of_date": str(request.as_of_date)}.items():
            raise BadInput(Fault("query", "says something else than the JSON body", "Leave the query out"))
        ids = None if request.person_ids is None else pl.Series("person_id", request.person_ids, dtype=pl.String)
        return Many(request.need, request.as_of_date, ids, request)
    return _read_arrow(body, query)


def _read_arrow(body: bytes, query: Mapping[str, str]) -> Many:
    from serving.arrow_body import tables_of
    from serving.schemas import faults_of_body

    try:
        asked = BatchRequest.model_validate_json(pydantic_core.to_json({**query, "person_ids": ["-"]}))
    except pydantic_core.ValidationError as error:
        faults = faults_of_body(error, BatchRequest)
        raise BadInput(*(fault._replace(where=fault.where.replace("body", "query", 1)) for fault in faults)) from None
    frames = tables_of(body, (MAX_ROWS, MAX_EVENT_ROWS))
    if frames[0].is_empty():
        raise BadInput(Fault("body", "asks about nobody", "Send a row for each person"))
    if len(frames) == 1:
        return Many(asked.need, asked.as_of_date, _ids_of(frames[0]))
    if "person_id" in frames[0].columns:
        _refuse_no_pseudonyms(frames[0]["person_id"])
    return Many(asked.need, asked.as_of_date, None, tables=(frames[0], frames[1]))


def _ids_of(frame: pl.DataFrame) -> pl.Series:
    if frame.columns != ["person_id"]:
        mend = "Send the column person_id alone, or a stream of persons and after it one of events"
        raise BadInput(Fault("body", "is one stream with other columns than person_id", mend))
    ids = frame["person_id"]
    if ids.dtype != pl.String and not ids.dtype.is_integer():
        raise BadInput(Fault("body: person_id", "is neither text nor whole numbers", "Send ids as text"))
    if ids.null_count():
        raise BadInput(Fault("body: person_id", f"is empty in {ids.null_count()} rows", "Send an id in every row"))
    _refuse_no_pseudonyms(ids)
    return ids.cast(pl.String)


def _refuse_no_pseudonyms(ids: pl.Series) -> None:
    wrong = int(ids.str.contains(_NO_PSEUDONYM).sum()) if ids.dtype == pl.String else 0
    if wrong:
        said = f"is no pseudonym in {wrong} rows, or has the form of a personal identity code"
        raise BadInput(Fault("body: person_id", said, "Give pseudonyms, e.g. 000123"))


# ---- scoring ---------------------------------------------------------------------------------------------------


def score_many(desk: ScoreDesk, asked: Many) -> ManyScored:
    """Score everybody asked about; raises Unanswered where nobody can be answered for."""
    scorer = desk.trusted(asked.need, "need")
    desk.refuse_date(asked.as_of_date)
    city = _city_sent(desk, asked, scorer)
    ids = city.persons["person_id"] if asked.person_ids is None else asked.person_ids
    if asked.tables is not None:
        ids = asked.tables[0]["person_id"].cast(pl.String)
    elif asked.person_ids is None and asked.request is not None:
        ids = pl.Series("person_id", [person.person_id for person in asked.request.persons or ()], dtype=pl.String)
    unique = ids.unique()
    if asked.only is not None:
        unique = unique.filter(unique.is_in(pl.Series(sorted(asked.only), dtype=pl.String).implode()))
    found = _found_ready(desk, asked, scorer, unique) if asked.person_ids is not None else None
    found = found if found is not None else _found_now(desk, asked, scorer, city, unique)
    # Read last: whoever objected while the scores were made has none.
    objects = desk.objections.objecting(found["person_id"].to_list(), asked.need)
    found = found.with_columns(
        status=pl.when(pl.Series(objects)).then(pl.lit(OBJECTED, pl.UInt8)).otherwise(pl.col("status")),
        score=pl.when(pl.Series(objects)).then(None).otherwise(pl.col("score")),
        band=pl.when(pl.Series(objects)).then(pl.lit(ABSENT, pl.UInt8)).otherwise(pl.col("band")),
    )
    rows = pl.DataFrame({"person_id": ids}).join(found, on="person_id", how="left", maintain_order="left")
    return ManyScored(
        need=asked.need,
        as_of_date=asked.as_of_date,
        model_digest=str(scorer.model.digest),
        verdict_id=scorer.verified.verdict.verdict_id,
        person_ids=rows["person_id"],
        status=rows["status"].fill_null(UNKNOWN).to_numpy(),
        score=rows["score"].fill_null(np.nan).to_numpy(),
        band=rows["band"].fill_null(ABSENT).to_numpy(),
    )


def _city_sent(desk: ScoreDesk, asked: Many, scorer: Scorer) -> City:
    """The city folder's city, or one out of the body's tables; raises Unanswered."""
    if asked.person_ids is not None:
        return desk.city
    fixed = desk.city.fixed
    if faults := misfits_of_need(scorer.need, fixed, "body: persons", _MEND):
        raise Unanswered(422, "This need cannot be scored from a body", *faults)
    allowed = {"person_id", "birth_date", *fixed}
    if asked.tables is not None:
        keys = set(asked.tables[0].columns)
    else:
        assert asked.request is not None and asked.request.persons is not None
        keys = {name for person in asked.request.persons for name in person.model_extra or {}}
    if keys - allowed:
        mend = f"Allowed: {', '.join(sorted(allowed))}"
        raise Unanswered(422, "The body cannot be used", Fault("body: persons", "hold a column that is not one", mend))
    if asked.tables is not None:
        return city_of_frames(*asked.tables, desk.city)
    assert asked.request is not None and asked.request.persons is not None
    events = ((event.person_id, event) for event in asked.request.events or ())
    return city_of_body(asked.request.persons, events, desk.city)


def _found_ready(desk: ScoreDesk, asked: Many, scorer: Scorer, ids: pl.Series) -> pl.DataFrame | None:
    """Out of a day that is ready; None where it is not, or has not everybody whom the city knows."""
    day = desk.ready_day(scorer, asked.as_of_date)
    if day is None:
        return None
    at = np.fromiter((desk.places.get(person, -1) for person in ids), np.int64, len(ids))
    here = at >= 0
    band = np.where(here, day.band[at], ABSENT).astype(np.uint8)
    if (here & (band == ABSENT)).any():  # not covered, or one who has withdrawn an objection: that is found out anew
        return None
    desk.ask_gate_of_many(scorer, day.columns, day.max_error)
    status = np.where(here, SCORED, UNKNOWN).astype(np.uint8)
    score = pl.Series(np.where(here, day.score[at], np.nan)).fill_nan(None)
    return pl.DataFrame({"person_id": ids, "status": status, "score": score, "band": band})


def _found_now(desk: ScoreDesk, asked: Many, scorer: Scorer, city: City, ids: pl.Series) -> pl.DataFrame:
    """Scores made now; raises Unanswered."""
    here = ids.is_in(city.events.person_ids.implode()) if asked.person_ids is not None else ids.is_not_null()
    known = ids.filter(here).to_list()
    objects = desk.objections.objecting(known, asked.need)
    wanted = [person for person, no in zip(known, objects, strict=True) if not no]
    scored = _scored(desk, asked, scorer, city, wanted) if wanted else _nobody()
    found = pl.DataFrame({"person_id": ids, "here": here}).join(scored, on="person_id", how="left")
    status = (
        pl.when(~pl.col("here"))
        .then(UNKNOWN)
        .when(pl.col("band").is_null())
        .then(NOT_COVERED)
        .otherwise(SCORED)
        .cast(pl.UInt8)
    )
    return found.select("person_id", status.alias("status"), "score", pl.col("band").fill_null(ABSENT))


def _scored(desk: ScoreDesk, asked: Many, scorer: Scorer, city: City, wanted: Sequence[str]) -> pl.DataFrame:
    try:
        scores = scorer.unordered(city, asked.as_of_date, desk.objections, wanted)
    except DataError as refusal:
        if all(fault.where == "cohort" for fault in refusal.faults):  # nobody is covered, or all have just objected
            return _nobody()
        raise Unanswered(422, "No score can be made", *refusal.faults) from None
    except BadInput as refusal:
        raise Unanswered(422, "No score can be made", *refusal.faults) from None
    error = additivity_error(scorer.model, scores.matrix.X)
    desk.ask_gate_of_many(scorer, scores.matrix.names, error)
    score = pl.Series(scores.score, dtype=pl.Float64) if scores.score is not None else pl.lit(None, pl.Float64)
    return pl.DataFrame({"person_id": scores.person_ids, "band": scores.band}).select(
        "person_id", score=score, band="band"
    )


def _nobody() -> pl.DataFrame:
    return pl.DataFrame(schema={"person_id": pl.String, "score": pl.Float64, "band": pl.UInt8})


# ---- out -------------------------------------------------------------------------------------------------------

_BANDS = pl.Series([*RANK_BANDS, *[None] * (ABSENT + 1 - len(RANK_BANDS))], dtype=pl.String)
_STATUS = pl.Series(STATUSES)


def as_json(scored: ManyScored) -> bytes:
    """An answer as :class:`serving.batch_schemas.BatchResponse`."""
    frame = _as_frame(scored)
    rows = BytesIO()
    frame.write_json(rows)
    head = pydantic_core.to_json(
        {
            "need": scored.need,
            "as_of_date": scored.as_of_date,
            "model_digest": scored.model_digest,
            "verdict_id": scored.verdict_id,
        }
    )
    return head[:-1] + b',"rows":' + rows.getvalue() + b"}"


def as_arrow(scored: ManyScored) -> bytes:
    """An answer as one Arrow IPC stream; what all rows share is in the schema's metadata."""
    import pyarrow as pa

    shared = {"need": scored.need, "as_of_date": scored.as_of_date.isoformat()}
    shared |= {"model_digest": scored.model_digest, "verdict_id": scored.verdict_id}
    texts = pa.schema(
        [
            *(pa.field("person_id", pa.string()), pa.field("status", pa.string())),
            *(pa.field("score", pa.float64()), pa.field("rank_band", pa.string())),
        ],
        metadata=shared,
    )
    columns = [
        scored.person_ids.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string()),
        pa.array(STATUSES).take(pa.array(scored.status)),
        pa.array(scored.score, from_pandas=True),  # NaN becomes null
        pa.array(_BANDS.to_list(), pa.string()).take(pa.array(scored.band)),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, texts) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=texts))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _as_frame(scored: ManyScored) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "person_id": scored.person_ids,
            "status": _STATUS.gather(scored.status),
            "score": pl.Series(scored.score).fill_nan(None),
            "rank_band": _BANDS.gather(scored.band),
        }
    )
