"""One page for residents: what a ranking is for, who decides, what it reads, how fair it was found, and whom to ask.

Everything on it comes from the verdict and its cells, so the same files give the same bytes; figures by group are
those of :mod:`ethics.public_tables`, with the policy's ``min_persons_public``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.fairness import AT_AUDIT, EVERYONE, FairnessTable
from ethics.judged_table import table_of
from ethics.public_tables import REACHED, published_tables
from ethics.ranking_reads import attributes_apart, attributes_read
from ethics.refusals import BadInput, Fault
from ethics.report_text import Language
from ethics.verdict import Verdict

if TYPE_CHECKING:
    import polars as pl

HERE = Path(__file__).resolve().parent
LANGUAGES = ("fi", "sv", "en")
SHAPE = {"PASS": "✔", "PASS_ATTESTED": "✔", "INCONCLUSIVE": "▲", "BLOCK": "■", "ERROR": "✖"}
TONE = {"PASS": "good", "PASS_ATTESTED": "good", "INCONCLUSIVE": "open", "BLOCK": "bad", "ERROR": "bad"}
MOST_ROWS, MOST_NAMES = 8, 8  # as many as fit on the page
_WORST = ("error", "block", "needs_attestation", "inconclusive", "not_testable", "warn", "pass")
_SPACE = "\u00a0"


class Section(NamedTuple):
    """A heading with its paragraphs, and for fairness the table's rows."""

    id: str
    heading: str
    paragraphs: list[str]
    rows: list[dict[str, str]]


def render_public_summary(verdict: Verdict, cells: pl.DataFrame | None, language: str) -> str:
    """One HTML page for residents; one sheet of A4 when it is printed.

    Parameters
    ----------
    cells : polars.DataFrame or None
        The verdict's own cells; None when it was judged without any group.
    language : "fi", "sv" or "en"

    Raises
    ------
    NotTrusted
        The cells are not those the verdict was judged on.
    BadInput
        A language the page is not written in.
    """
    return _rendered(verdict, table_of(verdict, cells), language)


def render_public_summaries(verdict: Verdict, cells: pl.DataFrame | None) -> dict[str, str]:
    """The page in every language, by file name: ``public.<language>.html``."""
    table = table_of(verdict, cells)
    return {f"public.{language}.html": _rendered(verdict, table, language) for language in LANGUAGES}


def _rendered(verdict: Verdict, table: FairnessTable | None, language: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    page = _Page(verdict, table, language)
    return environment.get_template("public.html.jinja").render(page.context(), t=page.t, language=language)


@cache
def public_texts(language: str) -> dict[str, str]:
    """The page's texts in one language, by dotted key."""
    if language not in LANGUAGES:
        wrong = f"is {language!r}, and the summary is not written in it"
        raise BadInput(Fault("language", wrong, f"Give one of: {', '.join(LANGUAGES)}"))
    written = tomllib.loads((HERE / "messages" / "public" / f"{language}.toml").read_text("utf-8"))
    return {f"{section}.{name}": text for section, texts in written.items() for name, text in texts.items()}


class _Page:
    """The page's parts, in one language."""

    def __init__(self, verdict: Verdict, table: FairnessTable | None, language: str) -> None:
        self.verdict, self.table, self.language = verdict, table, language
        self.texts = public_texts(language)
        self.words = Language(language)
        self.least = int(verdict.scope.get("min_persons_public", 10))

    def t(self, key: str, /, **names: object) -> str:
        """The text of a key, with its names filled in."""
        return self.texts[key].format(**names) if names else self.texts[key]

    def context(self) -> dict[str, Any]:
        """What the template asks for."""
        verdict, t = self.verdict, self.t
        said = {"demonstration": verdict.demonstration, "invented": bool(verdict.scope["invented"])}
        subject = {name: str(verdict.subject.get(name, t("page.none")))[:12] for name in ("model", "policy", "cells")}
        return {
            "title": self._written("title"),
            "banners": [t(f"page.{name}") for name, is_so in said.items() if is_so],
            "state": verdict.state,
            "shape": SHAPE[verdict.state],
            "tone": TONE[verdict.state],
            "valid": t("result.valid", issued=self._day(verdict.issued_at), expires=self._day(verdict.expires_at)),
            "sections": [self._purpose(), self._person(), self._data(), self._fair(), self._untested(), self._ask()],
            "ids": t("ids.text", verdict=verdict.verdict_id, least=self.least, **subject),
        }

    def _section(self, id: str, paragraphs: Iterable[str], rows: Sequence[dict[str, str]] = ()) -> Section:
        return Section(id, self.t(f"{id}.heading"), list(paragraphs), list(rows))

    def _purpose(self) -> Section:
        t, scope = self.t, self.verdict.scope
        k, n, days = self._count(scope["capacity_k"]), self._count(scope["eligible_n"]), scope["period_days"]
        return self._section(
            "purpose",
            (
                f"{self._written('question')} {self._written('benefit')}",
                f"{t('purpose.offer')}: {self._written('action')} {t('purpose.capacity', k=k, days=days, n=n)}",
                f"{t('purpose.alternative')} {self._written('alternative')}",
            ),
        )

    def _person(self) -> Section:
        how = "person.rule" if self.verdict.scope["kind"] == "rule" else "person.ranking"
        return self._section("person", [f"{self.t(how)} {self.t('person.decides')}"])

    def _data(self) -> Section:
        t, features = self.t, self.verdict.record["features"]
        plain = [str(feature["plain"].get(self.language) or feature["feature"]) for feature in features]
        sources = {row["source"]: row["name"].get(self.language) for row in self._registers()}
        named = [str(sources.get(row["source"]) or row["source"]) for row in features]
        used = t("data.used", features=self._listed(plain), sources=self._listed(named))
        forbidden = [check.state for check in self.verdict.checks if check.id == "C602"]
        none_found = bool(forbidden) and not {"block", "error"} & set(forbidden)
        last = t("data.not_used" if none_found else "data.not_checked")
        both, only = ([*map(self.words.attribute, find(self.verdict))] for find in (attributes_read, attributes_apart))
        said = [t("data.groups", groups=self._listed(only))] if only or not both else []
        said += [t("data.groups_read", groups=self._listed(both))] if both else []
        return self._section("data", [used, " ".join((last, *said))])

    def _registers(self) -> Sequence[Mapping[str, Any]]:
        """The registers by the names that the need file gives residents."""
        return (self.verdict.record.get("register") or {}).get("sources") or ()

    def _fair(self) -> Section:
        t, table = self.t, self.table
        tables = published_tables(table, self.least) if table is not None else []
        if table is None or not tables:
            return self._section("fair", [t("fair.none")])
        rows = []
        states = self._states()
        for one in tables:
            for group in one.groups:
                if not one.is_hidden(REACHED, group):
                    share = table.get(one.attribute, group, "recall", AT_AUDIT).value
                    word = t(f"words.{states.get(f'{one.attribute}={group}', 'error')}")
                    name = self.words.group_of(f"{one.attribute}={group}")
                    rows.append((share, name, {"group": name, "reached": self._share(share), "word": word}))
        rows.sort(key=lambda row: row[:2])
        everyone = table.get(EVERYONE, EVERYONE, "recall", AT_AUDIT).value
        said = [t("fair.overall", share=self._share(everyone))]
        if len(rows) > MOST_ROWS:
            said.append(t("fair.fewer_rows", n=MOST_ROWS, all=len(rows)))
        return self._section("fair", said, [row for _, _, row in rows[:MOST_ROWS]])

    def _states(self) -> dict[str, str]:
        """The worst finding about each group, by itself."""
        found: dict[str, str] = {}
        for check in self.verdict.checks:
            if check.id in ("C401", "C403") and check.group and check.state in _WORST:
                if check.id == "C403" and check.state not in ("block", "needs_attestation"):
                    continue
                before = found.get(check.group, "pass")
                found[check.group] = min(before, check.state, key=_WORST.index)
        return found

    def _untested(self) -> Section:
        t = self.t
        names = [
            self.words.group_of(group)
            for group, state in self._states().items()
            if state in ("not_testable", "inconclusive", "error")
        ]
        said = [t("untested.groups", groups=self._listed(names))] if names else []
        label = {check.state for check in self.verdict.checks if check.id == "C404"}
        if label != {"pass"}:
            said.append(t("untested.label"))
        if self.table is None:
            said.append(t("fair.none"))
        return self._section("untested", said or [t("untested.nothing")])

    def _ask(self) -> Section:
        given: Mapping[str, Any] = self.verdict.record["owner"]
        owner = ", ".join(str(given[name]) for name in ("name", "email", "phone") if given.get(name))
        t = self.t
        return self._section("ask", [f"{t('ask.text', owner=owner or t('page.missing'))} {t('ask.ombudsmen')}"])

    # Words and numbers

    def _written(self, name: str) -> str:
        text = str(self.verdict.purpose.get(name, {}).get(self.language, "")).strip() or self.t("page.missing")
        return text if name == "title" or text.endswith((".", "?", "!")) else f"{text}."

    def _listed(self, names: Sequence[str]) -> str:
        """Names without repetition, as many as the page has room for."""
        kept = list(dict.fromkeys(names))
        if not kept:
            return self.t("page.none")
        more = len(kept) - MOST_NAMES
        return ", ".join(kept[:MOST_NAMES]) + (f" {self.t('page.more', n=more)}" if more > 0 else "")

    def _share(self, share: float) -> str:
        return self.t("page.share", n=round(100 * share))

    def _count(self, n: int) -> str:
        return f"{int(n):,}".replace(",", "," if self.language == "en" else _SPACE)

    def _day(self, moment: datetime) -> str:
        return self.t("page.day", year=moment.year, month=moment.month, day=moment.day)
