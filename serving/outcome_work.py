"""The stories of outcomes: what units report comes in, what happened goes out, training learns of contacts."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput
from serving.home import Home
from serving.typed_texts import free_text_fault, refuse_typed

if TYPE_CHECKING:
    import polars as pl

    from scoring.outcomes import Imported, ReadRow


def import_outcomes(
    home: Home,
    path: Path,
    *,
    list_id: str | None,
    dry_run: bool,
    by: str,
    today: date | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Keep what a file says, all of it or nothing; see :mod:`scoring.outcomes`.

    Parameters
    ----------
    path : Path
        CSV, Parquet, or the filled workbook.
    list_id : str or None
        The list of rows that name none.
    dry_run : bool
        Read and check everything, and keep nothing.
    by : str
        Role of whoever brings it in, for the audit log.
    language : {"en", "fi", "sv"}, optional
        In which what is wrong is told; by default a workbook's own, otherwise English.

    Raises
    ------
    BadInput
        Every row that cannot be read, by its number.
    """
    from scoring.import_words import ImportWords
    from scoring.outcomes import keep_outcomes, keep_workbook, read_rows

    refuse_typed(by=by)
    today, said_in = today or date.today(), language or "en"
    if path.suffix == ".xlsx":
        found = keep_workbook(home.store, path, list_id, today, keep=not dry_run, language=language)
    elif rows := read_rows(path, list_id, language=said_in):
        typed = [
            fault._replace(where=f"{row.where}: {fault.where}")
            for row in rows
            for name in ("channel", "worker")
            if (fault := free_text_fault(name, row.cells.get(name, "")))
        ]
        found = keep_outcomes(home.store, rows, path.name, today, keep=not dry_run, language=said_in, before=typed)
    else:
        raise BadInput(ImportWords(said_in).fault(str(path), "no_row"))
    return _told(home, found, "outcome import", by, dry_run=dry_run)


def add_outcome(
    home: Home, cells: dict[str, str], *, by: str, today: date | None = None, language: str = "en"
) -> dict[str, Any]:
    """Keep one attempt and what came of it.

    Parameters
    ----------
    cells : dict
        ``list_id``, ``person_id``, ``at`` and ``outcome``; ``channel`` and ``worker`` if they are known.
    """
    from scoring.import_words import ImportWords
    from scoring.outcomes import ReadRow, keep_outcomes

    refuse_typed(cells["person_id"], channel=cells.get("channel", ""), worker=cells.get("worker", ""), by=by)
    rows: list[ReadRow] = [ReadRow(ImportWords(language).texts["outcome"], cells)]
    found = keep_outcomes(home.store, rows, "outcome add", today or date.today(), language=language)
    return _told(home, found, "outcome add", by, dry_run=False)


def _told(home: Home, found: Imported, act: str, by: str, *, dry_run: bool) -> dict[str, Any]:
    if not dry_run:
        facts = {"rows": found.rows, "attempts": found.attempts, "outcomes": found.outcomes}
        home.audit_log.append(act, by, lists=", ".join(found.lists), **facts)
    return {
        "rows": found.rows,
        "attempts": found.attempts,
        "outcomes": found.outcomes,
        "known_before": found.rows - found.erased - found.attempts,
        "erased": found.erased,
        "by_outcome": dict(found.by_outcome),
        "lists": list(found.lists),
        "kept": not dry_run,
    }


def contacted_people(home: Home, need_id: str) -> pl.DataFrame | None:
    """Whom the service has been in contact with about a need, and since when; None while no outcome is known.

    Returns
    -------
    polars.DataFrame
        ``person_id``, ``at`` (a day), ``outcome``: of lists of this need, and contacts outside any list.
    """
    import polars as pl

    from scoring.store_opening import is_begun

    if not is_begun(home.engine):
        return None
    found = home.store.outcomes().filter(
        pl.col("person_id").is_not_null() & (pl.col("need_id").is_null() | (pl.col("need_id") == need_id))
    )
    return None if found.is_empty() else found.select("person_id", pl.col("at").dt.date(), "outcome")


def moment_of_now() -> str:
    """The local time to the minute, for an attempt that was made just now."""
    return datetime.now().replace(second=0, microsecond=0).isoformat(timespec="minutes")
