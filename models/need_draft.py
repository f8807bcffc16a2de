"""A first draft of a need file from a few answers: valid as it stands, with everything still missing marked.

A mark is a text that begins with :data:`MARK`. A file with marks can be read, trained and rehearsed; the gate takes a
marked text for no text, so nothing is approved before people have filled them in (:mod:`models.need_review` lists
them).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import Literal

from ethics.policy_floor import FLOOR
from models.need_parts import MARK, UNWRITTEN_EMAIL

_YEARS_BACK = 2
_EVERY_DAYS = 28
_DELAY_DAYS = 30
_LONGEST_DAYS = 20_000
_REGISTER = {
    "organisation": "who is responsible, by its official name",
    "department": "the unit that uses the list",
    "area": "the area in which it is used",
    "summary": "what it does, in at most 150 characters",
    "decision_process": "within which work it is used, under which law",
    "lawful_basis": "the law and the decision on which its use rests (AT-02)",
    "impact": "how people notice it, on the list and off it",
    "proportionality": "why it is necessary, and reasonable",
    "risks": "what may go wrong, and what is done about it",
    "human_intervention": "who decides, and how a person can step in",
}
_IMPACT = {
    "duration": "for how long it is to be used",
    "affected_groups": "whom it affects, those not on the list included",
    "harms": "what harm it may do them",
    "measures": "what is done, and by whom, if the harm happens",
    "complaints": "where complaints are made, and who answers",
    "consulted": "who was consulted, when, and what changed",
    "rights_risks": "risks to people's rights and freedoms",
    "safeguards": "the measures that keep them small",
    "retention": "how long records and lists are kept",
    "dpo_advice": "what the data protection officer advised",
}


@dataclass(frozen=True)
class DraftAnswers:
    """What has to be known before there can be a draft.

    Attributes
    ----------
    title : str
        In plain words, English.
    service : str
        The service that works the list, e.g. ``outreach-youth-work``.
    age : (int, int)
        Whole years, both ends.
    label_codes : sequence of str
        Codes of which any says that the need has appeared.
    horizon_days : int
        How far ahead it is looked.
    feature_codes : sequence of str
        Codes the model may read; each family becomes one feature.
    workers, attempts : int
        Workers, and attempts of each in a week.
    today : date
        The city's extract date, or the day of writing: as-of dates end early enough for labels to be known.
    """

    title: str
    service: str
    age: tuple[int, int]
    label_codes: Sequence[str]
    horizon_days: int
    feature_codes: Sequence[str]
    workers: int
    attempts: int
    today: date


def draft_need(answers: DraftAnswers) -> str:
    """The text of a need file.

    >>> from models.need import parse_need
    >>> text = draft_need(DraftAnswers("Losing touch", "outreach", (16, 28), ["status.neet"], 180, ["school.*"], 4, 15,
    ...                                date(2026, 6, 30)))
    >>> parse_need(text.encode(), "losing_touch.toml").columns
    ('school.count.90d', 'school.count.365d')
    """
    horizon = min(answers.horizon_days, _LONGEST_DAYS)  # a longer one is refused when the draft is read
    last = answers.today - timedelta(days=horizon + _DELAY_DAYS)
    first = last - timedelta(days=_YEARS_BACK * 365 + horizon)
    names = _names(answers.feature_codes)
    features = "\n".join(_feature(name, code, answers.service) for name, code in names.items())
    first_column = f"{next(iter(names))}.count.90d"
    return f"""\
# {answers.title}.
# A draft: every text that begins with "{MARK}" is still to be written by those who answer for the need.
# `ennakko needs check` lists what is missing, and what an auditor would ask.
schema = 1
kind = "model"
service = {_text(answers.service)}
use = "outreach_ranking"
review_by = {answers.today + timedelta(days=365)}

{_said("title", "what the need is called", answers.title)}
{_said("question", "the question that the model answers, in one sentence")}
{_said("action", "what is offered to the people listed; voluntary")}
{_said("benefit", "who gains what from it")}
{_said("alternative", "how it would be done without a model")}
{_role("owner", "head of the service")}
{_role("deputy", "who stands in")}
{_role("dpo", "data protection officer")}
[cohort]
age = [{answers.age[0]}, {answers.age[1]}]
prior_outcome = 365                          # those already in need are known to the service
as_of = {{ first = {first}, last = {last}, every_days = {_EVERY_DAYS} }}

[label]
codes = {_texts(answers.label_codes)}
measure = "days"
at_least = 1
horizon_days = {answers.horizon_days}
reporting_delay_days = {_DELAY_DAYS}                    # how late the city comes to know these codes: measure it
censored_by = []                             # e.g. ["death", "moved_away"]
censoring = "drop"

# Two independent signs of need belong here, recorded alike for everyone and not by the service itself:
# [[indicators]]
# name = "…"
# codes = ["…"]

{features}
[splits]
kind = "temporal"
tests = 3
judged = 1

[baseline]
rule = "{first_column} desc"       # put here what the unit does today

[capacity]
workers = {answers.workers}
attempts_per_worker_per_period = {answers.attempts}
contact_success = 0.5                        # put here what the unit has measured
period_days = 7

[list]
columns = ["rank_band", "reasons", "action", "who_helps"]
cooldown_days = 90
sample = {_sample(answers)}                                   # drawn by lot below the line: whose need would be missed?

[notice]
phone = {_text(_mark("the number where people object"))}
letter = {_text(_mark("the letter that tells people"))}

# What the city's AI register will say; the rest of the entry is computed. Allowed words: docs/need-file.md.
[register]
status = "design"
domain = {_text(_mark("the register's word for the field"))}
risk_category = {_text(_mark('"high risk" wherever people are ranked by a learned model'))}
{_all_said("register", _REGISTER)}
# Answers for the drafts of the impact assessments (AI Act 27, GDPR 35); in one language or more.
{_all_said("impact", _IMPACT)}"""


def _sample(answers: DraftAnswers) -> int:
    """People to draw from below the line for each list, so that check C407 is answered."""
    return ceil(FLOOR["thresholds.min_exploration"][1] * answers.workers * answers.attempts)


def _names(codes: Sequence[str]) -> dict[str, str]:
    """A feature name for each family of codes: the last words that tell it from the others."""
    names: dict[str, str] = {}
    for code in dict.fromkeys(codes):
        words = [word for word in code.removesuffix("*").replace(":", ".").replace("-", "_").split(".") if word]
        kept = [_ascii(word) for word in words] or ["events"]
        name = kept[-1] if kept[-1][0].isalpha() else f"code_{kept[-1]}"
        wider = len(kept)
        while name in names and wider > 1:
            wider -= 1
            name = "_".join(kept[wider - 1 :])
        while name in names:
            name += "_more"
        names[name] = code
    return names


def _ascii(word: str) -> str:
    """A word as part of a column's name: ä as a, other signs as _."""
    plain = unicodedata.normalize("NFKD", word.lower()).encode("ascii", "ignore").decode("ascii")
    return "".join(c if c.isalnum() or c == "_" else "_" for c in plain) or "code"


def _feature(name: str, code: str, service: str) -> str:
    return f"""\
[[features]]
name = {_text(name)}
codes = [{_text(code)}]
windows = [90, 365]
measures = ["count"]
plain = {{ fi = {_text(_mark("nimi"))}, sv = {_text(_mark("namn"))}, en = {_text(_mark("plain name"))} }}
source = {_text(_mark("the register it comes from"))}
purpose = {_text(_mark("why it is needed"))}
basis = {_text(_mark("the legal basis, attested by a lawyer (AT-02)"))}
visible_to = [{_text(service)}]
changeable = false
"""


def _said(key: str, what: str, english: str = "") -> str:
    lines = [f"{language} = {_text(_mark(what))}" for language in ("fi", "sv")]
    lines.append(f"en = {_text(english or _mark(what))}")
    return "\n".join([f"[{key}]", *lines])


def _all_said(table: str, keys: Mapping[str, str]) -> str:
    return "".join(_said(f"{table}.{key}", what) + "\n" for key, what in keys.items())


def _role(key: Literal["owner", "deputy", "dpo"], what: str) -> str:
    return f"""
[{key}]
name = {_text(_mark(f"{what}, by role"))}
email = "{UNWRITTEN_EMAIL}"
phone = {_text(_mark("phone"))}
"""


def _mark(what: str) -> str:
    return f"{MARK} {what}"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, once DEL is written out too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _texts(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"
