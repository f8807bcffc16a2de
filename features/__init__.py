"""From what a city knows to matrices: the checked door, specs, kernels, cohort, features and label.

In a notebook::

    from datetime import date

    from ethics import ObjectionRegister
    from features import CohortSpec, FeatureSpec, build_cohort, build_matrix, matrix_blocks, open_city, write_matrix
    from models import load_need  # features of a need file: load_need("need.toml").features
    from sqlalchemy import create_engine

    city = open_city("city")
    absence = FeatureSpec(
        name="absence",
        codes=["school.absence.*"],
        windows=[30, [30, 365], "12mo", "ever"],
        measures=["count", "mean", "days_since_last"],
    )
    features = [absence, FeatureSpec(attribute="age")]
    day = {"first": date(2024, 2, 1), "last": date(2024, 2, 1), "every_days": 1}
    keys = build_cohort(city, CohortSpec(age=[16, 28], as_of=day))
    # Who objected is in no matrix, so every matrix asks. A home keeps its own register; this one is empty.
    asked = {"objections": ObjectionRegister(create_engine("sqlite://"), b"16 bytes or more"), "need_id": "youth"}

    matrix = build_matrix(city, features, keys, **asked)
    matrix.X, matrix.names, matrix.digest  # numpy, and what it is
    frame = matrix.to_polars()  # or matrix.to_pandas(), or matrix.to_csr() for the filled cells alone
    for block in matrix_blocks(city, features, keys, **asked, threads=2):
        block.keys, block.X  # 2,500 persons at a time, so that a city need not fit in memory
    written = write_matrix("matrix.parquet", city, features, keys, **asked)
    assert written.digest == matrix.digest
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

LOADED_AT = time.time()
"""When this process read the package: sources written later are not what runs."""

if TYPE_CHECKING:
    from features.attributes import attribute_on
    from features.attrition import Attrition
    from features.blocks import WrittenMatrix, matrix_blocks, write_blocks, write_matrix
    from features.cache import FeatureCache
    from features.city import City, DataError, EventLog, city_from_frames, open_city
    from features.cohort import as_of_dates, build_cohort, cohort_with_attrition
    from features.columns import compute_columns
    from features.compiled import warm_up
    from features.label import Outcome, build_label, outcome_of
    from features.matrix import Matrix, build_matrix, unseen_codes
    from features.sparse_block import SparseBlock
    from features.spec import (
        CohortSpec,
        FeatureSpec,
        IndicatorSpec,
        LabelSpec,
        SpecError,
        column_names,
        require_built,
    )
    from features.synthetic import Truth, synthetic_city
    from features.windows import Window

# Loaded when first asked for: numba and polars would make `ennakko --help` slow.
_HOME = {
    "warm_up": "compiled",
    "Window": "windows",
    **dict.fromkeys(("City", "DataError", "EventLog", "city_from_frames", "open_city"), "city"),
    **dict.fromkeys(("Matrix", "build_matrix", "unseen_codes"), "matrix"),
    **dict.fromkeys(("as_of_dates", "build_cohort", "cohort_with_attrition"), "cohort"),
    "attribute_on": "attributes",
    **dict.fromkeys(("WrittenMatrix", "matrix_blocks", "write_blocks", "write_matrix"), "blocks"),
    "FeatureCache": "cache",
    "compute_columns": "columns",
    "SparseBlock": "sparse_block",
    **dict.fromkeys(("Outcome", "build_label", "outcome_of"), "label"),
    "Attrition": "attrition",
    **dict.fromkeys(("CohortSpec", "FeatureSpec", "IndicatorSpec", "LabelSpec", "SpecError"), "spec"),
    **dict.fromkeys(("column_names", "require_built"), "spec"),
    **dict.fromkeys(("Truth", "synthetic_city"), "synthetic"),
}

__all__ = [
    "Attrition",
    "City",
    "CohortSpec",
    "DataError",
    "EventLog",
    "FeatureCache",
    "FeatureSpec",
    "IndicatorSpec",
    "LabelSpec",
    "Matrix",
    "Outcome",
    "SparseBlock",
    "SpecError",
    "Truth",
    "Window",
    "WrittenMatrix",
    "as_of_dates",
    "attribute_on",
    "build_cohort",
    "build_label",
    "build_matrix",
    "city_from_frames",
    "cohort_with_attrition",
    "column_names",
    "compute_columns",
    "matrix_blocks",
    "open_city",
    "outcome_of",
    "require_built",
    "synthetic_city",
    "unseen_codes",
    "warm_up",
    "write_blocks",
    "write_matrix",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'features' has no attribute '{name}'")
    return getattr(import_module(f"features.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """Also what is not loaded yet, so that a notebook completes it."""
    return sorted({*globals(), *__all__})
