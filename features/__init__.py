"""From what a city knows to matrices: the checked door, specs, kernels, cohort, features and label."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.attributes import attribute_on
    from features.city import City, DataError, EventLog, city_from_frames, open_city
    from features.cohort import as_of_dates, build_cohort
    from features.compiled import warm_up
    from features.label import build_label
    from features.matrix import Matrix, build_matrix, unseen_codes
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
    **dict.fromkeys(("City", "DataError", "city_from_frames", "open_city"), "city"),
    **dict.fromkeys(("Matrix", "build_matrix", "unseen_codes"), "matrix"),
    **dict.fromkeys(("as_of_dates", "build_cohort"), "cohort"),
    "attribute_on": "attributes",
    "build_label": "label",
    **dict.fromkeys(("CohortSpec", "FeatureSpec", "IndicatorSpec", "LabelSpec", "SpecError"), "spec"),
    **dict.fromkeys(("column_names", "require_built"), "spec"),
    **dict.fromkeys(("Truth", "synthetic_city"), "synthetic"),
}

__all__ = [
    "City",
    "CohortSpec",
    "DataError",
    "EventLog",
    "FeatureSpec",
    "IndicatorSpec",
    "LabelSpec",
    "Matrix",
    "SpecError",
    "Truth",
    "Window",
    "as_of_dates",
    "attribute_on",
    "build_cohort",
    "build_label",
    "build_matrix",
    "city_from_frames",
    "column_names",
    "open_city",
    "require_built",
    "synthetic_city",
    "unseen_codes",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'features' has no attribute '{name}'")
    return getattr(import_module(f"features.{_HOME[name]}"), name)
