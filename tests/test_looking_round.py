"""What a running service notices by itself within a second or so: somebody was erased, an issuer was made."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from sealed_world import AS_OF, World
from served import soon, start, stop, wait_until_it_answers

from serving.access import Access
from serving.audit_queue import AuditQueue
from serving.exchange import Act
from serving.limits import Limits
from serving.local_issuer import issue_token, issuer_path, make_issuer
from serving.prepared_days import ABSENT
from serving.service import open_desk
from serving.serving_state import ServingState
from serving.settings import Settings

ABOUT = {"need": "youth", "as_of_date": str(AS_OF), "person_id": "000008"}
WITHIN_S = 5.0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.approve()
    return world


@pytest.fixture
def desk(world):
    settings = Settings(home=world.home.root, city=world.city.folder, needs=("youth",))
    desk = open_desk(settings, world.home)
    yield desk
    desk.close()


def scorer_of(desk):
    return desk.guarded["youth"].still_trusted(datetime.now(UTC))


def ready(desk, day=AS_OF):
    """The day, once it is ready."""
    scorer = scorer_of(desk)
    desk.days.ask_for(scorer, day, desk.look.state)
    soon(lambda: desk.ready_day(scorer, day) is not None, True, 60)
    found = desk.ready_day(scorer, day)
    assert found is not None
    return found


# ---- somebody was erased ---------------------------------------------------------------------------------------


def test_the_rows_of_the_erased_are_let_go_of_while_the_service_runs(world, desk):
    """Through the service's own round; a day that is made afterwards is made without them."""
    person = sorted(world.score().frame["person_id"])[0]
    day = ready(desk)
    assert day.band[desk.places[person]] != ABSENT
    state = ServingState()
    state.open(desk, world.home.settings, world.home, Access(), Limits())

    async def lives():
        async with state.lifespan(None):
            world.home.store.refer([person])
            world.home.store.erase(person)
            until = time.monotonic() + WITHIN_S
            while desk.ready_day(scorer_of(desk), AS_OF) is not None and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert desk.ready_day(scorer_of(desk), AS_OF) is None
            desk.days._maker = type(desk.days._maker)(1)  # closing the service ends the old one
            again = await asyncio.to_thread(ready, desk)
            assert again.band[desk.places[person]] == ABSENT

    asyncio.run(lives())


def test_a_day_that_was_begun_before_somebody_was_erased_is_not_kept(world, desk):
    days, scorer, day = desk.days, scorer_of(desk), AS_OF - timedelta(days=3)
    whole, made = days._made, []

    def erased_meanwhile(*given):
        made.append(whole(*given))
        days.forget()
        return made[-1]

    days._made = erased_meanwhile
    try:
        days.ask_for(scorer, day, desk.look.state)
        days._maker.shutdown(wait=True)
    finally:
        del days._made
    assert len(made) == 1 and desk.ready_day(scorer, day) is None


def test_nothing_is_let_go_of_while_nobody_is_erased(world, desk):
    day = ready(desk)
    assert desk.forget_the_erased() is False
    assert desk.ready_day(scorer_of(desk), AS_OF) is day


def test_an_act_about_the_erased_holds_no_reference_that_is_kept_in_memory(world):
    person, audit = "000011", AuditQueue(world.home)
    who = {"role": "unit", "subject": "s", "request": "r"}

    async def write():
        await audit.keep([Act("score", {"need": "youth"}, (person,))], who)
        world.home.store.erase(person)
        audit.forget()
        await audit.keep([Act("score", {"need": "youth"}, (person,))], who)

    asyncio.run(write())
    audit.close()
    before, after = (json.loads(row["facts"]) for row in world.home.audit_log.rows()[-2:])
    assert "persons" in before and "persons" not in after


# ---- an issuer was made ----------------------------------------------------------------------------------------


@pytest.fixture
def server(world):
    server = start(world)
    wait_until_it_answers(server)
    yield SimpleNamespace(url=server.url)
    code, said = stop(server)
    assert code == 0, said
    for path in issuer_path(world.home).parent.iterdir():
        path.unlink()
    issuer_path(world.home).parent.rmdir()


def asked(server, token=None):
    headers = {"x-purpose": "weekly list"} | ({} if token is None else {"authorization": f"Bearer {token}"})
    return httpx.post(f"{server.url}/score", json=ABOUT, headers=headers, timeout=60).status_code


def token(world):
    return issue_token(world.home, "system", subject="a system", needs=["*"], minutes=5, now=datetime.now(UTC))["token"]


def test_an_issuer_that_is_made_meanwhile_counts_without_a_restart(world, server):
    assert asked(server) == 200  # on trial
    make_issuer(world.home, datetime.now(UTC), demonstration=True)
    assert soon(lambda: asked(server), 401, WITHIN_S) == 401
    assert asked(server, token(world)) == 200
    told = httpx.get(f"{server.url}/openapi.json").json()["paths"]["/score"]["post"]
    assert told["security"] == [{"bearer": []}]
    first = token(world)
    make_issuer(world.home, datetime.now(UTC), demonstration=True, anew=True)
    assert soon(lambda: asked(server, first), 401, WITHIN_S) == 401
    assert asked(server, token(world)) == 200
    issuer_path(world.home).unlink()
    time.sleep(1.5)  # nothing is to happen
    assert asked(server) == 401


def test_an_issuer_that_cannot_be_trusted_closes_the_door(world, server):
    assert asked(server) == 200
    issuer_path(world.home).parent.mkdir(exist_ok=True)
    issuer_path(world.home).write_text("half an issuer")
    issuer_path(world.home).chmod(0o600)
    assert soon(lambda: asked(server), 401, WITHIN_S) == 401
    assert asked(server, "any.token.atall") == 401
    issuer_path(world.home).unlink()
    make_issuer(world.home, datetime.now(UTC), demonstration=True)
    assert soon(lambda: asked(server, token(world)), 200, WITHIN_S) == 200
