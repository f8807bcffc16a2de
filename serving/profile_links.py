"""Which profile of Helsinki Profile is which person: keyed hashes on both sides, and nothing after an erasure.

A row holds HMAC(link key, profile's UUID) and the person's reference of the store. Whoever has the database alone reads
neither; once the store has forgotten a person, the row leads nowhere and is deleted.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Column, Connection, Engine, Index, LargeBinary, MetaData, String, Table, delete, func, select

from ethics.refusals import BadInput, Fault
from scoring.store_frames import now_text
from scoring.store_opening import Schema, in_chunks, insert_new, migrate, reading, writing
from scoring.store_tables import PEOPLE
from serving.pending_erasures import PendingErasures, pending_in

if TYPE_CHECKING:
    from scoring.store import Store
    from serving.home import Home

_LINKS = Table(
    "profile_links",
    MetaData(),
    Column("profile", LargeBinary(32), primary_key=True),
    Column("person_ref", LargeBinary(32), nullable=False),
    Column("linked_at", String(40), nullable=False),
    Index("profile_links_by_person", "person_ref"),
)
SCHEMA = Schema("the table of profile links", Path(__file__).parent / "migrations", "0001", "profile_links_version")
COLUMNS = ("profile_uuid", "person_id")
_MOST_FAULTS = 20
_LONGEST_ID = 200


@dataclass(frozen=True)
class Linked:
    """What linking came to: links that are new, links known before, and rows of people who were erased."""

    linked: int
    known_before: int
    erased: int


class ProfileLinks:
    """The links of one home.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        The store's database; the table is made, or brought up to date, under a lock.
    key : bytes
        Of the hashes of profiles. The home derives it from a key that the store checks (:func:`open_links`).
    store : Store
        Knows the people.
    pending : PendingErasures, optional
        Erasures that have begun; one of somebody the store still knows is let go when the link is changed by hand.
    """

    def __init__(self, engine: Engine, key: bytes, store: Store, pending: PendingErasures | None = None) -> None:
        self._engine = engine
        self._pending = pending
        self._key = key
        self._store = store
        migrate(engine, SCHEMA)
        self.sweep()

    def link(self, pairs: Sequence[tuple[UUID, str]]) -> Linked:
        """Link profiles to people, all of them or none; people who were erased are left out.

        Raises
        ------
        BadInput
            A profile that is linked to somebody else, by the number of its row: unlink it first.
        """
        refs = self._store.refer(sorted({person for _, person in pairs}))
        at = now_text()
        rows: list[dict[str, Any]] = [
            {"profile": self.mark(profile), "person_ref": bytes.fromhex(refs[person]), "linked_at": at}
            for profile, person in pairs
            if person in refs
        ]
        with writing(self._engine) as connection:
            new = insert_new(connection, _LINKS, sorted(rows, key=lambda row: row["profile"]))
            kept = self._kept(connection, [row["profile"] for row in rows])
            others = [
                number
                for number, (profile, person) in enumerate(pairs, start=1)
                if person in refs and kept[self.mark(profile)] != bytes.fromhex(refs[person])
            ]
            if others:  # leaving by a refusal takes the new rows back
                mend = "Check whose it is; then: ennakko profiles unlink UUID"
                raise BadInput(
                    *(
                        Fault(f"row {number}", "has a profile that is linked to another person", mend)
                        for number in others
                    )
                )
        for profile, person in pairs:
            if person in refs:
                self._let_go(profile, person)
        return Linked(new, len(rows) - new, len(pairs) - len(rows))

    def person_of(self, profile: UUID) -> str | None:
        """Whose profile this is; None for one that is not linked, or whose person was erased."""
        return self.person_of_mark(self.mark(profile))

    def person_of_mark(self, mark: bytes) -> str | None:
        """As :meth:`person_of`, by the profile's keyed hash."""
        with reading(self._engine) as connection:
            ref = self._kept(connection, [mark]).get(mark)
        return None if ref is None else self._store.people([ref.hex()]).get(ref.hex())

    def is_forgotten(self, person_id: str) -> bool:
        """Whether the store was told to forget somebody, and has."""
        return bool(self._store.is_erased([person_id])[0])

    def unlink(self, profile: UUID) -> bool:
        """Take a link away; False when there was none."""
        with writing(self._engine) as connection:
            gone = bool(connection.execute(delete(_LINKS).where(_LINKS.c.profile == self.mark(profile))).rowcount)
        self._let_go(profile)
        return gone

    def _let_go(self, profile: UUID, person: str | None = None) -> None:
        """Drop an erasure that somebody else than ``person`` is armed with; of the forgotten it is to be finished."""
        if self._pending is None:
            return
        armed = self._pending.person_of(self.mark(profile))
        if armed is not None and armed != person and not self.is_forgotten(armed):
            self._pending.end(self.mark(profile))

    def sweep(self) -> int:
        """Delete the links of people whom the store has forgotten; returns how many those were.

        To be called after every erasure; opening does it too, for one that was cut short and for restored backups.
        """
        lost = _LINKS.c.person_ref.not_in(select(PEOPLE.c.person_ref))
        with reading(self._engine) as connection:
            if connection.execute(select(_LINKS.c.profile).where(lost).limit(1)).first() is None:
                return 0
        with writing(self._engine) as connection:
            return connection.execute(delete(_LINKS).where(lost)).rowcount

    def count(self) -> int:
        """Links there are."""
        with reading(self._engine) as connection:
            return int(connection.scalar(select(func.count()).select_from(_LINKS)) or 0)

    def mark(self, profile: UUID) -> bytes:
        """A profile's keyed hash: how the table and the audit log hold it."""
        return hmac.digest(self._key, profile.bytes, "sha256")

    @staticmethod
    def _kept(connection: Connection, marks: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for part in in_chunks(marks):
            rows = connection.execute(select(_LINKS.c.profile, _LINKS.c.person_ref).where(_LINKS.c.profile.in_(part)))
            found |= {row.profile: row.person_ref for row in rows}
        return found


def open_links(home: Home) -> ProfileLinks:
    """The links of a home, under a key made of the store's: whoever loses that one is told so by the store."""
    store = home.store
    key = hmac.digest(home.settings.secret("people", make=False), b"ennakko: profile links", "sha256")
    return ProfileLinks(home.engine, key, store, pending_in(home.root))


# ---- the stories -----------------------------------------------------------------------------------------------


def import_links(home: Home, path: Path, *, by: str) -> dict[str, Any]:
    """Link the profiles of a file to people, every row of it or none.

    Parameters
    ----------
    path : Path
        CSV or Parquet with the columns ``profile_uuid`` and ``person_id``.
    by : str
        Who does it, by role, for the audit log.

    Raises
    ------
    BadInput
        The file, or a row of it by its number, cannot be used.
    """
    pairs = read_links(path)
    found = open_links(home).link(pairs)
    home.audit_log.append("profiles import", by, rows=len(pairs), linked=found.linked, erased=found.erased)
    return {"rows": len(pairs), "linked": found.linked, "known_before": found.known_before, "erased": found.erased}


def take_link_away(home: Home, profile: str, *, by: str) -> dict[str, Any]:
    """Unlink one profile.

    Raises
    ------
    BadInput
        Not a UUID, or linked to nobody.
    """
    uuid = _uuid(profile)
    if uuid is None:
        raise BadInput(Fault("profile", "is not a UUID", "Write it as 9e14df7c-81f6-4c41-8578-6aa7b9d0e5c0"))
    links = open_links(home)
    if not links.unlink(uuid):
        raise BadInput(Fault("profile", "is linked to nobody", "Nothing is left to do"))
    home.audit_log.append("profiles unlink", by, profile=links.mark(uuid).hex())
    return {"unlinked": True}


def read_links(path: Path) -> list[tuple[UUID, str]]:
    """Pairs of profile and person out of a file.

    Raises
    ------
    BadInput
        Missing columns, or rows without a UUID or a person, or a profile twice for two people; by row number, never
        with what stands in them.
    """
    import polars as pl

    try:
        content = BytesIO(path.read_bytes())
        if path.suffix == ".parquet":
            frame = pl.read_parquet(content)
        elif path.suffix == ".csv":
            frame = pl.read_csv(content, infer_schema=False)
        else:
            raise BadInput(Fault(str(path), f"is of the kind '{path.suffix}'", "Give .csv or .parquet"))
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise BadInput(Fault(str(path), f"lacks {' and '.join(missing)}", f"Name the columns {', '.join(COLUMNS)}"))
        texts = frame.select(pl.col(name).cast(pl.String).str.strip_chars() for name in COLUMNS)
    except pl.exceptions.PolarsError as error:
        raise BadInput(Fault(str(path), f"cannot be read ({type(error).__name__})", "Write it again")) from None
    faults: list[Fault] = []
    pairs: list[tuple[UUID, str]] = []
    whose: dict[UUID, str] = {}
    for number, (profile, person) in enumerate(texts.iter_rows(), start=1):
        uuid = _uuid(profile or "")
        if uuid is None or not person or len(person) > _LONGEST_ID:
            what = "profile_uuid that is a UUID" if uuid is None else "person_id"
            faults.append(Fault(f"{path}: row {number}", f"has no {what}", "Mend the row"))
        elif whose.setdefault(uuid, person) != person:
            faults.append(
                Fault(f"{path}: row {number}", "has a profile that another row gives to another person", "Keep one")
            )
        else:
            pairs.append((uuid, person))
    if not pairs and not faults:
        faults.append(Fault(str(path), "holds no row", "Give at least one link"))
    if faults:
        more = len(faults) - _MOST_FAULTS
        told = faults[:_MOST_FAULTS]
        raise BadInput(*told, *([Fault(str(path), f"has {more} more such rows", "Mend them too")] if more > 0 else []))
    return list(dict.fromkeys(pairs))


def _uuid(text: str) -> UUID | None:
    """A UUID written the usual way; Python would read other ways too."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None
