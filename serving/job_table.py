"""Whole-cohort jobs as rows of the database, so that every worker can answer, and none is lost with its process.

A row names no person: who asked is a keyed hash, and the scores lie in a file of the home.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from ethics.refusals import Fault
from scoring.store_frames import now_text
from scoring.store_opening import Schema, migrate, reading, writing

WAITING, RUNNING, DONE, FAILED = STATES = ("waiting", "running", "done", "failed")
MOST_TRIES = 3
"""How often a job is begun: one that ends its process each time is not begun for ever."""
MOST_UNFINISHED, MOST_OF_ONE = 16, 4
"""Jobs that wait or run: of all, and of one who asks."""

_JOBS = Table(
    "score_jobs",
    MetaData(),
    Column("job_id", String(32), primary_key=True),
    Column("need_id", String(200), nullable=False),
    Column("as_of_date", String(10), nullable=False),
    Column("asked_by", String(64), nullable=False),
    Column("asked_at", String(40), nullable=False),
    Column("state", String(10), nullable=False),
    Column("doing", String(40), nullable=False),
    Column("progress", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("n", Integer),
    Column("faults", Text),
    Column("model_digest", String(64)),
    Column("verdict_id", String(100)),
    Column("masking", String(200)),
    Column("ended_at", String(40)),
    Index("score_jobs_by_state", "state", "asked_at"),
)
SCHEMA = Schema("the table of jobs", Path(__file__).parent / "job_migrations", "0001", "score_jobs_version")
_ASKING_LOCK = 0x656E6E6A6F6273  # "ennjobs"; any number that no other program in the database takes


class TooManyJobs(Exception):
    """No further job is taken: ``of_one`` says whether whoever asks has too many, or all together have."""

    def __init__(self, *, of_one: bool) -> None:
        super().__init__("too many jobs")
        self.of_one = of_one


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes
    ----------
    job_id, need_id : str
    as_of_date : date
    asked_by : str
        Keyed hash of whoever asked, and of what they may.
    asked_at, ended_at : datetime; the latter None while it waits or runs
    state : {"waiting", "running", "done", "failed"}
    doing : str
        In a word, for whoever waits.
    progress : float
        0 to 1.
    tries : int
        How often it was begun.
    n : int or None
        People scored.
    faults : tuple of Fault
        Of a failed one.
    model_digest, verdict_id : str or None
        What its scores rest on.
    masking : str or None
        The state of all objections and erasures when it was begun.
    """

    job_id: str
    need_id: str
    as_of_date: date
    asked_by: str
    asked_at: datetime
    state: str
    doing: str
    progress: float
    tries: int
    n: int | None
    faults: tuple[Fault, ...]
    model_digest: str | None
    verdict_id: str | None
    masking: str | None
    ended_at: datetime | None

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (WAITING, RUNNING)


class JobTable:
    """The jobs of one database; the table is made, or brought up to date, under a lock.

    Parameters
    ----------
    engine : sqlalchemy.Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        migrate(engine, SCHEMA)

    def ask(self, need_id: str, as_of_date: date, asked_by: str, holds: Callable[[Job], bool]) -> tuple[Job, bool]:
        """The job of somebody about a day, and whether it is new: one that waits, runs, or still holds is given again.

        Raises
        ------
        TooManyJobs
        """
        with _one_asker(self._engine) as connection:
            same = (
                _JOBS.c.asked_by == asked_by,
                _JOBS.c.need_id == need_id,
                _JOBS.c.as_of_date == as_of_date.isoformat(),
                _JOBS.c.state != FAILED,
            )
            for row in connection.execute(select(_JOBS).where(*same).order_by(_JOBS.c.asked_at.desc())):
                job = _job_of(row)
                if job.is_unfinished or holds(job):
                    return job, False
            waiting = connection.execute(
                select(_JOBS.c.asked_by, func.count())
                .where(_JOBS.c.state.in_((WAITING, RUNNING)))
                .group_by(_JOBS.c.asked_by)
            ).all()
            by_asker: dict[str, int] = {row[0]: row[1] for row in waiting}
            if by_asker.get(asked_by, 0) >= MOST_OF_ONE:
                raise TooManyJobs(of_one=True)
            if sum(by_asker.values()) >= MOST_UNFINISHED:
                raise TooManyJobs(of_one=False)
            job_id = secrets.token_hex(16)
            row_of_it = {"job_id": job_id, "need_id": need_id, "as_of_date": as_of_date.isoformat()}
            row_of_it |= {"asked_by": asked_by, "asked_at": now_text(), "state": WAITING, "doing": "waiting"}
            connection.execute(insert(_JOBS).values({**row_of_it, "progress": 0.0, "tries": 0}))
            return _job_of(connection.execute(select(_JOBS).where(_JOBS.c.job_id == job_id)).one()), True

    def find(self, job_id: str) -> Job | None:
        """A job by its id."""
        with reading(self._engine) as connection:
            row = connection.execute(select(_JOBS).where(_JOBS.c.job_id == job_id)).first()
        return None if row is None else _job_of(row)

    def is_idle(self) -> bool:
        """Whether no job waits or was cut short."""
        with reading(self._engine) as connection:
            found = select(_JOBS.c.job_id).where(_JOBS.c.state.in_((WAITING, RUNNING))).limit(1)
            return connection.execute(found).first() is None

    def begin_next(self) -> Job | None:
        """Begin the next job: one that was cut short with its process, before those that wait; oldest first.

        For whoever alone runs jobs of the home. One that was begun too often has failed.
        """
        for state in (RUNNING, WAITING):
            with writing(self._engine) as connection:
                query = select(_JOBS).where(_JOBS.c.state == state).order_by(_JOBS.c.asked_at, _JOBS.c.job_id)
                for row in connection.execute(query).all():
                    this = _JOBS.c.job_id == row.job_id
                    if row.tries >= MOST_TRIES:
                        fault = Fault(
                            "job", f"was cut short {row.tries} times", "Ask for it again when nothing stops it"
                        )
                        connection.execute(update(_JOBS).where(this).values(_failed([fault])))
                        continue
                    begun = {"state": RUNNING, "doing": "beginning", "progress": 0.0, "tries": row.tries + 1}
                    connection.execute(update(_JOBS).where(this).values(begun))
                    return _job_of(connection.execute(select(_JOBS).where(this)).one())
        return None

    def tell(self, job_id: str, doing: str, progress: float) -> bool:
        """Say how far a running job is; False when it was forgotten meanwhile."""
        return self._change(job_id, {"doing": doing, "progress": progress})

    def put_back(self, job_id: str) -> None:
        """Have a job wait again that was stopped in good order: with the service, or since its model was replaced."""
        row: dict[str, Any] = {"state": WAITING, "doing": "waiting", "progress": 0.0, "tries": _JOBS.c.tries - 1}
        self._change(job_id, row)

    def end(self, job_id: str, *, n: int, model_digest: str, verdict_id: str, masking: str) -> bool:
        """A job is done; False when it was forgotten meanwhile."""
        rests_on = {"model_digest": model_digest, "verdict_id": verdict_id, "masking": masking}
        said: dict[str, Any] = {"state": DONE, "doing": "done", "progress": 1.0, "n": n, "ended_at": now_text()}
        return self._change(job_id, {**said, **rests_on})

    def fail(self, job_id: str, faults: Sequence[Fault]) -> None:
        """A job cannot be done."""
        self._change(job_id, _failed(faults))

    def forget(self, job_id: str) -> None:
        """Delete a job's row."""
        with writing(self._engine) as connection:
            connection.execute(delete(_JOBS).where(_JOBS.c.job_id == job_id))

    def ended_before(self, moment: datetime) -> list[Job]:
        """Jobs that were done, or failed, before a moment."""
        with reading(self._engine) as connection:
            return [
                _job_of(row) for row in connection.execute(select(_JOBS).where(_JOBS.c.ended_at < now_text(moment)))
            ]

    def _change(self, job_id: str, values: dict[str, Any]) -> bool:
        """Of a job that runs alone."""
        with writing(self._engine) as connection:
            mine = (_JOBS.c.job_id == job_id, _JOBS.c.state == RUNNING)
            return bool(connection.execute(update(_JOBS).where(*mine).values(values)).rowcount)


@contextmanager
def _one_asker(engine: Engine) -> Iterator[Connection]:
    """One who asks at a time, or the same job would be taken twice; in SQLite every writer is alone."""
    with writing(engine) as connection:
        if connection.dialect.name != "sqlite":
            connection.execute(select(func.pg_advisory_xact_lock(_ASKING_LOCK)))
        yield connection


def _failed(faults: Sequence[Fault]) -> dict[str, Any]:
    told = json.dumps([fault.facts() for fault in faults], ensure_ascii=False)
    return {"state": FAILED, "doing": "failed", "faults": told, "ended_at": now_text()}


def _job_of(row: Any) -> Job:
    faults = () if row.faults is None else tuple(Fault(**one) for one in json.loads(row.faults))
    moments = {name: getattr(row, name) for name in ("asked_at", "ended_at")}
    told = {name: None if text is None else datetime.fromisoformat(text) for name, text in moments.items()}
    day = date.fromisoformat(row.as_of_date)
    return Job(**{**row._mapping, **told, "faults": faults, "as_of_date": day})
