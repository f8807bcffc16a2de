"""Lists as they were worked with: changed by hand since, made again for the same day, each person once a day."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from scoring.what_happened import with_lots, worked_rows

_DAY = ["need_id", "as_of_date"]
_KEY = ["list_id", "person_ref"]


class Work(NamedTuple):
    """What was done with some lists.

    Attributes
    ----------
    rows : polars.DataFrame
        Rows with what came of them (:func:`scoring.what_happened.worked_rows`) and ``is_listed``: whether the person
        was there to be contacted. ``list_id`` is the one list that stands for its need and day.
    attempts : polars.DataFrame
        The attempts, under the same ``list_id``.
    lists : list of str
        The lists that stand for their needs and days.
    """

    rows: pl.DataFrame
    attempts: pl.DataFrame
    lists: list[str]


def work_of(
    lists: pl.DataFrame, rows: pl.DataFrame, changes: pl.DataFrame, attempts: pl.DataFrame, outcomes: pl.DataFrame
) -> Work:
    """Whom some lists gave to be contacted, and what came of it.

    Whoever was added by hand counts, and whoever was removed does not, unless something was tried before. Of several
    lists of a need for one day the last that was worked with stands for all (the last, where none was): what was done
    with the others counts for it too, and people who stand on the others alone count where something was tried.

    Parameters
    ----------
    lists : polars.DataFrame
        ``list_id``, ``need_id``, ``as_of_date``: the lists that count.
    rows, changes, attempts, outcomes : polars.DataFrame
        As the store gives them; those of other lists are passed over.
    """
    known = lists["list_id"].implode()
    attempts, outcomes = (events.filter(pl.col("list_id").is_in(known)) for events in (attempts, outcomes))
    tried = pl.concat([events.select(_KEY) for events in (attempts, outcomes)])
    stands = _standing(lists, tried["list_id"].implode())
    by_hand = _changed(
        lists, rows.filter(pl.col("list_id").is_in(known)), changes.filter(pl.col("list_id").is_in(known))
    )
    stands_itself = pl.col("list_id").is_in(list(stands.values()))
    others = by_hand.filter(~stands_itself & pl.col("is_listed")).join(tried.unique(), on=_KEY, how="semi")
    # They are here because something was tried: what a lot of theirs changed cannot be told by them.
    others = others.reverse().with_columns(probability=pl.lit(None, dtype=pl.Float64))
    both, attempts, outcomes = (
        part.with_columns(pl.col("list_id").replace(stands))
        for part in (pl.concat([by_hand.filter(stands_itself), others]), attempts, outcomes)
    )
    both = both.with_columns(pl.col("is_listed").any().over(_KEY))
    worked = worked_rows(both.unique(_KEY, keep="first", maintain_order=True), attempts, outcomes)
    is_listed = pl.col("is_listed") & ~(pl.col("is_removed") & ~pl.col("tried"))
    return Work(worked.with_columns(is_listed=is_listed).drop("is_removed"), attempts, sorted(set(stands.values())))


def _standing(lists: pl.DataFrame, worked: pl.Series) -> dict[str, str]:
    """List → the list that stands for its need and day; ids of lists sort by time."""
    in_order = lists.sort(pl.col("list_id").is_in(worked), "list_id")
    last = in_order.select(*_DAY, "list_id", stands=pl.col("list_id").last().over(_DAY))
    return dict(last.select("list_id", "stands").iter_rows())


def _changed(lists: pl.DataFrame, rows: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """The rows with ``is_listed`` and ``is_removed``, and a row for whoever was added by hand and had none."""
    acts = changes.filter(pl.col("act") != "assigned").sort("number").unique(_KEY, keep="last", maintain_order=True)
    act = acts.select(*_KEY, "act")
    found = with_lots(rows).join(act, on=_KEY, how="left", maintain_order="left")
    is_added = (pl.col("act") == "added").fill_null(False)
    found = found.with_columns(is_listed=pl.col("is_listed") | is_added)
    # Whoever was added and removed again has no row, and is on the list only if something was tried.
    put = acts.join(rows, on=_KEY, how="anti").select("list_id", "unit_id", "person_ref", "person_id", "act")
    put = put.join(lists.select("list_id", *_DAY), on="list_id", how="left", maintain_order="left")
    put = put.with_columns(kind=pl.lit("added"), is_held_out=pl.lit(False), is_listed=pl.lit(True))
    both = pl.concat([found, put], how="diagonal")
    return both.with_columns(is_removed=(pl.col("act") == "removed").fill_null(False)).drop("act")
