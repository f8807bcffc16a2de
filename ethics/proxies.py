"""What tells a group, though nobody put the group in: features, single columns, the score, and missing cells.

Called inside :meth:`ethics.GroupRegister.examine` only; what it gives back are names and numbers of groups large
enough to be shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ethics.influence import Bounds, apart, around, stratified_auc

if TYPE_CHECKING:
    from ethics.influence import Bools, Floats, Ints

MIN_PERSONS = 100
"""Groups below it are pooled into "others"; where even those are fewer, nothing of them is measured."""
POOLED = "others"

_MOST_ROWS = 10_000
_TREES = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.2,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "max_bin": 63,
    "bin_construct_sample_cnt": 4000,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
_N_TREES = 20
_AGE = ".days_since_last."
_LARGEST = 5
"""Features per group of which the gap is told: the largest."""


@dataclass(frozen=True)
class Joined:
    """One attribute joined to the judged rows: which tested group each person is in.

    Attributes
    ----------
    attribute : str
    groups : tuple of str
        Groups of at least :data:`MIN_PERSONS` people, the pooled one last.
    member : int (n,)
        Place in ``groups``; -1 for people of whom too few are alike to be measured.
    untested : tuple of str
        Groups too small to be measured, even together.
    """

    attribute: str
    groups: tuple[str, ...]
    member: Ints
    untested: tuple[str, ...]

    @classmethod
    def of(cls, attribute: str, values: Sequence[str]) -> Joined:
        """Pool the small groups of an attribute.

        >>> joined = Joined.of("g", ["a"] * 120 + ["b"] * 60 + ["c"] * 50)
        >>> joined.groups, np.bincount(joined.member).tolist()
        (('a', 'others'), [120, 110])
        """
        names, code, n = np.unique(np.asarray(values, dtype=str), return_inverse=True, return_counts=True)
        large = n >= MIN_PERSONS
        small, place = tuple(names[~large].tolist()), np.full(names.size, -1)
        place[large] = np.arange(large.sum())
        groups = names[large].tolist()
        if n[~large].sum() >= MIN_PERSONS:
            groups, small, place[~large] = [*groups, POOLED], (), len(groups)
        return cls(attribute, tuple(groups), place[code].astype(np.int64), small)

    def named(self, group: int) -> str:
        """The group as a check names it."""
        return f"{self.attribute}={self.groups[group]}"

    def each(self) -> Iterator[tuple[str, Bools]]:
        """Name and members (n,) of each tested group that has anybody to be told from."""
        for code in range(len(self.groups)):
            member = self.member == code
            if not member.all():
                yield self.named(code), member


def group_proxies(
    attributes: Sequence[Joined],
    X: Floats,
    score: Floats,
    probability: Floats | None,
    strata: Ints,
    clusters: Ints,
    seed: int,
    weight: Floats | None = None,
) -> list[dict[str, Any]]:
    """How well each group is told from the features, and from the score alone among people with the same need.

    *Features*: area under the curve of trees that learn the group from half of the people and are asked about the
    other half. *Score*: :func:`ethics.influence.stratified_auc` within need strata. *Implied*: the area that a
    calibrated score would have within outcomes, because the group's need differs.

    Parameters
    ----------
    X : float (n, p)
    score : float (n,)
    probability : float (n,) or None
    strata : int (n,)
        Label and indicators, as a number; -1 where the label is not known.
    clusters : int (n,)
    weight : float (n,), optional
        How many persons each row stands for, where some left before their label was known.
    """
    told = [row for number, joined in enumerate(attributes) for row in _told(joined, X, clusters, [seed, 5, number])]
    known = strata >= 0
    table = []
    for (name, member), by_features in zip((pair for j in attributes for pair in j.each()), told, strict=True):
        by_score, implied = None, None
        if known.any():
            stood_for = None if weight is None else weight[known]
            by_score = apart(stratified_auc(score[known], member[known], clusters[known], strata[known], stood_for))
            implied = None if probability is None else _implied(score, member, probability)
        table.append(
            {
                "group": name,
                "n": int(member.sum()),
                **_written("features", by_features),
                **_written("score", by_score),
                "score_implied": implied,
            }
        )
    return table


def _implied(score: Floats, member: Bools, probability: Floats) -> float:
    """The area within outcomes if each person's need appeared with the probability given."""
    n = score.size
    outcome = np.repeat([1, 0], n)
    weight = np.concatenate([probability, 1 - probability])
    twice = stratified_auc(np.tile(score, 2), np.tile(member, 2), np.zeros(2 * n, dtype=np.int64), outcome, weight)
    return apart(twice).value


def _told(joined: Joined, X: Floats, clusters: Ints, seed: list[int]) -> Iterator[Bounds]:
    """Each group's area under the curve, told from the features by trees that have not seen the person."""
    import lightgbm

    rng = np.random.default_rng(seed)
    groups = list(joined.each())
    rows, weight = _drawn(joined, _MOST_ROWS, rng)
    half = rng.integers(0, 2, int(clusters.max(initial=0)) + 1)[clusters[rows]]
    cells = np.ascontiguousarray(X[rows], dtype=np.float32)
    data = lightgbm.Dataset(cells, np.zeros(rows.size), params=dict(_TREES), free_raw_data=False).construct()
    halves = [data.subset(np.flatnonzero(half == side).tolist()).construct() for side in (0, 1)]
    settings = _TREES | {"seed": int(rng.integers(2**31))}
    last: Bounds | None = None
    for _, everybody in groups:
        if last is not None and len(joined.groups) == 2 and not (joined.member < 0).any():
            yield last  # two groups are told from each other: it is one question
            continue
        member = everybody[rows]
        told = np.zeros(rows.size)
        for side in (0, 1):
            others = np.flatnonzero(half == 1 - side)
            taught = halves[side].set_label(member[half == side].astype(np.float64))
            taught.set_weight(_balanced(member[half == side], weight[half == side]))
            told[others] = lightgbm.train(settings, taught, _N_TREES).predict(
                cells[others], raw_score=True, num_threads=1
            )
        last = apart(stratified_auc(told, member, clusters[rows], half, weight))
        yield last


def _balanced(member: Bools, weight: Floats) -> Floats:
    """Weights in which members and others count alike: who is rare is learnt as well as who is common."""
    ours, theirs = weight[member].sum(), weight[~member].sum()
    if not ours or not theirs:
        return weight
    balanced: Floats = np.where(member, weight / ours, weight / theirs) * weight.size / 2
    return balanced


def _drawn(joined: Joined, most: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """At most so many people, of small groups all there are, and how many people each stands for."""
    n = joined.member.size
    if n <= most:
        return np.arange(n), np.ones(n)
    sizes = np.bincount(joined.member + 1)
    each = 0
    for rank, size in enumerate(np.sort(sizes)):  # the level at which the groups, filled up to it, hold `most`
        each = (most - int(np.sort(sizes)[:rank].sum())) // (sizes.size - rank)
        if each <= size:
            break
    kept = []
    for code, size in enumerate(sizes):
        those = np.flatnonzero(joined.member + 1 == code)
        kept.append(those if size <= each else np.sort(rng.choice(those, each, replace=False)))
    rows = np.sort(np.concatenate(kept))
    share = np.minimum(sizes, each) / np.maximum(sizes, 1)
    return rows, 1 / share[joined.member[rows] + 1]


def column_proxies(
    attributes: Sequence[Joined],
    X: Floats,
    columns: Sequence[str],
    gain: Mapping[str, float],
    clusters: Ints,
    seed: int,
) -> list[dict[str, Any]]:
    """For each column, the group it tells best, how well, and its share of the gain of the model's trees.

    A missing cell counts as lower than any number, so a column whose holes tell a group is found too.
    """
    best: dict[int, tuple[float, str, int]] = {}
    drawn = [
        _drawn(joined, _MOST_ROWS, np.random.default_rng([seed, 6, number])) for number, joined in enumerate(attributes)
    ]
    for position in range(len(columns)):
        for number, (joined, (rows, weight)) in enumerate(zip(attributes, drawn, strict=True)):
            if len(joined.groups) + len(joined.untested) < 2:
                continue
            for code, area in enumerate(_areas(X[rows, position], joined.member[rows], len(joined.groups), weight)):
                distance = max(area, 1 - area)
                if distance > best.get(position, (0.0,))[0]:
                    best[position] = (distance, joined.named(code), number)
    table = []
    for position, (_, name, number) in sorted(best.items(), key=lambda item: -item[1][0]):
        joined, (rows, weight) = attributes[number], drawn[number]
        member = joined.member[rows] == joined.groups.index(name.partition("=")[2])
        filled = _filled(X[rows, position])
        found = apart(stratified_auc(filled, member, clusters[rows], None, weight))
        table.append(
            {
                "column": columns[position],
                "group": name,
                **_written("auc", found),
                "gain": float(gain.get(columns[position], 0.0)),
            }
        )
    return table


def _filled(column: Floats) -> Floats:
    return np.where(np.isnan(column), -np.inf, column)


def _areas(column: Floats, member: Ints, n_groups: int, weight: Floats) -> Floats:
    """The area under the curve of one column for each group against everybody else: (g,)."""
    _, level = np.unique(_filled(column), return_inverse=True)
    n_levels = int(level.max(initial=0)) + 1
    at = np.bincount((member + 1) * n_levels + level, weights=weight, minlength=(n_groups + 1) * n_levels)
    at = at.reshape(n_groups + 1, n_levels)
    ours, theirs = at[1:], at.sum(axis=0) - at[1:]
    below = np.cumsum(theirs, axis=1) - theirs / 2
    with np.errstate(invalid="ignore"):
        areas = (ours * below).sum(axis=1) / (ours.sum(axis=1) * theirs.sum(axis=1))
    found: Floats = np.nan_to_num(areas, nan=0.5)
    return found


def missingness(
    attributes: Sequence[Joined],
    X: Floats,
    columns: Sequence[str],
    feature_of: Mapping[str, str],
    clusters: Ints,
    min_persons: int,
) -> list[dict[str, Any]]:
    """How much more often a feature's cells are missing, or old, in a group than among everybody else.

    *Missing*: the share of the feature's cells without a value. *Old*: among those with one, the share whose last
    event lies further back than in three of four people (columns that count the days since). Both as a gap in shares,
    -1 to 1, with its interval, for the five features of each group in which it is largest. Counts of fewer than
    ``min_persons`` people, with or without, count as that many.
    """
    parts = [*_missing_by_feature(X, columns, feature_of), *_old(X, columns, feature_of)]
    if not parts:
        return []
    there = np.stack([held for _, _, _, held in parts], axis=1)
    x = np.stack([values for _, _, values, _ in parts], axis=1) * there
    n_all, x_all = there.sum(axis=0), x.sum(axis=0)
    table = []
    for name, member in (pair for joined in attributes for pair in joined.each()):
        ours = member.astype(np.float32)
        n_ours, x_ours = ours @ there, ours @ x
        n_theirs, x_theirs = n_all - n_ours, x_all - x_ours
        enough = np.flatnonzero(np.minimum(n_ours, n_theirs) >= MIN_PERSONS)
        shares = [
            _coarse(part[enough] / n[enough], n[enough], min_persons)
            for part, n in ((x_ours, n_ours), (x_theirs, n_theirs))
        ]
        gap = shares[0] - shares[1]
        for place in np.argsort(-gap, kind="stable")[:_LARGEST]:
            j = enough[place]
            influence = np.where(
                member,
                (x[:, j] - there[:, j] * x_ours[j] / n_ours[j]) / n_ours[j],
                -(x[:, j] - there[:, j] * x_theirs[j] / n_theirs[j]) / n_theirs[j],
            )
            found = around(float(gap[place]), influence, clusters, lowest=-1.0)
            table.append({"feature": parts[j][0], "kind": parts[j][1], "group": name, **found._asdict()})
    return table


def _missing_by_feature(
    X: Floats, columns: Sequence[str], feature_of: Mapping[str, str]
) -> Iterator[tuple[str, str, Floats, Floats]]:
    n_columns: dict[str, int] = {}
    holes: dict[str, Floats] = {}
    for position, column in enumerate(columns):
        feature = feature_of.get(column, column)
        n_columns[feature] = n_columns.get(feature, 0) + 1
        empty = np.isnan(X[:, position])
        if empty.any():
            holes[feature] = holes.get(feature, 0.0) + empty
    for feature, count in holes.items():
        yield feature, "missing", (count / n_columns[feature]).astype(np.float32), np.ones(len(X), np.float32)


def _old(X: Floats, columns: Sequence[str], feature_of: Mapping[str, str]) -> Iterator[tuple[str, str, Floats, Floats]]:
    for position, column in enumerate(columns):
        if _AGE in column:
            days = X[:, position]
            held = np.isfinite(days)
            if held.any():
                old = held & (days > np.quantile(days[held], 0.75))
                yield feature_of.get(column, column), "old", old.astype(np.float32), held.astype(np.float32)


def _coarse(share: Floats, n: Floats, min_persons: int) -> Floats:
    """A share of which no count of 1 to ``min_persons`` - 1 people, on either side, can be read."""
    edge = np.minimum(min_persons / n, 0.5)
    few = (share > 0) & (share < edge)
    nearly_all = (share < 1) & (share > 1 - edge)
    coarse: Floats = np.where(few, edge, np.where(nearly_all, 1 - edge, share))
    return coarse


def _written(name: str, bounds: Bounds | None) -> dict[str, float | None]:
    """An estimate as columns of a table; nothing where there is none."""
    numbers = (None, None, None) if bounds is None or np.isnan(bounds.value) else bounds
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))
