"""What a unit gets in hand: its list as a table for a spreadsheet and as a page for anybody's screen or printer."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.list_cells import ShownRow, columns_of, needs_contacts, not_by_text, rows_or_shown, table_columns
from scoring.reasons import Words

if TYPE_CHECKING:
    from jinja2 import Template

    from models.need_parts import Responsible
    from scoring.contacts import ContactBook
    from scoring.list_records import OutreachList, UnitPart

_KINDS = ("carried", "sample", "margin", "added")
_NOTES = ("contraindications", "who_helps", "attempts")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_cell(text: str) -> str:
    """A text that a spreadsheet shows and never runs as a formula.

    Source: OWASP, CSV injection.

    >>> as_cell("=1+1"), as_cell("12 absences")
    ("'=1+1", '12 absences')
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def render_csv(
    listed: OutreachList,
    part: UnitPart,
    contacts: ContactBook | None = None,
    rows: Sequence[ShownRow] | None = None,
) -> str:
    """One unit's list for a spreadsheet; reasons in one cell, one a line."""
    words = Words.of(listed.language)
    columns = table_columns(listed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([words(f"list.column_{column}") for column in columns])
    for row in rows_or_shown(listed, part, contacts, rows):
        writer.writerow([as_cell(row.cells[column]) for column in columns])
    return text.getvalue()


def render_page(
    listed: OutreachList,
    part: UnitPart,
    contacts: ContactBook | None = None,
    rows: Sequence[ShownRow] | None = None,
) -> str:
    """One unit's list as an HTML page: one file, no scripts, readable on a phone, on paper and by a screen reader."""
    words, need, language = Words.of(listed.language), listed.need, listed.language
    texts = {key: getattr(getattr(need, key), language) for key in ("title", "action", "benefit", "alternative")}
    rows = rows_or_shown(listed, part, contacts, rows)
    kinds = [kind for kind in _KINDS if any(row.kind == kind for row in rows)]
    return _template().render(
        language=language,
        words=words,
        title=words("list.title", title=texts["title"], unit=part.name),
        need_texts=texts,
        banners=[words(f"list.banner_{banner}") for banner in listed.banners],
        caption=words(
            "list.caption",
            listed=words.number(part.listed_n),
            eligible=words.number(part.eligible_n),
            unit=part.name,
            as_of_date=words.day(listed.as_of_date),
        ),
        columns=[{"key": key, "heading": words(f"list.column_{key}")} for key in _page_columns(listed, rows)],
        rows=[_shown(row, words) for row in rows],
        kinds=[words(f"kinds.{kind}_note") for kind in kinds],
        no_contacts=contacts is None and needs_contacts(need.list.columns),
        below=words("list.below", n=words.number(part.below_n), k=words.number(part.k)),
        bands_note=words(f"bands.note_{need.kind}") if "rank_band" in need.list.columns else "",
        excluded=[
            words(f"excluded.{reason}", n=words.number(n), days=need.list.cooldown_days)
            for reason, n in listed.excluded.items()
            if n
        ],
        reached=_reached(listed, part),
        asking=words("list.asking", owner=_contact(need.owner, words), deputy=_contact(need.deputy, words)),
        how_to_object=_how_to_object(listed),
        wrong=words("list.wrong", **need.dpo.model_dump()),
        facts=_facts(listed, part),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined).get_template("list.html.jinja")


def _page_columns(listed: OutreachList, rows: Sequence[ShownRow]) -> list[str]:
    """The columns of the page: on a narrow sheet, what belongs together stands in one.

    Why a row is there stands with the person. The channel stands with the contact. Who helps, what to take care of and
    earlier attempts stand together where there are several of them. What is offered stands above, once, if it is the
    same for all.
    """
    columns = [column for column in columns_of(listed) if column != "kind"]
    if len({row.cells["action"] for row in rows if "action" in row.cells}) < 2:
        columns = [column for column in columns if column != "action"]
    if "contact" in columns:
        columns = [column for column in columns if column != "channel"]
    if len(notes := [column for column in columns if column in _NOTES]) > 1:
        columns = ["notes" if column == notes[0] else column for column in columns if column not in notes[1:]]
    return columns


def _shown(row: ShownRow, words: Words) -> dict[str, Any]:
    """A row for the page: the person named in words, why the row is there unless by the ranking, contact in lines."""
    channel = row.cells.get("channel", "")
    contact = [row.cells[key] for key in ("contact_name", "contact_phone", "contact_language") if row.cells.get(key)]
    return {
        **row.cells,
        "person": words("list.person", id=row.person_id),
        "kind": _badge(row, words),
        "lead": channel,
        "contact": [line for line in dict.fromkeys(contact) if line != channel],
        "notes": [(words(f"list.column_{key}"), row.cells[key]) for key in _NOTES if key in row.cells],
        "no_reasons": "" if row.reasons else row.cells.get("reasons", ""),
        "reasons": [{"text": text, "origin": origin} for text, origin in row.reasons],
    }


def _badge(row: ShownRow, words: Words) -> str:
    """What stands beside the person: why the row is there unless by the ranking, and how not to make contact."""
    if row.kind != "ranked":
        return row.cells["kind"]
    return not_by_text(row.not_by, words) if row.not_by else ""


def _how_to_object(listed: OutreachList) -> str:
    words, notice, owner = Words.of(listed.language), listed.need.notice, listed.need.owner
    ways = []
    if notice is not None:
        ways = [words("list.objecting_phone", phone=notice.phone), words("list.objecting_letter", letter=notice.letter)]
    return " ".join([*ways, words("list.objecting_owner", **owner.model_dump())])


def _contact(who: Responsible, words: Words) -> str:
    return words("list.contact", **who.model_dump())


def _reached(listed: OutreachList, part: UnitPart) -> str:
    """How many of those listed a unit may expect to reach; empty when nobody is listed."""
    if not part.listed_n:
        return ""
    words, people, each = Words.of(listed.language), part.listed_n, listed.attempts_per_person
    n = words.number(round(listed.need.capacity.reached_in(people, each)))
    several = {"people": words.number(people), "each": words.number(each)} if each > 1 else {}
    return words(
        "list.reached_several" if several else "list.reached", n=n, attempts=words.number(people * each), **several
    )


def _facts(listed: OutreachList, part: UnitPart) -> dict[str, str]:
    return {
        "list_id": listed.list_id,
        "list_digest": listed.list_digest,
        "as_of_date": Words.of(listed.language).day(listed.as_of_date),
        "capacity": Words.of(listed.language).number(part.k),
        "model": listed.model_digest,
        "verdict": listed.verdict_id,
        "expires": listed.expires_at,
        "matrix": listed.matrix_digest,
    }
