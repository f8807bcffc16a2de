"""Cases of the store that hold on SQLite and on PostgreSQL alike; each takes ``open_store``, as a process opens it."""

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sqlalchemy import inspect, text

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, NotTrusted
from scoring.list_records import ListRow, OutreachList, UnitPart
from scoring.reasons import Reason
from scoring.store import Export, Store, StoreKeys
from scoring.store_opening import is_begun

ROOT = Path(__file__).parent.parent
KEYS = StoreKeys(b"a key of people, for tests", b"a key of tombstones, for tests")
NEED = SimpleNamespace(
    id="youth",
    service="youth-work",
    digest="d" * 64,
    capacity=SimpleNamespace(period_days=7, k=10),
    list=SimpleNamespace(keep=None),
)
DUTY = SimpleNamespace(
    **{
        **vars(NEED),
        "list": SimpleNamespace(keep=SimpleNamespace(days=365, law=SimpleNamespace(model_dump=lambda: {"en": "law"}))),
    }
)
FIRST = "01HZZZZZZZZZZZZZZZZZZZZZZ1"
SECOND = "01HZZZZZZZZZZZZZZZZZZZZZZ2"


def small_list(store, units, list_id=FIRST, *, told="12 absences", as_of=date(2024, 6, 3), need=NEED):
    """A list of invented people: unit → person ids."""
    keys = store.row_keys([person for people in units.values() for person in people])
    parts = tuple(
        UnitPart(
            unit,
            unit.title(),
            10,
            100,
            tuple(
                ListRow(rank, person, "top_1", (Reason(f"{told}: {person}", "school", True),)).hashed(
                    unit, keys[person]
                )
                for rank, person in enumerate(people, 1)
            ),
        )
        for unit, people in units.items()
    )
    listed = OutreachList(
        list_id, "", need, as_of, 20, 200, parts, {"objected": 3}, "m" * 64, "v1", "2030-01-01", "x" * 64, ()
    )
    from dataclasses import replace

    return replace(listed, list_digest=sha256(canonical_json(listed.said())))


def small_scores(people, *, as_of=date(2024, 6, 3), need_id="youth", seed=1):
    raw = np.random.default_rng(seed).normal(size=len(people))
    frame = pl.DataFrame(
        {
            "person_id": pl.Series(people, dtype=pl.String),
            "score": 1 / (1 + np.exp(-raw)),
            "raw": raw,
            "rank": np.arange(1, len(people) + 1, dtype=np.uint32),
            "rank_band": ["top_1"] * len(people),
        }
    )
    facts = {"model_digest": "m" * 64, "verdict_id": "v1", "matrix_digest": f"{seed:064d}"}
    return SimpleNamespace(frame=frame, need_id=need_id, as_of_date=as_of, **facts)


def attempts(*rows):
    names = ("list_id", "person_id", "at", "channel", "worker", "result")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def outcomes(*rows):
    return pl.DataFrame(rows, schema=dict.fromkeys(("list_id", "person_id", "at", "outcome"), pl.String), orient="row")


def test_a_reference_is_the_same_until_erasure_and_means_nothing_without_the_store(open_store):
    first = open_store().refer(["anna", "bo", "anna"])
    assert open_store().refer(["bo", "anna"]) == first and len(set(first.values())) == 2
    assert open_store().refs(["anna", "cai"]) == {"anna": first["anna"]}
    assert open_store().people([first["bo"], "0" * 64]) == {first["bo"]: "bo"}


def test_many_people_get_the_references_that_few_get(open_store):
    store, people = open_store(), [f"{i:06d}" for i in range(20_100)]
    some = store.refer(people[50:60])
    many = store.refer(people)
    assert len(set(many.values())) == len(people) and some.items() <= many.items()
    assert store.refs(people) == many and store.people(list(many.values())) == {r: p for p, r in many.items()}


def test_a_batch_of_scores_is_kept_once(open_store):
    store = open_store()
    scores = small_scores(["anna", "bo", "cai"])
    assert store.add_scores(scores) == open_store().add_scores(scores)
    later = small_scores(["anna"], as_of=date(2024, 6, 10), seed=2)
    assert store.add_scores(later) != store.add_scores(scores)
    assert store.summary()["scores"] == 4 and store.summary()["score_batches"] == 2
    expected = [(s.as_of_date, "youth", s.frame["score"][0], "top_1") for s in (scores, later)]
    assert store.scores_of("anna").select("as_of_date", "need_id", "score", "rank_band").rows() == expected
    assert store.scores_of("nobody").is_empty() and store.scores_of("anna", "health").is_empty()


def test_what_lies_too_long_goes_whole_and_the_rest_stays(open_store):
    from dataclasses import replace
    from datetime import UTC, timedelta

    store, now = open_store(), datetime(2024, 7, 1, tzinfo=UTC)
    today = now.date()
    assert store.kept(today) == {}
    store.publish(small_list(store, {"west": ["anna", "bo"]}), [Export("west.csv", "a" * 64)], now - timedelta(days=9))
    store.publish(small_list(store, {"west": ["bo"]}, SECOND), [], now - timedelta(days=2))
    store.add_work(attempts((FIRST, "anna", "2024-06-05", "phone", "w", "reached")), outcomes(), "a")
    store.view(FIRST, "west", "head", "work")
    kept = store.kept(today)
    assert (kept["lists"].n, kept["lists"].since) == (3, now - timedelta(days=9)) and "scores" not in kept
    bound = replace(small_list(store, {"west": ["cai"]}, f"{FIRST[:-1]}0"), need=DUTY)
    bound = replace(bound, list_digest=sha256(canonical_json(bound.said())))
    store.publish(bound, [], now - timedelta(days=99))
    assert store.kept(today) == kept, "what the law says must be kept is not overdue"
    gone = store.forget_before(now, now - timedelta(days=5), today)
    assert gone == {"list_rows": 2, "list_views": 1, "attempts": 1, "exports": 1, "lists": 1, "people": 1}
    assert store.refs(["anna", "bo", "cai"]).keys() == {"bo", "cai"} and not store.is_erased(["anna"]).any()
    assert store.proof(SECOND).faults == () and store.lists()["list_id"].to_list() == [bound.list_id, SECOND]
    store.add_scores(small_scores(["anna"]))
    assert store.kept(today)["scores"].n == 1
    gone = store.forget_before(datetime.now(UTC) + timedelta(days=1), now, date(2030, 1, 1))
    assert gone == {"scores": 1, "score_batches": 1, "list_rows": 2, "lists": 2, "people": 3}


def test_texts_that_others_typed_about_the_erased_go_too(open_store):
    store = open_store()
    store.publish(small_list(store, {"west": ["anna", "bo"]}))
    store.change(FIRST, "west", "bo", "removed", "head", reason="sibling of anna")
    store.change(FIRST, "west", "bo", "added", "head", reason="asked for the annals")
    store.view(FIRST, "west", "head", "to call anna, then bo")
    store.erase("anna")
    assert store.changes(FIRST)["reason"].to_list() == [None, "asked for the annals"]
    assert store.views(FIRST)["purpose"].to_list() == [""]


def test_a_list_reads_back_as_it_was_published_and_twice_is_once(open_store):
    store = open_store()
    listed = small_list(store, {"west": ["anna", "bo"], "east": ["cai"]})
    exports = [Export("west.csv", "a" * 64, "west"), Export("all.json", "b" * 64)]
    for _ in range(2):
        store.publish(listed, exports, datetime.fromisoformat("2024-06-03T08:00:00+00:00"))
    assert store.lists().rows() == [
        (
            FIRST,
            "youth",
            date(2024, 6, 3),
            "2024-06-03/2024-06-10",
            3,
            listed.list_digest,
            datetime.fromisoformat("2024-06-03T08:00:00+00:00"),
        )
    ]
    rows = store.rows(FIRST)
    assert rows.select("unit_id", "position", "kind", "person_id", "rank_band").rows() == [
        ("east", 1, "ranked", "cai", "top_1"),
        ("west", 1, "ranked", "anna", "top_1"),
        ("west", 2, "ranked", "bo", "top_1"),
    ]
    assert '"text":"12 absences: cai"' in rows["payload"][0]
    assert store.list_facts(FIRST) == listed.facts()
    assert store.rows(person_id="bo").height == 1 == store.rows(unit_id="east").height
    assert store.rows(first=date(2024, 6, 4)).is_empty() and store.lists(before=date(2024, 6, 3)).is_empty()
    assert store.exports(person_id="cai")["file"].to_list() == ["all.json"]
    proof = store.proof(FIRST)
    assert (proof.n, proof.redacted, proof.faults) == (3, 0, ())


def test_a_list_that_is_not_what_it_says_is_refused_whole(open_store):
    from dataclasses import replace

    store = open_store()
    listed = small_list(store, {"west": ["anna", "bo"]})
    row = replace(listed.parts[0].rows[0], rank_band="rest")
    forged = replace(listed, parts=(replace(listed.parts[0], rows=(row,)),))
    cases = [
        (replace(listed, list_digest="0" * 64), "list_digest: is not that of what the list says. Make the list again"),
        (
            replace(forged, list_digest=sha256(canonical_json(forged.said()))),
            "row_hash: in place 1 of west is not that of the row. Make the list again",
        ),
    ]
    for wrong, message in cases:
        with pytest.raises(NotTrusted) as refusal:
            store.publish(wrong, [])
        assert str(refusal.value) == message
    store.publish(listed, [])
    with pytest.raises(NotTrusted, match="list_id: belongs to another list that was published before"):
        store.publish(small_list(store, {"west": ["bo"]}), [])
    repeated = small_list(store, {"west": ["dora"], "east": ["dora"]}, SECOND)
    with pytest.raises(NotTrusted, match="list: names 1 person more than once"):
        store.publish(repeated, [])
    assert store.lists()["list_id"].to_list() == [FIRST] and store.summary()["list_rows"] == 2


def test_changes_made_by_hand_stand_beside_the_list(open_store):
    store = open_store()
    store.publish(small_list(store, {"west": ["anna", "bo"], "east": ["cai"]}), [])
    store.change(FIRST, "west", "dora", "added", "unit head", reason="asked for help")
    store.change(FIRST, "west", "bo", "removed", "unit head", reason="has moved")
    store.change(FIRST, "west", "dora", "assigned", "unit head", worker="worker 2")
    assert store.current(FIRST).select("unit_id", "position", "kind", "person_id", "worker").rows() == [
        ("east", 1, "ranked", "cai", None),
        ("west", 1, "ranked", "anna", None),
        ("west", 3, "added", "dora", "worker 2"),
    ]
    assert store.rows(FIRST).height == 3 and store.changes(FIRST)["act"].to_list() == ["added", "removed", "assigned"]
    store.change(FIRST, "west", "bo", "added", "unit head", reason="has not moved")
    assert store.current(FIRST, "west")["person_id"].to_list() == ["anna", "dora", "bo"]
    refused = [
        (("west", "anna", "added"), {"reason": "x"}, "person: is on this list already"),
        (("east", "anna", "removed"), {"reason": "x"}, "person: is not on the list of this unit"),
        (("west", "anna", "removed"), {}, "reason: is missing"),
        (("west", "anna", "assigned"), {}, "worker: is missing"),
        (("north", "anna", "forgotten"), {}, "act: 'forgotten' is none"),
    ]
    for words, more, message in refused:
        with pytest.raises(BadInput) as refusal:
            store.change(FIRST, *words, "unit head", **more)
        assert str(refusal.value).startswith(message) and "anna" not in str(refusal.value)


def test_a_unit_knows_the_people_of_its_own_lists_as_they_stand(open_store):
    store = open_store()
    store.publish(small_list(store, {"west": ["anna", "bo"], "east": ["cai"]}), [])
    everybody = ["anna", "bo", "cai", "dora", "nobody", "anna"]

    def known(*units, need="youth", people=everybody):
        return sorted(store.on_lists_of(need, units, people))

    assert (known("west"), known("east"), known("east", "west")) == (["anna", "bo"], ["cai"], ["anna", "bo", "cai"])
    assert known() == known("north") == known("west", need="elderly") == known("west", people=[]) == []
    assert known("west", people=[*everybody, *map(str, range(600))]) == ["anna", "bo"]
    store.change(FIRST, "west", "dora", "added", "unit head", reason="asked for help")
    store.change(FIRST, "west", "bo", "removed", "unit head", reason="has moved")
    store.change(FIRST, "west", "dora", "assigned", "unit head", worker="worker 2")
    assert known("west") == ["anna", "dora"]
    store.change(FIRST, "east", "bo", "added", "unit head", reason="lives there now")
    assert (known("west"), known("east")) == (["anna", "dora"], ["bo", "cai"])
    store.erase("anna")
    assert known("west") == ["dora"]
    store.publish(small_list(store, {"west": ["fia"]}, SECOND, as_of=date(2024, 6, 10)), [])
    assert known("west", people=["dora", "fia"]) == ["dora", "fia"]  # of another day: both are worked
    store.publish(small_list(store, {"west": ["gus"]}, SECOND[:-1] + "3"), [])
    assert known("west", people=["dora", "fia", "gus"]) == ["fia", "gus"]  # the newer one of a day replaces the older


def test_whom_the_lot_held_out_a_unit_does_not_know(open_store):
    store = open_store()
    store.publish(lots_list(store))
    held_out = set(store.rows(FIRST).filter("is_held_out")["person_id"])
    units = set(store.rows(FIRST)["unit_id"])
    on_it = set(store.rows(FIRST)["person_id"]) - held_out
    assert held_out and store.on_lists_of("youth", units, [*held_out, *on_it]) == on_it


def test_who_looked_is_known_of_a_list_and_of_a_person(open_store):
    store = open_store()
    store.publish(small_list(store, {"west": ["anna"], "east": ["cai"]}), [])
    store.view(FIRST, "west", "worker 1", "the week's work")
    store.view(FIRST, None, "leader", "steering")
    store.view(None, None, "adviser", "her own request", person_id="anna")
    assert store.views(FIRST)["actor"].to_list() == ["worker 1", "leader"]
    assert store.views(person_id="anna")["actor"].to_list() == ["worker 1", "leader", "adviser"]
    assert store.views(person_id="cai")["actor"].to_list() == ["leader"]


def test_an_import_is_all_or_nothing_and_twice_is_once(open_store):
    store = open_store()
    store.publish(small_list(store, {"west": ["anna", "bo"]}), [])
    rows = [
        (FIRST, "anna", "2024-06-04", "phone", "worker 1", "no answer"),
        (None, "bo", "2024-06-05T09:30", None, None, ""),
    ]
    assert store.add_attempts(attempts(*rows), "a.xlsx") == 2
    assert store.add_attempts(attempts(*rows, rows[0]), "b.xlsx") == 0
    assert store.add_outcomes(outcomes((FIRST, "anna", "2024-06-06", "helped")), "a.xlsx") == 1
    wrong = outcomes(
        (FIRST, "anna", "2024-06-07", "reached"), (FIRST, "", "soon", "cured"), (FIRST, "bo", None, "helped")
    )
    with pytest.raises(BadInput) as refusal:
        store.add_outcomes(wrong, "c.xlsx")
    assert [fault.where + " " + fault.wrong for fault in refusal.value.faults] == [
        "outcomes, row 2 has no person",
        "outcomes, row 2 has a time that cannot be read",
        "outcomes, row 2 has the outcome 'cured', which is none",
        "outcomes, row 3 has no time",
    ]
    with pytest.raises(BadInput, match=r"attempts, row 1: has a time with a time zone. Give a day or a local time"):
        store.add_attempts(attempts((None, "bo", "2024-06-05T09:30+03:00", None, None, "")), "d")
    with pytest.raises(BadInput, match=f"list: '{SECOND}' was never published. Give the id of .* last are: {FIRST}"):
        store.add_outcomes(
            outcomes((FIRST, "bo", "2024-06-07", "reached"), (SECOND, "bo", "2024-06-07", "reached")), "d"
        )
    assert store.outcomes(FIRST).select("person_id", "at", "outcome", "need_id", "source").rows() == [
        ("anna", datetime(2024, 6, 6), "helped", "youth", "a.xlsx")
    ]
    assert store.attempts(person_id="bo").select("list_id", "at", "channel", "result").rows() == [
        (None, datetime(2024, 6, 5, 9, 30), None, "")
    ]
    assert store.attempts(last=date(2024, 6, 4)).height == 1 == store.attempts(first=date(2024, 6, 5)).height
    assert store.attempts(need_id="youth").height == 1


IMPORT = """
import sys
import polars as pl
from pathlib import Path
from sqlalchemy import create_engine
from scoring.store import Store, StoreKeys
from serving.settings import Settings
from store_cases import KEYS, attempts
url, home, name = sys.argv[1:]
store = Store(Settings(home=Path(home), database_url=url or None).engine(), KEYS)
print("ready", flush=True)
sys.stdin.readline()
for part in range(10):
    rows = [(None, f"shared {i}", "2024-06-04", "phone", "both", str(part)) for i in range(10)]
    rows += [(None, f"{name} {i}", "2024-06-04", "phone", name, str(part)) for i in range(10)]
    print(store.add_attempts(attempts(*rows), name), flush=True)
"""


def test_two_processes_that_begin_and_import_at_once_lose_nothing(open_store, url_and_home):
    command = [sys.executable, "-c", IMPORT, *url_and_home]
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*command, name], cwd=ROOT, env=path, **pipes) for name in ("west", "east")]
    for process in both:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate() for process in both]
    assert [error for _, error in said] == ["", ""]
    assert sum(int(n) for output, _ in said for n in output.split()) == 300
    kept = open_store().attempts()
    assert kept.height == 300 and kept["person_ref"].n_unique() == 30
    assert sorted(kept["person_id"].unique()) == sorted(
        f"{n} {i}" for n in ("shared", "west", "east") for i in range(10)
    )


def test_one_batch_and_one_list_from_many_at_once_are_one(open_store):
    from concurrent.futures import ThreadPoolExecutor

    store, scores = open_store(), small_scores([f"p{i}" for i in range(50)])
    listed = small_list(store, {"west": ["p1", "p2"]})

    def act(_):
        own = open_store()
        own.publish(listed, [Export("west.csv", "a" * 64, "west")])
        return own.add_scores(scores)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(act, range(16)))) == 1
    counts = store.summary()
    assert [counts[name] for name in ("scores", "score_batches", "lists", "list_rows", "exports")] == [50, 1, 1, 2, 1]


def test_who_is_erased_while_scores_are_added_keeps_none(open_store):
    store = open_store()
    made = store._add_batch

    def slow(batch_id, scores, rows):
        open_store().erase("anna")
        made(batch_id, scores, rows)

    store._add_batch = slow
    store.add_scores(small_scores(["anna", "bo"]))
    with store._engine.connect() as connection:
        kept = connection.execute(text("select score is null, rank is null, rank_band is null from store_scores")).all()
    assert sorted(map(tuple, kept)) == [(False,) * 3, (True,) * 3] and store.scores_of("bo").height == 1


def filled(store):
    """A store in which anna stands everywhere, and on a sibling's row."""
    store.add_scores(small_scores(["anna", "bo", "cai"]))
    listed = small_list(store, {"west": ["anna", "bo"], "east": ["cai"]}, told="Secret Reason")
    store.publish(listed, [Export("west.csv", "a" * 64, "west"), Export("east.csv", "c" * 64, "east")])
    store.change(FIRST, "west", "anna", "assigned", "head", worker="Secret Worker")
    store.view(FIRST, "west", "worker", "work", person_id="anna")
    store.add_attempts(attempts((FIRST, "anna", "2024-06-04", "phone", "w", "Secret Result")), "Secret file.xlsx")
    store.add_outcomes(outcomes((FIRST, "anna", "2024-06-05", "helped")), "Secret file.xlsx")
    store.recall("anna", "Secret Why")
    return listed


def test_erasure_leaves_rows_that_are_nobodys_and_a_list_that_still_verifies(open_store):
    store = open_store()
    listed = filled(store)
    before = store.summary()
    erasure = store.erase("anna")
    assert erasure.rows == {
        "others": 0,
        "scores": 1,
        "list_rows": 1,
        "list_changes": 1,
        "attempts": 1,
        "outcomes": 1,
        "recalls": 1,
        "people": 1,
    }
    assert erasure.exports["file"].to_list() == ["west.csv"] and erasure.wiped
    assert store.exports(list_id=FIRST).filter(pl.col("recalled_at").is_not_null())["file"].to_list() == ["west.csv"]
    store = open_store()
    assert store.is_erased(["anna", "bo"]).tolist() == [True, False]
    assert store.refs(["anna", "bo"]).keys() == {"bo"} and store.people([erasure.person_ref]) == {}
    after = store.summary()
    assert after == {**before, "people": before["people"] - 1, "tombstones": 1}
    row = store.rows(FIRST).filter(pl.col("person_ref") == erasure.person_ref)
    assert row.select("person_id", "payload", "row_hash").rows() == [(None, None, listed.parts[0].rows[0].row_hash)]
    for frame in (
        store.scores_of("anna"),
        store.rows(person_id="anna"),
        store.exports("anna"),
        store.views(None, "anna"),
    ):
        assert frame.is_empty()
    assert store.outcomes(FIRST).select("person_id", "outcome").rows() == [(None, "helped")]
    proof = store.proof(FIRST)
    assert (proof.digest, proof.n, proof.redacted, proof.faults) == (listed.list_digest, 3, 1, ())
    again = store.erase("anna")
    assert (again.person_ref, again.rows, again.exports.height) == (None, {"others": 0}, 0)


def test_the_erased_come_back_by_no_door(open_store):
    store = open_store()
    filled(store)
    prepared = small_list(store, {"west": ["dora", "anna"]}, SECOND)
    store.erase("anna")
    assert store.refer(["anna", "bo"]).keys() == {"bo"}
    with pytest.raises(NotTrusted) as refusal:
        store.publish(prepared, [])
    assert str(refusal.value) == "list: names 1 person who was erased meanwhile. Make the list again"
    with pytest.raises(NotTrusted):
        store.row_keys(["anna"])
    with pytest.raises(NotTrusted):
        store.change(FIRST, "west", "anna", "added", "head", reason="x")
    assert store.add_attempts(attempts((FIRST, "anna", "2024-06-09", "phone", "w", "r")), "b") == 0
    store.add_scores(small_scores(["anna", "dora"], as_of=date(2024, 6, 10), seed=5))
    store.view(None, None, "adviser", "asked", person_id="anna")
    assert store.summary()["scores"] == 4 and store.lists().height == 1
    assert "anna" not in store.people(list(store.refs(["anna", "bo", "cai", "dora"]).values())).values()


def lots_list(store):
    """A list with two sampled, and two between whom a lot decided: dora was left below the line."""
    from dataclasses import replace

    listed = small_list(store, {"west": ["anna", "bo", "cai", "dora"]})
    keys = store.row_keys(["anna", "bo", "cai", "dora"])
    lots = (
        {"kind": "margin", "chance": "0.5"},
        *[{"kind": "sample", "chance": "0.1", "rank_band": None, "reasons": ()}] * 2,
        {"kind": "margin", "chance": "0.5", "is_held_out": True},
    )
    rows = [replace(row, **lot) for row, lot in zip(listed.parts[0].rows, lots, strict=True)]
    rows = [row.hashed("west", keys[row.person_id]) for row in rows]
    listed = replace(listed, parts=(replace(listed.parts[0], rows=tuple(rows[:3]), held_out=(rows[3],)),))
    return replace(listed, list_digest=sha256(canonical_json(listed.said())))


LOTS = [("margin", 0.5, False), ("sample", 0.1, False), ("sample", 0.1, False), ("margin", 0.5, True)]


def test_erasure_leaves_what_the_lots_did(open_store):
    from scoring.hygiene import to_contact
    from scoring.what_happened import missed_need

    store = open_store()
    store.publish(lots_list(store))
    for person in ("bo", "dora"):
        store.erase(person)
    rows = store.rows(FIRST)
    assert rows.select("kind", "probability", "is_held_out").rows() == LOTS and rows["payload"].null_count() == 2
    assert store.proof(FIRST).faults == () and to_contact(rows)["person_id"].to_list() == ["anna"]
    assert store.current(FIRST)["position"].to_list() == [1, 2, 3], "who was held out stays so"
    sample = rows.filter(pl.col("kind") == "sample").with_columns(in_need=pl.Series([1.0, 0.0]))
    assert (missed_need(sample).below_n, missed_need(sample).share.value) == (20, 0.5)
    unknown = missed_need(sample.with_columns(probability=pl.lit(None, dtype=pl.Float64)))
    assert (unknown.drawn, unknown.known, unknown.below_n) == (0, 0, 0.0), "without its probability a row tells nothing"


def test_what_the_lots_did_is_found_for_lists_kept_before_it_had_columns(open_store):
    store = open_store()
    store.publish(lots_list(store))
    for person in ("bo", "dora"):
        store.erase(person)
    with store._engine.begin() as connection:
        for column in ("probability", "is_held_out"):
            connection.execute(text(f"alter table store_list_rows drop column {column}"))
        connection.execute(text("update store_version set version_num = '0001'"))
    migrated = open_store()
    found = migrated.rows(FIRST).select("kind", "probability", "is_held_out").rows()
    # What would have placed somebody who was erased is not needed: what followed is nobody's.
    assert found == [*LOTS[:3], ("margin", None, True)] and migrated.proof(FIRST).faults == ()


def test_another_persons_row_that_names_the_erased_is_emptied_too(open_store):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Row(ListRow):
        @property
        def payload(self):
            return {"guardian": ["Person 000123"] if self.person_id == "child" else ["none"], "n": "000123 absences"}

    from dataclasses import replace

    store = open_store()
    keys = store.row_keys(["child", "other"])
    rows = tuple(Row(n, p, "top_1", ()).hashed("west", keys[p]) for n, p in enumerate(("child", "other"), 1))
    listed = replace(small_list(store, {"west": ["x"]}), parts=(UnitPart("west", "West", 2, 9, rows),))
    store.publish(replace(listed, list_digest=sha256(canonical_json(listed.said()))), [])
    assert store.erase("000123").rows == {"others": 1}
    assert store.rows()["payload"].is_null().to_list() == [True, False]
    assert (store.proof(FIRST).redacted, store.proof(FIRST).faults) == (1, ())


def test_what_was_changed_in_the_database_is_noticed(open_store):
    store = open_store()
    for statement, fault in (
        ("update store_list_rows set payload = '{}' where position = 2", f"list {FIRST}, west, row 2: was changed"),
        ("update store_list_rows set probability = 0.5 where position = 2", f"list {FIRST}, west, row 2: was changed"),
        (
            "delete from store_list_rows where unit_id = 'east'",
            f"list {FIRST}: holds other rows than its digest is over",
        ),
        ("update store_lists set said = '{\"parts\":[]}'", f"list {FIRST}: does not say what its digest is over"),
    ):
        store.publish(small_list(store, {"west": ["anna", "bo"], "east": ["cai"]}), [])
        assert store.proof(FIRST).faults == ()
        with store._engine.begin() as connection:
            connection.execute(text(statement))
        assert str(store.proof(FIRST).faults[0]) == f"{fault}. Restore the database from the backup"
        with store._engine.begin() as connection:
            connection.execute(text("delete from store_list_rows"))
            connection.execute(text("delete from store_lists"))


def test_other_keys_and_later_tables_are_refused(open_store):
    store = open_store()
    engine = store._engine
    with pytest.raises(NotTrusted) as refusal:
        Store(engine, StoreKeys(b"another key of people", KEYS.tombstones))
    assert str(refusal.value) == (
        "people key: is not the key this store was begun with, so nobody in it would be found, nor the erased be "
        "masked. Restore secrets/people.key from the backup"
    )
    with engine.begin() as connection:
        connection.execute(text("update store_version set version_num = '9999'"))
    with pytest.raises(NotTrusted) as refusal:
        open_store()
    assert str(refusal.value) == (
        "the store's tables: has version 9999, and this Ennakko knows versions up to 0002: a later one has used it. "
        "Use the later Ennakko, or restore the database from a backup made before"
    )


def test_the_migrations_make_the_tables_the_code_expects_and_touch_no_others(open_store):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from ethics.audit_log import AuditLog
    from scoring.store_tables import METADATA

    engine = open_store.engine()
    assert not is_begun(engine)
    log = AuditLog(engine)
    log.append("list", "tests")
    store = open_store()
    assert is_begun(engine) and AuditLog(engine).verify() == [] and store.summary()["people"] == 0
    with engine.connect() as connection:
        ours = {"include_object": lambda o, name, kind, *_: kind != "table" or name.startswith("store_")}
        context = MigrationContext.configure(connection, opts={"version_table": "store_version", **ours})
        assert compare_metadata(context, METADATA) == []
    assert {table.name for table in METADATA.sorted_tables} < set(inspect(engine).get_table_names())
