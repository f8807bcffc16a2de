"""The files of a list: for each unit a page, a workbook and a table to work with, and two files for machines."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from scoring import pages
from scoring.list_cells import ShownRow, rows_or_shown, shown_rows, table_columns
from scoring.list_records import ROWS
from scoring.xlsx_file import render_xlsx

if TYPE_CHECKING:
    from scoring.contacts import ContactBook
    from scoring.list_records import OutreachList, UnitPart

MACHINE = "ennakko-list-rows/1"
_NUMBERS = {"rank": pl.UInt32, "attempts": pl.UInt32}
_REASON = pl.Struct({"text": pl.String, "source": pl.String, "changeable": pl.Boolean, "day": pl.String})
_NESTED = {
    "reasons": pl.List(_REASON),
    "who_helps": pl.List(pl.String),
    "contraindications": pl.List(pl.String),
    "not_by": pl.List(pl.String),
    "contact_language": pl.Struct({"code": pl.String, "interpreter": pl.Boolean}),
}


def write_files(
    listed: OutreachList, folder: Path, unit: str | None, contacts: ContactBook | None = None
) -> tuple[Path, ...]:
    """Fill a draft folder and rename it to ``folder/<list_id>``: what is there is whole, what is cut short is gone.

    Contact data are joined here, as the files are written, and are in the units' files alone.

    Returns
    -------
    tuple of Path
        Per unit ``.csv``, ``.html``, ``.xlsx``, ``.rows.json`` and ``.rows.parquet``; then ``list.json`` and
        ``rows.parquet``, of all units, which say nothing of contacts and stay with the lists.
    """
    parts = listed.parts if unit is None else (listed.part(unit),)
    target = folder / listed.list_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(prefix=f".{listed.list_id}.", dir=folder))
    try:
        names = []
        for part in parts:
            for ending, content in _unit_files(listed, part, contacts).items():
                names.append(f"{part.file_name}.{ending}")
                (draft / names[-1]).write_bytes(content)
        (draft / "list.json").write_text(json.dumps(listed.facts(), ensure_ascii=False, indent=1), encoding="utf-8")
        listed.rows(parts).write_parquet(draft / ROWS)
        names += ["list.json", ROWS]
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return tuple(target / name for name in names)


def _unit_files(listed: OutreachList, part: UnitPart, contacts: ContactBook | None) -> dict[str, bytes]:
    """Ending → bytes. No unit's name ends like a machine's file, so none is taken for ``list.json``."""
    rows = shown_rows(listed, part, contacts)
    return {
        "csv": ("\ufeff" + pages.render_csv(listed, part, contacts, rows)).encode("utf-8"),
        "html": pages.render_page(listed, part, contacts, rows).encode("utf-8"),
        "xlsx": render_xlsx(listed, part, contacts, rows),
        "rows.json": render_json(listed, part, contacts, rows),
        "rows.parquet": render_parquet(listed, part, contacts, rows),
    }


def render_json(
    listed: OutreachList,
    part: UnitPart,
    contacts: ContactBook | None = None,
    rows: Sequence[ShownRow] | None = None,
) -> bytes:
    """One unit's rows as JSON: the columns the need shows, and ``not_by``; codes as codes, days as ISO text."""
    said: dict[str, Any] = {
        "schema": MACHINE,
        "list_id": listed.list_id,
        "list_digest": listed.list_digest,
        "need": listed.need.id,
        "unit_id": part.unit_id,
        "as_of_date": listed.as_of_date.isoformat(),
        "language": listed.language,
        "banners": list(listed.banners),
        "rows": [row.facts for row in rows_or_shown(listed, part, contacts, rows)],
    }
    return json.dumps(said, ensure_ascii=False, indent=1).encode("utf-8")


def render_parquet(
    listed: OutreachList,
    part: UnitPart,
    contacts: ContactBook | None = None,
    rows: Sequence[ShownRow] | None = None,
) -> bytes:
    """The same rows as Parquet, with ``list_id`` and ``unit_id`` in each; types do not depend on what is in them."""
    schema: dict[str, Any] = {"list_id": pl.String, "unit_id": pl.String}
    for column in (*table_columns(listed), "not_by"):
        schema[column] = _NESTED.get(column) or _NUMBERS.get(column, pl.String)
    here = {"list_id": listed.list_id, "unit_id": part.unit_id}
    found = [{**here, **row.facts} for row in rows_or_shown(listed, part, contacts, rows)]
    content = BytesIO()
    pl.DataFrame(found, schema=schema).write_parquet(content)
    return content.getvalue()
