"""What each cached column is kept under: a hash of everything that decides its bytes, and of nothing else.

A key holds the column's own spec (codes, window, measure; not the feature's name, so a renamed feature is not computed
again), the content of what it reads (:mod:`features.content`), the cohort (as-of date and the persons asked for in the
block) and the engine (the code that computes, and the libraries it compiles with). Persons are split into blocks by
their keyed hash, so that what changes for one person costs one block, and the blocks of a person never change while
the city keeps its size.
"""

from __future__ import annotations

import hashlib
import platform
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ethics.digests import canonical_json
from features import LOADED_AT
from features.arrays import DAY_US
from features.city import City
from features.content import BlockContent, Contents, person_keys
from features.keyed_rows import KeyedRows
from features.packs import KEY_BYTES
from features.spec import FeatureSpec
from features.windows import Window

LEFT_OUT_OF_ENGINE = frozenset(
    {
        "cohort", "column_types", "door", "explanation", "explanation_words", "label", "leakcheck", "meds",
        "attrition", "minimisation", "plan", "recount", "sql", "synthetic", "synthetic_events", "synthetic_preschool",
        "synthetic_recorder", "synthetic_residents", "synthetic_world", "synthetic_youth",
    }
)  # fmt: skip
"""Modules of this package that cannot change a cell of which the content is the same. Every other one, and any new
one, is part of the engine: an edit too many computes again, an edit too few would serve what the code no longer
says."""
_COMPILED_WITH = ("numba", "llvmlite", "numpy", "polars")


@cache
def engine_digest() -> bytes:
    """SHA-256 of the code that computes columns, as this process found it, and of what it is compiled with."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in LEFT_OUT_OF_ENGINE:
            whole.update(path.stem.encode() + b"\x00" + hashlib.sha256(path.read_bytes()).digest())
        if path.stat().st_mtime > LOADED_AT:
            # What runs is no longer what is written here: such columns are kept where nobody finds them again.
            whole.update(secrets.token_bytes(16))
    for name in _COMPILED_WITH:
        whole.update(f"{name} {version(name)}\n".encode())
    whole.update(f"{platform.machine()} python {platform.python_version()}".encode())
    return whole.digest()


class Column(NamedTuple):
    """One column asked for: which feature makes it, from which window by which measure, and the hash of its spec."""

    name: str
    feature: int
    window: Window | None
    measure: str | None
    spec: bytes


def columns_of(features: Sequence[FeatureSpec]) -> list[Column]:
    """The columns that features make, in the order of the matrix."""
    columns = []
    for f, feature in enumerate(features):
        if feature.attribute is None:
            pairs: list[Any] = [(window, measure) for window in feature.windows for measure in feature.measures]
            specs = [
                {"codes": sorted(set(feature.codes)), "window": window.label, "measure": measure}
                for window, measure in pairs
            ]
        else:
            pairs = [(None, name.partition(".")[2] or None) for name in feature.columns()]
            categories = list(feature.categories)
            specs = [
                {"attribute": feature.attribute, "categories": categories, "measure": measure} for _, measure in pairs
            ]
        columns += [
            Column(name, f, window, measure, hashlib.sha256(canonical_json(spec)).digest()[:KEY_BYTES])
            for name, (window, measure), spec in zip(feature.columns(), pairs, specs, strict=True)
        ]
    return columns


def only_columns(
    features: Sequence[FeatureSpec], columns: Sequence[Column], wanted: Sequence[int]
) -> tuple[list[FeatureSpec], list[int]]:
    """Features that make some columns, and as few others as can be; and which column each of theirs is.

    A feature of events is cut down to the windows and measures that are wanted. An attribute is cheap, and computed
    whole: columns nobody wants are -1.
    """
    made: list[FeatureSpec] = []
    origin: list[int] = []
    for f in sorted({columns[j].feature for j in wanted}):
        feature, mine = features[f], [j for j in wanted if columns[j].feature == f]
        if feature.attribute is not None:
            whole = [j for j, column in enumerate(columns) if column.feature == f]
            made.append(feature)
            origin += [j if j in mine else -1 for j in whole]
            continue
        of_window: dict[Window | None, list[int]] = {}
        for j in mine:
            of_window.setdefault(columns[j].window, []).append(j)
        # Windows that want the same measures make one feature.
        alike: dict[tuple[str | None, ...], list[list[int]]] = {}
        for found in of_window.values():
            alike.setdefault(tuple(columns[j].measure for j in found), []).append(found)
        for measures, found_of in alike.items():
            windows = tuple(columns[found[0]].window for found in found_of)
            made.append(feature.model_copy(update={"windows": windows, "measures": measures}))
            origin += [j for found in found_of for j in found]
    return made, origin


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one block at one as-of date.

    Attributes
    ----------
    block, n_blocks : int
    as_of_date : str
    rows : int64 (n,)
        Positions among the rows asked for, by the persons' keyed hashes.
    cohort : bytes
    keys : tuple of bytes
        One for each column.
    """

    block: int
    n_blocks: int
    as_of_date: str
    date_index: int
    rows: NDArray[np.int64]
    cohort: bytes
    contents: tuple[bytes, ...]
    keys: tuple[bytes, ...]
    content: BlockContent


class Survey:
    """The rows asked for, by block and date, each part with the keys of its columns.

    Parameters
    ----------
    city, features, rows
        What is asked for; features of the person's own events, or attributes.
    secret : bytes
    block_persons : int
        Persons in a block at most, on average over the city.
    """

    def __init__(
        self, city: City, features: Sequence[FeatureSpec], rows: KeyedRows, secret: bytes, block_persons: int
    ) -> None:
        self.features, self.columns = features, columns_of(features)
        self._keys = person_keys(city.events.person_ids, secret)
        n_needed = -(-max(1, len(city.events.person_ids)) // block_persons)
        self.n_blocks = 1 << (n_needed - 1).bit_length()
        self._contents = Contents(city, features, secret, self._keys)
        self._person = rows.person
        self.as_of = np.unique(rows.as_of)
        self._date = np.searchsorted(self.as_of, rows.as_of)
        n = self._keys.shape[0]
        rank = np.empty(n, dtype=np.int64)
        rank[np.argsort(self._keys[:, 0], kind="stable")] = np.arange(n)
        # In two steps, as a shift by all 64 bits is undefined.
        self._block_of = ((self._keys[:, 0] >> np.uint64(1)) >> np.uint64(64 - self.n_blocks.bit_length())).astype(int)
        # By block, date and rank, in one number.
        place = (self._block_of[rows.person] * self.as_of.size + self._date) * n + rank[rows.person]
        self._order = np.argsort(place)
        self._engine = engine_digest()

    def parts(self) -> Iterator[list[Part]]:
        """The parts of one block after the other."""
        blocks = self._block_of[self._person[self._order]]
        edges = np.flatnonzero(np.diff(blocks)) + 1
        for rows in np.split(self._order, edges):
            yield self._parts_of_block(int(self._block_of[self._person[rows[0]]]), rows)

    def _parts_of_block(self, block: int, rows: NDArray[np.int64]) -> list[Part]:
        persons = np.unique(self._person[rows])
        present = np.zeros((persons.size, self.as_of.size), dtype=np.uint8)
        present[np.searchsorted(persons, self._person[rows]), self._date[rows]] = 1
        content = self._contents.of_block(persons, present, self.as_of)
        edges = np.flatnonzero(np.diff(self._date[rows])) + 1
        return [self._part(block, found, content) for found in np.split(rows, edges)]

    def _part(self, block: int, rows: NDArray[np.int64], content: BlockContent) -> Part:
        d = int(self._date[rows[0]])
        as_of_date = str(np.datetime64(int(self.as_of[d]) // DAY_US, "D"))
        cohort = hashlib.sha256(f"{self.n_blocks} {block} {as_of_date}\n".encode())
        cohort.update(self._keys[self._person[rows]].astype("<u8").tobytes())
        contents = tuple(self._contents.digest(content, f, d) for f in range(len(self.features)))
        rest = cohort.digest() + self._engine
        keys = tuple(hashlib.sha256(c.spec + contents[c.feature] + rest).digest()[:KEY_BYTES] for c in self.columns)
        return Part(block, self.n_blocks, as_of_date, d, rows, cohort.digest(), contents, keys, content)

    def ingredients(self, part: Part, columns: Sequence[int]) -> dict[str, Any]:
        """What went into the keys of some columns of a part, for a plan to compare."""
        features = sorted({self.columns[j].feature for j in columns})
        return {
            "engine": self._engine.hex(),
            "cohort": part.cohort.hex(),
            "specs": [self.columns[j].spec.hex() for j in columns],
            "content_of": [features.index(self.columns[j].feature) for j in columns],
            "contents": [part.contents[f].hex() for f in features],
            "parts": [dict(self._contents.parts(part.content, f, part.date_index)) for f in features],
        }
