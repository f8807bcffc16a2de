"""The fairness table of a verdict, computed again from its cells: what report, public page and audit rest on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from ethics.cells import cells_as_bytes
from ethics.digests import sha256
from ethics.fairness import Cuts, FairnessTable, Thresholds, tabulate
from ethics.refusals import Fault, NotTrusted

if TYPE_CHECKING:
    import polars as pl

    from ethics.verdict import Verdict

_KEPT: OrderedDict[Hashable, FairnessTable] = OrderedDict()
_MOST = 2
"""Tables kept: pages of one verdict are rendered one after the other, and a table of a city takes seconds."""


def table_of(verdict: Verdict, cells: pl.DataFrame | None, cells_digest: str | None = None) -> FairnessTable | None:
    """The fairness table of a verdict, from cells that must be its own; None where it was judged without any group.

    Parameters
    ----------
    cells_digest : str, optional
        SHA-256 of the file the cells were read from. Without it they are written again to be hashed, which only the
        version of polars that wrote them does to the byte.

    Raises
    ------
    NotTrusted
        The cells are not those the verdict was judged on.
    """
    judged = verdict.subject.get("cells")
    found = cells_digest or (None if cells is None else sha256(cells_as_bytes(cells)))
    if judged != found:
        wrong = f"are {str(found)[:12]}, but {str(judged)[:12]} were judged"
        raise NotTrusted(Fault("cells", wrong, "Give the file of cells that was written with the verdict"))
    if cells is None:
        return None
    scope, limits = verdict.scope, verdict.scope["thresholds"]
    asked = {
        "cuts": Cuts(int(scope["measured_k"]), int(scope["measured_k_audit"])),
        "seed": int(verdict.subject["seed"]),
        "replicates": int(verdict.subject["replicates"]),
        "thresholds": Thresholds(
            recall=float(limits["min_recall_ratio"]),
            oe=float(limits["max_oe_ratio"]),
            need=float(limits["max_need_ratio"]),
            alarm=float(limits["alarm_probability"]),
            min_expected=int(limits["min_expected_positives"]),
        ),
        "design_effect": float(verdict.subject["design_effect"]),
        "fixed": bool(scope["selection_given"]),
    }
    key = (found, *asked.values())
    if key not in _KEPT:
        _keep(key, tabulate(cells, **asked))  # type: ignore[arg-type]
    return _KEPT[key]


def tabulated_once(
    cells: pl.DataFrame,
    cuts: Cuts,
    *,
    seed: int,
    replicates: int,
    thresholds: Thresholds,
    design_effect: float = 1.0,
    fixed: bool = False,
) -> FairnessTable:
    """As :func:`ethics.fairness.tabulate`; the table that the same cells gave a while ago is given again.

    A model is judged, vouched for, and judged again: its people and cells are the same.
    """
    settings = (cuts, seed, replicates, thresholds, design_effect, fixed)
    key = (sha256(cells_as_bytes(cells)), *settings)
    if key not in _KEPT:
        asked = dict(zip(("cuts", "seed", "replicates", "thresholds", "design_effect", "fixed"), settings, strict=True))
        _keep(key, tabulate(cells, **asked))  # type: ignore[arg-type]
    return _KEPT[key]


def remember(table: FairnessTable) -> None:
    """Keep a table that was just measured, so that its verdict's pages need not compute it again."""
    settings = (table.cuts, table.seed, table.replicates, table.thresholds, table.design_effect, table.fixed)
    _keep((table.cells_digest, *settings), table)


def _keep(key: Hashable, table: FairnessTable) -> None:
    _KEPT[key] = table
    while len(_KEPT) > _MOST:
        _KEPT.popitem(last=False)
