"""What a running service holds, shared by every request: the desk, who may ask, limits, log, metrics, audit log."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ethics.refusals import Refusal
from serving.access import Access, Identity
from serving.champions import ChampionWatch
from serving.endpoints import ENDPOINTS
from serving.exchange import RestsOn, Unanswered, no_score_now
from serving.limits import Bodies, Deadlines, Limits, Rates, Room
from serving.openapi import document
from serving.request_log import RequestLog
from serving.service_metrics import ServiceMetrics
from serving.shadows import Shadows

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from serving.audit_queue import AuditQueue
    from serving.desk import ScoreDesk
    from serving.home import Home
    from serving.issuer_watch import IssuerWatch
    from serving.profile_links import ProfileLinks
    from serving.settings import Settings

_LOG = logging.getLogger("ennakko.service")
_ROUND_SECONDS = 1.0
_THREADS, _PROBES = 4, 2
_MARK_DIGITS = 32
_BATCHES_AT_ONCE, _BATCHES_WAITING = 2, 6
_VIEWS_AT_ONCE, _VIEWS_WAITING = 2, 30
_LISTS_AT_ONCE, _LISTS_WAITING = 2, 30
_READS_AT_ONCE, _READS_WAITING = 1, 15


class ServingState:
    """Filled once, before the first request, by :meth:`open`; until then nobody is let in."""

    def __init__(self) -> None:
        self.access = Access()
        self.deadlines = Deadlines()
        self.bodies, self.rates = Bodies(Limits(), self.deadlines), Rates(Limits())
        self.room = Room(_BATCHES_AT_ONCE, _BATCHES_WAITING)
        self.views = Room(_VIEWS_AT_ONCE, _VIEWS_WAITING, "views")
        self.objecting = Room(_VIEWS_AT_ONCE, _VIEWS_WAITING, "objections")
        self.lists = Room(_LISTS_AT_ONCE, _LISTS_WAITING, "lists")
        self.audit_reads = Room(_READS_AT_ONCE, _READS_WAITING, "audit reads")
        self.metrics = ServiceMetrics(ENDPOINTS)
        self.log: RequestLog | None = None
        self.audit: AuditQueue | None = None
        self.openapi = b""
        self.desk: Any = None
        self.settings: Any = None
        self.home: Any = None
        self.jobs: Any = None
        self.gdpr: Any = None
        self.purposes: Any = None
        self.issuer_watch: IssuerWatch | None = None
        self._subject_key = b""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="answer")
        self._probes = ThreadPoolExecutor(_PROBES, thread_name_prefix="probe")

    def open(
        self,
        desk: ScoreDesk,
        settings: Settings,
        home: Home,
        access: Access,
        limits: Limits,
        gdpr: Starlette | None = None,
    ) -> None:
        """Take in what answers; the threads of log and audit log start with the service.

        ``gdpr`` is the interface of Helsinki Profile, where the settings name its issuer.
        """
        from serving.audit_queue import AuditQueue
        from serving.jobs import Jobs
        from serving.kept_purposes import KeptPurposes

        self.desk, self.settings, self.home, self.access = desk, settings, home, access
        self.gdpr = gdpr
        self.openapi = self._described()
        self.bodies, self.rates = Bodies(limits, self.deadlines), Rates(limits)
        self.metrics.watch(desk)
        self._subject_key = settings.secret("audit-subjects")  # the same caller is the same in every line
        self.audit = AuditQueue(home, lambda person: person in desk.places)
        self.jobs = Jobs(home, desk)
        self.purposes = KeptPurposes(home)

    @cached_property
    def links(self) -> ProfileLinks:
        """Which profile of Helsinki Profile is which person."""
        from serving.profile_links import open_links

        return open_links(self.home)

    def pseudonym(self, identity: Identity) -> str:
        """Who asks, as logs hold it."""
        return identity.mark(self._subject_key)[:_MARK_DIGITS]

    def asker_of_job(self, identity: Identity) -> str:
        """Whose a job is: the same caller with the same rights."""
        return identity.mark_of_rights(self._subject_key)

    def admits(self, identity: Identity) -> bool:
        """Take one request of somebody's share out, if there is one."""
        try:
            self.rates.take(self.pseudonym(identity))
        except Unanswered:
            return False
        return True

    async def in_thread(self, work: Callable[..., Any], *given: Any) -> Any:
        """Do work that would hold up the event loop; what is heavy has a room of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)

    async def probe(self, work: Callable[..., Any], *given: Any) -> Any:
        """Look how the service is, in threads that no other work can fill."""
        return await asyncio.get_running_loop().run_in_executor(self._probes, work, *given)

    def _tell(self, event: str, need_id: str, **facts: Any) -> None:
        """A line in the log that is about no request."""
        if self.log is not None:
            self.log.line(at=time.time(), event=event, need=need_id, **facts)

    async def look_again(self, rests_on: RestsOn) -> None:
        """Refuse an answer that may leave no more, before it does.

        Raises
        ------
        Unanswered
            503, as before it was made.
        """
        guarded, now = self.desk.guarded[rests_on.need], datetime.now(UTC)
        if not guarded.still_holds(rests_on.verdict, now):
            try:
                await self.in_thread(guarded.require, rests_on.verdict, now)
            except Refusal as refusal:
                raise no_score_now(refusal) from None

    async def _go_round(self) -> None:
        """Every second: let go of the erased, of purposes that name anybody by now, and notice an issuer's making."""
        while True:
            await asyncio.sleep(_ROUND_SECONDS)
            try:
                await asyncio.to_thread(self._look_round)
            except Exception as error:  # a database that does not answer now, for one: looked at again in a second
                _LOG.error("%s while looking round", type(error).__name__)

    def _look_round(self) -> None:
        if self.issuer_watch is not None and (access := self.issuer_watch.look()) is not None:
            self.access = access
            self.openapi = self._described()
        if self.desk is not None and self.desk.forget_the_erased() and self.audit is not None:
            self.audit.forget()
        if self.purposes is not None:
            self.purposes.look_again()

    def _described(self) -> bytes:
        rows = [endpoint for endpoint in ENDPOINTS if self.gdpr is not None or not endpoint.scope]
        return document(rows, without_tokens=self.access.without_tokens)

    @asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Start and end with the service."""
        # What is open by now stays for as long as the service: a search through it for garbage is a long pause for all.
        gc.collect()
        gc.freeze()
        self.log = RequestLog(dropped=self.metrics.dropped_lines.inc)
        tasks = [asyncio.create_task(work) for work in (self.deadlines.watch(), self._go_round())]
        beside: list[ChampionWatch | Shadows] = []
        if self.jobs is not None:
            self.jobs.start()
        if self.desk is not None:
            beside.append(ChampionWatch(self.desk.guarded, self.desk.make_ready, self._tell))
            beside.append(Shadows(self.home, self.desk, self._tell, self.metrics.show_shadow))
        self.metrics.workers.set(1)
        try:
            yield
        finally:
            self.metrics.workers.set(0)
            for task in tasks:
                task.cancel()
            if self.jobs is not None:
                self.jobs.close()
            for each in beside:
                each.close()
            if self.audit is not None:
                self.audit.close()
            if self.desk is not None:
                self.desk.close()
            self.log.close()
            for pool in (self._pool, self._probes):
                pool.shutdown(wait=False, cancel_futures=True)
            for room in (self.room, self.views, self.objecting, self.lists, self.audit_reads):
                room.close()
