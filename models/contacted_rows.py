"""Who was contacted before the outcome was decided: what would have followed without the contact is not known.

Help that works makes people who were rightly listed look as if they had not been in need, and help that is recorded
can make the label itself. Learning from either teaches the next model to look away from whom the last one found. So a
row whose person was contacted within the label's horizon has an unknown label from the contact on, unless it was
decided on an earlier day; ``[label] contacted`` says whether those who were not contacted also stand for them.

Source: Perdomo et al. 2020, ICML (predictions that change what they predict); Robins & Finkelstein 2000, Biometrics
56: 779-788 (weights); Lenert et al. 2019, JAMIA 26: 1645-1650 (models that are victims of their own success).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from features.arrays import read_only
from models.censoring import censoring_weights, weigh_censoring

if TYPE_CHECKING:
    from features.matrix import Matrix
    from features.spec import LabelSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MET = ("reached", "declined", "already_served", "helped", "not_relevant")
"""Outcomes in which the person was met; of ``not_reached`` and ``wrong_person`` the person never heard."""
FEWEST_REPRESENTED = 0.8
"""Below this share of the contacted for whom somebody uncontacted stands, weights would be a fiction."""
_COLUMNS = ("person_id", "at", "outcome")


class ContactWeights(NamedTuple):
    """Weights of rows, and whether those who were not contacted can stand for those who were.

    Attributes
    ----------
    weight : float64 (n,) or None
        None: nothing weighs.
    represented : float
        For what share of the contacted the others stand: (sum of weights - rows) / contacted rows. About 1 where
        whether somebody is contacted is left to chance given the columns, 0 where the columns decide it.
    is_fallback : bool
        Weights were asked for, and the contacts are too nearly decided by the columns.
    """

    weight: Floats | None
    represented: float
    is_fallback: bool


def contact_days(keys: pl.DataFrame, contacted: pl.DataFrame) -> Floats:
    """Days from each row's as-of date to the first contact on that day or later: float64 (n,); inf without any.

    Parameters
    ----------
    keys : polars.DataFrame (n,)
        ``person_id``, ``as_of_date``.
    contacted : polars.DataFrame
        ``person_id``, ``at`` (a day), ``outcome``; only outcomes of :data:`MET` count.

    Raises
    ------
    BadInput
        A column is missing, or ``at`` is no day.

    >>> from datetime import date
    >>> keys = pl.DataFrame({"person_id": ["1", "2"], "as_of_date": [date(2024, 1, 1)] * 2})
    >>> met = pl.DataFrame({"person_id": ["1"], "at": [date(2024, 1, 8)], "outcome": ["helped"]})
    >>> contact_days(keys, met).tolist()
    [7.0, inf]
    """
    missing = [name for name in _COLUMNS if name not in contacted.columns]
    if missing or contacted.schema["at"] != pl.Date:
        wrong = f"lack {', '.join(missing)}" if missing else f"have {contacted.schema['at']} in place of a day in 'at'"
        raise BadInput(Fault("contacts", wrong, f"Give {', '.join(_COLUMNS)}, a row per contact"))
    met = contacted.filter(pl.col("outcome").is_in(MET)).select("person_id", "at").unique().sort("at")
    first = (
        keys.select("person_id", "as_of_date")
        .with_row_index("row")
        .sort("as_of_date")
        .join_asof(met, left_on="as_of_date", right_on="at", by="person_id", strategy="forward", check_sortedness=False)
        .sort("row")
    )
    days = (first["at"] - first["as_of_date"]).dt.total_days().cast(pl.Float64).fill_null(float("inf"))
    return np.array(days.to_numpy())


def heed_contacts(matrix: Matrix, label: LabelSpec, days: Floats) -> tuple[Matrix, Bools]:
    """The matrix with unknown labels where somebody was contacted before the label was decided, and which those are.

    Parameters
    ----------
    matrix : Matrix (n, p)
        With ``y``, ``followed_days`` and ``censored``.
    label : LabelSpec
    days : float64 (n,)
        From :func:`contact_days`.

    Returns
    -------
    Matrix, bool (n,)
        Such a row was followed until its contact. What was decided on the very day of the contact may come of it, and
        is not known either.
    """
    if matrix.y is None or matrix.followed_days is None or matrix.censored is None:
        mend = "Build it with label=need.label"
        raise BadInput(Fault("matrix", "does not say how long its rows were followed", mend))
    # Of what is not mature nothing is known anyway; a comparison with NaN is False.
    contacted: Bools = (days <= matrix.followed_days) & (days < label.horizon_days)
    heeded = replace(
        matrix,
        y=read_only(np.where(contacted, np.nan, matrix.y)),
        followed_days=read_only(np.where(contacted, days, matrix.followed_days)),
        censored=read_only(np.where(contacted, False, matrix.censored)),
    )
    return heeded, contacted


def weigh_contacts(matrix: Matrix, label: LabelSpec, contacted: Bools | None, seed: int) -> ContactWeights:
    """What the rows weigh, as the label asks: for those who left (``censoring``) and the contacted (``contacted``).

    With ``contacted = "ipw"`` a row whose label is known weighs 1 / P(not contacted before it was decided | columns),
    by the model of :func:`models.censoring.weigh_censoring`, in which a contact is another way to go out of sight.

    Parameters
    ----------
    matrix : Matrix (n, p)
        From :func:`heed_contacts`.
    contacted : bool (n,) or None
        From there too; None: nobody, or it is not asked.
    """
    of_leaving = censoring_weights(matrix, label, seed) if label.censoring == "ipcw" else None
    if contacted is None or not contacted.any() or label.contacted != "ipw":
        return ContactWeights(of_leaving, float("nan"), False)
    left = np.asarray(matrix.censored, dtype=np.bool_)
    lost = contacted | left if label.censoring == "ipcw" else contacted
    # A contact late in the horizon is one all the same, however short a time at risk may suffice.
    followed_to_the_end = label.model_copy(update={"min_days_at_risk": None})
    found = weigh_censoring(replace(matrix, censored=read_only(lost)), followed_to_the_end, seed)
    known = found.weight > 0
    represented = float((found.weight[known] - 1).sum() / max(1, int(lost.sum())))
    if represented < FEWEST_REPRESENTED:
        return ContactWeights(of_leaving, represented, True)
    return ContactWeights(found.weight, represented, False)
