"""What an outreach list is: its rows, its units' parts, the frozen whole, and its id."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ethics.case import SORT_KEY
from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, did_you_mean
from scoring.row_hashes import payload_text, row_hash

if TYPE_CHECKING:
    from ethics.gate import Check
    from models.need import Need
    from scoring.contacts import ContactBook
    from scoring.reasons import Reason

ROWS = "rows.parquet"
"""File of a written list: who was on it, with each row's salted hash, for recall and proof."""

_LONGEST_NAME = 80
"""Characters of a unit's id that its files are named after; most file systems take names of 255 bytes."""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class ListRow:
    """One person on a unit's list.

    ``rank`` counts from 1 within the unit; ``row_hash`` is salted with the person's salt and covers all the rest;
    ``kind`` tells why the row is there: ranked, carried (not reached before), margin (by lot around the cut), sample
    (a random check of those below the line: no band, no reasons) or added. ``chance`` is the probability with which the
    lot would have drawn the person, as text; ``is_held_out`` says that the lot at the cut left the person below the
    line, so that effects can be measured. ``cautions`` are what to know before taking up contact. ``attempts`` (to
    reach the person before) and ``who_helps`` are None where the need does not ask for them. ``not_by`` are the
    channels by which the person does not want to be contacted.
    """

    rank: int
    person_id: str
    rank_band: str | None
    reasons: tuple[Reason, ...]
    row_hash: str = ""
    kind: str = "ranked"
    chance: str = ""
    is_held_out: bool = False
    cautions: tuple[str, ...] = ()
    attempts: int | None = None
    who_helps: tuple[str, ...] | None = None
    not_by: tuple[str, ...] = ()

    @property
    def payload(self) -> dict[str, Any]:
        """What the row shows beyond place and band: JSON values, decimals as strings. The store keeps it."""
        said: dict[str, Any] = {"reasons": [why.facts() for why in self.reasons]}
        if self.cautions:
            said["cautions"] = list(self.cautions)
        if self.attempts is not None:
            said["attempts"] = self.attempts
        if self.who_helps is not None:
            said["who_helps"] = list(self.who_helps)
        if self.not_by:
            said["not_by"] = list(self.not_by)
        if self.kind == "margin":
            said["margin"] = {"listed": not self.is_held_out, "probability": self.chance}
        if self.kind == "sample":
            said["sample"] = {"probability": self.chance}
        return said

    def hashed(self, unit_id: str, key: bytes) -> ListRow:
        """The same row with its hash under the person's key."""
        said: dict[str, Any] = {"person_id": self.person_id, "rank_band": self.rank_band, "payload": self.payload_text}
        found = replace(self, row_hash=row_hash(key, unit_id=unit_id, position=self.rank, kind=self.kind, **said))
        vars(found)["payload_text"] = self.payload_text  # of the same payload: a row is never changed
        return found

    @cached_property
    def payload_text(self) -> str:
        """The payload as the store keeps it (:func:`scoring.row_hashes.payload_text`)."""
        return payload_text(self.payload)


@dataclass(frozen=True)
class UnitPart:
    """One unit's part of a list.

    Attributes
    ----------
    unit_id, name : str
    k : int
        People it may list: its share of the service's capacity in the period.
    eligible_n : int
        People of its districts who were ranked, and whom nothing keeps from being listed.
    rows : tuple of ListRow
        At most ``k`` of them, whoever is carried over first; then the sample from below the line, which takes no place.
    held_out : tuple of ListRow
        Whom the lot at the cut left below the line. They are recorded, and shown to nobody.
    """

    unit_id: str
    name: str
    k: int
    eligible_n: int
    rows: tuple[ListRow, ...]
    held_out: tuple[ListRow, ...] = ()

    @property
    def listed_n(self) -> int:
        """People to contact: the rows without the sample."""
        return sum(row.kind != "sample" for row in self.rows)

    @property
    def below_n(self) -> int:
        """People of the unit below the line, those of the sample among them."""
        return self.eligible_n - self.listed_n

    @property
    def recorded(self) -> tuple[ListRow, ...]:
        """Every row that the store keeps: those shown, and those held out."""
        return (*self.rows, *self.held_out)

    @property
    def file_name(self) -> str:
        """A name for its files that every file system takes; two units never share one."""
        return file_name_of(self.unit_id)


@dataclass(frozen=True)
class OutreachList:
    """A frozen list of the people a service may contact in one period, in parts for its units.

    Attributes
    ----------
    list_id : str
        Unique, and later lists sort after earlier ones.
    list_digest : str
        SHA-256 over what the list says (:meth:`said`), each row salted with the person's salt; without ``list_id``.
    capacity_k : int
        Contacts of the whole service in the period.
    cohort_n : int
        People the need covers; the sum of those listed, below the line, and excluded.
    excluded : mapping
        Reason → people of the cohort who are on no list for it.
    checks : tuple of Check
        What the gate found about this list.
    banners : tuple of str
        ``"demonstration"``, ``"invented"``: what every page says at its top.
    """

    list_id: str
    list_digest: str
    need: Need
    as_of_date: date
    capacity_k: int
    cohort_n: int
    parts: tuple[UnitPart, ...]
    excluded: Mapping[str, int]
    model_digest: str
    verdict_id: str
    expires_at: str
    matrix_digest: str
    checks: tuple[Check, ...] = field(repr=False)
    banners: tuple[str, ...] = ()
    language: str = "en"
    reason_stability: Mapping[str, Any] | None = None
    """What :func:`scoring.reason_jitter.reason_stability` found of this list; None for a rule."""
    attempts_per_person: int = 1
    allocation: str = "proportional"

    @property
    def listed(self) -> int:
        """People on the list."""
        return sum(part.listed_n for part in self.parts)

    @property
    def below(self) -> int:
        """People ranked below their unit's line."""
        return sum(part.below_n for part in self.parts)

    def kinds(self) -> dict[str, int]:
        """Recorded rows by why they are there; ``held_out``: those whom the lot at the cut left below the line."""
        rows = [row for part in self.parts for row in part.recorded]
        return dict(sorted(Counter("held_out" if row.is_held_out else row.kind for row in rows).items()))

    def part(self, unit_id: str) -> UnitPart:
        """One unit's part, or a refusal that names the units."""
        for part in self.parts:
            if part.unit_id == unit_id:
                return part
        mend = did_you_mean(unit_id, [part.unit_id for part in self.parts])
        raise BadInput(Fault("unit", f"'{unit_id}' is not a unit here", mend))

    def rows(self, parts: Sequence[UnitPart] | None = None) -> pl.DataFrame:
        """Who is shown: ``unit_id``, ``rank``, ``person_id``, ``rank_band`` (null: sample), ``row_hash``, ``kind``."""
        rows = [
            (part.unit_id, row.rank, row.person_id, row.rank_band, row.row_hash, row.kind)
            for part in (self.parts if parts is None else parts)
            for row in part.rows
        ]
        texts = dict.fromkeys(("person_id", "rank_band", "row_hash", "kind"), pl.String)
        return pl.DataFrame(rows, schema={"unit_id": pl.String, "rank": pl.UInt32, **texts}, orient="row")

    def said(self) -> dict[str, Any]:
        """What ``list_digest`` is over. Rows enter as keyed hashes, so it betrays nobody."""
        return {
            "schema": "ennakko-list/1",
            "model": self.model_digest,
            "need": self.need.digest,
            "matrix": self.matrix_digest,
            "as_of_date": self.as_of_date.isoformat(),
            "capacity_k": self.capacity_k,
            "excluded": dict(self.excluded),
            "parts": [
                {
                    "unit_id": part.unit_id,
                    "k": part.k,
                    "eligible_n": part.eligible_n,
                    "rows": [row.row_hash for row in part.recorded],
                }
                for part in self.parts
            ],
        }

    def facts(self) -> dict[str, Any]:
        """What can be said of the list without saying who is on it."""
        return {
            "list_id": self.list_id,
            "list_digest": self.list_digest,
            "need": self.need.id,
            "service": self.need.service,
            "as_of_date": self.as_of_date.isoformat(),
            "capacity_k": self.capacity_k,
            "cohort_n": self.cohort_n,
            "listed": self.listed,
            "below": self.below,
            "excluded": dict(self.excluded),
            "units": [
                {"unit_id": p.unit_id, "k": p.k, "eligible_n": p.eligible_n, "listed": p.listed_n} for p in self.parts
            ],
            "kinds": self.kinds(),
            "attempts_per_person": self.attempts_per_person,
            "allocation": self.allocation,
            "sort_key": list(SORT_KEY),
            "model_digest": self.model_digest,
            "matrix_digest": self.matrix_digest,
            "verdict_id": self.verdict_id,
            "verdict_expires_at": self.expires_at,
            "checks": {check.id: check.state for check in self.checks},
            "language": self.language,
            "reason_stability": None if self.reason_stability is None else dict(self.reason_stability),
            **self._duty(),
        }

    def _duty(self) -> dict[str, Any]:
        """The duty to keep, as it stood when the list was made; nothing where there is none."""
        keep = self.need.list.keep
        if keep is None:
            return {}
        until = self.as_of_date + timedelta(days=keep.days)
        return {"keep": {"until": until.isoformat(), "law": keep.law.model_dump()}}

    def write(self, folder: Path, unit: str | None = None, contacts: ContactBook | None = None) -> tuple[Path, ...]:
        """Write ``folder/<list_id>/``: the files of each unit (or of one) and ``list.json``; whole, or nothing.

        Returns
        -------
        tuple of Path
            The files.
        """
        from scoring.list_files import write_files

        return write_files(self, folder, unit, contacts)


def file_name_of(unit_id: str) -> str:
    """The name that a unit's files begin with: without a dot, and short enough for every file system.

    >>> file_name_of("north"), file_name_of("north/1")
    ('north', 'north_1-2c911472')
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", unit_id)[:_LONGEST_NAME]
    return plain if plain == unit_id else f"{plain}-{sha256(unit_id.encode())[:8]}"


def new_list_id(now: datetime) -> str:
    """A ULID: 48 bits of milliseconds, 80 random bits; 26 signs that sort by time.

    >>> from datetime import UTC
    >>> new_list_id(datetime(2024, 1, 1, tzinfo=UTC)) < new_list_id(datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC))
    True
    """
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
