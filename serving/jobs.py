"""Whole-cohort jobs at work: one at a time in a home, by a thread of whichever worker is free.

Who holds the lock of ``jobs.lock`` runs jobs; the lock ends with its process. So a job that says "running" while nobody
holds the lock was cut short, and is begun again. The scores are those of ``ennakko score``, made by the same calls, in
a file beside its files: erasure and retention reach it there.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import polars as pl

from ethics.refusals import Fault, NotTrusted, Refusal
from serving.job_table import Job, JobTable

if TYPE_CHECKING:
    from scoring.scorer import Scorer, Scores
    from serving.desk import ScoreDesk
    from serving.home import Home

KEPT_DAYS = 7
"""How long a job and its file are kept; less where the policy lets scores lie less long."""
_LOG = logging.getLogger("ennakko.service")
_LOCK = "jobs.lock"
_LOOK_SECONDS = 2.0
_SWEEP_SECONDS = 3600.0
_CLOSE_SECONDS = 10.0
_SCORED, _JUDGED, _STORED = 0.8, 0.85, 0.95
"""How far a job is, once everybody is scored, the gate has let the scores pass, and the store holds them."""


class _Forgotten(Exception):
    """Somebody has cancelled the job."""


class _Stopped(Exception):
    """The service stops."""


class _Replaced(Exception):
    """Another model, or verdict, has taken over while the scores were made."""


class Jobs:
    """The jobs of one home, as one worker sees and runs them.

    Parameters
    ----------
    home : Home
    desk : ScoreDesk
        Its city, and the champions that score.
    """

    def __init__(self, home: Home, desk: ScoreDesk) -> None:
        self.table = JobTable(home.engine)
        self._home, self._desk = home, desk
        self._wake, self._stopping = Event(), Event()
        self._thread: Thread | None = None
        self._sweep_due = datetime.now(UTC)

    def start(self) -> None:
        """Run jobs in a thread, those first that an earlier service left."""
        self._thread = Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def close(self) -> None:
        """Begin no more; a job under way is put back, or cut short if that takes too long."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    # ---- results ---------------------------------------------------------------------------------------------------

    def path_of(self, job: Job) -> Path:
        """Where a job's scores lie, once it is done."""
        return self._home.scores / job.need_id / f"job-{job.job_id}.parquet"

    def holds(self, job: Job) -> bool:
        """Whether what was scored would be scored alike today: same model and verdict, nobody masked or unmasked."""
        scorer, masking = self._desk.guarded[job.need_id].scorer, self.masking()
        return (
            (job.model_digest, job.verdict_id, job.masking) == (*_rests_on(scorer), masking)
            and self.path_of(job).is_file()
        )  # fmt: skip

    def scores_of(self, job: Job) -> pl.DataFrame | None:
        """The scores as they may be read now: without those who object or were erased by now; None: no longer kept.

        Returns
        -------
        polars.DataFrame
            ``person_id``, ``score``, ``rank``, ``rank_band``, first rank first.
        """
        try:
            found = pl.read_parquet(self.path_of(job), columns=["person_id", "score", "rank", "rank_band"])
        except FileNotFoundError:
            return None
        masked = self._home.objections.objecting(found["person_id"].to_list(), job.need_id)
        return found.filter(~pl.Series(masked))

    def forget(self, job: Job) -> None:
        """Cancel a job, or forget what it came to."""
        self.table.forget(job.job_id)
        self.path_of(job).unlink(missing_ok=True)

    def masking(self) -> str:
        """What is another whenever somebody objects, withdraws or is erased."""
        return repr((*self._home.objections.version(), self._home.n_erased()))

    def sweep(self, now: datetime) -> int:
        """Forget jobs that ended too long ago; returns how many."""
        days = min(KEPT_DAYS, self._home.policy.retention.scores_days)
        old = self.table.ended_before(now - timedelta(days=days))
        for job in old:
            self.forget(job)
        if old:
            self._home.audit_log.append("jobs swept", "service", n=len(old))
        return len(old)

    # ---- at work ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self.table.is_idle():
                    self.run_all()
                if (now := datetime.now(UTC)) >= self._sweep_due:
                    self._sweep_due = now + timedelta(seconds=_SWEEP_SECONDS)
                    self.sweep(now)
            except Exception as error:  # the database is away, for one: it is asked again
                _LOG.error("%s while looking for jobs", type(error).__name__)
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()

    def run_all(self) -> None:
        """Run job after job, unless another worker does."""
        with _alone(self._home.root / _LOCK) as is_mine:
            while is_mine and not self._stopping.is_set() and (job := self.table.begin_next()) is not None:
                self._run(job)

    def _run(self, job: Job) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._score(job)
        except _Forgotten:
            self.path_of(job).unlink(missing_ok=True)
        except (_Stopped, _Replaced):
            self.path_of(job).unlink(missing_ok=True)
            self.table.put_back(job.job_id)
        except Refusal as refusal:
            self.path_of(job).unlink(missing_ok=True)
            self.table.fail(job.job_id, refusal.faults)
        except (SQLAlchemyError, OSError):  # begun again when database and disk are there
            raise
        except Exception as error:
            _LOG.error("%s in a job", type(error).__name__)
            self.path_of(job).unlink(missing_ok=True)
            mend = "See the service's log; ask for it again when it is mended"
            self.table.fail(job.job_id, [Fault("job", "ended by a fault of the service", mend)])

    def _score(self, job: Job) -> None:
        """Score the cohort, let the gate judge, keep the scores: what ``ennakko score`` does, told step by step."""
        from serving.flows import ask_about_scores

        def told(doing: str, progress: float) -> None:
            if self._stopping.is_set():
                raise _Stopped
            if not self.table.tell(job.job_id, doing, progress):
                raise _Forgotten

        scorer, masking = self._trusted(job), self.masking()
        told("scoring", 0.0)
        city, day, objections = self._desk.city, job.as_of_date, self._home.objections
        scores = scorer.score(
            city, day, objections, scratch=self._home.root, told=lambda share: told("scoring", _SCORED * share)
        )
        scores = self._without_masked(scores)
        told("asking the gate", _SCORED)
        ask_about_scores(self._home, scorer, scores)
        told("keeping", _JUDGED)
        self._home.store.add_scores(scores)  # so that a resident can be told
        told("keeping", _STORED)
        with self._home.in_use():  # an erasure ends before the file is written, or sees it
            scores = self._without_masked(scores)
            scores.write(self.path_of(job))
        if _rests_on(self._trusted(job)) != _rests_on(scorer):
            raise _Replaced
        facts: dict[str, str | int] = {
            "need": job.need_id,
            "verdict": scores.verdict_id,
            "n": len(scores),
            "job": job.job_id,
        }
        self._home.audit_log.append("score", "service", **facts)
        model_digest, verdict_id = _rests_on(scorer)
        rests_on = {"model_digest": model_digest, "verdict_id": verdict_id, "masking": masking}
        if not self.table.end(job.job_id, n=len(scores), **rests_on):
            raise _Forgotten

    def _trusted(self, job: Job) -> Scorer:
        """The need's scorer, if scores may leave now; raises Refusal."""
        guarded = self._desk.guarded.get(job.need_id)
        if guarded is None:
            raise NotTrusted(Fault("need", "is no longer one that this server answers for", "Ask a server that does"))
        return guarded.still_trusted(datetime.now(UTC))

    def _without_masked(self, scores: Scores) -> Scores:
        """Without those who have objected, or were erased, since they were scored."""
        masked = self._home.objections.objecting(scores.frame["person_id"].to_list(), scores.need_id)
        if not masked.any():
            return scores
        n_more = int(masked.sum())
        return replace(scores, frame=scores.frame.filter(~pl.Series(masked)), n_objectors=scores.n_objectors + n_more)


def _rests_on(scorer: Scorer) -> tuple[str, str]:
    return str(scorer.model.digest), scorer.verified.verdict.verdict_id


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether this is the one who runs jobs, as long as it lasts; whoever is not does not wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)
