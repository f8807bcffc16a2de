"""A randomised trial as arrays, checked: who was drawn to be offered the help, and what became of everyone.

Whatever uplift is later said to be rests on the draw: the share offered the help is stated from the trial's plan,
never estimated, and a trial whose arms do not fit that share is refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ethics.refusals import BadInput, Fault

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

FEWEST_PERSONS = 200
"""Persons in each arm at least: fewer, and a fold holds too few of them to learn from."""
_UNBELIEVABLE = 5.0
"""Standard errors between the stated and the found share from which the statement is not believed."""
_MOST_NAMED = 5
_SHARE_MEND = "State the share the plan gave the help, e.g. share=0.5, or one per stratum, e.g. share={'north': 0.5}"


@dataclass(frozen=True)
class Trial:
    """A randomised trial; made by :func:`randomised_trial`, which checks it.

    Attributes
    ----------
    X : float32 (n, p)
        What was known before the draw; NaN where nothing was.
    treated : bool (n,)
        Drawn to be offered the help, whether or not it reached them.
    outcome : float64 (n,) of 0 and 1
        1 is the outcome that is wanted, so that an effect above 0 is good.
    share : float64 (n,) in (0, 1)
        Planned probability of being offered the help.
    person : int64 (n,)
        Number of the person, or of the larger unit that was drawn.
    stratum : int64 (n,)
        Number of the stratum within which the draw was made.
    """

    X: NDArray[np.float32]
    treated: Bools
    outcome: Floats
    share: Floats
    person: Integers
    stratum: Integers

    def __len__(self) -> int:
        return len(self.outcome)


def randomised_trial(
    X: np.ndarray,
    treated: Any,
    outcome: Any,
    *,
    share: float | Mapping[Hashable, float] | None,
    person: Sequence[Any] | np.ndarray,
    outcome_is: Literal["wanted", "unwanted"],
    stratum: Sequence[Any] | np.ndarray | None = None,
) -> Trial:
    """Check the data of a randomised trial.

    Parameters
    ----------
    X : (n, p) of numbers
        Columns known before the draw.
    treated : (n,) of 0 and 1
        As drawn, not as reached: those who declined stay with the arm they were drawn for.
    outcome : (n,) of 0 and 1
    share : number in (0, 1), or mapping of stratum to such
        The probability, in the trial's plan, of being offered the help.
    person : (n,)
        Rows of one person lie in one fold and count as one in every interval. Where households or schools were drawn,
        give those instead: their members share their fate.
    outcome_is : "wanted" or "unwanted"
        Whether outcome 1 is what the help is to bring about (turnout), or what it is to prevent (a hospital stay).
    stratum : (n,), optional
        Within which the draw was made; needed where ``share`` differs.

    Raises
    ------
    BadInput
        Everything that is wrong at once, among it: no stated share; a stratum with one arm only; an outcome that is
        not 0 or 1; arms that do not fit the stated share.
    """
    rows = _rows(X)
    n = len(rows)
    columns = {"treated": treated, "outcome": outcome, "person": person}
    columns |= {} if stratum is None else {"stratum": stratum}
    faults = [
        Fault(f"trial.{name}", f"has {len(values)} entries, and the matrix {n} rows", "Give one per row")
        for name, values in columns.items()
        if len(values) != n
    ]
    if outcome_is not in ("wanted", "unwanted"):
        mend = "Give 'wanted' or 'unwanted': what outcome 1 is to the person"
        faults.append(Fault("trial.outcome_is", f"is {outcome_is!r}", mend))
    if faults:
        raise BadInput(*faults)
    drawn, drawn_faults = _binary(treated, "treated", "1 for those drawn to be offered the help, else 0")
    happened, outcome_faults = _binary(outcome, "outcome", "the outcome as 0 and 1; leave out rows without one")
    strata, number = _numbers(stratum if stratum is not None else np.zeros(n, np.int64), "stratum")
    _, person_number = _numbers(person, "person")
    shares, share_faults = _shares(share, list(strata), stratum is not None)
    faults += drawn_faults + outcome_faults + share_faults
    if faults:
        raise BadInput(*faults)
    trial = Trial(
        X=rows,
        treated=drawn > 0,
        outcome=happened if outcome_is == "wanted" else 1 - happened,
        share=shares[number],
        person=person_number,
        stratum=number,
    )
    if faults := _arm_faults(trial, strata, named=stratum is not None):
        raise BadInput(*faults)
    return trial


def sums_by(unit: Integers, values: np.ndarray) -> Floats:
    """Sum of the values of each unit: float64 (highest unit + 1,)."""
    return np.bincount(unit, weights=values).astype(np.float64, copy=False)


def _rows(X: Any) -> NDArray[np.float32]:
    rows = np.asarray(X)
    if rows.ndim != 2 or rows.shape[1] == 0 or rows.dtype.kind not in "fiub":
        wrong = f"has shape {rows.shape} and type {rows.dtype}"
        raise BadInput(Fault("trial.X", wrong, "Give numbers: a row per row of the trial, at least one column"))
    return np.ascontiguousarray(rows, dtype=np.float32)


def _binary(values: Any, name: str, what: str) -> tuple[Floats, list[Fault]]:
    """The values as 0.0 and 1.0, or why they cannot be."""
    where, mend = f"trial.{name}", f"Give {what}"
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.zeros(len(values)), [Fault(where, "holds what is not a number", mend)]
    if missing := int(np.isnan(numbers).sum()):
        return numbers, [Fault(where, f"is missing in {missing} of {len(numbers)} rows", mend)]
    if other := np.setdiff1d(numbers, (0.0, 1.0)).tolist():
        shown = ", ".join(f"{value:g}" for value in other[:_MOST_NAMED])
        return numbers, [Fault(where, f"holds values other than 0 and 1: {shown}{_and_more(other)}", mend)]
    return numbers, []


def _numbers(values: Any, name: str) -> tuple[np.ndarray, Integers]:
    """The different values in order, and the place of each row's among them."""
    try:
        different, number = np.unique(np.asarray(values), return_inverse=True)
    except TypeError:
        mend = "Give text or whole numbers of one kind, none missing"
        raise BadInput(Fault(f"trial.{name}", "mixes kinds of values", mend)) from None
    return different, number.astype(np.int64)


def _shares(share: Any, strata: list[Any], stratified: bool) -> tuple[Floats, list[Fault]]:
    """The planned share of each stratum, or what is wrong with the statement."""
    where = "trial.share"
    if share is None:
        return np.zeros(len(strata)), [Fault(where, "is missing: the plan states it, the data do not", _SHARE_MEND)]
    if isinstance(share, Mapping):
        if not stratified:
            return np.zeros(1), [Fault(where, "is given per stratum, and no strata are", "Give stratum too")]
        stated = dict(share)
        unstated = [str(name) for name in strata if name not in stated]
        unknown = [str(name) for name in stated if name not in strata]
        faults = [Fault(where, f"says nothing of stratum {name}", "State its share too") for name in unstated]
        faults += [Fault(where, f"names stratum {name}, which has no rows", "Leave it out") for name in unknown]
        if faults:
            return np.zeros(len(strata)), faults
        given = [stated[name] for name in strata]
    else:
        given = [share] * len(strata)
    wrong = [value for value in given if not _is_share(value)]
    if wrong:
        return np.zeros(len(strata)), [Fault(where, f"is {wrong[0]!r}, not between 0 and 1", _SHARE_MEND)]
    return np.array(given, dtype=np.float64), []


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and 0 < float(value) < 1


def _arm_faults(trial: Trial, strata: np.ndarray, named: bool) -> list[Fault]:
    """Strata with one arm, arms that do not fit the stated share, and arms too small to learn from."""
    faults = []
    n_in = np.bincount(trial.stratum, minlength=len(strata))
    n_treated = sums_by(trial.stratum, trial.treated)
    for number, name in enumerate(strata):
        place = f"stratum {name}: " if named else ""
        if n_treated[number] in (0, n_in[number]):
            arm = "offered" if n_treated[number] else "not offered"
            wrong = f"{place}all {n_in[number]} rows were {arm} the help, so there is nobody to compare with"
            mend = "Leave the stratum out, or join it to one drawn alike" if named else "Give the rows of both arms"
            faults.append(Fault("trial.treated", wrong, mend))
            continue
        here = trial.stratum == number
        surplus = sums_by(trial.person[here], trial.treated[here] - trial.share[here])
        if abs(surplus.sum()) > _UNBELIEVABLE * np.sqrt((surplus**2).sum()):
            stated = trial.share[here][0]
            wrong = f"{place}{stated:.3g} is stated, yet {n_treated[number] / n_in[number]:.3g} of the rows are treated"
            mend = "State the share of the plan, give the strata of the draw, or find why rows are missing"
            faults.append(Fault("trial.share", wrong, mend))
    if faults:
        return faults
    if len(np.unique(trial.outcome)) < 2:
        wrong = f"is the same in all {len(trial)} rows, so there is nothing to learn"
        return [Fault("trial.outcome", wrong, "Give rows of people with the outcome and without")]
    faults += _imbalances(trial)
    for drawn, which in ((True, "offered"), (False, "not offered")):
        n_persons = len(np.unique(trial.person[trial.treated == drawn]))
        if n_persons < FEWEST_PERSONS:
            wrong = f"{n_persons} persons were {which} the help"
            faults.append(Fault("trial", wrong, f"Learning uplift takes at least {FEWEST_PERSONS} in each arm"))
    return faults


def _imbalances(trial: Trial) -> list[Fault]:
    """Columns by which the arms differ more than any draw would make them: then nobody drew, or it was not kept.

    Each column by its rank, and by whether it is missing, so that one large value decides nothing.
    """
    residual = trial.treated - trial.share
    worst: list[tuple[float, int]] = []
    for column in range(trial.X.shape[1]):
        values = trial.X[:, column]
        missing = np.isnan(values)
        rank = np.where(missing, 0.0, rankdata(np.where(missing, 0.0, values)))
        for score in (rank, missing.astype(np.float64)):
            within = score - (sums_by(trial.stratum, score) / np.bincount(trial.stratum))[trial.stratum]
            sums = sums_by(trial.person, residual * within)
            spread = float(np.sqrt((sums**2).sum()))
            if spread and abs(float(sums.sum())) > _UNBELIEVABLE * spread:
                worst.append((-abs(float(sums.sum())) / spread, column))
    if not worst:
        return []
    z, column = min(worst)
    wrong = (
        f"differs between the arms by {-z:.0f} standard errors: the help was not drawn by lot, or the column was "
        "written down after it"
    )
    mend = "Give the strata of the draw, leave out what came after it, or do not call it a trial"
    return [Fault(f"trial.X: column {column + 1}", wrong, mend)]


def _and_more(values: list[Any]) -> str:
    return f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
