"""The cache computes what changed and nothing else, and never returns anything but what computing would return."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cache_world import (
    ABSENCE,
    DATES,
    DISTRICT,
    FEATURES,
    SECRET,
    VISITS,
    Counting,
    cache_in,
    cached,
    city_of,
    event,
    events,
    history,
    keys_of,
    persons,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st

from features.arrays import frozen
from features.cache import FeatureCache
from features.cache_keys import LEFT_OUT_OF_ENGINE, engine_digest
from features.city import DataError, city_from_frames
from features.columns import compute_columns
from features.content import keyed_hashes, person_keys
from features.content_kernels import sip_hashes, visible_sums
from features.keyed_rows import keyed_rows
from features.matrix import build_matrix
from features.packs import block_of
from features.spec import FeatureSpec

ROOT = Path(__file__).resolve().parent.parent
N_CELLS = 60 * len(DATES) * 11  # absence 4, visits 4, age 1, district 2 columns


@pytest.fixture
def city(tmp_path):
    return city_of(tmp_path / "city")


@pytest.fixture(scope="module")
def any_city(tmp_path_factory):
    return city_of(tmp_path_factory.mktemp("any") / "city")


@pytest.fixture
def cache(tmp_path):
    return cache_in(tmp_path / "cache")


def packs_in(cache):
    return sorted(cache.packs.folder.rglob("*.pack"))


def first_names(cache, person_ids):
    return person_keys(pl.Series(person_ids), cache.secret)[:, 0].tolist()


# -- what is computed


def test_the_second_build_computes_nothing(city, cache):
    assert cached(cache, city).n_cells == N_CELLS
    assert cached(cache, city).calls == []
    assert cache.last_use.n_computed == 0


def test_files_number_blocks_times_dates_and_not_columns(city, cache):
    cached(cache, city)
    assert len(packs_in(cache)) == 4 * len(DATES)


def test_an_added_feature_computes_that_feature(city, cache):
    cached(cache, city)
    other = FeatureSpec(name="other", codes=["other"], windows=[30], measures=["count"])
    assert cached(cache, city, (*FEATURES, other)).columns == {"other.count.30d"}


def test_an_added_window_computes_that_window(city, cache):
    cached(cache, city)
    wider = ABSENCE.model_copy(update={"windows": FeatureSpec.model_validate(
        {**ABSENCE.model_dump(include={"name", "codes", "measures"}), "windows": [30, [30, 90], "ever"]}
    ).windows})  # fmt: skip
    assert cached(cache, city, (wider, VISITS)).columns == {"absence.count.30d_90d", "absence.sum.30d_90d"}


def test_windows_that_want_different_measures_are_computed_apart(city, cache):
    only = [FeatureSpec(name="a", codes=["school.*"], windows=[30], measures=["count"])]
    cached(cache, city, only)
    both = [FeatureSpec(name="a", codes=["school.*"], windows=[30, 90], measures=["count", "max"])]
    again = cached(cache, city, both)
    assert again.columns == {"a.max.30d", "a.count.90d", "a.max.90d"}
    assert again.n_cells == 60 * len(DATES) * 3


def test_a_renamed_feature_computes_nothing(city, cache):
    cached(cache, city)
    assert cached(cache, city, (ABSENCE.model_copy(update={"name": "missed_school"}), VISITS)).calls == []


def test_two_features_that_read_the_same_are_computed_once(city, cache):
    twin = ABSENCE.model_copy(update={"name": "twin"})
    assert cached(cache, city, (ABSENCE, twin)).columns == set(ABSENCE.columns())
    assert cached(cache, city, (twin, VISITS, ABSENCE)).columns == set(VISITS.columns())


def test_a_changed_code_computes_the_features_that_read_it_in_the_block_it_changed_in(tmp_path, city, cache):
    cached(cache, city)
    changed = city_of(tmp_path / "changed", [*events(), event(7, date(2024, 1, 20), "care.visit", 2.0)])
    again = cached(cache, changed)
    assert again.columns == set(VISITS.columns())
    block = {block_of(first_names(cache, ["p007"])[0], 4)}
    computed = {i for _, keys in again.calls for i in keys["person_id"]}
    assert "p007" in computed
    assert {block_of(key, 4) for key in first_names(cache, sorted(computed))} == block


def test_a_code_that_begins_to_match_a_pattern_is_read(tmp_path, city, cache):
    cached(cache, city)
    changed = city_of(tmp_path / "changed", [*events(), event(7, date(2024, 1, 20), "school.bullied")])
    assert cached(cache, changed).columns == set(ABSENCE.columns())


def test_a_code_that_no_feature_reads_computes_nothing(tmp_path, city, cache):
    cached(cache, city)
    changed = city_of(tmp_path / "changed", [*events(), event(7, date(2024, 1, 20), "aaa.unread")])
    assert cached(cache, changed).calls == []


def test_one_more_date_computes_that_date(city, cache):
    cached(cache, city)
    assert cached(cache, city, dates=(*DATES, date(2024, 3, 15))).dates == {date(2024, 3, 15)}


def test_what_happens_later_changes_no_earlier_date(tmp_path, city, cache):
    cached(cache, city)
    later = city_of(tmp_path / "later", [*events(), event(7, date(2024, 3, 5), "care.visit", 2.0)])
    again = cached(cache, later)
    assert (again.columns, again.dates) == (set(VISITS.columns()), {date(2024, 4, 1)})


@pytest.mark.parametrize(
    ("known", "dates"),
    [
        (date(2024, 1, 31), set(DATES)),
        (date(2024, 2, 1), set(DATES[1:])),  # known on the as-of day itself is not known before it
        (date(2024, 2, 29), set(DATES[1:])),
        (date(2024, 3, 31), {DATES[2]}),
        (date(2024, 4, 1), set()),
    ],
)
def test_an_event_known_late_changes_exactly_the_dates_that_see_it(tmp_path, city, cache, known, dates):
    cached(cache, city)
    told = city_of(tmp_path / "told", [*events(), event(7, date(2024, 1, 10), "care.visit", 2.0, known=known)])
    assert cached(cache, told).dates == dates


def test_a_corrected_knowledge_date_that_no_date_notices_computes_nothing(tmp_path, cache):
    first = city_of(tmp_path / "first", [*events(), event(7, date(2024, 1, 10), "other", known=date(2024, 2, 3))])
    cached(cache, first)
    then = city_of(tmp_path / "then", [*events(), event(7, date(2024, 1, 10), "other", known=date(2024, 2, 9))])
    assert cached(cache, then).calls == []


@pytest.mark.parametrize(("before", "after"), [(None, 0.0), (0.0, None), (1.0, -1.0), (1.0, 1.0000001)])
def test_a_changed_value_is_noticed(tmp_path, cache, before, after):
    day = date(2024, 1, 20)
    cached(cache, city_of(tmp_path / "before", [*events(), event(7, day, "care.visit", before)]))
    again = cached(cache, city_of(tmp_path / "after", [*events(), event(7, day, "care.visit", after)]))
    assert again.columns == set(VISITS.columns())


def test_an_event_that_comes_twice_is_two_events(tmp_path, cache):
    twice = [event(7, date(2024, 1, 20), "care.visit", 2.0)]
    cached(cache, city_of(tmp_path / "once", [*events(), *twice]))
    assert cached(cache, city_of(tmp_path / "twice", [*events(), *twice, *twice])).columns == set(VISITS.columns())


def test_two_persons_who_swap_their_events_are_noticed(tmp_path, cache):
    mine, yours = event(7, date(2024, 1, 20), "care.visit", 2.0), event(8, date(2024, 1, 21), "care.visit", 3.0)
    cached(cache, city_of(tmp_path / "before", [mine, yours]))
    swapped = [{**mine, "person_id": "p008"}, {**yours, "person_id": "p007"}]
    assert cached(cache, city_of(tmp_path / "after", swapped)).columns == set(VISITS.columns())


def test_arrival_order_does_not_matter(tmp_path, city, cache):
    cached(cache, city)
    shuffled = [events()[i] for i in np.random.default_rng(1).permutation(len(events()))]
    assert cached(cache, city_of(tmp_path / "shuffled", shuffled)).calls == []


def test_the_order_of_the_rows_asked_for_does_not_matter(city, cache):
    cached(cache, city)
    keys = keys_of(city).sample(fraction=1.0, shuffle=True, seed=3)
    rows, counting = keyed_rows(city, keys), Counting(city)
    found = cache.columns(city, FEATURES, rows, counting)
    assert found.tobytes() == compute_columns(city, FEATURES, rows).tobytes()
    assert counting.calls == []


def test_a_new_resident_computes_one_block(tmp_path, city, cache):
    """The new resident comes first by name, so everybody's place in the log moves by one."""
    cached(cache, city)
    newcomer = {"person_id": "a-newcomer", "birth_date": date(2000, 1, 1), "language": "sv"}
    again = cached(cache, city_of(tmp_path / "grown", who=[newcomer, *persons()]))
    computed = sorted({i for _, keys in again.calls for i in keys["person_id"]})
    assert "a-newcomer" in computed
    assert len({block_of(key, 4) for key in first_names(cache, computed)}) == 1


def test_a_person_who_leaves_the_cohort_at_one_date_computes_one_block_at_that_date(city, cache):
    cached(cache, city)
    keys = keys_of(city).filter((pl.col("person_id") != "p007") | (pl.col("as_of_date") != DATES[1]))
    again = cached(cache, city, keys=keys)
    assert again.dates == {DATES[1]}
    computed = {i for _, keys in again.calls for i in keys["person_id"]}
    assert "p007" not in computed
    assert len({block_of(key, 4) for key in first_names(cache, sorted(computed))}) == 1


def test_who_is_not_looked_at_can_change_without_computing(tmp_path, city, cache):
    keys = keys_of(city).filter(pl.col("person_id") != "p007")
    cached(cache, city, keys=keys)
    changed = city_of(tmp_path / "changed", [*events(), event(7, date(2024, 1, 20), "care.visit", 2.0)])
    assert cached(cache, changed, keys=keys).calls == []


def test_a_corrected_birth_date_computes_age_in_one_block(tmp_path, city, cache):
    cached(cache, city)
    corrected = [{**p, "birth_date": date(1980, 5, 5)} if p["person_id"] == "p007" else p for p in persons()]
    assert cached(cache, city_of(tmp_path / "corrected", who=corrected)).columns == {"age"}


def test_a_move_changes_the_dates_that_know_of_it(tmp_path, city, cache):
    cached(cache, city)
    move = {"person_id": "p007", "attribute": "district", "value": "south", "from_date": date(2024, 1, 5)}
    moved = city_of(tmp_path / "moved", held=[*history(), {**move, "knowledge_date": date(2024, 3, 1)}])
    again = cached(cache, moved)
    assert (again.columns, again.dates) == (set(DISTRICT.columns()), {DATES[2]})


def test_two_moves_that_became_known_the_other_way_round_compute_again(tmp_path, cache):
    def moved(name, *knowledge):
        moves = [
            {"person_id": "p007", "attribute": "district", "value": value, "from_date": date(2023, 12, 5)}
            | {"knowledge_date": known}
            for value, known in zip(("north", "south"), knowledge, strict=True)
        ]
        return city_of(tmp_path / name, held=[*history(), *moves])

    early, late = date(2023, 12, 6), date(2023, 12, 7)
    one, other = moved("one", early, late), moved("other", late, early)
    cached(cache, one)
    assert cached(cache, other).columns == set(DISTRICT.columns())


def test_sources_changed_under_a_running_process_are_never_found_again(tmp_path):
    """What such a process keeps was computed by the code it had loaded, under a key that no other process has."""
    for package in ("features", "ethics"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import features;"
        "source = Path(sys.argv[1], 'features', 'sweep.py'); time.sleep(0.05);"
        "source.write_text(source.read_text() + '# edited') if sys.argv[2] == 'edit' else None;"
        "import features.cache_keys as k; print(k.engine_digest().hex())"
    )

    def digest(what):
        command = [sys.executable, "-c", code, str(tmp_path), what]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    edited = digest("edit")
    assert digest("look") == digest("look") != edited


def test_categories_in_another_order_are_another_column(city, cache):
    cached(cache, city)
    other = DISTRICT.model_copy(update={"categories": ("south", "north")})
    assert cached(cache, city, (other,)).columns == set(DISTRICT.columns())


def test_an_objection_computes_nothing_and_its_person_is_in_no_matrix(city, cache, nobody_objects):
    build = {"objections": nobody_objects, "need_id": "need"}
    features = [*FEATURES]
    before = build_matrix(city, features, keys_of(city), cache=cache, **build)
    nobody_objects.object("p007", "need")
    after = build_matrix(city, features, keys_of(city), cache=cache, **build)
    assert (cache.last_use.n_computed, cache.last_use.n_bytes_written) == (0, 0)
    assert after.n_objectors == 1
    assert "p007" not in after.keys["person_id"]
    assert after.digest == build_matrix(city, features, keys_of(city), **build).digest
    assert after.digest == before.rows((before.keys["person_id"] != "p007").to_numpy()).digest


def test_another_engine_computes_everything(city, cache, monkeypatch):
    cached(cache, city)
    monkeypatch.setattr("features.cache_keys.engine_digest", lambda: b"another engine".ljust(32))
    assert cached(cache, city).n_cells == N_CELLS


def test_another_secret_finds_nothing(tmp_path, city, cache):
    cached(cache, city)
    assert cached(FeatureCache(tmp_path / "cache", secret=b"another secret".ljust(32)), city).n_cells == N_CELLS


def test_features_about_others_do_not_belong_in_the_cache(city, cache):
    why = {"purpose": "p", "basis": "b"}
    near = FeatureSpec(name="near", of="household", codes=["other"], windows=[30], measures=["count"], **why)
    with pytest.raises(ValueError, match="near: what depends on others depends on who objects, and is not kept"):
        cache.columns(city, [near], keyed_rows(city, keys_of(city)), Counting(city))


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.integers(0, 5), st.integers(0, 120), st.integers(0, 40), st.sampled_from("xyz"),
                          st.sampled_from([None, 0.0, 1.5])),
                max_size=12,
            ),
            st.lists(st.tuples(st.integers(0, 5), st.sampled_from(DATES)), min_size=1, unique=True),
            st.lists(st.sampled_from([30, 90, "12mo", "ever"]), min_size=1, unique=True),
            st.lists(st.sampled_from(["count", "mean", "last", "days_since_last", "sum"]), min_size=1, unique=True),
        ),
        min_size=2, max_size=3,
    )
)  # fmt: skip
def test_whatever_was_kept_before_each_build_equals_one_without_a_cache(tmp_path_factory, any_city, worlds):
    folder = tmp_path_factory.mktemp("any")
    cache, like = cache_in(folder / "cache", block_persons=2), any_city
    ids = [f"p{i}" for i in range(6)]
    for found, rows, windows, measures in worlds:
        happened = [datetime(2023, 12, 1) + timedelta(days=day) for _, day, *_ in found]
        known = [day + timedelta(days=late) for day, (_, _, late, *_) in zip(happened, found)]
        frame = pl.DataFrame(
            {
                "person_id": [ids[p] for p, *_ in found], "event_date": happened, "knowledge_date": known,
                "code": [c for *_, c, _ in found], "value": [v for *_, v in found],
            },
            schema={"person_id": pl.String, "event_date": pl.Datetime("us"), "knowledge_date": pl.Datetime("us"),
                    "code": pl.String, "value": pl.Float64},
        )  # fmt: skip
        city = city_from_frames(pl.DataFrame({"person_id": ids}), frame, like=like)
        keys = pl.DataFrame(
            {"person_id": [ids[p] for p, _ in rows], "as_of_date": [d for _, d in rows]},
            schema={"person_id": pl.String, "as_of_date": pl.Date},
        )
        features = [
            FeatureSpec(name="one", codes=["x", "y"], windows=windows, measures=measures),
            FeatureSpec(name="two", codes=["*"], windows=windows, measures=measures),
        ]
        cached(cache, city, features, keys=keys)


def test_each_column_has_the_same_bytes_alone_and_among_others(city):
    """What is computed in pieces must be what is computed at once, or a cache would lie."""
    from features.windows import MEASURES

    measures = [*MEASURES, "decay_30d", "quantile_90"]
    windows = [30, [30, 90], "2mo", "ever"]
    whole = FeatureSpec(name="a", codes=["school.*"], windows=windows, measures=measures)
    beside = FeatureSpec(name="b", codes=["*"], windows=[7], measures=["count"])
    rows = keyed_rows(city, keys_of(city))
    together = compute_columns(city, [beside, whole], rows)[:, 1:]
    for j, (window, measure) in enumerate((w, m) for w in windows for m in measures):
        alone = FeatureSpec(name="a", codes=["school.*"], windows=[window], measures=[measure])
        assert compute_columns(city, [alone], rows)[:, 0].tobytes() == together[:, j].tobytes(), alone.columns()


# -- what is kept


@pytest.mark.parametrize("place", [0, 12, 45, 80, 300, -1])
def test_a_flipped_byte_is_noticed_dropped_said_and_computed_again(tmp_path, city, place):
    said = []
    cache = cache_in(tmp_path / "cache", progress=said.append)
    cached(cache, city)
    pack = packs_in(cache)[5]
    whole = pack.read_bytes()
    content = bytearray(whole)
    content[place] ^= 1
    pack.write_bytes(bytes(content))
    again = cached(cache, city)
    assert again.n_cells == whole_cells(city, cache, pack)
    assert pack.read_bytes() == whole
    if place != 80:  # in the list of keys the flip makes it the pack of another column, which is passed over
        assert said == [f"cache: {pack.name} is damaged; dropped, and computed again"]
    assert cached(cache, city).calls == []


def whole_cells(city, cache, pack):
    """Cells of one pack: the persons of its block, at one date, in all 11 columns."""
    keys = first_names(cache, city.events.person_ids.to_list())
    return 11 * sum(block_of(key, 4) == int(pack.parent.name) for key in keys)


def test_a_pack_cut_short_is_computed_again(city, cache):
    cached(cache, city)
    for pack, length in zip(packs_in(cache), (0, 7, 60, 100, 400), strict=False):
        pack.write_bytes(pack.read_bytes()[:length])
    cached(cache, city)
    assert cached(cache, city).calls == []


def test_no_person_is_named_and_nobody_else_may_read(city, cache):
    cached(cache, city)
    files = [path for path in cache.packs.folder.rglob("*") if path.is_file()]
    assert all(b"p007" not in path.read_bytes() and "p007" not in str(path.name) for path in files)
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
    folders = [cache.packs.folder, *(path for path in cache.packs.folder.rglob("*") if path.is_dir())]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}


def test_what_holds_a_cell_of_a_person_is_forgotten(city, cache):
    cached(cache, city)
    other = FeatureCache(cache.packs.folder, secret=b"another secret".ljust(32))
    cached(other, city)
    block = block_of(first_names(cache, ["p007"])[0], 4)
    n_other = len(packs_in(other)) - 4 * len(DATES)
    assert cache.forget(["p007"]) == len(DATES) + n_other  # what lies under another secret cannot be searched
    left = packs_in(cache)
    assert len(left) == 3 * len(DATES)
    assert f"{block:05d}" not in {pack.parent.name for pack in left}
    computed = {i for _, keys in cached(cache, city).calls for i in keys["person_id"]}
    assert {block_of(key, 4) for key in first_names(cache, sorted(computed))} == {block}
    assert cache.forget([]) == 0


def test_what_was_used_longest_ago_is_pruned_first(city, cache):
    cached(cache, city, (ABSENCE,), DATES[:2])
    for pack in packs_in(cache):
        os.utime(pack, (1, 1))
    cached(cache, city, (ABSENCE,), DATES[:1])  # uses the packs of the first date
    left = sum(pack.stat().st_size for pack in packs_in(cache) if pack.name.startswith("2024-02-01"))
    assert cache.prune(left) > 0
    assert {pack.name[:10] for pack in packs_in(cache)} == {"2024-02-01"}
    assert cached(cache, city, (ABSENCE,), DATES[:1]).calls == []


def test_a_cache_never_grows_beyond_its_size(tmp_path, city):
    cache = cache_in(tmp_path / "cache", max_bytes=5_000)
    cached(cache, city)
    assert 0 < sum(pack.stat().st_size for pack in packs_in(cache)) <= 5_000
    assert cached(cache, city).calls != []


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(DataError, match=r"cannot be the folder of the cache: File exists\. Give a folder that you may"):
        cache_in(tmp_path / "cache")


def test_a_short_secret_is_refused(tmp_path):
    with pytest.raises(DataError, match="cache secret: has 4 bytes, so who lies in which block could be guessed"):
        FeatureCache(tmp_path / "cache", secret=b"1234")


FULL_DISK = """
import resource, sys
sys.path.insert(0, "tests")
from pathlib import Path
from cache_world import cache_in, cached, city_of
folder, said = Path(sys.argv[1]), []
city = city_of(folder / "city")
cache = cache_in(folder / "cache", progress=said.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # no file may grow beyond 64 bytes, as if the disk were full
cached(cache, city)
print(cache.last_use.unsaved, len(said), sorted(p.name for p in cache.packs.folder.rglob("*") if p.is_file()))
"""


def test_a_full_disk_is_said_and_the_build_is_right(tmp_path):
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "File too large 1 ['.lock']\n", run.stderr


# -- kills, and two at once

BUILD = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
from cache_world import FEATURES, SECRET, keys_of
from features.cache import FeatureCache
from features.city import open_city
from features.columns import compute_columns
from features.keyed_rows import keyed_rows
city = open_city(sys.argv[1])
cache = FeatureCache(Path(sys.argv[2]), secret=SECRET, block_persons=int(sys.argv[3]), cells_at_once=1)
rows = keyed_rows(city, keys_of(city), in_order=True)
print("begun", flush=True)
X = cache.columns(city, FEATURES, rows, lambda features, rows: compute_columns(city, features, rows))
print(__import__("hashlib").sha256(X.tobytes()).hexdigest(), cache.last_use.n_computed, flush=True)
"""


def begin(city_folder, cache_folder, block_persons):
    """A build in a process of its own, which has just begun to read and fill the cache."""
    command = [sys.executable, "-c", BUILD, str(city_folder), str(cache_folder), str(block_persons)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n"
    return child


def finish(child):
    out, _ = child.communicate()
    assert child.returncode == 0
    digest, n_computed = out.split()
    return digest, int(n_computed)


def files_of(folder):
    """Path → bytes of every file, the lock aside."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.full
def test_a_build_killed_at_any_moment_is_finished_by_the_next(tmp_path):
    n = 300
    city_of(tmp_path / "city", events(n), who=persons(n), held=history(n))
    begun = begin(tmp_path / "city", tmp_path / "undisturbed", 4)
    start = time.time()
    digest, n_computed = finish(begun)
    lasts = max(path.stat().st_mtime for path in (tmp_path / "undisturbed").rglob("*.pack")) - start
    undisturbed = files_of(tmp_path / "undisturbed")
    assert len(undisturbed) > 100
    rng, n_within = np.random.default_rng(3), 0
    for _ in range(3):  # each finds what the killed ones before it left behind
        child = begin(tmp_path / "city", tmp_path / "killed", 4)
        time.sleep(lasts * rng.uniform(0.1, 0.5))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        n_kept = len(list((tmp_path / "killed").rglob("*.pack")))
        n_within += 0 < n_kept < len(undisturbed)
    again, n_again = finish(begin(tmp_path / "city", tmp_path / "killed", 4))
    assert again == digest
    assert files_of(tmp_path / "killed") == undisturbed
    assert n_again < n_computed
    assert n_within >= 1  # else no kill fell between the first pack and the last


def test_a_draft_left_by_a_killed_writer_is_removed(city, cache):
    cached(cache, city, (ABSENCE,))
    draft = packs_in(cache)[0].with_name(".2024-02-01.draft")
    draft.write_bytes(b"half a pack")
    cached(cache, city)
    assert not draft.exists()


def test_two_builds_at_once_both_end_right(tmp_path):
    n = 120
    city_of(tmp_path / "city", events(n), who=persons(n), held=history(n))
    alone = finish(begin(tmp_path / "city", tmp_path / "alone", 8))
    both = [begin(tmp_path / "city", tmp_path / "shared", 8) for _ in range(2)]
    found = [finish(child) for child in both]
    assert {digest for digest, _ in found} == {alone[0]}
    assert files_of(tmp_path / "shared") == files_of(tmp_path / "alone")
    assert sum(n_computed for _, n_computed in found) == alone[1]  # between them, each column once


# -- the engine and the hashes


def test_no_module_that_computes_is_left_out_of_the_engine():
    """What compute_columns imports from this package is in the engine, or cannot change a cell."""
    folder = ROOT / "features"
    seen, todo = set(), ["columns", "cache"]
    while todo:
        if (name := todo.pop()) in seen:
            continue
        seen.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("features."):
                todo.append(node.module.partition(".")[2])
    assert {"sweep", "kernels", "attributes", "windows", "packs", "content_kernels"} <= seen
    # These read a city from elsewhere; its content is hashed.
    assert seen & LEFT_OUT_OF_ENGINE <= {"door", "column_types", "meds", "sql"}


def test_the_engine_is_a_digest_of_the_sources(tmp_path):
    code = (
        "import sys, shutil; from pathlib import Path; root = Path(sys.argv[1]);"
        "sys.path.insert(0, str(root)); import features.cache_keys as k; print(k.__file__, k.engine_digest().hex())"
    )
    for package in ("features", "ethics"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))

    def digest():
        run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
        path, found = run.stdout.split()
        assert path.startswith(str(tmp_path))
        return found

    assert digest() == engine_digest().hex()
    (tmp_path / "features" / "leakcheck.py").write_text("# nothing")
    assert digest() == engine_digest().hex()
    with (tmp_path / "features" / "windows.py").open("a") as file:
        file.write("# another version\n")
    assert digest() != engine_digest().hex()


def test_sip_hashes_are_those_of_its_authors():
    """The vectors of Aumasson and Bernstein's reference code for the key 00 01 … 0f and the texts of 0, 8 and 15."""
    key = np.frombuffer(bytes(range(16)), dtype="<u8")
    texts = [bytes(range(n)) for n in (0, 8, 15)]
    offsets, out = np.array([0, 0, 8, 23]), np.empty(3, dtype=np.uint64)
    sip_hashes(frozen(np.frombuffer(b"".join(texts), dtype=np.uint8)), frozen(offsets), frozen(key), out)
    assert [f"{value:016x}" for value in out.tolist()] == ["726fdb47dd0e0e31", "93f5f5799a932462", "a129ca6149be45e5"]


def test_keyed_hashes_depend_on_text_secret_and_purpose():
    texts = pl.Series(["åäö", "", "a", "åäö"])
    found = keyed_hashes(texts, SECRET, "one", "two")
    assert found[0].tolist() == found[3].tolist()
    assert np.unique(found).size == 6
    assert not set(found.ravel().tolist()) & set(keyed_hashes(texts, b"another", "one", "two").ravel().tolist())


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9), st.integers(0, 1)), max_size=15),
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3, max_size=3),
    st.booleans(),
)
def test_sums_are_those_of_each_date_summed_alone(found, present, has_known):
    """A pause in a person's rows takes out what the person's events had put in."""
    found = sorted(found)
    person, time_, late, code = np.array(found, dtype=np.int64).reshape(-1, 4).T
    offsets = frozen(np.searchsorted(person, np.arange(4)))
    known = frozen(time_ + late) if has_known else None
    columns = (frozen(time_), known, frozen(code.astype(np.uint16)), frozen(late.astype(np.uint32)), True, offsets)
    keys = frozen(np.arange(6, dtype=np.uint64).reshape(3, 2))
    persons_, as_of = frozen(np.arange(3, dtype=np.uint32)), np.array([2, 4, 7, 30])
    slots, present = frozen(np.array([0, 1], dtype=np.int32)), np.array(present, dtype=np.uint8)
    together = np.zeros((5, 2, 3), dtype=np.uint64)
    visible_sums(*columns, keys, persons_, frozen(present), frozen(as_of), slots, together)
    for d in range(4):
        alone = np.zeros((2, 2, 3), dtype=np.uint64)
        one_date = (frozen(present[:, d : d + 1]), frozen(as_of[d : d + 1]))
        visible_sums(*columns, keys, persons_, *one_date, slots, alone)
        assert together[d].tolist() == alone[0].tolist()
        seen = [c for p, t, k, c in found if present[p][d] and max(t, t + k if has_known else t) < as_of[d]]
        assert together[d, :, 2].tolist() == [seen.count(0), seen.count(1)]
