"""A rehearsal: the gate's whole answer in aggregates, in a home without a key, and nothing that could be signed."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import polars as pl
import pytest
from sealed_world import RULE_NEED, write_city

from serving.cli import main


def command(home, *words):
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main([*map(str, words), "--home", str(home), "--json"])
    return code, json.loads(out.getvalue())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal")
    city = write_city(folder / "city", units=True)
    ids = pl.read_parquet(city / "persons.parquet")["person_id"]
    sex = ["f" if i % 2 else "m" for i in range(len(ids) - 4)] + ["other"] * 4
    pl.DataFrame({"person_id": ids, "sex": sex}).write_parquet(city / "groups.parquet")
    (folder / "youth.toml").write_text(RULE_NEED)
    return folder


@pytest.fixture(scope="module")
def rehearsed(place):
    words = ("rehearse", "--city", place / "city", "--need", place / "youth.toml")
    return command(place / "home", *words)


def test_a_rehearsal_needs_no_key_and_leaves_no_verdict(place, rehearsed):
    code, said = rehearsed
    home = place / "home"
    assert said["state"] == "REHEARSAL" and said["would_be"] in ("BLOCK", "INCONCLUSIVE", "PASS")
    assert code == {"PASS": 0, "INCONCLUSIVE": 10, "BLOCK": 20}[said["would_be"]]
    assert not (home / "keys").exists()
    assert list(home.rglob("verdict.json")) == list(home.rglob("cells.parquet")) == []
    kept = json.loads(Path(said["path"]).read_text())
    assert kept["state"] == "REHEARSAL" and not {"verdict_id", "payload", "signatures"} & kept.keys()
    assert {row["id"] for row in said["not_asked"]} == {"C702", "C801"}
    assert not {check["id"] for check in said["checks"]} & {"C702", "C801"}
    assert "a key in date for gate: ennakko keys make --role gate" in said["still_needed"]
    assert "a test of the stop switch: ennakko stop test" in said["still_needed"]


def test_it_can_be_neither_signed_nor_approved(place, rehearsed):
    path = rehearsed[1]["path"]
    assert command(place / "home", "keys", "demo")[0] == 0
    for word in ("sign", "approve"):
        code, said = command(place / "home", word, "--verdict", path)
        assert code == 30 and said["errors"][0]["code"] == "V01"


def test_it_shows_no_person_and_withholds_small_counts(place, rehearsed):
    said = rehearsed[1]
    ids = set(pl.read_parquet(place / "city" / "persons.parquet")["person_id"])
    assert not ids & set(json.dumps(said).replace('"', " ").split())
    counts = {row["group"]: row["n"] for row in said["groups"] if row["attribute"] == "sex"}
    assert counts["other"] == "withheld" and sum(n == "withheld" for n in counts.values()) >= 2
    rows = {row["group"]: row for row in said["groups"]}
    assert rows["other"]["share_listed"] == "withheld"
    assert rows["other"]["recall_ratio"] == rows["other"]["low"] and rows["other"]["low"] in ("withheld", None)
    for row in said["groups"]:  # of two shares and a total, the share of a withheld group would follow
        assert (row["n"] == "withheld") <= (row["share_listed"] == "withheld")
        assert row["share_listed"] in ("withheld", None) or len(f"{row['share_listed']:g}") <= 7
    for check in said["checks"]:
        if check["group"] in ("sex=other", "sex=f", "sex=m"):
            group = check["group"].partition("=")[2]
            assert rows[group]["recall_ratio"] != "withheld" or check["value"] in (None, "withheld")
    assert {row["unit"] for row in said["list_by_unit"]} == {"North", "East"}


def test_the_same_run_can_be_judged_afterwards(place, rehearsed):
    run_id = rehearsed[1]["run_id"]
    code, said = command(place / "home", "judge", "--run", run_id, "--rehearse")
    assert code == rehearsed[0] and said["checks"] == rehearsed[1]["checks"]
    code, judged = command(place / "home", "judge", "--run", run_id)
    assert judged["state"] == said["would_be"] and judged["changes"] is None
    code, again = command(place / "home", "judge", "--run", run_id)
    assert again["changes"]["since"] == judged["verdict_id"]
    code, verified = command(place / "home", "audit", "verify")
    assert (code, verified["verdicts"]) == (0, {"youth": 2})
    code, offline = command(place / "home", "audit", "verify", again["verdict_path"])
    assert code == 0 and any("2 verdicts" in line for line in offline["checked"])
    code, log = command(place / "home", "audit", "log", "--need", "youth")
    assert [row["action"] for row in log["rows"]] == ["train", "rehearse", "rehearse", "judge", "judge"]
    first, last = Path(judged["verdict_path"]), Path(again["verdict_path"])
    kept = first.read_bytes()
    moved = last.parent.rename(last.parent.with_name("v-" + "0" * 20))
    code, said = command(place / "home", "audit", "verify", moved / last.name)
    assert code == 30 and any(again["verdict_id"] in fault["wrong"] for fault in said["errors"])
    aside = moved.rename(place / "aside")
    code, said = command(place / "home", "audit", "verify")  # the chain of those that are left is whole
    assert code == 30 and [again["verdict_id"] in fault["wrong"] for fault in said["errors"]] == [True]
    aside.rename(last.parent)
    first.write_bytes(kept.replace(kept[200:204], kept[204:208], 1))
    code, said = command(place / "home", "audit", "verify")
    assert code == 30 and any(judged["verdict_id"] in fault["where"] for fault in said["errors"])
    code, said = command(place / "home", "judge", "--run", run_id)  # nothing is chained to what is not whole
    assert code == 30 and any(judged["verdict_id"] in fault["where"] for fault in said["errors"])
