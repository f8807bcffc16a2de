"""Champions while they serve: trust that is lost and comes back, and another champion that takes over."""

import asyncio
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import pytest
from sealed_world import AS_OF, MODEL_NEED, NOW, World
from served import free_port, soon, start, stop, wait_until_it_answers

from ethics.refusals import Fault, NotTrusted
from models import tracking
from models.registry import CHAMPION, RegistrySilent, approved_model, approved_pointer
from serving import batches, champions
from serving.access import Access
from serving.approval import open_champion
from serving.champions import ChampionWatch, Guarded
from serving.home import Home
from serving.http_door import http_app
from serving.limits import Limits
from serving.service import _champion, _champion_again, open_desk
from serving.serving_state import ServingState
from serving.settings import Settings

NO = (503, "No score may leave now")
OTHER_NEED = MODEL_NEED.replace("n_estimators = 40", "n_estimators = 25")
PEOPLE = [f"{i:06d}" for i in range(900)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A home with two judged models of one need, whose scores differ; the second is approved by ``approve_other``."""
    world = World(tmp_path_factory.mktemp("world"))
    world.verdict_path = world.approve()
    shared = {"shared_home": world.home, "shared_city": world.city}
    world.other = World(world.folder / "other", need_text=OTHER_NEED, **shared)
    world.other.verdict_path = world.other.approve()
    world.approve_first = lambda: point_to(world, 1)
    world.approve_other = lambda: point_to(world, 2)
    world.approve_first()
    return world


def point_to(world, version):
    world.home.registry.client.set_registered_model_alias("youth", CHAMPION, str(version))


@pytest.fixture(scope="module")
def server(world):
    server = start(world)
    wait_until_it_answers(server)
    yield server
    code, said = stop(server)
    assert code == 0, said
    assert "Traceback" not in said


@pytest.fixture
def guarded(world):
    world.approve_first()

    def opener():
        return open_champion(world.home, "youth")

    return Guarded(opener, lambda: approved_pointer(world.home.registry, "youth"))


def ask(server, person_id="000005", client=httpx, **changes):
    body = {"need": "youth", "as_of_date": str(AS_OF), "person_id": person_id, "reasons": False, **changes}
    return client.post(f"{server.url}/score", json=body, timeout=30)


def codes_of(answer):
    if answer.status_code == 200:
        return 200
    return answer.status_code, {error.get("code") for error in answer.json()["errors"]}


def flipped(path):
    content = path.read_bytes()
    return bytes([content[0] ^ 1]) + content[1:]


# ---- trust that is lost ------------------------------------------------------------------------------------------


def test_each_way_to_lose_trust_stops_scores_within_a_second_with_its_id_and_they_come_back(world, server):
    artefact = open_champion(world.home, "youth").artefact_folder / "trees.txt"
    content, stamp = artefact.read_bytes(), artefact.stat()
    revoked = world.home.verdicts / "revoked.json"

    def flip_and_keep_the_clock():
        artefact.write_bytes(flipped(artefact))
        os.utime(artefact, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    for lose, mend, code in (
        (lambda: world.stop_switch.set("tried"), world.stop_switch.clear, "V14"),
        (lambda: revoked.write_text(json.dumps([world.verdict.verdict_id])), revoked.unlink, "V13"),
        (flip_and_keep_the_clock, lambda: artefact.write_bytes(content), "V31"),
    ):
        assert soon(lambda: codes_of(ask(server)), 200) == 200
        lose()
        try:
            assert soon(lambda: codes_of(ask(server)), (503, {code})) == (503, {code})
            batch = {"need": "youth", "as_of_date": str(AS_OF), "person_ids": PEOPLE[:5]}
            assert codes_of(httpx.post(f"{server.url}/score_batch", json=batch)) == (503, {code})
            assert httpx.get(f"{server.url}/readyz").status_code == 503
        finally:
            mend()
        assert soon(lambda: codes_of(ask(server)), 200, 1.5) == 200
        assert soon(lambda: httpx.get(f"{server.url}/readyz").status_code, 200) == 200
    assert '"event": "trust lost", "need": "youth", "reasons": "V13"' in soon_said(server, '"reasons": "V13"')


def soon_said(server, words):
    soon(lambda: words in server.said(), True)
    return server.said()


def test_an_expired_verdict_has_the_id_of_its_reason(guarded):
    with pytest.raises(NotTrusted, match="V07"):
        guarded.still_trusted(NOW + timedelta(days=7))
    assert guarded.if_unchanged(NOW + timedelta(days=7)) is None


def test_an_answer_under_way_may_not_leave_once_trust_is_lost(world, guarded):
    now = datetime.now(UTC)
    verdict_id = guarded.champion.verified.verdict.verdict_id
    assert guarded.still_holds(verdict_id, now)
    guarded.require(verdict_id, now)
    world.stop_switch.set("while it was made")
    try:
        assert not guarded.still_holds(verdict_id, now)
        with pytest.raises(NotTrusted, match="V14"):
            guarded.require(verdict_id, now)
    finally:
        world.stop_switch.clear()
    with pytest.raises(NotTrusted, match="was replaced"):
        guarded.require("v-of-nobody", now)


def test_what_cannot_be_opened_for_whatever_cause_is_refused_and_found_out_anew(world):
    broken = []

    def opener():
        if broken:
            raise OSError("the disk is gone")
        return open_champion(world.home, "youth")

    guarded = Guarded(opener)
    broken.append(True)
    path = world.verdict_path
    os.utime(path)
    now = datetime.now(UTC)
    with pytest.raises(NotTrusted, match="cannot be verified now"):
        guarded.still_trusted(now)
    assert guarded.if_unchanged(now) is None
    broken.clear()
    assert soon(lambda: guarded.may_score(now), True, 5.0)
    assert guarded.if_unchanged(now) is guarded.scorer


# ---- another champion --------------------------------------------------------------------------------------------


def test_another_champion_is_prepared_beside_the_old_and_then_answers(world, guarded):
    old, seen = guarded.scorer, []
    assert not guarded.follow()
    world.approve_other()

    def prepare(before, new):
        seen.append((before, new.model.digest, guarded.still_trusted(datetime.now(UTC))))

    assert guarded.follow(prepare)
    assert seen == [(old, world.other.model.digest, old)], "the old one answers meanwhile"
    assert guarded.scorer.model.digest == world.other.model.digest
    now = datetime.now(UTC)
    guarded.require(old.verified.verdict.verdict_id, now)  # an answer by the old one that was under way
    with pytest.raises(NotTrusted):
        guarded.require(old.verified.verdict.verdict_id, now + timedelta(days=8))


def test_a_champion_that_does_not_verify_stops_the_need_and_names_itself(world, guarded):
    path = world.other.verdict_path
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"sig":"', b'"sig":"0', 1))
    try:
        world.approve_other()
        assert not guarded.follow()
        with pytest.raises(NotTrusted, match="approval: is of a champion that cannot be used"):
            guarded.still_trusted(datetime.now(UTC))
        assert guarded.if_unchanged(datetime.now(UTC)) is None
        world.approve_first()
        guarded.follow()
        assert guarded.may_score(datetime.now(UTC)), "the approval was taken back"
        world.approve_other()
        guarded.follow()
    finally:
        path.write_bytes(content)
    assert soon(guarded.follow, True, 2.0), "once it is mended it is taken over"
    assert guarded.scorer.model.digest == world.other.model.digest


def test_without_an_approval_nothing_answers(world, guarded):
    world.home.registry.client.delete_registered_model_alias("youth", CHAMPION)
    guarded.follow()
    with pytest.raises(NotTrusted, match="no model of 'youth' is approved"):
        guarded.still_trusted(datetime.now(UTC))
    world.approve_first()
    guarded.follow()
    assert guarded.may_score(datetime.now(UTC))


def test_a_registry_that_does_not_answer_leaves_the_champion_in_use(world):
    def silent():
        raise ConnectionError

    answers = [True]
    guarded = Guarded(lambda: open_champion(world.home, "youth"), lambda: 1 if answers else silent())
    answers.clear()
    with pytest.raises(ConnectionError):
        guarded.follow()
    assert guarded.may_score(datetime.now(UTC))


def test_an_mlflow_server_that_is_away_is_given_up_soon_and_keeps_no_champion_from_being_verified(world, monkeypatch):
    for name in tracking._IMPATIENT:
        monkeypatch.setenv(name, "7")  # so that it is as before afterwards
    world.approve_first()
    home = Home(world.home.settings, impatient=True)
    guarded = Guarded(partial(_champion, home, "youth"), lambda: 1, partial(_champion_again, home))
    before, now = guarded.champion, datetime.now(UTC)
    home.__dict__["registry"] = tracking.configure(
        f"http://127.0.0.1:{free_port()}", home.mlflow_artefacts, impatient=True
    )
    began = time.monotonic()
    for ask_registry in (approved_pointer, approved_model):
        with pytest.raises(RegistrySilent, match="does not answer"):
            ask_registry(home.registry, "youth")
    assert time.monotonic() - began < 10
    revoked = home.verdicts / "revoked.json"
    revoked.write_text('["v-of-another"]')
    try:
        assert guarded.still_trusted(now) is guarded.scorer
        assert guarded.champion is not before, "verified anew, by its own files"
        revoked.write_text(json.dumps([world.verdict.verdict_id]))
        with pytest.raises(NotTrusted, match="V13"):
            guarded.still_trusted(now)
    finally:
        revoked.unlink()


def test_a_registry_that_falls_silent_while_a_champion_is_opened_withdraws_nothing(world):
    pointer, silent = [1], []

    def opener():
        if silent:
            raise RegistrySilent(Fault("registry", "does not answer", "Wait"))
        return open_champion(world.home, "youth")

    guarded = Guarded(opener, lambda: pointer[0])
    silent.append(True)
    pointer[0] = 2
    with pytest.raises(RegistrySilent):
        guarded.follow()
    assert guarded.may_score(datetime.now(UTC))
    silent.clear()
    assert guarded.follow(), "it is taken over once the registry answers"


def test_while_one_verifies_again_others_wait_a_moment_and_the_event_loop_none(world, monkeypatch):
    monkeypatch.setattr(champions, "_WAIT_SECONDS", 0.02)
    begun, go_on = threading.Event(), threading.Event()

    def again(_champion):
        begun.set()
        go_on.wait(30)
        return open_champion(world.home, "youth")

    guarded = Guarded(lambda: open_champion(world.home, "youth"), again=again)
    now, got = datetime.now(UTC), []
    os.utime(world.verdict_path)
    first = threading.Thread(target=lambda: got.append(guarded.still_trusted(now)))
    first.start()
    try:
        assert begun.wait(10)
        assert guarded.if_unchanged(now) is None
        with pytest.raises(NotTrusted, match="is being verified again"):
            guarded.still_trusted(now)
    finally:
        go_on.set()
        first.join()
    assert got == [guarded.scorer] and guarded.if_unchanged(now) is guarded.scorer


@pytest.mark.parametrize("slow", [True, False])
def test_a_champion_that_cannot_be_made_ready_takes_over_all_the_same(guarded, world, monkeypatch, slow):
    monkeypatch.setattr(champions, "_PREPARE_SECONDS", 0.1)
    world.approve_other()
    over = threading.Event()

    def prepare(_before, _new):
        if slow:
            over.wait(30)
        else:
            raise OSError("the state of objections cannot be read")

    try:
        assert guarded.follow(prepare)
        assert guarded.scorer.model.digest == world.other.model.digest
    finally:
        over.set()


def test_trust_is_looked_at_while_the_registry_keeps_the_watch_waiting(world):
    over, told = threading.Event(), []
    pointers = iter([1])

    def pointer():
        return next(pointers, None) or over.wait(30)

    guarded = Guarded(lambda: open_champion(world.home, "youth"), pointer)
    watch = ChampionWatch(
        {"youth": guarded}, lambda _old, _new: None, lambda *said, **facts: told.append((said, facts))
    )
    world.stop_switch.set("tried")
    try:
        expected = [(("trust lost", "youth"), {"reasons": "V14"})]
        assert soon(lambda: list(told), expected, 10.0) == expected
    finally:
        world.stop_switch.clear()
        watch.close()
        over.set()


def test_days_of_a_new_champion_come_before_days_that_wait(world):
    world.approve_first()
    desk = open_desk(Settings(home=world.home.root, city=world.city.folder, needs=("youth",)), world.home)
    old, over = desk.guarded["youth"].scorer, threading.Event()
    try:
        desk.days.ask_for(old, AS_OF, desk.look.state)
        assert soon(lambda: len(desk.days.ready(old)), 1, 10.0) == 1
        desk.days._maker.submit(over.wait, 30)  # as if a long day were made, and others waited
        world.approve_other()
        guarded = desk.guarded["youth"]
        assert guarded.follow(desk.make_ready)
        assert [day.as_of_date for day in desk.days.ready(guarded.scorer)] == [AS_OF]
        assert not over.is_set() and desk.days.ready(old) == []
    finally:
        over.set()
        desk.close()


def test_under_load_each_answer_is_one_model_s_and_says_whose(world, server):
    """Two champions in turn: every answer's score is exactly that of the model and verdict it names."""
    world.approve_first()
    of = {}
    for each in (world, world.other):
        scores = dict(each.score().frame.select("person_id", "score").iter_rows())
        of[each.model.digest] = each.verdict.verdict_id, scores
    covered = sorted(of[world.model.digest][1])
    first, second = (scores for _, scores in of.values())
    assert sum(first[person] != second[person] for person in covered) > len(covered) / 2
    digest = lambda: ask(server, covered[0]).json().get("model_digest")  # noqa: E731
    assert soon(digest, world.model.digest, 5.0) == world.model.digest
    wrong, seen, over = [], set(), threading.Event()

    def load(offset):
        with httpx.Client() as client:
            for turn in range(100_000):
                if over.is_set():
                    return
                person = covered[(turn * 7 + offset) % len(covered)]
                answers = [ask(server, person, client)]
                if turn % 20 == 0:
                    body = {"need": "youth", "as_of_date": str(AS_OF), "person_ids": covered[:50]}
                    answers.append(client.post(f"{server.url}/score_batch", json=body, timeout=30))
                for answer in answers:
                    if answer.status_code != 200:
                        wrong.append(answer.text)
                        continue
                    told = answer.json()
                    verdict_id, scores = of[told["model_digest"]]
                    seen.add(told["model_digest"])
                    rows = told.get("rows", [told])
                    if told["verdict_id"] != verdict_id or any(r["score"] != scores[r["person_id"]] for r in rows):
                        wrong.append(told)

    threads = [threading.Thread(target=load, args=(i * 13,)) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        for approve, each in ((world.approve_other, world.other), (world.approve_first, world)) * 2:
            approve()
            began = time.monotonic()
            assert soon(digest, each.model.digest, 10.0) == each.model.digest, time.monotonic() - began
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:3]
    assert seen == set(of)
    assert '"event": "champion taken over"' in server.said()


# ---- before an answer leaves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/score", "/score_batch"])
def test_what_was_made_before_trust_was_lost_and_has_not_left_stays(world, monkeypatch, path):
    """The stop switch is set between the score and its leaving, of one person and of many."""
    world.approve_first()
    settings = Settings(home=world.home.root, city=world.city.folder, needs=("youth",))
    state = ServingState()
    desk = open_desk(settings, world.home)
    state.open(desk, settings, world.home, Access(without_tokens=True), Limits())
    made = []

    def then_stopped(make):
        def wrapped(*given):
            made.append(make(*given))
            world.stop_switch.set("just now")
            return made[-1]

        return wrapped

    monkeypatch.setattr(batches, "score_many", then_stopped(batches.score_many))
    monkeypatch.setattr(desk, "answer_in_thread", then_stopped(desk.answer_in_thread))
    body = {"need": "youth", "as_of_date": str(AS_OF), "reasons": False, "person_id": "000005"}
    body = body if path == "/score" else {"need": "youth", "as_of_date": str(AS_OF), "person_ids": PEOPLE}

    async def asked():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(http_app(state)), base_url="http://here") as client:
            return await client.post(path, json=body)

    try:
        answer = asyncio.run(asked())
    finally:
        world.stop_switch.clear()
        desk.close()
    assert made, "there was an answer"
    assert codes_of(answer) == (503, {"V14"})
    assert answer.headers["retry-after"] == "5"
