"""Outcomes come in row by row, whole or not at all: what is read, what is refused, and how it is said."""

import contextlib
import io
import json
from dataclasses import replace
from datetime import date, datetime

import polars as pl
import pytest
from listed_cases import LIST_ID, a_list, a_need
from outcome_cases import *  # noqa: F403 the cases shared with PostgreSQL
from outcome_cases import home_with_list, outcome_file
from store_cases import FIRST, SECOND
from test_xlsx_import import DAY, Filled

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput
from scoring.import_words import ImportWords
from scoring.outcomes import read_rows
from scoring.reason_words import placeholders
from serving.cli import main
from serving.home import Home
from serving.outcome_work import contacted_people, import_outcomes
from serving.settings import Settings

TODAY = date(2024, 7, 1)


@pytest.fixture
def database_url():
    return None


def command(*words):
    out, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(wrong):
        code = main([*map(str, words)])
    return code, out.getvalue(), wrong.getvalue()


def imported(home, path, **more):
    return import_outcomes(home, path, **{"list_id": None, "dry_run": False, "by": "tests", "today": TODAY} | more)


GOOD = [
    (FIRST, "p000", "2024-06-04", "phone", "a", "reached"),
    (FIRST, "p001", "2024-06-05T09:30", None, None, "helped"),
    (FIRST, "p000", "2024-06-06", "phone", "a", "not_reached"),
]


def test_a_file_is_kept_as_attempts_and_outcomes_and_twice_is_once(tmp_path):
    home, _ = home_with_list(tmp_path / "home")
    path = outcome_file(tmp_path / "west.csv", GOOD)
    first, again = imported(home, path), imported(home, path)
    assert first == {
        "rows": 3,
        "attempts": 3,
        "outcomes": 3,
        "known_before": 0,
        "erased": 0,
        "by_outcome": {"helped": 1, "not_reached": 1, "reached": 1},
        "lists": [FIRST],
        "kept": True,
    }
    assert (again["attempts"], again["outcomes"], again["known_before"]) == (0, 0, 3)
    assert home.store.attempts().select("person_id", "at", "channel", "worker", "result", "source").rows() == [
        ("p000", datetime(2024, 6, 4), "phone", "a", "reached", "west.csv"),
        ("p001", datetime(2024, 6, 5, 9, 30), None, None, "helped", "west.csv"),
        ("p000", datetime(2024, 6, 6), "phone", "a", "not_reached", "west.csv"),
    ]
    assert home.store.outcomes()["outcome"].to_list() == ["reached", "helped", "not_reached"]


@pytest.mark.parametrize("kind", ["parquet", "semicolons", "finnish days", "result", "list named once"])
def test_every_way_to_write_the_same_rows_reads_alike(tmp_path, kind):
    home, _ = home_with_list(tmp_path / "home")
    imported(home, outcome_file(tmp_path / "plain.csv", GOOD))
    frame, path, more = pl.read_csv(tmp_path / "plain.csv", infer_schema=False), tmp_path / "other.csv", {}
    if kind == "parquet":
        path = tmp_path / "other.parquet"
        day = pl.col("at").str.head(10).str.to_date().cast(pl.Datetime)
        hour = pl.when(pl.col("at").str.len_chars() > 10).then(pl.duration(minutes=570)).otherwise(pl.duration())
        frame.with_columns(at=day + hour).write_parquet(path)
    elif kind == "semicolons":
        path.write_bytes(b"\xef\xbb\xbf" + frame.write_csv(separator=";").replace("\n", "\r\n").encode())
    elif kind == "finnish days":
        frame.with_columns(pl.col("at").replace({"2024-06-04": "4.6.2024", "2024-06-06": "06.06.2024"})).write_csv(path)
    elif kind == "result":
        frame.rename({"outcome": "result"}).write_csv(path)
    else:
        frame.drop("list_id").write_csv(path)
        more = {"list_id": FIRST}
    assert imported(home, path, **more)["known_before"] == 3


def test_everything_wrong_is_told_row_by_row_without_ids_and_nothing_is_kept(tmp_path):
    home, _ = home_with_list(tmp_path / "home")
    bad = [
        GOOD[0],
        (None, "p000", "2024-06-04", None, None, "reached"),
        (SECOND, "p000", "2024-06-04", None, None, "reached"),
        (FIRST, None, "2024-06-04", None, None, "reached"),
        (FIRST, "010190-123X", "2024-06-04", None, None, "reached"),
        (FIRST, "p000", None, None, None, "reached"),
        (FIRST, "p000", "on Monday", None, None, "reached"),
        (FIRST, "p000", "2024-07-02", None, None, "reached"),
        (FIRST, "p000", "2024-06-02", None, None, "reached"),
        (FIRST, "p000", "2024-06-04", None, None, "helpd"),
        (FIRST, "p000", "2024-06-04", "x" * 201, None, None),
    ]
    with pytest.raises(BadInput) as refusal:
        imported(home, outcome_file(tmp_path / "bad.csv", bad))
    codes = "already_served, declined, helped, not_reached, not_relevant, reached, wrong_person"
    assert [f"{fault.where} {fault.wrong}" for fault in refusal.value.faults] == [
        "row 3 names no list",
        "row 4 names a list that was never published",
        "row 5 has no person",
        "row 6 is about somebody who is not on this list (an id of 11 characters)",
        "row 7 has no time",
        "row 8 has a time that cannot be read",
        "row 9 is of 2024-07-02, which is yet to come",
        "row 10 is of 2024-06-02, before the list's own day (2024-06-03)",
        "row 11 has an outcome that is none",
        "row 12 has no outcome",
        "row 12 has a channel of 201 characters",
    ]
    assert refusal.value.faults[8].mend == f"Did you mean 'helped'? Allowed: {codes}"
    assert "010190" not in str(refusal.value) and home.store.attempts().is_empty()


def test_a_file_that_is_no_table_of_outcomes_is_refused_by_what_it_lacks(tmp_path):
    for name, content, wrong in (
        ("a.csv", b"person_id,when\np000,2024-06-04\n", "has no column 'at'"),
        ("b.csv", "henkilö,at\n".encode("latin-1"), "is not in UTF-8"),
        ("c.csv", b"", "is empty"),
        (
            "d.csv",
            b"person_id,at,outcome\np000,2024-06-04,helped,more\n",
            "row 2: has 4 cells, and there are 3 columns",
        ),
        ("e.csv", b"person_id,at,outcome,at\n", "has the column 'at' twice"),
        ("f.parquet", b"PAR1", "cannot be read as Parquet"),
        ("g.txt", b"", "is of the kind '.txt'"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput) as refusal:
            read_rows(tmp_path / name)
        assert wrong in str(refusal.value)


def test_a_dry_run_counts_what_would_be_new_and_keeps_nothing(tmp_path):
    home, _ = home_with_list(tmp_path / "home")
    path, before = outcome_file(tmp_path / "west.csv", GOOD), home.store.summary()
    tried = imported(home, path, dry_run=True)
    assert (tried["attempts"], tried["kept"]) == (3, False) and home.store.summary() == before
    assert imported(home, path)["attempts"] == 3
    kept = {"lists": FIRST, "rows": 3, "attempts": 3, "outcomes": 3}
    (logged,) = home.audit_log.facts_of("outcome import")
    assert {name: logged[name] for name in kept} == kept


def test_of_the_erased_nothing_is_kept_and_the_rest_comes_in(tmp_path):
    home, _ = home_with_list(tmp_path / "home")
    home.store.erase("p000")
    found = imported(home, outcome_file(tmp_path / "west.csv", GOOD))
    assert (found["erased"], found["attempts"], found["known_before"]) == (2, 1, 0)


def test_somebody_added_by_hand_is_on_the_list(tmp_path):
    home, _ = home_with_list(tmp_path / "home")
    home.store.change(FIRST, "west", "walk-in", "added", "head", reason="asked for help at the desk")
    row = (FIRST, "walk-in", "2024-06-04", "visit", None, "helped")
    assert imported(home, outcome_file(tmp_path / "w.csv", [row]))["attempts"] == 1


def test_the_commands_say_what_was_kept(tmp_path):
    home_with_list(tmp_path / "home")
    words = ("--home", tmp_path / "home")
    add = ("outcome", "add", "--list", FIRST, "--person", "p000", "--outcome", "reached", "--at", "2024-06-04", *words)
    code, told, _ = command(*add)
    assert (code, told.splitlines()[0]) == (0, "1 row read: 1 attempt new, 0 known before.")
    code, told, _ = command(*add, "--json")
    assert code == 0 and json.loads(told)["known_before"] == 1
    path = outcome_file(tmp_path / "west.csv", GOOD)
    code, told, _ = command("outcome", "import", path, "--dry-run", *words)
    assert code == 0 and "3 attempts would be new" in told and told.endswith("Tried only: nothing was kept.\n")
    at = add.index("reached")
    code, told, _ = command(*add[:at], "reachd", *add[at + 1 :], "--json")
    (error,) = json.loads(told)["errors"]
    assert (code, error["where"], error["wrong"]) == (2, "outcome", "has an outcome that is none")
    code, _, wrong = command("outcome", "import", tmp_path / "none.csv", *words)
    assert code == 2 and "none.csv: cannot be read or written: No such file or directory" in wrong


def published(home, **asked):
    """A list with every kind of row in the store of a home, as its workbook shows it."""
    listed = a_list(**asked)
    keys = home.store.row_keys([row.person_id for part in listed.parts for row in part.rows])
    parts = tuple(
        replace(part, rows=tuple(row.hashed(part.unit_id, keys[row.person_id]) for row in part.rows))
        for part in listed.parts
    )
    listed = replace(listed, parts=parts)
    listed = replace(listed, list_digest=sha256(canonical_json(listed.said())))
    home.store.publish(listed)
    return listed


def test_a_filled_workbook_comes_in_through_the_command_whole_or_not_at_all(tmp_path):
    home = Home(Settings(home=tmp_path / "home"))
    words = ("--home", tmp_path / "home")
    filled = Filled(published(home, need=a_need(attempts_per_person=2), language="fi"))
    filled.fill("000001", worker="A", day_1=DAY, outcome_1="ei tavoitettu", day_2=date(2024, 6, 7))
    filled.fill("000002", day_1="viime tiistaina", outcome_1="tavoitettu")
    path = filled.save(tmp_path)
    code, told, wrong = command("outcome", "import", path, *words)
    row = filled.row("000002") + 1
    assert (code, told) == (2, "") and home.store.attempts().is_empty()
    assert f"north.xlsx: rivi {row}, sarake " in wrong and "(Päivä 1): ei ole luettavissa. Tähän kuuluu päivä" in wrong
    code, told, _ = command("outcome", "import", path, "--lang", "sv", "--json", *words)
    (error,) = json.loads(told)["errors"]
    assert code == 2 and f"rad {row}, kolumn" in error["where"] and error["wrong"] == "kan inte läsas"
    filled.fill("000002", day_1=DAY)
    code, told, _ = command("outcome", "import", filled.save(tmp_path), "--list", LIST_ID, "--lang", "fi", *words)
    assert code == 0 and told.splitlines()[0] == (
        "3 riviä luettu: 3 yhteydenottoyritystä on uusia, 0 tiedettiin ennestään."
    )
    kept = home.store.attempts().select("person_id", "worker", "result").rows()
    assert set(kept) == {("000001", "A", None), ("000001", "A", "not_reached"), ("000002", None, "reached")}
    code, told, _ = command("outcome", "import", filled.save(tmp_path), "--json", *words)
    assert code == 0 and json.loads(told)["known_before"] == 3
    home.store.erase("000002")
    filled.fill("000003", day_1=DAY, outcome_1="sai apua")
    code, told, _ = command("outcome", "import", filled.save(tmp_path), "--json", *words)
    again = json.loads(told)
    assert code == 0 and (again["rows"], again["attempts"], again["known_before"], again["erased"]) == (4, 1, 2, 1)
    assert set(home.store.attempts()["person_id"].drop_nulls()) == {"000001", "000003"}


def test_whoever_brings_outcomes_in_reads_what_is_wrong_in_any_language(tmp_path):
    home_with_list(tmp_path / "home")
    path = outcome_file(tmp_path / "west.csv", [(FIRST, "p000", "2024-06-04", None, None, "helpd")])
    for language, said in (
        ("fi", "rivi 2: tulosta ei tunneta. Tarkoititko ”helped”? Sallitut: already_served"),
        ("sv", "rad 2: har ett utfall som inte är känt. Menade du ”helped”? Tillåtna: already_served"),
        ("en", "row 2: has an outcome that is none. Did you mean 'helped'? Allowed: already_served"),
    ):
        code, _, wrong = command("outcome", "import", path, "--lang", language, "--home", tmp_path / "home")
        assert code == 2 and wrong.startswith(said)


def test_every_language_says_all_of_it_with_the_same_names():
    def flat(texts, prefix=""):
        for key, value in texts.items():
            yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]

    said = [{key: placeholders(text) for key, text in flat(ImportWords(one).texts)} for one in ("en", "fi", "sv")]
    assert said[0] == said[1] == said[2]


def test_training_hears_of_this_needs_contacts_alone(tmp_path):
    home, _ = home_with_list(tmp_path / "home")
    assert contacted_people(home, "youth") is None
    imported(home, outcome_file(tmp_path / "west.csv", GOOD))
    assert contacted_people(home, "youth").sort("at").rows() == [
        ("p000", date(2024, 6, 4), "reached"),
        ("p001", date(2024, 6, 5), "helped"),
        ("p000", date(2024, 6, 6), "not_reached"),
    ]
    assert contacted_people(home, "another") is None
