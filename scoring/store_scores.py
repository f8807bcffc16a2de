"""The scores of the store: batches that are added whole, once, and never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import select, update

from ethics.digests import canonical_json, sha256
from scoring.store_frames import MOMENT, frame_of, now_text
from scoring.store_opening import add_many, insert_new, reading, writing
from scoring.store_people import People
from scoring.store_tables import BATCHES, FORGOTTEN_COLUMNS, PEOPLE, SCORES

if TYPE_CHECKING:
    from scoring.scorer import Scores

_CHUNK_ROWS = 50_000
_SCHEMA = {
    "as_of_date": pl.Date,
    "need_id": pl.String,
    "score": pl.Float64,
    "rank": pl.UInt32,
    "rank_band": pl.String,
    "model_digest": pl.String,
    "verdict_id": pl.String,
    "n": pl.UInt32,
    "batch_id": pl.String,
    "at": MOMENT,
}


class StoredScores(People):
    """What :class:`scoring.store.Store` knows of scores."""

    def add_scores(self, scores: Scores) -> str:
        """Add the scores of one run, all or none; adding the same again changes nothing.

        Parameters
        ----------
        scores : Scores
            The erased among them are left out.

        Returns
        -------
        str
            The batch's id: the same for the same scores.
        """
        batch_id = _batch_id(scores)
        frame = scores.frame.select("person_id", "score", "rank", "rank_band")
        if self._has_batch(batch_id):
            return batch_id
        # References are looked up, and made, beforehand: the transaction that adds the batch is short.
        refs = self._refs_of(frame["person_id"].to_list())
        rows = frame.with_columns(person_ref=refs).drop_nulls("person_ref").sort("person_ref")
        self._add_batch(batch_id, scores, rows)
        return batch_id

    def _has_batch(self, batch_id: str) -> bool:
        with reading(self._engine) as connection:
            return connection.scalar(select(BATCHES.c.batch).where(BATCHES.c.batch_id == batch_id)) is not None

    def _refs_of(self, person_ids: list[str]) -> pl.Series:
        """Reference of each person, null for the erased; made where missing."""
        with reading(self._engine) as connection:
            found = self._found(connection, person_ids)
        if unknown := [person for person in person_ids if person not in found]:
            with writing(self._engine) as connection:
                found |= self._made(connection, unknown)
        return pl.Series([found[person][1] if person in found else None for person in person_ids], dtype=pl.Binary)

    def _add_batch(self, batch_id: str, scores: Scores, rows: pl.DataFrame) -> None:
        with writing(self._engine) as connection:
            values = {
                "batch_id": batch_id,
                "need_id": scores.need_id,
                "as_of_date": scores.as_of_date.isoformat(),
                "model_digest": scores.model_digest,
                "verdict_id": scores.verdict_id,
                "n": rows.height,
                "at": now_text(),
            }
            if not insert_new(connection, BATCHES, [values]):
                return  # another process was first
            batch = connection.scalar(select(BATCHES.c.batch).where(BATCHES.c.batch_id == batch_id))
            columns = [column.name for column in SCORES.columns]
            ordered = rows.with_columns(batch=pl.lit(batch)).select(columns)
            for part in ordered.iter_slices(_CHUNK_ROWS):
                add_many(connection, SCORES, columns, part.rows())
            # Who was erased since the references were made is nobody any more, and keeps no score.
            known = select(PEOPLE.c.person_ref).where(PEOPLE.c.person_ref == SCORES.c.person_ref).exists()
            emptied = dict.fromkeys(FORGOTTEN_COLUMNS[SCORES])
            connection.execute(update(SCORES).where(SCORES.c.batch == batch, ~known).values(emptied))

    def scores_of(self, person_id: str, need_id: str | None = None) -> pl.DataFrame:
        """A person's scores over time, oldest first.

        Returns
        -------
        polars.DataFrame
            ``as_of_date``, ``need_id``, ``score`` (null for a rule), ``rank`` (of ``n``), ``rank_band``,
            ``model_digest``, ``verdict_id``, ``n``, ``batch_id``, ``at``; empty for the erased and the unknown.
        """
        with reading(self._engine) as connection:
            found = self._found(connection, [person_id])
            if not found:
                return frame_of([], _SCHEMA)
            joined = BATCHES.join(SCORES, SCORES.c.batch == BATCHES.c.batch)
            query = select(BATCHES, SCORES).select_from(joined).where(SCORES.c.person_ref == found[person_id][1])
            if need_id is not None:
                query = query.where(BATCHES.c.need_id == need_id)
            rows = connection.execute(query.order_by(BATCHES.c.as_of_date, BATCHES.c.need_id, BATCHES.c.batch))
            return frame_of(rows.mappings().all(), _SCHEMA)


def _batch_id(scores: Scores) -> str:
    raw = scores.frame.sort("person_id").select("raw").to_series().to_numpy()
    said = {
        "need_id": scores.need_id,
        "as_of_date": scores.as_of_date.isoformat(),
        "model_digest": scores.model_digest,
        "verdict_id": scores.verdict_id,
        "matrix_digest": scores.matrix_digest,
        "n": scores.frame.height,
        "raw": sha256(raw.astype("<f8").tobytes()),
    }
    return sha256(canonical_json(said))
