"""The notebooks run on their invented cities, show nobody, leave nothing behind, and use public names only."""

import ast
import base64
import importlib
import importlib.util
import re
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.py"))
OURS = ("ethics", "features", "models", "scoring", "serving")
OTHERS = {"marimo", "matplotlib", "numpy", "polars", "sqlalchemy"}
_DATA = re.compile(r"data:([a-z]+/[a-z0-9.+-]+)[a-z;=0-9-]*;base64,([A-Za-z0-9+/=]+)")


class Ran:
    """One notebook after its run: what its cells showed and named, and what it left on the disk."""

    def __init__(self, stem, here):
        place = pytest.MonkeyPatch()
        place.setattr("tempfile.tempdir", str(here))
        place.setattr(sys, "dont_write_bytecode", True)
        place.chdir(here)
        before = files_of(FOLDER)
        try:
            spec = importlib.util.spec_from_file_location(f"notebook_{stem}", FOLDER / f"{stem}.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self.left_by_import = files_of(here)
            self.outputs, self.defs = module.app.run()  # raises what a cell raises
        finally:
            place.undo()
        self.left = files_of(here) | (files_of(FOLDER) - before)
        self.shown = [output.text for output in self.outputs if hasattr(output, "text")]


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Runs each notebook once, whatever the number of tests that ask."""
    done = {}

    def run(stem):
        if stem not in done:
            done[stem] = Ran(stem, tmp_path_factory.mktemp(stem))
        return done[stem]

    return run


def tree_of(stem):
    return ast.parse((FOLDER / f"{stem}.py").read_text(encoding="utf-8"))


def test_the_three_notebooks_are_there():
    assert NOTEBOOKS == ["01_meet_the_city", "02_define_a_need", "03_compare_models"]


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_only_public_names_are_imported(stem):
    for node in ast.walk(tree_of(stem)):
        if isinstance(node, ast.Import):
            modules = {alias.name.partition(".")[0] for alias in node.names}
            assert not modules & set(OURS), "our rooms are imported by name, so that the names can be checked"
            assert modules <= OTHERS | sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            room = node.module.partition(".")[0]
            if room in OURS:
                assert node.module in OURS, f"{node.module} is not public"
                private = {alias.name for alias in node.names} - set(importlib.import_module(room).__all__)
                assert not private, f"not public: {sorted(private)}"
            else:
                assert room in OTHERS | sys.stdlib_module_names
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr == "_asdict", f"{node.attr} is nobody else's business"


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_it_opens_with_the_question_it_answers(stem, ran):
    title, question = re.findall(r"<h1[^>]*>(.*?)</h1>|<strong>(.*?)</strong>", ran(stem).shown[0], re.S)[:2]
    assert title[0].startswith(str(int(stem[:2])))
    asked = " ".join(question[1].split())
    assert asked.endswith("?") and asked.count("?") == 1 and "." not in asked
    assert ast.get_docstring(tree_of(stem)).partition("\n")[0].endswith("?")


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_importing_and_running_leave_no_file_behind(stem, ran):
    assert ran(stem).left_by_import == set()
    assert ran(stem).left == set()


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_no_output_shows_a_person(stem, ran):
    people = set(ran(stem).defs["city"].persons["person_id"])
    assert len(people) >= 3_000
    for text in ran(stem).shown:
        read = _DATA.sub(_inside, text)
        assert not people & set(re.findall(r"(?<!\d)\d{6}(?!\d)", read))
        assert "person_id" not in read


def _inside(found):
    """What stands in a data URL, if it is to be read; a picture says nothing here."""
    kind, content = found.groups()
    return "" if kind.startswith("image/") else base64.b64decode(content).decode()


def test_persons_would_be_found_where_a_table_shows_them(ran):
    """Else the test before this one could not fail."""
    import marimo as mo

    one = ran(NOTEBOOKS[0]).defs["city"].persons.head(1)
    read = _DATA.sub(_inside, mo.ui.table(one).text)
    assert one["person_id"][0] in re.findall(r"(?<!\d)\d{6}(?!\d)", read)


@pytest.mark.parametrize(("stem", "pictures"), zip(NOTEBOOKS, (4, 6, 6), strict=True))
def test_every_picture_says_in_words_what_it_shows(stem, pictures, ran):
    images = [tag for text in ran(stem).shown for tag in re.findall(r"<img [^>]*>", text)]
    assert len(images) >= pictures
    for tag in images:
        assert re.search(r"alt=(['\"]).{20,}?\1", tag), "a picture without a text for those who do not see it"


def test_the_first_notebook_counts_the_city_as_it_is(ran):
    defs = ran("01_meet_the_city").defs
    city, events = defs["city"], defs["events"]
    assert events.height == len(city.events.time)
    assert defs["by_month"].drop("register").to_numpy().sum() == events.height
    assert (events["known"] >= events["happened"]).all() and events["known"].max() <= city.extract_date
    assert defs["missing"]["events"].sum() == events.height
    assert (defs["missing"]["silent_months"] >= 0).all()
    assert defs["by_age"].filter(pl.col("seen") > pl.col("persons")).is_empty()
    latest = defs["delays"]["nearly_all_known_after_days"]
    assert latest.is_sorted(descending=True) and 0 < latest[0] < 365


def test_the_first_notebook_explains_a_cell_that_late_knowledge_made_smaller(ran):
    defs = ran("01_meet_the_city").defs
    assert defs["as_of_date"] == date(2026, 2, 2)
    assert defs["cell"] == defs["counted_by_hand"] >= 3
    assert defs["matrix"].X[:, 0].tolist() == defs["by_hand"]["counted"].to_list()
    assert defs["hindsight_share"] == np.mean(defs["by_hand"]["too_late"].to_numpy() > 0) > 0.1


def test_the_second_notebook_goes_from_marks_to_a_file_that_only_wants_attesting(ran):
    defs = ran("02_define_a_need").defs
    assert sum(remark.weight == "blocks" for remark in defs["first_remarks"]) > 10
    assert not [remark for remark in defs["remarks"] if remark.weight == "blocks"]
    assert any(remark.check == "AT-02" for remark in defs["remarks"])
    assert defs["need"].label.censored_by == ("death", "moved_away") and len(defs["need"].indicators) == 2


def test_the_second_notebook_loses_and_ranks_people_as_it_says(ran):
    defs = ran("02_define_a_need").defs
    laid, experiment = defs["laid"], defs["experiment"]
    for (_part,), steps in laid.attrition.group_by("part", maintain_order=True):
        assert (steps["rows"].diff().drop_nulls() == -steps["rows_lost"][1:]).all()
    assert defs["label_rate"]["people"].sum() == np.isfinite(laid.matrix.y).sum()
    assert defs["label_rate"]["share"].is_between(0.02, 0.3).all()
    assert defs["facts"]["eligible"] == experiment.judged.keys.height
    auc = experiment.metrics["auc"]
    assert 0.5 < auc.low < auc.value < auc.high < 0.9
    assert defs["curve"]["k"].to_list() == defs["rule_curve"]["k"].to_list()


def test_the_third_notebook_compares_two_needs_that_differ_in_their_features_alone(ran):
    defs = ran("03_compare_models").defs
    full, lean = defs["full"], defs["lean"]
    assert set(lean.columns) < set(full.columns)
    gone = {column.partition(".")[0] for column in set(full.columns) - set(lean.columns)}
    assert gone == {"blood_sugar", "blood_pressure", "cholesterol", "kidney", "body_mass"}
    assert (lean.cohort, lean.label, lean.splits, lean.capacity) == (
        full.cohort,
        full.label,
        full.splits,
        full.capacity,
    )
    assert list(lean.model.monotone) == ["diagnoses.distinct_codes.*"]


def test_the_third_notebook_keeps_the_simplest_of_those_that_cannot_be_told_apart(ran):
    defs = ran("03_compare_models").defs
    figures, by_regret, scores = defs["figures"], defs["by_regret"], defs["scores"]
    assert figures.height == 4 * 3 and set(figures["group"]) == set(scores)
    best = figures.group_by("group").agg(pl.col("figure").mean()).sort("figure")["group"][-1]
    assert defs["best"] == by_regret["group"][0] == best  # the mean regret is least where the mean figure is highest
    tied = {defs["best"], *defs["differences"].filter("tied")["rival"]}
    simplest = [defs["RULE"], defs["COLUMN"], defs["LEAN"], defs["FULL"]]
    assert defs["chosen"] == min(tied, key=simplest.index)


def test_the_third_notebook_counts_lists_and_parts_alike(ran):
    defs = ran("03_compare_models").defs
    k, tested = defs["k"], defs["tested"]
    among = defs["crosstab"].filter(pl.col("outcome") == "in need")
    assert defs["crosstab"]["rows"].sum() == pytest.approx(tested.height)  # known outcomes stand for everybody
    assert among["rows"].sum() == pytest.approx(tested["label"].mean() * tested.height, rel=0.01)
    assert among["share"].sum() == pytest.approx(1)
    shared = defs["overlap"]["shared"]
    assert shared.is_between(0, k * tested["origin"].n_unique()).all()
    for _, parts in defs["subsets"].group_by("model"):
        sizes = dict(parts.select("subset", "n").iter_rows())
        assert sizes["everybody"] == tested.height == sizes["aged 30 to 64"] + sizes["aged 65 to 89"]
    for curve in defs["benefits"].values():
        assert (curve["model"] <= curve["high"]).all() and (curve["nobody"] == 0).all()


def test_the_example_for_jupyter_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8"), re.S)
    named = {}
    exec(compile(code, "docs/notebooks.md", "exec"), named)
    frame, laid = named["frame"], named["laid"]
    assert frame.index.names == ["person_id", "as_of_date"] and frame.shape == laid.matrix.X.shape
    assert named["by_day"].index.size == laid.matrix.keys["as_of_date"].n_unique()
    assert named["figure"].startswith(b"\x89PNG")
    assert not files_of(tmp_path)


def test_the_page_names_every_notebook_with_its_question():
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)\.py` \| .*\? \|$", page, re.M) == NOTEBOOKS


def test_every_public_name_of_models_is_there_for_readers_editors_and_type_checkers():
    import models

    tree = ast.parse((ROOT / "models" / "__init__.py").read_text(encoding="utf-8"))
    twin = next(node for node in tree.body if isinstance(node, ast.If))
    told = {(node.module, alias.name) for node in twin.body for alias in node.names}
    assert told == {(f"models.{module}", name) for module, names in models._HOME_OF.items() for name in names}
    assert set(models.__all__) <= set(dir(models))
    for name in models.__all__:
        assert getattr(models, name) is not None
        assert not (ROOT / "models" / f"{name}.py").exists(), "once loaded, the module would hide the function"
