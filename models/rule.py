"""A need that is a written rule, with a model's interface; and written orders as rank scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, Fault, did_you_mean
from models.artefact import manifest_of, write_artefact
from models.need import Need
from models.written_order import OrderTerm, parse_order


def rule_order(columns: Sequence[str], X: np.ndarray, order: Sequence[OrderTerm | str] | str) -> np.ndarray:
    """A rank score that puts rows in a written order.

    Parameters
    ----------
    columns : sequence of str (p,)
    X : float32 (n, p)
    order : sequence of OrderTerm, or as need files write it
        The first term decides, the next among its equals, and so on.

    Returns
    -------
    float64 (n,)
        How many different places lie below the row's: higher first, equal for rows that no term tells apart. It
        compares rows of this call with each other only.

    Raises
    ------
    BadInput
        A term names no column.

    >>> X = np.array([[2, 30], [5, 20], [np.nan, 40], [5, 60]], dtype=np.float32)
    >>> rule_order(["absence", "age"], X, "absence desc, age asc").tolist()
    [1.0, 3.0, 0.0, 2.0]
    """
    terms = _terms(order)
    if missing := [term.column for term in terms if term.column not in columns]:
        raise BadInput(
            *(Fault("rule.order", f"'{name}' is not a column", did_you_mean(name, columns)) for name in missing)
        )
    keys = np.empty((len(terms), len(X)))
    for row, term in zip(keys, terms, strict=True):
        value = X[:, list(columns).index(term.column)].astype(np.float64)
        row[:] = value if term.descending else -value
        row[np.isnan(value)] = np.inf if term.missing_first else -np.inf
    return _places(keys)


def _terms(order: Sequence[OrderTerm | str] | str) -> tuple[OrderTerm, ...]:
    try:
        return parse_order(order)
    except ValueError as error:
        wrong, _, mend = str(error).partition(" | ")
        raise BadInput(Fault("rule.order", f"is {order!r}: {wrong}", mend)) from None


def _places(keys: np.ndarray) -> np.ndarray:
    """Dense rank of the columns of ``keys`` (n_terms, n), the first term deciding first: float64 (n,)."""
    n = keys.shape[1]
    ascending = np.lexsort(keys[::-1])
    place = np.zeros(n)
    if n > 1:
        ordered = keys[:, ascending]
        place[ascending[1:]] = np.cumsum((ordered[:, 1:] != ordered[:, :-1]).any(axis=0))
    return place


@dataclass(frozen=True)
class RuleModel:
    """The written order of a need: it ranks, promises no probability, and explains itself by its columns.

    Attributes
    ----------
    manifest : bytes
        Canonical; its SHA-256 is ``digest``.
    """

    need: Need
    manifest: bytes
    kind = "rule"

    @classmethod
    def of(cls, need: Need) -> RuleModel:
        """The rule of a need of kind ``rule``.

        Raises
        ------
        BadInput
            The need is learned, not written.
        """
        if need.rule is None:
            wrong = f'is of kind "{need.kind}", which has no written order'
            raise BadInput(Fault(f"{need.id}.toml: kind", wrong, "Train it, or write [rule] order"))
        return cls(need, manifest_of("rule", need.id, _files(need)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the matrix it ranks."""
        return self.need.columns

    @property
    def order(self) -> tuple[OrderTerm, ...]:
        """The terms of the order, which are also its reasons."""
        return self.need.order

    @property
    def digest(self) -> str:
        """Model digest."""
        return sha256(self.manifest)

    def raw(self, X: np.ndarray) -> np.ndarray:
        """Rank score float64 (n,), higher first; see :func:`rule_order`."""
        return rule_order(self.columns, X, self.order)

    def predict(self, X: np.ndarray) -> None:
        """A rule promises no probability."""
        return None

    def save(self, folder: Path) -> None:
        """Write ``need.toml``, ``columns.json`` and ``manifest.json``, all or nothing; ``load_model`` reads them."""
        write_artefact(folder, _files(self.need), self.manifest)


def _files(need: Need) -> dict[str, bytes]:
    return {"need.toml": need.bytes, "columns.json": canonical_json({"columns": list(need.columns)})}
