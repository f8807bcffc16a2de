"""What a coordinator gets in hand: tables for a spreadsheet and for machines, and a page in each language."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from scoring.pages import as_cell
from scoring.place_words import LANGUAGES, PlaceWords

if TYPE_CHECKING:
    from jinja2 import Template

    from scoring.assignment import PlaceProposals

GroupRows = list[dict[str, Any]]


def write_tables(found: PlaceProposals, groups: GroupRows, facts: dict[str, Any], folder: Path) -> list[str]:
    """Proposals, exceptions, children without a place and units, each as CSV and Parquet; the whole in numbers as JSON.

    Returns
    -------
    list of str
        Names of the files.
    """
    tables = {
        "proposals": found.proposals,
        "exceptions": found.exceptions,
        "no_place": found.no_place,
        "units": found.units,
    }
    names = []
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
        texts = [column for column, kind in table.schema.items() if kind == pl.String]
        safe = table.with_columns(pl.col(column).map_elements(as_cell, pl.String) for column in texts)
        text = "\ufeff" + safe.write_csv(line_terminator="\r\n")
        (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
        names += [f"{name}.parquet", f"{name}.csv"]
    content = json.dumps({**facts, "by_group": groups}, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / "places.json").write_text(content, encoding="utf-8")
    for language in LANGUAGES:
        page = render_page(found, groups, language, invented=facts["invented"])
        (folder / f"places.{language}.html").write_text(page, encoding="utf-8")
    return [*names, "places.json", *(f"places.{language}.html" for language in LANGUAGES)]


def render_page(found: PlaceProposals, groups: GroupRows, language: str, *, invented: bool = False) -> str:
    """The page of one language: one file, no scripts; wide tables scroll in themselves, on paper everything stands."""
    words = PlaceWords(language)
    return _template().render(
        language=language,
        words=words,
        found=found,
        invented=invented,
        children=found.ours.children + found.exceptions.height,
        acceptance=_acceptance(found, words),
        comparison=_comparison(found, words),
        groups=[_group(row, words) for row in groups],
        units=[
            (row["name"], *(words.number(row[name]) for name in ("places", "held", "proposed")))
            for row in found.units.iter_rows(named=True)
        ],
        queues=_queues(found, words),
        proposals=[_proposal(row, words) for row in found.proposals.iter_rows(named=True)],
        weights=_weights(found, words),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined).get_template("places.html.jinja")


def _acceptance(found: PlaceProposals, words: PlaceWords) -> str:
    learned = found.acceptance
    return words(
        f"acceptance_{learned.kind}", n=words.number(learned.n_offers), rate=words.number(learned.rate.value * 100)
    )


def _comparison(found: PlaceProposals, words: PlaceWords) -> list[tuple[str, str, str]]:
    """Measure, ours, nearest-unit rule."""

    def expected(one: Any) -> str:
        value, low, high = (words.number(part) for part in one.expected_acceptances)
        return words("not_known") if value == words("not_known") else f"{value} ({low}–{high})"

    both = (found.ours, found.nearest)
    siblings = words("measure_siblings", n=words.number(found.ours.with_siblings))
    rows = [
        (words("measure_placed"), [words.number(one.placed) for one in both]),
        (words("measure_walking"), [words.number(one.walking_metres / 1_000, 1) for one in both]),
        (words("measure_acceptances"), [expected(one) for one in both]),
        (siblings, [words.number(one.siblings_together) for one in both]),
        (words("measure_language"), [words.number(one.other_language) for one in both]),
        (words("measure_beyond"), [words.number(one.beyond_2_km) for one in both]),
    ]
    return [(name, ours, nearest) for name, (ours, nearest) in rows]


def _group(row: dict[str, Any], words: PlaceWords) -> list[str]:
    def said(value: float | None, times: float = 1) -> str:
        return words("withheld") if value is None else words.number(value * times)

    attribute = row["attribute"]
    named = words(f"attributes.{attribute}") if attribute in words.texts["attributes"] else attribute
    cells = [named, row["group"], said(row["n"])]
    for rule in ("ours", "nearest"):
        cells += [said(row[f"{rule}.none"]), said(row[f"{rule}.mean_metres"])]
        cells.append(said(row[f"{rule}.expected_acceptance"], 100))
    return cells


def _queues(found: PlaceProposals, words: PlaceWords) -> list[dict[str, Any]]:
    queues = []
    for name, frame in (("exceptions", found.exceptions), ("no_place", found.no_place)):
        rows = [(words("person", id=person), words(f"reasons.{reason}")) for person, reason in frame.iter_rows()]
        queues.append({"name": name, "title": words(f"{name}_title", n=words.number(frame.height)), "rows": rows})
    return queues


def _proposal(row: dict[str, Any], words: PlaceWords) -> list[str]:
    chance = None if row["acceptance"] is None else row["acceptance"] * 100
    siblings = words(f"siblings_are.{row['siblings']}") if row["siblings"] else words("none")
    own, nearest = (words("yes" if row[name] else "no") for name in ("own_language", "nearest"))
    way = words.number(row["metres"])
    return [row["unit"], words("person", id=row["person_id"]), way, words.number(chance), siblings, own, nearest]


def _weights(found: PlaceProposals, words: PlaceWords) -> str:
    names = ("refusal_metres", "sibling_metres", "language_metres", "no_place_metres", "max_metres")
    return " · ".join(f"{name} {words.number(getattr(found.settings, name))}" for name in names)
