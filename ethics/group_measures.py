"""One attribute's groups: point estimates, replicates, and the rows of a fairness table made of both.

Rates themselves come from whoever measures them (:mod:`ethics.fairness`, which asks fairlearn).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ethics.cells import DESIGN_EFFECT, Block, Cuts
from ethics.crossings import POOLED, is_crossing, parts_of
from ethics.exposure import exposure
from ethics.group_calibration import WithBounds, calibration_error, calibration_line
from ethics.power import ONE_SIDED_95
from ethics.recall_parts import DRAWS, calibrated_recall
from ethics.resampling import Replicate, jeffreys, need_at_score, replicates, tally
from ethics.shrinkage import shrink, to_scale

if TYPE_CHECKING:
    from ethics.cells import Floats

Rates = Mapping[tuple[str, bool], Mapping[str, float]]
EVERYONE = "all"
AT_K, AT_AUDIT = "k", "k_audit"
BELOW_AUDIT, ABOVE_AUDIT, NO_CUT = "below_k_audit", "above_k_audit", "none"
SHRUNK = "_shrunk"
"""What the name of a shrunk measure of a crossing ends in; the raw one goes without."""
RATES = ("recall", "false_positive_rate", "false_negative_rate", "selection_rate", "precision", "false_omission_rate")
CROSSED_RATES = ("recall", "selection_rate")
_DUST = 1e-6  # of a person


@dataclass(frozen=True)
class Thresholds:
    """The numbers that a probability of harm is taken against; the policy signs them (``Policy.thresholds``)."""

    recall: float = 0.80
    oe: float = 1.25
    need: float = 1.25
    alarm: float = 0.95
    min_expected: int = 30


class Estimate(NamedTuple):
    """A value, the bounds that hold with 95 % each, the probability of harm beyond the threshold, and on how many.

    ``n`` is the denominator in persons, ``people`` the numerator, where the measure is a share of persons.
    """

    value: float
    low: float
    high: float
    p_harm: float
    n: int
    people: int


def wilson(hits: float, n: float, design_effect: float = 1.0) -> tuple[float, float]:
    """Wilson's interval for a single rate, each bound with 95 %.

    >>> tuple(round(bound, 3) for bound in wilson(5, 10))
    (0.269, 0.731)
    """
    if not n:
        return np.nan, np.nan
    size, rate, z2 = n / design_effect, hits / n, ONE_SIDED_95**2
    centre = (rate + z2 / (2 * size)) / (1 + z2 / size)
    half = ONE_SIDED_95 / (1 + z2 / size) * np.sqrt(rate * (1 - rate) / size + z2 / (4 * size * size))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


class GroupMeasures:
    """One attribute: point estimates, replicates, and the rows of the table made of both."""

    def __init__(
        self,
        block: Block,
        cuts: Cuts,
        thresholds: Thresholds,
        *,
        design_effect: float,
        fixed: bool,
        has_label: bool,
        n_replicates: int,
        seed: list[int],
        measure_rates: Callable[[Sequence[str], Replicate, int, Sequence[str]], Rates],
    ) -> None:
        self.block, self.cuts, self.thresholds, self.design_effect = block, cuts, thresholds, design_effect
        own = np.ones(len(block.groups)) if block.design_effect is None else block.design_effect
        self.effects = np.maximum(own, design_effect)
        self.has_label, self.n_replicates, self.fixed = has_label, n_replicates, fixed
        self.crossed = is_crossing(block.attribute)
        self.tested = np.asarray([not self.crossed or group != POOLED for group in block.groups])
        self.rng = np.random.default_rng(seed)
        n = block.count.sum()
        shares = (min(cuts.k / n, 1.0), min(cuts.k_audit / n, 1.0))
        expected = None if block.expected is None else block.expected[None]
        self.shares = shares
        self.point = tally(block.count[None], expected, shares, fixed)
        self.drawn = _joined(
            list(replicates(block, shares, fixed=fixed, n=n_replicates, design_effect=self.effects, rng=self.rng))
        )
        self.names = CROSSED_RATES if self.crossed else RATES
        self.by_group = []
        if has_label:
            self.by_group = [measure_rates(block.groups, self.point, cut, self.names) for cut in range(2)]

    def rows(self, indicators: Sequence[str], with_everyone: bool) -> list[tuple[Any, ...]]:
        """Attribute, group, cut, measure and the six numbers of an estimate; everyone's too, if asked."""
        rows: list[tuple[Any, ...]] = []
        for position, cut in enumerate((AT_K, AT_AUDIT)):
            rows += self._rates(position, cut, with_everyone)
            if self.has_label:
                rows += self._ratios(position, cut)
        if self.has_label and self.block.expected is not None:
            rows += self._calibration(with_everyone)
        if self.block.events.shape[2] and len(self.block.groups) > 1:
            rows += self._need(indicators)
        if not self.crossed:
            if self.has_label and self.block.expected is not None:
                rows += self._meaning(with_everyone)
            if self.has_label and self.block.ranks is not None:
                parts = exposure(self.block.ranks, self.effects)
                rows += [row for name, part in parts.items() for row in self._stated(AT_K, name, part)]
        return rows

    def sizes(self) -> list[dict[str, object]]:
        """One line per group; a group is testable from ``min_expected`` positives.

        Expected positives are the model's own (everyone's base rate when there are no probabilities). The observed
        ones count when they are more: a group whose need the model does not see must not drop out of the test.
        """
        point, need = self.point, self.point.need[0]
        if point.expected is not None:
            expected = point.expected[0]
        else:
            expected = point.persons[0] * need.sum() / point.persons[0].sum()
        enough = self.tested & (np.maximum(expected, need) >= self.thresholds.min_expected)
        return [
            {
                "attribute": self.block.attribute,
                "group": group,
                "n": round(float(point.persons[0, g])),
                "need": round(float(need[g])) if self.has_label else None,
                "expected": float(expected[g]),
                "selected_k": round(float(point.at[0].selected[0, g])),
                "selected_k_audit": round(float(point.at[1].selected[0, g])),
                "testable": bool(enough[g]) and self.has_label,
                DESIGN_EFFECT: float(self.effects[g]),
            }
            for g, group in enumerate(self.block.groups)
        ]

    def _rates(self, position: int, cut: str, with_everyone: bool) -> list[tuple[Any, ...]]:
        """Single rates with Wilson intervals, from fairlearn where a label exists."""
        at, point = self.point.at[position], self.point
        rows: list[tuple[Any, ...]] = []
        members: list[tuple[str, str, int | slice]] = [
            (self.block.attribute, group, g) for g, group in enumerate(self.block.groups)
        ]
        if with_everyone:
            members.append((EVERYONE, EVERYONE, slice(None)))
        for attribute, group, g in members:
            n, selected = float(point.persons[0, g].sum()), float(at.selected[0, g].sum())
            counts = {"selection_rate": (selected, n)}
            if self.has_label:
                need, found = float(point.need[0, g].sum()), float(at.found[0, g].sum())
                counts |= {
                    "recall": (found, need),
                    "precision": (found, selected),
                    "false_omission_rate": (need - found, n - selected),
                    "false_positive_rate": (selected - found, n - need),
                    "false_negative_rate": (need - found, need),
                }
            for name, (hits, size) in counts.items():
                if name not in self.names:
                    continue
                value = hits / size if size else np.nan
                if self.has_label and size:
                    value = self.by_group[position][
                        EVERYONE if attribute == EVERYONE else group, attribute == EVERYONE
                    ][name]
                bounds = wilson(hits, size, self.design_effect if attribute == EVERYONE else float(self.effects[g]))
                rows.append((attribute, group, cut, name, value, *bounds, np.nan, round(size), round(hits)))
            if group == attribute == EVERYONE and self.has_label:
                attainable = min(1.0, selected / need) if need else np.nan
                rows.append((attribute, group, cut, "attainable_recall", attainable, *[np.nan] * 3, round(need), 0))
        return rows

    def _ratios(self, position: int, cut: str) -> list[tuple[Any, ...]]:
        """M1 and M2 against everyone, and missed residents."""
        at, drawn, rng = self.point.at[position], self.drawn, self.rng
        found, missed = at.found[0], self.point.need[0] - at.found[0]
        shape = drawn.need.shape
        more_found, more_missed = (jeffreys(rng, shape, self.effects) for _ in range(2))
        with np.errstate(divide="ignore", invalid="ignore"):
            overall = found.sum() / self.point.need[0].sum()
            recall = found / self.point.need[0]
            drawn_found = drawn.at[position].found
            drawn_overall = drawn_found.sum(axis=1, keepdims=True) / drawn.need.sum(axis=1, keepdims=True)
            drawn_recall = (drawn_found + more_found) / (drawn.need + more_found + more_missed)
            left, drawn_left = self.point.persons[0] - at.selected[0], drawn.persons - drawn.at[position].selected
            drawn_missed = drawn.need - drawn_found
            omission = (missed / left) / (missed.sum() / left.sum())
            drawn_omission = ((drawn_missed + more_missed) / drawn_left) / (
                drawn_missed.sum(axis=1, keepdims=True) / drawn_left.sum(axis=1, keepdims=True)
            )
            residents = self.point.need[0] * (overall - recall)
            drawn_residents = self.point.need[0] * (drawn_overall - drawn_recall)
            return [
                *self._row(
                    cut, "recall_ratio", recall / overall, drawn_recall / drawn_overall, below=self.thresholds.recall
                ),
                *self._row(cut, "omission_ratio", omission, drawn_omission),
                *self._row(cut, "missed_residents", residents, drawn_residents),
            ]

    def _calibration(self, with_everyone: bool) -> list[tuple[Any, ...]]:
        """M3: observed ÷ expected against everyone's, overall, below and above k*."""
        point, drawn = self.point, self.drawn
        assert point.expected is not None and drawn.expected is not None
        above, drawn_above = point.at[1], drawn.at[1]
        assert above.expected is not None and drawn_above.expected is not None
        parts = {
            NO_CUT: (point.need, point.expected, drawn.need, drawn.expected),
            BELOW_AUDIT: (
                point.need - above.found,
                point.expected - above.expected,
                drawn.need - drawn_above.found,
                drawn.expected - drawn_above.expected,
            ),
            ABOVE_AUDIT: (above.found, above.expected, drawn_above.found, drawn_above.expected),
        }
        rows: list[tuple[Any, ...]] = []
        for cut, (observed, expected, drawn_observed, drawn_expected) in parts.items():
            half = jeffreys(self.rng, drawn_observed.shape, self.effects)
            with np.errstate(divide="ignore", invalid="ignore"):
                everyone = observed.sum(axis=1, keepdims=True) / expected.sum(axis=1, keepdims=True)
                drawn_everyone = drawn_observed.sum(axis=1, keepdims=True) / drawn_expected.sum(axis=1, keepdims=True)
                # Where everyone's need lies on the other side of the cut there is nothing to compare, and no harm;
                # sums of parts of persons leave dust there.
                everyone[observed.sum(axis=1) < _DUST] = np.nan
                drawn_everyone[drawn_observed.sum(axis=1) < _DUST] = np.nan
                value = (observed / expected / everyone)[0]
                spread = (drawn_observed + half) / drawn_expected / drawn_everyone
            rows += self._row(cut, "observed_to_expected", value, spread, above=self.thresholds.oe)
            if with_everyone:
                low, high = _bounds(drawn_everyone)
                numbers = (float(everyone[0, 0]), float(low[0]), float(high[0]), np.nan)
                people = round(float(observed.sum()))
                rows.append((EVERYONE, EVERYONE, cut, "observed_to_expected", *numbers, people, people))
        return rows

    def _need(self, indicators: Sequence[str]) -> list[tuple[Any, ...]]:
        """M5 for each indicator; ``n`` holds the expected events, which decide whether it can be tested."""
        value, expected, drawn = need_at_score(
            self.block, self.cuts.k_audit, n=self.n_replicates, design_effect=self.effects, rng=self.rng
        )
        rows: list[tuple[Any, ...]] = []
        for j, name in enumerate(indicators):
            events = np.nan_to_num(expected[:, j])
            rows += self._row(
                AT_AUDIT, f"need_at_score:{name}", value[:, j], drawn[..., j], events, above=self.thresholds.need
            )
        return rows

    def _parts(self, level: WithBounds, with_everyone: bool) -> list[tuple[Any, ...]]:
        """M4: recall as scores calibrated in every group would have it, and missed residents in two parts.

        They add up to ``missed_residents``: what unequal need does at one common cut (``missed_by_base_rate``), and
        the rest, which is the model's error in the groups (``missed_by_model``).
        """
        point, drawn, need = self.point, self.drawn, self.point.need[0]
        assert self.block.expected is not None
        n_groups, draws = need.size, min(DRAWS, self.n_replicates)
        centre = np.nan_to_num(level.value[:n_groups])
        error = np.nan_to_num(level.high[:n_groups] - level.value[:n_groups]) / ONE_SIDED_95
        shift = np.concatenate([centre[None], centre + error * self.rng.standard_normal((draws, n_groups))])
        rows: list[tuple[Any, ...]] = []
        cuts = zip(
            (AT_K, AT_AUDIT), calibrated_recall(self.block.count, self.block.expected, shift, self.shares), strict=True
        )
        for position, (cut, (implied, everyone)) in enumerate(cuts):
            gaps = []
            for part, size in ((point, 1), (drawn, draws)):
                found, all_need = part.at[position].found[:size], part.need[:size]
                with np.errstate(divide="ignore", invalid="ignore"):
                    gap = found.sum(axis=1, keepdims=True) / all_need.sum(axis=1, keepdims=True) - found / all_need
                gaps.append(need * gap)
            by_rate = need * (everyone - implied)
            rows += self._row(cut, "expected_recall", implied[0], implied[1:], holds_value=True)
            rows += self._row(cut, "missed_by_base_rate", by_rate[0], by_rate[1:], holds_value=True)
            rows += self._row(cut, "missed_by_model", gaps[0][0] - by_rate[0], gaps[1] - by_rate[1:], holds_value=True)
            if with_everyone:
                low, high = _bounds(everyone[1:])
                numbers = (float(everyone[0, 0]), float(low[0]), float(high[0]), np.nan)
                people = (round(float(need.sum())), round(float(point.at[position].found.sum())))
                rows.append((EVERYONE, EVERYONE, cut, "expected_recall", *numbers, *people))
        return rows

    def _meaning(self, with_everyone: bool) -> list[tuple[Any, ...]]:
        """Calibration slope, intercept and error of each group, and everyone's; then M4, which needs them."""
        count, expected = self.block.count, self.block.expected
        effects = self.effects
        assert expected is not None
        if with_everyone:
            count, expected = (np.concatenate([part, part.sum(axis=0, keepdims=True)]) for part in (count, expected))
            effects = np.append(effects, self.design_effect)
        slope, level = calibration_line(count, expected, effects)
        error = calibration_error(count, expected, n_replicates=self.n_replicates, design_effect=effects, rng=self.rng)
        named = {"calibration_slope": slope, "calibration_intercept": level, "calibration_error": error}
        rows = [row for name, part in named.items() for row in self._stated(NO_CUT, name, part)]
        # A selection that was given has no order, so nobody can say who a calibrated score would have taken.
        return rows if self.fixed else rows + self._parts(level, with_everyone)

    def _stated(self, cut: str, name: str, part: WithBounds) -> list[tuple[Any, ...]]:
        """A measure that comes with its bounds; one value more than there are groups is everyone's."""
        persons, need = self.point.persons[0], self.point.need[0]
        members = [(self.block.attribute, group, persons[g], need[g]) for g, group in enumerate(self.block.groups)]
        if part.value.size > len(members):
            members.append((EVERYONE, EVERYONE, persons.sum(), need.sum()))
        return [
            (attribute, group, cut, name, *(_number(numbers[g]) for numbers in part), np.nan, round(n), round(hits))
            for g, (attribute, group, n, hits) in enumerate(members)
        ]

    def _shrunk(self, value: Floats, drawn: Floats, threshold: float, harm_below: bool) -> tuple[Floats, ...]:
        """A crossing's ratio partially pooled: value, bounds and probability of harm; NaN for the pooled group."""
        found = [np.full(value.shape, np.nan) for _ in range(4)]
        known = self.tested & np.isfinite(value) & np.isfinite(drawn).all(axis=0)
        if known.any():
            members = [parts_of(group) for group, kept in zip(self.block.groups, known, strict=True) if kept]
            # Every replicate holds half a person more (Jeffreys), so a group with nobody found has a spread too.
            scaled = to_scale(drawn[:, known])
            centre, error = scaled.mean(axis=0), scaled.std(axis=0)
            for numbers, part in zip(
                found, shrink(centre, error, members, threshold=threshold, harm_below=harm_below), strict=True
            ):
                numbers[known] = part
        return tuple(found)

    def _row(
        self,
        cut: str,
        name: str,
        value: Floats,
        drawn: Floats,
        n: Floats | None = None,
        *,
        below: float | None = None,
        above: float | None = None,
        holds_value: bool = False,
    ) -> list[tuple[Any, ...]]:
        low, high = _bounds(drawn)
        if holds_value:  # at the edge of what can be, every draw lies on one side of the estimate; bounds only widen
            low, high = np.fmin(low, value), np.fmax(high, value)
        harm = np.full(value.shape, np.nan)
        if below is not None:
            harm = (drawn < below).mean(axis=0)
        elif above is not None:
            harm = (drawn > above).mean(axis=0)
        size = self.point.need[0] if n is None else n
        people = self.point.at[0 if cut == AT_K else 1].found[0] if n is None else n
        estimates: dict[str, tuple[Floats, ...]] = {name: (value, low, high, harm)}
        threshold = below if below is not None else above
        if self.crossed and threshold is not None and cut not in (AT_K, ABOVE_AUDIT):
            estimates[name + SHRUNK] = self._shrunk(value, drawn, threshold, below is not None)
        return [
            (
                self.block.attribute,
                group,
                cut,
                named,
                *(_number(numbers[g]) for numbers in estimate),
                int(size[g]),
                round(float(people[g])),
            )
            for named, estimate in estimates.items()
            for g, group in enumerate(self.block.groups)
        ]


def _joined(chunks: list[Replicate]) -> Replicate:
    """Chunks of replicates as one; every array is (r, g) and small."""

    def join(parts: list[Any]) -> Any:
        return None if parts[0] is None else np.concatenate(parts)

    return Replicate(
        join([chunk.persons for chunk in chunks]),
        join([chunk.need for chunk in chunks]),
        join([chunk.expected for chunk in chunks]),
        tuple(
            type(chunks[0].at[c])(
                join([chunk.at[c].selected for chunk in chunks]),
                join([chunk.at[c].found for chunk in chunks]),
                join([chunk.at[c].expected for chunk in chunks]),
            )
            for c in range(len(chunks[0].at))
        ),
    )


def _bounds(drawn: Floats) -> tuple[Floats, Floats]:
    """5 % and 95 % of replicates, per column; replicates without the measure are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanquantile(drawn, [0.05, 0.95], axis=0)
    return low, high


def _number(value: float) -> float:
    return float(value) if np.isfinite(value) else np.nan
