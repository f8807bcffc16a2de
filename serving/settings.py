"""Where things are and who may knock: the only reader of the environment."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ethics.refusals import BadInput, Fault, NotTrusted, faults_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

_SECRET_BYTES = 32
_BUSY_MS = 30_000
_STATEMENT_SECONDS, _IMPATIENT_SECONDS = 30, 5
PATIENCE = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
}
"""How long libpq waits for a PostgreSQL that cannot be reached, in seconds; ``tcp_user_timeout`` in milliseconds."""
_MAY_BE_FILES = ("database_url", "mlflow_uri", "metrics_token", "token")
_OWN_HOME = "Make the file and its folder writable for whoever runs Ennakko, or give another --home"
_UNUSABLE = {
    sqlite3.SQLITE_READONLY: ("cannot be written: it, its folder or its disk is read-only", _OWN_HOME),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened or made", _OWN_HOME),
    sqlite3.SQLITE_PERM: ("cannot be opened: access is denied", _OWN_HOME),
    sqlite3.SQLITE_FULL: ("cannot be written: there is no room left", "Make room on its disk, or give another --home"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: its disk fails", "Look at the disk, or give another --home"),
}
"""What SQLite says of a file that whoever runs Ennakko can mend, and how."""


class Settings(BaseModel):
    """Where Ennakko keeps its state and where it listens.

    Parameters
    ----------
    home : Path
        Folder of all state: database, runs, keys, secrets, lists (``ENNAKKO_HOME``, default ``var``).
    database_url, mlflow_uri : str or None
        SQLAlchemy and MLflow addresses (``ENNAKKO_DATABASE_URL``, ``ENNAKKO_MLFLOW_URI``); SQLite files in the home
        when None.
    host, port
        Where ``ennakko serve`` listens (``ENNAKKO_HOST``, ``ENNAKKO_PORT``); the loopback address unless given.
    without_tokens : bool
        Whether whoever is on this machine may ask for scores without a token (``ENNAKKO_WITHOUT_TOKENS``): on loopback
        only, by demonstration keys only, to try things out.
    workers : int
        How many processes answer (``ENNAKKO_WORKERS``); more than one needs PostgreSQL.
    city, needs, policy
        What a server answers for, and the policy obeyed (``ENNAKKO_CITY``, ``ENNAKKO_NEEDS`` with commas between,
        ``ENNAKKO_POLICY``).
    issuer, audience
        The city's OpenID provider, exactly as its tokens say ``iss``, and what its tokens for Ennakko say ``aud``
        (``ENNAKKO_ISSUER``, ``ENNAKKO_AUDIENCE``).
    profile_issuer, profile_audience
        The provider behind Helsinki Profile, by which residents come (``ENNAKKO_PROFILE_ISSUER``,
        ``ENNAKKO_PROFILE_AUDIENCE``). Its tokens make nobody more than a resident.
    claim_role, claim_needs, claim_units, claim_person, claim_scopes, claim_loa
        What the providers call these claims (``ENNAKKO_CLAIM_ROLE`` …): a claim's name, or names with dots between for
        a claim within a claim, as ``realm_access.roles``.
    gdpr_query_scope, gdpr_delete_scope, gdpr_loa
        The scopes that let Helsinki Profile ask for, and delete, a resident's data (``ENNAKKO_GDPR_QUERY_SCOPE``,
        ``ENNAKKO_GDPR_DELETE_SCOPE``), and the levels of assurance that suffice, with commas between
        (``ENNAKKO_GDPR_LOA``).
    metrics_token : str or None
        Who may read ``/metrics`` where others than this machine can knock (``ENNAKKO_METRICS_TOKEN``); nobody when
        None.
    token : str or None
        Who ``ennakko score --server`` says it is (``ENNAKKO_TOKEN``).

    ``ENNAKKO_DATABASE_URL``, ``ENNAKKO_MLFLOW_URI``, ``ENNAKKO_METRICS_TOKEN`` and ``ENNAKKO_TOKEN`` may hold secrets:
    with ``_FILE`` behind the name, each is read from the file named instead.

    >>> Settings.from_environment({"ENNAKKO_PORT": "no"})
    Traceback (most recent call last):
    ethics.refusals.BadInput: ENNAKKO_PORT: is 'no': not a port. Give a number from 1 to 65535
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: Path = Path("var")
    database_url: str | None = None
    mlflow_uri: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 3000
    without_tokens: bool = False
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    city: Path | None = None
    needs: tuple[str, ...] = ()
    policy: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    profile_issuer: str | None = None
    profile_audience: str | None = None
    claim_role: str = "role"
    claim_needs: str = "needs"
    claim_units: str = "units"
    claim_person: str = "person_id"
    claim_scopes: str = "https://api.hel.fi/auth"
    claim_loa: str = "loa"
    gdpr_query_scope: str = "ennakko.gdprquery"
    gdpr_delete_scope: str = "ennakko.gdprdelete"
    gdpr_loa: tuple[str, ...] = ("substantial", "high")
    metrics_token: str | None = Field(default=None, min_length=16, max_length=200, repr=False)
    token: str | None = Field(default=None, min_length=1, repr=False)

    @field_validator("home")
    @classmethod
    def _whole_path(cls, home: Path) -> Path:
        # A relative home would be another folder in a process started elsewhere.
        try:
            return home.expanduser().resolve()
        except (RuntimeError, ValueError, OSError):
            raise ValueError("not a path | Give the path of a folder") from None

    @field_validator("host")
    @classmethod
    def _is_address(cls, host: str) -> str:
        host = "127.0.0.1" if host == "localhost" else host
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError("not an address | Give an IP address, e.g. 127.0.0.1") from None

    @field_validator("port", mode="before")
    @classmethod
    def _is_port(cls, port: Any) -> Any:
        if isinstance(port, str) and not (port.isdecimal() and 1 <= int(port) <= 65535):
            raise ValueError("not a port | Give a number from 1 to 65535")
        return port

    @field_validator("needs", "gdpr_loa", mode="before")
    @classmethod
    def _split_by_commas(cls, names: Any) -> Any:
        return tuple(filter(None, (name.strip() for name in names.split(",")))) if isinstance(names, str) else names

    @field_validator("issuer", "profile_issuer")
    @classmethod
    def _is_issuer(cls, issuer: str | None) -> str | None:
        if issuer is not None and (wrong := wrong_issuer(issuer)):
            raise ValueError(f"{wrong} | Give the provider's address, e.g. https://login.example.fi/realms/city")
        return issuer

    @model_validator(mode="after")
    def _has_an_audience_for_each_issuer(self) -> Settings:
        for name in ("", "profile_"):
            issuer, audience = getattr(self, f"{name}issuer"), getattr(self, f"{name}audience")
            if (issuer is None) != (audience is None):
                given, missing = ("issuer", "audience") if audience is None else ("audience", "issuer")
                wrong = f"{_variable(name + given)} is given without {_variable(name + missing)}"
                raise ValueError(f"{wrong} | Give both: tokens meant for another service must not count here")
        if (self.issuer, self.audience) == (self.profile_issuer, self.profile_audience) and self.issuer is not None:
            wrong = "ENNAKKO_ISSUER and ENNAKKO_PROFILE_ISSUER share issuer and audience"
            raise ValueError(f"{wrong} | Give residents' tokens an audience of their own")
        return self

    @model_validator(mode="after")
    def _asks_for_tokens_where_others_can_knock(self) -> Settings:
        if self.without_tokens and not self.on_loopback:
            wrong = f"{_variable('without_tokens')} is set, and others than this machine can reach {self.host}"
            raise ValueError(f"{wrong} | Leave it out, or serve on 127.0.0.1")
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Settings from ``ENNAKKO_*``; what is given (and not None) wins over the environment.

        Raises
        ------
        BadInput
            One fault for every value that cannot be used, named as in the environment.
        """
        environment = os.environ if environment is None else environment
        values = {key: environment[name] for key in cls.model_fields if environment.get(name := _variable(key))}
        values |= _from_files(environment)
        values |= {key: value for key, value in given.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = faults_of(error, "settings", cls)
            raise BadInput(*(f._replace(where=_where(f.where)) for f in faults)) from None

    def to_environment(self, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """``ENNAKKO_*`` from which, with ``environment``, :meth:`from_environment` makes these settings again.

        For another process that gets the present one's environment: a secret that a file is named for stays there.
        """
        environment = os.environ if environment is None else environment
        values = ((_variable(key), getattr(self, key)) for key in type(self).model_fields)
        given = ((name, v) for name, v in values if v is not None and not environment.get(f"{name}_FILE"))
        return {name: ",".join(v) if isinstance(v, tuple) else str(v) for name, v in given}

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can knock."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def database(self) -> str:
        """The database's address: the one given, or a SQLite file in the home."""
        return self.database_url or f"sqlite:///{self.home / 'ennakko.db'}"

    @property
    def mlflow(self) -> str:
        """MLflow's address: the one given, or a SQLite file in the home."""
        return self.mlflow_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    def engine(self, *, impatient: bool = False) -> Engine:
        """An engine for the tables of every room; SQLite waits for other writers and never reads half a write.

        In PostgreSQL a connection that was lost is made anew. ``impatient`` gives up a statement after 30 seconds, and
        a lock or a place in the pool after 5.
        """
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import NullPool

        if not self.database.startswith("sqlite"):
            return _server_engine(self.database, impatient)
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.database.removeprefix("sqlite:///")
        # A connection each time: a pooled one would carry its transaction into another thread or a forked process.
        engine = create_engine(self.database, poolclass=NullPool)

        @event.listens_for(engine, "connect")
        def _wait_for_others(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # sqlite3 would otherwise begin transactions of its own, too late
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.DatabaseError as error:
                _refuse_unusable(error, file)
                raise

        @event.listens_for(engine, "handle_error")
        def _say_what_is_unusable(context: Any) -> None:
            _refuse_unusable(context.original_exception, file)

        @event.listens_for(engine, "begin")
        def _begin_as_writer(connection: Any) -> None:
            reads_only = connection.get_execution_options().get("reads_only", False)
            connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

        return engine

    def secret_path(self, name: str) -> Path:
        """The file of a secret, which need not exist."""
        return self.home / "secrets" / f"{name}.key"

    def secret(self, name: str, *, make: bool = True) -> bytes:
        """A secret of this home, made at first use and never again: 32 bytes, readable by their owner alone.

        Parameters
        ----------
        name : str
        make : bool
            False for a secret that must be there already: a new one in its place would read nothing of the old.

        Raises
        ------
        NotTrusted
            When others can read the file, it was cut short, or it is lost.
        """
        path = self.secret_path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            if not make:
                raise NotTrusted(Fault(str(path), "is lost", "Restore it from the backup"))
            _make_secret(path)
        if path.stat().st_mode & 0o077:
            raise NotTrusted(Fault(str(path), "can be read by others than its owner", f"Run: chmod 600 {path}"))
        content = path.read_bytes()
        if len(content) != _SECRET_BYTES:
            wrong = f"holds {len(content)} bytes, not {_SECRET_BYTES}"
            raise NotTrusted(Fault(str(path), wrong, "Restore it from the backup"))
        return content


def _server_engine(url: str, impatient: bool) -> Engine:
    from sqlalchemy import create_engine, event

    pool = {"pool_timeout": _IMPATIENT_SECONDS} if impatient else {}
    engine = create_engine(url, pool_pre_ping=True, connect_args=PATIENCE, **pool)
    if impatient:

        @event.listens_for(engine, "connect")
        def _give_up_in_time(connection: Any, _record: Any) -> None:
            connection.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            connection.execute(f"SET lock_timeout = '{_IMPATIENT_SECONDS}s'")
            connection.commit()

    return engine


def _from_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Secrets that lie in files, as Docker and Kubernetes hand them over; raises BadInput."""
    found, faults = {}, []
    for key in _MAY_BE_FILES:
        name = f"{_variable(key)}_FILE"
        if not (path := environment.get(name)):
            continue
        if environment.get(_variable(key)):
            faults.append(Fault(name, f"is given beside {_variable(key)}", "Give one of the two"))
        try:
            found[key] = Path(path).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            faults.append(Fault(name, f"names a file that cannot be read ({type(error).__name__})", "Look at the path"))
            continue
        if not found[key]:
            faults.append(Fault(name, "names a file that is empty", "Write the secret into it"))
    if faults:
        raise BadInput(*faults)
    return found


def shows_tracebacks() -> bool:
    """Whether ``ENNAKKO_DEBUG`` asks for the traceback of a fault of our own; it may show values."""
    return os.environ.get("ENNAKKO_DEBUG", "") not in ("", "0")


def _refuse_unusable(error: BaseException, file: str) -> None:
    """Refuse when SQLite says that the file is no database or damaged within, or that it cannot be read or written."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        mend = f"Restore it from the backup, together with {Path(file).name}-wal if the backup has one"
        raise NotTrusted(Fault(file, "is damaged: SQLite cannot read it", mend)) from None
    if code in _UNUSABLE:
        raise BadInput(Fault(file, *_UNUSABLE[code])) from None


def _make_secret(path: Path) -> None:
    """Write whole under another name, then link: the first of two processes wins, and none sees half a secret."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def wrong_issuer(issuer: str) -> str | None:
    """Why an address cannot be that of an OpenID provider; None where it can.

    Keys that come unencrypted could be anybody's, so anything but this machine must answer by https.

    >>> wrong_issuer("https://login.example.fi/realms/city"), wrong_issuer("http://127.0.0.1:8888/")
    (None, None)
    >>> wrong_issuer("http://login.example.fi/")
    'not https'
    """
    try:
        parts = urlsplit(issuer)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "not an address"
    if parts.scheme not in ("http", "https") or not host or not issuer.isprintable() or " " in issuer:
        return "not an address"
    if "@" in parts.netloc or "?" in issuer or "#" in issuer:
        return "an address with a user, a query or a fragment"
    return None if parts.scheme == "https" or _is_this_machine(host) else "not https"


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _where(where: str) -> str:
    """A fault's place by the name people gave; what concerns several settings names them itself."""
    return "settings" if where == "settings" else _variable(where.removeprefix("settings: "))


def _variable(key: str) -> str:
    return f"ENNAKKO_{key.upper()}"
