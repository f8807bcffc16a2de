import polars as pl
import pytest
from ethics_cases import POLICY, people

from ethics import BadInput, Cuts, GroupRegister
from ethics.fairness import AT_AUDIT


def rows(n=600, **changes):
    world = people(n, seed=1)
    frame = pl.DataFrame(
        {
            "person_id": [f"{i:04d}" for i in range(n)],
            "rank_score": world["score"],
            "tie_key": [f"{i * 7919 % n:04d}" for i in range(n)],
            "probability": world["probability"],
            "label": world["label"],
            **{f"indicator:{name}": hit for name, hit in world["indicators"].items()},
        }
    )
    return frame.with_columns(**changes), world


def test_a_register_is_opened_from_parquet_and_csv(tmp_path):
    frame = pl.DataFrame({"person_id": ["1", "2"], "sex": ["f", None], "district": ["north", "south"]})
    frame.write_parquet(tmp_path / "groups.parquet")
    frame.write_csv(tmp_path / "groups.csv")
    for name in ("groups.parquet", "groups.csv"):
        register = GroupRegister.open(tmp_path / name)
        assert register.attributes == ("sex", "district")
        assert repr(register) == "GroupRegister(attributes=('sex', 'district'))"


def test_persons_and_values_that_are_missing_are_the_group_unknown():
    frame, _ = rows()
    sexes = ["f", "m", None]
    register = GroupRegister(
        pl.DataFrame({"person_id": [f"{i:04d}" for i in range(500)], "sex": [sexes[i % 3] for i in range(500)]}), "here"
    )
    table = register.measure(frame, Cuts(10, 100), POLICY, seed=1)
    assert table.groups.select("group", "n").rows() == [("f", 167), ("m", 167), ("unknown", 266)]
    assert table.indicators == ("psychiatric care", "child welfare")
    assert table.replicates == POLICY.replicates
    assert table.get("sex", "unknown", "recall", AT_AUDIT).n > 0


def test_the_cells_hold_no_person():
    frame, _ = rows()
    register = GroupRegister(pl.DataFrame({"person_id": frame["person_id"], "sex": ["f", "m"] * 300}), "here")
    cells = register.measure(frame, Cuts(10, 100), POLICY, seed=1).cells
    assert cells.columns == [
        "attribute",
        "group",
        "bin",
        "label",
        "indicator:psychiatric care",
        "indicator:child welfare",
        "n",
        "sum_probability",
    ]
    assert cells["n"].sum() == 600


def test_a_rule_has_no_probabilities_and_no_calibration():
    frame, _ = rows(probability=pl.lit(None, dtype=pl.Float64))
    register = GroupRegister(pl.DataFrame({"person_id": frame["person_id"], "sex": ["f", "m"] * 300}), "here")
    table = register.measure(frame, Cuts(10, 100), POLICY, seed=1)
    assert not table.has_probability
    assert "observed_to_expected" not in set(table.table["measure"])


@pytest.mark.parametrize(
    ("frame", "messages"),
    [
        (
            {"id": ["1"], "born": ["x"]},
            ["g: has no column person_id. Add it, with the same ids as persons.parquet"],
        ),
        (
            {"person_id": ["1", "1"]},
            [
                "g: person_id: is missing or repeated in some rows. Keep one row per person",
                "g: has no attribute, so fairness cannot be shown. Add e.g. sex, language_group",
            ],
        ),
        (
            {"person_id": [str(i) for i in range(300)], "birth_date": [f"d{i}" for i in range(300)]},
            [
                "g: birth_date: has 300 different values, too many to be groups. "
                "Give it in at most 200 groups, e.g. age bands"
            ],
        ),
    ],
)
def test_a_register_that_cannot_be_used_says_everything_at_once(frame, messages):
    with pytest.raises(BadInput) as refusal:
        GroupRegister(pl.DataFrame(frame), "g")
    assert [str(fault) for fault in refusal.value.faults] == messages


def test_rows_that_cannot_be_measured_are_refused():
    frame, _ = rows()
    register = GroupRegister(pl.DataFrame({"person_id": frame["person_id"], "sex": ["f", "m"] * 300}), "here")
    with pytest.raises(BadInput, match=r"rows: hold a person twice\. Give one row per person, the latest"):
        register.measure(pl.concat([frame, frame]), Cuts(10, 100), POLICY, seed=1)
    some = frame.with_columns(probability=pl.when(pl.col("person_id") > "0300").then(pl.col("probability")))
    with pytest.raises(BadInput, match="rows: probability: is null in some rows only"):
        register.measure(some, Cuts(10, 100), POLICY, seed=1)
    with pytest.raises(BadInput, match="rows: have no column tie_key"):
        register.measure(frame.drop("tie_key"), Cuts(10, 100), POLICY, seed=1)
