"""The parts of the HTTP service by themselves: limits, log, audit lines in groups, the kept look, who may ask."""

import asyncio
import inspect
import io
import json
import shutil
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest

from ethics.objections import CHANNELS
from ethics.refusals import BadInput, Fault, NotTrusted
from serving import answers, audit_desk, list_desk, person_desk
from serving.access import Access, access_of, purpose_of
from serving.answers import _not_ready
from serving.audit_queue import AuditQueue
from serving.endpoints import ENDPOINTS
from serving.exchange import ARROW, JSON, Act, Asked, Unanswered
from serving.home import Home
from serving.kept_look import PostgresLook, look_of
from serving.limits import Bodies, Deadlines, GoneAway, Limits, Rates, Room, content_kind
from serving.negotiation import chosen_kind
from serving.request_log import RequestLog
from serving.serving_state import ServingState
from serving.settings import Settings


@pytest.fixture
def home(tmp_path):
    home = Home(Settings(home=tmp_path / "home"))
    home.objections.count()
    return home


# ---- who objects -----------------------------------------------------------------------------------------------


def test_the_kept_look_sees_every_objection_at_once(home):
    look = look_of(home)
    states = [look.state()]
    assert not look.masked("a", "youth")
    home.objections.object("a", "youth")
    assert look.masked("a", "youth") and not look.masked("a", "care") and not look.masked("b", "youth")
    states.append(look.state())
    home.objections.withdraw("a", "youth")
    home.objections.object("b")
    assert not look.masked("a", "youth") and look.masked("b", "care")
    states.append(look.state())
    home.objections.object("b")
    assert look.state() == states[-1]
    assert len(set(states)) == 3
    look.close()


def test_the_kept_look_sees_who_was_erased_and_a_store_that_began_meanwhile(home):
    look = look_of(home)
    assert not look.masked("a", "youth")
    home.store.refer(["a", "b"])
    home.store.erase("a")
    look._looked_until = 0.0  # it looks ten times a second whether there is a store
    assert look.masked("a", "youth") and not look.masked("b", "youth")
    home.store.erase("b")
    assert look.masked("b", "youth")


def test_the_kept_look_sees_who_refuses_every_channel_as_the_register_does(home):
    look = look_of(home)
    for channel in CHANNELS[1:]:
        home.objections.object("a", "youth", channel=channel)
    assert not look.masked("a", "youth")
    before = look.state()
    home.objections.object("a", channel=CHANNELS[0])  # for every need
    assert look.masked("a", "youth") and not look.masked("a", "care") and not look.masked("b", "youth")
    assert home.objections.objecting(["a", "b"], "youth").tolist() == [True, False]
    assert look.state() != before
    home.objections.withdraw("a", "youth", channel=CHANNELS[1])
    assert not look.masked("a", "youth")
    look.close()


def test_the_kept_look_opens_a_database_that_was_put_in_place_of_the_other(home):
    path = home.root / "ennakko.db"
    look = look_of(home)
    assert not look.masked("a", "youth")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(path, path.with_name("backup.db"))
    other = Home(Settings(home=home.root, database_url=f"sqlite:///{path.with_name('backup.db')}"))
    other.objections.object("a", "youth")
    with sqlite3.connect(path.with_name("backup.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path.with_name("backup.db").replace(path)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    look._looked_until = 0.0
    assert look.masked("a", "youth")


def test_a_database_that_is_gone_is_no_answer(home):
    look = look_of(home)
    assert not look.masked("a", "youth")
    for path in home.root.glob("ennakko.db*"):
        path.unlink()
    look._looked_until = 0.0
    with pytest.raises(OSError):
        look.masked("a", "youth")


def test_a_database_elsewhere_is_asked_in_a_thread(tmp_path):
    url = "postgresql+psycopg://reader@localhost/city"
    look = look_of(Home(Settings(home=tmp_path / "home", database_url=url)))
    assert isinstance(look, PostgresLook)
    assert look.waits


# ---- audit lines -----------------------------------------------------------------------------------------------

WHO = {"role": "unit", "subject": "f" * 32, "purpose": "list", "request": "r"}


def kept(home, *acts, times=1):
    async def keep():
        queue = AuditQueue(home)
        try:
            await asyncio.gather(*(queue.keep(acts, {**WHO, "request": str(i)}) for i in range(times)))
        finally:
            queue.close()

    asyncio.run(keep())
    return [json.loads(row["facts"]) for row in home.audit_log.rows()]


def test_acts_that_wait_are_written_together_and_in_order(home):
    facts = kept(home, Act("score", {"need": "youth"}, ("a",)), times=40)
    refs = home.store.refs(["a"])
    assert [fact["request"] for fact in facts] == [str(i) for i in range(40)]
    assert {fact["persons"] for fact in facts} == {refs["a"]}
    moments = {row["at"] for row in home.audit_log.rows()}
    assert len(moments) < 20  # many lines share a transaction
    assert home.audit_log.verify() == []


def test_many_persons_are_several_lines_and_the_erased_have_none(home):
    home.store.refer(["gone"])
    home.store.erase("gone")
    people = tuple(f"p{i:04d}" for i in range(1201))
    facts = kept(home, Act("score batch", {"n": 1202}, ("gone", *people)))
    refs = home.store.refs(people)
    assert [len(fact["persons"].split()) for fact in facts] == [500, 500, 201]
    assert " ".join(fact["persons"] for fact in facts).split() == [refs[person] for person in people]


def test_what_kept_an_act_from_the_log_is_raised_and_the_next_goes_on(home, monkeypatch):
    log = home.audit_log

    async def keep():
        queue = AuditQueue(home)
        with monkeypatch.context() as broken:
            broken.setattr(log, "append_all", lambda *_a, **_k: (_ for _ in ()).throw(OSError("no room")))
            with pytest.raises(OSError, match="no room"):
                await queue.keep([Act("score", {})], WHO)
        await queue.keep([Act("score", {})], WHO)
        queue.close()

    asyncio.run(keep())
    assert len(log.rows()) == 1


def test_nothing_more_is_answered_while_the_head_of_the_chain_cannot_be_kept(home, monkeypatch):
    log = home.audit_log

    def full():
        raise OSError("no room for the head")

    async def keep():
        queue = AuditQueue(home)
        await queue.keep([Act("score", {})], WHO)
        with monkeypatch.context() as broken:
            broken.setattr(log, "keep_head", full)
            queue._keep_head()
            with pytest.raises(OSError, match="no room for the head"):
                await queue.keep([Act("score", {})], WHO)
        await queue.keep([Act("score", {})], WHO)
        queue.close()

    asyncio.run(keep())
    assert len(log.rows()) == 2
    assert log.verify() == []


def test_readiness_tells_that_an_act_cannot_be_kept_and_that_it_can_again(home, monkeypatch):
    desk = SimpleNamespace(guarded={}, objections=home.objections)
    lock = home.root / "audit_head.json.lock"

    async def keep():
        queue = AuditQueue(home)
        assert _not_ready(desk, queue) == []
        lock.unlink(missing_ok=True)
        lock.mkdir()
        told = [[fault.where for fault in _not_ready(desk, queue)]]
        lock.rmdir()
        with monkeypatch.context() as broken:
            broken.setattr(home.audit_log, "append_all", lambda *_a, **_k: (_ for _ in ()).throw(OSError("no room")))
            with pytest.raises(OSError, match="no room"):
                await queue.keep([Act("score", {})], WHO)
        told.append([fault.where for fault in _not_ready(desk, queue)])
        await queue.keep([Act("score", {})], WHO)
        told.append(_not_ready(desk, queue))
        queue._failed_at = time.monotonic() - 31  # nobody has asked since
        told.append(_not_ready(desk, queue))
        queue.close()
        return told

    assert asyncio.run(keep()) == [["audit log"], ["audit log"], [], []]


# ---- limits ----------------------------------------------------------------------------------------------------


def test_a_token_has_its_rate_and_others_theirs():
    moment = [0.0]
    rates = Rates(Limits(rate=2.0, burst=3.0), clock=lambda: moment[0])
    for _ in range(3):
        rates.take("a")
    with pytest.raises(Unanswered) as refused:
        rates.take("a")
    assert refused.value.headers == {"Retry-After": "1"}
    rates.take("b")
    moment[0] = 0.5
    rates.take("a")
    with pytest.raises(Unanswered):
        rates.take("a")
    moment[0] = 1000.0
    for _ in range(3):
        rates.take("a")
    for number in range(20_000):
        rates.take(str(number))
    assert len(rates._buckets) == 10_000


def receiving(*messages):
    left = list(messages)

    async def receive():
        return left.pop(0)

    return receive


def piece(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


def read(receive, most=10, headers=None, limits=None):
    bodies = Bodies(limits or Limits(), Deadlines())
    kinds = ("application/json",)
    try:
        return asyncio.run(bodies.read(receive, headers or {"content-type": "application/json"}, kinds, most))
    finally:
        read.held = bodies.held


def test_what_is_held_of_bodies_is_bounded_and_given_back():
    assert read(receiving(piece(b"{"), piece(b"}", False))) == (b"{}", "application/json")
    assert read.held == 2
    with pytest.raises(Unanswered, match="Too long"):
        read(receiving(piece(b"x" * 8), piece(b"x" * 8), piece(b"", False)))
    assert read.held == 0
    with pytest.raises(Unanswered, match="Busy"):
        read(receiving(piece(b"x" * 8, False)), limits=Limits(held_bytes=5))
    assert read.held == 0
    with pytest.raises(GoneAway):
        read(receiving(piece(b"x"), {"type": "http.disconnect"}))
    assert read.held == 0
    with pytest.raises(Unanswered, match="Too long"):
        read(receiving(piece(b"", False)), headers={"content-type": "application/json", "content-length": "11"})


def test_a_task_that_is_late_is_told_so_and_others_go_on():
    async def late(deadlines, seconds):
        deadlines.set(time.monotonic() + seconds, lambda: Unanswered(408, "Too slow"))
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            return deadlines.missed()
        finally:
            deadlines.clear()
        return "in time"

    async def both():
        deadlines = Deadlines()
        watch = asyncio.create_task(deadlines.watch())
        found = await asyncio.gather(late(deadlines, 0.0), late(deadlines, 60.0))
        watch.cancel()
        return found, deadlines._due

    (first, second), left = asyncio.run(both())
    assert (first.problem.title, second, left) == ("Too slow", "in time", {})


def test_a_room_takes_so_many_and_turns_the_next_away():
    async def fill():
        room, told = Room(1, 1), []

        async def work(seconds):
            try:
                await room.do(time.sleep, seconds)
                told.append("done")
            except Unanswered as unanswered:
                told.append(unanswered.problem.title)

        await asyncio.gather(work(0.05), work(0.0), work(0.0))
        await work(0.0)
        return told

    assert sorted(asyncio.run(fill())) == ["Busy", "done", "done", "done"]


def test_a_place_is_taken_until_its_thread_is_done_and_no_longer():
    """Whoever was told "Too slow" may come back at once; the work they left behind still counts."""
    begun, free, inside = threading.Event(), threading.Event(), []

    async def fill():
        room = Room(1, 0)
        late = asyncio.create_task(room.do(lambda: (begun.set(), free.wait(60.0))))
        while not begun.is_set():
            await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        with pytest.raises(Unanswered, match="Busy"):
            await room.do(inside.append, "too early")
        free.set()
        while room._inside:
            await asyncio.sleep(0)
        await room.do(inside.append, "in its turn")
        waiting = Room(1, 1)
        first, second = (asyncio.create_task(waiting.do(bool)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([first, second])
        assert waiting._inside == 0
        room.close()

    asyncio.run(fill())
    assert inside == ["in its turn"]


def test_probes_are_answered_while_every_other_thread_is_at_work():
    free = threading.Event()

    async def fill():
        state = ServingState()
        rooms = (state.room, state.views, state.objecting, state.lists, state.audit_reads)
        heavy = [room.do(free.wait, 60.0) for room in rooms for _ in range(3)]
        light = [state.in_thread(free.wait, 60.0) for _ in range(8)]
        tasks = [asyncio.ensure_future(work) for work in (*heavy, *light)]
        found = await asyncio.wait_for(state.probe(str, "ready"), 30)
        assert not any(task.done() for task in tasks)
        free.set()
        await asyncio.gather(*tasks)
        return found

    assert asyncio.run(fill()) == "ready"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "br", "identity, gzip"])
def test_a_coding_is_not_undone(coding):
    with pytest.raises(Unanswered, match="Compressed"):
        content_kind({"content-type": JSON, "content-encoding": coding}, (JSON,))


# ---- log -------------------------------------------------------------------------------------------------------


def test_lines_are_json_and_leave_out_what_is_not_there():
    out = io.StringIO()
    log = RequestLog(out)
    log.line(at=0.0, request="r", rows=None, path="/sc\nore")
    log.close()
    assert out.getvalue() == '{"at": "1970-01-01T00:00:00.000+00:00", "request": "r", "path": "/sc\\nore"}\n'


def test_a_log_that_nobody_reads_stops_nobody():
    blocked, dropped = threading.Event(), []

    class Full(io.StringIO):
        def write(self, _text):
            blocked.wait(20)
            raise BrokenPipeError

    log = RequestLog(Full(), lambda: dropped.append(1))
    log.line(at=0.0)
    time.sleep(0.3)
    for _ in range(10_005):
        log.line(at=0.0)
    assert len(dropped) == 5
    blocked.set()
    log.close()
    assert len(dropped) == 5 + 1 + 10_000


# ---- who may ask -----------------------------------------------------------------------------------------------


def admitted(access, roles=("unit",), headers=None, **keywords):
    return asyncio.run(access.admit(headers or {}, roles, **keywords))


def refused(access, **keywords):
    with pytest.raises(Unanswered) as caught:
        admitted(access, **keywords)
    return caught.value.problem.status


def test_without_an_issuer_nobody_is_let_in_but_on_trial():
    assert refused(Access()) == refused(Access(), on_trial=True) == 401
    assert admitted(Access(), roles=()) is None
    assert admitted(Access(without_tokens=True), on_trial=True) is None
    assert refused(Access(without_tokens=True)) == 401
    with pytest.raises(ValueError, match="asks for tokens"):
        Access(lambda _headers: None, without_tokens=True)


def test_only_what_a_demonstration_shows_is_on_trial():
    on_trial = {endpoint.path for endpoint in ENDPOINTS if endpoint.on_trial}
    assert on_trial == {"/score", "/score_batch", "/needs", "/verdict"}


def test_tokens_are_needless_neither_beside_an_issuer_nor_where_others_can_knock():
    without = Settings(without_tokens=True)
    assert access_of(Settings(), SimpleNamespace(trusted=())).without_tokens is False
    assert access_of(without, SimpleNamespace(trusted=())).without_tokens is True
    with pytest.raises(BadInput, match="this home has an issuer"):
        access_of(without, SimpleNamespace(trusted=("an issuer",)))
    with pytest.raises(BadInput, match="ENNAKKO_WITHOUT_TOKENS is set, and others than this machine can reach 0"):
        Settings.from_environment({"ENNAKKO_WITHOUT_TOKENS": "1", "ENNAKKO_HOST": "0.0.0.0"})


def test_an_identity_is_let_in_by_its_role_alone():
    unit = SimpleNamespace(role="unit")

    async def later(_headers):
        return unit

    for authenticate in (lambda _headers: unit, later):
        assert admitted(Access(authenticate)) is unit
        assert refused(Access(authenticate), roles=("auditor",)) == 403
    assert refused(Access(lambda _headers: SimpleNamespace(role=None))) == 403


def test_whatever_goes_wrong_with_a_token_lets_nobody_in():
    def raising(error):
        def authenticate(_headers):
            raise error

        return Access(authenticate)

    for error in (NotTrusted(Fault("token", "is old", "Ask anew")), KeyError("sub"), RecursionError(), OSError()):
        assert refused(raising(error)) == 401
    assert refused(Access(lambda _headers: None)) == 401


@pytest.mark.parametrize("purpose", ["", " ", "x" * 201, "a\x00b", "a\nb"])
def test_a_purpose_is_a_few_plain_words(purpose):
    with pytest.raises(Unanswered, match="No purpose"):
        purpose_of({"x-purpose": purpose})
    assert purpose_of({"x-purpose": " weekly list "}) == "weekly list"


@pytest.mark.parametrize(
    ("accept", "body", "kind"),
    [
        ("", JSON, JSON),
        ("", ARROW, ARROW),
        ("*/*", ARROW, ARROW),
        ("application/*", JSON, JSON),
        (f"{ARROW};q=0, {JSON}", ARROW, JSON),
        (f"{JSON};q=0.5", ARROW, JSON),
        (f"text/html, {ARROW};q=0.1", JSON, ARROW),
        ("*/*;q=0", JSON, None),
        ("text/html", JSON, None),
    ],
)
def test_accept_chooses_the_kind(accept, body, kind):
    if kind is None:
        with pytest.raises(Unanswered, match="No such kind"):
            chosen_kind(accept, (body, JSON, ARROW))
    else:
        assert chosen_kind(accept, (body, JSON, ARROW)) == kind


def test_heavy_work_is_done_in_rooms():
    """Lists, people, objections and audit reads: no row of them asks for a thread that all others share."""
    for module in (list_desk, person_desk, audit_desk):
        assert ".in_thread(" not in inspect.getsource(module)
    shared = [row.path for row in ENDPOINTS if row.handler.split(".")[0] in ("list_desk", "person_desk", "audit_desk")]
    heavy = {row.path for row in ENDPOINTS if {"Busy", "Too slow"} <= set(row.all_problems.get(503, ()))}
    assert set(shared) <= heavy


@pytest.mark.parametrize(("n_bytes", "elsewhere"), [(200, []), (20_000, [20_000])])
def test_a_long_body_is_read_beside_the_event_loop(n_bytes, elsewhere):
    read = []

    async def in_thread(work, body):
        read.append(len(body))
        return work(body)

    body = b'{"need": "' + b"x" * (n_bytes - 12) + b'"}'
    asked = Asked({}, {}, {}, body, JSON, None, "", "", SimpleNamespace(in_thread=in_thread))
    with pytest.raises(Unanswered) as refused:
        asyncio.run(answers.score(asked))
    assert (refused.value.problem.status, read) == (422, elsewhere)
