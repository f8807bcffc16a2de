"""The area table for open data: district by need, in bands, so that no small number of people can be worked out.

What may be told at all is decided as if the numbers themselves were printed: small ones are withheld, and so are those
from which they could be worked out (:mod:`ethics.disclosure`). What is left is told in bands alone, which tell less; so
tables of one week and the next do not tell a single person apart by their difference.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ethics.disclosure import suppress
from ethics.report_tables import CountTable

SCHEMA = "ennakko-area-table/1"
LANGUAGES = ("fi", "sv", "en")
UNKNOWN, EVERYWHERE = "unknown", "all"
"""Districts of a row that is about people whose district is not known, and about everybody."""
SHARES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Where bands of shares begin, in per cent."""
MEASURES = ("cohort", "listed_percent", "expected_need")
COLUMNS = ("need", "district", *(f"{name}_{end}" for name in MEASURES for end in ("from", "to")))
_MESSAGES = Path(__file__).with_name("leader_messages")
_MOST = 10**9
_SHOWN = ("n", "listed", "expected")


class District(NamedTuple):
    """People whom a need covers in a district (None: not known): all, those listed, and those expected in need."""

    district: str | None
    n: int
    listed: int
    expected: float | None


class Band(NamedTuple):
    """A number is at least ``low`` and below ``high`` (shares) or at most ``high`` (people)."""

    low: float
    high: float


class AreaRow(NamedTuple):
    """One row of the table; None: withheld, or (expected need of a rule) not known."""

    need: str
    district: str
    cohort: Band | None
    listed_percent: Band | None
    expected_need: Band | None

    def cells(self) -> dict[str, Any]:
        """The row by :data:`COLUMNS`."""
        cells: dict[str, Any] = {"need": self.need, "district": self.district}
        for name in MEASURES:
            band: Band | None = getattr(self, name)
            cells[f"{name}_from"], cells[f"{name}_to"] = (None, None) if band is None else band
        return cells


def area_rows(need_id: str, districts: Sequence[District], least: int) -> list[AreaRow]:
    """The rows of one need: of everybody first, then by district, those whose district is not known last.

    Parameters
    ----------
    need_id : str
    districts : sequence of District
        Each district once.
    least : int
        No number of people below this can be read or worked out.

    >>> rows = area_rows("youth", [District("a", 300, 30, 41.2), District("b", 200, 4, 12.0),
    ...                            District("c", 120, 6, 11.0)], least=5)
    >>> [(row.district, row.cohort, row.listed_percent) for row in rows][1:3]
    [('a', Band(low=200, high=499), Band(low=10.0, high=20.0)), ('b', Band(low=200, high=499), None)]
    """
    if not districts:
        return []
    named = sorted(districts, key=lambda one: (one.district is None, one.district or ""))
    table = _counted(need_id, named, least)
    total = District(
        None, sum(one.n for one in named), sum(one.listed for one in named), sum(one.expected or 0 for one in named)
    )
    has_expected = "expected" in table.shown
    rows = [_row(need_id, EVERYWHERE, total, least, has_expected, _withheld_of_all(total, least))]
    for one, group in zip(named, table.groups, strict=True):
        hidden = frozenset(name for name in _SHOWN if table.is_hidden(name, group))
        rows.append(_row(need_id, one.district or UNKNOWN, one, least, has_expected, hidden))
    return rows


def _counted(need_id: str, districts: Sequence[District], least: int) -> CountTable:
    """The numbers behind the bands, with what is to be withheld of them."""
    columns = {name: tuple(round(getattr(one, name) or 0) for one in districts) for name in _SHOWN}
    if any(one.expected is None for one in districts):
        del columns["expected"]
    parts = [name for name in columns if name != "n"]
    rests = {
        f"not {name}": tuple(n - some for n, some in zip(columns["n"], columns[name], strict=True)) for name in parts
    }
    table = CountTable(
        name=f"area {need_id}",
        attribute="district",
        groups=tuple(str(at) for at in range(len(districts))),
        counts={**columns, **rests},
        shown=tuple(columns),
        sums=tuple(("n", (name, f"not {name}")) for name in parts),
    )
    return suppress([table], least=least, most_unclear=None)[0]


def _withheld_of_all(total: District, least: int) -> frozenset[str]:
    """Of everybody nothing is secret but a number so small that it is nobody's statistic."""
    return frozenset(name for name in _SHOWN if (getattr(total, name) or 0) < least)


def _row(need_id: str, name: str, one: District, least: int, has_expected: bool, hidden: frozenset[str]) -> AreaRow:
    cohort = None if "n" in hidden else band_of_people(one.n, least)
    # A share of a number that is withheld would tell of it.
    listed = None if hidden & {"n", "listed"} else band_of_share(100 * one.listed / one.n)
    need = None if not has_expected or "expected" in hidden else band_of_people(round(one.expected or 0), least)
    return AreaRow(need_id, name, cohort, listed, need)


def band_of_people(n: int, least: int) -> Band:
    """The band of a number of people, from ``least`` on: 10–19, 20–49, 50–99, 100–199, …

    >>> band_of_people(10, 10), band_of_people(199, 10), band_of_people(7, 5)
    (Band(low=10, high=19), Band(low=100, high=199), Band(low=5, high=9))
    """
    begins = [least]
    step = 1
    while begins[-1] < _MOST:
        begins += [edge for edge in (step, 2 * step, 5 * step) if edge > begins[-1]]
        step *= 10
    at = bisect_right(begins, n) - 1
    return Band(begins[at], begins[at + 1] - 1)


def band_of_share(percent: float) -> Band:
    """The band of a share in per cent.

    >>> band_of_share(0.0), band_of_share(5.0), band_of_share(100.0)
    (Band(low=0.0, high=0.5), Band(low=5.0, high=10.0), Band(low=50.0, high=100.0))
    """
    at = min(bisect_right(SHARES, percent), len(SHARES) - 1)
    return Band(SHARES[at - 1], SHARES[at])


def as_csv(rows: Sequence[AreaRow]) -> str:
    """The table as CSV (RFC 4180, UTF-8); an empty cell is withheld or not known."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerows(row.cells() for row in rows)
    return out.getvalue()


def as_json(
    rows: Sequence[AreaRow],
    as_of_date: str,
    titles: Mapping[str, Mapping[str, str]],
    least: int,
    banners: Sequence[str] = (),
) -> str:
    """The table with what its columns mean, in three languages.

    Parameters
    ----------
    titles : mapping
        Need → its title in three languages.
    banners : sequence of str
        "invented", "demonstration".
    """
    about = {
        "schema": SCHEMA,
        "title": _texts("title"),
        "about": _texts("about"),
        "as_of_date": as_of_date,
        "smallest_number_told": least,
        "banners": list(banners),
        "needs": {need: dict(texts) for need, texts in titles.items()},
        "columns": [{"name": name, "type": _type(name), "what": _texts(name)} for name in COLUMNS],
        "rows": [row.cells() for row in rows],
    }
    return json.dumps(about, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _type(column: str) -> str:
    if column in ("need", "district"):
        return "string"
    return "number" if column.startswith("listed_percent") else "integer"


def _texts(key: str) -> dict[str, str]:
    return {language: _area_messages(language)[key] for language in LANGUAGES}


@lru_cache(maxsize=8)
def _area_messages(language: str) -> dict[str, str]:
    content = tomllib.loads((_MESSAGES / f"{language}.toml").read_text(encoding="utf-8"))
    texts: dict[str, str] = content["area"]
    return texts
