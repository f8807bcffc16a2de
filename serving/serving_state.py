"""What a running service holds, shared by every request: the desk, who may ask, limits, log, metrics, audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from serving.access import Access, Identity
from serving.endpoints import ENDPOINTS
from serving.exchange import Unanswered
from serving.limits import Bodies, Deadlines, Limits, Rates, Room
from serving.openapi import document
from serving.request_log import RequestLog
from serving.service_metrics import ServiceMetrics

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from serving.audit_queue import AuditQueue
    from serving.desk import ScoreDesk
    from serving.home import Home
    from serving.settings import Settings

_THREADS = 4
_MARK_DIGITS = 32
_BATCHES_AT_ONCE, _BATCHES_WAITING = 2, 6


class ServingState:
    """Filled once, before the first request, by :meth:`open`; until then nobody is let in."""

    def __init__(self) -> None:
        self.access = Access()
        self.deadlines = Deadlines()
        self.bodies, self.rates = Bodies(Limits(), self.deadlines), Rates(Limits())
        self.room = Room(_BATCHES_AT_ONCE, _BATCHES_WAITING)
        self.metrics = ServiceMetrics(ENDPOINTS)
        self.log: RequestLog | None = None
        self.audit: AuditQueue | None = None
        self.openapi = b""
        self.desk: Any = None
        self.settings: Any = None
        self.home: Any = None
        self.jobs: Any = None
        self.gdpr: Any = None
        self._subject_key = b""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="answer")

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

        self.desk, self.settings, self.home, self.access = desk, settings, home, access
        self.gdpr = gdpr
        rows = [endpoint for endpoint in ENDPOINTS if gdpr is not None or not endpoint.scope]
        self.openapi = document(rows, without_tokens=access.without_tokens)
        self.bodies, self.rates = Bodies(limits, self.deadlines), Rates(limits)
        self.metrics.watch(desk)
        self._subject_key = settings.secret("audit-subjects")  # the same caller is the same in every line
        self.audit = AuditQueue(home)
        self.jobs = Jobs(home, desk)

    def pseudonym(self, identity: Identity) -> str:
        """Who asks, as logs hold it."""
        return identity.mark(self._subject_key)[:_MARK_DIGITS]

    def admits(self, identity: Identity) -> bool:
        """Take one request of somebody's share out, if there is one."""
        try:
            self.rates.take(self.pseudonym(identity))
        except Unanswered:
            return False
        return True

    async def in_thread(self, work: Callable[..., Any], *given: Any) -> Any:
        """Do work that would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)

    @asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Start and end with the service."""
        self.log = RequestLog(dropped=self.metrics.dropped_lines.inc)
        watch = asyncio.create_task(self.deadlines.watch())
        if self.jobs is not None:
            self.jobs.start()
        try:
            yield
        finally:
            watch.cancel()
            if self.jobs is not None:
                self.jobs.close()
            if self.audit is not None:
                self.audit.close()
            if self.desk is not None:
                self.desk.close()
            self.log.close()
            self._pool.shutdown(wait=False, cancel_futures=True)
