"""What is counted of lists that were changed by hand, or made again for the same day."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from store_cases import FIRST, NEED, SECOND, lots_list, outcomes, small_list

from ethics.digests import canonical_json, sha256
from scoring.what_happened import crossovers
from scoring.worked_lists import work_of
from serving.happened_work import what_happened
from serving.home import Home
from serving.settings import Settings
from serving.week_pages import _attempts, _worked

AS_OF = date(2024, 6, 3)
PEOPLE = [f"p{i:02d}" for i in range(20)]
COUNTS = ("listed", "tried", "reached", "taken_up")


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "youth").touch()
    monkeypatch.chdir(tmp_path)
    return Home(Settings(home=tmp_path / "home"))


def came(home, list_id, people, outcome="helped"):
    home.store.add_outcomes(outcomes(*((list_id, person, "2024-06-05", outcome) for person in people)), "t")


def counts(home, **more):
    found = what_happened(home, Path("youth"), **more)
    return tuple(found[name] for name in COUNTS)


def test_whom_a_unit_added_counts_and_whom_it_removed_does_not(home):
    home.store.publish(small_list(home.store, {"west": PEOPLE}))
    for person in PEOPLE[:10]:
        home.store.change(FIRST, "west", person, "removed", "head", reason="moved")
    for person in ("new1", "new2", "new3", "new4", "new5"):
        home.store.change(FIRST, "west", person, "added", "head", reason="asked")
    home.store.change(FIRST, "west", "new1", "assigned", "head", worker="w")
    came(home, FIRST, [*PEOPLE[10:], "new1", "new2", "new3", "new4", "new5"])
    assert counts(home) == (15, 15, 15, 15) == counts(home, list_id=FIRST)
    home.store.erase("new1")
    assert counts(home) == (15, 15, 15, 15), "of the erased the counts stay"
    came(home, FIRST, PEOPLE[:1], "declined")
    assert counts(home) == (16, 16, 16, 15), "removed once it was done with"
    home.store.change(FIRST, "west", PEOPLE[1], "added", "head", reason="back")
    home.store.change(FIRST, "west", "new2", "removed", "head", reason="done")
    assert counts(home) == (17, 16, 16, 15)


def test_a_list_made_again_counts_once(home):
    home.store.publish(small_list(home.store, {"west": PEOPLE}))
    came(home, FIRST, PEOPLE)
    assert counts(home) == (20, 20, 20, 20)
    home.store.publish(small_list(home.store, {"west": [*PEOPLE[1:], "other"]}, SECOND))
    assert counts(home) == (20, 20, 20, 20), "nobody has begun with the new list"
    assert counts(home, list_id=SECOND) == (20, 0, 0, 0)
    came(home, SECOND, ["other"], "declined")
    assert counts(home) == (21, 21, 21, 20), "the new list, and whom the first had besides"
    assert what_happened(home, Path("youth"))["lists"] == [SECOND]


def test_without_any_work_the_last_list_of_a_day_counts_and_its_sample_once(home):
    first = lots_list(home.store)
    home.store.publish(first)
    home.store.publish(replace(first, list_id=SECOND))
    found = what_happened(home, Path("youth"))
    assert (found["listed"], found["missed"]["drawn"], found["missed"]["below_n"]) == (1, 2, 20)
    came(home, FIRST, ["bo"])
    found = what_happened(home, Path("youth"))
    assert (found["lists"], found["missed"]["known"], found["missed"]["below_n"]) == ([FIRST], 1, 20)


def test_what_was_done_with_a_replaced_list_says_nothing_of_what_a_place_changed(home):
    """Of the first list anna was drawn and tried; of the second dora had the place, and of it nobody else was tried."""
    first = lots_list(home.store)
    home.store.publish(first)
    second = small_list(home.store, {"west": ["dora", "anna"]}, SECOND)
    keys = home.store.row_keys(["dora", "anna"])
    lots = ({}, {"is_held_out": True})
    rows = [
        replace(row, kind="margin", chance="0.5", **lot) for row, lot in zip(second.parts[0].rows, lots, strict=True)
    ]
    rows = [row.hashed("west", keys[row.person_id]) for row in rows]
    second = replace(second, parts=(replace(second.parts[0], rows=(rows[0],), held_out=(rows[1],)),))
    home.store.publish(replace(second, list_digest=sha256(canonical_json(second.said()))))
    home.store.change(FIRST, "west", "eve", "added", "head", reason="asked")
    came(home, FIRST, ["anna", "eve"])
    came(home, SECOND, ["dora"])
    work = worked_of(home)
    found = work.rows.select(
        "list_id", "person_id", "kind", "probability", "is_held_out", "is_listed", "reached"
    ).rows()
    assert sorted(found, key=lambda row: row[1]) == [
        (SECOND, "anna", "margin", 0.5, True, True, True),  # as her last lot had it; and she was contacted all the same
        (SECOND, "dora", "margin", 0.5, False, True, True),
        (SECOND, "eve", "added", None, False, True, True),
    ]
    assert crossovers(work.rows) == 1
    third = f"{FIRST[:-1]}3"
    home.store.publish(small_list(home.store, {"west": ["fay"]}, third))
    came(home, third, ["fay"])
    assert set(worked_of(home).rows["probability"]) == {None} and worked_of(home).rows.height == 4


def worked_of(home):
    store = home.store
    return work_of(store.lists(), store.rows(), store.changes(), store.attempts(), store.outcomes())


def test_a_list_of_nobody_counts_as_a_list(home):
    home.store.publish(small_list(home.store, {"west": []}))
    assert counts(home) == (0, 0, 0, 0) and what_happened(home, Path("youth"))["lists"] == [FIRST]
    home.store.change(FIRST, "west", "new", "added", "head", reason="asked")
    assert counts(home) == (1, 0, 0, 0)


def test_lists_of_other_days_and_needs_stay_apart(home):
    other = SimpleNamespace(**{**vars(NEED), "id": "other"})
    home.store.publish(small_list(home.store, {"west": PEOPLE}))
    home.store.publish(small_list(home.store, {"west": PEOPLE}, SECOND, as_of=date(2024, 6, 10)))
    home.store.publish(small_list(home.store, {"west": PEOPLE}, f"{FIRST[:-1]}3", need=other))
    came(home, FIRST, PEOPLE)
    assert counts(home) == (40, 20, 20, 20)


def test_the_leaders_page_counts_the_same_and_every_attempt(home, tmp_path):
    home.store.publish(small_list(home.store, {"west": PEOPLE}))
    home.store.change(FIRST, "west", PEOPLE[0], "removed", "head", reason="moved")
    home.store.change(FIRST, "west", "new", "added", "head", reason="asked")
    calls = pl.DataFrame(
        [(FIRST, p, f"2024-06-0{day}", "phone", "w", "") for p in (*PEOPLE[1:], "new") for day in (4, 5)],
        schema=["list_id", "person_id", "at", "channel", "worker", "result"],
        orient="row",
    )
    home.store.add_attempts(calls, "t")
    home.store.publish(small_list(home.store, {"west": PEOPLE}, SECOND))
    city = SimpleNamespace(extract_date=date(2024, 7, 1), persons=pl.DataFrame({"person_id": ["nobody"]}))
    need = SimpleNamespace(**{**vars(NEED), "label": None})
    worked, attempts = _worked(home, city, AS_OF, need)
    to_contact = worked.filter("is_listed")
    assert (to_contact.height, int(to_contact["tried"].sum()), _attempts(attempts, to_contact)) == (20, 20, 40)
