"""Who is who in the store, and how somebody is forgotten for good."""

from __future__ import annotations

import copy
import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Engine, MetaData, Table, func, select, text, update

from ethics.keyed_hashing import KeyedHash
from ethics.refusals import BadInput, Fault, NotTrusted
from scoring.store_forgetting import Erasure, forget
from scoring.store_frames import now_text
from scoring.store_opening import (
    add_many,
    check_keys,
    clear_free_space,
    in_chunks,
    insert_new,
    migrate,
    reading,
    writing,
)
from scoring.store_tables import FORGOTTEN_COLUMNS, METADATA, PEOPLE, TOMBSTONES, VIEWS
from scoring.tombstone_file import TombstoneFile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MIN_KEY_BYTES = 16
_SALT_BYTES = 16
_NONCE_BYTES = 12
_READ_ALL_FROM = 20_000
"""From so many people on, reading the whole table is faster than asking for each."""

_COUNT = select(func.count()).select_from(PEOPLE)


@dataclass(frozen=True)
class StoreKeys:
    """The home's two secrets that the store needs; neither stands in the database.

    Attributes
    ----------
    people : bytes
        HMAC key of the look-up of a person's salt, and (derived) the key that seals the ids.
    tombstones : bytes
        HMAC key of the tombstones.
    """

    people: bytes
    tombstones: bytes

    def __post_init__(self) -> None:
        faults = [
            Fault(f"{name} key", f"is {len(key)} bytes long, so its hashes could be guessed", _MEND)
            for name, key in vars(self).items()
            if len(key) < MIN_KEY_BYTES
        ]
        if faults:
            raise BadInput(*faults)

    def __repr__(self) -> str:
        return "StoreKeys(…)"


_MEND = f"Give at least {MIN_KEY_BYTES} random bytes"


class People:
    """The people of the store: a salted reference for each, made at first need and deleted at erasure."""

    def __init__(self, engine: Engine, keys: StoreKeys, tombstones: Path | None = None) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._engine: Engine | Connection = engine
        self._by_person = KeyedHash(keys.people)
        self._by_tombstone = KeyedHash(keys.tombstones)
        self._seal: AESGCM = AESGCM(hmac.digest(keys.people, b"ennakko: seal of person ids", "sha256"))
        self._file = None if tombstones is None else TombstoneFile(tombstones)
        migrate(engine)
        check_keys(engine, vars(keys))
        self.reapply_tombstones()

    def within(self, connection: Connection) -> Self:
        """The same store inside somebody's transaction: what it writes is kept or taken back with the rest."""
        inside = copy.copy(self)
        inside._engine = connection
        return inside

    # -- references

    def refer(self, person_ids: Sequence[str]) -> dict[str, str]:
        """A reference for each person, made for those who had none; the erased get none.

        Parameters
        ----------
        person_ids : sequence of str

        Returns
        -------
        dict of str to str
            Person id → 64 hexadecimal digits, the same for as long as the person is not erased.
        """
        with writing(self._engine) as connection:
            return {person: ref.hex() for person, (_, ref) in self._made(connection, person_ids).items()}

    def refs(self, person_ids: Sequence[str]) -> dict[str, str]:
        """The references of those who have one."""
        with reading(self._engine) as connection:
            return {person: ref.hex() for person, (_, ref) in self._found(connection, person_ids).items()}

    def people(self, refs: Sequence[str]) -> dict[str, str]:
        """Reference → person id; the erased, and whoever was never there, are absent."""
        with reading(self._engine) as connection:
            return {ref.hex(): person for ref, person in self._named(connection, map(bytes.fromhex, refs)).items()}

    def row_keys(self, person_ids: Sequence[str]) -> dict[str, bytes]:
        """Each person's key for row hashes (:func:`scoring.row_hashes.row_hash`); references are made as needed.

        Raises
        ------
        NotTrusted
            Somebody among them was erased.
        """
        with writing(self._engine) as connection:
            made = self._made(connection, person_ids)
        refuse_erased(len(set(person_ids)) - len(made))
        return {person: key_of_rows(salt) for person, (salt, _) in made.items()}

    # -- the erased

    def is_erased(self, person_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Who was erased: to be masked like an objector in every matrix, score and list.

        Returns
        -------
        bool (len(person_ids),)
            Always read afresh.
        """
        import numpy as np

        with reading(self._engine) as connection:
            marks = self._marks(connection)
        if not marks:
            return np.zeros(len(person_ids), dtype=bool)
        found = (mark in marks for mark in self._marks_of(person_ids))
        return np.fromiter(found, dtype=bool, count=len(person_ids))

    def erased_question(self) -> tuple[str, Callable[[str], str]]:
        """SQL that is true where a person was erased, with one question mark, and what stands for it."""
        return f"EXISTS (SELECT 1 FROM {TOMBSTONES.name} WHERE mark = ?)", self._mark

    def n_erased(self) -> int:
        """How many people were erased."""
        with reading(self._engine) as connection:
            return int(connection.scalar(select(func.count()).select_from(TOMBSTONES)) or 0)

    def erase(self, person_id: str) -> Erasure:
        """Forget a person: id, salt and everything their rows show; the rows themselves are nobody's from then on.

        What is left is a tombstone, by which the person is masked from now on and erased again from a restored
        backup. Files already handed out are recalled. Erasing twice does no harm.

        Returns
        -------
        Erasure
            What was emptied, which exports to recall, and whether the database's free space is clear already.
        """
        mark, at = self._mark(person_id), now_text()
        if self._file is not None:
            self._file.add([mark])  # first: a process killed after this line is finished at the next opening
        with writing(self._engine, alone=True) as connection:
            found = self._found(connection, [person_id])
            ref = found[person_id][1] if found else None
            counts, exports = forget(connection, ref, person_id, at)
            insert_new(connection, TOMBSTONES, [{"mark": mark, "at": at}])
        return Erasure(at, None if ref is None else ref.hex(), counts, exports, self.wipe())

    def tombstone_of(self, person_id: str) -> str:
        """The mark that erasing a person leaves: 64 hexadecimal digits, which only the home's key can make."""
        return self._mark(person_id)

    def wipe(self) -> bool:
        """Clear the database's free space of what was erased, where that is still to do; True when nothing is left.

        SQLite rewrites its whole file for this and lets nobody write meanwhile.
        """
        pending = TOMBSTONES.c.wiped_at.is_(None)
        with reading(self._engine) as connection:
            marks = list(connection.scalars(select(TOMBSTONES.c.mark).where(pending)))
        if not marks:
            return True
        kept = [PEOPLE, *FORGOTTEN_COLUMNS, VIEWS]
        if isinstance(self._engine, Connection) or not clear_free_space(self._engine, kept):
            return False
        with writing(self._engine) as connection:
            for part in in_chunks(marks):
                connection.execute(update(TOMBSTONES).where(TOMBSTONES.c.mark.in_(part)).values(wiped_at=now_text()))
        return True

    def reapply_tombstones(self) -> int:
        """Erase again whom an older copy of the database still knows; returns how many those were.

        Run at every opening. Database and tombstone file each get the tombstones that only the other has.
        """
        kept = self._file.marks() if self._file is not None else frozenset()
        with reading(self._engine) as connection:
            missing = kept - self._marks(connection)
        n_erased = self._erase_again(missing) if missing else 0
        if self._file is not None:
            with reading(self._engine) as connection:
                self._file.add(sorted(self._marks(connection) - kept))
        self.wipe()
        return n_erased

    def _erase_again(self, missing: frozenset[str]) -> int:
        at = now_text()
        with writing(self._engine, alone=True) as connection:
            found = [(ref, person) for ref, person in self._everybody(connection) if self._mark(person) in missing]
            for ref, person in found:
                forget(connection, ref, person, at)
            insert_new(connection, TOMBSTONES, [{"mark": mark, "at": at} for mark in sorted(missing)])
        return len(found)

    # -- inside a transaction

    def _made(self, connection: Connection, person_ids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
        """Salt and reference of each person, the erased left out; made where missing."""
        lookups = self._lookups(person_ids)
        found = _known(connection, lookups)
        unknown = {lookup: person for lookup, person in lookups.items() if person not in found}
        if unknown and (marks := self._marks(connection)):
            of_each = zip(unknown.items(), self._marks_of(unknown.values()), strict=True)
            unknown = {lookup: person for (lookup, person), mark in of_each if mark not in marks}
        if not unknown:
            return found
        rows = self._new_rows(unknown)
        columns = [column.name for column in PEOPLE.columns]
        if connection.dialect.name == "sqlite":
            _add_in_one_go(connection, columns, rows)
            return found | {unknown[lookup]: (salt, ref) for lookup, salt, _, ref in rows}
        _add_beside_others(connection, columns, rows)
        return found | _known(connection, unknown)

    def _new_rows(self, unknown: Mapping[bytes, str]) -> list[tuple[bytes, bytes, bytes, bytes]]:
        """Rows of the table of people, in its order."""
        random, seal, digest, rows = os.urandom(_SALT_BYTES * len(unknown)), self._seal.encrypt, hmac.digest, []
        for i, lookup in enumerate(sorted(unknown)):
            name, salt = unknown[lookup].encode("utf-8"), random[i * _SALT_BYTES : (i + 1) * _SALT_BYTES]
            # The salt is drawn once for this one message, so it serves as its nonce.
            rows.append((lookup, salt, seal(salt[:_NONCE_BYTES], name, None), digest(salt, name, "sha256")))
        return rows

    def _found(self, connection: Connection, person_ids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
        """Salt and reference of those who have one."""
        return _known(connection, self._lookups(person_ids))

    def _named(self, connection: Connection, refs: Any) -> dict[bytes, str]:
        """Reference → person id of those who are still known."""
        wanted = dict.fromkeys(refs)
        return {
            ref: self._unseal(salt, sealed)
            for ref, salt, sealed in _people_rows(connection, ("person_ref", "salt", "sealed"), wanted)
        }

    def _everybody(self, connection: Connection) -> Iterator[tuple[bytes, str]]:
        for ref, salt, sealed in connection.execute(select(PEOPLE.c.person_ref, PEOPLE.c.salt, PEOPLE.c.sealed)):
            yield ref, self._unseal(salt, sealed)

    def _unseal(self, salt: bytes, sealed: bytes) -> str:
        from cryptography.exceptions import InvalidTag

        try:
            return self._seal.decrypt(salt[:_NONCE_BYTES], sealed, None).decode("utf-8")
        except (InvalidTag, ValueError):
            wrong = "holds a row that was not written by this store"
            raise NotTrusted(Fault("store_people", wrong, "Restore the database from the backup")) from None

    def _marks(self, connection: Connection) -> frozenset[str]:
        return frozenset(connection.scalars(select(TOMBSTONES.c.mark)))

    def _lookups(self, person_ids: Sequence[str]) -> dict[bytes, str]:
        """Key of the table of people → person."""
        keys = self._by_person.digests(person.encode("utf-8") for person in person_ids)
        return dict(zip(keys, person_ids, strict=True))

    def _mark(self, person_id: str) -> str:
        return self._by_tombstone.digest(person_id.encode("utf-8")).hex()

    def _marks_of(self, person_ids: Iterable[str]) -> Iterator[str]:
        return (mark.hex() for mark in self._by_tombstone.digests(person.encode("utf-8") for person in person_ids))

    def summary(self) -> dict[str, int]:
        """Rows by table, its name without ``store_``."""
        with reading(self._engine) as connection:
            return {
                table.name.removeprefix("store_"): int(connection.scalar(select(func.count()).select_from(table)) or 0)
                for table in METADATA.sorted_tables
                if table.name != "store_keys"
            }


def key_of_rows(salt: bytes) -> bytes:
    """The key of a person's row hashes."""
    return hmac.digest(salt, b"ennakko: row hashes", "sha256")


def refuse_erased(n_erased: int) -> None:
    """Refuse what names people who were erased meanwhile."""
    if n_erased:
        wrong = f"names {n_erased} {'person who was' if n_erased == 1 else 'people who were'} erased meanwhile"
        raise NotTrusted(Fault("list", wrong, "Make the list again"))


def _known(connection: Connection, lookups: Mapping[bytes, str]) -> dict[str, tuple[bytes, bytes]]:
    rows = _people_rows(connection, ("lookup", "salt", "person_ref"), lookups)
    return {lookups[lookup]: (salt, ref) for lookup, salt, ref in rows}


def _people_rows(connection: Connection, columns: Sequence[str], wanted: Mapping[bytes, Any]) -> Iterator[Any]:
    """Columns of the people whose first column is wanted."""
    query = select(*(PEOPLE.c[name] for name in columns))
    if len(wanted) < _READ_ALL_FROM:
        for part in in_chunks(list(wanted)):
            yield from connection.execute(query.where(PEOPLE.c[columns[0]].in_(part)))
        return
    cursor = connection.connection.cursor()  # rows as they come: the driver's are half the price
    try:
        cursor.execute(str(query))
        while rows := cursor.fetchmany(_READ_ALL_FROM):
            yield from (row for row in rows if row[0] in wanted)
    finally:
        cursor.close()


def _add_in_one_go(connection: Connection, columns: list[str], rows: list[Any]) -> None:
    """New people in SQLite. References come in no order, so the index of most of a table is made at once, at the end.

    Whoever reads meanwhile has the index: both steps are part of the transaction.
    """
    by_ref = next(iter(PEOPLE.indexes))
    makes_most = len(rows) >= _READ_ALL_FROM and len(rows) > (connection.scalar(_COUNT) or 0)
    if makes_most:
        by_ref.drop(connection)
    add_many(connection, PEOPLE, columns, rows)
    if makes_most:
        by_ref.create(connection)


def _add_beside_others(connection: Connection, columns: list[str], rows: list[Any]) -> None:
    """New people in PostgreSQL, where another writer may add the same at this moment: the first one's salt stands."""
    names = ", ".join(columns)
    connection.execute(text(f"CREATE TEMPORARY TABLE new_people (LIKE {PEOPLE.name}) ON COMMIT DROP"))
    add_many(connection, Table("new_people", MetaData()), columns, rows)
    connection.execute(
        text(
            f"INSERT INTO {PEOPLE.name} ({names}) SELECT {names} FROM new_people ORDER BY lookup ON CONFLICT DO NOTHING"
        )
    )
    connection.execute(text("DROP TABLE new_people"))
