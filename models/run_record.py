"""What a run is remembered by beside its model: curves, tables, plots, inputs, children. Aggregates, never persons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from features.arrays import frozen
from features.csr_kernels import copy_transposed
from models.metrics import Estimate

if TYPE_CHECKING:
    from features.matrix import Matrix

_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class DatasetFacts:
    """A matrix as the input of a run, told without a row of it.

    Attributes
    ----------
    name : str
        What it was for: ``training`` or ``testing``.
    digest : str
        Of the whole matrix (contracts.md §4).
    columns : mapping
        Column → SHA-256 of its little-endian float32 bytes, so that two runs can be compared column by column.
    n_rows, n_persons : int
    n_in_need, n_unknown : int or None
        Rows with label 1, and rows whose label is not known; None without a label.
    as_of_dates : tuple of str
    """

    name: str
    digest: str
    columns: Mapping[str, str]
    n_rows: int
    n_persons: int
    n_in_need: int | None
    n_unknown: int | None
    as_of_dates: tuple[str, ...]


@dataclass(frozen=True)
class ChildRun:
    """A part of a run that is worth a run of its own: one test origin, or one trial of a search.

    Attributes
    ----------
    name : str
        As the list of runs shows it.
    part : str
        ``origin`` or ``trial``, recorded as the tag ``part``.
    figures : mapping
        As for :func:`models.tracking.log_run`.
    parameters : mapping
    """

    name: str
    part: str
    figures: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """Everything about a run that MLflow shows beside figures, parameters and the model.

    Attributes
    ----------
    name : str
        As the list of runs shows it; MLflow invents one if it is empty.
    description : str
        Markdown, shown at the run and at the version of the model.
    findings : sequence of str
        What the run found, in one sentence each; they stand in description, card and plots.
    curves : mapping
        Name → frame whose first column is a whole number (the step: k, or rows) and whose others are figures; recorded
        as step metrics ``<name>.<column>``, and as a table unless there is one of that name.
    tables : mapping
        Name → frame, recorded as ``tables/<name>.csv``.
    plots : mapping
        Name → PNG, recorded as ``plots/<name>.png``.
    files : mapping
        File name → content, recorded as it is, e.g. the model card and the need file.
    datasets : sequence of DatasetFacts
    children : sequence of ChildRun
    """

    name: str = ""
    description: str = ""
    findings: Sequence[str] = ()
    curves: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    plots: Mapping[str, bytes] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    datasets: Sequence[DatasetFacts] = ()
    children: Sequence[ChildRun] = ()

    def artefacts(self) -> dict[str, bytes]:
        """Path below the run's artefacts → content; curves as tables too, and the digests of the datasets' columns."""
        tables = {**self.curves, **self.tables}
        if self.datasets:
            tables["column_digests"] = _column_digests(self.datasets)
        return {
            **self.files,
            **{f"tables/{name}.csv": frame.write_csv().encode() for name, frame in tables.items()},
            **{f"plots/{name}.png": plot for name, plot in self.plots.items()},
        }

    def points(self) -> list[tuple[str, int, float]]:
        """Name, step and value of every point of the curves that is a number."""
        return [
            (f"{name}.{column}", int(step), float(value))
            for name, frame in self.curves.items()
            for column in frame.columns[1:]
            for step, value in zip(frame.to_series(0).to_list(), frame[column].to_list(), strict=True)
            if value is not None and np.isfinite(value)
        ]


def flat_figures(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested figures with dotted names, as MLflow keeps them.

    >>> flat_figures({"by_date": {"2014-04-02": {"n": 3}}})
    {'by_date.2014-04-02.n': 3.0}
    """
    flat: dict[str, float] = {}
    for name, figure in figures.items():
        parts = figure._asdict() if isinstance(figure, Estimate) else figure
        if isinstance(parts, Mapping):
            flat |= flat_figures(parts, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = float(parts)
    return flat


def dataset_facts(name: str, matrix: Matrix) -> DatasetFacts:
    """What may be told of a matrix: digests, sizes and dates."""
    days = matrix.keys["as_of_date"].unique().sort().to_list()
    return DatasetFacts(
        name=name,
        digest=matrix.digest,
        columns=column_digests(matrix),
        n_rows=matrix.keys.height,
        n_persons=matrix.keys["person_id"].n_unique(),
        n_in_need=None if matrix.y is None else int(np.nansum(matrix.y)),
        n_unknown=None if matrix.y is None else int(np.isnan(matrix.y).sum()),
        as_of_dates=tuple(map(str, days)),
    )


def column_digests(matrix: Matrix) -> dict[str, str]:
    """Column → SHA-256 of its little-endian float32 bytes, in the order of the rows.

    They are the hashes from which :attr:`features.matrix.Matrix.digest` is made.
    """
    hashes = [hashlib.sha256() for _ in matrix.names]
    columns = np.empty((len(matrix.names), _BLOCK_ROWS), dtype=np.float32)
    for start in range(0, matrix.X.shape[0], _BLOCK_ROWS):
        rows = matrix.X[start : start + _BLOCK_ROWS]
        copy_transposed(frozen(rows), columns, 0)
        for column, values in zip(hashes, columns[:, : rows.shape[0]], strict=True):
            column.update(values.astype("<f4", copy=False).data)
    return {name: column.hexdigest() for name, column in zip(matrix.names, hashes, strict=True)}


def _column_digests(datasets: Sequence[DatasetFacts]) -> pl.DataFrame:
    rows = [(data.name, column, digest) for data in datasets for column, digest in data.columns.items()]
    return pl.DataFrame(rows, schema=["dataset", "column", "sha256"], orient="row")
