"""Who has objected to what, since when: the one answer every room asks for before it forms a matrix, score or list."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, delete, func, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from ethics.refusals import BadInput, Fault, NotTrusted
from ethics.tables import make_tables

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

EVERY_NEED = "*"
MIN_KEY_BYTES = 16
_METADATA = MetaData()
_OBJECTIONS = Table(
    "objections",
    _METADATA,
    Column("person_hmac", String(64), primary_key=True),
    Column("need_id", String(200), primary_key=True),
    Column("since", String(40), nullable=False),
)
_KEY_CHECK = Table(
    "objection_key",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("check_value", String(64), nullable=False),
)
_CHECKED = b"ennakko: the key of this objection register"


class ObjectionRegister:
    """The residents who said no, by keyed hash: the table alone names nobody.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Where the table ``objections`` lives; it is made when missing.
    key : bytes
        The home's objection key, at least 16 bytes. The same person hashes alike only under the same key, so the
        register keeps a check value of the key it was begun with.
    erased : callable, optional
        Person ids → whether each was erased. The erased are masked as objectors to every need are.

    Raises
    ------
    NotTrusted
        The register was begun with another key: every objector would be listed unnoticed.

    Examples
    --------
    >>> from sqlalchemy import create_engine
    >>> register = ObjectionRegister(create_engine("sqlite://"), b"sixteen bytes ok")
    >>> register.object("000123", "youth_exclusion")
    >>> register.objecting(["000122", "000123"], "youth_exclusion").tolist()
    [False, True]
    """

    def __init__(
        self, engine: Engine, key: bytes, erased: Callable[[Sequence[str]], npt.NDArray[np.bool_]] | None = None
    ) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise BadInput(
                Fault(
                    "objection key",
                    f"is {len(key)} bytes long, so its hashes could be guessed",
                    f"Give at least {MIN_KEY_BYTES} random bytes",
                )
            )
        self._engine = engine
        self._key = bytes(key)
        self._erased = erased
        make_tables(engine, _METADATA)
        self._check_key()

    @staticmethod
    def is_begun(engine: Engine) -> bool:
        """Whether the database holds a register that was begun with some key."""
        if not inspect(engine).has_table(_KEY_CHECK.name):
            return False
        with engine.connect() as connection:
            return connection.scalar(select(_KEY_CHECK.c.check_value)) is not None

    def object(self, person_id: str, need_id: str = EVERY_NEED, since: str | None = None) -> None:
        """Record an objection to one need, or to every need (``"*"``); recording it twice keeps the first moment."""
        row = {
            "person_hmac": self._hmac(person_id),
            "need_id": need_id,
            "since": since or datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._engine.begin() as connection:
            if connection.execute(select(_OBJECTIONS.c.since).where(*self._one(person_id, need_id))).first() is None:
                connection.execute(insert(_OBJECTIONS).values(row))

    def withdraw(self, person_id: str, need_id: str = EVERY_NEED) -> bool:
        """Forget an objection, as the resident asks; False when there was none."""
        with self._engine.begin() as connection:
            return bool(connection.execute(delete(_OBJECTIONS).where(*self._one(person_id, need_id))).rowcount)

    def objecting(self, person_ids: Sequence[str], need_id: str) -> npt.NDArray[np.bool_]:
        """Which of these persons object to this need, or to every need, or were erased.

        Returns
        -------
        bool (len(person_ids),)
            Always read afresh: an objection between scoring and listing is honoured.
        """
        import numpy as np

        wanted = select(_OBJECTIONS.c.person_hmac).where(_OBJECTIONS.c.need_id.in_([EVERY_NEED, need_id]))
        with self._engine.connect().execution_options(reads_only=True) as connection:
            objectors = set(connection.scalars(wanted))
        masked = np.zeros(len(person_ids), dtype=bool)
        if objectors:
            found = (self._hmac(person_id) in objectors for person_id in person_ids)
            masked = np.fromiter(found, dtype=bool, count=len(person_ids))
        return masked if self._erased is None else masked | self._erased(person_ids)

    def question(self) -> tuple[str, Callable[[str, str], tuple[str, ...]]]:
        """How a connection to the register's database is asked about one person, at a price a service can pay.

        Returns
        -------
        sql : str
            An expression with three question marks that is true where the person objects to this need or to every
            need; the erased apart.
        parameters : callable
            ``(person_id, need_id)`` → what stands for the question marks.
        """
        sql = "EXISTS (SELECT 1 FROM objections WHERE person_hmac = ? AND need_id IN (?, ?))"
        return sql, lambda person_id, need_id: (self._hmac(person_id), EVERY_NEED, need_id)

    def count(self) -> int:
        """Number of objections on record (one person may have several)."""
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(_OBJECTIONS)) or 0)

    def _check_key(self) -> None:
        """Compare the key with the one the register was begun with; an empty register is begun with this one."""
        own = hmac.digest(self._key, _CHECKED, "sha256").hex()
        begun_with = self._begun_with()
        if begun_with is None and self.count():
            wrong = "hold objections, and no check value of the key that reads them"
            raise NotTrusted(Fault("objections", wrong, "Restore the database from the backup"))
        if begun_with is None:
            with contextlib.suppress(IntegrityError), self._engine.begin() as connection:
                connection.execute(insert(_KEY_CHECK).values(number=1, check_value=own))
            begun_with = self._begun_with()  # another process may have been first
        if not hmac.compare_digest(own, str(begun_with)):
            wrong = "is not the key this register was begun with, so every objector would be listed"
            raise NotTrusted(Fault("objection key", wrong, "Restore secrets/objections.key from the backup"))

    def _begun_with(self) -> str | None:
        with self._engine.connect() as connection:
            return connection.scalar(select(_KEY_CHECK.c.check_value))

    def _hmac(self, person_id: str) -> str:
        return hmac.digest(self._key, person_id.encode("utf-8"), "sha256").hex()

    def _one(self, person_id: str, need_id: str) -> tuple[Any, Any]:
        return _OBJECTIONS.c.person_hmac == self._hmac(person_id), _OBJECTIONS.c.need_id == need_id
