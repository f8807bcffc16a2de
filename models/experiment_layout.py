"""What an experiment is laid out on: the split, one matrix of all its dates, who was lost on the way, and weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault, did_you_mean
from features.attributes import attribute_history, attributes_of
from features.attrition import after_label, attrition_of_keys
from features.cohort import as_of_dates, cohort_with_attrition
from features.matrix import Matrix, build_matrix
from models.contacted_rows import ContactWeights, contact_days, heed_contacts, weigh_contacts
from models.splits import Origin, Split, is_test_person, places_for, split_periods

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister
    from features.city import City
    from models.need import Need

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """The rows of an experiment, and which of them serve for what.

    Attributes
    ----------
    city : City
    need : Need
    split : Split
    matrix : Matrix
        Every row of every date that teaches or is tested.
    seed : int
    attrition : pl.DataFrame
        ``part`` (train, test), then the columns of :data:`features.attrition.STEPS`.
    held_out : bool (n,) or None
        Rows of persons who are tested and teach nothing; None unless the split is of persons.
    contact_days : float64 (n,) or None
        Days from the as-of date to the person's first contact; None: none is known, or the label ignores them.
    contacted : bool (n,) or None
        Rows whose label is not known because of a contact.
    """

    city: City
    need: Need
    split: Split
    matrix: Matrix
    seed: int
    attrition: pl.DataFrame
    held_out: Bools | None = None
    contact_days: Floats | None = None
    contacted: Bools | None = None

    @cached_property
    def k(self) -> int:
        """Places of a tested period: the capacity, or in a split of persons the share of it of those held out."""
        k, people = self.need.listed_k, self.matrix.keys["person_id"]
        if self.held_out is None:
            return k
        return places_for(k, people.filter(pl.Series(self.held_out)).n_unique(), people.n_unique())

    @cached_property
    def days(self) -> NDArray[np.datetime64]:
        """As-of date of each row: datetime64[D] (n,)."""
        days: NDArray[np.datetime64] = self.matrix.keys["as_of_date"].to_numpy()
        return days

    def taught(self, origin: Origin) -> Bools:
        """Rows an origin's model learns from: bool (n,)."""
        rows = self._on(origin.train_dates)
        return rows if self.held_out is None else rows & ~self.held_out

    def tested(self, dates: Sequence[date]) -> Bools:
        """Rows that are tested on some dates: bool (n,)."""
        rows = self._on(dates)
        return rows if self.held_out is None else rows & self.held_out

    @cached_property
    def judged(self) -> Bools:
        """The latest row of each person on the judged dates: bool (n,)."""
        last = (
            self.matrix.keys.with_row_index("row")
            .filter(pl.Series(self.tested(self.split.judged_dates)))
            .sort("as_of_date", maintain_order=True)
            .group_by("person_id", maintain_order=True)
            .agg(pl.col("row").last())["row"]
            .to_numpy()
        )
        chosen = np.zeros(len(self.days), dtype=np.bool_)
        chosen[last] = True
        return chosen

    def weights(self, rows: Bools) -> NDArray[np.float64] | None:
        """Inverse-probability weights of some rows, from these rows alone: float64; None unless the label asks."""
        return self.weighed(rows).weight

    def weighed(self, rows: Bools) -> ContactWeights:
        """The same, and whether those who were not contacted can stand for those who were."""
        label = self.need.label
        if label is None or (label.censoring != "ipcw" and self.contacted is None):
            return ContactWeights(None, float("nan"), False)
        contacted = None if self.contacted is None else self.contacted[rows]
        return weigh_contacts(self.matrix.rows(rows), label, contacted, self.seed)

    @cached_property
    def contact_facts(self) -> dict[str, Any] | None:
        """What contacts made unknown, and whether the others weigh for them; None where no contact is known.

        ``asked`` and ``used`` (``censor``, ``ipw``), ``train_rows`` and ``judged_rows`` (whose label is not known for a
        contact), ``represented`` (see :class:`models.contacted_rows.ContactWeights`; None unless asked for).
        """
        if self.contacted is None or self.need.label is None:
            return None
        asked, taught = self.need.label.contacted, self.taught(self.split.candidate)
        parts = {"train": taught, "judged": self.judged}
        facts: dict[str, Any] = {"asked": asked, "used": "censor", "represented": None}
        facts |= {f"{part}_rows": int(self.contacted[rows].sum()) for part, rows in parts.items()}
        if asked == "ipw" and facts["train_rows"]:
            weighed = self.weighed(taught)
            facts |= {"used": "censor" if weighed.is_fallback else "ipw", "represented": weighed.represented}
        return facts

    def with_label(self, need: Need, matrix: Matrix) -> Layout:
        """The layout of a need with another label, whose matrix knows nothing of contacts yet."""
        contacted = None
        if self.contact_days is not None and need.label is not None:
            matrix, contacted = heed_contacts(matrix, need.label, self.contact_days)
        return replace(self, need=need, matrix=matrix, contacted=contacted)

    @cached_property
    def test_weights(self) -> NDArray[np.float64] | None:
        """Weights for measuring, from all tested rows together: float64 (n,), NaN elsewhere."""
        rows = self.tested(self.split.test_dates)
        found = self.weights(rows)
        if found is None:
            return None
        weights = np.full(len(rows), np.nan)
        weights[rows] = found
        return weights

    def _on(self, dates: Sequence[date]) -> Bools:
        return np.isin(self.days, np.array(dates, dtype="datetime64[D]"))


def lay_out(
    city: City,
    need: Need,
    objections: ObjectionRegister,
    seed: int,
    step: Callable[..., None],
    contacted: pl.DataFrame | None = None,
) -> Layout:
    """Split a need's dates and build the matrix of those that serve for something.

    Parameters
    ----------
    city : City
    need : Need
    objections : ObjectionRegister
    seed : int
    step : callable
        Told what is being done.
    contacted : polars.DataFrame, optional
        Whom the service has been in contact with: ``person_id``, ``at``, ``outcome``
        (:func:`models.contacted_rows.contact_days`).

    Raises
    ------
    BadInput
        Nothing mature, an empty cohort, a label that never occurs or does not vary among the judged, everyone
        objected, an attribute to hold out that the city does not have: each says what to do.
    """
    _refuse_hold_out(city, need)
    period_days = need.cohort.as_of.period_days if need.cohort.as_of else None
    split = split_periods(
        as_of_dates(city, need.cohort), need.label, city.extract_date, need.splits, period_days=period_days
    )
    step(f"{need.id}: building features")
    keys, steps = _cohorts(city, need, split)
    matrix = build_matrix(
        city,
        need.features,
        keys,
        objections=objections,
        need_id=need.id,
        label=need.label,
        indicators=need.indicators,
    )
    held_out = is_test_person(matrix.keys["person_id"].to_list(), seed) if split.kind == "person" else None
    days = contact_rows = None
    if contacted is not None and need.label is not None and need.label.contacted != "ignore":
        days = contact_days(matrix.keys, contacted)
        matrix, contact_rows = heed_contacts(matrix, need.label, days)
    attrition = _attrition(need, matrix, steps, held_out, contact_rows)
    laid = Layout(city, need, split, matrix, seed, attrition, held_out, days, contact_rows)
    _refuse_unjudgeable(laid)
    return laid


def _refuse_hold_out(city: City, need: Need) -> None:
    attribute = need.splits.hold_out if need.splits else None
    if attribute is not None and attribute_history(city, attribute) is None:
        wrong = f"'{attribute}' is neither a fixed column of persons nor in history"
        raise BadInput(Fault("splits.hold_out", wrong, did_you_mean(attribute, attributes_of(city))))


_Parts = dict[str, tuple[pl.DataFrame, pl.DataFrame]]


def _cohorts(city: City, need: Need, split: Split) -> tuple[pl.DataFrame, _Parts]:
    """Keys of every date that serves for something; and of each part its keys with the steps that left them."""
    parts = {"train": split.train_dates, "test": split.test_dates}
    steps = {
        part: cohort_with_attrition(city, need.cohort, dates, label=need.label)
        for part, dates in parts.items()
        if dates
    }
    frames = [keys for keys, _ in steps.values()]
    rest = {day for origin in split.origins for day in origin.train_dates}.difference(*parts.values())
    if rest:  # later origins learn from dates that the candidate could not
        frames.append(cohort_with_attrition(city, need.cohort, sorted(rest), label=need.label)[0])
    return pl.concat(frames).unique(maintain_order=True), steps


_BY_PERSON = {"train": "persons learnt from, drawn by the seed", "test": "persons held out for testing"}


_CONTACTED = "those whom the service did not contact before the outcome was decided"


def _attrition(
    need: Need, matrix: Matrix, parts: _Parts, held_out: Bools | None, contacted: Bools | None
) -> pl.DataFrame:
    """Steps of each part from everyone to the rows whose outcome is known."""
    kept = matrix.keys.with_row_index("row")
    person = matrix.keys["person_id"].rank("dense").to_numpy().astype(np.uint32)
    tables = []
    for part, (keys, steps) in parts.items():
        rows = kept.join(keys, on=["person_id", "as_of_date"], how="semi")["row"].to_numpy()
        table = attrition_of_keys(steps, keys.height, keys["person_id"].n_unique())
        table = table.then("objection", "does not object to the need", rows.size, np.unique(person[rows]).size)
        if held_out is not None:
            rows = rows[held_out[rows] == (part == "test")]
            table = table.then("held out", _BY_PERSON[part], rows.size, np.unique(person[rows]).size)
        if need.label is not None and matrix.followed_days is not None and matrix.censored is not None:
            mature = np.isfinite(matrix.followed_days[rows])
            table = after_label(table, need.label, person[rows], mature, matrix.censored[rows])
            if contacted is not None:
                left = matrix.censored[rows] & (need.label.censoring != "negative")
                known = person[rows[mature & ~left & ~contacted[rows]]]
                table = table.then("contacted", _CONTACTED, known.size, np.unique(known).size)
        tables.append(table.steps.select(pl.lit(part).alias("part"), pl.all()))
    return pl.concat(tables)


def _refuse_unjudgeable(laid: Layout) -> None:
    """Refuse judged rows on which nothing can be measured, before anything is trained."""
    y, dates = laid.matrix.y, laid.split.judged_dates
    span = str(dates[0]) if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    if not laid.judged.any():
        raise BadInput(Fault("splits", f"nobody is left to be judged on {span}", "Widen the cohort"))
    if y is None or laid.need.kind == "rule":
        return
    known = y[laid.judged]
    known = known[np.isfinite(known)]
    in_need = int(known.sum())
    if not 0 < in_need < known.size:
        wrong = f"{in_need} of the {known.size} judged rows ({span}) with a known outcome are in need: one class only"
        raise BadInput(Fault("label", wrong, "Widen the cohort, judge other dates, or change what the label counts"))
