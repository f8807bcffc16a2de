"""Starting the service: one process with SQLite, several workers with PostgreSQL; a worker that dies is replaced."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from ethics.refusals import BadInput, Fault, NotTrusted, Refusal
from serving.connections import BoundedConnection
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.access import Access
    from serving.limits import Limits

_LOG = logging.getLogger("ennakko.service")
_STOP_SECONDS = 60
_HEALTH_SECONDS = 10
_LONGEST_WAIT = 30.0
_METRICS = "PROMETHEUS_MULTIPROC_DIR"


def serve(
    settings: Settings,
    city_path: Path,
    need_ids: Sequence[str],
    access: Access | None = None,
    limits: Limits | None = None,
) -> int:
    """Answer over HTTP until told to stop (SIGTERM, or Ctrl-C); returns the exit code.

    Everything is verified here first, so that a refusal is said in words before any port is opened, and once more when
    BentoML makes the service, in every worker.

    Parameters
    ----------
    access, limits
        See :func:`serving.service.open_service`; with one worker only, since they cannot be told to another process.

    Raises
    ------
    Refusal
        As :func:`serving.service.open_desk`; several workers are asked for with SQLite; or nothing can listen there.
    """
    settings = settings.model_copy(update={"city": city_path.resolve(), "needs": tuple(need_ids)})
    _tell(f"verifying {', '.join(settings.needs)}, reading the city")
    if settings.workers == 1:
        return _serve_alone(settings, access, limits)
    if access is not None or limits is not None:
        raise ValueError("workers read who may ask, and how much, from settings alone")
    if settings.database.startswith("sqlite"):
        wrong = f"asks for {settings.workers} workers, and the database is SQLite, which serves one"
        mend = "Leave it out, or give a PostgreSQL database: ENNAKKO_DATABASE_URL"
        raise BadInput(Fault("ENNAKKO_WORKERS", wrong, mend))
    return _serve_together(settings)


def _tell(what: str) -> None:
    """Say to whoever started it, among the lines of the log, what is going on."""
    print(f"· {what}", file=sys.stderr, flush=True)


def _serve_alone(settings: Settings, access: Access | None, limits: Limits | None) -> int:
    from serving.service import asgi_app, open_service

    open_service(settings, access, limits)
    os.environ["BENTOML_HOME"] = str(settings.home / "bentoml")
    listener = _listening(settings)
    server = uvicorn.Server(_configuration(settings, asgi_app()))
    # Uvicorn stops in order and then raises the signal again, which would end this process as if it had failed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _tell(f"answering on {_address(settings)}; Ctrl-C ends it")
    server.run([listener])
    if not server.started:
        raise NotTrusted(Fault("serve", "lost its verdict while starting", "See the lines above"))
    return 0


def _serve_together(settings: Settings) -> int:
    from serving.service import verify_service

    verify_service(settings)
    listener = _listening(settings)  # first: where another service listens, the folder is that one's
    metrics = settings.home / "serving" / f"metrics-{settings.port}"
    shutil.rmtree(metrics, ignore_errors=True)  # what workers counted that are gone
    metrics.mkdir(parents=True, mode=0o700)
    os.environ |= {**settings.to_environment(), _METRICS: str(metrics)}
    os.environ["BENTOML_HOME"] = str(settings.home / "bentoml")
    configuration = _configuration(settings, "serving.running:worker_app", factory=True)
    workers = Workers(configuration, [listener], metrics)
    _tell(f"starting {settings.workers} workers on {_address(settings)}; Ctrl-C ends them")
    workers.run()
    if workers.came_to_nothing:
        raise NotTrusted(Fault("serve", "had no worker that could start", "See the lines above"))
    return 0


def _configuration(settings: Settings, app: Any, *, factory: bool = False) -> uvicorn.Config:
    # BentoML's own worker does the same; its supervisor would add a control port that asks nobody who they are.
    return uvicorn.Config(
        app,
        factory=factory,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=BoundedConnection,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_worker_healthcheck=_HEALTH_SECONDS,
    )


def _address(settings: Settings) -> str:
    return f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.port}"


def _listening(settings: Settings) -> socket.socket:
    """A socket that is bound; whoever serves listens on it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Only where the protocol is named does asyncio send at once (TCP_NODELAY): a small answer would wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        wrong = f"cannot listen on {settings.host}:{settings.port} ({error.strerror})"
        raise BadInput(Fault("serve", wrong, "Give another --host or --port, or end what listens there")) from None
    return listener


# ---- workers -----------------------------------------------------------------------------------------------------


class Workers(Multiprocess):
    """Uvicorn's supervisor of workers, patient with those that cannot start.

    A worker that was ready and died is replaced at once. One that could not start, since trust was lost or the database
    is gone, is tried again after 1, 2, 4 … 30 seconds, while those that live go on saying so. Only when none has ever
    been ready is it given up. Uvicorn itself would end all of them for one.

    Parameters
    ----------
    config : uvicorn.Config
    sockets : list of socket
        Bound; every worker listens on them.
    metrics : Path
        Folder in which workers count.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], metrics: Path) -> None:
        super().__init__(config, sockets)
        self._metrics = metrics
        self._ready: set[int] = set()
        self._failures = dict.fromkeys(range(config.workers), 0)
        self._due: dict[int, float] = {}
        self._ever_ready = self.came_to_nothing = False

    def keep_subprocess_alive(self) -> None:
        """Replace each worker that is dead, or answers nothing, when it is time to."""
        for place, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if place in self._due:
                if time.monotonic() >= self._due[place]:
                    self._begin(place)
            elif process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                if place not in self._ready and process.is_ready():
                    self._ready.add(place)
                    self._ever_ready, self._failures[place] = True, 0
            else:
                self._bury(place, process)
        if not self._ever_ready and self._due.keys() == self._failures.keys():
            self.came_to_nothing = True
            self.should_exit.set()

    def _bury(self, place: int, process: Process) -> None:
        process.kill()
        process.join()
        if process.pid is not None:
            mark_process_dead(process.pid, str(self._metrics))  # type: ignore[no-untyped-call]
        if place in self._ready:
            self._ready.discard(place)
            _LOG.error("a worker ended (%s) and is replaced", process.exitcode)
            self._begin(place)
            return
        wait = min(2.0 ** self._failures[place], _LONGEST_WAIT)
        self._failures[place] += 1
        _LOG.error("a worker could not start (%s); tried again in %g seconds", process.exitcode, wait)
        self._due[place] = time.monotonic() + wait

    def _begin(self, place: int) -> None:
        self._due.pop(place, None)
        self.processes[place] = Process(self.config, self.sockets)
        self.processes[place].start()

    def handle_hup(self) -> None:
        """The terminal is gone: stop."""
        self.should_exit.set()

    def handle_ttin(self) -> None:
        """Their number is that of the settings, by which rates are shared."""

    def handle_ttou(self) -> None:
        """See :meth:`handle_ttin`."""


def worker_app() -> Any:
    """What a worker answers with, opened in its own process from the environment its parent gave it."""
    from serving.limits import Limits
    from serving.service import asgi_app, open_service

    _end_with_parent()
    settings = Settings.from_environment()
    try:
        open_service(settings, limits=Limits().shared_by(settings.workers))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(STARTUP_FAILURE)
    except Exception as error:  # the database is gone, or another thing that may come back
        _LOG.error("%s while a worker opened", type(error).__name__)
        sys.exit(STARTUP_FAILURE)
    return asgi_app()


def _end_with_parent() -> None:
    """Stop in order when the process that watches over this one is gone, whatever ended it."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def wait() -> None:
        connection.wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
