"""A verdict on scores alone after it was written: rendered again, compared with its cells, and said in words."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ethics_cases import NOW
from test_score_judging import asked, world

from ethics import Verdict
from ethics.digests import canonical_json
from ethics.score_verdict import holds_unsigned_scores
from serving.cli import main
from serving.score_judging import judge_scores


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    world(folder)
    return Path(judge_scores(asked(folder, periods=3), folder / "out", now=NOW)["verdict_path"]).parent


@pytest.fixture
def folder(judged, tmp_path):
    return Path(shutil.copytree(judged, tmp_path / judged.name))


def audited(folder, capsys, *more):
    code = main(["audit", "verify", str(folder / "verdict.json"), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def edited(folder, **changes):
    """The verdict with other content and the id that goes with it, as a forger would write it."""
    verdict = replace(Verdict.from_json(json.loads((folder / "verdict.json").read_bytes())), **changes)
    (folder / "verdict.json").write_bytes(canonical_json(verdict.to_json()))


def test_it_agrees_with_its_cells_without_home_or_keys_and_says_what_it_is_not(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ENNAKKO_HOME", str(tmp_path / "home"))
    code, said = audited(folder, capsys)
    assert code == 10  # neither verified nor touched: nobody vouches for it
    assert (said["verified"], said["signed"], said["consistent"], said["errors"]) == (False, False, True, [])
    assert {"cells: the digest is the verdict's", "report.html: the bytes that verdict and cells give"} <= {
        *said["checked"]
    }
    assert any(line.startswith("statistics computed again from the cells: C401") for line in said["checked"])
    assert said["unchecked"][0] == (
        "who judged, and when: nobody has signed it, and it belongs to no home and no chain"
    )
    assert "the digests of scores, groups, policy, code" in said["unchecked"]
    assert not (tmp_path / "home").exists()
    assert main(["audit", "verify", str(folder / "verdict.json")]) == 10
    words = capsys.readouterr().out
    assert words.startswith("CONSISTENT, BUT SIGNED BY NOBODY: v-")
    assert "\nVERIFIED" not in words


def test_without_cells_the_statistics_are_named_unchecked(folder, capsys):
    (folder / "cells.parquet").unlink()
    code, said = audited(folder, capsys)
    assert code == 10
    assert any(line.startswith("cells, and all statistics") for line in said["unchecked"])


def test_every_edit_is_found(folder, capsys):
    verdict, cells = folder / "verdict.json", folder / "cells.parquet"
    written = verdict.read_bytes()
    verdict.write_bytes(written.replace(b'"service":"not stated"', b'"service":"the city"'))
    assert audited(folder, capsys)[0] == 30
    verdict.write_bytes(written + b"\n")
    assert audited(folder, capsys)[0] == 30
    verdict.write_bytes(written)
    raw = json.loads(written)
    edited(folder, scope={**raw["scope"], "measured_n": 5})
    code, said = audited(folder, capsys)
    assert code == 30
    assert "scope: measured_n" in {fault["where"] for fault in said["errors"]}
    verdict.write_bytes(written)
    (folder / "report.html").write_text("fair", "utf-8")
    assert [fault["where"] for fault in audited(folder, capsys)[1]["errors"]] == ["report.html"]
    cells.write_bytes(cells.read_bytes() + b"x")
    assert "subject cells" in {fault["where"] for fault in audited(folder, capsys)[1]["errors"]}


def test_who_gives_keys_is_told_that_nobody_signed_it(folder, capsys, tmp_path):
    home = ["--home", str(tmp_path / "home")]
    assert main(["keys", "demo", *home]) == 0
    assert main(["keys", "export", "--to", str(tmp_path / "trust.json"), *home]) == 0
    capsys.readouterr()
    code, said = audited(folder, capsys, "--trust", str(tmp_path / "trust.json"))
    assert code == 30
    assert "judges scores alone" in said["errors"][0]["wrong"]


def test_its_report_is_rendered_again_in_every_language_with_the_same_bytes(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ENNAKKO_HOME", str(tmp_path / "home"))
    assert main(["report", str(folder / "verdict.json"), "--out", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    assert (tmp_path / "again" / "report.en.html").read_bytes() == (folder / "report.html").read_bytes()
    for name in ("report.json", "report.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert "enbart poäng undertecknas aldrig" in (tmp_path / "again" / "report.sv.html").read_text("utf-8")
    assert "nycklat kondensat av person_id, frö 0" in (tmp_path / "again" / "report.sv.html").read_text("utf-8")
    assert not list((tmp_path / "again").glob("public.*"))  # no list is made by it
    assert not (tmp_path / "home").exists()
    page = (folder / "report.html").read_text("utf-8")
    assert "None: scores alone are never signed into use." in page
    assert "Periods that the answer is to hold for: 3." in page
    assert "lifts this. It may be given by" not in page
    assert "Ask: " not in page


def test_a_report_of_an_edited_verdict_or_other_cells_is_refused(folder, capsys):
    verdict = folder / "verdict.json"
    written = verdict.read_bytes()
    verdict.write_bytes(written.replace(b'"service":"not stated"', b'"service":"the city"'))
    assert main(["report", str(verdict)]) == 30
    verdict.write_bytes(written)
    (folder / "cells.parquet").write_bytes(b"other")
    assert main(["report", str(verdict)]) == 30
    assert "Take the file of cells that was judged" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"scope": 1}', b"[" * 100_000])
def test_what_is_no_verdict_on_scores_is_none(content):
    assert not holds_unsigned_scores(content)


def test_what_it_prints_is_words_findings_and_where_it_lies(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world(tmp_path).drop("probability", "indicator:two").write_csv("scores.csv")
    assert main(["judge", "--scores", "scores.csv", "--groups", "groups.csv", "--capacity", "60", "--lang", "fi"]) == 10
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0] == "scores.csv, scores alone: INCONCLUSIVE"
    assert lines[1].startswith("SCORES ALONE: no city and no model stand behind this verdict")
    assert "6,000 people, 60 contacted in a period; groups are compared at the " in lines[2]
    assert [line.split(" – ")[0] for line in lines[3:5]] == ["Not given: probability", "Not given: indicator:<name>"]
    assert "[C404] The label cannot be tested – needs attestation" in lines
    assert "  → Name independent indicators of need in the need file, or have a professional vouch" in said
    place = next(Path("judged-scores").iterdir()).as_posix()
    assert lines[-4:] == [
        f"verdict {place}/verdict.json (unsigned)",
        f"report  {place}/report.html",
        f"All languages: ennakko report {place}/verdict.json",
        f"Against its cells: ennakko audit verify {place}/verdict.json",
    ]
    assert "lifted by" not in said
    assert 'lang="fi"' in Path(place, "report.html").read_text("utf-8")
