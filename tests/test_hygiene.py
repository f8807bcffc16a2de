"""Who is left out of a list and why; who rests and who is carried over; lots; and what the gate says of all that."""

from copy import copy
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, World
from sqlalchemy import create_engine
from store_cases import FIRST, KEYS, SECOND, attempts, outcomes, small_list

from ethics.policy import Policy
from ethics.refusals import BadInput, NotTrusted
from features.city import open_city
from models.need_parts import ListSettings
from scoring.hygiene import Past, past_of
from scoring.list_cells import shown_rows
from scoring.list_evidence import recorded_lots
from scoring.outcomes import ReadRow, keep_outcomes
from scoring.outreach import draw_up, outreach_list
from scoring.store import Store

MONDAY = date(2024, 6, 3)


def need_with(cooldown, period=7, columns=()):
    return SimpleNamespace(
        id="youth",
        service="youth-work",
        digest="d" * 64,
        capacity=SimpleNamespace(period_days=period, k=10),
        list=SimpleNamespace(cooldown_days=cooldown, columns=columns, keep=None),
    )


@pytest.fixture
def store():
    return Store(create_engine("sqlite://"), KEYS)


# ---- who rests, who is carried over --------------------------------------------------------------------------------


def test_being_listed_is_enough_to_rest_until_the_days_are_over(store):
    store.publish(small_list(store, {"west": ["anna", "bo"]}), [])
    need = need_with(90)
    assert past_of(store, need, MONDAY) == Past(last=None)  # the same day again: the same people
    assert past_of(store, need, MONDAY + timedelta(days=89)).resting == {"anna", "bo"}
    assert past_of(store, need, MONDAY + timedelta(days=90)).resting == frozenset()
    assert past_of(store, need_with(0), MONDAY + timedelta(days=1)).resting == frozenset()
    assert past_of(store, SimpleNamespace(**vars(need) | {"id": "other"}), MONDAY + timedelta(days=1)) == Past()


def test_who_was_reached_rests_from_that_day_and_who_was_not_is_carried_over(store):
    store.publish(small_list(store, {"west": ["anna", "bo", "cai", "dora"]}), [])
    store.add_outcomes(
        outcomes((FIRST, "anna", "2024-06-06", "declined"), (FIRST, "bo", "2024-06-06", "not_reached")), "a"
    )
    store.add_attempts(
        attempts(
            (FIRST, "cai", "2024-06-05", "phone", "w", "not_reached"),
            (FIRST, "cai", "2024-06-06", "phone", "w", "reached"),
        ),
        "a",
    )
    week = past_of(store, need_with(30), MONDAY + timedelta(days=7))
    assert week == Past(frozenset({"anna", "cai", "dora"}), frozenset({"bo"}), frozenset({"anna", "bo", "cai", "dora"}))
    assert past_of(store, need_with(30), date(2024, 6, 6)).carried == {"cai"}, "an event of the day itself is later"
    month = past_of(store, need_with(30), MONDAY + timedelta(days=31))
    assert month.resting == {"anna", "cai"}, "rest counts from the answer, not from the list"
    assert month.carried == frozenset(), "nobody is carried over for ever"


def test_who_was_not_reached_and_answered_on_one_day_is_not_contacted_again(store):
    people = [f"p{i:02d}" for i in range(20)]
    store.publish(small_list(store, {"west": people}), [])
    both = [(FIRST, p, "2024-06-05", code) for p in people for code in ("not_reached", "declined")]
    store.add_outcomes(outcomes(*both), "a")  # the store gives equal times in the order of their random digests
    # By the clock the day is the same: who said no in the morning is not asked again for a call missed at noon.
    store.add_attempts(attempts((FIRST, "p00", "2024-06-05T12:00:00", "phone", "w", "not_reached")), "a")
    past = past_of(store, need_with(30), MONDAY + timedelta(days=7))
    assert (past.resting, past.carried) == (set(people), frozenset())


def test_without_a_cool_down_the_unreached_are_still_carried_over_once(store):
    store.publish(small_list(store, {"west": ["anna", "bo"]}), [])
    store.add_outcomes(outcomes((FIRST, "bo", "2024-06-06", "not_reached")), "a")
    assert past_of(store, need_with(0), MONDAY + timedelta(days=7)) == Past(
        carried=frozenset({"bo"}), last=frozenset({"anna", "bo"})
    )
    assert past_of(store, need_with(0), MONDAY + timedelta(days=8)).carried == frozenset()


def test_samples_and_those_held_out_do_not_rest_and_those_added_by_hand_do(store):
    listed = small_list(store, {"west": ["anna", "bo", "cai"]})
    kinds = (
        {"kind": "margin", "chance": "0.5"},
        {"kind": "sample", "rank_band": None, "reasons": ()},
        {"kind": "margin"},
    )
    keys = store.row_keys(["anna", "bo", "cai"])
    rows = [replace(row, **kind) for row, kind in zip(listed.parts[0].rows, kinds, strict=True)]
    rows[2] = replace(rows[2], is_held_out=True, chance="0.5")
    rows = [row.hashed("west", keys[row.person_id]) for row in rows]
    part = replace(listed.parts[0], rows=tuple(rows[:2]), held_out=(rows[2],))
    assert (part.listed_n, part.below_n) == (1, 99)
    from ethics.digests import canonical_json, sha256

    listed = replace(listed, parts=(part,))
    store.publish(replace(listed, list_digest=sha256(canonical_json(listed.said()))), [])
    assert store.proof(FIRST).faults == () and store.proof(FIRST).n == 3
    assert store.current(FIRST)["person_id"].to_list() == ["anna", "bo"], "nobody is shown who was held out"
    for act, more in (("assigned", {"worker": "w"}), ("removed", {"reason": "x"})):
        with pytest.raises(BadInput, match="not on the list of this unit"):
            store.change(FIRST, "west", "cai", act, "unit head", **more)
    came = [
        ReadRow("row 1", {"list_id": FIRST, "person_id": "cai", "at": MONDAY.isoformat(), "outcome": "reached"}),
    ]
    with pytest.raises(BadInput):
        keep_outcomes(store, came, "by hand", MONDAY + timedelta(days=1))
    store.change(FIRST, "west", "dora", "added", "unit head", reason="asked for help")
    past = past_of(store, need_with(30), MONDAY + timedelta(days=7))
    assert (past.resting, past.last) == ({"anna", "dora"}, {"anna", "dora"})
    store.change(FIRST, "west", "cai", "added", "unit head", reason="came by themselves")
    store.change(FIRST, "west", "cai", "assigned", "unit head", worker="w")
    assert store.current(FIRST).filter(person_id="cai").select("kind", "worker").rows() == [("added", "w")]
    assert keep_outcomes(store, came, "by hand", MONDAY + timedelta(days=1)).outcomes == 1
    store.publish(small_list(store, {"west": ["bo"]}, SECOND, as_of=MONDAY + timedelta(days=7)), [])
    assert past_of(store, need_with(0), MONDAY + timedelta(days=60)).last == {"bo"}


# ---- a whole list --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), units=True)


def asked(world, settings, **changes):
    scorer = copy(world.scorer)
    scorer.need = world.need.model_copy(update={"list": ListSettings(**settings)})
    given = {"objections": world.objections, **changes}
    return scorer, given


def drawn(world, settings, city=None, **changes):
    scorer, given = asked(world, settings, **changes)
    city = city or world.city
    return draw_up(scorer.score(city, AS_OF, world.objections), scorer, city, **given)


def listed_of(world, settings, **changes):
    scorer, given = asked(world, settings, **changes)
    given |= {
        "policy": world.policy,
        "stop_switch": world.stop_switch,
        "surroundings": world.surroundings,
        "row_keys": world.home.store.row_keys,
        "issued_at": world.now,
    }
    return outreach_list(world.score(), scorer, world.city, **given)


def rows_of(listed, kind):
    return [row for part in listed.parts for row in part.recorded if row.kind == kind]


def test_every_reason_leaves_people_out_in_one_order_and_the_gate_sees_nobody_lost(world):
    ids = world.score().frame["person_id"].to_list()
    world.objections.object(ids[0], world.need.id)
    erased = ids[1]
    settings = {"in_service": {"codes": ["health.pressure"], "window": 20}, "left": ["school.absence.none"]}
    past = Past(frozenset({ids[0], ids[2], ids[3]}))
    try:
        listed = listed_of(
            world,
            settings,
            past=past,
            erased=lambda people: np.array([person == erased for person in people]),
            elsewhere=[ids[4]],
        )
    finally:
        world.objections.withdraw(ids[0], world.need.id)
    events = pl.read_parquet(world.folder / "city" / "events.parquet").filter(
        (pl.col("code") == "health.pressure")
        & pl.col("event_date").is_between(AS_OF - timedelta(days=20), AS_OF, "left")
    )
    served = set(events["person_id"]) - {ids[0], erased}
    assert {check.state for check in listed.checks} == {"pass"}
    excluded = dict(listed.excluded)
    assert excluded["objected"] == 1 == excluded["erased"]
    assert excluded["already in service"] == len(served) > 10
    assert excluded["listed recently"] == len({ids[2], ids[3]} - served)
    people = {row.person_id for part in listed.parts for row in part.rows}
    assert not people & ({*ids[:5]} | served)
    assert listed.listed + listed.below + sum(excluded.values()) == listed.cohort_n
    assert list(excluded)[:4] == ["objected", "erased", "moved or deceased", "already in service"]


def test_who_left_the_city_is_on_no_list(world):
    done = drawn(world, {"left": ["health.pressure"]})
    assert done.excluded["moved or deceased"] > 100
    assert not set(done.listed["person_id"]) & set(done.people.filter(pl.col("reason").is_not_null())["person_id"])
    label = SimpleNamespace(censored_by=("moved_away",))
    assert ListSettings().codes_of_leaving(label) == ("moved_away",) and ListSettings().codes_of_leaving(None) == ()
    assert ListSettings(left=["death"]).codes_of_leaving(label) == ("death",)


def test_carried_over_people_come_first_and_the_gate_agrees(world):
    last = world.score().frame["person_id"][-40:].to_list()
    listed = listed_of(world, {}, past=Past(carried=frozenset(last[:3]), last=frozenset(last)))
    assert {check.state for check in listed.checks} == {"pass"} and listed.listed == 20
    carried = rows_of(listed, "carried")
    assert {row.person_id for row in carried} <= set(last[:3]) and carried
    for part in listed.parts:
        kinds = [row.kind for row in part.rows]
        assert kinds == sorted(kinds, key=lambda kind: kind != "carried")


def test_a_sample_from_below_the_line_takes_no_place_and_has_no_reasons(world):
    listed, again = listed_of(world, {"sample": 9}), listed_of(world, {"sample": 9})
    sample = rows_of(listed, "sample")
    assert (len(sample), listed.listed, listed.list_digest) == (9, 20, again.list_digest)
    assert all(row.reasons == () and row.rank_band is None for row in sample)
    below = 900 - sum(listed.excluded.values()) - 20
    assert {row.payload["sample"]["probability"] for row in sample} == {f"{9 / below:.10g}"}
    assert listed.below == below and listed.facts()["kinds"] == {"ranked": 20, "sample": 9}
    from scoring.pages import render_csv, render_page

    part = next(part for part in listed.parts if any(row.kind == "sample" for row in part.rows))
    assert "drawn at random" in render_page(listed, part) and "drawn at random" in render_csv(listed, part)


EXPLORES = f"{MODEL_NEED}[list]\nsample = 1\n"


def test_a_margin_above_the_policys_needs_vouching_and_one_within_it_passes_the_gate(world, tmp_path):
    unvouched = World(tmp_path / "unvouched", units=True, need_text=EXPLORES, lots_vouched_for=False)
    assert listed_of(unvouched, {"sample": 1}).listed == 20
    with pytest.raises(NotTrusted, match=r"check C407: needs_attestation: share given by lot 0.3 \(limit 0.02\)"):
        listed_of(unvouched, {"margin": 0.3})
    with pytest.raises(NotTrusted, match=r"check C407: needs_attestation: share drawn by lot 0 \(limit 0.02\)"):
        listed_of(unvouched, {})
    assert {check.state for check in listed_of(world, {"margin": 0.3}).checks} == {"pass"}, "it was vouched for there"
    text = world.policy.bytes.decode().replace("min_exploration = 0.02", "min_exploration = 0.3")
    explores = World(tmp_path, units=True, policy=Policy.parse(text.encode(), "policy.toml"))
    listed = listed_of(explores, {"margin": 0.3, "sample": 5})
    by_lot = rows_of(listed, "margin")
    assert sum(not row.is_held_out for row in by_lot) == 6 == sum(row.is_held_out for row in by_lot)
    assert listed.listed == 20 and {check.state for check in listed.checks} == {"pass"}
    held_out = {row.person_id for row in by_lot if row.is_held_out}
    assert not held_out & {row.person_id for part in listed.parts for row in part.rows}
    assert {row.payload["margin"]["probability"] for row in by_lot} == {"0.5"}


def test_exploration_is_counted_in_the_rows_as_the_store_keeps_them(world):
    settings = {"margin": 0.3, "sample": 5}
    listed, people = listed_of(world, settings), drawn(world, settings).people
    world.home.store.publish(listed)
    kept = world.home.store.rows(listed.list_id)
    rows = [row for part in listed.parts for row in part.recorded]
    need = world.need.model_copy(update={"list": ListSettings(**settings)})
    counted = recorded_lots(rows, people, need)
    by_lot = kept.filter((pl.col("kind") == "margin") & ~pl.col("is_held_out"))
    assert (counted["by_lot"], counted["sample"]) == (by_lot.height, kept.filter(kind="sample").height) == (6, 5)
    held_out = sum(row.is_held_out for row in rows)
    assert (counted["places"], counted["below"], held_out) == (20, listed.below - held_out, 6)
    unlogged = [replace(row, chance="") for row in rows]
    without = recorded_lots(unlogged, people, need)
    assert (without["by_lot"], without["sample"]) == (0, 0), "without its probability a draw teaches nothing"


def test_one_guardian_is_contacted_once_for_all_siblings(world):
    ids = world.score().frame["person_id"].to_list()
    with pytest.raises(BadInput, match=r"list.merge: asks for one contact per guardian, and nothing says"):
        drawn(world, {"merge": "guardian"})
    guardians = {ids[0]: "g1", ids[1]: "g1", ids[5]: "g1", ids[2]: "g2", ids[3]: "g3", ids[4]: "g3"}
    done = drawn(world, {"merge": "guardian"}, guardians=guardians, past=Past(frozenset(), frozenset({ids[4]})))
    merged = set(done.people.filter(pl.col("reason") == "guardian contacted for a sibling")["person_id"])
    assert merged == {ids[1], ids[5], ids[3]}, "the first by rank stays, or who is carried over"
    done = drawn(world, {"merge": "guardian"}, guardians={**guardians, "away": "g2"}, past=Past(frozenset({"away"})))
    assert done.excluded["guardian contacted for a sibling"] == 4, "a guardian contacted lately rests for siblings too"


def test_a_list_changes_no_more_than_the_churn_cap_lets_it(world):
    ids = drawn(world, {}).listed["person_id"].to_list()
    old = drawn(world, {}).below["person_id"].to_list()[:40]
    listed = listed_of(world, {"churn_cap": 0.25}, past=Past(last=frozenset(old)))
    people = {row.person_id for part in listed.parts for row in part.rows}
    new = people - set(old)
    assert {check.state for check in listed.checks} == {"pass"} and listed.listed == 20
    assert all(sum(r.person_id in new for r in part.rows) <= 0.25 * part.k for part in listed.parts)
    assert listed.excluded["churn cap"] >= len(set(ids) - people) > 10
    assert listed.listed + listed.below + sum(listed.excluded.values()) == listed.cohort_n


def test_attempts_per_person_shorten_the_list_and_need_shares_its_places(world):
    listed = listed_of(world, {"attempts_per_person": 3})
    assert (listed.listed, listed.capacity_k) == (6, 20) and {check.state for check in listed.checks} == {"pass"}
    listed = listed_of(world, {"allocation": "need"})
    assert listed.listed == 20 and {check.state for check in listed.checks} == {"pass"}
    scores = drawn(world, {"allocation": "need"}).people.filter(pl.col("reason").is_null())
    need = dict(scores.group_by("unit_id").agg(pl.col("score").sum()).iter_rows())
    for part in listed.parts:
        assert abs(part.k - 20 * need[part.unit_id] / sum(need.values())) < 1


def test_earlier_attempts_are_counted_where_the_list_shows_them(store):
    store.publish(small_list(store, {"west": ["anna", "bo"]}), [])
    tried = ("phone", "w", "not_reached")
    rows = [(FIRST, "anna", day, *tried) for day in ("2024-06-05", "2024-06-06T09:00", "2024-06-10")]
    store.add_attempts(attempts(*rows, (None, "bo", "2024-06-05", *tried)), "a")
    week = MONDAY + timedelta(days=7)
    assert past_of(store, need_with(30, columns=("attempts",)), week).attempts == {"anna": 2}
    assert past_of(store, need_with(30), week).attempts == {}, "what no list shows is not read"


def test_who_helps_and_how_often_it_was_tried_stand_on_the_row(world):
    plain = {"fi": "työpaja", "sv": "verkstaden", "en": "the workshop"}
    settings = {
        "columns": ["rank_band", "who_helps", "attempts"],
        "helpers": [{"codes": ["status.neet"], "window": 300, "plain": plain}],
    }
    tried = listed_of(world, settings).parts[0].rows[0].person_id
    listed = listed_of(world, settings, language="sv", past=Past(attempts={tried: 2}))
    told = {row.person_id: row.payload for row in rows_of(listed, "ranked")}
    assert {tuple(one["who_helps"]) for one in told.values()} == {(), ("verkstaden",)}
    assert {person: one["attempts"] for person, one in told.items()} == dict.fromkeys(told, 0) | {tried: 2}
    shown = {row.person_id: row for part in listed.parts for row in shown_rows(listed, part, None)}
    assert shown[tried].cells["attempts"] == "2 tidigare" and shown[tried].facts["attempts"] == 2
    assert {row.cells["who_helps"] for row in shown.values()} == {"inget känt", "verkstaden"}
    bare = listed_of(world, {"columns": ["rank_band"]}, past=Past(attempts={tried: 2}))
    assert all(row.payload.keys() <= {"reasons"} for row in rows_of(bare, "ranked")), "only what the columns show"


def test_cautions_stand_on_the_row_in_the_lists_language(world):
    plain = {"fi": "kysy ensin", "sv": "fråga först", "en": "ask first"}
    settings = {"contraindications": [{"codes": ["status.neet"], "window": 300, "plain": plain}]}
    listed = listed_of(world, settings, language="sv")
    told = [row.payload.get("cautions") for row in rows_of(listed, "ranked")]
    assert ["fråga först"] in told and None in told


def test_whoever_asks_is_told_the_reason_or_the_place(world):
    done = drawn(world, {}, past=Past(frozenset({world.score().frame["person_id"][0]})))
    assert done.standing(world.score().frame["person_id"][0])[:2] == ("excluded", "listed recently")
    first = done.listed.row(0, named=True)
    assert done.standing(first["person_id"]).what == "listed" and done.standing(first["person_id"]).place == 1
    last = done.below.row(-1, named=True)
    standing = done.standing(last["person_id"])
    assert (standing.what, standing.rank_band, standing.k) == ("below the line", "rest", done.shares[last["unit_id"]])
    assert (
        standing.place == done.people.filter((pl.col("unit_id") == last["unit_id"]) & pl.col("reason").is_null()).height
    )
    assert done.standing("nobody").what == "not scored"


def test_the_order_of_rows_in_the_citys_files_changes_nothing(world, tmp_path):
    folder = tmp_path / "shuffled"
    folder.mkdir()
    for path in (world.folder / "city").iterdir():
        if path.suffix == ".parquet":
            pl.read_parquet(path).sample(fraction=1.0, shuffle=True, seed=5).write_parquet(folder / path.name)
        else:
            (folder / path.name).write_bytes(path.read_bytes())
    settings = {"sample": 5, "allocation": "need", "in_service": {"codes": ["health.pressure"], "window": 20}}
    one, other = drawn(world, settings), drawn(world, settings, open_city(folder))
    columns = ["person_id", "unit_id", "reason", "kind", "rank"]
    assert one.people.select(columns).equals(other.people.select(columns)) and one.shares == other.shares
