"""What was known of each person at each day, and what followed: features and label (contracts.md §3).

Objectors to the need are masked here, so no model ever meets them.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.digests import canonical_json
from ethics.refusals import Fault
from features.arrays import frozen, read_only
from features.attrition import after_label, attrition_of_keys
from features.city import City, DataError, hash_table, matches
from features.columns import compute_columns, masked_persons, refuse_uncomputable
from features.csr_kernels import copy_transposed
from features.keyed_rows import KeyedRows, keyed_rows, objector_rows
from features.label import look_ahead, outcome_of, refuse_empty_label
from features.sparse_block import SparseBlock, empty_cells
from features.spec import (
    CohortSpec,
    FeatureSpec,
    IndicatorSpec,
    LabelSpec,
    Spec,
    SpecError,
    column_names,
    require_built,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ethics.objections import ObjectionRegister
    from features.cache import FeatureCache

_DIGEST_ROWS = 4096
COLUMNS_AT_ONCE = 16
"""Columns that are read together: of a row they lie in one line of the processor's cache."""


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
    followed_days, censored : float64 (n,), bool (n,), or None without a label
        How long each row was followed, and who left before the label was decided; see
        :class:`features.label.Outcome`.
    attrition : pl.DataFrame or None
        What the steps of the cohort, objections and the label left; see :class:`features.attrition.Attrition`. It
        tells of the matrix as it was built, and stays with its parts. None without a label or steps to go on with.

    The digest is of keys, cells, label and indicators alone.
    """

    keys: pl.DataFrame
    X: NDArray[np.float32]
    names: tuple[str, ...]
    y: NDArray[np.float64] | None = None
    indicators: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    n_objectors: int = 0
    followed_days: NDArray[np.float64] | None = None
    censored: NDArray[np.bool_] | None = None
    attrition: pl.DataFrame | None = None

    def __repr__(self) -> str:
        """Sizes alone: a notebook shows what its last line gives."""
        label = "without a label" if self.y is None else "with a label"
        return f"<Matrix: {self.X.shape[0]:,} rows × {self.X.shape[1]:,} columns, {label}>"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the schema and the hash of each column's little-endian bytes."""
        digest, columns = MatrixDigest(self.names), np.empty((len(self.names), _DIGEST_ROWS), dtype=np.float32)
        for start in range(0, self.X.shape[0], _DIGEST_ROWS):
            rows = self.X[start : start + _DIGEST_ROWS]
            copy_transposed(frozen(rows), columns, 0)
            digest.update(columns[:, : rows.shape[0]])
        return digest.of(self.keys, self.y, self.indicators)

    def rows(self, mask: NDArray[np.bool_]) -> Matrix:
        """The rows where ``mask`` (n,) holds, in the same order."""
        return replace(
            self,
            keys=self.keys.filter(pl.Series(mask)),
            X=read_only(self.X[mask]),
            y=None if self.y is None else read_only(self.y[mask]),
            indicators={name: read_only(seen[mask]) for name, seen in self.indicators.items()},
            followed_days=None if self.followed_days is None else read_only(self.followed_days[mask]),
            censored=None if self.censored is None else read_only(self.censored[mask]),
        )

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> Matrix:
        """The rows with these numbers, in the order given: keys and cells alone."""
        at = np.asarray(rows, dtype=np.int64)
        return Matrix(self.keys[at], read_only(self.X[at]), self.names, n_objectors=self.n_objectors)

    def columns(self, wanted: Sequence[int] | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Number and cells, float32 (n,) in one piece, of all columns or of those wanted; each is the caller's."""
        among = list(range(len(self.names)) if wanted is None else wanted)
        for first in range(0, len(among), COLUMNS_AT_ONCE):
            some = among[first : first + COLUMNS_AT_ONCE]
            yield from zip(some, np.ascontiguousarray(self.X[:, some].T), strict=True)

    def to_polars(self) -> pl.DataFrame:
        """Keys and features as one frame: person_id, as_of_date, then a Float32 column per name; NaN stays NaN."""
        import pyarrow as pa

        columns = np.empty(self.X.shape[::-1], dtype=np.float32)
        copy_transposed(frozen(self.X), columns, 0)
        cells = pa.Table.from_arrays([as_arrow(column) for column in columns], names=list(self.names))
        frame = pl.from_arrow(cells)
        assert isinstance(frame, pl.DataFrame)
        return self.keys.hstack(frame)

    def to_pandas(self) -> pd.DataFrame:
        """Features as a pandas frame of float32, indexed by person_id and as_of_date; shares the memory of ``X``."""
        import pandas as pd

        ids, days = self.keys["person_id"].to_numpy(), self.keys["as_of_date"].to_numpy()
        index = pd.MultiIndex.from_arrays([ids, pd.DatetimeIndex(days)], names=self.keys.columns)
        return pd.DataFrame(self.X, index=index, columns=list(self.names), copy=False)

    def to_csr(self) -> SparseBlock:
        """The cells that differ from those of a person without events."""
        return SparseBlock.of(self.X, empty_cells(self.names))


class MatrixDigest:
    """The digest of a matrix of which the rows come piece by piece, in order.

    A matrix has one digest, however it is held or written: SHA-256 over the schema, the keys, and the hash of each
    column's little-endian bytes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._columns = [hashlib.sha256() for _ in names]

    def update(self, columns: NDArray[np.float32]) -> None:
        """Take in the next rows, given as columns: float32 (p, m), each column in one piece."""
        for column, values in zip(self._columns, columns, strict=True):
            column.update(values.astype("<f4", copy=False).data)

    def of(
        self,
        keys: pl.DataFrame,
        y: NDArray[np.float64] | None = None,
        indicators: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> str:
        """The digest, once every row was taken in."""
        rows = hashlib.sha256()
        hash_table(rows, keys)
        named = zip(self._names, self._columns, strict=True)
        facts: dict[str, Any] = {
            "keys": rows.hexdigest(),
            "columns": [[name, "<f4", column.hexdigest()] for name, column in named],
            "label": None if y is None else hashlib.sha256(y.astype("<f8").tobytes()).hexdigest(),
            "indicators": [
                [name, hashlib.sha256(seen.astype("u1").tobytes()).hexdigest()]
                for name, seen in (indicators or {}).items()
            ],
        }
        return hashlib.sha256(canonical_json(facts)).hexdigest()


def as_arrow(column: NDArray[Any]) -> pa.Array:
    """One column in one piece as Arrow reads it, without a copy; NaN stays NaN."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.float32(), column.size, [None, pa.py_buffer(column)])


def build_matrix(
    city: City,
    features: Sequence[FeatureSpec],
    keys: pl.DataFrame,
    *,
    objections: ObjectionRegister,
    need_id: str,
    label: LabelSpec | None = None,
    indicators: Sequence[IndicatorSpec] = (),
    cache: FeatureCache | None = None,
    threads: int = 1,
    attrition: pl.DataFrame | None = None,
) -> Matrix:
    """Features, and with ``label`` what followed, for every key whose person does not object to the need.

    Parameters
    ----------
    keys : person_id, as_of_date; in any order
    cache : FeatureCache, optional
        Where columns computed before are kept, before objectors are masked. Features from other people's events
        depend on who objects, and are computed each time.
    threads : int
        How many threads compute; the bytes are the same.
    attrition : pl.DataFrame, optional
        Steps by which the keys came about (:func:`features.cohort.cohort_with_attrition`), to be gone on with.

    Raises
    ------
    DataError
        No rows; persons the city does not have; repeated keys; everyone objects; a label that is never known, or
        never appears; attributes or relations that the city does not have.
    SpecError
        Column names that clash, or a part that is not built yet.
    """
    refuse_wrong_types(features, keys)
    if threads < 1:
        raise ValueError(f"threads ({threads}) are 1 or more")
    names = column_names(features)
    require_built([*features, *indicators, *([label] if label else [])])
    if indicators and label is None:
        wrong = "are looked for in the label's window, and there is no label"
        raise DataError(Fault("indicators", wrong, "Give a label, or leave the indicators out"))
    everyone = keyed_rows(city, keys, in_order=True)
    keep, n_objectors = objector_rows(everyone, objections, need_id)
    place = everyone if keep is None else everyone.part(np.flatnonzero(keep))
    masked = masked_persons(city, features, objections, need_id)
    if cache is None:
        X = compute_columns(city, features, place, masked=masked, threads=threads)
    else:
        kept, keep_of_kept = _without_erased(everyone, keep, objections)
        X = _with_cache(cache, city, features, kept, keep_of_kept, masked, threads)
    matrix = Matrix(place.keys, read_only(X), names, n_objectors=n_objectors)
    if attrition is None and label is None:
        return matrix
    table = attrition_of_keys(attrition, everyone.person.size, np.unique(everyone.person).size)
    table = table.then("objection", "does not object to the need", place.person.size, np.unique(place.person).size)
    if label is None:
        return replace(matrix, attrition=table.steps)
    outcome = outcome_of(city, place, label)
    refuse_empty_label(city, place, label, outcome)
    return replace(
        matrix,
        y=read_only(outcome.y),
        indicators={i.name: read_only(look_ahead(city, place, label, i.codes).days > 0) for i in indicators},
        followed_days=read_only(outcome.followed_days),
        censored=read_only(outcome.censored),
        attrition=after_label(table, label, place.person, outcome.is_mature, outcome.censored).steps,
    )


def refuse_wrong_types(features: object, keys: object) -> None:
    """Refuse what a notebook easily gives instead: one feature for a sequence of them, a pandas frame for keys.

    Raises
    ------
    SpecError, DataError
    """
    if isinstance(features, str | Spec) or not isinstance(features, Sequence):
        wrong = f"is one {type(features).__name__}, not a sequence of FeatureSpec"
        raise SpecError(Fault("features", wrong, "Put it into a list: [feature]"))
    if others := [type(feature).__name__ for feature in features if not isinstance(feature, FeatureSpec)]:
        raise SpecError(Fault("features", f"hold a {others[0]}", "Give FeatureSpec only"))
    if not isinstance(keys, pl.DataFrame):
        wrong = f"are a {type(keys).__module__.partition('.')[0]} {type(keys).__name__}, not a polars DataFrame"
        mend = "Give pl.from_pandas(keys).cast({'as_of_date': pl.Date}), or pl.DataFrame(keys)"
        raise DataError(Fault("keys", wrong, mend))


def _with_cache(
    cache: FeatureCache,
    city: City,
    features: Sequence[FeatureSpec],
    everyone: KeyedRows,
    keep: NDArray[np.bool_] | None,
    masked: NDArray[np.bool_] | None,
    threads: int,
) -> NDArray[np.float32]:
    """As :func:`compute_columns` for the rows of ``keep``; what is cached is computed for all rows, and masked then."""

    def compute(some: Sequence[FeatureSpec], rows: KeyedRows) -> NDArray[np.float32]:
        return compute_columns(city, some, rows, threads=threads)

    own, of_others = ([f for f in features if (f.of == "self") == wanted] for wanted in (True, False))
    refuse_uncomputable(city, features)
    X = np.empty((len(everyone.person), 0), dtype=np.float32)
    if own:
        X = cache.columns(city, own, everyone, compute)
    if keep is not None:
        X = _only_rows(X, keep)
    if not of_others:
        return X
    place = everyone if keep is None else everyone.part(np.flatnonzero(keep))
    others = compute_columns(city, of_others, place, masked=masked, threads=threads)
    is_own = np.array([f.of == "self" for f in features for _ in f.columns()])
    together = np.empty((len(place.person), is_own.size), dtype=np.float32)
    together[:, is_own], together[:, ~is_own] = X, others
    return together


def _without_erased(
    everyone: KeyedRows, keep: NDArray[np.bool_] | None, objections: ObjectionRegister
) -> tuple[KeyedRows, NDArray[np.bool_] | None]:
    """The rows that a cache may hold, and which of them to keep: of an objector it may, of the erased it may not."""
    if keep is None:
        return everyone, keep
    masked = np.flatnonzero(~keep)
    gone = np.asarray(objections.erased(everyone.keys["person_id"].gather(masked).to_list()), dtype=np.bool_)
    if not gone.any():
        return everyone, keep
    stays = np.ones(keep.size, dtype=np.bool_)
    stays[masked[gone]] = False
    return everyone.part(np.flatnonzero(stays)), keep[stays]


def _only_rows(X: NDArray[np.float32], keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Some rows of a matrix, moved together inside its own memory where that may be written to."""
    if not X.flags.writeable:
        return X[keep]
    rows = np.flatnonzero(keep)
    for start in range(0, rows.size, _DIGEST_ROWS):
        some = rows[start : start + _DIGEST_ROWS]
        X[start : start + some.size] = X[some]  # a row only ever moves up, onto rows that were read
    X[rows.size :] = np.nan  # what is left over may be an objector's
    return X[: rows.size]


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
        followed = None if spec.as_of is None else spec.as_of.on
        named: list[tuple[str, Sequence[str]]] = [] if followed is None else [("cohort.as_of.on", (followed,))]
        return named + [(f"cohort.{key}[{i}].codes", r.codes) for key, entries in rules for i, r in enumerate(entries)]
    return []
