"""Our group measures beside those of Aequitas on COMPAS, digit by digit: ``make oracle-aequitas``.

COMPAS's High and Medium scores are the selection. It is a punitive use: the arithmetic is tested, never the rule. The
figures are also those that ProPublica published (Larson et al. 2016).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import polars as pl

from ethics import measure

HERE = Path(__file__).resolve().parent
COMPAS = HERE.parents[2] / "shared" / "data" / "compas" / "two_years.csv"
ATTRIBUTES = ("race", "sex", "age_cat")
SAME = {
    "tpr": "recall",
    "for": "false_omission_rate",
    "fpr": "false_positive_rate",
    "fnr": "false_negative_rate",
    "precision": "precision",
    "pprev": "selection_rate",
}
"""Aequitas's name → ours."""
TOLERANCE = 1e-12


def differences(data: Path, python: Path) -> pl.DataFrame:
    """Attribute, group, measure, ours, theirs and the gap between, for every group and measure."""
    frame = pl.read_csv(data, infer_schema_length=None)
    selected, label = frame["score_text"] != "Low", frame["two_year_recid"]
    table = measure(
        label=label.to_numpy(),
        groups={name: frame[name] for name in ATTRIBUTES},
        selected=selected.to_numpy(),
        replicates=200,
    )
    told = frame.select(ATTRIBUTES).with_columns(selected.cast(pl.Int8).alias("score"), label.alias("label_value"))
    words = [str(python), str(HERE / "aequitas_counts.py")]
    said = subprocess.run(words, input=told.write_csv(), capture_output=True, text=True, check=True).stdout
    rows = []
    for row in json.loads(said):
        attribute, group = row["attribute_name"], row["attribute_value"]
        for theirs, ours in SAME.items():
            found = table.get(attribute, group, ours, "k")
            rows.append((attribute, group, ours, found.value, row[theirs]))
        found = table.get(attribute, group, "recall", "k")
        rows.append((attribute, group, "people in need", found.n, row["group_label_pos"]))
        rows.append((attribute, group, "people found", found.people, row["tp"]))
    named = ["attribute", "group", "measure", "ours", "theirs"]
    compared = pl.DataFrame([(*row[:3], float(row[3]), float(row[4])) for row in rows], schema=named, orient="row")
    return compared.with_columns((pl.col("ours") - pl.col("theirs")).abs().alias("gap"))


def main() -> int:
    """Print what was compared; 1 where anything differs, 2 where the data are not here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, default=HERE.parents[1] / ".venv-aequitas" / "bin" / "python")
    parser.add_argument("--data", type=Path, default=COMPAS)
    asked = parser.parse_args()
    if not asked.data.exists():
        print(f"{asked.data} is not here: COMPAS two-year scores (ProPublica 2016) are needed", file=sys.stderr)
        return 2
    compared = differences(asked.data, asked.python)
    worst = compared.sort("gap", descending=True, nulls_last=False)
    with pl.Config(tbl_rows=12, tbl_hide_dataframe_shape=True):
        print(worst.head(12))
    largest = compared["gap"].max()
    sizes = f"{compared.height} numbers of {compared.select('attribute', 'group').n_unique()} groups"
    print(f"{sizes}: largest difference {largest:.3g} (at most {TOLERANCE:g})")
    ok = compared["gap"].null_count() == 0 and not compared["gap"].is_nan().any() and largest <= TOLERANCE
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
