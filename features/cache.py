"""A cache of feature columns that cannot lie: what it returns is, to the byte, what computing again would return.

Columns are kept in blocks of persons, before objections: who objects is masked when a matrix is formed, so an
objection computes nothing again. Each is kept under a hash of all that decides it (:mod:`features.cache_keys`), in
files that are checked whenever they are read (:mod:`features.packs`). A killed build keeps the packs it has written;
the next one computes the rest.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.refusals import Fault
from features.cache_keys import Part, Survey, only_columns
from features.city import City, DataError
from features.content import person_keys
from features.keyed_rows import KeyedRows
from features.packs import DamagedPackError, Pack, PackFolder, PackName
from features.spec import FeatureSpec

BLOCK_PERSONS = 16_384
"""Persons in a block at most: enough that files are few, little enough that one changed person costs little."""
_CELLS_AT_ONCE = 2**23
"""Cells computed and held beside the matrix at a time: 32 MB."""
_MOST_BYTES = 20 * 2**30
_SHORTEST_SECRET = 16

Compute = Callable[[Sequence[FeatureSpec], KeyedRows], NDArray[np.float32]]


@dataclass
class CacheUse:
    """What one call found and did; columns are counted once for each block and as-of date.

    ``unsaved`` says why what was computed could not be kept, and is empty when it was.
    """

    n_cached: int = 0
    n_computed: int = 0
    n_damaged: int = 0
    n_bytes_written: int = 0
    unsaved: str = ""


@dataclass(eq=False)
class _Missing:
    """A part of which some columns are still to be found: where the columns of each key go in a row."""

    part: Part
    places: dict[bytes, list[int]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[int, ...]:
        """The first column of each key: equal columns of two features are computed once."""
        return tuple(sorted(places[0] for places in self.places.values()))


class FeatureCache:
    """Columns computed before, in a folder of packs.

    What the cache cannot write (a full disk, a folder that may only be read) it computes, says, and does not keep:
    a build never fails for want of its cache.

    Parameters
    ----------
    folder : Path
        Made when missing, for its owner alone. No person id is written into it.
    secret : bytes, at least 16
        The home's; another secret finds nothing of what was kept under this one.
    max_bytes : int
        After writing, packs used longest ago are removed until the folder is no larger; 20 GiB unless told.
    block_persons : int
        Persons in a block at most.
    cells_at_once : int
        How many cells are computed between two writes, about.
    progress : callable, optional
        Told one line about every damaged pack, and when nothing can be kept.

    Raises
    ------
    DataError
        The folder cannot be made, or the secret is too short.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secret: bytes,
        max_bytes: int = _MOST_BYTES,
        block_persons: int = BLOCK_PERSONS,
        cells_at_once: int = _CELLS_AT_ONCE,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        if len(secret) < _SHORTEST_SECRET:
            wrong = f"has {len(secret)} bytes, so who lies in which block could be guessed"
            raise DataError(Fault("cache secret", wrong, f"Give at least {_SHORTEST_SECRET} random bytes"))
        self.secret = secret
        self.block_persons = block_persons
        self.last_use = CacheUse()
        self._max_bytes, self._cells_at_once, self._progress = max_bytes, cells_at_once, progress
        try:
            self.packs = PackFolder(Path(folder), hmac.digest(secret, b"cache folder", "sha256").hex()[:16])
        except OSError as error:
            wrong = f"cannot be the folder of the cache: {error.strerror}"
            raise DataError(Fault(str(folder), wrong, "Give a folder that you may write to, or no cache")) from None

    def survey(self, city: City, features: Sequence[FeatureSpec], rows: KeyedRows) -> Survey:
        """What is asked for, by block and date, with the keys that it is kept under."""
        return Survey(city, features, rows, self.secret, self.block_persons)

    def columns(
        self, city: City, features: Sequence[FeatureSpec], rows: KeyedRows, compute: Compute
    ) -> NDArray[np.float32]:
        """The columns of some features for some rows, computing what is not kept, and keeping it.

        Parameters
        ----------
        city : City
        features : sequence of FeatureSpec
            Of the person's own events, or attributes. What depends on others depends on who objects, and does not
            belong here.
        rows : KeyedRows (n,)
            Objectors among them: they are masked afterwards.
        compute : callable
            ``compute(features, rows)`` → float32 (n, p), for fewer windows, measures and rows than asked for here.

        Returns
        -------
        float32 (n, p)
            To the byte what ``compute(features, rows)`` returns.
        """
        if of_others := [feature.name for feature in features if feature.of != "self"]:
            raise ValueError(f"{', '.join(of_others)}: what depends on others depends on who objects, and is not kept")
        use = self.last_use = CacheUse()
        n_columns = sum(len(feature.columns()) for feature in features)
        X = np.empty((rows.person.size, n_columns), dtype=np.float32)
        if not X.size:
            return X
        survey = self.survey(city, features, rows)
        for parts in self._batches(survey):
            missing = [found for part in parts if (found := self._fill(X, _Missing(part, _places(part)), use))]
            if missing:
                self._complete(X, survey, missing, rows, compute, use)
        if use.n_bytes_written:
            self.prune(self._max_bytes)
        return X

    def prune(self, max_bytes: int) -> int:
        """Remove the packs used longest ago until the folder holds no more than so many bytes; bytes removed."""
        with self.packs.locked():
            self.packs.drop_drafts()
            return self.packs.prune(max_bytes)

    def forget(self, person_ids: Sequence[str]) -> int:
        """Remove everything that holds a cell of some persons: their whole blocks; how many packs.

        For erasure, after the person is masked in the city or taken out of it: a build that still reads the person
        keeps new columns.
        """
        ids = pl.Series("person_id", person_ids, dtype=pl.String)
        first = {int(key) for key in person_keys(ids, self.secret)[:, 0]} if len(ids) else set()
        with self.packs.locked():
            self.packs.drop_drafts()
            return sum(self.packs.drop_block_of(key) for key in first)

    def _batches(self, survey: Survey) -> Iterator[list[Part]]:
        """Parts of whole blocks, as many as are computed at a time."""
        batch: list[Part] = []
        n_cells = 0
        for parts in survey.parts():
            batch += parts
            n_cells += sum(part.rows.size for part in parts) * len(survey.columns)
            if n_cells >= self._cells_at_once:
                yield batch
                batch, n_cells = [], 0
        if batch:
            yield batch

    def _fill(self, X: NDArray[np.float32], missing: _Missing, use: CacheUse) -> _Missing | None:
        """Copy what is kept of a part into its rows; what is still missing, or None."""
        part = missing.part
        folder = self.packs.block(part.n_blocks, part.block)
        for name in self.packs.names(folder):
            if name.as_of_date != part.as_of_date or name.cohort != PackName.of("", part.cohort, ()).cohort:
                continue
            pack = self._read(folder / str(name), missing, use)
            if pack is None:
                continue
            pairs = [(i, j) for i, key in enumerate(pack.keys) for j in missing.places.pop(key, ())]
            _copy(X, part.rows, pack.values, sorted(pairs, key=lambda pair: pair[1]))
            use.n_cached += len(pairs)
            if not missing.places:
                return None
        return missing

    def _read(self, path: Path, missing: _Missing, use: CacheUse) -> Pack | None:
        """A pack that has something of what is missing; one that is damaged is dropped and said."""
        try:
            if missing.places.keys().isdisjoint(self.packs.read_keys(path)):
                return None
            pack = self.packs.read(path)
            if pack.values.shape[0] != missing.part.rows.size:
                raise DamagedPackError
        except DamagedPackError:
            use.n_damaged += 1
            self._say(f"cache: {path.name} is damaged; dropped, and computed again")
            self.packs.drop(path)
            return None
        except OSError:  # pruned in between, or unreadable: computed again
            return None
        self.packs.touch(path)
        return pack

    def _complete(
        self,
        X: NDArray[np.float32],
        survey: Survey,
        missing: Sequence[_Missing],
        rows: KeyedRows,
        compute: Compute,
        use: CacheUse,
    ) -> None:
        """Compute what is missing and keep it, alone: who comes second finds it kept."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.packs.locked())
                self.packs.drop_drafts()
            except OSError as error:
                self._cannot_keep(use, error)
            still = [found for part in missing if (found := self._fill(X, part, use))]
            alike: dict[tuple[int, ...], list[_Missing]] = {}
            for found in still:
                alike.setdefault(found.columns, []).append(found)
            for columns, found_alike in alike.items():
                self._compute(X, survey, columns, found_alike, rows, compute, use)

    def _compute(
        self,
        X: NDArray[np.float32],
        survey: Survey,
        columns: tuple[int, ...],
        missing: Sequence[_Missing],
        rows: KeyedRows,
        compute: Compute,
        use: CacheUse,
    ) -> None:
        """Compute the same columns of several parts in one go, in the order in which their rows were asked for."""
        features, origin = only_columns(survey.features, survey.columns, columns)
        at = np.sort(np.concatenate([found.part.rows for found in missing]))
        computed = compute(features, rows.part(at))
        if computed.shape != (at.size, len(origin)) or computed.dtype != np.float32:
            raise ValueError(f"computed {computed.dtype} {computed.shape} instead of float32 {(at.size, len(origin))}")
        made = {j: i for i, j in enumerate(origin) if j >= 0}
        for found in missing:
            part = found.part
            values = computed[np.searchsorted(at, part.rows)][:, [made[j] for j in columns]]
            pairs = [(i, k) for i, j in enumerate(columns) for k in found.places[part.keys[j]]]
            _copy(X, part.rows, values, sorted(pairs, key=lambda pair: pair[1]))
            use.n_computed += len(columns)
            if not use.unsaved:
                self._keep(survey, part, columns, values, use)

    def _keep(
        self, survey: Survey, part: Part, columns: tuple[int, ...], values: NDArray[np.float32], use: CacheUse
    ) -> None:
        keys = tuple(part.keys[j] for j in columns)
        pack = Pack(keys, values, survey.ingredients(part, columns))
        try:
            folder = self.packs.block(part.n_blocks, part.block)
            use.n_bytes_written += self.packs.write(folder, PackName.of(part.as_of_date, part.cohort, keys), pack)
        except OSError as error:
            self._cannot_keep(use, error)

    def _cannot_keep(self, use: CacheUse, error: OSError) -> None:
        if use.unsaved:
            return
        use.unsaved = error.strerror or type(error).__name__
        self._say(f"cache: what is computed cannot be kept in {self.packs.folder}: {use.unsaved}")

    def _say(self, line: str) -> None:
        if self._progress is not None:
            self._progress(line)


def _places(part: Part) -> dict[bytes, list[int]]:
    places: dict[bytes, list[int]] = {}
    for j, key in enumerate(part.keys):
        places.setdefault(key, []).append(j)
    return places


def _copy(
    X: NDArray[np.float32], rows: NDArray[np.int64], values: NDArray[np.float32], pairs: Sequence[tuple[int, int]]
) -> None:
    """Copy column ``i`` of the values to column ``j`` of some rows, for each pair, run by run."""
    start = 0
    for stop in range(1, len(pairs) + 1):
        (i, j), (last_i, last_j) = pairs[start], pairs[stop - 1]
        if stop == len(pairs) or pairs[stop] != (last_i + 1, last_j + 1):
            X[rows, j : last_j + 1] = values[:, i : last_i + 1]
            start = stop
