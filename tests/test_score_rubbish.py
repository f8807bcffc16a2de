"""Rubbish in place of scores and groups: every kind has its reason, no value is said again, nothing ends in a crash."""

import bz2
import gzip
import io
import json
import warnings
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ethics.power import power
from serving.cli import main
from serving.score_files import read_score_files

N = 200
RNG = np.random.default_rng(5)
IDS = [f"kx{i}" for i in range(N)]
RAW = np.sort(RNG.normal(size=N))
P = 1 / (1 + np.exp(-RAW))
HITS = {"indicator:one": (RNG.random(N) < P).astype(int), "indicator:two": (RNG.random(N) < P).astype(int)}
SCORES = pl.DataFrame(
    {"person_id": IDS, "score": RAW, "label": (RNG.random(N) < P).astype(int), "probability": P, **HITS}
)
GROUPS = pl.DataFrame({"person_id": IDS, "sex": RNG.choice(["zq", "zr"], N), "lang": RNG.choice(["zf", "zs"], N)})
IND = "indicator:one"


def csv(frame, separator=","):
    return frame.write_csv(separator=separator).encode()


def parquet(frame):
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


def told(frame=SCORES, **columns):
    """Scores as Parquet, with other columns."""
    return parquet(frame.with_columns(**columns))


def changed(**columns):
    return csv(SCORES.with_columns(**columns))


def with_indicator(values):
    return csv(SCORES.with_columns(pl.Series(IND, values)))


def headless(frame):
    return csv(frame).split(b"\n", 1)[1]


LABEL = SCORES["label"]
MANY = {f"indicator:{a}{b}": HITS[IND] for a in "abcd" for b in "abcd"}
S, G = csv(SCORES), csv(GROUPS)

READ = {
    "a byte order mark": (b"\xef\xbb\xbf" + S, b"\xef\xbb\xbf" + G),
    "a separator told": (b"sep=;\r\n" + csv(SCORES, ";"), b'"sep=,"\n' + G),
    "semicolons": (csv(SCORES, ";"), csv(GROUPS, ";")),
    "tabs and bars": (csv(SCORES, "\t"), csv(GROUPS, "|")),
    "old line ends": (S.replace(b"\n", b"\r"), G.replace(b"\n", b"\r")),
    "Windows line ends": (S.replace(b"\n", b"\r\n"), G.replace(b"\n", b"\r\n")),
    "categories": (told(label=pl.col("label").cast(pl.String).cast(pl.Categorical)), G),
    "an enumeration": (told(label=pl.col("label").cast(pl.String).cast(pl.Enum(["0", "1"]))), G),
    "groups of categories": (S, told(GROUPS, sex=pl.col("sex").cast(pl.Categorical))),
    "days as groups": (S, told(GROUPS, day=pl.lit(date(2020, 1, 1)))),
    "decimals": (told(score=pl.col("score").cast(pl.Decimal(20, 6))), G),
}
REFUSED = {
    "no line of names": (headless(SCORES), G, "seems to have no line of column names: the first line of 6 fields"),
    "no names of groups": (S, headless(GROUPS), "groups.csv: seems to have no line of column names"),
    "old ends, no names": (headless(SCORES).replace(b"\n", b"\r"), G, "seems to have no line of column names"),
    "other names": (
        S.replace(b"person_id,score", b"hlo,010190-123A"),
        G,
        "scores.csv: has no column person_id. The file has 6 columns, among them hlo, label, probability",
    ),
    "many other names": (
        csv(pl.DataFrame({f"column_{a}{b}": ["x", "y"] for a in "abcdef" for b in "abcdef"})),
        G,
        "has 18 more columns that it cannot have",
    ),
    "UTF-16": (S.decode().encode("utf-16"), G, "is UTF-16 text"),
    "gzip": (gzip.compress(S), G, "is compressed (gzip)"),
    "gzip of groups": (S, gzip.compress(G), "groups.csv: is compressed (gzip)"),
    "bzip2": (bz2.compress(S), G, "is compressed (bzip2)"),
    "a workbook": (b"PK\x03\x04" + S, G, "is a workbook, not text"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", G, "is a workbook, not text"),
    "HTML": (b"<html><body>kx1</body></html>", G, "is HTML, XML or JSON, not a table"),
    "JSON": (b'[{"person_id": "kx1"}]', G, "is HTML, XML or JSON, not a table"),
    "nothing": (b"", G, "is empty"),
    "a separator alone": (b"sep=;\n", G, "is empty"),
    "blank lines": (b"\r\n\n  \n", G, "is empty"),
    "Parquet cut short": (parquet(SCORES)[:-9], G, "cannot be read as a table"),
    "Parquet without columns": (parquet(pl.DataFrame()), G, "has no column person_id. The file has 0 columns"),
    "more fields than names": (S + b"kx999,1,1,0.5,1,1,9\n", G, "has 7 fields in line 202, and 6 names"),
    "an open quote": (S + b'"kx999,1,1\n', G, "Look for a quote that is opened and never closed"),
    "a name twice": (S.replace(b"indicator:one", b" score"), G, "score: is the name of two columns"),
    "a group's name twice": (S, G.replace(b"lang", b"sex"), "sex: is the name of two columns"),
    "a column without a name": (S.replace(b"indicator:one", b""), G, "column 5: has no name"),
    "an indicator without a name": (S.replace(b"indicator:one", b"indicator:"), G, "is an indicator without a name"),
    "an indicator named label": (S.replace(b"indicator:one", b"indicator:label"), G, "label: cannot be the name of"),
    "an indicator named score": (S.replace(b"indicator:one", b"indicator:Score"), G, "Score: cannot be the name of"),
    "an attribute named label": (S, G.replace(b"sex", b"label"), "label: cannot be the name of an attribute"),
    "an attribute named score": (S, G.replace(b"sex", b"score"), "score: cannot be the name of an attribute"),
    "an attribute without a name": (S, G.replace(b"sex", b""), "column 2: is an attribute without a name"),
    "an attribute of signs": (S, G.replace(b"sex", b"s\x1bex"), "column 2: has a name that an attribute cannot have"),
    "an identity code as a name": (S, G.replace(b"sex", b"010190-123A"), "column 2: has a name that an attribute"),
    "too many indicators": (csv(SCORES.with_columns(**MANY)), G, "has 18 columns that would each be an indicator"),
    "too many attributes": (
        S,
        csv(GROUPS.with_columns(**{f"a{a}": pl.col("sex") for a in "abcdefghijkl"})),
        "has 14 columns that would each be an attribute. Give at most 12",
    ),
    "lists of scores": (told(score=pl.concat_list("score")), G, "score: is of type List"),
    "structures of scores": (told(score=pl.struct("score")), G, "score: is of type Struct"),
    "lists of ids": (told(person_id=pl.concat_list("person_id")), G, "person_id: is of type List"),
    "ids with decimals": (told(person_id=pl.Series(np.arange(N) * 1.0)), G, "person_id: is of type Float64"),
    "bytes as ids": (told(person_id=pl.Series([b"\xff%d" % i for i in range(N)])), G, "is of type Binary"),
    "days as scores": (told(score=pl.lit(date(2020, 1, 1))), G, "score: is of type Date"),
    "durations as labels": (told(label=pl.lit(timedelta(1))), G, "label: is of type Duration"),
    "words as labels": (told(label=pl.lit("zyes").cast(pl.Categorical)), G, "label: is no finite number in row 1, 2"),
    "lists of groups": (S, told(GROUPS, sex=pl.concat_list("sex")), "sex: is of type List"),
    "structures of groups": (S, told(GROUPS, sex=pl.struct("sex")), "sex: is of type Struct"),
    "bytes as groups": (S, told(GROUPS, sex=pl.lit(b"\xff")), "sex: is of type Binary"),
    "lists of households": (told(household=pl.concat_list("score")), G, "household: is of type List"),
    "scores that are none": (changed(score=pl.lit("nan")), G, "score: is no finite number in row 1, 2"),
    "endless scores": (changed(score=pl.lit("inf")), G, "score: is no finite number in row 1, 2"),
    "people twice": (csv(pl.concat([SCORES, SCORES])), G, "person_id: was given before in row 201"),
    "groups of people twice": (S, csv(pl.concat([GROUPS, GROUPS])), "groups.csv: person_id: was given before"),
    "groups of others": (S, csv(GROUPS.with_columns(pl.col("person_id") + "y")), "holds 0% of the 200 people scored"),
    "one group": (S, csv(GROUPS.with_columns(sex=pl.lit("zq"), lang=pl.lit("zf"))), "no attribute with two groups"),
    "one row": (csv(SCORES.head(1)), G, "--capacity: is 20, and there are 1 people"),
    "few rows": (csv(SCORES.select("person_id", "score").head(30)), G, "holds 30 people, too few to compare groups"),
    "labels of 0 alone": (changed(label=pl.lit(0)), G, "label: is 0 wherever it is known"),
    "labels of 1 alone": (changed(label=pl.lit(1)), G, "label: is 1 wherever it is known"),
    "one label known": (changed(label=pl.Series([1] + [None] * (N - 1))), G, "label: is 1 wherever it is known"),
    "probabilities of 0": (changed(probability=pl.lit(0.0)), G, "probability: adds up to 0.0 needs where"),
    "probabilities of much else": (
        changed(label=pl.Series([1] + [0] * (N - 1))),
        G,
        "these are no probabilities of them",
    ),
    "the label over again": (with_indicator(LABEL), G, f"{IND}: is the label over again"),
    "the label, where known": (
        csv(
            SCORES.with_columns(
                pl.Series("label", [None] * 20 + LABEL[20:].to_list()),
                pl.Series(IND, [1, 0] * 10 + LABEL[20:].to_list()),
            )
        ),
        G,
        f"{IND}: is the label over again",
    ),
    "the label's opposite": (with_indicator(1 - LABEL), G, f"{IND}: is the label over again"),
    "an indicator twice": (with_indicator(HITS["indicator:two"]), G, f"indicator:two: is {IND} over again"),
    "a cut of the score": (with_indicator((RAW > 0.3).astype(int)), G, f"{IND}: follows from the score alone"),
    "a cut upside down": (with_indicator((RAW < 0.3).astype(int)), G, f"{IND}: follows from the score alone"),
    "a cut of the simple rule": (
        csv(SCORES.with_columns(rule_score=pl.Series(RAW**2), **{IND: pl.Series(RAW**2 > 1).cast(pl.Int8)})),
        G,
        f"{IND}: follows from the rule_score alone",
    ),
    "an indicator of everybody": (with_indicator([1] * N), G, f"{IND}: is the same for everybody"),
    "an indicator of nobody": (with_indicator([0] * N), G, f"{IND}: is the same for everybody"),
    "an indicator not known of some": (
        with_indicator([1, 0, None, 0] * (N // 4)),
        G,
        f"{IND}: is missing in row 3, 7, 11, 15, 19 and 45 more. Give everybody 1 or 0",
    ),
}


def asked(folder, scores, groups, *more):
    (folder / "scores.csv").write_bytes(scores)
    (folder / "groups.csv").write_bytes(groups)
    files = ["--scores", str(folder / "scores.csv"), "--groups", str(folder / "groups.csv")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return main(["judge", *files, "--capacity", "20", "--out", str(folder / "out"), *more])


@pytest.mark.parametrize("kind", REFUSED)
def test_rubbish_is_refused_with_its_reason_and_no_value_is_said(tmp_path, capsys, kind):
    scores, groups, reason = REFUSED[kind]
    assert asked(tmp_path, scores, groups) == 2
    said = capsys.readouterr().err.replace(str(tmp_path), "")
    assert reason in said
    values = [*IDS, "010190", "zyes", "zq", "zr", "zf", "zs", *(str(score)[:8] for score in RAW)]
    assert [value for value in values if value in said] == []


@pytest.mark.parametrize("kind", READ)
def test_files_as_programs_write_them_are_read(tmp_path, kind):
    for name, content in zip(("scores", "groups"), READ[kind], strict=True):
        (tmp_path / name).write_bytes(content)
    read = read_score_files(tmp_path / "scores", tmp_path / "groups", 20)
    assert read.rows["label"].to_list() == LABEL.to_list()
    assert read.groups.attributes[0] == "sex"
    assert read.share_with_groups == 1


@pytest.mark.parametrize("capacity", ["0", "-3", "1.5", "ten", "200"])
def test_a_capacity_that_is_none_is_refused(tmp_path, capsys, capacity):
    assert asked(tmp_path, S, G, "--capacity", capacity) == 2
    assert "--capacity" in capsys.readouterr().err


SEEDED = {
    "demo": ["demo"],
    "city synth": ["city", "synth", "x"],
    "features leakcheck": ["features", "leakcheck", "--city", "x", "--need", "x"],
    "train": ["train", "--city", "x", "--need", "x"],
    "uplift": ["uplift", "f", "--treated", "t", "--outcome", "o", "--outcome-is", "wanted", "--share", "0.5"],
    "judge": ["judge"],
    "rehearse": ["rehearse", "--city", "x", "--need", "x"],
}


@pytest.mark.parametrize("command", SEEDED)
@pytest.mark.parametrize("seed", ["-1", "2147483648", "9" * 5000, "1.5", "²", ""])
def test_a_seed_that_no_generator_takes_is_refused_everywhere(tmp_path, capsys, monkeypatch, command, seed):
    monkeypatch.chdir(tmp_path)
    assert main([*SEEDED[command], "--seed", seed]) == 2
    said = capsys.readouterr().err
    assert "give 0 or more, at most 2147483647" in said
    assert len(said) < 400


def test_the_largest_seed_is_judged_with(tmp_path, capsys):
    assert asked(tmp_path, S, G, "--seed", "2147483647", "--json") in (0, 10, 20)
    assert json.loads(capsys.readouterr().out)["verdict_id"]


def test_power_where_nobody_expects_any_need():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = power(
            np.array([0, 0]),
            np.array([50.0, 50.0]),
            np.zeros(2),
            np.zeros(2, dtype=bool),
            recall=0.5,
            cut_share=0.1,
            min_recall=0.8,
            max_oe=1.25,
            with_probability=True,
            design_effect=1.0,
            seed=0,
        )
    assert found.fair_pass.tolist() == [0, 0]
    assert found.all_pass == 0
