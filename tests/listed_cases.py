"""A list with every kind of row and a contact book of every kind of person, without a model or a gate."""

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import polars as pl
from sealed_world import RULE_NEED

from ethics.digests import canonical_json, sha256
from models.need import parse_need
from scoring.contacts import ContactBook
from scoring.list_records import ListRow, OutreachList, UnitPart
from scoring.reason_events import Behind
from scoring.reasons import Reason

AS_OF = date(2024, 6, 3)
COLUMNS = ("rank_band", "reasons", "action", "who_helps", "channel", "contact", "attempts")
CARE = """[[list.contraindications]]
codes = ["peace.*"]
plain = { fi = "pyytänyt rauhaa", sv = "bett om lugn", en = "asked for peace" }
"""
LIST_ID = "01HZZZZZZZZZZZZZZZZZZZZZZ1"
KINDS = ("ranked", "carried", "margin", "sample", "added")
LONG = "Lähisuhdeväkivaltakokemuskartoitushaastattelu"


@dataclass(frozen=True)
class Row(ListRow):
    """A row that shows more than its reasons."""

    more: dict[str, Any] = field(default_factory=dict)

    @property
    def payload(self):
        return {**super().payload, **self.more}


def a_need(columns=COLUMNS, **settings):
    text = f"{RULE_NEED}[list]\ncolumns = {list(columns)}\n".replace("'", '"')
    text += "".join(f"{key} = {value}\n" for key, value in settings.items())
    text += CARE if columns == COLUMNS else ""
    return parse_need(text.encode(), "youth.toml")


def a_part(unit, people, name=None):
    rows = []
    for rank, person in enumerate(people, 1):
        kind = KINDS[rank % len(KINDS)] if rank > 3 else "ranked"
        behind = Behind(date(2024, 5, 4), "latest")
        reasons = (
            Reason("absences from school: 12 in the last 90 days (typical here: 3)", "school register", True, "absence",
                   behind),
            Reason("information you may not see contributed", None, None),
        )  # fmt: skip
        more = {"attempts": 2 if kind == "carried" else 0}
        if rank == 2:
            more |= {"who_helps": ["school welfare", "student health care"]}
        band = "top_5" if kind not in ("sample", "added") else ""
        told = reasons if kind not in ("sample", "added") else ()
        rows.append(
            Row(
                rank,
                person,
                band,
                told,
                sha256(f"{unit}{person}".encode()),
                kind,
                cautions=("asked for peace",) if rank == 2 else (),
                more=more,
            )
        )
    return UnitPart(unit, name or unit.title(), len(rows), 400, tuple(rows))


def a_list(units=None, *, need=None, language="en", list_id=LIST_ID, banners=("demonstration", "invented")):
    units = units or {"north": [f"{i:06d}" for i in range(1, 13)], "east": ["000021", "000022"]}
    parts = tuple(a_part(unit, people) for unit, people in units.items())
    listed = OutreachList(
        list_id, "", need or a_need(), AS_OF, 20, 800, parts, {"objected": 3}, "m" * 64, "v1", "2030-01-01",
        "x" * 64, (), banners, language,
    )  # fmt: skip
    return replace(listed, list_digest=sha256(canonical_json(listed.said())))


def store_rows(listed):
    """The rows as the store gives them back."""
    rows = [
        {
            "list_id": listed.list_id,
            "as_of_date": listed.as_of_date,
            "unit_id": part.unit_id,
            "person_id": row.person_id,
            "row_hash": row.row_hash,
        }
        for part in listed.parts
        for row in part.rows
    ]
    return pl.DataFrame(rows)


def contact_rows():
    """Adults of each channel, a child, people under a secrecy order, and nobody for the last ids."""
    names = ("person_id", "name", "channel", "phone", "language", "interpreter", "guardian", "secrecy_order")
    rows = [
        ("000001", "Person 000001", "digital", "+358 000 0000001", "fi", False, None, False),
        ("000002", "Person 000002", "phone", "+358 000 0000002", "so", True, None, False),
        ("000003", "Person 000003", "phone", None, "sv", False, None, False),
        ("000004", "Person 000004", "visit", None, "ru", False, None, False),
        ("000005", "Person 000005", "digital", None, "fi", False, "000030", False),
        ("000006", "Person 000006 unlisted", "phone", "+358 000 0000006", "fi", False, None, True),
        ("000007", "Person 000007 unlisted", "phone", "+358 000 0000007", "fi", False, "000031", False),
        ("000008", "=cmd|' /C calc'!A0", "letter", "+358 000 0000008", "xx", False, None, False),
        ("000030", "Person 000030", "phone", "+358 000 0000030", "ar", True, None, False),
        ("000031", "Person 000031 unlisted", "phone", "+358 000 0000031", "fi", False, None, True),
    ]
    return pl.DataFrame(rows, schema=names, orient="row")


def a_book():
    return ContactBook(contact_rows(), "contacts")
