"""Drafts of the impact assessments of AI Act 27 and GDPR 35(7), filled from a verdict; what is not answered is named.

A draft is a start for the people who must assess, never an assessment: it says at the top which questions nobody has
answered, who must answer them, and where. Nothing is answered for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.document_texts import LANGUAGES, Words, check_title
from ethics.register_page import ats_of, attribute_names, page_banners, record_of, template, verdict_text
from ethics.report_text import Language

if TYPE_CHECKING:
    from ethics.verdict import Check, Verdict

DOCUMENTS = ("fria", "dpia")
STATEMENT = {"fria": "AT-04", "dpia": "AT-02"}
"""The attestation by which people vouch for the finished assessment."""
_IN_REGISTER = ("decision_process", "human_intervention", "proportionality", "lawful_basis", "risks")
_ANSWERS = {
    "fria": {
        "process": ("decision_process",),
        "period": ("duration",),
        "groups": ("affected_groups",),
        "harms": ("harms",),
        "oversight": ("human_intervention",),
        "measures": ("measures", "complaints"),
        "consulted": ("consulted",),
    },
    "dpia": {
        "description": ("retention",),
        "necessity": ("proportionality", "lawful_basis"),
        "rights": ("rights_risks", "risks"),
        "safeguards": ("safeguards",),
        "advice": ("dpo_advice", "consulted"),
    },
}
"""Document → section → the questions that people answer there."""
_WHO = {"dpo_advice": "dpo", "lawful_basis": "lawyer", "rights_risks": "dpo", "safeguards": "dpo", "retention": "dpo"}
_OF_GROUPS = ("C401", "C402", "C403", "C405", "C406", "C412")

_OF_LABEL = ("C403.too_few_indicators",)
"""Answers that are alike for every group, because they are about the label."""


class Unanswered(NamedTuple):
    """A question without an answer in a language: its key, its words, who must answer, and where it is written."""

    key: str
    question: str
    who: str
    where: str


def unanswered(verdict: Verdict, document: str, language: str) -> list[Unanswered]:
    """The questions of "fria" or "dpia" that nobody has answered in this language, in the document's order.

    Each is a failure that the draft names at its top, and whoever writes the drafts names again.
    """
    words, need = Words("impact", language), verdict.need_id
    missing = []
    for key in _questions(document):
        if _answer(verdict, key).get(language):
            continue
        table = "register" if key in _IN_REGISTER else "impact"
        where = words("page.where", need=need, table=table, key=key, language=language)
        missing.append(Unanswered(key, words(f"question.{key}"), words(f"who.{_WHO.get(key, 'service_owner')}"), where))
    return missing


def _questions(document: str) -> list[str]:
    return [key for keys in _ANSWERS[document].values() for key in keys]


def _answer(verdict: Verdict, key: str) -> dict[str, str]:
    """What people said to a question, by language."""
    answers = record_of(verdict)["texts"] if key in _IN_REGISTER else verdict.record.get("impact") or {}
    return dict(answers.get(key) or {})


def render_fria(verdict: Verdict, language: str) -> str:
    """The draft of the fundamental rights impact assessment (AI Act 27(1) a-f) as one accessible HTML file."""
    return _render(verdict, "fria", language)


def render_dpia(verdict: Verdict, language: str) -> str:
    """The draft of the data protection impact assessment (GDPR 35(7) a-d) as one accessible HTML file."""
    return _render(verdict, "dpia", language)


def _render(verdict: Verdict, document: str, language: str) -> str:
    words, record = Words("impact", language), record_of(verdict)
    name = record["texts"]["title"][language] or verdict.need_id
    draft = words("page.draft", statement=STATEMENT[document])
    facts = _facts(verdict, document, words)
    sections = [
        {
            "id": section,
            "heading": words(f"{document}.{section}"),
            "parts": [*facts.get(section, []), *(_said(verdict, key, words) for key in keys)],
        }
        for section, keys in _ANSWERS[document].items()
    ]
    return str(
        template("impact_draft.html.jinja").render(
            words=words,
            language=language,
            document=document,
            title=words(f"{document}.title", name=name),
            banners=[draft, *page_banners(verdict, language)],
            unanswered=unanswered(verdict, document, language),
            about=_about(verdict, words, name),
            sections=sections,
            digests=sorted(record["digests"].items()),
        )
    )


def _about(verdict: Verdict, words: Words, name: str) -> list[dict[str, str]]:
    contact = record_of(verdict)["contact"]
    facts = {
        "name": name,
        "service": verdict.service,
        "owner": ", ".join(text for text in contact.values() if text),
        "model": verdict.model_id,
        "verdict": verdict_text(verdict, words.language),
    }
    return [{"term": words(f"page.{key}"), "text": text} for key, text in facts.items()]


def _said(verdict: Verdict, key: str, words: Words) -> dict[str, Any]:
    """A question with the answer people gave; in another language, and so marked, where this one lacks it."""
    answer, texts = _answer(verdict, key), []
    if not answer.get(words.language):
        (missing,) = [item for item in unanswered(verdict, _document_of(key), words.language) if item.key == key]
        said = words("page.not_answered", question=missing.question, who=missing.who, where=missing.where)
        texts.append({"text": said, "language": words.language, "missing": True})
    language = next((name for name in (words.language, *LANGUAGES) if answer.get(name)), None)
    if language:
        texts.append({"text": answer[language], "language": language, "missing": False})
    return {"heading": words(f"question.{key}"), "texts": texts, "table": None}


def _document_of(key: str) -> str:
    return next(document for document in DOCUMENTS if key in _questions(document))


# ---- what the run knows ----------------------------------------------------------------------------------------


def _facts(verdict: Verdict, document: str, words: Words) -> dict[str, list[dict[str, Any]]]:
    """Section → what is computed for it."""
    record, language = record_of(verdict), words.language
    entry, said = ats_of(verdict, language), {name: text[language] for name, text in record["texts"].items()}
    scope = verdict.scope
    frequency = words(
        "run.frequency",
        days=scope["period_days"],
        k=words.number(scope["capacity_k"]),
        n=words.number(scope["eligible_n"]),
        expires=f"{verdict.expires_at:%Y-%m-%d}",
    )
    measured = words("run.measured", attributes=", ".join(attribute_names(verdict, language)) or "–")
    groups = _part(words, measured, entry["data_bias"], table=_groups_table(verdict, words))
    checks = _part(words, table=_checks_table(verdict, words))
    purpose = (said["question"], said["action"], said["benefit"])
    if document == "fria":
        return {
            "process": [_part(words, *purpose, said["impact"])],
            "period": [_part(words, frequency)],
            "groups": [_part(words, measured)],
            "harms": [groups],
            "oversight": [_part(words, entry["monitoring"], entry["rollback"])],
            "measures": [_part(words, said["risks"], entry["objection_procedure"]), checks],
        }
    return {
        "description": [_part(words, *purpose, frequency, table=_features_table(verdict, words))],
        "necessity": [_part(words, said["alternative"], entry["performance"])],
        "rights": [groups],
        "safeguards": [_part(words, entry["objection_procedure"], entry["rollback"]), checks],
    }


def _part(words: Words, *texts: str, table: dict[str, Any] | None = None) -> dict[str, Any]:
    shown = [{"text": text, "language": words.language, "missing": False} for text in texts if text]
    return {"heading": words("run.heading"), "texts": shown, "table": table}


def _groups_table(verdict: Verdict, words: Words) -> dict[str, Any] | None:
    """Who is missed, and of whom nothing could be shown; none where every group was shown to be served.

    One row for each check and answer with the groups named, a row of its own where people can be told. What no group
    could be asked for want of indicators is a fault of the label, and stands beside the table, once.
    """
    t = Language(words.language)
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for check in verdict.checks:
        if not check.group or check.id not in _OF_GROUPS or check.state == "pass" or check.message_id in _OF_LABEL:
            continue
        missed = _missed(verdict, check, words)
        here = found.setdefault((check.id, _state(check, words), missed, check.group if missed else ""), [])
        if check.group not in here:
            here.append(check.group)
    names = ["group", "check", "state", *(["missed"] if any(missed for _, _, missed, _ in found) else [])]
    rows = [
        [_cell(text, words) for text in (t.groups_of(groups), id, state, missed)[: len(names)]]
        for (id, state, missed, _), groups in found.items()
    ]
    return _table("t-groups", words("run.groups_caption"), [words(f"run.{name}") for name in names], rows)


def _missed(verdict: Verdict, check: Check, words: Words) -> str:
    """People in need whom the order misses in a group; nothing where they are too few to be told."""
    facts, least = check.facts, int(verdict.scope["min_persons_shown"])
    if not isinstance(facts.get("missed"), int) or int(facts["missed"]) < least:
        return ""
    numbers = {name: words.number(int(facts[key])) for name, key in _MISSED.items()}
    return words("run.missed_text", **numbers)


_MISSED = {"n": "missed", "low": "missed_low", "high": "missed_high"}


def _checks_table(verdict: Verdict, words: Words) -> dict[str, Any] | None:
    """Each check once, in its gravest state."""
    order = ("error", "block", "needs_attestation", "inconclusive", "not_testable", "warn", "pass")
    gravest: dict[str, Check] = {}
    for check in verdict.checks:
        known = gravest.get(check.id)
        if known is None or order.index(check.state) < order.index(known.state):
            gravest[check.id] = check
    rows = []
    for id, check in sorted(gravest.items()):
        title, language = check_title(id, words.language)
        rows.append([_cell(id, words), {"text": title, "language": language}, _cell(_state(check, words), words)])
    heads = [words(f"run.{name}") for name in ("check", "what", "state")]
    return _table("t-checks", words("run.checks_caption"), heads, rows)


def _features_table(verdict: Verdict, words: Words) -> dict[str, Any] | None:
    names = {row["source"]: row["name"][words.language] for row in record_of(verdict)["sources"]}
    rows = []
    for row in verdict.record["features"]:
        plain = row["plain"].get(words.language)
        source = names.get(row["source"])
        rows.append(
            [
                _cell(plain, words) if plain else {"text": row["feature"], "language": "en"},
                _cell(source, words) if source else {"text": row["source"], "language": "en"},
                {"text": row["purpose"], "language": "en"},
                {"text": row["basis"], "language": "en"},
            ]
        )
    heads = [words(f"run.{name}") for name in ("feature", "source", "purpose", "basis")]
    return _table("t-features", words("run.features_caption"), heads, rows)


def _table(id: str, caption: str, heads: Sequence[str], rows: Sequence[Any]) -> dict[str, Any] | None:
    return {"id": id, "caption": caption, "heads": heads, "rows": rows} if rows else None


def _cell(text: str, words: Words) -> dict[str, str]:
    return {"text": text, "language": words.language}


def _state(check: Check, words: Words) -> str:
    word = words(f"state.{check.state}")
    return words("run.attested", state=word) if check.attested_by else word
