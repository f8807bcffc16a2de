"""The columns of features for rows of a city: each spec laid out once, then computed for any number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.attributes import attribute_columns, refuse_attributes, whole_city
from features.city import City, DataError
from features.keyed_rows import KeyedRows, Rows
from features.relations import DistrictRates, HouseholdEvents, refuse_relations
from features.spec import FeatureSpec
from features.sweep import Group, lay_out, sweep

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister


def compute_columns(
    city: City,
    features: Sequence[FeatureSpec],
    rows: KeyedRows | Rows,
    *,
    masked: NDArray[np.bool_] | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:
    """The cells of features for rows, whoever objects: float32 (n, p).

    Parameters
    ----------
    rows : (n,), in any order
    masked : bool (n_persons,), optional
        Persons of the whole city whose events are in nobody else's features.

    Raises
    ------
    DataError
        Attributes or relations that the city does not have, all at once.
    """
    days = np.unique(rows.as_of)
    return LaidOutFeatures(city, features, days, masked=masked, threads=threads).columns(rows, threads)


def refuse_uncomputable(city: City, features: Sequence[FeatureSpec]) -> None:
    """DataError with everything that features ask of a city and it does not have."""
    if faults := refuse_attributes(city, features) + refuse_relations(whole_city(city), features):
        raise DataError(*faults)


def masked_persons(
    city: City, features: Sequence[FeatureSpec], objections: ObjectionRegister, need_id: str
) -> NDArray[np.bool_] | None:
    """Who of the whole city objects, bool (n_persons,); None where no feature reads about others than the person."""
    if all(feature.of == "self" for feature in features):
        return None
    everybody = whole_city(city).events.person_ids.to_list()
    return np.asarray(objections.objecting(everybody, need_id), dtype=np.bool_)


class LaidOutFeatures:
    """Specs laid out for a city, so that many blocks of rows can be computed, in several threads at once.

    Of a part of a city, others than the person are looked for in the whole.

    Parameters
    ----------
    days : int64 (n_days,)
        µs of the as-of dates that rows will have, ascending.
    masked : bool (n_persons,), optional
        Persons of the whole city whose events are in nobody else's features.
    threads : int
        For what is computed ahead: the rates of districts.
    """

    def __init__(
        self,
        city: City,
        features: Sequence[FeatureSpec],
        days: NDArray[np.int64],
        *,
        masked: NDArray[np.bool_] | None = None,
        threads: int = 1,
    ) -> None:
        refuse_uncomputable(city, features)
        whole = whole_city(city)
        if masked is None:
            masked = np.zeros(len(whole.events.person_ids), dtype=np.bool_)
        places, n_columns = [], 0
        for feature in features:
            places.append(slice(n_columns, n_columns := n_columns + len(feature.columns())))
        located = list(zip(features, places, strict=True))
        own = [(feature, at) for feature, at in located if feature.attribute is None and feature.of == "self"]
        self._attributes = [(feature, at) for feature, at in located if feature.attribute is not None]
        self._own = None
        if own:
            groups = [Group(feature.codes, feature.windows, feature.measures, at.start) for feature, at in own]
            self._own = lay_out(groups, city.events.codes, n_columns)
        self._household, self._district = None, None
        self._in_household, in_household = _of(located, "household")
        self._in_district, in_district = _of(located, "district")
        if in_household:
            self._household = HouseholdEvents(whole, in_household, masked)
        if in_district:
            self._district = DistrictRates(whole, in_district, masked, days, threads)
        # Where in the whole city the persons of a part stand.
        at = None if whole is city else whole.events.person_ids.search_sorted(city.events.person_ids).to_numpy()
        self._in_whole = None if at is None else at.astype(np.uint32)
        self._city = city
        self.n_columns = n_columns

    def columns(self, rows: KeyedRows | Rows, threads: int = 1) -> NDArray[np.float32]:
        """The cells of the rows, in their order: float32 (n, p)."""
        rows = Rows(rows.person, rows.as_of)
        X = np.empty((rows.person.size, self.n_columns), dtype=np.float32)
        if self._own is not None:  # fills every column, the others with something to be written over
            sweep(self._city.events, self._own, rows.person, rows.as_of, threads=threads, out=X)
        for feature, at in self._attributes:
            for column, values in zip(range(at.start, at.stop), attribute_columns(self._city, feature, rows)):
                X[:, column] = values
        if self._in_whole is not None:
            rows = Rows(self._in_whole[rows.person], rows.as_of)
        if self._household is not None:
            X[:, self._in_household] = self._household.columns(rows, threads)
        if self._district is not None:
            X[:, self._in_district] = self._district.columns(rows)
        return X


def _of(located: Sequence[tuple[FeatureSpec, slice]], others: str) -> tuple[NDArray[np.int64], list[FeatureSpec]]:
    """The columns, and the features themselves, that read events of some others."""
    found = [(feature, at) for feature, at in located if feature.of == others]
    columns = [column for _, at in found for column in range(at.start, at.stop)]
    return np.array(columns, dtype=np.int64), [feature for feature, _ in found]
