"""Open data over HTTP: the area table as the weekly run published it, to anyone."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ethics.digests import sha256
from ethics.refusals import Fault
from serving.exchange import CSV, Answer, Asked, Unanswered

if TYPE_CHECKING:
    from serving.home import Home

_TABLE = "area.csv"
_KEPT = "public, max-age=300"
_TAG_DIGITS = 32


async def area_table(asked: Asked) -> Answer:
    """The rows of one need of the newest area table that has any; 304 to whoever has them already."""
    content: bytes | None = await asked.state.in_thread(newest_area_table, asked.state.home, asked.path["need"])
    if content is None:
        fault = Fault("path", "names no need of which a table is published", "Ask for a need that GET /needs tells of")
        raise Unanswered(404, "Nothing published", fault)
    tag = f'"{sha256(content)[:_TAG_DIGITS]}"'
    headers = {"etag": tag, "cache-control": _KEPT}
    if _is_known(asked.headers.get("if-none-match", ""), tag):
        return Answer(b"", CSV, 304, headers=headers)
    return Answer(content, f"{CSV}; charset=utf-8", headers=headers)


def newest_area_table(home: Home, need_id: str) -> bytes | None:
    """The area table of one need as CSV (:mod:`scoring.area_table`), by the newest week that has rows of it."""
    from serving.week_state import FOLDER

    for path in sorted((home.root / FOLDER).glob(f"[0-9]*/{_TABLE}"), reverse=True):
        rows = _rows_of(path, need_id)
        if len(rows) > 1:
            out = io.StringIO(newline="")
            csv.writer(out).writerows(rows)
            return out.getvalue().encode("utf-8")
    return None


def _rows_of(path: Path, need_id: str) -> list[list[str]]:
    """The line of names, and the rows of a need; nothing where the file has gone meanwhile."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError):
        return []
    return [head, *(row for row in rows if row and row[0] == need_id)]


def _is_known(given: str, tag: str) -> bool:
    """Whether ``If-None-Match`` names a tag.

    >>> _is_known('W/"a", "b"', '"b"'), _is_known("*", '"b"'), _is_known('"c"', '"b"')
    (True, True, False)
    """
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in given.split(","))
