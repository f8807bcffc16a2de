"""One record of what the city tells about a need, and the entry of the public standard that is written from it.

The record is part of the signed verdict, so every entry can be written from the verdict alone. What a run can tell is
taken from the run; what only people can say comes from the need file, and an answer that is missing stays empty.

Source: Eurocities Algorithmic Transparency Standard 0.3.1 beta (Algoritmeregister/standard, schema-v0_3_1.yaml).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from ethics.document_texts import LANGUAGES, Words

ATS_VERSION = "0.3.1"
SCHEMA = "ennakko-register/1"
LONGEST_SUMMARY = 150
STATUSES = ("planned", "design", "development", "pilot", "evaluation", "operational", "retired")
RISK_CATEGORIES = ("minimal risk", "limited risk", "high risk")
"""Those of the standard, without "unacceptable": such a use is not registered but left."""
DOMAINS = (
    "taxes",
    "housing, living and living environment",
    "culture, sports and leisure",
    "defence",
    "economy and entrepreneurship",
    "family, youth and households",
    "finance",
    "generic",
    "health and health care",
    "immigration and integration",
    "international collaboration and development aid",
    "agriculture, nature and food",
    "environment, spacial planning and water",
    "education and science",
    "public safety",
    "government",
    "justice",
    "travel, living and working abroad",
    "subsidies, benefits and allowances",
    "traffic and transportation",
    "work and career",
)
"""As the standard spells them."""
NAMED_DIGESTS = ("model", "need", "policy", "training_matrix", "test_matrix")
ANSWERED = (
    "organisation",
    "department",
    "country",
    "area",
    "summary",
    "decision_process",
    "lawful_basis",
    "impact",
    "proportionality",
    "risks",
    "human_intervention",
)
"""Texts of the record that people write for it, each in fi, sv and en."""
PURPOSE = ("title", "question", "action", "benefit", "alternative")


class Kind(NamedTuple):
    """What a key of the standard holds: a "text", "date", "email", or "one" of ``allowed``; how long it may be."""

    kind: str = "text"
    required: bool = True
    allowed: tuple[str, ...] = ()
    longest: int | None = None
    shortest: int = 1


_OPTIONAL = Kind(required=False)
ATS: Mapping[str, Kind] = {
    "standard_version": Kind("one", allowed=(ATS_VERSION,)),
    "lang": Kind("one", allowed=LANGUAGES),
    "publication_date": Kind("date"),
    "last_change_date": Kind("date"),
    "revision_date": Kind("date"),
    "name": Kind(),
    "organization": Kind(),
    "department": Kind(),
    "country": Kind(),
    "contact_email": Kind("email"),
    "contact_phone": _OPTIONAL,
    "contact_name": _OPTIONAL,
    "description_short": Kind(longest=LONGEST_SUMMARY),
    "status": Kind("one", allowed=STATUSES),
    "decision_making_process": Kind(),
    "domain": Kind("one", allowed=DOMAINS),
    "area": Kind(),
    "goal": Kind(),
    "impact": Kind(),
    "risks": Kind(),
    "risk_category": Kind("one", allowed=(*RISK_CATEGORIES, "unacceptable")),
    "proportionality": Kind(),
    "lawful_basis": Kind(),
    "training_data": Kind(),
    "source_data": Kind(),
    "data_bias": _OPTIONAL,
    "connected_data_sources": Kind(),
    "description": Kind(required=False, shortest=500, longest=10_000),
    "algorithm_type": Kind("one", allowed=("self-learning", "rule-based", "hybrid")),
    "methods_and_models": _OPTIONAL,
    "performance": _OPTIONAL,
    "alternatives_considered": _OPTIONAL,
    "type": Kind("one", allowed=("descriptive", "diagnostic", "predictive", "prescriptive")),
    "monitoring": Kind(),
    "human_intervention": Kind(),
    "objection_procedure": Kind(),
    "rollback": _OPTIONAL,
}
"""The keys that are written, with what the standard asks of each; all required ones are among them."""


def register_record(
    *,
    need: Mapping[str, Any],
    answers: Mapping[str, Any],
    digests: Mapping[str, str],
    revision_date: str,
) -> dict[str, Any]:
    """The record of one need: text, whole numbers, lists and tables, as signed files hold them.

    Parameters
    ----------
    need : mapping
        What the need file says anyway: ``need_id``, ``kind``, ``service``, ``texts`` (title, question, action, benefit,
        alternative, each in three languages), ``owner`` (name, email, phone), ``notice_phone``, ``capacity_k``,
        ``period_days``, ``features`` (per feature ``source``, ``plain`` in three languages).
    answers : mapping
        What people wrote for the register: the texts of :data:`ANSWERED` in three languages, ``domain``, ``status``,
        ``risk_category``, ``contact_email`` and ``published`` (empty: the owner's, and the verdict's day), ``sources``
        (register as the features name it → its name in three languages).
    digests : mapping
        SHA-256 of what the record describes, for each of :data:`NAMED_DIGESTS`.
    revision_date : str
        ISO day of the need's next review.
    """
    owner = need["owner"]
    return {
        "schema": SCHEMA,
        "need_id": need["need_id"],
        "kind": need["kind"],
        "service": need["service"],
        "texts": {
            **{name: _three(need["texts"].get(name)) for name in PURPOSE},
            **{name: _three(answers.get(name)) for name in ANSWERED},
        },
        **{name: str(answers.get(name) or "") for name in ("domain", "status", "risk_category", "published")},
        "contact": {
            "name": owner.get("name", ""),
            "email": answers.get("contact_email") or owner.get("email", ""),
            "phone": owner.get("phone", ""),
        },
        "notice_phone": need.get("notice_phone", ""),
        "capacity": {"k": int(need["capacity_k"]), "period_days": int(need["period_days"])},
        "sources": _sources(need["features"], answers.get("sources") or {}),
        "digests": {name: str(digests.get(name, "")) for name in NAMED_DIGESTS},
        "revision_date": revision_date,
    }


def _three(texts: Mapping[str, str] | None) -> dict[str, str]:
    return {language: str((texts or {}).get(language) or "").strip() for language in LANGUAGES}


def _sources(features: Iterable[Mapping[str, Any]], names: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Registers in the order in which the features name them, each with what is read from it."""
    read: dict[str, list[dict[str, str]]] = {}
    for feature in features:
        plain = _three(feature.get("plain"))
        here = read.setdefault(str(feature.get("source") or ""), [])
        if plain not in here:
            here.append(plain)
    return [{"source": source, "name": _three(names.get(source)), "read": read[source]} for source in read]


def ats_entry(record: Mapping[str, Any], language: str, *, changed: date, valid_days: int) -> dict[str, str]:
    """The entry of the standard in one language; empty where the record has no answer in it.

    Parameters
    ----------
    changed : date
        Day of this version, and of the first publication unless the record tells another.
    valid_days : int
        Days that a verdict holds at most: how often the model is judged.
    """
    words, texts, model = Words("register", language), record["texts"], record["kind"] == "model"
    said = {name: texts[name][language] for name in texts}
    described = source_text(record, language)
    phone = record["notice_phone"]
    entry = {
        "standard_version": ATS_VERSION,
        "lang": language,
        "publication_date": record["published"] or changed.isoformat(),
        "last_change_date": changed.isoformat(),
        "revision_date": record["revision_date"],
        "name": said["title"],
        "organization": said["organisation"],
        "department": said["department"],
        "country": said["country"],
        "contact_email": record["contact"]["email"],
        "contact_phone": record["contact"]["phone"],
        "contact_name": record["contact"]["name"],
        "description_short": said["summary"],
        "status": record["status"],
        "decision_making_process": said["decision_process"],
        "domain": record["domain"],
        "area": said["area"],
        "goal": said["benefit"],
        "impact": said["impact"],
        "risks": said["risks"],
        "risk_category": record["risk_category"],
        "proportionality": said["proportionality"],
        "lawful_basis": said["lawful_basis"],
        "training_data": words("training.rule") if not model else _filled(words, "training.model", sources=described),
        "source_data": _filled(words, "source_data", sources=described),
        "connected_data_sources": _filled(words, "connected", registers=", ".join(register_names(record, language))),
        "algorithm_type": "self-learning" if model else "rule-based",
        "methods_and_models": words(f"methods.{record['kind']}"),
        "alternatives_considered": said["alternative"],
        "type": "predictive" if model else "descriptive",
        "monitoring": words("monitoring", days=valid_days),
        "human_intervention": said["human_intervention"],
        "objection_procedure": _filled(words, "objection", phone=phone),
        "rollback": words("rollback"),
    }
    entry["description"] = _description(entry, said["question"])
    return {name: entry[name] for name in ATS if entry.get(name) or ATS[name].required}


def _filled(words: Words, key: str, **facts: str) -> str:
    """The text with its facts, or nothing where a fact is missing: a sentence with a hole says nothing."""
    return words(key, **facts) if all(facts.values()) else ""


def _description(entry: Mapping[str, str], question: str) -> str:
    """How it works, in the parts that the standard wants together; left out where it would be too short."""
    parts = [entry[name] for name in ("source_data", "methods_and_models", "human_intervention", "rollback")]
    text = " ".join(part for part in (question, *parts) if part)
    return text if len(text) >= ATS["description"].shortest else ""


def register_names(record: Mapping[str, Any], language: str) -> list[str]:
    """Names of the registers that are read; as the need file has them where nobody has given a name in the language."""
    return [row["name"][language] or row["source"] for row in record["sources"] if row["source"]]


def source_text(record: Mapping[str, Any], language: str) -> str:
    """What is read, register by register; empty where one of them has no name or no words at all.

    Only what some register holds is told: ``school register: absences; grades``.
    """
    rows = []
    for row in record["sources"]:
        name, read = row["name"][language] or row["source"], [plain[language] for plain in row["read"]]
        if not name or not all(read):
            return ""
        rows.append(f"{name}: {', '.join(read)}")
    return "; ".join(rows)


def ats_faults(entry: Mapping[str, Any]) -> dict[str, str]:
    """What the standard would refuse in an entry: key → what is wrong."""
    faults = {name: "is not a key of the standard" for name in entry if name not in ATS}
    for name, kind in ATS.items():
        value = entry.get(name)
        if value is None or value == "":
            if kind.required:
                faults[name] = "missing"
        elif not isinstance(value, str):
            faults[name] = "not text"
        elif wrong := _wrong(value, kind):
            faults[name] = wrong
    return faults


def _wrong(value: str, kind: Kind) -> str:
    if kind.kind == "one" and value not in kind.allowed:
        return f"not one of {len(kind.allowed)} words allowed"
    if kind.kind == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        return "not an e-mail address"
    if kind.kind == "date" and not _is_day(value):
        return "not a day"
    if not value.strip():
        return "empty"
    if len(value) < kind.shortest:
        return f"shorter than {kind.shortest} characters"
    if kind.longest is not None and len(value) > kind.longest:
        return f"longer than {kind.longest} characters"
    return ""


def _is_day(value: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", value)) and date.fromisoformat(value) is not None
    except ValueError:
        return False


def record_faults(record: Mapping[str, Any], *, changed: date, valid_days: int) -> list[str]:
    """Why the record cannot be published: what the standard refuses in every language, and a digest or name missing.

    A text that only one language lacks is not told here (:func:`language_faults`).
    """
    entries = [
        ats_faults(ats_entry(record, language, changed=changed, valid_days=valid_days)) for language in LANGUAGES
    ]
    faults = [
        f"{_ASKED_AS.get(name, name)} ({wrong})"
        for name, wrong in entries[0].items()
        if all(name in other for other in entries)
    ]
    if record.get("schema") != SCHEMA:
        faults.append("schema (another version)")
    if record["risk_category"] == "unacceptable":
        faults.append("risk_category (such a use is not permitted)")
    return faults + [f"contact.{name} (missing)" for name in ("name", "phone") if not record["contact"].get(name)]


_ASKED_AS = {
    "name": "title",
    "organization": "organisation",
    "contact_email": "owner.email",
    "description_short": "summary",
    "decision_making_process": "decision_process",
    "goal": "benefit",
    "training_data": "features: plain and source",
    "source_data": "features: plain and source",
    "connected_data_sources": "features: source",
    "objection_procedure": "notice.phone",
}
"""Where the need file says what a key of the standard holds, if under another name."""


def language_faults(record: Mapping[str, Any]) -> list[str]:
    """Texts that one language has and another lacks, and summaries longer than a register takes."""
    texts: dict[str, Mapping[str, str]] = dict(record["texts"])
    texts |= {f"sources '{row['source']}'": row["name"] for row in record["sources"]}
    lacking = [
        f"{name}.{language}"
        for name, text in texts.items()
        for language in LANGUAGES
        if any(text.values()) and not text[language]
    ]
    summary = record["texts"]["summary"]
    return lacking + [
        f"summary.{language} ({len(summary[language])} characters)"
        for language in LANGUAGES
        if len(summary[language]) > LONGEST_SUMMARY
    ]


def published_text(record: Mapping[str, Any], language: str, names: Sequence[str] = (*PURPOSE, *ANSWERED)) -> str:
    """Everything that people have written for residents in one language, as one text whose parts end in a full stop."""
    parts = [record["texts"][name][language] for name in names]
    return " ".join(part if part[-1] in ".?!" else f"{part}." for part in parts if part)
