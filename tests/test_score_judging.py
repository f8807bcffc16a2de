"""Anybody's scores: two files in, a verdict out, every fault at once, and published figures again."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from ethics_cases import NOW, POLICY, key_ring, stop_switch

from ethics import NotTrusted, Verdict, countersign, seal, verify
from ethics.cells import cells_from_bytes
from ethics.checks import BUILT
from ethics.gate import SCORE_CHECKS
from ethics.refusals import BadInput
from ethics.report import render_report
from ethics.score_case import neutral_tie_keys, no_model_fault
from ethics.signing import read_signed_verdict
from serving.cli import main
from serving.score_files import read_score_files
from serving.score_judging import Question, judge_scores

COMPAS = Path(__file__).resolve().parents[2] / "shared" / "data" / "compas" / "two_years.csv"
NEVER = "judges scores alone: no city and no model stand behind it, so it can never be signed into use"


def world(folder, n=6000, seed=0, **columns):
    """Scores that are calibrated, of people whose groups do not matter."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(-2.0, 1.1, n)
    p = 1 / (1 + np.exp(-raw))
    ids = [f"p{i}" for i in range(n)]
    scores = {
        "person_id": ids,
        "score": raw,
        "label": (rng.random(n) < p).astype(int),
        "probability": p,
        "indicator:one": (rng.random(n) < p).astype(int),
        "indicator:two": (rng.random(n) < p).astype(int),
    }
    frame = pl.DataFrame({**scores, **columns})
    frame.write_csv(folder / "scores.csv")
    pl.DataFrame({"person_id": ids, "sex": rng.choice(["f", "m"], n)}).write_csv(folder / "groups.csv")
    return frame


def asked(folder, **changes):
    return Question(scores=folder / "scores.csv", groups=folder / "groups.csv", **{"capacity_k": 60, **changes})


def checks_of(result):
    return {check.id: check for check in result["checks"]}


def test_fair_scores_pass_what_can_be_asked_of_scores(tmp_path):
    world(tmp_path, n=20_000)
    result = judge_scores(asked(tmp_path, periods=13), tmp_path / "out", now=NOW)
    assert result["state"] == "PASS"
    assert set(checks_of(result)) == set(SCORE_CHECKS) >= {"C102", "C105", "C401", "C403", "C404"}
    verdict = Verdict.from_json(json.loads(Path(result["verdict_path"]).read_bytes()))
    assert verdict.scope["kind"] == "scores"
    assert verdict.required == tuple(id for id in POLICY.required if id in SCORE_CHECKS)
    html = Path(result["report_path"]).read_text("utf-8")
    for said in (
        "SCORES ALONE: no city and no model stand behind this verdict",
        "Nobody stated what they are used for: ranking for outreach: whom to offer help first was assumed.",
        "keyed hash of person_id, seed 0",
        f"there is no city and no model: {', '.join(id for id in BUILT if id not in SCORE_CHECKS)}.",
    ):
        assert said in html, said
    before_checks = html.index("What must be done")
    assert html.index("it can never be signed into use") < before_checks
    assert "Lists may be made" not in html


def test_the_same_files_and_seed_give_the_same_verdict(tmp_path):
    frame = world(tmp_path).with_columns(score=pl.col("score").round(1))  # many equals
    frame.write_csv(tmp_path / "scores.csv")
    first, again = (judge_scores(asked(tmp_path), tmp_path / out, now=NOW) for out in ("a", "b"))
    assert Path(first["verdict_path"]).read_bytes() == Path(again["verdict_path"]).read_bytes()
    assert Path(first["report_path"]).read_bytes() == Path(again["report_path"]).read_bytes()
    with pytest.raises(BadInput, match="exists already"):
        judge_scores(asked(tmp_path), tmp_path / "a", now=NOW)
    ids = frame["person_id"].to_list()
    keys = neutral_tie_keys(ids, 0)
    assert len(set(keys)) == len(ids)
    # Neutral: where a person stands in the file says nothing about the key.
    rank = pl.Series(keys).rank().to_numpy()
    assert abs(np.corrcoef(rank, np.arange(len(ids)))[0, 1]) < 0.05


def test_it_can_never_be_signed_into_use(tmp_path):
    world(tmp_path)
    result = judge_scores(asked(tmp_path), tmp_path / "out", now=NOW)
    written = Path(result["verdict_path"]).read_bytes()
    verdict = Verdict.from_json(json.loads(written))
    ring = key_ring(tmp_path / "keys")
    with pytest.raises(NotTrusted, match=NEVER):
        read_signed_verdict(written, ring.trust(), NOW)
    sealed = countersign(seal(verdict, ring.signer("gate")), ring.signer("auditor"))
    with pytest.raises(NotTrusted) as refusal:
        verify(
            sealed,
            Path(result["verdict_path"]).with_name("cells.parquet").read_bytes(),
            trust=ring.trust(),
            expected={name: str(digest) for name, digest in verdict.subject.items()},
            use="outreach_ranking",
            now=NOW,
            revoked=(),
            stop_switch=stop_switch(tmp_path),
            allow_demonstration=True,
        )
    assert no_model_fault() in refusal.value.faults


@pytest.mark.parametrize("words", ["approve", "sign", "attest", "audit verify"])
def test_the_commands_refuse_it_with_its_own_reason(tmp_path, capsys, words):
    world(tmp_path)
    result = judge_scores(asked(tmp_path), tmp_path / "out", now=NOW)
    more = ["--id", "AT-07", "--reasons", "because"] if words == "attest" else []
    home = ["--home", str(tmp_path / "home")]
    assert main([*words.split(), "--verdict", result["verdict_path"], *more, *home]) == 30
    assert NEVER in capsys.readouterr().err


def test_the_command_needs_no_home_and_no_keys(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world(tmp_path)
    asked_for = ["--scores", "scores.csv", "--groups", "groups.csv", "--capacity", "60"]
    assert main(["judge", *asked_for, "--use", "sanction", "--json"]) == 20
    said = json.loads(capsys.readouterr().out)
    assert said["state"] == "BLOCK"
    assert [check["id"] for check in said["checks"] if check["state"] == "block"] == ["C102"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["groups.csv", "judged-scores", "scores.csv"]
    assert main(["judge", "--scores", "scores.csv"]) == 2
    assert "--groups is missing" in capsys.readouterr().err
    assert main(["judge", *asked_for, "--run", "r"]) == 2
    assert "--run does not go with --scores, --groups, --capacity" in capsys.readouterr().err


def test_without_outcomes_it_is_inconclusive_and_says_why(tmp_path):
    world(tmp_path).drop("label", "probability").write_csv(tmp_path / "scores.csv")
    result = judge_scores(asked(tmp_path), tmp_path / "out", now=NOW)
    assert result["state"] == "INCONCLUSIVE"
    assert checks_of(result)["C105"].facts["case"] == "no_label"


def test_a_simple_rule_that_does_as_well_is_said(tmp_path):
    frame = world(tmp_path)
    world(tmp_path, rule_score=frame["score"] * 2)
    result = judge_scores(asked(tmp_path), tmp_path / "out", now=NOW)
    found = checks_of(result)["C105"]
    assert (found.state, found.facts) == ("needs_attestation", {"case": "tie", "rival": "unit_rule"})


# ---- bad files -----------------------------------------------------------------------------------------------------


def faults_of(folder, scores=None, groups=None, k=2):
    for name, content in (("scores.csv", scores), ("groups.csv", groups)):
        if content is not None:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as refusal:
        read_score_files(folder / "scores.csv", folder / "groups.csv", k)
    return [(fault.where.removeprefix(f"{folder}/"), fault.wrong) for fault in refusal.value.faults]


GROUPS = "person_id,sex\na,f\nb,m\nc,f\nd,m\n"
SCORES = "person_id,score\na,1\nb,2\nc,3\nd,4\n"


def test_every_fault_is_named_at_once_by_row_and_never_by_id(tmp_path):
    scores = (
        "person_id,score,label,probability,indicator:x\n"
        "010190-123A,1,1,0.5,1\n010190-123A,nan,2,1.5,0\n,,,,\nd,x,yes,0.2,2\ne,inf,,0.1,\n"
    )
    found = faults_of(tmp_path, scores, "person_id,sex\na,f\na,m\n,f\n", k=5)
    assert found == [
        ("scores.csv: person_id", "is missing in row 3"),
        ("scores.csv: person_id", "was given before in row 2"),
        ("--capacity", "is 5, and there are 5 people: nobody would be left out"),
        ("scores.csv: score", "is missing in row 3"),
        ("scores.csv: score", "is no finite number in row 2, 4, 5"),
        ("scores.csv: label", "is no finite number in row 4"),
        ("scores.csv: indicator:x", "is missing in row 3, 5"),
        ("scores.csv: label", "is neither 1 nor 0 in row 2"),
        ("scores.csv: indicator:x", "is neither 1 nor 0 in row 4"),
        ("scores.csv: probability", "is outside 0 to 1 in row 2"),
        ("scores.csv: probability", "is missing in row 3"),
        ("groups.csv: person_id", "is missing in row 3"),
        ("groups.csv: person_id", "was given before in row 2"),
    ]
    assert "010190" not in str(found)


@pytest.mark.parametrize(
    ("scores", "groups", "expected"),
    [
        ("", GROUPS, [("scores.csv", "is empty")]),
        ("person_id,score\n", GROUPS, [("scores.csv", "has no rows")]),
        (SCORES, "person_id,sex\n", [("groups.csv", "has no rows")]),
        (
            "id,skore\na,1\n",
            GROUPS,
            [
                ("scores.csv", "has no column person_id"),
                ("scores.csv", "has no column score"),
                ("scores.csv: id", "is not a column here"),
                ("scores.csv: skore", "is not a column here"),
            ],
        ),
        (SCORES, "sex\nf\n", [("groups.csv", "has no column person_id")]),
        (SCORES, "person_id\na\n", [("groups.csv", "has no attribute, so fairness cannot be shown")]),
        (SCORES, "person_id,sex\na,f\nx,m\n", [("groups.csv", "holds 25% of the 4 people scored")]),
        (
            SCORES,
            "person_id,sex\na,f\nb,f\nc,f\nd,\n",
            [("groups.csv", "has no attribute with two groups among the people scored, so nobody can be compared")],
        ),
        ("person_id,score\nä,1\n".encode("latin-1"), GROUPS, [("scores.csv", "is not UTF-8 (line 2)")]),
        (b"PK\x03\x04 workbook", GROUPS, [("scores.csv", "is a workbook, not text")]),
        (b"person_id,score\na,\x00\n", GROUPS, [("scores.csv", "holds zero bytes, so it is not text")]),
        (b"PAR1 and no more", GROUPS, [("scores.csv", "cannot be read as a table (ComputeError)")]),
    ],
)
def test_files_that_cannot_be_judged_are_refused(tmp_path, scores, groups, expected):
    assert faults_of(tmp_path, scores, groups) == expected


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert faults_of(tmp_path, groups=GROUPS) == [("scores.csv", "cannot be read (No such file or directory)")]


def test_what_a_spreadsheet_writes_is_read(tmp_path):
    (tmp_path / "scores.csv").write_text("\ufeffperson_id;score;label\r\na;0,9;1\r\nb;0,5;\r\nc;0,1;0\r\n", "utf-8")
    (tmp_path / "groups.csv").write_text("person_id;sex\r\na;f\r\nb;m\r\nc;f\r\n", "utf-8")
    read = read_score_files(tmp_path / "scores.csv", tmp_path / "groups.csv", 1)
    assert read.rows["rank_score"].to_list() == [0.9, 0.5, 0.1]
    assert read.rows["label"].to_list() == [1, None, 0]
    assert read.share_with_groups == 1


def test_parquet_gives_what_csv_gives(tmp_path):
    frame = world(tmp_path, n=300)
    frame.with_columns(pl.col("label").cast(pl.Boolean)).write_parquet(tmp_path / "scores.parquet")
    groups = tmp_path / "groups.csv"
    read = [read_score_files(tmp_path / name, groups, 10).rows for name in ("scores.csv", "scores.parquet")]
    assert read[0].equals(read[1])


# ---- published figures ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not COMPAS.exists(), reason="needs ../shared/data/compas")
def test_the_published_compas_figures_come_out_and_the_use_is_refused(tmp_path):
    """ProPublica's two-year table: a punitive use, so it tests the arithmetic and the small groups alone."""
    table = pl.read_csv(COMPAS).select(pl.col("id").cast(pl.String), "decile_score", "two_year_recid", "race", "sex")
    table.select(person_id="id", score="decile_score", label="two_year_recid").write_csv(tmp_path / "scores.csv")
    table.select("race", "sex", person_id="id").write_csv(tmp_path / "groups.csv")
    question = asked(tmp_path, capacity_k=3317, use="pre-trial detention")  # High and Medium: decile 5 and above
    result = judge_scores(question, tmp_path / "out", now=NOW)
    assert result["state"] == "BLOCK"
    assert next(check.id for check in result["checks"] if check.state == "block") == "C102"
    folder = Path(result["verdict_path"]).parent
    cells = cells_from_bytes((folder / "cells.parquet").read_bytes())
    verdict = Verdict.from_json(json.loads((folder / "verdict.json").read_bytes()))
    # The cut at 3317 is an edge of bins, so the cells hold the confusion table exactly.
    race = cells.filter(pl.col("attribute") == "race").sort("bin")
    persons = race.group_by("bin", maintain_order=True).agg(pl.col("n").sum())
    above = persons.filter(pl.col("n").cum_sum() <= 3317)["bin"]
    selected = pl.col("bin").is_in(above.implode())

    def table_of(*groups):
        part = race.filter(pl.col("group").is_in(groups)) if groups else race
        count = lambda rows: int(rows["n"].sum())  # noqa: E731
        positive, negative = part.filter(pl.col("label") == 1), part.filter(pl.col("label") == 0)
        return (
            count(positive.filter(selected)),
            count(negative.filter(selected)),
            count(positive.filter(~selected)),
            count(negative.filter(~selected)),
        )

    assert table_of() == (2035, 1282, 1216, 2681)
    assert table_of("African-American") == (1369, 805, 532, 990)
    assert table_of("Caucasian") == (505, 349, 461, 1139)
    small = {check.group: check.state for check in result["checks"] if check.id == "C401"}
    assert {small["race=Native American"], small["race=Asian"]} <= {"not_testable", "inconclusive"}
    html = render_report(verdict, cells)
    assert "African-American" in html
    assert html == (folder / "report.html").read_text("utf-8")
