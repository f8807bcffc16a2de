"""The auditor's report: one HTML file, rendered from a verdict and its cells alone, and its JSON and CSV twins.

The group tables are computed again from the cells with the verdict's own cuts, thresholds, seed and replicates, so a
report can show nothing that the signed files do not hold, and the same files give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ethics.judged_table import table_of
from ethics.report_document import SHAPE, TONE, Document
from ethics.report_figures import Figures
from ethics.report_page import Page, Signature
from ethics.report_records import record_counts
from ethics.report_text import LANGUAGES, Language
from ethics.report_twins import csv_twin, json_twin
from ethics.verdict import Verdict

if TYPE_CHECKING:
    import polars as pl
    from jinja2 import Template

HERE = Path(__file__).resolve().parent


def render_report(
    verdict: Verdict, cells: pl.DataFrame | None, *, language: str = "en", signed_by: Sequence[Signature] = ()
) -> str:
    """One HTML file for the auditor.

    Parameters
    ----------
    cells : polars.DataFrame or None
        The verdict's own cells; None when it was judged without any group.
    language : "fi", "sv" or "en"
    signed_by : sequence of Signature
        Who has signed the verdict so far, as whoever verified its envelope found; the page says whose signature it
        still needs.

    Raises
    ------
    NotTrusted
        The cells are not those the verdict was judged on.
    BadInput
        Another language.
    """
    return render(verdict, cells, Language(language), signed_by)


def render_all_as_signed(
    verdict: Verdict, cells: pl.DataFrame | None, signed_by: Sequence[Signature]
) -> Iterator[dict[str, str]]:
    """Every form as it was with every signature, without the last, and so on to none: for whoever compares bytes."""
    figures, signed_by = figures_of(verdict, cells), in_order(verdict, signed_by)
    for n in reversed(range(len(signed_by) + 1)):
        yield _every_form(verdict, figures, signed_by[:n])


def in_order(verdict: Verdict, signed_by: Sequence[Signature]) -> list[Signature]:
    """Signatures in the order in which a verdict asks for them; an envelope holds them in the order of its keys."""
    roles = list(verdict.scope["sign_roles"])
    return sorted(signed_by, key=lambda one: (roles.index(one.role) if one.role in roles else len(roles), one))


def render_all(verdict: Verdict, cells: pl.DataFrame | None, signed_by: Sequence[Signature] = ()) -> dict[str, str]:
    """Every form of the report by file name: a page in each language, and the JSON and CSV twins of them all.

    Parameters
    ----------
    signed_by : sequence of Signature
        As :func:`render_report` takes them.

    Raises
    ------
    NotTrusted
        The cells are not those the verdict was judged on.
    """
    return _every_form(verdict, figures_of(verdict, cells), in_order(verdict, signed_by))


def _every_form(verdict: Verdict, figures: Figures | None, signed_by: Sequence[Signature]) -> dict[str, str]:
    texts = {language: Language(language) for language in LANGUAGES}
    documents = {language: Page(verdict, figures, t, signed_by).document() for language, t in texts.items()}
    pages = {f"report.{language}.html": _as_html(documents[language], t) for language, t in texts.items()}
    return {**pages, "report.json": json_twin(documents), "report.csv": csv_twin(documents["en"])}


def render(verdict: Verdict, cells: pl.DataFrame | None, t: Language, signed_by: Sequence[Signature] = ()) -> str:
    """As :func:`render_report`, with texts that can tell which of them were used."""
    return _as_html(Page(verdict, figures_of(verdict, cells), t, in_order(verdict, signed_by)).document(), t)


def figures_of(verdict: Verdict, cells: pl.DataFrame | None) -> Figures | None:
    """The figures by group, small cells withheld over all tables of the report; None without groups.

    The public page is taken to be out already: who reads both learns no more than each may tell.
    """
    table = table_of(verdict, cells)
    if table is None:
        return None
    scope = verdict.scope
    least, least_public = int(scope["min_persons_shown"]), int(scope.get("min_persons_public", 10))
    return Figures.beside_page(table, least, least_public, record_counts(verdict.record))


def _as_html(document: Document, t: Language) -> str:
    return _template().render(report=document, t=t, shape=SHAPE, tone=TONE)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja")
