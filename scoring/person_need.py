"""What one need did with a person, as parts of the person's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scoring.person_parts import Block, Item, bullets, heading, paragraph, sheet
from scoring.person_words import PersonWords

MOST_ENTRIES = 6
"""Entries of one kind that are named; of more, the latest of them, with how many there are. ``--json`` holds all."""
_Need = Mapping[str, Any]


def capital(text: str) -> str:
    """A text that begins a line."""
    return text[:1].upper() + text[1:]


def need_blocks(need: _Need, words: PersonWords) -> list[Block]:
    """Everything that is told of one need, in its order."""
    blocks = [paragraph(words("need.gone" if need["action"] is None else "need.offers", action=need["action"]))]
    if need["objects"]:
        blocks.append(paragraph(words("need.objects")))
    elif need["not_by"]:
        channels = words.joined(map(words.channel, need["not_by"]))
        blocks.append(paragraph(words("need.not_by", channels=channels)))
    if not need["scores"] and not need["lists"]:
        contacts = _contacts(need, words) if need["contacts"] else []
        return [*blocks, paragraph(words("need.never")), *_reads(need, words), *contacts]
    blocks += [*_order(need, words), *_why(need, words), *_data(need, words)]
    return [*blocks, *_lists(need, words), *_contacts(need, words)]


def _reads(need: _Need, words: PersonWords) -> list[Block]:
    if not need["reads"]:
        return []
    features = words.joined(dict.fromkeys(one["plain"] for one in need["reads"]), "; ")
    sources = words.joined(dict.fromkeys(_source(one["source"], words) for one in need["reads"]))
    return [paragraph(words("need.reads", features=features, sources=sources))]


def _order(need: _Need, words: PersonWords) -> list[Block]:
    scores = need["scores"]
    if not scores:
        return []
    kind = "rule" if need["kind"] == "rule" else "model"
    heads = [words("order.day"), words("order.band_rule" if kind == "rule" else "order.band"), words("order.among")]
    with_numbers = any("score" in one and one["score"] is not None for one in scores)
    heads += [words("order.number")] if with_numbers else []
    rows = []
    for one in scores:
        row = [words.day(one["as_of_date"]), words.band(one["rank_band"]), words.number(one["n"])]
        rows.append([*row, words.number(float(f"{one['score']:.3g}"))] if with_numbers else row)
    table = sheet(words(f"order.caption_{kind}"), heads, rows)
    return [heading(words("order.heading")), table, paragraph(words(f"order.what_{kind}"))]


def _why(need: _Need, words: PersonWords) -> list[Block]:
    data = need["data"]
    if data is None:
        return []
    told = [Item(capital(one["text"]), (one["origin"],) if one["origin"] else ()) for one in data["reasons"]]
    blocks = [heading(words("why.heading")), paragraph(words("why.day", day=words.day(data["as_of_date"])))]
    blocks.append(bullets(told) if told else paragraph(words("why.none")))
    if not data["as_scored"]:
        blocks.append(paragraph(words("why.not_as_scored")))
    return [*blocks, paragraph(words("why.wrong"))]


def _data(need: _Need, words: PersonWords) -> list[Block]:
    title, data = heading(words("data.heading")), need["data"]
    if data is None:
        return [title, paragraph(words(f"data.{need['no_data']}")), *_reads(need, words)]
    blocks = [title, paragraph(words("data.intro", day=words.day(data["as_of_date"])))]
    for source in dict.fromkeys(one["source"] for one in data["read"]):
        items = [_feature(one, words) for one in data["read"] if one["source"] == source]
        blocks += [paragraph(f"{capital(_source(source, words))}:"), bullets(items)]
    return blocks


def _feature(one: _Need, words: PersonWords) -> Item:
    """A feature with what it said, and the person's own entries behind it."""
    if one["of"] == "household":
        return Item(one["plain"], (words("data.household"),))
    named = f"{one['plain']}: ".casefold()
    lines = [text[len(named) :] if text.casefold().startswith(named) else text for text in one["statements"]]
    lines = lines or [words("data.nothing")]
    if one["since"] is not None:
        lines[-1] = f"{lines[-1]}, {words('data.since', day=words.day(one['since']))}"
    if one["of"] == "district":
        lines.append(words("data.district"))
    elif one["events"]:
        lines.append(_behind(one["events"], one["plain"], words))
    return Item(one["plain"], tuple(lines))


def _behind(events: Sequence[_Need], plain: str, words: PersonWords) -> str:
    n, latest = len(events), events[-MOST_ENTRIES:]
    entries = words.joined((_entry(event, plain, words) for event in reversed(latest)), "; ")
    if n == 1:
        return words("data.event", latest=words("data.one", entries=entries))
    named = words("data.latest" if n > len(latest) else "data.all", entries=entries)
    first, last = words.day(events[0]["day"]), words.day(events[-1]["day"])
    return words("data.events", n=words.number(n), first=first, last=last, latest=named)


def _entry(event: _Need, plain: str, words: PersonWords) -> str:
    """One entry: its day, what it is unless the heading says so already, and its value."""
    what = "" if event["what"].casefold() == plain.casefold() else event["what"]
    value = "" if event["value"] is None else words.number(event["value"])
    said = " ".join(part for part in (what, value) if part)
    day = words.day(event["day"])
    return words("data.entry", day=day, said=said) if said else day


def _source(source: str | None, words: PersonWords) -> str:
    return words("page.unknown") if source is None else words.lists.source(source)


def _lists(need: _Need, words: PersonWords) -> list[Block]:
    title = heading(words("lists.heading"))
    if not need["lists"]:
        return [title, paragraph(words("lists.none"))]
    return [title, bullets([_list(one, words, shows_contact=need["shows_contact"]) for one in need["lists"]])]


def _list(one: _Need, words: PersonWords, *, shows_contact: bool) -> Item:
    lines = [words(f"lists.kind_{one['kind']}")]
    seen = one["kind"] in ("ranked", "carried", "margin")
    if seen and one["rank_band"]:
        lines.append(words("lists.band", band=words.band(one["rank_band"])))
    if seen and one["reasons"]:
        lines += [words("lists.saw"), *(f"“{text}”" for text in one["reasons"])]
    elif one["kind"] != "held_out":
        lines.append(words("lists.saw_nothing"))
    if shows_contact and one["kind"] != "held_out":
        lines.append(words("lists.contact_seen"))
    if one["cautions"]:
        lines.append(words("lists.cautions", cautions=words.joined(one["cautions"], "; ")))
    for change in one["changes"]:
        reason = words("page.withheld") if change["is_withheld"] else change["reason"] or words("page.unknown")
        lines.append(words(f"lists.{change['act']}", moment=words.moment(change["at"]), reason=reason))
    if one["files"] and one["kind"] != "held_out":
        counts = {name: words.number(one[name]) for name in ("files", "recalled")}
        lines.append(words("lists.files", **counts))
    return Item(words("lists.day", day=words.day(one["as_of_date"]), unit=one["unit_id"]), tuple(lines))


def _contacts(need: _Need, words: PersonWords) -> list[Block]:
    title, contacts = heading(words("attempts.heading")), need["contacts"]
    if not contacts:
        return [title, paragraph(words("attempts.none"))]
    return [title, sheet(words("attempts.caption"), contact_heads(words), contact_rows(contacts, words))]


def contact_heads(words: PersonWords) -> list[str]:
    """Heads of a table of attempts."""
    return [words(f"attempts.{name}") for name in ("day", "channel", "result")]


def contact_rows(contacts: Sequence[_Need], words: PersonWords) -> list[list[str]]:
    """Attempts and what came of them, for a table."""
    return [[words.moment(one["at"]), words.channel(one["channel"]), words.outcome(one["result"])] for one in contacts]
