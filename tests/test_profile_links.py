"""Links between profiles and people, in SQLite, and the files and commands by which they come."""

import json
from uuid import uuid4

import polars as pl
import pytest
from link_cases import *  # noqa: F403 the cases shared with PostgreSQL
from link_cases import ANNA, BO

from ethics.refusals import BadInput
from serving.cli import main
from serving.home import Home
from serving.profile_links import open_links, read_links
from serving.settings import Settings

HEAD = "profile_uuid,person_id\n"


@pytest.fixture
def engine(tmp_path):
    return Settings(home=tmp_path / "home").engine()


def written(tmp_path, text, name="links.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_comes_in_whole_and_twice_is_once(tmp_path, capsys):
    words = ["--home", str(tmp_path / "home")]
    path = written(tmp_path, f"{HEAD}{ANNA},000123\n {str(BO).upper()} ,000124 \n")
    assert main(["profiles", "import", str(path), *words]) == 0
    assert capsys.readouterr().out == "2 rows read: 2 links new, 0 known before.\n"
    table = tmp_path / "links.parquet"
    pl.DataFrame({"person_id": [124, 125], "profile_uuid": [str(BO), str(uuid4())]}).write_parquet(table)
    assert main(["profiles", "import", str(table), "--json", *words]) == 2  # 124 is not 000124
    capsys.readouterr()
    home = Home(Settings(home=tmp_path / "home"))
    assert (open_links(home).person_of(ANNA), open_links(home).person_of(BO)) == ("000123", "000124")
    home.store.erase("000123")
    assert main(["profiles", "import", str(path), *words]) == 0
    told = capsys.readouterr().out
    assert told == (
        "2 rows read: 0 links new, 1 known before.\n1 row of people who were erased: nothing is kept of them.\n"
    )
    assert main(["profiles", "unlink", str(BO), *words]) == 0
    assert main(["profiles", "unlink", str(BO), *words]) == 2
    assert main(["profiles", "unlink", "bo", *words]) == 2
    acts = [(row["action"], json.loads(row["facts"])) for row in home.audit_log.rows()]
    assert [act for act, _ in acts] == ["profiles import", "profiles import", "profiles unlink"]
    assert not any(str(name) in json.dumps(acts) for name in (ANNA, BO, "000123", "000124"))
    assert home.audit_log.verify() == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("person_id,uuid\n1,2\n", ["lacks profile_uuid. Name the columns profile_uuid, person_id"]),
        (HEAD, ["holds no row"]),
        (
            f"{HEAD}anna,1\n{ANNA},\n,2\n",
            ["row 1: has no profile_uuid", "row 2: has no person_id", "row 3: has no profile"],
        ),
        (f"{HEAD}{ANNA.hex},1\n{{{ANNA}}},2\n", ["row 1: has no profile_uuid", "row 2: has no profile_uuid"]),
        (f"{HEAD}{ANNA},1\n{ANNA},2\n", ["row 2: has a profile that another row gives to another person"]),
        (f"{HEAD}{ANNA},{'x' * 201}\n", ["row 1: has no person_id"]),
        (HEAD + "x,1\n" * 30, ["row 1: has"] + ["row"] * 19 + ["has 10 more such rows"]),
        ("", ["cannot be read"]),
    ],
)
def test_a_file_that_cannot_be_used_says_where(text, wrong, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as refusal:
        read_links(path)
    assert len(refusal.value.faults) == len(wrong)
    for fault, expected in zip(refusal.value.faults, wrong, strict=True):
        assert expected in str(fault)
        assert str(ANNA) not in str(fault)


def test_a_row_twice_is_one_link_and_other_kinds_of_file_are_refused(tmp_path):
    assert read_links(written(tmp_path, f"{HEAD}{ANNA},1\n{ANNA},1\n")) == [(ANNA, "1")]
    for name in ("links.xlsx", "links.parquet"):
        with pytest.raises(BadInput, match=r"is of the kind|cannot be read"):
            read_links(written(tmp_path, "rubbish", name))
