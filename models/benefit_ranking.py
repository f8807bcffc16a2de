"""Expected events avoided per person and per minute of work, and the order of a list by it.

Of one attempt to reach a person::

    events avoided = P(outcome) − P(outcome with the action)        of those eligible without contra-indication
                     × P(the attempt succeeds)

The source's ratio is taken to hold at each person's own risk and over the need's horizon; that is the one assumption,
and what an attestation has to vouch for. The interval is that of the effect alone: the risk is taken as given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from models.benefit import Condition, Effect, EffectSize, column_faults, effect_not_shown, effects_without_minutes
from models.metrics import Estimate

Floats = NDArray[np.float64]
ELIGIBLE, NOT_KNOWN, NOT_ELIGIBLE, CONTRA_INDICATED = range(4)
STATUS = ("eligible", "not known", "not eligible", "contra-indicated")
"""What ``ExpectedBenefit.status`` numbers mean."""
_YES, _NO, _UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class ExpectedBenefit:
    """Expected events avoided by one attempt at each person, through one effect.

    Attributes
    ----------
    effect : Effect
    status : int8 (n,)
        Place in :data:`STATUS`.
    avoided, low, high : float64 (n,)
        Events avoided, with the effect's 95 % interval. 0 for those not eligible or contra-indicated; NaN where it is
        not known who is eligible: what is not known is not claimed.
    if_eligible : float64 (n,)
        Events avoided if those of whom it is not known turned out eligible: what finding out may be worth.
    missing : tuple of (str, bool (n,))
        Each column that leaves it open, and for whom.
    """

    effect: Effect
    status: NDArray[np.int8]
    avoided: Floats
    low: Floats
    high: Floats
    if_eligible: Floats
    missing: tuple[tuple[str, NDArray[np.bool_]], ...]

    def total(self, rows: np.ndarray) -> Estimate:
        """Events avoided over some rows (indices or bool); those not known add nothing.

        All rows share the one effect, so its error does not average out: the ends are sums of the ends.
        """
        return Estimate(*(float(np.nansum(part[rows])) for part in (self.avoided, self.low, self.high)))

    def attempts_per_event(self, rows: np.ndarray) -> Estimate:
        """Attempts at these rows per event avoided, all attempts counted (NaN for none avoided)."""
        n = len(self.avoided[rows])
        value, low, high = (n / events if events else np.nan for events in self.total(rows))
        return Estimate(value, high, low)


@dataclass(frozen=True)
class BenefitOrder:
    """People in the order in which an hour of work avoids most.

    Attributes
    ----------
    rows : int64 (m,)
        The eligible by benefit per minute, then those of whom it is not known, by what finding out may be worth.
        Nobody not eligible or contra-indicated.
    n_eligible : int
        How many of ``rows`` are eligible.
    effect : int64 (n,)
        Per person the effect of greatest benefit per minute, as a place in ``benefits``; -1 for none.
    per_minute : float64 (n,)
        Events avoided per minute of work; NaN where not known, 0 where there is none.
    """

    benefits: tuple[ExpectedBenefit, ...]
    rows: NDArray[np.int64]
    n_eligible: int
    effect: NDArray[np.int64]
    per_minute: Floats

    def total(self, rows: np.ndarray) -> Estimate:
        """Events avoided over some rows, each by its own effect; several effects are taken to err the same way."""
        parts = [
            benefit.total(np.intersect1d(rows, np.flatnonzero(self.effect == i)))
            for i, benefit in enumerate(self.benefits)
        ]
        return Estimate(*(float(sum(ends)) for ends in zip(*parts, strict=True)))


@dataclass(frozen=True)
class ListComparison:
    """The first k by risk and the first k by benefit."""

    k: int
    overlap_share: float
    avoided_by_risk: Estimate
    avoided_by_benefit: Estimate


def expected_benefit(
    probability: np.ndarray,
    effect: Effect,
    *,
    columns: Mapping[str, np.ndarray],
    contact_success: float | np.ndarray,
) -> ExpectedBenefit:
    """Expected events avoided by one attempt at each person.

    Parameters
    ----------
    probability : (n,) in [0, 1]
        Calibrated, of the outcome that the effect is on (:func:`models.benefit.benefit_grounds` compares them).
    effect : Effect
    columns : mapping of column name to (n,)
        Those that the effect's conditions look at; NaN is an empty cell.
    contact_success : number or (n,) in [0, 1]
        Probability that an attempt reaches the person.

    Raises
    ------
    BadInput
        Columns that are missing or of another length; numbers that are not probabilities; an effect whose interval
        reaches 1.
    """
    risk, reached = np.asarray(probability, np.float64), np.asarray(contact_success, np.float64)
    faults = column_faults(effect, columns, "benefit")
    faults += [fault for fault in [effect_not_shown(effect, f"benefit: {effect.id}")] if fault]
    for name, values in (("probability", risk), ("contact_success", reached)):
        if n_wrong := int((~((values >= 0) & (values <= 1))).sum()):
            wrong = f"{n_wrong} of {values.size} values are not between 0 and 1"
            faults.append(Fault(f"benefit: {name}", wrong, "Give calibrated probabilities"))
    conditions = (*effect.eligible, *effect.contra_indications)
    shapes = {c.column: np.shape(columns[c.column]) for c in conditions if c.column in columns}
    shapes |= {"contact_success": reached.shape} if reached.ndim else {}
    for name, shape in shapes.items():
        if shape != risk.shape:
            wrong = f"has shape {shape}, and probability {risk.shape}"
            faults.append(Fault(f"benefit: {name}", wrong, "Give one value per person, in the same order"))
    if faults:
        raise BadInput(*faults)
    status, missing = _status(effect, columns, len(risk))
    # The larger the ratio, the less is avoided: the ends change places.
    value, low, high = (
        reached * (risk - _with_action(risk, effect.size, ratio))
        for ratio in (effect.size.value, effect.size.high, effect.size.low)
    )
    counted = np.select([status == ELIGIBLE, status == NOT_KNOWN], [1.0, np.nan], 0.0)
    possible = np.where(status <= NOT_KNOWN, value, 0.0)
    return ExpectedBenefit(effect, status, counted * value, counted * low, counted * high, possible, missing)


def rank_by_benefit(benefits: Sequence[ExpectedBenefit], tie_keys: Sequence[str]) -> BenefitOrder:
    """Order people by benefit per minute of work, each by the action that serves them best: one row per person.

    Parameters
    ----------
    benefits : sequence of ExpectedBenefit
        Of the same people, in the same order, on the same outcome.
    tie_keys : (n,)
        See :func:`models.ties.tie_keys`.

    Raises
    ------
    BadInput
        An effect without minutes; effects on different outcomes, whose events cannot be added; other people.
    """
    faults = effects_without_minutes([benefit.effect for benefit in benefits])
    if not benefits:
        faults.append(Fault("benefit", "nothing to rank by", "Give at least one expected benefit"))
    if len({frozenset(benefit.effect.label_codes) for benefit in benefits}) > 1:
        names = ", ".join(benefit.effect.id for benefit in benefits)
        faults.append(Fault("benefit", f"{names} are effects on different outcomes", "Rank by effects on one outcome"))
    if any(len(benefit.avoided) != len(tie_keys) for benefit in benefits):
        sizes = ", ".join(str(len(benefit.avoided)) for benefit in benefits)
        faults.append(Fault("benefit", f"of {sizes} people, and {len(tie_keys)} tie keys", "Give the same people"))
    if faults:
        raise BadInput(*faults)
    minutes = np.array([benefit.effect.minutes_per_attempt for benefit in benefits], dtype=np.float64)[:, None]
    known = np.array([np.where(b.status == ELIGIBLE, b.avoided, -1.0) for b in benefits]) / minutes
    possible = np.array([np.where(b.status == NOT_KNOWN, b.if_eligible, -1.0) for b in benefits]) / minutes
    eligible, open_ = known.max(axis=0) >= 0, possible.max(axis=0) >= 0
    best = np.where(eligible, known.argmax(axis=0), np.where(open_, possible.argmax(axis=0), -1))
    per_minute = np.where(eligible, known.max(axis=0), np.where(open_, np.nan, 0.0))
    value = np.where(eligible, known.max(axis=0), possible.max(axis=0))
    # Eligible people before the others, then the greater value, then the neutral key.
    order = np.lexsort((np.asarray(tie_keys), -value, ~eligible))
    rows = order[(eligible | open_)[order]].astype(np.int64)
    return BenefitOrder(tuple(benefits), rows, int(eligible.sum()), best.astype(np.int64), per_minute)


def compare_with_risk(probability: np.ndarray, order: BenefitOrder, k: int, tie_keys: Sequence[str]) -> ListComparison:
    """What a list of k people by benefit avoids beside one by risk, and how far they are the same people."""
    by_risk = np.lexsort((np.asarray(tie_keys), -np.asarray(probability, np.float64)))[:k]
    by_benefit = order.rows[:k]
    shared = len(np.intersect1d(by_risk, by_benefit))
    return ListComparison(k, shared / max(1, len(by_risk)), order.total(by_risk), order.total(by_benefit))


def _with_action(risk: Floats, size: EffectSize, ratio: float) -> Floats:
    """Probability of the outcome with the action, from that without and a ratio."""
    if size.measure == "odds_ratio":
        return ratio * risk / (1 - risk + ratio * risk)
    if size.measure == "hazard_ratio":
        return np.asarray(1 - (1 - risk) ** ratio, dtype=np.float64)
    return np.minimum(1.0, ratio * risk)


def _holds(condition: Condition, values: np.ndarray) -> NDArray[np.int8]:
    """1 where a condition holds, 0 where not, -1 where nobody knows."""
    cells = np.asarray(values, np.float64)
    low = -np.inf if condition.at_least is None else condition.at_least
    high = np.inf if condition.at_most is None else condition.at_most
    empty = {"unknown": _UNKNOWN, "yes": _YES, "no": _NO}[condition.missing]
    return np.where(np.isnan(cells), empty, (cells >= low) & (cells <= high)).astype(np.int8)


def _status(
    effect: Effect, columns: Mapping[str, np.ndarray], n: int
) -> tuple[NDArray[np.int8], tuple[tuple[str, NDArray[np.bool_]], ...]]:
    """Per person the status, and per column for whom it leaves the status open."""
    wanted = [(c.column, _holds(c, columns[c.column])) for c in effect.eligible]
    barred = [(c.column, _holds(c, columns[c.column])) for c in effect.contra_indications]
    contra = np.zeros(n, bool)
    for _, holds in barred:
        contra |= holds == _YES
    outside = np.zeros(n, bool)
    for _, holds in wanted:
        outside |= holds == _NO
    open_ = np.zeros(n, bool)
    for _, holds in (*wanted, *barred):
        open_ |= holds == _UNKNOWN
    cases = [(contra, CONTRA_INDICATED), (outside, NOT_ELIGIBLE), (open_, NOT_KNOWN)]
    status = np.select([where for where, _ in cases], [number for _, number in cases], ELIGIBLE).astype(np.int8)
    missing = tuple(
        (column, (holds == _UNKNOWN) & (status == NOT_KNOWN))
        for column, holds in (*wanted, *barred)
        if ((holds == _UNKNOWN) & (status == NOT_KNOWN)).any()
    )
    return status, missing
