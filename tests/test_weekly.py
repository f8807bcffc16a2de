"""The week: every need listed once, a need that fails alone, killed runs that end as undisturbed ones do."""

import json
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from killed_run import moments_of, run_killed
from sealed_world import AS_OF
from week_world import FORBIDDEN, OTHER, RULE, YOUTH

from ethics.digests import sha256
from ethics.refusals import BadInput, Blocked, Fault, Inconclusive, NotTrusted
from serving import cli
from serving.home import Home
from serving.list_work import _DRAFT, list_need, why_not_listed
from serving.settings import Settings
from serving.week_state import begun, read_state, write_state
from serving.weekly import WORST, _faults_of, run_week

GOOD = (YOUTH, OTHER, RULE)


@pytest.fixture
def home(approved_needs_folder, tmp_path):
    """A home of its own for each test, in which nothing is listed yet."""
    shutil.copytree(approved_needs_folder / "home", tmp_path / "home")
    return Home(Settings(home=tmp_path / "home"))


def week(folder, home, *needs, day=AS_OF, **more):
    return run_week(home, folder / "city", day, needs=[folder / f"{need}.toml" for need in needs], **more)


def by_need(result):
    return {need["need"]: need for need in result["needs"]}


def digests(result):
    return {need["need"]: need["list_digest"] for need in result["needs"] if "list_digest" in need}


def is_whole(home):
    """Each list of the store has its files as they were recorded; there is no other file, and one act for each."""
    lists = home.store.lists()
    folders = {path.name for need in home.lists.glob("[!.]*") for path in need.glob("[!.]*")}
    assert folders == set(lists["list_id"])
    for need_id, list_id in lists.select("need_id", "list_id").iter_rows():
        exports = home.store.exports(list_id=list_id).select("file", "sha256").iter_rows()
        here = home.lists / need_id / list_id
        assert {Path(file).name: digest for file, digest in exports} == {
            path.name: sha256(path.read_bytes()) for path in here.iterdir()
        }
        assert home.store.proof(list_id).faults == ()
    assert not [draft for need in home.lists.glob("[!.]*") for draft in need.glob(f"{_DRAFT}*")]
    assert sorted(act["list"] for act in home.audit_log.facts_of("list")) == sorted(lists["list_id"])
    return lists


def copied(home, name):
    shutil.copytree(home.root, home.root.with_name(name))
    return Home(Settings(home=home.root.with_name(name)))


def people_of(home, list_id):
    rows = home.store.rows(list_id)
    return set(rows.filter(rows["kind"] != "sample")["person_id"])


def test_a_need_that_the_gate_blocks_stops_no_other_and_takes_nobody_from_it(listed_week):
    folder, home, result = listed_week
    told = by_need(result)
    assert {need: one["state"] for need, one in told.items()} == {
        **dict.fromkeys(GOOD, "listed"),
        FORBIDDEN: "blocked",
    }
    assert (result["exit_code"], told[FORBIDDEN]["exit_code"]) == (20, 20)
    (error,) = told[FORBIDDEN]["errors"]
    assert "C611" in error["where"] and "list_id" not in told[FORBIDDEN]
    lists = is_whole(home)
    assert sorted(lists["need_id"]) == sorted(GOOD) and set(lists["digest"]) == set(digests(result).values())
    listed = [people_of(home, told[need]["list_id"]) for need in GOOD]
    assert sum(map(len, listed)) == len(set().union(*listed)) == 50
    assert told[YOUTH]["excluded"]["contacted for another need"] > 0
    assert {Path(file).name for file in told[YOUTH]["files"]} >= {"north.xlsx", "north.html", "list.json"}
    assert sum(home.store.summary()[table] for table in ("scores",)) == 4 * 900
    assert home.audit_log.facts_of("week")[-1]["n"] == 3
    # What was left to the blocked need was offered to the others anew: their lists are those of a week without it.
    copy = Home(Settings(home=folder / "without"))
    assert digests(week(folder, copy, *GOOD)) == digests(result)


def test_the_same_week_again_makes_no_second_list_unless_asked_to(listed_week, tmp_path):
    folder, first_home, first = listed_week
    shutil.copytree(first_home.root, tmp_path / "home")
    home = Home(Settings(home=tmp_path / "home"))
    trained = {path: path.read_bytes() for path in home.verdicts.rglob("*") if path.is_file()}
    models = {path: path.read_bytes() for path in home.mlflow_artefacts.rglob("*") if path.is_file()}
    same = week(folder, home, *GOOD)
    assert (same["exit_code"], same["run"]) == (0, 1) and digests(same) == digests(first)
    assert {one["list_id"] for one in same["needs"]} == {one["list_id"] for one in first["needs"] if "list_id" in one}
    assert not any(one["is_new"] for one in same["needs"])
    anew = week(folder, home, *GOOD, again=True)
    assert digests(anew) == digests(first) and anew["run"] == 2
    ids = {one["list_id"] for one in anew["needs"]}
    assert len(ids) == 3 and min(ids) > max(one["list_id"] for one in same["needs"])
    assert is_whole(home).height == 6
    state = read_state(home.root / "week" / f"{AS_OF}.json", AS_OF)
    assert state.is_finished and {len(before) for before in state.before.values()} == {1}
    assert digests(week(folder, home, *GOOD)) == digests(first) and home.store.lists().height == 6
    # A run that was begun anew and cut short is gone on with, by the same words.
    write_state(home.root / "week" / f"{AS_OF}.json", state.model_copy(update={"is_finished": False}))
    assert week(folder, home, *GOOD, again=True)["run"] == 2 and home.store.lists().height == 6
    assert trained == {path: path.read_bytes() for path in home.verdicts.rglob("*") if path.is_file()}
    assert models == {path: path.read_bytes() for path in home.mlflow_artefacts.rglob("*") if path.is_file()}


def test_who_stands_on_a_list_of_the_day_is_on_no_other_and_no_objector_is_listed(approved_needs_folder, home):
    folder = approved_needs_folder
    alone = list_need(home, folder / "city", folder / f"{OTHER}.toml", AS_OF)
    wanted = week(folder, Home(Settings(home=folder / "without")), *GOOD)
    objector = sorted(people_of(Home(Settings(home=folder / "without")), by_need(wanted)[YOUTH]["list_id"]))[0]
    home.objections.object(objector)
    result = by_need(week(folder, home, YOUTH))
    listed = people_of(home, result[YOUTH]["list_id"])
    assert not listed & people_of(home, alone["list_id"])  # though that need is no part of this run
    result = by_need(week(folder, home, YOUTH, OTHER))
    assert (result[OTHER]["list_id"], result[OTHER]["is_new"]) == (alone["list_id"], False)
    assert people_of(home, result[YOUTH]["list_id"]) == listed and objector not in listed and len(listed) == 20
    assert result[YOUTH]["objected_since"] is False
    state = read_state(home.root / "week" / f"{AS_OF}.json", AS_OF)
    assert state.counts[OTHER].list_digest == alone["list_digest"]  # counted though another command made the list
    home.objections.object(sorted(listed)[0], YOUTH)
    again = by_need(week(folder, home, YOUTH, OTHER))
    assert again[YOUTH]["objected_since"] is True and again[YOUTH]["list_digest"] == result[YOUTH]["list_digest"]


def test_an_objection_between_drawing_up_and_publishing_is_honoured(approved_needs_folder, home, monkeypatch):
    folder, caught = approved_needs_folder, []
    from serving import weekly

    list_made = weekly.list_made

    def watched(*asked, **more):
        made = list_made(*asked, **more)
        if not caught:
            caught.append(made.parts[0].rows[0].person_id)
            home.objections.object(caught[0])
        return made

    monkeypatch.setattr(weekly, "list_made", watched)
    told = by_need(week(folder, home, OTHER))[OTHER]
    assert caught[0] not in people_of(home, told["list_id"]) and told["excluded"]["objected"] == 1
    assert len(people_of(home, told["list_id"])) == 10


def test_nobody_is_contacted_twice_when_somebody_objects_while_the_week_is_published(approved_needs_folder, home):
    folder = approved_needs_folder
    undisturbed = copied(home, "undisturbed")
    wanted = by_need(week(folder, undisturbed, *GOOD))
    objectors = sorted(people_of(undisturbed, wanted[YOUTH]["list_id"]))[:6]

    def step(told):
        if told == f"{OTHER}: publishing the list":
            for person in objectors:
                home.objections.object(person)

    told = by_need(week(folder, home, *GOOD, step=step))
    listed = [people_of(home, told[need]["list_id"]) for need in GOOD]
    assert sum(map(len, listed)) == len(set().union(*listed)) == 50  # the next in line move up, and on one list each
    assert not set(objectors) & people_of(home, told[YOUTH]["list_id"])


@pytest.mark.parametrize("days, by_list", [(0, True), (1, False), (1, True), (6, True), (7, True)])
def test_who_stands_on_a_list_whose_period_overlaps_is_on_no_other(approved_needs_folder, home, days, by_list):
    folder, day = approved_needs_folder, AS_OF + timedelta(days=days)
    city, youth = folder / "city", folder / f"{YOUTH}.toml"
    wanted = list_need(home, city, folder / f"{OTHER}.toml", AS_OF)
    first = people_of(home, wanted["list_id"])
    if by_list:
        second = people_of(home, list_need(home, city, youth, day)["list_id"])
    else:
        second = people_of(home, by_need(week(folder, home, YOUTH, day=day))[YOUTH]["list_id"])
    assert len(second) == 20
    assert bool(first & second) == (days == 7)  # a period of seven days is over then
    someone = sorted(first)[0]
    reason = why_not_listed(home, city, youth, day, someone)["reason"]
    assert (reason == "contacted for another need") == (days < 7)


def test_a_list_holds_for_other_needs_whom_it_holds_today(approved_needs_folder, home):
    """Who was added by hand is taken, and who was tried; free is who was taken off untried, or said no to that need."""
    folder = approved_needs_folder
    alone = copied(home, "alone")
    wanted = people_of(alone, list_need(alone, folder / "city", folder / f"{YOUTH}.toml", AS_OF)["list_id"])
    made = list_need(home, folder / "city", folder / f"{OTHER}.toml", AS_OF)
    rows = home.store.rows(made["list_id"])
    untried, tried, objecting = rows.filter(pl.col("person_id").is_in(list(wanted)))["person_id"].head(3)
    home.objections.object(objecting, OTHER)
    added = sorted(wanted - set(rows["person_id"]))[0]
    unit = dict(rows.select("person_id", "unit_id").iter_rows())
    called = {"list_id": [made["list_id"]], "person_id": [tried], "at": [str(AS_OF)], "channel": ["phone"]}
    home.store.add_attempts(pl.DataFrame(called | {"worker": ["w"], "result": ["declined"]}), "a test")
    for person in (untried, tried):
        home.store.change(made["list_id"], unit[person], person, "removed", "head", reason="a test")
    home.store.change(made["list_id"], unit[tried], added, "added", "head", reason="a test")
    result = by_need(week(folder, home, YOUTH, OTHER))
    listed = people_of(home, result[YOUTH]["list_id"])
    assert result[OTHER]["list_id"] == made["list_id"]
    assert {untried, objecting} <= listed and not {tried, added} & listed and len(listed) == 20


@pytest.mark.full
def test_a_killed_week_ends_as_an_undisturbed_one_when_it_is_run_again(approved_needs_folder, tmp_path):
    folder = approved_needs_folder

    def words(name):
        shutil.copytree(folder / "home", tmp_path / name)
        needs = [word for need in (YOUTH, OTHER) for word in ("--need", folder / f"{need}.toml")]
        return ["week", "--city", folder / "city", "--home", tmp_path / name, "--as-of", AS_OF, *needs, "--json"]

    done = run_killed(0, words("whole"))
    assert done.returncode == 0, done.stderr
    undisturbed = digests(json.loads(done.stdout))
    assert set(undisturbed) == {YOUTH, OTHER}
    for moment in moments_of(done, 3, seed=6):
        killed = run_killed(moment, words(f"killed-{moment}"))
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr)
        assert killed.stdout == ""
        home = Home(Settings(home=tmp_path / f"killed-{moment}"))
        before = dict(home.store.lists().select("need_id", "list_id").iter_rows())
        again = week(folder, home, YOUTH, OTHER)
        assert digests(again) == undisturbed and again["exit_code"] == 0
        after = dict(is_whole(home).select("need_id", "list_id").iter_rows())
        assert home.store.lists().height == 2 and after.items() >= before.items()
        assert all(after[need] not in before.values() for need in after.keys() - before.keys())
        assert {Path(page).name for page in again["pages"]} >= {"leader.fi.html", "leader.json"}


def test_the_command_is_fit_for_cron(listed_week, capsys, tmp_path):
    folder, listed_home, first = listed_week
    shutil.copytree(listed_home.root, tmp_path / "home")
    home = Home(Settings(home=tmp_path / "home"))
    asked = ["week", "--city", str(folder / "city"), "--home", str(home.root), "--as-of", str(AS_OF)]
    youth = ["--need", str(folder / f"{YOUTH}.toml")]
    assert cli.main([*asked, *youth, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main([*asked, "--need", str(folder / f"{FORBIDDEN}.toml"), "--quiet"]) == 20
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("forbidden: check C611: ") and err.count("\n") == 1
    assert cli.main([*asked, *youth, "--quiet", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert digests(said)[YOUTH] == digests(first)[YOUTH] and said["city"]["rejected"] == 0
    assert cli.main([*asked, *youth]) == 0
    out = capsys.readouterr().out
    assert "listed before" in out and "leader.sv.html" in out
    # The pages are of every need that has a list of the day, whichever were asked for.
    told = json.loads((home.root / "week" / str(AS_OF) / "leader.json").read_text())
    assert [need["need"] for need in told["needs"]] == sorted(GOOD) and len(said["needs"]) == 1


def test_the_extract_is_checked_before_anybody_is_listed(listed_week, home, capsys):
    folder = listed_week[0]
    asked = ["week", "--city", str(folder / "city"), "--home", str(home.root)]
    assert cli.main([*asked, "--as-of", "2024-07-01"]) == 2
    assert "after the extract date 2024-06-30" in capsys.readouterr().err
    assert cli.main([*asked, "--max-age", "10"]) == 2
    assert "at most 10 are allowed" in capsys.readouterr().err
    assert not (home.root / "week" / "2024-06-30.json").exists() and home.store.lists().is_empty()
    (home.root / "week" / f"{AS_OF}.json").write_text("{}")
    with pytest.raises(NotTrusted, match="lists that were published stand in the store"):
        week(folder, home, YOUTH)


@pytest.mark.full
def test_a_home_in_which_nothing_is_approved_has_no_week(approved_needs_folder, tmp_path):
    with pytest.raises(NotTrusted, match="no need has an approved model"):
        run_week(Home(Settings(home=tmp_path / "empty")), approved_needs_folder / "city")


def test_a_need_that_is_not_as_it_was_judged_stops_no_other(approved_needs_folder, home, tmp_path):
    folder = approved_needs_folder
    changed = tmp_path / f"{OTHER}.toml"
    changed.write_text((folder / f"{OTHER}.toml").read_text() + "# a remark\n")
    result = run_week(home, folder / "city", AS_OF, needs=[folder / f"{RULE}.toml", changed])
    told = by_need(result)
    assert (result["exit_code"], told[OTHER]["state"], told[RULE]["state"]) == (30, "not trusted", "listed")
    home.stop_switch.set("a drill")
    stopped = week(folder, home, YOUTH, RULE)
    assert {need: one["state"] for need, one in by_need(stopped).items()} == {YOUTH: "not trusted", RULE: "listed"}
    home.stop_switch.clear()
    mended = week(folder, home, RULE, OTHER)
    assert mended["exit_code"] == 0 and by_need(mended)[RULE]["list_id"] == told[RULE]["list_id"]
    # Who stands on the rule's list is on no other, though it was made while the other need could not be.
    assert not people_of(home, told[RULE]["list_id"]) & people_of(home, by_need(mended)[OTHER]["list_id"])


def test_the_worst_code_is_that_of_a_fault_of_ours_then_of_trust():
    assert max((0, 2, 30, 20, 10), key=WORST.index) == 30 and max((1, 30), key=WORST.index) == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadInput(Fault("a", "b", "c")), 2, "a: b. c"),
        (Inconclusive(Fault("a", "b", "c")), 10, "a: b. c"),
        (Blocked(Fault("a", "010190-123A", "c")), 20, "a: [personal identity code]. c"),
        (NotTrusted(Fault("a", "b", "c")), 30, "a: b. c"),
        (OSError(28, "No space left on device", "x.toml"), 2, "x.toml: cannot be read or written"),
        (ValueError("anna"), 1, "our fault: ValueError"),
    ],
)
def test_what_goes_wrong_is_told_with_its_code_and_without_what_it_held(error, code, said):
    faults, found = _faults_of(error)
    assert found == code and said in str(faults[0]) and "anna" not in str(faults[0])


def test_the_state_is_read_strictly(tmp_path):
    path = tmp_path / "week.json"
    state = begun(AS_OF, 2, {"youth": ("A",)})
    write_state(path, state)
    assert read_state(path, AS_OF) == state and read_state(tmp_path / "none", AS_OF) is None
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    with pytest.raises(NotTrusted, match="is of 2024-06-03, not of 2024-06-10"):
        read_state(path, AS_OF + timedelta(days=7))
    for broken in ("[", '{"as_of_date": 3}', path.read_text().replace('"run": 2', '"run": "2"'), "[" * 100_000):
        path.write_text(broken)
        with pytest.raises(NotTrusted) as refusal:
            read_state(path, AS_OF)
        assert all("delete it" in fault.mend for fault in refusal.value.faults)
