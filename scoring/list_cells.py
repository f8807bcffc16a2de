"""What each row of a list shows, by column: one source for page, table, workbook and the files for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scoring.contacts import CHANNELS, ContactRow
from scoring.list_evidence import shown_columns
from scoring.reasons import Reason, Words, source_of

if TYPE_CHECKING:
    from scoring.contacts import ContactBook
    from scoring.list_records import ListRow, OutreachList, UnitPart

CONTACT_COLUMNS = {
    "channel": ("channel",),
    "contact": ("contact_name", "contact_phone", "contact_language"),
}
"""Columns of a need file that need the contact book → the columns a table shows for each."""

_WITHOUT_REASONS = {"sample": "list.random_check", "added": "list.reasons_not_given"}
"""Kinds of rows of which the ranking says nothing, and what stands there instead."""


@dataclass(frozen=True, repr=False)
class ShownRow:
    """One row as a unit reads it.

    Attributes
    ----------
    person_id : str
    kind : str
        ``ranked``, ``carried``, ``sample``, ``margin`` or ``added``.
    cells : mapping
        Column of :func:`table_columns` → text.
    reasons : tuple of (text, origin)
        In the language of the list; empty where there are none.
    facts : mapping
        Column → JSON value, for machines; and ``not_by``, the channels that the person objects to.
    """

    person_id: str
    kind: str
    cells: Mapping[str, str]
    reasons: tuple[tuple[str, str], ...]
    facts: Mapping[str, Any]

    @property
    def not_by(self) -> tuple[str, ...]:
        """Channels by which the person does not want to be contacted."""
        return tuple(self.facts["not_by"])


def columns_of(listed: OutreachList) -> list[str]:
    """The columns a unit sees, as the gate was shown them (check C609)."""
    return shown_columns(listed.need)


def table_columns(listed: OutreachList) -> list[str]:
    """The same for a table: name, phone and language of a contact stand in columns of their own."""
    return [part for column in columns_of(listed) for part in CONTACT_COLUMNS.get(column, (column,))]


def needs_contacts(columns: Sequence[str]) -> bool:
    """Whether a need's columns show anything of the contact book; if not, nobody opens it."""
    return not CONTACT_COLUMNS.keys().isdisjoint(columns)


def shown_rows(listed: OutreachList, part: UnitPart, contacts: ContactBook | None) -> list[ShownRow]:
    """The rows of one unit, joined with its people's contact data where the need shows them.

    Parameters
    ----------
    listed : OutreachList
    part : UnitPart
    contacts : ContactBook or None
        None where the city has none: its cells then say so.
    """
    people = [row.person_id for row in part.rows]
    how: Sequence[ContactRow | None] = [None] * len(people)
    settings = listed.need.list
    if contacts is not None and needs_contacts(settings.columns):
        how = contacts.of(people, show_secret=settings.secrecy_order == "shown")
    return [_shown(listed, row, reach) for row, reach in zip(part.rows, how, strict=True)]


def rows_or_shown(
    listed: OutreachList, part: UnitPart, contacts: ContactBook | None, rows: Sequence[ShownRow] | None
) -> Sequence[ShownRow]:
    """The rows that were joined already, for several files of one unit; else those of :func:`shown_rows`."""
    return shown_rows(listed, part, contacts) if rows is None else rows


def contact_texts(row: ContactRow | None, words: Words) -> dict[str, str]:
    """Name, phone, language and suggested channel in words; of the hidden, whom to ask, and of the masked, nothing.

    Whoever objects to calls has no number here.
    """
    unknown = words("list.not_recorded")
    if row is None or not row.is_known:
        return dict.fromkeys((*CONTACT_COLUMNS["contact"], "channel"), unknown)
    if row.masked or row.hidden:
        said = words("list.masked" if row.masked else "list.secrecy_order")
        return {"contact_name": said, "contact_phone": "", "contact_language": "", "channel": said}
    name = row.name or unknown
    spoken = words.texts.get(f"languages.{row.language}", row.language or unknown)
    return {
        "contact_name": words("list.guardian", name=name) if row.guardian else name,
        "contact_phone": words("list.no_calls") if "phone" in row.refused else row.phone or words("list.no_phone"),
        "contact_language": words("list.interpreter", language=spoken) if row.interpreter else spoken,
        "channel": words(f"channels.{row.suggested_channel}"),
    }


def _shown(listed: OutreachList, row: ListRow, reach: ContactRow | None) -> ShownRow:
    words, payload = Words.of(listed.language), row.payload
    attempts: int | None = payload.get("attempts")
    helps, against = (tuple(payload.get(key, ())) for key in ("who_helps", "cautions"))
    nobody = words("list.none_known" if "who_helps" in payload else "list.not_recorded")
    told = () if row.kind in _WITHOUT_REASONS else row.reasons
    said_no = {*row.not_by, *(() if reach is None else reach.refused)}
    not_by = [channel for channel in CHANNELS if channel in said_no]
    reasons = tuple((reason.text, source_of(reason, listed.language)) for reason in told)
    cells = {
        "rank": str(row.rank),
        "person": row.person_id,
        "kind": _kind_text(row, not_by, words),
        "rank_band": words(f"bands.{row.rank_band}") if row.rank_band else "",
        "reasons": "\n".join(f"{text}\u00a0· {origin}" if origin else text for text, origin in reasons)
        or words(_WITHOUT_REASONS.get(row.kind, "list.no_reasons")),
        "action": payload.get("action") or getattr(listed.need.action, listed.language),
        "who_helps": "; ".join(helps) or nobody,
        "contraindications": "; ".join(against) or words("list.none_known"),
        "attempts": _attempts_text(attempts, words),
        **contact_texts(reach, words),
    }
    shown = table_columns(listed)
    said = {"attempts": attempts, "who_helps": list(helps), "contraindications": list(against), "not_by": not_by}
    said["reasons"] = [_reason_facts(reason) for reason in told]
    facts = _facts(row, cells, reach, said)
    return ShownRow(
        row.person_id,
        row.kind,
        {column: cells[column] for column in shown},
        reasons if "reasons" in shown else (),
        {column: facts[column] for column in (*shown, "not_by")},
    )


def _kind_text(row: ListRow, not_by: Sequence[str], words: Words) -> str:
    """Why the row is there, and how the person does not want to be contacted: said whatever columns a need shows."""
    kind = words(f"kinds.{row.kind}")
    if not not_by:
        return kind
    return f"{kind}; {not_by_text(not_by, words)}"


def not_by_text(not_by: Sequence[str], words: Words) -> str:
    """The channels that a person objects to, in words: ``not by phone call, letter``."""
    return words("list.not_by", channels=", ".join(words(f"channels.{channel}") for channel in not_by))


def _attempts_text(attempts: int | None, words: Words) -> str:
    if attempts is None:
        return words("list.not_recorded")
    return words("list.attempts", n=words.number(attempts)) if attempts else words("list.no_attempts")


def _facts(row: ListRow, cells: Mapping[str, str], reach: ContactRow | None, said: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "rank": row.rank,
        "person": row.person_id,
        "kind": row.kind,
        "rank_band": row.rank_band or None,
        "action": cells["action"],
        "channel": None if reach is None else reach.suggested_channel,
        **said,
    }
    told = ContactRow(row.person_id) if reach is None else reach
    language = None if told.language is None else {"code": told.language, "interpreter": told.interpreter}
    return {**facts, "contact_name": told.name, "contact_phone": told.phone, "contact_language": language}


def _reason_facts(reason: Reason) -> dict[str, Any]:
    day = None if reason.day is None else reason.day.isoformat()
    return {"text": reason.text, "source": reason.source, "changeable": reason.changeable, "day": day}
