"""Cases of the table of jobs that hold on SQLite and on PostgreSQL alike; ``engine`` is where it lives."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text

from ethics.refusals import Fault
from serving.job_table import MOST_OF_ONE, MOST_TRIES, MOST_UNFINISHED, JobTable, TooManyJobs

DAY = date(2024, 6, 3)
SCORED = {"n": 12, "model_digest": "a" * 64, "verdict_id": "v-1", "masking": "(0, 0, 0)"}


def never(job):
    return False


def always(job):
    return True


def ask(table, asked_by="anna", day=DAY, holds=never):
    return table.ask("youth", day, asked_by, holds)


def test_a_job_goes_from_waiting_to_done(engine):
    table = JobTable(engine)
    job, is_new = ask(table)
    assert (job.state, job.progress, job.n, job.ended_at, is_new) == ("waiting", 0.0, None, None, True)
    assert not table.is_idle() and JobTable(engine).find(job.job_id) == job
    begun = table.begin_next()
    assert (begun.job_id, begun.state, begun.tries) == (job.job_id, "running", 1)
    assert table.tell(job.job_id, "scoring", 0.5) and table.find(job.job_id).progress == 0.5
    assert table.end(job.job_id, **SCORED)
    done = table.find(job.job_id)
    assert (done.state, done.progress, done.n, done.model_digest) == ("done", 1.0, 12, "a" * 64)
    assert done.ended_at <= datetime.now(UTC) and table.is_idle() and table.begin_next() is None
    assert not table.tell(job.job_id, "scoring", 0.1) and not table.end(job.job_id, **SCORED)


def test_the_same_question_is_the_same_job_while_it_holds(engine):
    table = JobTable(engine)
    job, _ = ask(table)
    assert ask(table) == (job, False)
    assert ask(table, "bo")[1] and ask(table, day=DAY + timedelta(days=7))[1]
    table.begin_next()
    assert ask(table)[0].job_id == job.job_id
    table.end(job.job_id, **SCORED)
    assert ask(table, holds=always)[0].job_id == job.job_id
    again, is_new = ask(table, holds=never)
    assert is_new and again.job_id != job.job_id


def test_a_failed_job_says_why_and_is_asked_anew(engine):
    table, fault = JobTable(engine), Fault("verdict", "expired", "Judge again")
    job, _ = ask(table)
    table.begin_next()
    table.fail(job.job_id, [fault])
    found = table.find(job.job_id)
    assert (found.state, found.faults, found.is_unfinished) == ("failed", (fault,), False)
    assert ask(table, holds=always)[0].job_id != job.job_id


def test_a_job_that_was_cut_short_comes_first_and_fails_after_so_many_times(engine):
    table = JobTable(engine)
    first, second = ask(table)[0], ask(table, "bo")[0]
    for tries in range(1, MOST_TRIES + 1):
        begun = table.begin_next()
        assert (begun.job_id, begun.tries) == (first.job_id, tries)
    assert table.begin_next().job_id == second.job_id
    failed = table.find(first.job_id)
    assert (failed.state, failed.faults[0].wrong) == ("failed", f"was cut short {MOST_TRIES} times")
    table.put_back(second.job_id)
    assert (table.find(second.job_id).state, table.find(second.job_id).tries) == ("waiting", 0)


def test_so_many_jobs_wait_and_no_more(engine):
    table = JobTable(engine)
    days = [DAY + timedelta(days=i) for i in range(MOST_OF_ONE + 1)]
    mine = [ask(table, day=day)[0] for day in days[:-1]]
    with pytest.raises(TooManyJobs) as full:
        ask(table, day=days[-1])
    assert full.value.of_one and ask(table, day=days[0]) == (mine[0], False)
    for i in range(MOST_UNFINISHED - MOST_OF_ONE):
        ask(table, f"asker {i}")
    with pytest.raises(TooManyJobs) as full:
        ask(table, "one more")
    assert not full.value.of_one
    table.forget(mine[0].job_id)
    assert table.find(mine[0].job_id) is None and ask(table, "one more")[1]


def test_many_who_ask_at_once_are_given_one_job(engine):
    JobTable(engine)

    def asked(_):
        return ask(JobTable(engine))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(asked, range(16)))
    assert len({job.job_id for job, _ in found}) == 1 and sum(is_new for _, is_new in found) == 1


def test_old_jobs_are_found_and_the_table_names_nobody(engine):
    table = JobTable(engine)
    job, _ = ask(table)
    table.begin_next()
    table.end(job.job_id, **SCORED)
    now = datetime.now(UTC)
    assert table.ended_before(now - timedelta(days=1)) == []
    assert [one.job_id for one in table.ended_before(now + timedelta(seconds=1))] == [job.job_id]
    with engine.connect() as connection:
        names = connection.execute(text("SELECT * FROM score_jobs")).keys()
    assert not any("person" in name for name in names)
