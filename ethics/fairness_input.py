"""The columns that :func:`ethics.measure` takes, checked: every fault of them is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ethics.cells import Coded, Cuts, coded
from ethics.crossings import SIGN, is_crossing
from ethics.refusals import BadInput, Fault

if TYPE_CHECKING:
    import numpy.typing as npt

    from ethics.cells import Floats


class Columns(NamedTuple):
    """What :func:`ethics.measure` was given, as arrays of ``n`` rows."""

    n: int
    label: Floats | None
    probability: Floats | None
    indicators: dict[str, npt.NDArray[np.bool_]]

    def coded(self, groups: Mapping[str, npt.ArrayLike], kept: npt.NDArray[np.int64]) -> dict[str, Coded]:
        """The groups as numbers, of the rows kept and in their order."""
        found = {}
        for name, values in groups.items():
            names, member = coded(name, values, self.n)
            found[name] = Coded(names, member[kept])
        return found


def checked_columns(
    label: npt.ArrayLike | None,
    groups: Mapping[str, npt.ArrayLike],
    score: npt.ArrayLike | None,
    selected: npt.ArrayLike | None,
    probability: npt.ArrayLike | None,
    indicators: Mapping[str, npt.ArrayLike] | None,
    cuts: Cuts | None,
) -> Columns:
    """The columns as arrays, or every fault at once."""
    if (score is None) == (selected is None):
        which = "neither is" if score is None else "both are"
        raise BadInput(Fault("score, selected", f"{which} given", "Give a score to cut, or a selection already made"))
    faults = []
    if score is not None and cuts is None:
        faults.append(Fault("cuts", "is missing", "A score is judged at cuts, e.g. cuts=Cuts(k=240, k_audit=3120)"))
    n = len(np.asarray(score if score is not None else selected))
    if n == 0:
        faults.append(Fault("score", "has no rows", "Give at least one person"))
    columns: dict[str, Any] = {"label": label, "probability": probability, **groups, **(indicators or {})}
    for name, column in columns.items():
        if column is not None and len(column) != n:
            faults.append(Fault(name, f"has {len(column)} rows where the scores have {n}", "Give one value per row"))
    faults += [
        Fault(f"groups.{name}", f"has {SIGN.strip()} in its name, the sign of a crossing", "Rename the attribute")
        for name in groups
        if is_crossing(f" {name} ".replace(SIGN.strip(), SIGN))
    ]
    if faults:
        raise BadInput(*faults)
    y = None if label is None else np.asarray(label, dtype=np.float64)
    if y is not None and not np.isfinite(y).any():
        y = None
    p = None if probability is None else np.asarray(probability, dtype=np.float64)
    if y is not None and not np.isin(y[np.isfinite(y)], (0.0, 1.0)).all():
        faults.append(Fault("label", "holds numbers other than 0 and 1", "Give 1 (need), 0 (none) or NaN (not known)"))
    if p is not None and not ((p >= 0) & (p <= 1)).all():
        faults.append(
            Fault("probability", "holds numbers outside 0 to 1 or NaN", "Give calibrated probabilities, or none")
        )
    if faults:
        raise BadInput(*faults)
    return Columns(n, y, p, {name: np.asarray(hit, dtype=bool) for name, hit in (indicators or {}).items()})
