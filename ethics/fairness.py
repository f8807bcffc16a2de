"""Group measures at the outreach cut, with intervals; the only user of fairlearn.

Rows are counted into cells once (:mod:`ethics.cells`); fairlearn's ``MetricFrame`` measures the weighted cells, which
gives to the last digit what it gives on rows; intervals come from a bootstrap of the cells that cuts again at k and k*
in every replicate (:mod:`ethics.resampling`). Everything in a :class:`FairnessTable` is a function of cells, cuts,
thresholds, seed and replicates, so an auditor can compute it again from the file of cells.

Every interval's bounds hold with 95 % each (it is the 5 %–95 % interval): the same bounds that the gate decides by.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ethics.cells import (
    DESIGN_EFFECT,
    INDICATOR,
    Coded,
    Cuts,
    Rows,
    audit_cut,
    bins_of_ranks,
    blocks_of,
    cells_as_bytes,
    count_cells,
    rank_order,
)
from ethics.crossings import POOLED, all_crossings, count_crossings, crossable, crossed_groups, in_crossing, left_out
from ethics.digests import sha256
from ethics.fairness_input import checked_columns
from ethics.group_measures import (
    ABOVE_AUDIT,
    AT_AUDIT,
    AT_K,
    BELOW_AUDIT,
    EVERYONE,
    NO_CUT,
    SHRUNK,
    Estimate,
    GroupMeasures,
    Thresholds,
)
from ethics.households import DesignEffects, design_effects_of, with_design_effects
from ethics.power import POOLED_AT_MOST, power
from ethics.refusals import BadInput, Fault
from ethics.resampling import Replicate
from ethics.unlabelled_groups import unlabelled_cells, unlabelled_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl


__all__ = [
    "ABOVE_AUDIT",
    "AT_AUDIT",
    "AT_K",
    "BELOW_AUDIT",
    "EVERYONE",
    "KNOWN",
    "NOT_KNOWN",
    "NO_CUT",
    "POOLED",
    "SHRUNK",
    "Cuts",
    "Estimate",
    "FairnessTable",
    "Thresholds",
    "audit_cut",
    "measure",
    "tabulate",
]

KNOWN, NOT_KNOWN = "known", "not known"
_NOTHING = Estimate(np.nan, np.nan, np.nan, np.nan, 0, 0)

Work = TypeVar("Work")


@dataclass(frozen=True)
class FairnessTable:
    """Measure × group × {value, low, high, n}, and what the sample could have shown.

    ``table`` has one row per ``attribute``, ``group``, ``cut``, ``measure``; ``groups`` one per group with its sizes,
    whether it can be tested (``testable``) and its power: the smallest gap it would have shown, how often a fair world
    shows it fair, how many times as many people would (``periods_to_pool``, null beyond 100), and whether it is too
    small ever to be tested at this city's size (``never_testable``). The group "all" of the attribute "all" is
    everyone. Nothing is withheld here: this table is the auditor's; pages withhold small cells when they are rendered.

    ``crossings`` has one row per crossed group ("sex × language_group", "f × fi") with its sizes and ``kind``:
    "tested"; "small", which is only listed; "pooled", the people of all small ones of that crossing, listed or not.
    Their estimates are in ``table`` like those of groups, and once more, partially pooled, under names that end in
    ``SHRUNK``. ``crossings_left_out`` names the crossings of which nothing was counted.

    ``households`` says whether it is known who lives with whom; where it is "not known", ``design_effect`` 1 is an
    assumption and not a finding. Intervals of a group use its own, in ``groups`` and ``crossings``, which is no less.
    """

    table: pl.DataFrame
    groups: pl.DataFrame
    crossings: pl.DataFrame
    cells: pl.DataFrame = field(repr=False)
    cuts: Cuts
    thresholds: Thresholds
    indicators: tuple[str, ...]
    n: int
    seed: int
    replicates: int
    design_effect: float
    fixed: bool
    has_label: bool
    has_probability: bool
    fair_worlds_pass: float
    households: str = NOT_KNOWN

    @cached_property
    def _worked_out(self) -> dict[Hashable, Any]:
        return {}

    def once(self, key: Hashable, work: Callable[[], Work]) -> Work:
        """What somebody works out of this table and of what the key names, and of nothing else: worked out once.

        A table never changes, and withholding and attacking its figures takes longer than measuring it.
        """
        if key not in self._worked_out:
            self._worked_out[key] = work()
        found: Work = self._worked_out[key]
        return found

    @cached_property
    def _index(self) -> dict[tuple[str, str, str, str], Estimate]:
        return {
            (attribute, group, measure, cut): Estimate(*numbers)
            for attribute, group, cut, measure, *numbers in self.table.rows()
        }

    @cached_property
    def _effects(self) -> dict[tuple[str, str], float]:
        return {
            (attribute, group): effect
            for frame in (self.groups, self.crossings)
            for attribute, group, effect in frame.select("attribute", "group", DESIGN_EFFECT).iter_rows()
        }

    def design_effect_in(self, attribute: str, group: str) -> float:
        """The design effect that a group's intervals are widened by."""
        return self._effects.get((attribute, group)) or self.design_effect

    def get(self, attribute: str, group: str, measure: str, cut: str = NO_CUT) -> Estimate:
        """One estimate; all NaN where it was not measured."""
        return self._index.get((attribute, group, measure, cut), _NOTHING)

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes measured, in the order given."""
        return tuple(self.groups["attribute"].unique(maintain_order=True).to_list())

    @property
    def crossings_left_out(self) -> tuple[str, ...]:
        """Pairs of attributes, or all together, that were not counted: too many groups, or not asked for."""
        groups = {name: self.groups.filter(attribute=name)["group"].to_list() for name in self.attributes}
        return left_out(crossable(groups), self.crossings["attribute"].unique().to_list())

    @cached_property
    def unlabelled(self) -> tuple[tuple[str, str], ...]:
        """Attribute and group of every group of whose people no label is known, so that nothing of it was measured."""
        return unlabelled_of(self.cells)

    @cached_property
    def cells_bytes(self) -> bytes:
        """The file of cells that travels with the verdict."""
        return cells_as_bytes(self.cells)

    @property
    def cells_digest(self) -> str:
        """SHA-256 of :attr:`cells_bytes`."""
        return sha256(self.cells_bytes)


def measure(
    *,
    label: npt.ArrayLike | None,
    groups: Mapping[str, npt.ArrayLike],
    score: npt.ArrayLike | None = None,
    selected: npt.ArrayLike | None = None,
    probability: npt.ArrayLike | None = None,
    indicators: Mapping[str, npt.ArrayLike] | None = None,
    cuts: Cuts | None = None,
    tie_key: Sequence[Any] | npt.ArrayLike | None = None,
    seed: int = 0,
    replicates: int = 1000,
    thresholds: Thresholds | None = None,
    design_effect: float = 1.0,
    households: npt.ArrayLike | None = None,
    crossings: Sequence[tuple[str, ...]] | None = None,
    tabulated: Callable[..., FairnessTable] | None = None,
) -> FairnessTable:
    """Measure how a ranking, or a selection already made, treats each group.

    Parameters
    ----------
    label : float (n,) or None
        1 = the need appeared, 0 = it did not, NaN = not known (left out, after the ranking is cut). None or all NaN:
        only selection rates can be measured. A group of which no label is known is in ``unlabelled``.
    groups : mapping of attribute to (n,)
        Missing values become the group "unknown", which is always reported.
    score : float (n,)
        Higher first. Needs ``cuts``. Ties are broken by ``tie_key``; without one, by row order.
    selected : bool (n,)
        Instead of a score: a selection somebody has already made.
    probability : float (n,), optional
        Calibrated probabilities, for observed ÷ expected.
    indicators : mapping of name to bool (n,)
        Independent signs of need, for need at the same score.
    design_effect : float
        Clusters widen intervals by its square root.
    households : (n,), optional
        Who lives with whom (null: alone). The design effect is then measured from household sums, and is the larger
        of it and ``design_effect``.
    crossings : sequence of tuples of attributes, optional
        Which attributes are put together; without it every pair and all, of those with two groups of people known.
        Nothing is crossed without a label.
    tabulated : callable, optional
        In place of :func:`tabulate`, e.g. :func:`ethics.judged_table.tabulated_once`.

    Raises
    ------
    BadInput
        Neither or both of ``score`` and ``selected``; lengths that differ; a label other than 0, 1 or NaN.

    Examples
    --------
    >>> sex = ["f", "f", "m", "m"]
    >>> table = measure(label=[1, 0, 1, 1], groups={"sex": sex}, selected=[True, False, True, False])
    >>> table.get("sex", "m", "recall", "k").value
    0.5
    """
    columns = checked_columns(label, groups, score, selected, probability, indicators, cuts)
    n = columns.n
    if score is not None:
        assert cuts is not None
        order = rank_order(score, tie_key)
        bins = bins_of_ranks(n, cuts)
    else:
        taken = np.asarray(selected, dtype=bool)
        order = np.argsort(~taken, kind="stable")
        bins = (~taken[order]).astype(np.int64)
        cuts = Cuts(max(1, int(taken.sum())), max(1, int(taken.sum())))
    y = None if columns.label is None else columns.label[order]
    known = np.ones(n, dtype=bool) if y is None else np.isfinite(y)
    # The same people stay selected when a row whose label nobody knows leaves, so the cuts move with the rows.
    above = [int(known[: min(cut, n)].sum()) for cut in (cuts.k, cuts.k_audit)]
    everyone = bool(known.all())
    kept = order if everyone else order[known]
    if not everyone:
        bins, y = bins[known], None if y is None else y[known]
    members = columns.coded(groups, kept)
    if households is not None:
        if len(np.asarray(households)) != n:
            wrong = f"has {len(np.asarray(households))} rows where the scores have {n}"
            raise BadInput(Fault("households", wrong, "Give one value per row"))
        rank = np.empty(n, dtype=np.int64)
        rank[order] = np.arange(n)
        effects = design_effects_of(
            households,
            columns.coded(groups, np.arange(n)),
            least=design_effect,
            label=columns.label,
            selected=rank < cuts.k_audit,
            probability=columns.probability,
            indicators=columns.indicators,
            rank=rank,
        )
    else:
        of_all = {name: {in_crossing(group): design_effect for group in of.names} for name, of in members.items()}
        effects = DesignEffects(design_effect, of_all)
    limits = thresholds or Thresholds()
    rows = Rows.of(
        bins if everyone or score is None else _closed_up(bins),
        y,
        None if columns.probability is None else columns.probability[kept],
        {name: hit[kept] for name, hit in columns.indicators.items()},
        k=above[0],
        has_rank=score is not None,
    )
    cells = _counted(
        rows,
        members,
        Cuts(max(1, above[0]), max(1, above[1])),
        all_crossings(crossable({name: of.names for name, of in members.items()})) if crossings is None else crossings,
        limits,
        effects=effects,
        fixed=selected is not None,
    )
    table = (tabulated or tabulate)(
        cells,
        Cuts(max(1, above[0]), max(1, above[1])),
        seed=seed,
        replicates=replicates,
        thresholds=limits,
        design_effect=effects.everyone,
        fixed=selected is not None,
    )
    said = NOT_KNOWN if households is None else KNOWN
    return table if table.households == said else replace(table, households=said)


def _counted(
    rows: Rows,
    groups: Mapping[str, Coded],
    cuts: Cuts,
    crossings: Sequence[tuple[str, ...]],
    thresholds: Thresholds,
    *,
    effects: DesignEffects,
    fixed: bool,
) -> pl.DataFrame:
    """The cells of every attribute, and of crossings where there is a label."""
    import polars as pl

    cells = count_cells(rows, groups)
    unlabelled = unlabelled_cells(rows, groups)
    if unlabelled.height:
        cells = pl.concat([cells, unlabelled])
    if rows.label is None or not crossings:
        return with_design_effects(cells, effects)
    most = max(effect for by_group in effects.groups.values() for effect in by_group.values())
    crossed = count_crossings(
        rows,
        groups,
        crossings,
        cuts,
        min_expected=thresholds.min_expected,
        design_effect=most,
        fixed=fixed,
    )
    return with_design_effects(pl.concat([cells, *crossed]), effects)


def tabulate(
    cells: pl.DataFrame,
    cuts: Cuts,
    *,
    seed: int,
    replicates: int,
    thresholds: Thresholds,
    design_effect: float = 1.0,
    fixed: bool = False,
) -> FairnessTable:
    """The fairness table of a file of cells: what an auditor runs to compute a verdict's numbers again."""
    import polars as pl

    indicators = tuple(name.removeprefix(INDICATOR) for name in cells.columns if name.startswith(INDICATOR))
    has_label = cells["label"].null_count() == 0
    rows: list[tuple[Any, ...]] = []
    sizes: list[dict[str, object]] = []
    crossed: list[dict[str, object]] = []
    blocks = blocks_of(cells, indicators)
    n = int(blocks[0].count.sum())
    for position, block in enumerate(blocks):
        work = GroupMeasures(
            block,
            cuts,
            thresholds,
            design_effect=design_effect,
            fixed=fixed,
            has_label=has_label,
            n_replicates=replicates,
            seed=[seed, 1, position],
            measure_rates=_by_fairlearn,
        )
        rows += work.rows(indicators, with_everyone=position == 0)
        (crossed if work.crossed else sizes).extend(work.sizes())
    groups = pl.DataFrame(sizes)
    has_probability = blocks[0].expected is not None
    fair = 0.0
    recall = next((row[4] for row in rows if row[:4] == (EVERYONE, EVERYONE, AT_AUDIT, "recall")), 0.0)
    if has_label and recall > 0:
        codes = groups["attribute"].rle_id().to_numpy().astype(np.int64)
        shown = power(
            codes,
            groups["n"].to_numpy().astype(np.float64),
            np.maximum(groups["expected"].to_numpy(), 1e-9),
            groups["testable"].to_numpy(),
            recall=recall,
            cut_share=min(cuts.k_audit / n, 1.0),
            min_recall=thresholds.recall,
            max_oe=thresholds.oe,
            with_probability=has_probability,
            design_effect=groups[DESIGN_EFFECT].to_numpy(),
            seed=seed,
        )
        fair = shown.all_pass
        groups = groups.with_columns(
            detectable_recall_gap=pl.Series(shown.recall_gap),
            detectable_oe=pl.Series(shown.observed_to_expected),
            fair_pass_share=pl.Series(shown.fair_pass),
            periods_to_pool=pl.Series(shown.pool).fill_nan(None).cast(pl.Int64),
            never_testable=pl.col("expected") * POOLED_AT_MOST < thresholds.min_expected,
        )
    columns: list[tuple[str, Any]] = [(name, pl.String) for name in ("attribute", "group", "cut", "measure")]
    columns += [(name, pl.Float64) for name in ("value", "low", "high", "p_harm")]
    columns += [(name, pl.Int64) for name in ("n", "people")]
    return FairnessTable(
        table=pl.DataFrame(rows, schema=columns, orient="row"),
        groups=groups,
        crossings=crossed_groups(crossed, cells),
        cells=cells,
        cuts=cuts,
        thresholds=thresholds,
        indicators=indicators,
        n=n,
        seed=seed,
        replicates=replicates,
        design_effect=design_effect,
        fixed=fixed,
        has_label=has_label,
        has_probability=has_probability,
        fair_worlds_pass=fair,
    )


def _by_fairlearn(
    groups: Sequence[str], point: Replicate, cut: int, names: Sequence[str]
) -> dict[tuple[str, bool], dict[str, float]]:
    """Rates of every group, and of everyone under (all, True), by fairlearn on the weighted cells of one cut."""
    import pandas as pd
    from fairlearn.metrics import MetricFrame

    at = point.at[cut]
    n_groups = len(groups)
    weights = np.stack(
        [
            at.found[0],
            at.selected[0] - at.found[0],
            point.need[0] - at.found[0],
            point.persons[0] - at.selected[0] - (point.need[0] - at.found[0]),
        ]
    )
    weights = np.maximum(weights, 0.0)

    metrics = {name: _SHARES[name] for name in names}
    weight = pd.Series(weights.ravel())
    frame = MetricFrame(
        metrics=metrics,
        y_true=np.repeat([1, 0, 1, 0], n_groups),
        y_pred=np.repeat([1, 1, 0, 0], n_groups),
        sensitive_features=pd.Series(np.tile(np.arange(n_groups), 4), name="group"),
        sample_params={name: {"sample_weight": weight} for name in metrics},
    )
    found = {
        (groups[int(code)], False): {name: float(row[name]) for name in metrics}
        for code, row in frame.by_group.iterrows()
    }
    return found | {(EVERYONE, True): {name: float(frame.overall[name]) for name in metrics}}


def _share(y_true: Any, y_pred: Any, sample_weight: Any, *, of: Any, hits: Any) -> float:
    """The weighted share of ``hits`` among the people that ``of`` picks; NaN when there are none.

    fairlearn's own rates come from scikit-learn, which checks its input for a millisecond in each of a thousand calls;
    these give the same to the last digit (``tests/test_crossings.py`` compares them on rows).
    """
    y, taken, weight = np.asarray(y_true), np.asarray(y_pred), np.asarray(sample_weight)
    among = of(y, taken) * weight
    total = float(among.sum())
    return float((among * hits(y, taken)).sum()) / total if total else np.nan


_SHARES: dict[str, Any] = {
    "recall": partial(_share, of=lambda y, taken: y, hits=lambda y, taken: taken),
    "false_positive_rate": partial(_share, of=lambda y, taken: 1 - y, hits=lambda y, taken: taken),
    "false_negative_rate": partial(_share, of=lambda y, taken: y, hits=lambda y, taken: 1 - taken),
    "selection_rate": partial(_share, of=lambda y, taken: np.ones_like(y), hits=lambda y, taken: taken),
    "precision": partial(_share, of=lambda y, taken: taken, hits=lambda y, taken: y),
    "false_omission_rate": partial(_share, of=lambda y, taken: 1 - taken, hits=lambda y, taken: y),
}


def _closed_up(bins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sorted bin numbers without gaps: a bin whose people all left does not stay as an empty one."""
    return np.cumsum(np.diff(bins, prepend=bins[:1]) > 0).astype(np.int64)
