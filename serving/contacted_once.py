"""Nobody is contacted twice: whom the lists of other needs hold, of every period that overlaps."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import TYPE_CHECKING

from serving.home import locked
from serving.week_state import FOLDER

if TYPE_CHECKING:
    from models.need import Need
    from serving.home import Home


def settling(home: Home) -> AbstractContextManager[None]:
    """One process at a time settles who contacts whom and publishes lists by it; others wait."""
    return locked(home.root / FOLDER / ".lock")


def people_listed(home: Home, list_id: str) -> frozenset[str]:
    """People that a published list holds to be contacted; the erased are nobody."""
    from scoring.hygiene import to_contact

    return frozenset(to_contact(home.store.rows(list_id))["person_id"].drop_nulls())


def taken_by_others(home: Home, need: Need, as_of: date, being_made: Collection[str] = ()) -> frozenset[str]:
    """People whom other needs contact in a period that overlaps with that of a list to be made.

    Of several lists of a need and day the newest counts; the older ones were replaced by it.

    Parameters
    ----------
    need : Need
    as_of : date
        Of the list to be made.
    being_made : collection of str
        Needs whose lists of that day are made again: those they have are about to be replaced.
    """
    import polars as pl

    lists = home.store.lists(before=as_of + timedelta(days=need.capacity.period_days)).filter(
        pl.col("need_id") != need.id,
        pl.col("period").str.split("/").list.last().str.to_date() > as_of,
        ~(pl.col("need_id").is_in(list(being_made)) & (pl.col("as_of_date") == as_of)),
    )
    newest = lists.group_by("need_id", "as_of_date").agg(pl.col("list_id").max())
    chosen = newest.select("need_id", "list_id").iter_rows()
    return frozenset().union(*(_contacted(home, need_id, list_id) for need_id, list_id in chosen))


def _contacted(home: Home, need_id: str, list_id: str) -> frozenset[str]:
    """As the list stands today, and whom an attempt was made to reach before a "no" or a change by hand took them off.

    The erased are nobody.
    """
    import polars as pl

    rows = home.store.rows(list_id)
    sample = rows.filter(pl.col("kind") == "sample")["person_id"].drop_nulls()
    tried = home.store.attempts(list_id)["person_id"].drop_nulls()
    now = home.store.current(list_id).filter(pl.col("kind") != "sample")["person_id"].drop_nulls()
    now = now.filter(~pl.Series(home.objections.objecting(now.to_list(), need_id), dtype=pl.Boolean))
    return frozenset(now) | (frozenset(tried) - frozenset(sample))
