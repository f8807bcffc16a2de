"""Contributions as sentences that a caseworker with thirty seconds can check, with the day behind each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.reason_stability import group_sums
from models.rescoring import rescored
from scoring.forest import contributions, raw_scores
from scoring.reason_events import Behind, EventDays
from scoring.reason_sentences import Column, columns_of
from scoring.reason_words import Words, placeholders

if TYPE_CHECKING:
    from features.city import City
    from features.matrix import Matrix
    from features.matrix_file import MatrixOnFile
    from features.spec import FeatureSpec
    from models.need import Need

__all__ = [
    "FEWEST_FOR_TYPICAL",
    "MOST_REASONS",
    "RESIDENT",
    "Choice",
    "Column",
    "Explainer",
    "Reason",
    "Typical",
    "Words",
    "explain",
    "placeholders",
    "source_of",
]

RESIDENT = "*"
"""As a reader: the person whom the reasons are about. Whatever a need hides from units is the person's own to see."""
MOST_REASONS = 4
FEWEST_FOR_TYPICAL = 20
"""People behind a median at least: of fewer, it could be somebody's own value."""


@dataclass(frozen=True)
class Reason:
    """Why a person stands where he or she stands, in one sentence.

    Attributes
    ----------
    text : str
        The sentence, with the person's value and what is typical.
    source : str or None
        The register it comes from, as the need names it; None where the reader may not see what contributed.
    changeable : bool or None
        Whether it can change, as the need says; None likewise.
    feature : str or None
        The feature it tells of, for the gate; None likewise.
    behind : Behind or None
        The day behind it, of the person's own; None where there is none, or the reader may not see it.
    """

    text: str
    source: str | None
    changeable: bool | None
    feature: str | None = field(default=None, compare=False)
    behind: Behind | None = None

    @property
    def day(self) -> date | None:
        """The day behind it: of several events the latest."""
        return None if self.behind is None else self.behind.day

    def facts(self) -> dict[str, Any]:
        """What it says as JSON values, for the store: text, register, changeable, feature, and the day behind it."""
        behind = None if self.behind is None else {"day": self.behind.day.isoformat(), "how": self.behind.how}
        return {
            "text": self.text,
            "source": self.source,
            "changeable": self.changeable,
            "feature": self.feature,
            "behind": behind,
        }


@dataclass(frozen=True)
class Typical:
    """What is typical among the people a need covers: the median of each column, or NaN if too few stand behind it.

    Made once for a cohort and used for every sentence about it, so that a reason is the same in a list and online.
    """

    medians: Mapping[str, float]

    @classmethod
    def of(cls, matrix: Matrix) -> Typical:
        """Medians of a matrix's columns over the people who have a value."""
        medians = {}
        for j, name in enumerate(matrix.names):
            values = matrix.X[:, j]
            medians[name] = median_of(np.sort(values[~np.isnan(values)]))
        return cls(medians)


def median_of(ordered: NDArray[np.float32]) -> float:
    """The median of a column's known values, given in order; NaN where too few people stand behind it."""
    middle = ordered[(ordered.size - 1) // 2 : ordered.size // 2 + 1]
    return float(np.mean(middle)) if ordered.size >= FEWEST_FOR_TYPICAL else float("nan")


class _Group(NamedTuple):
    """Columns that are told together: a feature's; those of the household; or those the reader may not see."""

    kind: Literal["feature", "household", "hidden"]
    columns: tuple[int, ...]


class Choice(NamedTuple):
    """What is told of a person: the groups of columns, in the order in which they are told, each by one column."""

    groups: tuple[int, ...]
    columns: tuple[int, ...]
    lowers: bool


_Finder = Callable[[int], Behind | None]


@dataclass(frozen=True)
class Explainer:
    """Turns contributions into reasons for one need, one reader and one language.

    Parameters
    ----------
    need : Need
    typical : Typical
        Of the cohort that was scored.
    reader : str
        The service or unit that will read; features with a ``visible_to`` that does not name it stay unnamed. To
        ``RESIDENT`` everything is told but what is of other people.
    language : str
    """

    need: Need
    typical: Typical
    reader: str
    language: str = "en"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """What stands behind each column of the need's matrix, in order."""
        return tuple(column for feature in self.need.features for column in columns_of(feature))

    @cached_property
    def groups(self) -> tuple[_Group, ...]:
        """What is told together, in the need file's order; every column is in one group."""
        found: dict[tuple[Any, str], list[int]] = {}
        for j, column in enumerate(self.columns):
            kind = self._kind(column.feature)
            found.setdefault((kind, column.feature.name if kind == "feature" else ""), []).append(j)
        return tuple(_Group(kind, tuple(columns)) for (kind, _), columns in found.items())

    @cached_property
    def group_of(self) -> NDArray[np.int64]:
        """Per column the number of its group: int64 (p,)."""
        numbers = np.empty(len(self.columns), dtype=np.int64)
        for number, group in enumerate(self.groups):
            numbers[list(group.columns)] = number
        return numbers

    def _kind(self, feature: FeatureSpec) -> Literal["feature", "household", "hidden"]:
        sees = self.reader == RESIDENT or {self.reader, self.need.service} & set(feature.visible_to)
        if feature.visible_to and not sees:
            return "hidden"
        return "household" if feature.of == "household" else "feature"  # of a household, it is said of another person

    @cached_property
    def _medians(self) -> list[float]:
        return [self.typical.medians[name] for name in self.need.columns]

    @cached_property
    def _rounded_medians(self) -> list[float]:
        return [column.rounded(value) for column, value in zip(self.columns, self._medians, strict=True)]

    def of_contributions(
        self, values: np.ndarray, contributions: np.ndarray, behind: _Finder | None = None
    ) -> list[Reason]:
        """Up to four reasons of one person, strongest first.

        What raises the place on the list is told; only where nothing does, what lowers it. What the reader may not see
        is one sum, told last whatever its size.

        Parameters
        ----------
        values : float32 (p,)
        contributions : float64 (p,)
            What each column adds to the raw score, the expected value apart.
        behind : callable, optional
            Column → what stands behind the person's cell.
        """
        sums = group_sums(contributions[None, :], self.group_of)[0]
        return self.told(self.choose(values, contributions, sums), values, behind)

    def choose(self, values: np.ndarray, contributions: np.ndarray, sums: np.ndarray) -> Choice:
        """Which groups are told of a person, and by which of their columns.

        Parameters
        ----------
        values : float32 (p,)
        contributions : float64 (p,)
        sums : float64 (n_groups,)
            The contributions by group (:attr:`group_of`).
        """
        sign = 1.0 if (sums > 0).any() else -1.0
        # The need file's order decides between equals, so that the same person has the same reasons everywhere.
        ordered = [int(g) for g in np.argsort(-sign * sums, kind="stable") if sign * sums[g] > 0]
        strength = (sign * contributions).tolist()
        shown = {g: self._column_to_show(g, values, strength) for g in ordered}
        # What is as it is with most people explains nothing to the reader, unless nothing else is there to say.
        telling = [g for g in ordered if shown[g][1]] or ordered
        hidden = [g for g in telling if self.groups[g].kind == "hidden"]
        open_ = [g for g in telling if self.groups[g].kind != "hidden"]
        told = [*open_[: MOST_REASONS - len(hidden)], *hidden]  # last, so that its place does not tell its size
        return Choice(tuple(told), tuple(shown[g][0] for g in told), sign < 0)

    def _column_to_show(self, g: int, values: np.ndarray, strength: Sequence[float]) -> tuple[int, bool]:
        """The strongest column of a group that differs from what is typical; whether there is one."""
        own = self.groups[g].columns
        # Of equals the first in the need file; as a rule one of the first few differs, and no more are looked at.
        strongest = sorted(own, key=strength.__getitem__, reverse=True)
        for j in strongest:
            if self.columns[j].differs(float(values[j]), self._rounded_medians[j]):
                return j, True
        return strongest[0], False

    def of_order(self, values: np.ndarray, behind: _Finder | None = None) -> list[Reason]:
        """Up to four reasons of one person under a written rule: the columns of the order, in their order.

        The order stands in the need file for all to read, so the place of what may not be seen tells nothing here.
        """
        names = list(self.need.columns)
        first: dict[int, int] = {}
        for term in self.need.order:
            j = names.index(term.column)
            first.setdefault(int(self.group_of[j]), j)
        chosen = list(first.items())[:MOST_REASONS]
        return self.told(Choice(tuple(g for g, _ in chosen), tuple(j for _, j in chosen), False), values, behind)

    def told(self, choice: Choice, values: np.ndarray, behind: _Finder | None = None) -> list[Reason]:
        """What was chosen, in words."""
        return [
            self._reason(self.groups[g].kind, j, float(values[j]), choice.lowers, behind)
            for g, j in zip(choice.groups, choice.columns, strict=True)
        ]

    def _reason(self, kind: str, j: int, value: float, lowers: bool, behind: _Finder | None) -> Reason:
        words = Words.of(self.language)
        if kind != "feature":
            return Reason(words(f"reasons.{kind}"), None, None)
        column = self.columns[j]
        text = column.sentence(value, self._medians[j], self.language)
        text = words("reasons.lowers", sentence=text) if lowers else text
        feature = column.feature
        found = None if behind is None else behind(j)
        return Reason(text, feature.source, feature.changeable, feature.name, found)


def explain(
    model: Any,
    matrix: Matrix | MatrixOnFile,
    rows: Sequence[int] | np.ndarray,
    typical: Typical,
    *,
    reader: str,
    language: str = "en",
    city: City | None = None,
) -> tuple[list[list[Reason]], float]:
    """Reasons of some rows of a matrix, and how far the contributions are from adding up to the raw score.

    Parameters
    ----------
    model : NeedModel or RuleModel
    matrix : Matrix
        What was scored.
    rows : int (m,)
        Rows to explain; only these pay for their contributions.
    typical : Typical
    reader : str
        The service or unit that will read the reasons.
    language : str
    city : City, optional
        What the matrix was made of, for the days behind the reasons; without it they have none.

    Returns
    -------
    reasons : list of m lists, up to four each
    max_error : float
        Largest |expected value + Σ contributions − raw score| of the rows; 0 for a rule (check C301).
    """
    explainer = Explainer(model.need, typical, reader, language)
    few = matrix.take(rows)
    X = few.X
    if not len(X):
        return [], 0.0
    days = None if city is None else EventDays(city, few.keys, explainer.columns)
    behind = [None if days is None else partial(days.behind, i) for i in range(len(X))]
    if model.need.kind == "rule":
        return [explainer.of_order(values, find) for values, find in zip(X, behind, strict=True)], 0.0
    added = contributions(model, X)
    max_error = float(np.max(np.abs(added.sum(axis=1) - raw_scores(model, X))))
    of_columns = added[:, :-1]
    sums = group_sums(of_columns, explainer.group_of)
    told = [
        explainer.told(explainer.choose(v, c, s), v, find)
        for v, c, s, find in zip(X, of_columns, sums, behind, strict=True)
    ]
    return told, max_error


def additivity_gap(model: Any, matrix: Matrix | MatrixOnFile) -> float:
    """How far contributions are from adding up to raw scores, at most, among rows spread evenly (check C301)."""
    if model.need.kind == "rule":
        return 0.0
    X = matrix.take(rescored(matrix.keys.height)).X
    return float(np.max(np.abs(contributions(model, X).sum(axis=1) - raw_scores(model, X)), initial=0.0))


def source_of(reason: Reason, language: str = "en") -> str:
    """Where a reason comes from, when, and whether it can change; empty where the reader may not see it.

    >>> source_of(Reason("12 absences", "school register", True, behind=Behind(date(2025, 3, 4), "latest")))
    'school register\xa0· last 4 March 2025\xa0· can be changed'
    """
    words = Words.of(language)
    if reason.changeable is None:
        return ""
    parts = [words.source(reason.source)] if reason.source else []
    if reason.behind is not None:
        parts.append(words(f"reasons.{reason.behind.how}", day=words.day(reason.behind.day)))
    parts.append(words("reasons.changeable" if reason.changeable else "reasons.not_changeable"))
    return "\u00a0· ".join(parts)  # no line begins with the mark between two
