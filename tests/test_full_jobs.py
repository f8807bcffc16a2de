"""Lists and jobs in PostgreSQL: the table's cases once more, and both over HTTP."""

import time
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest
import test_full_stores
from ethics_cases import trusting
from job_cases import *  # noqa: F403 the cases shared with SQLite
from sealed_world import AS_OF, World
from served import start, stop, wait_until_it_answers

from serving.home import Home
from serving.local_issuer import issue_token, make_issuer
from serving.settings import Settings

pytestmark = pytest.mark.full
server, engine = test_full_stores.server, test_full_stores.engine
ROLES = (("unit", {"units": ("north",)}), ("system", {}))
COLUMNS = ["person_id", "score", "rank", "rank_band"]


def world_in(folder, url):
    """A city, a champion and a list, whose database is PostgreSQL's."""
    world = World(folder, units=True)
    home = Home(Settings(home=folder / "home", database_url=url))
    vars(world)["home"] = home
    home.stop_switch.test(world.now)
    for role in ("gate", "auditor"):
        home.key_ring.make(role, f"Demonstration {role}", demonstration=True, days=7, now=world.now)
    trusting(home.key_ring)
    world.approve()
    make_issuer(home, datetime.now(UTC), demonstration=True)
    return world


def test_lists_and_jobs_over_http(server, engine, tmp_path):
    world = world_in(tmp_path, server)
    listed = world.list()
    world.home.store.publish(listed, [])
    person = listed.part("north").rows[0].person_id
    claims = {"needs": ("youth",), "subject": "a test", "minutes": 10, "now": datetime.now(UTC)}
    tokens = [issue_token(world.home, role, **claims, **more)["token"] for role, more in ROLES]
    headers, of_system = ({"authorization": f"Bearer {token}", "x-purpose": "a test"} for token in tokens)
    running = start(world, ENNAKKO_DATABASE_URL=server)
    try:
        wait_until_it_answers(running)
        with httpx.Client(base_url=running.url, headers=headers, timeout=60) as client:
            path = f"/lists/{listed.list_id}"
            rows = client.get(f"{path}?unit=north").json()["rows"]
            assert [row["person_id"] for row in rows] == [row.person_id for row in listed.part("north").rows]
            assert client.get(f"{path}?unit=east").status_code == 404
            row = {"person_id": person, "at": "2024-06-05", "outcome": "reached"}
            told = [client.post(f"{path}/attempts?unit=north", json={"rows": [row]}).json() for _ in range(2)]
            assert [one["attempts"] for one in told] == [1, 0] and told[1]["known_before"] == 1
            bad = client.post(f"{path}/attempts?unit=north", json={"rows": [{**row, "worker": "A\0"}]})
            assert bad.status_code == 422 and client.get("/lists/%00?unit=north").status_code == 404
            client.headers.update(of_system)
            job = client.post("/jobs", json={"need": "youth", "as_of_date": str(AS_OF)})
            until = time.monotonic() + 60
            while client.get(job.headers["location"]).json()["state"] != "done" and time.monotonic() < until:
                time.sleep(0.05)
            found = client.get(f"{job.headers['location']}/scores").json()["rows"]
            expected = world.score().table().select(COLUMNS)
            assert pl.DataFrame(found, schema=expected.schema).equals(expected)
            assert client.delete(job.headers["location"]).status_code == 204
            assert client.get("/jobs/%00").status_code == 404
        assert world.home.store.attempts(person_id=person).height == 1
        assert world.home.audit_log.verify() == []
    finally:
        code, said = stop(running)
        world.home.engine.dispose()
    assert code == 0 and "Traceback" not in said, said
