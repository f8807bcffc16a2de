"""What a unit gets in hand: its list as a table for a spreadsheet and as a page for anybody's screen or printer."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.list_evidence import shown_columns
from scoring.list_records import ROWS
from scoring.reasons import Reason, Words, source_of

if TYPE_CHECKING:
    from jinja2 import Template

    from models.need_parts import Responsible
    from scoring.list_records import ListRow, OutreachList, UnitPart

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_cell(text: str) -> str:
    """A text that a spreadsheet shows and never runs as a formula.

    Source: OWASP, CSV injection.

    >>> as_cell("=1+1"), as_cell("12 absences")
    ("'=1+1", '12 absences')
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def columns_of(listed: OutreachList) -> list[str]:
    """The columns a unit sees, as the gate was shown them (check C609)."""
    return shown_columns(listed.need)


def render_csv(listed: OutreachList, part: UnitPart) -> str:
    """One unit's list for a spreadsheet; reasons in one cell, one a line."""
    words = Words.of(listed.language)
    columns = columns_of(listed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([words(f"list.column_{column}") for column in columns])
    for row in part.rows:
        cells = _cells(listed, row)
        cells["person"] = row.person_id
        cells["reasons"] = "\n".join(_with_source(reason, listed.language) for reason in row.reasons)
        if row.kind == "sample":
            cells["reasons"] = words("list.random_check")
        writer.writerow([as_cell(cells[column]) for column in columns])
    return text.getvalue()


def render_page(listed: OutreachList, part: UnitPart) -> str:
    """One unit's list as an HTML page: one file, no scripts, readable on a phone, on paper and by a screen reader."""
    words, need, language = Words.of(listed.language), listed.need, listed.language
    texts = {key: getattr(getattr(need, key), language) for key in ("title", "action", "benefit", "alternative")}
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
        columns=[{"key": key, "heading": words(f"list.column_{key}")} for key in columns_of(listed)],
        rows=[_shown(listed, row) for row in part.rows],
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


def write_files(listed: OutreachList, folder: Path, unit: str | None) -> tuple[Path, ...]:
    """Fill a draft folder and rename it to ``folder/<list_id>``: what is there is whole, what is cut short is gone."""
    parts = listed.parts if unit is None else (listed.part(unit),)
    target = folder / listed.list_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(prefix=f".{listed.list_id}.", dir=folder))
    try:
        names = []
        for part in parts:
            for ending, content in (("csv", "\ufeff" + render_csv(listed, part)), ("html", render_page(listed, part))):
                names.append(f"{part.file_name}.{ending}")
                (draft / names[-1]).write_text(content, encoding="utf-8", newline="")
        (draft / "list.json").write_text(json.dumps(listed.facts(), ensure_ascii=False, indent=1), encoding="utf-8")
        listed.rows(parts).write_parquet(draft / ROWS)
        names += ["list.json", ROWS]
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return tuple(target / name for name in names)


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined).get_template("list.html.jinja")


def _cells(listed: OutreachList, row: ListRow) -> dict[str, str]:
    words = Words.of(listed.language)
    return {
        "rank": str(row.rank),
        "person": words("list.person", id=row.person_id),
        "rank_band": words(f"bands.{row.rank_band}") if row.rank_band else words("list.random_check"),
        "action": getattr(listed.need.action, listed.language),
        # No register in reach of a need says which services a person already has.
        "who_helps": words("list.not_recorded"),
    }


def _shown(listed: OutreachList, row: ListRow) -> dict[str, Any]:
    reasons = [{"text": reason.text, "origin": source_of(reason, listed.language)} for reason in row.reasons]
    if row.kind == "sample":
        reasons = [{"text": Words.of(listed.language)("list.random_check"), "origin": ""}]
    return {**_cells(listed, row), "reasons": reasons}


def _with_source(reason: Reason, language: str) -> str:
    origin = source_of(reason, language)
    return f"{reason.text}\u00a0· {origin}" if origin else reason.text


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
    words, attempts = Words.of(listed.language), part.listed_n
    n = words.number(round(listed.need.capacity.reached_in(attempts)))
    return words("list.reached", n=n, attempts=words.number(attempts))


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
