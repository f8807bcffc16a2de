"""Who has objected to what, since when: the one answer every room asks for before it forms a matrix, score or list."""

from __future__ import annotations

import contextlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, delete, func, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from ethics.keyed_hashing import KeyedHash
from ethics.refusals import BadInput, Fault, NotTrusted, did_you_mean
from ethics.tables import make_tables

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sqlalchemy import Connection

EVERY_NEED = "*"
WHOLE_USE = "*"
"""Stands for a channel where somebody objects to the use itself, not to a way of being contacted."""
CHANNELS = ("digital", "phone", "letter", "visit")
"""By which a person can be contacted; each may be objected to by itself."""
CAPACITIES = ("resident", "service_point")
"""Who brings an objection in: the resident alone, or a service point for the resident."""
MIN_KEY_BYTES = 16
_METADATA = MetaData()
_OBJECTIONS = Table(
    "objections",
    _METADATA,
    Column("person_hmac", String(64), primary_key=True),
    Column("need_id", String(200), primary_key=True),
    Column("since", String(40), nullable=False),
)
_CHANNELS = Table(
    "channel_objections",
    _METADATA,
    Column("person_hmac", String(64), primary_key=True),
    Column("need_id", String(200), primary_key=True),
    Column("channel", String(20), primary_key=True),
    Column("since", String(40), nullable=False),
)
_ACTS = Table(
    "objection_acts",
    _METADATA,
    Column("number", Integer, primary_key=True),
    Column("person_hmac", String(64), nullable=False),
    Column("need_id", String(200), nullable=False),
    Column("channel", String(20), nullable=False),
    Column("act", String(20), nullable=False),
    Column("by", String(40), nullable=False),
    Column("at", String(40), nullable=False),
)
_KEY_CHECK = Table(
    "objection_key",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("check_value", String(64), nullable=False),
)
_CHECKED = b"ennakko: the key of this objection register"


class Objection(NamedTuple):
    """An objection that stands: to a need (``"*"``: every need), as a whole or by one channel (None: as a whole)."""

    need_id: str
    channel: str | None
    since: str


class ObjectionAct(NamedTuple):
    """One line of a person's history: ``act`` is "object" or "withdraw"; ``by`` in what capacity ("": not recorded)."""

    at: str
    act: str
    need_id: str
    channel: str | None
    by: str


class ObjectionRegister:
    """The residents who said no, by keyed hash: the table alone names nobody.

    What stands is kept in ``objections`` and ``channel_objections``; every act that changed it is added to
    ``objection_acts`` in the same transaction, and nothing is ever taken from there.

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
    True
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
        self._hash = KeyedHash(self._key)
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

    def object(
        self,
        person_id: str,
        need_id: str = EVERY_NEED,
        since: str | None = None,
        *,
        channel: str | None = None,
        by: str = "resident",
    ) -> bool:
        """Record an objection to one need, or to every need (``"*"``); recording it twice keeps the first moment.

        Parameters
        ----------
        person_id, need_id : str
        since : str, optional
            When it was made, ISO 8601; now.
        channel : str, optional
            Of ``CHANNELS``: the person may then be listed, and is not contacted in this way.
        by : {"resident", "service_point"}
            In what capacity it is brought in.

        Returns
        -------
        bool
            False when it stood already.

        Raises
        ------
        BadInput
            The channel or the capacity is none.
        """
        _refuse_unknown(channel, by)
        at = since or _now()
        table, row = self._row(person_id, need_id, channel)
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(table).values(**row, since=at))
                connection.execute(insert(_ACTS).values(**_act(row, "object", by, at)))
        except IntegrityError:  # it stood already, or another process was first: the first moment is kept
            return False
        return True

    def withdraw(
        self, person_id: str, need_id: str = EVERY_NEED, *, channel: str | None = None, by: str = "resident"
    ) -> bool:
        """Take an objection back, as the resident asks; False when that very objection did not stand."""
        _refuse_unknown(channel, by)
        table, row = self._row(person_id, need_id, channel)
        with self._engine.begin() as connection:
            stood = delete(table).where(*(table.c[name] == value for name, value in row.items()))
            if not connection.execute(stood).rowcount:
                return False
            connection.execute(insert(_ACTS).values(**_act(row, "withdraw", by, _now())))
        return True

    def objecting(self, person_ids: Sequence[str], need_id: str) -> npt.NDArray[np.bool_]:
        """Which of these persons object to this need, or to every need, or were erased.

        Whoever has taken every channel away cannot be contacted, and is masked as objectors are.

        Returns
        -------
        bool (len(person_ids),)
            Always read afresh: an objection between scoring and listing is honoured.
        """
        import numpy as np

        wanted = select(_OBJECTIONS.c.person_hmac).where(_OBJECTIONS.c.need_id.in_([EVERY_NEED, need_id]))
        with self._reading() as connection:
            objectors = set(connection.scalars(wanted))
            refused = _refused(connection, need_id)
        objectors |= {who for who, channels in refused.items() if channels.issuperset(CHANNELS)}
        masked = np.zeros(len(person_ids), dtype=bool)
        if objectors:
            marks = self._hash.digests(person_id.encode("utf-8") for person_id in person_ids)
            found = (mark.hex() in objectors for mark in marks)
            masked = np.fromiter(found, dtype=bool, count=len(person_ids))
        return masked if self._erased is None else masked | self._erased(person_ids)

    def refused_channels(self, person_ids: Iterable[str], need_id: str) -> dict[str, tuple[str, ...]]:
        """The channels by which each person is not to be contacted for a need; who refuses none is left out.

        Returns
        -------
        dict of str to tuple of str
            In the order of ``CHANNELS``.
        """
        with self._reading() as connection:
            refused = _refused(connection, need_id)
        if not refused:
            return {}
        found = {person_id: refused.get(self._hmac(person_id), frozenset()) for person_id in person_ids}
        return {person: tuple(c for c in CHANNELS if c in channels) for person, channels in found.items() if channels}

    def standing(self, person_id: str) -> tuple[Objection, ...]:
        """The person's objections that stand, oldest first."""
        own = self._hmac(person_id)
        whole = select(_OBJECTIONS.c.need_id, _OBJECTIONS.c.since).where(_OBJECTIONS.c.person_hmac == own)
        by_channel = select(_CHANNELS.c.need_id, _CHANNELS.c.channel, _CHANNELS.c.since)
        with self._reading() as connection:
            found = [Objection(row.need_id, None, row.since) for row in connection.execute(whole)]
            rows = connection.execute(by_channel.where(_CHANNELS.c.person_hmac == own))
            found += [Objection(row.need_id, row.channel, row.since) for row in rows]
        return tuple(sorted(found, key=lambda one: (_moment(one.since), one.need_id, one.channel or "")))

    def history(self, person_id: str) -> tuple[ObjectionAct, ...]:
        """Every objection and withdrawal of a person, oldest first.

        Of an objection that a register of an earlier version holds, only its moment is known.
        """
        own = _ACTS.c.person_hmac == self._hmac(person_id)
        with self._reading() as connection:
            rows = connection.execute(select(_ACTS).where(own).order_by(_ACTS.c.number)).all()
        acts = [ObjectionAct(row.at, row.act, row.need_id, _channel(row.channel), row.by) for row in rows]
        told = {(act.need_id, act.channel) for act in acts if act.act == "object"}
        older = [one for one in self.standing(person_id) if (one.need_id, one.channel) not in told]
        return (*(ObjectionAct(one.since, "object", one.need_id, one.channel, "") for one in older), *acts)

    def erased(self, person_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of these persons were erased: of them not even a cache may keep anything.

        Returns
        -------
        bool (len(person_ids),)
        """
        import numpy as np

        return np.zeros(len(person_ids), dtype=bool) if self._erased is None else self._erased(person_ids)

    def question(self) -> tuple[str, Callable[[str, str], tuple[str, ...]]]:
        """How a connection to the register's database is asked about one person, at a price a service can pay.

        Returns
        -------
        sql : str
            An expression with eight question marks that is true where the person objects to this need or to every need,
            or has taken every channel away, as :meth:`objecting` tells; the erased apart. Of most people nothing is
            written at all, which two looks by key tell.
        parameters : callable
            ``(person_id, need_id)`` → what stands for the question marks.
        """
        who = "person_hmac = ? AND need_id IN (?, ?)"
        channels = ", ".join(f"'{channel}'" for channel in CHANNELS)
        refused = f"SELECT COUNT(DISTINCT channel) FROM {_CHANNELS.name} WHERE {who} AND channel IN ({channels})"
        objects = f"(EXISTS (SELECT 1 FROM {_OBJECTIONS.name} WHERE {who}) OR ({refused}) = {len(CHANNELS)})"
        known = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table.name} WHERE person_hmac = ?)" for table in (_OBJECTIONS, _CHANNELS)
        )
        sql = f"CASE WHEN {known} THEN {objects} ELSE FALSE END"

        def parameters(person_id: str, need_id: str) -> tuple[str, ...]:
            mark = self._hmac(person_id)
            return mark, mark, *(mark, EVERY_NEED, need_id) * 2

        return sql, parameters

    def count(self) -> int:
        """Number of objections to a use on record (one person may have several)."""
        with self._reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(_OBJECTIONS)) or 0)

    def version(self) -> tuple[int, int]:
        """What changes whenever somebody objects or withdraws: the last act's number, and how many objections stand."""
        with self._reading() as connection:
            last = int(connection.scalar(select(func.max(_ACTS.c.number))) or 0)
            return last, int(connection.scalar(select(func.count()).select_from(_OBJECTIONS)) or 0)

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(reads_only=True)

    def _row(self, person_id: str, need_id: str, channel: str | None) -> tuple[Table, dict[str, str]]:
        """The table of an objection, and its key there."""
        row = {"person_hmac": self._hmac(person_id), "need_id": need_id}
        return (_OBJECTIONS, row) if channel is None else (_CHANNELS, {**row, "channel": channel})

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
        return self._hash.digest(person_id.encode("utf-8")).hex()


def _refused(connection: Connection, need_id: str) -> dict[str, frozenset[str]]:
    """Keyed hash → channels refused for a need or for every need."""
    of = select(_CHANNELS.c.person_hmac, _CHANNELS.c.channel).where(_CHANNELS.c.need_id.in_([EVERY_NEED, need_id]))
    found = defaultdict(set)
    for who, channel in connection.execute(of):
        found[who].add(channel)
    return {who: frozenset(channels) for who, channels in found.items()}


def _refuse_unknown(channel: str | None, by: str) -> None:
    faults = []
    if channel is not None and channel not in CHANNELS:
        faults.append(Fault("channel", f"'{channel}' is none", did_you_mean(channel, CHANNELS)))
    if by not in CAPACITIES:
        faults.append(Fault("by", f"'{by}' is no capacity", did_you_mean(by, CAPACITIES)))
    if faults:
        raise BadInput(*faults)


def _act(row: dict[str, str], act: str, by: str, at: str) -> dict[str, str]:
    return {"channel": WHOLE_USE, **row, "act": act, "by": by, "at": at}


def _channel(kept: str) -> str | None:
    return None if kept == WHOLE_USE else kept


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
