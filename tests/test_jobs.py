"""Whole-cohort jobs: the table in SQLite, the work in this process, and all of it over HTTP with real tokens."""

import fcntl
import io
import json
import stat
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import httpx
import polars as pl
import pyarrow as pa
import pytest
from job_cases import *  # noqa: F403 the cases shared with PostgreSQL
from job_cases import never
from sealed_world import AS_OF, RULE_NEED, World
from served import start, stop, wait_until_it_answers
from sqlalchemy import text

from scoring import scorer as scorer_module
from serving.approval import open_champion
from serving.champions import Guarded
from serving.erasure_work import erase_person
from serving.exchange import ARROW
from serving.job_table import MOST_OF_ONE, MOST_UNFINISHED, JobTable
from serving.jobs import Jobs, _Forgotten
from serving.local_issuer import issue_token, make_issuer
from serving.settings import Settings

COLUMNS = ["person_id", "score", "rank", "rank_band"]
PURPOSE = "scores for the booking system"
WITHIN_S = 60


@pytest.fixture
def engine(tmp_path):
    return Settings(home=tmp_path / "home").engine()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    rules = {"need_text": RULE_NEED, "need_id": "youth_rule"}
    world.rules = World(world.folder / "rules", **rules, shared_home=world.home, shared_city=world.city)
    world.rules.approve()
    make_issuer(world.home, datetime.now(UTC), demonstration=True)
    return world


@pytest.fixture(scope="module")
def jobs(world):
    """The jobs of the home as a worker in this process has them; nothing runs until it is told to."""

    def guarded(of):
        return Guarded(partial(open_champion, of.home, of.need_id))

    desk = SimpleNamespace(city=world.city, guarded={"youth": guarded(world), "youth_rule": guarded(world.rules)})
    return Jobs(world.home, desk)


@contextmanager
def nobody_runs(world):
    """While this process holds the lock, no worker begins a job."""
    with (world.home.root / "jobs.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def of_score(world, day=AS_OF):
    """What ``ennakko score`` gives."""
    return world.score(as_of_date=day).table().select(COLUMNS)


# ---- at work -------------------------------------------------------------------------------------------------------


def test_a_job_s_file_is_what_ennakko_score_writes(world, jobs):
    for need, of in (("youth", world), ("youth_rule", world.rules)):
        job, _ = jobs.table.ask(need, AS_OF, "anna", jobs.holds)
        jobs.run_all()
        done = jobs.table.find(job.job_id)
        expected = of.score().table()
        assert (done.state, done.n) == ("done", expected.height), done.faults
        assert pl.read_parquet(jobs.path_of(done)).equals(expected)
        assert stat.S_IMODE(jobs.path_of(done).stat().st_mode) == 0o600
        assert jobs.scores_of(done).equals(expected.select(COLUMNS))
        assert jobs.holds(done) and jobs.table.ask(need, AS_OF, "anna", jobs.holds)[0].job_id == job.job_id
        someone = expected["person_id"][0]
        assert world.home.store.scores_of(someone, need).height == 1  # so that a resident can be told
        jobs.forget(done)
        assert not jobs.path_of(done).exists() and jobs.table.find(job.job_id) is None


def test_a_large_cohort_tells_how_far_it_is_and_can_be_cancelled_within(world, jobs, monkeypatch):
    monkeypatch.setattr(scorer_module, "MOST_CELLS_HELD", 0)
    job, _ = jobs.table.ask("youth", AS_OF, "anna", never)
    told = []
    tell = jobs.table.tell
    monkeypatch.setattr(jobs.table, "tell", lambda *said: told.append(said[1:]) or tell(*said))
    jobs.run_all()
    assert jobs.scores_of(jobs.table.find(job.job_id)).equals(of_score(world))
    shares = [progress for _, progress in told]
    assert shares == sorted(shares) and shares[0] == 0.0 and ("scoring", 0.8) in told

    other, _ = jobs.table.ask("youth", AS_OF, "bo", never)

    def cancelled(*said):
        if said[1:] == ("scoring", 0.8):
            jobs.forget(other)
        return tell(*said)

    monkeypatch.setattr(jobs.table, "tell", cancelled)
    assert jobs.table.begin_next().job_id == other.job_id
    with pytest.raises(_Forgotten):
        jobs._score(jobs.table.find(other.job_id))
    assert not jobs.path_of(other).exists()
    jobs.forget(job)


def test_trust_is_looked_at_before_and_after_and_a_failed_job_says_why(world, jobs, monkeypatch):
    for when in ("before", "after"):
        job, _ = jobs.table.ask("youth", AS_OF, "anna", never)
        if when == "before":
            world.stop_switch.set("two wrong answers")
        else:
            monkeypatch.setattr(world.home.store, "add_scores", lambda scores: world.stop_switch.set("wrong answers"))
        try:
            jobs.run_all()
        finally:
            world.stop_switch.clear()
            monkeypatch.undo()
        failed = jobs.table.find(job.job_id)
        assert (failed.state, failed.faults[0].where) == ("failed", "stop switch"), when
        assert not jobs.path_of(job).exists()


def test_scores_of_a_model_that_was_replaced_meanwhile_are_made_anew_by_the_new_one(world, jobs, monkeypatch):
    job, _ = jobs.table.ask("youth", AS_OF, "anna", never)
    another = SimpleNamespace(model=SimpleNamespace(digest="b" * 64), verified=world.scorer.verified)
    found = [world.scorer, another]  # at the beginning, and at the end; then the one in use again
    monkeypatch.setattr(jobs, "_trusted", lambda job: found.pop(0) if found else world.scorer)
    jobs.run_all()
    done = jobs.table.find(job.job_id)
    assert (done.state, done.tries, done.model_digest, found) == ("done", 1, world.model.digest, [])
    jobs.forget(done)


def test_whoever_objects_while_scores_are_made_is_in_none(world, jobs, monkeypatch):
    first, second = of_score(world)["person_id"][:2]
    job, _ = jobs.table.ask("youth", AS_OF, "anna", never)
    add_scores = world.home.store.add_scores

    def objecting_meanwhile(scores):
        add_scores(scores)
        world.home.objections.object(first, "youth")

    monkeypatch.setattr(world.home.store, "add_scores", objecting_meanwhile)
    try:
        jobs.run_all()
        done = jobs.table.find(job.job_id)
        assert done.state == "done" and done.n == of_score(world).height
        assert first.encode() not in jobs.path_of(done).read_bytes()
        assert not jobs.holds(done)  # somebody has objected since it was begun
        world.home.objections.object(second, "youth")
        assert second not in jobs.scores_of(done)["person_id"]
    finally:
        for person in (first, second):
            world.home.objections.withdraw(person, "youth")
    assert second in jobs.scores_of(done)["person_id"]


def test_a_job_cut_short_is_taken_up_by_the_next_worker(world, jobs):
    job, _ = jobs.table.ask("youth", AS_OF, "killed", never)
    assert jobs.table.begin_next().job_id == job.job_id  # and its process is no more
    with nobody_runs(world):
        jobs.run_all()
        assert jobs.table.find(job.job_id).state == "running"  # by another, for all this worker knows
    jobs.run_all()
    found = jobs.table.find(job.job_id)
    assert (found.state, found.tries) == ("done", 2)


def test_a_service_that_stops_puts_its_job_back(world, jobs):
    job, _ = jobs.table.ask("youth", AS_OF, "stopping", never)
    stopping = Jobs(world.home, jobs._desk)
    begun = stopping.table.begin_next()
    stopping.close()
    stopping._run(begun)
    assert (jobs.table.find(job.job_id).state, jobs.table.find(job.job_id).tries) == ("waiting", 0)
    jobs.forget(job)


def test_a_fault_of_the_service_is_told_without_data_and_the_next_job_is_begun(world, jobs, monkeypatch, caplog):
    bad, _ = jobs.table.ask("youth", AS_OF, "first", never)
    good, _ = jobs.table.ask("youth_rule", AS_OF, "second", never)

    def breaks(scores):
        monkeypatch.undo()
        raise KeyError(scores.frame["person_id"][0])

    monkeypatch.setattr(world.home.store, "add_scores", breaks)
    jobs.run_all()
    assert jobs.table.find(bad.job_id).faults[0].wrong == "ended by a fault of the service"
    assert jobs.table.find(good.job_id).state == "done"
    assert "KeyError in a job" in caplog.text and "0000" not in caplog.text


def test_jobs_and_their_files_go_by_age(world, jobs):
    job, _ = jobs.table.ask("youth", AS_OF, "old", never)
    jobs.run_all()
    assert jobs.sweep(datetime.now(UTC) + timedelta(days=6)) == 0
    assert jobs.path_of(job).exists()
    assert jobs.sweep(datetime.now(UTC) + timedelta(days=8)) >= 1
    assert jobs.table.find(job.job_id) is None and not jobs.path_of(job).exists()
    assert world.home.audit_log.facts_of("jobs swept")


# ---- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(world):
    table = JobTable(world.home.engine)
    left = [table.ask("youth", date(2024, 5, day), "a service before this one", never)[0] for day in (6, 7)]
    assert table.begin_next().job_id == left[0].job_id  # its process was killed then; the other one waits
    server = start(world, "youth,youth_rule")
    wait_until_it_answers(server)
    server.left = left
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said and "Error" not in said


@pytest.fixture(scope="module")
def token(world):
    now = datetime.now(UTC)

    def made(role="system", needs=("youth", "youth_rule"), units=(), subject="a test"):
        return issue_token(world.home, role, needs=needs, units=units, subject=subject, minutes=30, now=now)["token"]

    return made


@pytest.fixture(scope="module")
def ask(server, token):
    own = token(subject="the booking system")
    client = httpx.Client(base_url=server.url, timeout=60)

    def asked(method, path, body=None, *, by=own, purpose=PURPOSE, **headers):
        headers |= {"authorization": f"Bearer {by}", **({"x-purpose": purpose} if purpose else {})}
        return client.request(method, path, json=body, headers=headers)

    yield asked
    client.close()


def of(day=AS_OF, need="youth"):
    return {"need": need, "as_of_date": str(day)}


def title_of(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["title"]


def done(ask, answer, **more):
    """The job once it is done."""
    assert answer.status_code == 202, answer.text
    until, seen = time.monotonic() + WITHIN_S, []
    while time.monotonic() < until:
        found = ask("GET", answer.headers["location"], **more).json()
        seen.append(found["progress"])
        if found["state"] in ("done", "failed"):
            assert found["state"] == "done" and seen == sorted(seen) and seen[-1] == 1.0, found
            return found
        time.sleep(0.02)
    raise AssertionError(f"not done: {found}")


def test_jobs_that_an_earlier_service_left_are_done_by_the_next_one(world, server, ask):
    until = time.monotonic() + WITHIN_S
    table = JobTable(world.home.engine)
    while not table.is_idle() and time.monotonic() < until:
        time.sleep(0.05)
    found = [table.find(job.job_id) for job in server.left]
    assert [(job.state, job.tries) for job in found] == [("done", 2), ("done", 1)]
    for job in found:
        assert title_of(ask("GET", f"/jobs/{job.job_id}")) == (404, "Unknown job")  # another asked for it


def test_a_whole_cohort_is_scored_as_ennakko_score_does_to_the_bit(world, ask):
    for need, of_need in (("youth", world), ("youth_rule", world.rules)):
        asked = ask("POST", "/jobs", of(need=need))
        job = done(ask, asked)
        expected = of_score(of_need)
        assert asked.headers["location"] == f"/jobs/{job['job_id']}"
        assert (job["n"], job["doing"], job["faults"]) == (expected.height, "done", [])
        path = f"/jobs/{job['job_id']}/scores"
        told = ask("GET", path).json()
        rows = pl.DataFrame(told["rows"], schema=expected.schema)
        assert rows.equals(expected)
        assert (told["model_digest"], told["need"]) == (of_need.model.digest, need)
        answer = ask("GET", path, accept=ARROW)
        assert answer.headers["content-type"] == ARROW
        table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
        assert pl.from_arrow(table).equals(expected)
        assert table.schema.metadata[b"verdict_id"].decode() == told["verdict_id"]
        assert title_of(ask("GET", path, accept="text/html")) == (406, "No such kind of answer")


def test_asking_again_is_the_same_job_until_somebody_objects(world, ask):
    first = done(ask, ask("POST", "/jobs", of()))
    assert ask("POST", "/jobs", of()).json()["job_id"] == first["job_id"]
    person, path = of_score(world)["person_id"][5], f"/jobs/{first['job_id']}/scores"
    world.home.objections.object(person, "youth")
    try:
        rows = ask("GET", path).json()["rows"]
        assert person not in [row["person_id"] for row in rows] and len(rows) == first["n"] - 1
        assert [row["rank"] for row in rows][:7] == [1, 2, 3, 4, 5, 7, 8]
        second = done(ask, ask("POST", "/jobs", of()))
        assert second["job_id"] != first["job_id"] and second["n"] == first["n"] - 1
    finally:
        world.home.objections.withdraw(person, "youth")


def test_an_erased_person_goes_from_the_file_of_a_job(world, ask):
    job = done(ask, ask("POST", "/jobs", of(date(2024, 5, 13))))
    file = world.home.scores / "youth" / f"job-{job['job_id']}.parquet"
    person = pl.read_parquet(file)["person_id"][-1]
    erased = erase_person(world.home, person, by="dpo", reason="asked for it")
    assert str(file.relative_to(world.home.root)) in erased["rewritten"]
    assert person.encode() not in file.read_bytes()
    rows = ask("GET", f"/jobs/{job['job_id']}/scores").json()["rows"]
    assert len(rows) == job["n"] - 1 and person not in [row["person_id"] for row in rows]


def test_while_a_job_waits_its_scores_are_refused_and_it_can_be_cancelled(world, ask):
    with nobody_runs(world):
        job = ask("POST", "/jobs", of(date(2024, 4, 1))).json()
        assert (job["state"], job["progress"], job["n"]) == ("waiting", 0.0, None)
        refused = ask("GET", f"/jobs/{job['job_id']}/scores")
        assert title_of(refused) == (409, "Not done") and refused.headers["retry-after"]
        gone = ask("DELETE", f"/jobs/{job['job_id']}")
        assert (gone.status_code, gone.content, "content-length" in gone.headers) == (204, b"", False)
        assert title_of(ask("GET", f"/jobs/{job['job_id']}")) == (404, "Unknown job")
    assert title_of(ask("DELETE", f"/jobs/{job['job_id']}")) == (404, "Unknown job")


def test_only_so_many_jobs_are_taken(world, ask, token):
    days = [date(2023, 8, 7) + timedelta(days=7 * i) for i in range(MOST_OF_ONE + 1)]
    with nobody_runs(world):
        taken = [(ask("POST", "/jobs", of(day)), {}) for day in days]
        refused = taken.pop()[0]
        assert title_of(refused) == (429, "Too many jobs") and int(refused.headers["retry-after"]) > 0
        for number in range(MOST_UNFINISHED // MOST_OF_ONE):
            more = {"by": token(subject=f"system {number}")}
            taken += [(ask("POST", "/jobs", of(day), **more), more) for day in days[:-1]]
        full = [answer for answer, _ in taken if answer.status_code != 202]
        assert len(full) == MOST_OF_ONE and {title_of(answer) for answer in full} == {(503, "Busy")}
        for answer, more in taken:
            if answer.status_code == 202:
                assert ask("DELETE", answer.headers["location"], **more).status_code == 204


def test_another_s_job_is_answered_as_one_that_never_was(ask, token):
    own = done(ask, ask("POST", "/jobs", of()))
    others = [token(subject="another system"), token(needs=("youth",), subject="the booking system")]
    others += [token(needs=("youth_rule",), subject="the booking system")]
    for method, rest in (("GET", ""), ("GET", "/scores"), ("DELETE", "")):
        absent = ask(method, f"/jobs/{'0' * 32}{rest}")
        assert title_of(absent) == (404, "Unknown job")
        assert ask(method, f"/jobs/%00{rest}").content == absent.content
        for other in others:
            foreign = ask(method, f"/jobs/{own['job_id']}{rest}", by=other)
            assert (foreign.status_code, foreign.content) == (404, absent.content)
    refused = [token(role, ()) for role in ("auditor", "data_scientist", "service_point")]
    for by in (*refused, token("unit", ("youth",), ("north",))):
        assert title_of(ask("POST", "/jobs", of(), by=by)) == (403, "Not for this role")
    assert title_of(ask("POST", "/jobs", of(), by=others[-1])) == (404, "Unknown need")
    assert ask("POST", "/jobs", of(), by=others[1]).status_code == 202


def test_a_job_that_cannot_be_is_refused_in_words(world, ask):
    assert title_of(ask("POST", "/jobs", {"need": "youth"})) == (422, "The body cannot be used")
    assert title_of(ask("POST", "/jobs", {**of(), "persons": []})) == (422, "The body cannot be used")
    assert title_of(ask("POST", "/jobs", of(need="elderly"))) == (404, "Unknown need")
    assert title_of(ask("POST", "/jobs", of(date(2025, 1, 1)))) == (422, "Too late")
    assert title_of(ask("POST", "/jobs", of(date(1990, 1, 1)))) == (422, "Too early")
    assert title_of(ask("POST", "/jobs", of(), purpose=None)) == (400, "No purpose")
    person = of_score(world)["person_id"][0]
    world.home.store.refer([person])
    assert title_of(ask("POST", "/jobs", of(), purpose=f"about {person}")) == (422, "The purpose cannot be kept")


def test_scores_are_read_only_while_what_they_rest_on_is_trusted(world, ask):
    job = done(ask, ask("POST", "/jobs", of()))
    path = f"/jobs/{job['job_id']}/scores"
    world.stop_switch.set("two wrong answers")
    try:
        for answer in (ask("GET", path), ask("POST", "/jobs", of(date(2024, 4, 8)))):
            assert title_of(answer) == (503, "No score may leave now")
            assert answer.json()["errors"][0]["where"] == "stop switch"
    finally:
        world.stop_switch.clear()
    assert ask("GET", path).status_code == 200
    verdict = "UPDATE score_jobs SET verdict_id = :verdict WHERE job_id = :job"
    with world.home.engine.begin() as connection:
        connection.execute(text(verdict), {"verdict": "v-another", "job": job["job_id"]})
    assert title_of(ask("GET", path)) == (409, "Not in force")
    again = done(ask, ask("POST", "/jobs", of()))
    assert again["job_id"] != job["job_id"]
    (world.home.scores / "youth" / f"job-{again['job_id']}.parquet").unlink()
    assert title_of(ask("GET", f"/jobs/{again['job_id']}/scores")) == (410, "No longer kept")


def test_who_asked_and_who_read_is_in_the_audit_log_with_everybody_told_of(world, ask):
    log = world.home.audit_log
    begun = len(log.rows())
    job = done(ask, ask("POST", "/jobs", of(date(2024, 5, 20))))
    rows = ask("GET", f"/jobs/{job['job_id']}/scores").json()["rows"]
    ask("DELETE", f"/jobs/{job['job_id']}")
    mine = [row for row in log.rows()[begun:] if json.loads(row["facts"]).get("job") == job["job_id"]]
    assert {row["action"] for row in mine} == {"score job", "score", "score job read", "score job forgotten"}
    facts = [json.loads(row["facts"]) for row in mine if row["action"] == "score job read"]
    told = {ref for fact in facts for ref in fact["persons"].split()}
    assert told == set(world.home.store.refs([row["person_id"] for row in rows]).values())
    assert {fact["purpose"] for fact in facts} == {PURPOSE} and len({fact["subject"] for fact in facts}) == 1
    assert "booking" not in str([row["actor"] for row in mine]) and log.verify() == []


# ---- open data -----------------------------------------------------------------------------------------------------


def test_the_area_table_is_open_to_anyone_and_told_once(world, server):
    from scoring.area_table import District, area_rows, as_csv

    url = f"{server.url}/open-data/youth.csv"
    assert title_of(httpx.get(url)) == (404, "Nothing published")
    rows = area_rows("youth", [District("a", 300, 30, 41.2), District("b", 200, 40, 12.0)], least=5)
    others = area_rows("elderly", [District("a", 300, 30, 41.2)], least=5)
    weeks = world.home.root / "week"
    for day, some in (("2024-05-27", [*rows[:1], *others]), ("2024-06-03", [*others, *rows]), ("2024-06-10", others)):
        (weeks / day).mkdir(parents=True)
        (weeks / day / "area.csv").write_text(as_csv(some), encoding="utf-8", newline="")
    answer = httpx.get(url)
    assert answer.status_code == 200 and answer.text == as_csv(rows)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = httpx.get(url, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert httpx.get(url, headers={"if-none-match": '"another"'}).status_code == 200
    for path in ("/open-data/nothing.csv", "/open-data/..%2Fyouth.csv", "/open-data/%00.csv", "/open-data/need.csv"):
        assert httpx.get(server.url + path).status_code == 404
