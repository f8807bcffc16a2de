"""What only people can say of a need: the texts of its register entry, and the answers of its impact assessments.

Every key may be left out of a file, so that a need can be read and rehearsed before its owner has written them; the
gate refuses a register entry that lacks one (C201), and the drafts of the assessments name each missing answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictStr, model_validator

from ethics.refusals import did_you_mean
from ethics.register_record import DOMAINS, LONGEST_SUMMARY, RISK_CATEGORIES, STATUSES
from features.spec import Day, Said, Spec, Texts
from models.need_parts import Email, written

_OPTIONS = {"status": STATUSES, "domain": DOMAINS, "risk_category": RISK_CATEGORIES}
LANGUAGES = ("fi", "sv", "en")


def _short(texts: Texts) -> Texts:
    long = [
        f"{language} {len(text)}"
        for language, text in texts.model_dump().items()
        if written(text) and len(text) > LONGEST_SUMMARY
    ]
    if long:
        raise ValueError(
            f"longer than {LONGEST_SUMMARY} characters ({', '.join(long)}) | Say in one short sentence what it does"
        )
    return texts


class Register(Spec):
    """The human part of the entry in the city's AI register; what a run can tell is never asked here."""

    where_in_file = "register"
    organisation: Texts | None = None
    department: Texts | None = None
    country: Texts = Texts(fi="Suomi", sv="Finland", en="Finland")
    area: Texts | None = None
    domain: Said | None = None
    status: Said | None = None
    published: Day | None = None
    contact_email: Email | None = None
    summary: Annotated[Texts, AfterValidator(_short)] | None = None
    decision_process: Texts | None = None
    lawful_basis: Texts | None = None
    impact: Texts | None = None
    proportionality: Texts | None = None
    risks: Texts | None = None
    risk_category: Said | None = None
    human_intervention: Texts | None = None
    sources: Mapping[StrictStr, Texts] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_words(self) -> Register:
        """One of the register's own words, unless it is still to be written."""
        for name, options in _OPTIONS.items():
            word = written(getattr(self, name))
            if word is not None and word not in options:
                raise ValueError(f"{name} is '{word}', which no register knows | {did_you_mean(word, options)}")
        return self

    def missing(self) -> list[str]:
        """Keys without which the entry is refused."""
        return [name for name in REGISTER_KEYS if getattr(self, name) is None]


class Answer(Spec):
    """One answer, in the languages in which it has been written."""

    where_in_file = "answer"
    fi: Said | None = None
    sv: Said | None = None
    en: Said | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Answer:
        if not self.model_fields_set:
            raise ValueError("says nothing | Answer in fi, sv or en, or leave the key out")
        return self


class Impact(Spec):
    """Answers for the fundamental rights impact assessment (AI Act 27) and the data protection one (GDPR 35(7))."""

    where_in_file = "impact"
    duration: Answer | None = None
    affected_groups: Answer | None = None
    harms: Answer | None = None
    measures: Answer | None = None
    complaints: Answer | None = None
    consulted: Answer | None = None
    rights_risks: Answer | None = None
    safeguards: Answer | None = None
    retention: Answer | None = None
    dpo_advice: Answer | None = None

    def missing(self) -> list[str]:
        """Questions that nobody has answered in any language."""
        return [name for name in IMPACT_KEYS if getattr(self, name) is None]


_NEVER_ASKED = ("country", "published", "contact_email", "sources")
REGISTER_KEYS: tuple[str, ...] = tuple(name for name in Register.model_fields if name not in _NEVER_ASKED)
"""Keys of ``[register]`` that nothing else can answer."""
IMPACT_KEYS: tuple[str, ...] = tuple(Impact.model_fields)


def texts_of(said: Texts | Answer | None) -> dict[str, str]:
    """A text in every language, empty where it is not written or only marked.

    >>> texts_of(Answer(en="A year.", sv="TO DO: how long"))
    {'fi': '', 'sv': '', 'en': 'A year.'}
    """
    found: dict[str, Any] = {} if said is None else said.model_dump()
    return {language: written(found.get(language)) or "" for language in LANGUAGES}
