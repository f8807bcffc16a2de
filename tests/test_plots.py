"""Plots of a run, and the sentences on them: what they say is what the frames hold."""

import hashlib
import subprocess
import sys
import zlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.spec import LabelSpec
from models import findings, plots
from models.metrics import Estimate
from models.need_parts import Splits
from models.regret import choose
from models.splits import split_periods

ROOT = Path(__file__).resolve().parent.parent
DAYS = [date(2023, 8, 14) + timedelta(days=84 * i) for i in range(10)]
LABEL = LabelSpec(codes=["status.neet"], horizon_days=180, reporting_delay_days=30)


def split(kind="temporal"):
    splits = {"temporal": Splits(kind="temporal", tests=3), "person": Splits(kind="person"), "rule": None}[kind]
    return split_periods(DAYS, LABEL, date(2026, 1, 1), splits)


def curve(at_capacity=0.4, n=1500):
    k = np.array([10, 20, 60, 200, n])
    precision = np.array([0.6, 0.5, at_capacity, 0.2, 0.1])
    frame = {"k": k, "share": k / n}
    measures = {"precision": precision, "recall": precision * k / (0.1 * n), "lift": precision / 0.1}
    for name, value in measures.items():
        frame |= {name: value, f"{name}_low": value * 0.8, f"{name}_high": value * 1.2}
        frame |= {f"{name}_worst": value * 0.9, f"{name}_best": value * 1.1}
    return pl.DataFrame(frame)


RELIABILITY = pl.DataFrame(
    {
        "bin": [0, 1, 2],
        "n": [50, 50, 50],
        "promised": [0.1, 0.3, 0.6],
        "observed": [0.12, 0.2, 0.5],
        "low": [0.05, 0.1, 0.4],
        "high": [0.2, 0.29, 0.62],
    }
)
NET_BENEFIT = pl.DataFrame(
    {
        "threshold": [0.05, 0.1, 0.2, 0.4],
        "model": [0.06, 0.06, 0.04, 0.0],
        "low": [0.04, 0.055, 0.02, -0.01],
        "high": [0.08, 0.07, 0.06, 0.01],
        "everyone": [0.05, 0.0, -0.1, -0.5],
        "nobody": [0.0, 0.0, 0.0, 0.0],
    }
)
BASELINES = pl.DataFrame(
    {
        "order": ["model", "chance", "unit_rule", "area"],
        "found_at_capacity": [60.0, 20.0, 55.0, None],
        "found_at_capacity_low": [50.0, 15.0, 45.0, None],
        "found_at_capacity_high": [70.0, 25.0, 65.0, None],
        "difference_found": [0.0, 40.0, 5.0, None],
        "difference_found_low": [0.0, 30.0, -3.0, None],
        "difference_found_high": [0.0, 50.0, 12.0, None],
    }
)
BY_DATE = pl.DataFrame({"test_date": DAYS[:2], "value": [0.7, 0.72], "low": [0.66, 0.68], "high": [0.74, 0.76]})
LEARNING = pl.DataFrame(
    {
        "share": [0.1, 0.5, 1.0],
        "persons": [20, 100, 200],
        "rows": [40, 200, 400],
        "auc": [None, 0.7, 0.71],
        "auc_low": [None, 0.66, 0.67],
        "auc_high": [None, 0.74, 0.75],
    }
)
TRIALS = pl.DataFrame(
    {
        "group": ["default", "default", "trial 001", "trial 001"],
        "origin": ["2024-01-01", "2024-04-01"] * 2,
        "figure": [0.4, 0.5, 0.45, 0.45],
    }
)
ATTRITION = pl.DataFrame(
    {
        "rule": ["everyone", "aged 16 to 28 in whole years", "no event of death ever before " + "x" * 60],
        "rows": [30_000, 9_000, 8_500],
        "rows_lost": [0, 21_000, 500],
    }
)
VALUE = pl.DataFrame(
    {
        "feature": ["absence", "absence", "age"],
        "change": ["without", "alone", "without"],
        "auc_difference": [-0.05, -0.02, 0.001],
        "auc_difference_low": [-0.07, -0.04, -0.01],
        "auc_difference_high": [-0.03, 0.0, 0.012],
    }
)

DRAWN = {
    "split": lambda: plots.split_timeline(split().timeline(), "temporal", date(2026, 1, 1)),
    "ranking": lambda: plots.ranking_curve(curve(), 60, curve(0.35)),
    "reliability": lambda: plots.reliability_diagram(RELIABILITY, 0.91, -0.1),
    "net benefit": lambda: plots.net_benefit_curve(NET_BENEFIT, 0.15),
    "baselines": lambda: plots.baselines_plot(BASELINES, 60),
    "origins": lambda: plots.origins_plot(BY_DATE),
    "learning curve": lambda: plots.learning_curve_plot(LEARNING),
    "regret": lambda: plots.regret_plot(TRIALS, choose(TRIALS), "recall at capacity"),
    "attrition": lambda: plots.attrition_plot(ATTRITION),
    "feature value": lambda: plots.feature_value_plot(VALUE),
}
SAID = {
    "split": "3 origins: no label that was learnt from reaches the test date; judged from 2025-03-24 on",
    "ranking": "40.0% of the list are in need (32.0%–48.0%); by chance 10.0%, the unit's rule 35.0%",
    "reliability": "In 2 of 3 bins the interval holds what was promised (slope 0.91, intercept -0.10)",
    "net benefit": "At 2 of 4 thresholds, from 10.0% to 20.0%, the interval lies above contacting everyone or nobody",
    "baselines": "60 people in need are found; no clear difference from the hardest rival, the unit's rule "
    "(+5, -3 to +12)",
    "origins": "AUC 0.700 to 0.720 over 2 test dates",
    "learning curve": "From 50% to 100% of the persons the AUC changes by +0.010; the intervals overlap",
    "regret": "Chosen of 2 groups: default, on average 0.025 below the best of each origin, at worst 0.05",
    "attrition": "8,500 of 30,000 rows are left; 21,000 are lost to one step: aged 16 to 28 in whole years",
    "feature value": "1 of 2 features clearly missed when left out",
}


def texts_of(png):
    """Key → text of the text chunks of a PNG, and its size in pixels."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, at, size = {}, 8, None
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        body = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            size = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
        elif kind == b"tEXt":
            key, _, text = body.partition(b"\0")
            found[key.decode()] = text.decode("latin-1")
        elif kind == b"iTXt":
            key, _, rest = body.partition(b"\0")
            text = rest[2:].split(b"\0", 2)[2]
            found[key.decode()] = (zlib.decompress(text) if rest[0] else text).decode()
        at += 12 + length
    return found, size


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_png_whose_title_is_its_finding_and_its_text_for_those_who_cannot_see_it(name):
    texts, (width, height) = texts_of(DRAWN[name]())
    assert texts["Description"] == SAID[name]
    assert set(texts) == {"Description"}, "no program, version or moment"
    assert 400 < width < 1600 and 200 < height < 1200


def test_the_same_frames_give_the_same_bytes_in_another_process_whatever_its_settings(tmp_path):
    code = (
        "import sys, hashlib; sys.path.insert(0, 'tests'); import test_plots as t\n"
        "print(*(hashlib.sha256(t.DRAWN[name]()).hexdigest() for name in ('ranking', 'baselines', 'split')))"
    )
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\naxes.facecolor: red\n")
    here = [hashlib.sha256(DRAWN[name]()).hexdigest() for name in ("ranking", "baselines", "split")]
    env = {"PATH": "/usr/bin", "HOME": str(tmp_path), "MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == here


def test_drawing_leaves_nothing_behind_in_the_settings_of_matplotlib():
    import matplotlib

    def settings():  # asking for the backend would choose one
        return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}

    before, loaded = settings(), "matplotlib.pyplot" in sys.modules
    plots.origins_plot(BY_DATE)
    assert settings() == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("person", "Other persons of the same dates are tested: what a model could do at best, never approved"),
        ("rule", "A written rule learns from nothing; it is measured on 2025-03-24"),
    ],
)
def test_other_splits_say_what_they_are(kind, said):
    made = plots.split_timeline(split(kind).timeline(), kind, date(2026, 1, 1))
    assert texts_of(made)[0]["Description"] == said


def test_a_label_that_reaches_the_test_date_is_told_and_not_denied():
    timeline = split().timeline()
    late = timeline.with_columns(
        pl.when(pl.col("role") == "train").then(date(2027, 1, 1)).otherwise("label_ends").alias("label_ends")
    )
    n = timeline.filter(pl.col("role") == "train").height
    assert findings.of_split(late, "temporal").startswith(f"3 origins: {n} labels reach it")


@pytest.mark.parametrize(
    ("low", "high", "tells"),
    [(1.0, 12.0, "more than by"), (-3.0, 12.0, "no clear difference from"), (-20.0, -2.0, "fewer than by")],
)
def test_the_finding_about_rivals_follows_the_interval(low, high, tells):
    is_rule, found = pl.col("order") == "unit_rule", {"": (low + high) / 2, "_low": low, "_high": high}
    names = {f"difference_found{end}": value for end, value in found.items()}
    table = BASELINES.with_columns(pl.when(is_rule).then(v).otherwise(name).alias(name) for name, v in names.items())
    assert f"; {tells} the hardest rival, the unit's rule" in findings.of_baselines(table)


def test_nothing_is_claimed_where_nothing_is_known():
    nobody = BASELINES.with_columns(pl.lit(None, pl.Float64).alias("found_at_capacity"))
    assert findings.of_baselines(nobody) == "No outcome is known, so nobody can be counted as found"
    worse = NET_BENEFIT.with_columns(pl.lit(-1.0).alias("low"))
    assert findings.of_net_benefit(worse) == "At no threshold does the interval lie above contacting everyone or nobody"
    assert findings.of_learning_curve(LEARNING.head(2)) == "Too few persons for a learning curve"
    unknown = BY_DATE.with_columns(pl.lit(float("nan")).alias("value"))
    assert findings.of_origins(unknown) == "No test date determines the AUC"
    assert findings.of_attrition(ATTRITION.head(1)) == "All 30,000 rows are left"


def test_a_capacity_that_is_no_point_of_the_curve_is_told_by_the_nearest():
    assert findings.of_ranking(curve(), 55).startswith("40.0% of the first 60 are in need")
    known = findings.of_ranking(curve(), 55, ours=Estimate(0.41, 0.3, 0.5), theirs=0.2)
    assert known == "41.0% of the list are in need (30.0%–50.0%); by chance 10.0%, the unit's rule 20.0%"
