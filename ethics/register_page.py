"""The register's page for residents and its files: the blocks of the Helsinki and Amsterdam registers, from a verdict.

Everything comes from the signed verdict, so the same verdict gives the same bytes, and nobody can publish another text
than the one that was judged.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.document_texts import LANGUAGES, Words
from ethics.ranking_reads import attributes_apart, attributes_read
from ethics.refusals import BadInput, Fault
from ethics.register_record import ats_entry
from ethics.report_findings import rival_name
from ethics.report_text import Language
from ethics.whole_file import write_whole

if TYPE_CHECKING:
    from jinja2 import Environment, Template

    from ethics.verdict import Verdict

BLOCKS = ("overview", "datasets", "data_processing", "non_discrimination", "human_oversight", "risks", "contact")


def record_of(verdict: Verdict) -> dict[str, Any]:
    """The register record that was judged.

    Raises
    ------
    BadInput
        The verdict holds none: it was given by a version without a register, or judged from scores alone.
    """
    record = verdict.record.get("register")
    if not isinstance(record, Mapping):
        mend = "Judge the run again with this version; scores judged without a need file have no register entry"
        raise BadInput(Fault(f"verdict {verdict.verdict_id}", "holds no register record", mend))
    return dict(record)


def ats_of(verdict: Verdict, language: str) -> dict[str, str]:
    """The entry of the Algorithmic Transparency Standard 0.3.1, with what this verdict measured."""
    entry = ats_entry(record_of(verdict), language, changed=verdict.issued_at.date(), valid_days=_valid_days(verdict))
    connected = connected_text(verdict, language, entry["connected_data_sources"])
    measured = {"performance": performance_text(verdict, language), "data_bias": groups_text(verdict, language)}
    return entry | measured | {"connected_data_sources": connected}


def _valid_days(verdict: Verdict) -> int:
    return (verdict.expires_at - verdict.issued_at).days


def performance_text(verdict: Verdict, language: str) -> str:
    """How well the order finds need, with intervals, at the cut where it was measured: against the unit's own way,
    against the rival that comes closest or ahead, and what C105 answers.
    """
    words, t, parts = Words("register", language), Language(language), []
    auc = verdict.record["auc"]
    if auc is not None and auc["value"] is not None:
        parts.append(words("performance_auc", **_in_words(auc, "value", t)))
    duels = [duel for duel in verdict.record["duel"] if duel["difference"] is not None]
    rule = next((duel for duel in duels if duel["rival"] == "unit_rule"), None)
    if rule is not None:
        scope = verdict.scope
        where = rule.get("cut") or scope.get("measured_k_audit")
        cut = {"cut": t.count(float(where)) if where else "k*", "k": t.count(scope["capacity_k"])}
        cut["days"] = t.count(scope["period_days"])
        parts.append(words("performance_rule", **_in_words(rule, "difference", t), **cut))
    worst = min(duels, key=lambda duel: float(duel["difference"]), default=None)
    if worst is not None and worst is not rule:
        rival = rival_name(str(worst["rival"]), t)
        parts.append(words("performance_worst", rival=rival, **_in_words(worst, "difference", t)))
    if duels and any(check.id == "C105" and check.state != "pass" for check in verdict.checks):
        parts.append(words("performance_not_shown"))
    return " ".join(parts) or words("performance_none")


def _in_words(row: Mapping[str, str | None], name: str, t: Language) -> dict[str, str]:
    """A number with its interval as the language writes them, rounded alike everywhere."""
    value, low, high = (None if row[key] is None else float(str(row[key])) for key in (name, "low", "high"))
    show = t.alike(value, low, high)
    interval = t.interval(low, high, show)
    return {"value": "?" if value is None else show(value), "interval": f" ({interval})" if interval else ""}


def group_words(verdict: Verdict) -> dict[str, str]:
    """Group → "shown", "alarm" or "unknown", by what C401 found of it.

    C403 asks another question (whether the label stands for the group's need), so it says nothing of a group but where
    it raises an alarm; what it cannot ask for want of indicators is told once, of the label.
    """
    found: dict[str, str] = {}
    order = ("shown", "unknown", "alarm")
    for check in verdict.checks:
        if check.group is None or check.id not in ("C401", "C403"):
            continue
        if check.id == "C403" and check.state not in ("block", "needs_attestation"):
            continue
        word = "shown" if check.state == "pass" else "alarm"
        if check.state in ("inconclusive", "not_testable", "error"):
            word = "unknown"
        found[check.group] = max(found.get(check.group, "shown"), word, key=order.index)
    return found


def groups_text(verdict: Verdict, language: str) -> str:
    """For how many groups it could be shown that their need is found; counts of groups, never of people."""
    words, counts = Words("register", language), Counter(group_words(verdict).values())
    if not counts:
        return words("groups_none")
    said = [words("groups_found", shown=counts["shown"], alarm=counts["alarm"], unknown=counts["unknown"])]
    if {check.state for check in verdict.checks if check.id == "C404"} != {"pass"}:
        said.append(words("label_not_tested"))
    return " ".join(said)


def attribute_names(verdict: Verdict, language: str) -> list[str]:
    """The attributes by which groups were measured, in words."""
    return list(map(Language(language).attribute, verdict.scope["group_attributes"]))


def connected_text(verdict: Verdict, language: str, registers: str) -> str:
    """What is read from where, and which of the attributes that measure equality the order reads too."""
    words, t = Words("register", language), Language(language)
    said = [registers] if registers else []
    for key, find in (("connected_apart", attributes_apart), ("connected_read", attributes_read)):
        if names := ", ".join(map(t.attribute, find(verdict))):
            said.append(words(key, groups=names))
    return " ".join(said) if registers else ""


def page_blocks(verdict: Verdict, language: str) -> list[dict[str, Any]]:
    """The page as plain texts.

    Returns
    -------
    list of {id, heading, items: [{term, text}]}
        In the order of :data:`BLOCKS`. An answer that nobody has written says so.
    """
    words, record = Words("register", language), record_of(verdict)
    entry, said = ats_of(verdict, language), {name: text[language] for name, text in record["texts"].items()}
    capacity = {"k": words.number(record["capacity"]["k"]), "days": record["capacity"]["period_days"]}
    texts = {
        **said,
        "goal": said["benefit"],
        "status": words.get(f"status.{record['status']}", ""),
        "risk_category": words.get(f"risk_category.{record['risk_category']}", ""),
        "source_data": entry["source_data"],
        "training_data": entry["training_data"],
        "connected": entry["connected_data_sources"],
        "methods": entry["methods_and_models"],
        "performance": entry["performance"],
        "capacity": words("capacity", **capacity),
        "groups": ", ".join(attribute_names(verdict, language)) or words("groups_none"),
        "found": entry["data_bias"],
        "monitoring": entry["monitoring"],
        "rollback": entry["rollback"],
        "objection": entry["objection_procedure"],
        "contact": words("contacts", **record["contact"]) if all(record["contact"].values()) else "",
        "verdict": verdict_text(verdict, language),
        "revision": record["revision_date"],
    }
    return [
        {
            "id": block,
            "heading": words(f"blocks.{block}"),
            "items": [{"term": words(f"terms.{name}"), "text": texts[name] or words("page.missing")} for name in names],
        }
        for block, names in _ITEMS.items()
    ]


_ITEMS: dict[str, tuple[str, ...]] = {
    "overview": (
        *("summary", "question", "action", "goal", "impact", "alternative", "status", "area"),
        *("organisation", "department", "lawful_basis"),
    ),
    "datasets": ("source_data", "training_data", "connected"),
    "data_processing": ("decision_process", "methods", "performance", "capacity"),
    "non_discrimination": ("groups", "found", "proportionality"),
    "human_oversight": ("human_intervention", "monitoring", "rollback"),
    "risks": ("risks", "risk_category", "verdict"),
    "contact": ("objection", "contact", "revision"),
}


def verdict_text(verdict: Verdict, language: str) -> str:
    """State, day, end and id of the verdict in one sentence."""
    words = Words("register", language)
    return words(
        "verdict_until",
        state=words(f"verdict.{verdict.state}"),
        issued=f"{verdict.issued_at:%Y-%m-%d}",
        expires=f"{verdict.expires_at:%Y-%m-%d}",
        id=verdict.verdict_id,
    )


def page_json(verdict: Verdict, language: str) -> dict[str, Any]:
    """The page for a register that takes data: blocks, digests, dates, and whether any of it is real."""
    record = record_of(verdict)
    return {
        "language": language,
        "name": record["texts"]["title"][language],
        "organisation": record["texts"]["organisation"][language],
        "verdict_id": verdict.verdict_id,
        "published": record["published"] or verdict.issued_at.date().isoformat(),
        "changed": verdict.issued_at.date().isoformat(),
        "revision_date": record["revision_date"],
        "demonstration": verdict.demonstration,
        "invented": bool(verdict.scope["invented"]),
        "blocks": page_blocks(verdict, language),
        "digests": record["digests"],
    }


def page_text(verdict: Verdict, language: str) -> str:
    """The page as plain text, e.g. for a form to be pasted into."""
    words, page = Words("register", language), page_json(verdict, language)
    lines = [page["name"], "", *page_banners(verdict, language)]
    for block in page["blocks"]:
        lines += ["", block["heading"].upper()]
        lines += [f"{item['term']}: {item['text']}" for item in block["items"]]
    lines += ["", f"{words('page.digests')}:"]
    lines += [f"{words.get(f'digests.{name}', name)}: {digest}" for name, digest in page["digests"].items()]
    return "\n".join(lines) + "\n"


def page_html(verdict: Verdict, language: str) -> str:
    """The page as one accessible HTML file without scripts; its ``<article>`` can be put into another site."""
    words, page = Words("register", language), page_json(verdict, language)
    return template("register_page.html.jinja").render(
        page=page,
        language=language,
        title=words("page.title", name=page["name"]),
        banners=page_banners(verdict, language),
        digests_heading=words("page.digests"),
        digest_names={name: words.get(f"digests.{name}", name) for name in page["digests"]},
    )


def page_banners(verdict: Verdict, language: str) -> list[str]:
    """What stands above everything where the city or the keys are not real."""
    words = Words("register", language)
    shown = {"demonstration": verdict.demonstration, "invented": verdict.scope["invented"]}
    return [words(f"page.{name}") for name, applies in shown.items() if applies]


def template(name: str) -> Template:
    """A template of the documents."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_register_files(verdict: Verdict) -> dict[str, str]:
    """The register entry and the drafts of the impact assessments by file name, all from the verdict.

    ``ats-0.3.1.<lang>.json``, ``register.<lang>.json``, ``.html`` and ``.txt``, ``fria.<lang>.html`` and
    ``dpia.<lang>.html``, for fi, sv and en.

    Raises
    ------
    BadInput
        The verdict holds no register record.
    """
    from ethics.impact_drafts import render_dpia, render_fria

    files: dict[str, str] = {}
    for language in LANGUAGES:
        files[f"ats-0.3.1.{language}.json"] = _json(ats_of(verdict, language))
        files[f"register.{language}.json"] = _json(page_json(verdict, language))
        files[f"register.{language}.html"] = page_html(verdict, language)
        files[f"register.{language}.txt"] = page_text(verdict, language)
        files[f"fria.{language}.html"] = render_fria(verdict, language)
        files[f"dpia.{language}.html"] = render_dpia(verdict, language)
    return files


def write_register_files(verdict: Verdict, folder: Path | str) -> list[Path]:
    """Write what :func:`render_register_files` gives into a folder, and return the files.

    Raises
    ------
    BadInput
        The verdict holds no register record.
    """
    files, target = render_register_files(verdict), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(target / name, content.encode("utf-8"))
    return [target / name for name in files]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
