"""``ennakko score --server``: the same scores to the bit, and refusals that say what the service said."""

import json
import os
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, World
from served import start, stop, wait_until_it_answers

from serving import client
from serving.cli import main
from serving.exchange import ARROW
from serving.local_issuer import issue_token, make_issuer


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    make_issuer(world.home, datetime.now(UTC))
    (world.folder / "youth.toml").write_text(MODEL_NEED)
    return world


@pytest.fixture(scope="module")
def server(world):
    server = start(world)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said


@pytest.fixture(scope="module")
def token_file(world):
    token = issue_token(world.home, "system", subject="client", needs=["youth"], minutes=60, now=datetime.now(UTC))
    path = world.folder / "token"
    path.write_text(token["token"] + "\n")
    return path


@pytest.fixture(scope="module")
def local(world):
    """The file that ``ennakko score`` writes here."""
    words = ["score", "--home", world.home.root, "--city", world.city.folder, "--need", world.folder / "youth.toml"]
    assert main([str(word) for word in (*words, "--as-of", AS_OF)]) == 0
    (path,) = world.home.scores.rglob("*.parquet")
    return pl.read_parquet(path)


def asked(url, output, token_file, **changes):
    given = {"server": url, "need": "youth", "as-of": AS_OF, "persons": "000001,000002", "purpose": "weekly list"}
    given |= {"output": output, "token-file": token_file} | {name.replace("_", "-"): v for name, v in changes.items()}
    return main(["score", *(str(part) for name, value in given.items() if value for part in (f"--{name}", value))])


def test_the_scores_of_a_whole_cohort_are_the_local_ones_to_the_bit(
    server, local, token_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(client, "BATCH_ROWS", 100)  # several batches
    persons = pl.concat([local["person_id"], pl.Series("person_id", ["nobody"])])
    persons.to_frame().write_csv(tmp_path / "persons.csv")
    output = tmp_path / "new" / "scores.parquet"
    assert asked(server.url, output, token_file, persons=tmp_path / "persons.csv") == 0
    found = pl.read_parquet(output)
    assert found["person_id"].to_list() == persons.to_list()
    assert found.row(-1, named=True)["status"] == "unknown_person"
    same = ["need_id", "person_id", "as_of_date", "score", "rank_band", "model_digest", "verdict_id"]
    assert found[:-1].select(same).equals(local.select(same), null_equal=True)
    assert output.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out == f"{len(local):,} scores in {output} (1 unknown person)\n"


def test_without_persons_the_file_is_the_local_one_to_the_bit(server, local, token_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(client, "_JOB_SECONDS", 0.2)
    output = tmp_path / "scores.parquet"
    assert asked(server.url, output, token_file, persons=None) == 0
    found = pl.read_parquet(output)
    assert found.columns == local.columns and found.equals(local, null_equal=True)
    assert capsys.readouterr().out == f"{len(local):,} scores in {output}\n"


def test_ids_may_stand_on_the_command_line_and_integers_in_a_file(server, local, token_file, tmp_path):
    assert asked(server.url, tmp_path / "a.parquet", token_file) == 0
    found = pl.read_parquet(tmp_path / "a.parquet")
    here = dict(zip(local["person_id"], local["score"], strict=True))
    assert found["score"].to_list() == [here[person] for person in ("000001", "000002")]
    pl.DataFrame({"person_id": [1, 2]}).write_parquet(tmp_path / "p.parquet")
    assert asked(server.url, tmp_path / "b.parquet", token_file, persons=tmp_path / "p.parquet") == 0
    assert pl.read_parquet(tmp_path / "b.parquet")["status"].to_list() == ["unknown_person"] * 2


def test_the_token_may_come_from_the_environment(server, token_file, tmp_path, monkeypatch):
    monkeypatch.setenv("ENNAKKO_TOKEN", token_file.read_text().strip())
    assert asked(server.url, tmp_path / "a.parquet", None) == 0
    monkeypatch.delenv("ENNAKKO_TOKEN")
    monkeypatch.setenv("ENNAKKO_TOKEN_FILE", str(token_file))
    assert asked(server.url, tmp_path / "b.parquet", None) == 0


def test_the_service_s_refusals_are_told_as_faults(server, world, token_file, tmp_path, capsys):
    output = tmp_path / "scores.parquet"
    assert asked(server.url, output, token_file, need="elderly") == 2
    assert capsys.readouterr().err.endswith("need: names no need this server answers for. Allowed: youth\n")
    assert asked(server.url, output, None) == 2
    assert "token" in capsys.readouterr().err
    assert asked(server.url, output, token_file, as_of="2030-01-01") == 2
    assert "after the extract date" in capsys.readouterr().err
    world.home.stop_switch.set("to test")
    try:
        assert asked(server.url, output, token_file) == 30
        assert "stop switch" in capsys.readouterr().err
    finally:
        world.home.stop_switch.clear()
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_asked_is_refused_before_anybody_is_asked(token_file, tmp_path, capsys):
    there = tmp_path / "there.parquet"
    there.write_bytes(b"old")
    assert asked("http://ennakko.example.fi", None, token_file, persons="a,a,", purpose="é") == 2
    said = capsys.readouterr().err
    for part in (
        "--server: is not https",
        "--output: is missing",
        "--purpose: is not 1 to 200 plain characters",
        "--persons: person_id: is empty in 1 row.",
        "--persons: person_id: was given before in 1 row.",
    ):
        assert part in said
    assert asked("http://127.0.0.1:9", there, token_file) == 2
    assert "is there already" in capsys.readouterr().err
    assert there.read_bytes() == b"old"
    assert main(["score", "--need", "youth", "--as-of", str(AS_OF), "--purpose", "x"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--city: is missing. Give the city folder, or --server with the URL of a service",
        "--purpose: means nothing without --server. Leave it out, or add --server URL",
    ]
    (tmp_path / "token").write_text("Bearer abc\n")
    assert asked("http://127.0.0.1:9", tmp_path / "new.parquet", tmp_path / "token") == 2
    assert "without the word Bearer" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    assert "--token " not in capsys.readouterr().out  # others on the machine can read a command line


def test_a_service_that_is_not_there_says_so(token_file, tmp_path, capsys):
    assert asked("http://127.0.0.1:9", tmp_path / "new.parquet", token_file) == 2
    assert "--server: does not answer (ConnectError)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def answering(*answers):
    """A stand-in that gives these answers one after another: what no service of ours can be made to say on demand."""
    left, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(dict(self.headers))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, body = left.pop(0)
            self.send_response(status)
            for name, value in {"content-length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    stub = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    return stub, f"http://127.0.0.1:{stub.server_port}", seen


def job(state, **changes):
    told = {
        "job_id": "a" * 32,
        "need": "youth",
        "as_of_date": str(AS_OF),
        "state": state,
        "doing": state,
        "progress": 0.5,
    }
    return 202, {"content-type": "application/json"}, json.dumps({**told, "faults": [], **changes}).encode()


def test_a_job_that_fails_or_is_another_s_gives_no_file(token_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(client, "_JOB_SECONDS", 0.0)
    faults = [{"where": "city", "wrong": "cannot be read", "mend": "Look at it"}]
    for answers, code in (
        ([job("waiting"), job("running"), job("failed", faults=faults)], 2),
        ([job("done"), problem("Not in force", 409)], 30),
        ([job("waiting", need="other")], 1),
        ([job("waiting", job_id="../../etc")], 1),
        ([job("done"), batch()], 1),
    ):
        stub, url, seen = answering(*answers)
        assert asked(url, tmp_path / "a.parquet", token_file, persons=None) == code
        assert len(seen) == len(answers)
        stub.shutdown()
    assert "city: cannot be read. Look at it" in capsys.readouterr().err
    monkeypatch.setattr(client, "_MOST_JOB_SECONDS", -1.0)
    stub, url, _ = answering(job("waiting"))
    assert asked(url, tmp_path / "a.parquet", token_file, persons=None) == 2
    assert "the job goes on" in capsys.readouterr().err
    stub.shutdown()
    assert not list(tmp_path.iterdir())


def problem(title, status, **headers):
    body = json.dumps({"title": title, "status": status, "errors": []}).encode()
    return status, {"content-type": "application/problem+json", **headers}, body


def batch(model="a" * 64, persons=("000001", "000002")):
    from datetime import date

    import numpy as np

    from serving.batches import ManyScored, as_arrow

    n = len(persons)
    scored = ManyScored(
        need="youth",
        as_of_date=date.fromisoformat(str(AS_OF)),
        model_digest=model,
        verdict_id="v-1",
        person_ids=pl.Series(persons),
        status=np.zeros(n, np.uint8),
        score=np.full(n, 0.25),
        band=np.zeros(n, np.uint8),
    )
    return 200, {"content-type": ARROW}, as_arrow(scored)


def with_metadata(**said):
    import pyarrow as pa

    status, headers, content = batch()
    table = pa.ipc.open_stream(content).read_all()
    new = {name.encode(): value for name, value in said.items()}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata({**table.schema.metadata, **new})) as writer:
        writer.write_table(table)
    return status, headers, sink.getvalue().to_pybytes()


def test_only_a_service_that_says_when_is_asked_again(token_file, tmp_path, capsys):
    busy = problem("Busy", 503, **{"retry-after": 0})
    stub, url, seen = answering(busy, problem("Too often", 429, **{"retry-after": 0}), batch())
    assert asked(url, tmp_path / "a.parquet", token_file) == 0
    assert len(seen) == 3
    stub.shutdown()
    for answers, code, n in (
        ([busy] * 9, 2, 6),
        ([problem("No score may leave now", 503)], 30, 1),
        ([problem("Internal error", 500, **{"retry-after": 0})], 1, 1),
        ([problem("Busy", 503, **{"retry-after": 3600})], 2, 1),
        ([(302, {"location": "http://127.0.0.1:9/"}, b"")], 2, 1),
        ([(200, {"content-type": "text/html"}, b"<html>")], 1, 1),
        ([(200, {"content-type": ARROW}, b"\x00nothing")], 1, 1),
        ([batch(persons=("000002", "000001"))], 1, 1),
        ([(200, {"content-type": ARROW, "content-encoding": "gzip"}, b"not gzip")], 1, 1),
        ([with_metadata(need=b"\xff")], 1, 1),
    ):
        stub, url, seen = answering(*answers)
        assert asked(url, tmp_path / "b.parquet", token_file) == code, answers[0]
        assert len(seen) == n
        stub.shutdown()
    assert {headers["accept-encoding"] for headers in seen} == {"identity"}
    said = capsys.readouterr().err
    assert "our fault" not in said
    assert "server: answered 503: Busy. Ask whoever runs it" in said
    assert "not about the people" in said and "came compressed" in said and "Arrow stream" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet"]


def test_one_file_never_rests_on_two_models(token_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(client, "BATCH_ROWS", 1)
    stub, url, _ = answering(batch(persons=("000001",)), batch("b" * 64, ("000002",)))
    assert asked(url, tmp_path / "a.parquet", token_file) == 30
    assert "another model or verdict" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    stub.shutdown()


def test_no_proxy_of_the_environment_sees_the_token(token_file, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    stub, url, seen = answering(batch())
    assert asked(url, tmp_path / "a.parquet", token_file) == 0
    assert seen[0]["authorization"].startswith("Bearer ") and seen[0]["x-purpose"] == "weekly list"
    stub.shutdown()
    assert "ENNAKKO_TOKEN" not in os.environ
