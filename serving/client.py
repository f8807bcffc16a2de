"""Scores asked from a running service: what ``ennakko score --server URL`` does.

The token goes to the one address that was named: no redirect is followed, no proxy and no ``.netrc`` of the environment
is read, and only this machine is spoken to without encryption. What comes back is checked before it is written.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ethics.refusals import BadInput, Fault, NotTrusted, Refusal
from ethics.whole_file import whole_file
from serving.batch_schemas import STATUSES
from serving.exchange import ARROW, JSON
from serving.progress import Step, silent

if TYPE_CHECKING:
    import httpx
    import polars as pl
    import pyarrow as pa

BATCH_ROWS = 20_000
"""People asked about at a time: about a megabyte each way."""
_MOST_ANSWER_BYTES = 256_000_000
_JOB_SECONDS, _MOST_JOB_SECONDS = 2.0, 3600.0
_JOB_ID = re.compile("[0-9a-f]{32}")
_MOST_TRIES, _MOST_WAITED_SECONDS = 6, 90.0
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 330.0
_LONGEST_TOLD = 300
_MOST_FAULTS = 20
_UNTRUSTED = ("No score may leave now", "Not ready", "Not in force")
_COLUMNS = ("person_id", "status", "score", "rank_band")
_COHORT = ("person_id", "score", "rank", "rank_band")


class ServiceFailed(Refusal):
    """The service failed in a way that whoever asks cannot mend."""

    exit_code = 1


@dataclass(frozen=True)
class Question:
    """What is asked of a service.

    Attributes
    ----------
    need : str
        A need's id.
    as_of_date : date
    person_ids : pl.Series of str (n,) or None
        Each once; None for everybody whom the need covers.
    purpose : str
        What the scores are for; the service's audit log keeps it.
    """

    need: str
    as_of_date: date
    person_ids: pl.Series | None
    purpose: str


@dataclass(frozen=True)
class Service:
    """A service and how to be recognised there.

    Attributes
    ----------
    url : str
        Its address, without a path to an endpoint.
    token : str or None
        The bearer token; None where nobody is asked for one.
    """

    url: str
    token: str | None = field(default=None, repr=False)


def score_from_service(service: Service, question: Question, output: Path, step: Step = silent) -> dict[str, Any]:
    """Have people scored by a service and write one Parquet file, whole or not at all.

    Some people are asked about in batches of Arrow; a whole cohort is a job of the service's, whose scores are fetched
    once it is done.

    Parameters
    ----------
    output : Path
        A new file. Of a cohort it is the file that the local ``score`` writes. Of some people it has no rank, which is
        one's place in the whole cohort, but ``status``: whoever has no score is a row that says why. Its rows stand as
        they were asked about.

    Returns
    -------
    dict
        ``path``, ``n``, ``status.<status>``, ``need``, ``as_of_date``, ``model_digest``, ``verdict_id``.

    Raises
    ------
    BadInput
        The service refuses, does not answer, or the file is there already.
    NotTrusted
        No score may leave it now; or batches were answered by different models or verdicts.
    ServiceFailed
        It failed, or answered something else than it should.
    """
    import httpx

    if output.exists():
        raise BadInput(Fault("--output", f"{output} is there already", "Give a new file"))
    output.parent.mkdir(parents=True, exist_ok=True)
    client = httpx.Client(
        base_url=service.url,
        # The operating system's authorities, or those of SSL_CERT_FILE, as a city's own certificates need.
        verify=ssl.create_default_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
        headers=_headers(service, question),
    )
    with client, whole_file(output) as file:
        if question.person_ids is None:
            found = _score_cohort(client, question, file, step)
        else:
            found = _score_people(client, question, question.person_ids, file, step)
    shared = {"need": question.need, "as_of_date": str(question.as_of_date)}
    return {"path": str(output), "n": sum(found.status.values()), "status": found.status, **shared} | {
        "model_digest": found.rests_on[0],
        "verdict_id": found.rests_on[1],
    }


class _Found(NamedTuple):
    """How many have which status, and the model's digest and the verdict's id that all scores rest on."""

    status: dict[str, int]
    rests_on: tuple[str, str]


def _score_people(client: httpx.Client, question: Question, ids: pl.Series, file: BinaryIO, step: Step) -> _Found:
    """Some people's scores, batch by batch."""
    from pyarrow import parquet

    status = dict.fromkeys(STATUSES, 0)
    rests_on: tuple[str, str] | None = None
    done = 0
    with parquet.ParquetWriter(file, _schema(_COLUMNS), compression="zstd") as writer:
        for part in ids.to_frame("person_id").iter_slices(BATCH_ROWS):
            step(f"{question.need}: asking {client.base_url}", done, len(ids))
            table = _batch(client, question, part["person_id"])
            found = _rests_on(table)
            if rests_on is not None and found != rests_on:
                wrong = "came to use another model or verdict while it was asked"
                raise NotTrusted(Fault("server", wrong, "Ask again: the scores of one file rest on one verdict"))
            rests_on = found
            for counted in table["status"].value_counts().to_pylist():
                status[counted["values"]] += counted["counts"]
            writer.write_table(_rows(table, question, _COLUMNS))
            done += len(part)
    assert rests_on is not None  # somebody was asked about
    return _Found(status, rests_on)


def _score_cohort(client: httpx.Client, question: Question, file: BinaryIO, step: Step) -> _Found:
    """Everybody's scores, by a job of the service's; raises Refusal."""
    from pyarrow import parquet

    wanted = {"need": question.need, "as_of_date": question.as_of_date.isoformat()}
    headers = {"content-type": JSON, "accept": JSON}
    until = time.monotonic() + _MOST_JOB_SECONDS
    job = _read_job(ask(client, "POST", "/jobs", json=wanted, headers=headers), wanted)
    path = f"/jobs/{job['job_id']}"
    while job["state"] in ("waiting", "running"):
        step(f"{question.need}: {_told(job['doing'])} at {client.base_url}", job["progress"], 1.0)
        if time.monotonic() > until:
            wrong = f"is not done after {_MOST_JOB_SECONDS:g} seconds"
            raise BadInput(
                Fault("server", wrong, "Give the same command later: the job goes on, and is taken up again")
            )
        time.sleep(_JOB_SECONDS)
        job = _read_job(ask(client, "GET", path, headers=headers), wanted)
    if job["state"] != "done":
        raise refusal_of(409, json.dumps({"title": "Failed", "errors": job["faults"]}).encode())
    table = _table_of(ask(client, "GET", f"{path}/scores"), _COHORT, wanted)
    parquet.write_table(_rows(table, question, _COHORT), file, compression="zstd")
    return _Found({"scored": table.num_rows}, _rests_on(table))


def _read_job(content: bytes, wanted: Mapping[str, str]) -> dict[str, Any]:
    """How far a job is, if it is the one asked for."""
    try:
        job: dict[str, Any] = json.loads(content)
        own = bool(_JOB_ID.fullmatch(job["job_id"])) and wanted.items() <= job.items()
        if own and isinstance(job["state"], str) and 0 <= job["progress"] <= 1 and isinstance(job["doing"], str):
            return job
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise _strange("is not about what was asked")


def _headers(service: Service, question: Question) -> dict[str, str]:
    headers = {"content-type": ARROW, "accept": ARROW, "x-purpose": question.purpose, "user-agent": "ennakko"}
    headers["accept-encoding"] = "identity"
    return headers if service.token is None else {**headers, "authorization": f"Bearer {service.token}"}


# ---- asking ----------------------------------------------------------------------------------------------------


def _batch(client: httpx.Client, question: Question, ids: pl.Series) -> pa.Table:
    """One batch's answer as a table, checked; raises Refusal."""
    import pyarrow as pa

    asked = pa.table({"person_id": ids.to_arrow().cast(pa.string())})
    body = BytesIO()
    with pa.ipc.new_stream(body, asked.schema) as writer:
        writer.write_table(asked)
    query = {"need": question.need, "as_of_date": question.as_of_date.isoformat()}
    table = _table_of(ask(client, "POST", "/score_batch", params=query, content=body.getvalue()), _COLUMNS, query)
    if table["person_id"].to_pylist() != ids.to_list() or not set(table["status"].to_pylist()) <= set(STATUSES):
        raise _strange("is not about the people that were asked about")
    return table


def _table_of(content: bytes, columns: Sequence[str], wanted: Mapping[str, str]) -> pa.Table:
    """An Arrow answer as a table, if it is about what was asked; raises ServiceFailed."""
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(content) as reader:
            table = reader.read_all()
            table.validate(full=True)
            said = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    except (pa.ArrowException, UnicodeDecodeError):
        raise _strange("is not an Arrow stream that can be read") from None
    if table.column_names != list(columns) or not wanted.items() <= said.items():
        raise _strange("is not about what was asked")
    return table


def ask(client: httpx.Client, method: str, path: str, **given: Any) -> bytes:
    """The body of an answer; asks again, within bounds, only where the service itself says when to.

    Raises
    ------
    Refusal
    """
    import httpx

    waited = 0.0
    for attempt in range(1, _MOST_TRIES + 1):
        try:
            with client.stream(method, path, **given) as answer:
                content = _read(answer)
        except httpx.RequestError as error:
            wrong = f"does not answer ({type(error).__name__})"
            raise BadInput(
                Fault("--server", wrong, "Look whether it runs, and at its address and certificate")
            ) from None
        if answer.is_success:
            if answer.headers.get("content-type", "") != answer.request.headers["accept"]:
                raise _strange("is of another content type than was asked for")
            return content
        wait = _told_to_wait(answer)
        if wait is None or attempt == _MOST_TRIES or waited + wait > _MOST_WAITED_SECONDS:
            break
        waited += wait
        time.sleep(wait)
    raise refusal_of(answer.status_code, content)


def _read(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise _strange("came compressed, which was not asked for")
    content = bytearray()
    for chunk in answer.iter_raw():
        content += chunk
        if len(content) > _MOST_ANSWER_BYTES:
            raise _strange(f"is longer than {_MOST_ANSWER_BYTES} bytes")
    return bytes(content)


def _told_to_wait(answer: httpx.Response) -> float | None:
    """Seconds after which the service wants to be asked again; None where it does not say."""
    after = answer.headers.get("retry-after", "")
    return float(after) if answer.status_code in (429, 503) and after.isascii() and after.isdecimal() else None


def refusal_of(status: int, content: bytes) -> Refusal:
    """What the command refuses with for an answer that is none: the problem details' faults.

    >>> refusal_of(404, b'{"title": "Unknown need", "errors": [{"where": "need", "wrong": "is unknown", "mend": "x"}]}')
    BadInput('need: is unknown. x')
    >>> refusal_of(502, b"<html>")
    ServiceFailed('server: answered 502. Ask whoever runs it')
    """
    try:
        problem = json.loads(content)
        title = _told(problem["title"])
        errors = problem.get("errors", [])[:_MOST_FAULTS]
        faults = [Fault(*(_told(error[name]) for name in ("where", "wrong", "mend"))) for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        title, faults = "", []
    if not faults:
        faults = [Fault("server", f"answered {status}{f': {title}' if title else ''}", "Ask whoever runs it")]
    if title in _UNTRUSTED:
        return NotTrusted(*faults)
    return BadInput(*faults) if status < 500 or status == 503 else ServiceFailed(*faults)


def _told(text: Any) -> str:
    """A text of the service's, fit for a terminal."""
    if not isinstance(text, str):
        raise TypeError
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_TOLD])


def _strange(wrong: str) -> ServiceFailed:
    return ServiceFailed(Fault("server's answer", wrong, "See whether the address is that of an Ennakko service"))


# ---- writing ---------------------------------------------------------------------------------------------------


def _schema(columns: Sequence[str]) -> pa.Schema:
    """The file's columns: what all rows share before and after those that came."""
    import pyarrow as pa

    kinds = {"as_of_date": pa.date32(), "score": pa.float64(), "rank": pa.uint32()}
    names = ("need_id", columns[0], "as_of_date", *columns[1:], "model_digest", "verdict_id")
    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in names])


def _rests_on(table: pa.Table) -> tuple[str, str]:
    said = table.schema.metadata or {}
    try:
        return said[b"model_digest"].decode(), said[b"verdict_id"].decode()
    except KeyError:
        raise _strange("does not say which model and verdict it rests on") from None


def _rows(table: pa.Table, question: Question, columns: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    model_digest, verdict_id = _rests_on(table)
    shared = {"need_id": question.need, "as_of_date": question.as_of_date}
    shared |= {"model_digest": model_digest, "verdict_id": verdict_id}
    found = {name: pa.repeat(value, table.num_rows) for name, value in shared.items()}
    found |= {name: table[name] for name in columns}
    schema = _schema(columns)
    return pa.table([found[name] for name in schema.names], schema=schema)
