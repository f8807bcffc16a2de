"""Who has objected to what, since when: the one answer every room asks for before it forms a matrix, score or list."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Engine, MetaData, String, Table, delete, func, insert, select

from ethics.refusals import BadInput, Fault

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


class ObjectionRegister:
    """The residents who said no, by keyed hash: the table alone names nobody.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Where the table ``objections`` lives; it is made when missing.
    key : bytes
        The home's objection key, at least 16 bytes. The same person hashes alike only under the same key.

    Examples
    --------
    >>> from sqlalchemy import create_engine
    >>> register = ObjectionRegister(create_engine("sqlite://"), b"sixteen bytes ok")
    >>> register.object("000123", "youth_exclusion")
    >>> register.objecting(["000122", "000123"], "youth_exclusion").tolist()
    [False, True]
    """

    def __init__(self, engine: Engine, key: bytes) -> None:
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
        _METADATA.create_all(engine)

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
        """Which of these persons object to this need, or to every need.

        Returns
        -------
        bool (len(person_ids),)
            Always read afresh: an objection between scoring and listing is honoured.
        """
        import numpy as np

        wanted = select(_OBJECTIONS.c.person_hmac).where(_OBJECTIONS.c.need_id.in_([EVERY_NEED, need_id]))
        with self._engine.connect() as connection:
            objectors = set(connection.scalars(wanted))
        if not objectors:
            return np.zeros(len(person_ids), dtype=bool)
        found = (self._hmac(person_id) in objectors for person_id in person_ids)
        return np.fromiter(found, dtype=bool, count=len(person_ids))

    def count(self) -> int:
        """Number of objections on record (one person may have several)."""
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(_OBJECTIONS)) or 0)

    def _hmac(self, person_id: str) -> str:
        return hmac.digest(self._key, person_id.encode("utf-8"), "sha256").hex()

    def _one(self, person_id: str, need_id: str) -> tuple[Any, Any]:
        return _OBJECTIONS.c.person_hmac == self._hmac(person_id), _OBJECTIONS.c.need_id == need_id
