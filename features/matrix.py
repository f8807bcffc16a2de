"""What was known of each person at each day, and what followed: features and label (contracts.md §3).

Objectors to the need are masked here, so no model ever meets them.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.digests import canonical_json
from ethics.refusals import Fault
from features.arrays import read_only
from features.attributes import age_on
from features.city import City, DataError, hash_table, matches
from features.keyed_rows import KeyedRows, keyed_rows, without_objectors
from features.label import label_of, look_ahead, refuse_empty_label
from features.spec import CohortSpec, FeatureSpec, IndicatorSpec, LabelSpec, Spec, column_names, require_built
from features.sweep import Group, sweep

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister

_DIGEST_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Matrix:
    """(person, as-of date) × features, in the order of as-of date and person.

    Attributes
    ----------
    keys : pl.DataFrame (n,)
        person_id, as_of_date.
    X : float32 (n, p), read-only
    names : tuple of str (p,)
    y : float64 (n,) or None
        1, 0, or NaN where the label is not known.
    indicators : name → bool (n,)
        Whether the independent sign of need appeared; meaningless where ``y`` is NaN.
    n_objectors : int
        Persons left out because they object.
    """

    keys: pl.DataFrame
    X: NDArray[np.float32]
    names: tuple[str, ...]
    y: NDArray[np.float64] | None = None
    indicators: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    n_objectors: int = 0

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the schema and the hash of each column's little-endian bytes."""
        keys = hashlib.sha256()
        hash_table(keys, self.keys)
        columns = [hashlib.sha256() for _ in self.names]
        for start in range(0, self.X.shape[0], _DIGEST_ROWS):
            block = np.ascontiguousarray(self.X[start : start + _DIGEST_ROWS].T, dtype="<f4")
            for column, values in zip(columns, block, strict=True):
                column.update(values.data)
        facts: dict[str, Any] = {
            "keys": keys.hexdigest(),
            "columns": [[name, "<f4", column.hexdigest()] for name, column in zip(self.names, columns, strict=True)],
            "label": None if self.y is None else hashlib.sha256(self.y.astype("<f8").tobytes()).hexdigest(),
            "indicators": [
                [name, hashlib.sha256(seen.astype("u1").tobytes()).hexdigest()]
                for name, seen in self.indicators.items()
            ],
        }
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    def rows(self, mask: NDArray[np.bool_]) -> Matrix:
        """The rows where ``mask`` (n,) holds, in the same order."""
        return replace(
            self,
            keys=self.keys.filter(pl.Series(mask)),
            X=read_only(self.X[mask]),
            y=None if self.y is None else read_only(self.y[mask]),
            indicators={name: read_only(seen[mask]) for name, seen in self.indicators.items()},
        )


def build_matrix(
    city: City,
    features: Sequence[FeatureSpec],
    keys: pl.DataFrame,
    *,
    objections: ObjectionRegister,
    need_id: str,
    label: LabelSpec | None = None,
    indicators: Sequence[IndicatorSpec] = (),
) -> Matrix:
    """Features, and with ``label`` what followed, for every key whose person does not object to the need.

    Raises
    ------
    DataError
        No rows; persons the city does not have; repeated keys; everyone objects; a label that is never known, or
        never appears; ``age`` asked of a city without birth dates.
    SpecError
        Column names that clash, or a part that is not built yet.
    """
    names = column_names(features)
    require_built([*features, *indicators, *([label] if label else [])])
    if indicators and label is None:
        wrong = "are looked for in the label's window, and there is no label"
        raise DataError(Fault("indicators", wrong, "Give a label, or leave the indicators out"))
    place = keyed_rows(city, keys, in_order=True)
    place, n_objectors = without_objectors(place, objections, need_id)
    X = _features(city, features, place, len(names))
    y = None if label is None else label_of(city, place, label)
    if y is not None and label is not None:
        refuse_empty_label(city, place, label, y)
    seen = {} if label is None else {i.name: look_ahead(city, place, label, i.codes).days > 0 for i in indicators}
    return Matrix(
        keys=place.keys,
        X=read_only(X),
        names=names,
        y=None if y is None else read_only(y),
        indicators={name: read_only(found) for name, found in seen.items()},
        n_objectors=n_objectors,
    )


def _features(city: City, features: Sequence[FeatureSpec], place: KeyedRows, n_columns: int) -> NDArray[np.float32]:
    groups, ages, column = [], [], 0
    for feature in features:
        if feature.attribute is None:
            groups.append(Group(feature.codes, feature.windows, feature.measures, column))
        else:
            ages.append(column)
        column += len(feature.columns())
    X = sweep(city, groups, place, n_columns)
    for column in ages:
        X[:, column] = age_on(city, place)
    return X


def unseen_codes(city: City, specs: Iterable[Spec]) -> list[Fault]:
    """Codes that specs ask for and no event of the city has: usually a slip of the pen, so each with its likeness."""
    faults = []
    for spec in specs:
        for where, codes in _codes_of(spec):
            for pattern in codes:
                if not any(matches(code, [pattern]) for code in city.events.codes):
                    near = difflib.get_close_matches(pattern, city.events.codes, n=1)
                    guess = f"Did you mean '{near[0]}'? " if near else ""
                    mend = f"{guess}The city's event log has {len(city.events.codes):,} codes"
                    faults.append(Fault(where, f"'{pattern}' is not in the event log", mend))
    return faults


def _codes_of(spec: Spec) -> list[tuple[str, Sequence[str]]]:
    if isinstance(spec, FeatureSpec):
        return [(f"features '{spec.name}'.codes", spec.codes)]
    if isinstance(spec, IndicatorSpec):
        return [(f"indicators '{spec.name}'.codes", spec.codes)]
    if isinstance(spec, LabelSpec):
        return [("label.codes", spec.codes), ("label.censored_by", spec.censored_by)]
    if isinstance(spec, CohortSpec):
        rules = (("with", spec.with_), ("without", spec.without))
        return [(f"cohort.{key}[{i}].codes", rule.codes) for key, entries in rules for i, rule in enumerate(entries)]
    return []
