"""What a person is told, as a page and as text: the same sections, in the same order, in the person's language."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.person_need import contact_heads, contact_rows, need_blocks
from scoring.person_parts import Block, bullets, heading, paragraph, sheet
from scoring.person_words import PersonWords

if TYPE_CHECKING:
    from jinja2 import Template

View = Mapping[str, Any]
_HERE = Path(__file__).parent
_WIDE = 96


@dataclass(frozen=True)
class Section:
    """A part of the page: ``id`` for links, a heading, and what stands under it."""

    id: str
    heading: str
    blocks: tuple[Block, ...]


def render_page(view: View) -> str:
    """The page: one file, no scripts, readable on a phone, on paper and by a screen reader."""
    words = PersonWords(view["language"])
    return _template().render(
        language=view["language"],
        words=words,
        title=words("page.title", id=view["person_id"]),
        invented=view["invented"],
        told_at=words("page.told_at", moment=words.moment(view["told_at"])),
        sections=sections_of(view, words),
    )


def render_text(view: View) -> str:
    """The same for a terminal, each line short enough for one."""
    words = PersonWords(view["language"])
    title = words("page.title", id=view["person_id"])
    lines = [title, "=" * len(title)]
    lines += [words("page.invented"), ""] if view["invented"] else []
    lines += [*_wrapped(words("page.intro")), words("page.told_at", moment=words.moment(view["told_at"]))]
    for section in sections_of(view, words):
        lines += ["", section.heading, "-" * len(section.heading)]
        for block in section.blocks:
            lines += _as_lines(block)
    return "\n".join(line for line, before in zip(lines, ["x", *lines[:-1]], strict=True) if line or before)


def sections_of(view: View, words: PersonWords) -> list[Section]:
    """Everything that is told, in its order."""
    of_needs = [
        Section(f"need-{number}", need["title"], tuple(need_blocks(need, words)))
        for number, need in enumerate(view["needs"], 1)
        if view["state"] not in ("unknown", "erased")
    ]
    titles = {need["need"]: need["title"] for need in view["needs"]}
    of_person = [] if view["state"] in ("unknown", "erased") else _of_person(view, words, titles)
    return [
        Section("brief", words("brief.heading"), tuple(_brief(view, words, titles))),
        *of_needs,
        *of_person,
        Section("object", words("object.heading"), tuple(_how_to_object(view, words))),
        Section("never", words("never.heading"), tuple(_never(view, words))),
        Section("rights", words("rights.heading"), tuple(_rights(view, words))),
    ]


def _brief(view: View, words: PersonWords, titles: Mapping[str, str]) -> list[Block]:
    state = view["state"]
    if state in ("unknown", "erased"):
        return [paragraph(words(f"brief.{state}"))]
    told = [_in_brief(need, words) for need in view["needs"] if need["scores"] or need["lists"]]
    blocks = [bullets(told)] if told else [paragraph(words("brief.not_seen"))]
    for sentence in _objections_in_brief(view, words, titles):
        blocks.append(paragraph(sentence))
    return [*blocks, paragraph(words("brief.decides"))]


def _in_brief(need: Mapping[str, Any], words: PersonWords) -> str:
    scores, lists = need["scores"], need["lists"]
    last = words.day(scores[-1]["as_of_date"]) if scores else ""
    said = {
        "scores": words(f"brief.scores_{_number_key(len(scores))}", n=words.number(len(scores)), day=last),
        "lists": words(f"brief.lists_{_number_key(len(lists))}", n=words.number(len(lists))),
    }
    return words("brief.known", title=need["title"], **said)


def _number_key(n: int) -> str:
    return "none" if n == 0 else "one" if n == 1 else "many"


def _objections_in_brief(view: View, words: PersonWords, titles: Mapping[str, str]) -> list[str]:
    every = words("objections.every")
    whole = [one["need_id"] for one in view["standing"] if one["channel"] is None]
    said = []
    if "*" in whole:
        said.append(words("brief.objects_all"))
    elif whole:
        said.append(words("brief.objects_some", titles=words.joined(titles.get(need, need) for need in whole)))
    channels: dict[str, list[str]] = {}
    for one in view["standing"]:
        if one["channel"] is not None:
            channels.setdefault(one["need_id"], []).append(words.channel(one["channel"]))
    for need, refused in channels.items():
        named = every if need == "*" else titles.get(need, need)
        said.append(words("brief.not_by", channels=words.joined(refused), titles=named))
    return said or [words("brief.no_objection")]


def _of_person(view: View, words: PersonWords, titles: Mapping[str, str]) -> list[Section]:
    """What is not of one service alone: contacts outside lists, looks, objections."""
    sections = []
    if view["contacts_outside"]:
        rows = contact_rows(view["contacts_outside"], words)
        blocks = (sheet(words("attempts.caption"), contact_heads(words), rows),)
        sections.append(Section("contacts", words("attempts.heading"), blocks))
    heads = [words(f"looks.{name}") for name in ("when", "who", "what", "why")]
    rows = [
        [
            words.moment(look["at"]),
            words("page.withheld") if look["actor"] is None else look["actor"],
            _looked_at(look, words, titles),
            words("page.withheld") if look["purpose"] is None else look["purpose"],
        ]
        for look in view["looks"]
    ]
    looks = sheet(words("looks.caption"), heads, rows) if rows else paragraph(words("looks.none"))
    objections = tuple(_objections(view, words, titles))
    return [
        *sections,
        Section("looks", words("looks.heading"), (looks,)),
        Section("objections", words("objections.heading"), objections),
    ]


def _looked_at(look: Mapping[str, Any], words: PersonWords, titles: Mapping[str, str]) -> str:
    title = titles.get(look["need"], look["need"] or "")
    if look["what"] == "person":
        return words("looks.person")
    if look["what"] == "list":
        key = "looks.list" if look["unit_id"] else "looks.whole_list"
        return words(key, unit=look["unit_id"], title=title)
    said = words("looks.explain") if look["what"] == "explain" else words("looks.other", act=look["what"])
    return f"{said}: {title}" if title else said


def _objections(view: View, words: PersonWords, titles: Mapping[str, str]) -> list[Block]:
    def named(need_id: str) -> str:
        return words("objections.every") if need_id == "*" else titles.get(need_id, need_id)

    standing = [
        words(
            "objections.whole" if one["channel"] is None else "objections.channel",
            need=named(one["need_id"]),
            channel=words.channel(one["channel"]),
            moment=words.moment(one["since"]),
        )
        for one in view["standing"]
    ]
    blocks = [paragraph(words("objections.standing")), bullets(standing)] if standing else []
    blocks += [] if standing else [paragraph(words("objections.none"))]
    if view["history"]:
        blocks += [paragraph(words("objections.history"))]
        blocks += [bullets([_act(act, words, named(act["need_id"])) for act in view["history"]])]
    return blocks


def _act(act: Mapping[str, Any], words: PersonWords, need: str) -> str:
    to = need
    if act["channel"] is not None:
        to = words("objections.to_channel", need=need, channel=words.channel(act["channel"]))
    by = words(f"objections.by_{act['by'] or 'unknown'}")
    return words(f"objections.act_{act['act']}", moment=words.moment(act["at"]), to=to, by=by)


def _how_to_object(view: View, words: PersonWords) -> list[Block]:
    blocks = [paragraph(words("object.text"))]
    for need in view["needs"]:
        if need["asking"] is None:
            continue
        ways = []
        if notice := need["asking"]["notice"]:
            ways.append(words("object.phone", phone=notice["phone"]))
        for who in ("owner", "deputy", "dpo"):
            contact = words("object.contact", **need["asking"][who])
            ways.append(words(f"object.{who}", contact=contact))
        blocks += [heading(need["title"]), bullets(ways)]
    return [*blocks, paragraph(f"{words('object.anywhere')} {words('object.ask')}")]


def _never(view: View, words: PersonWords) -> list[Block]:
    sentences = [words(f"never.{key}") for key in ("decision", "silence", "other_use", "groups", "contact", "others")]
    blocks = [bullets(sentences)]
    instead = [
        words("never.alternative", title=need["title"], alternative=need["alternative"])
        for need in view["needs"]
        if need["alternative"]
    ]
    return [*blocks, paragraph(words("never.instead")), bullets(instead)] if instead else blocks


def _rights(view: View, words: PersonWords) -> list[Block]:
    said = [words("rights.correct"), words("rights.erase")]
    if view["retention_days"]:
        said.append(words("rights.kept", **{k: words.number(n) for k, n in view["retention_days"].items()}))
    return [bullets([*said, words("rights.ombudsmen")])]


def _as_lines(block: Block) -> list[str]:
    if block.kind == "heading":
        return ["", block.text, ""]
    if block.kind == "paragraph":
        return _wrapped(block.text)
    if block.kind == "bullets":
        return [line for item in block.items for line in _bullet(item)]
    widths = [max(len(row[j]) for row in (block.heads, *block.rows)) for j in range(len(block.heads))]
    rows = [block.heads, ["-" * width for width in widths], *block.rows]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return ["", f"{block.text}:", *lines, ""]


def _bullet(item: Any) -> list[str]:
    lines = _wrapped(item.text, "- ", "  ")
    for line in item.lines:
        lines += _wrapped(line, "    ", "    ")
    return lines


def _wrapped(text: str, first: str = "", then: str = "") -> list[str]:
    words = textwrap.wrap(text, _WIDE, initial_indent=first, subsequent_indent=then, break_long_words=False)
    return words or [""]


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(_HERE / "templates")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined).get_template("person.html.jinja")
