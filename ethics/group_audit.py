"""Everything that is asked of rows joined to groups, beside the fairness table; in plain tables, for the gate.

Called by :meth:`ethics.GroupRegister.examine`, which joins the groups; they go no further than this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ethics.cells import INDICATOR, UNKNOWN
from ethics.label_audit import FROM_CONTACT, LABEL, RANKED_BY, VALUE, Cohort, label_choice, observability
from ethics.proxies import Joined, column_proxies, group_proxies, missingness
from ethics.refusals import BadInput, Fault

if TYPE_CHECKING:
    import polars as pl

    from ethics.fairness import Cuts
    from ethics.influence import Bools, Floats, Ints
    from ethics.policy import Policy

_KEYS = ("person_id", "as_of_date")


def examined(
    rows: pl.DataFrame,
    groups: pl.DataFrame,
    features: pl.DataFrame | None,
    *,
    cuts: Cuts,
    policy: Policy,
    seed: int,
    kind: str,
    gain: Mapping[str, float] | None,
    feature_of: Mapping[str, str],
) -> dict[str, Any]:
    """The tables of :meth:`ethics.GroupRegister.examine`, of rows and the groups joined to them."""
    import polars as pl

    found: dict[str, Any] = dict.fromkeys(
        ("group_proxies", "column_proxies", "missingness", "observability", "label_choice")
    )
    if not rows.height:
        return found
    names = [name for name in groups.columns if name != "person_id"]
    attributes = [Joined.of(name, groups[name].fill_null(UNKNOWN).to_list()) for name in names]
    clusters, label = clusters_of(rows), rows["label"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    indicators = {
        name.removeprefix(INDICATOR): rows[name].to_numpy() for name in rows.columns if name.startswith(INDICATOR)
    }
    shown = policy.min_persons_shown
    contact = rows[FROM_CONTACT].to_numpy() if FROM_CONTACT in rows.columns else None
    found["observability"] = observability(attributes, label, contact, clusters, shown)
    people = _cohort(rows, label, indicators, clusters, cuts)
    found["label_choice"] = label_choice(
        attributes, people, kind=kind, min_expected=policy.fairness.min_expected, min_persons=shown
    )
    if features is not None:
        columns = [name for name in features.columns if name not in _KEYS]
        X = _in_order_of(rows, features).select(columns).to_numpy()
        weight = rows["weight"].to_numpy() if "weight" in rows.columns else None
        probability = rows["probability"].to_numpy() if not rows["probability"].null_count() else None
        score, strata = rows["rank_score"].to_numpy(), _strata(label, indicators)
        found["group_proxies"] = group_proxies(attributes, X, score, probability, strata, clusters, seed, weight)
        found["missingness"] = missingness(attributes, X, columns, feature_of, clusters, shown)
        if gain is not None:
            found["column_proxies"] = column_proxies(attributes, X, columns, gain, clusters, seed)
    return found


def clusters_of(rows: pl.DataFrame) -> Ints:
    """A number for each household, of 0 … c-1, and one of their own for each person whose household is not known."""
    from ethics.groups import HOUSEHOLD

    if HOUSEHOLD not in rows.columns:
        return np.arange(rows.height)
    homes = rows[HOUSEHOLD].to_list()
    named = [("person", i) if home is None else ("home", home) for i, home in enumerate(homes)]
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in named], dtype=np.int64)


def _in_order_of(rows: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """The features of each row's person, in the order of the rows."""
    import polars as pl

    ids = rows.select(pl.col("person_id").cast(pl.String))
    held = features.with_columns(pl.col("person_id").cast(pl.String))
    if ids["person_id"].equals(held["person_id"]):
        return held
    if (
        held.height != ids.height
        or held["person_id"].is_duplicated().any()
        or ids.join(held, on="person_id", how="anti").height
    ):
        raise BadInput(Fault("features", "are of other rows than those judged", "Train again"))
    return ids.join(held, on="person_id", how="left", maintain_order="left")


def _strata(label: Floats, indicators: Mapping[str, Bools]) -> Ints:
    """The same need: the same label and the same indicators, as one number; -1 where the label is not known."""
    code = np.nan_to_num(label).astype(np.int64)
    for hit in indicators.values():
        code = code * 2 + hit
    return np.where(np.isfinite(label), code, -1)


def _cohort(rows: pl.DataFrame, label: Floats, indicators: Mapping[str, Bools], clusters: Ints, cuts: Cuts) -> Cohort:
    ranked = {
        name.removeprefix(RANKED_BY): rows[name].to_numpy() for name in rows.columns if name.startswith(RANKED_BY)
    }
    known = np.isfinite(label)
    outcomes = {LABEL: np.where(known, label, 0.0)}
    if VALUE in rows.columns:
        outcomes["value"] = rows[VALUE].to_numpy()
    return Cohort(
        label=label,
        order={LABEL: rows["rank_score"].to_numpy(), **ranked},
        indicators=indicators,
        outcomes={**outcomes, **{name: hit.astype(np.float64) for name, hit in indicators.items()}},
        clusters=clusters,
        k=min(cuts.k_audit, rows.height),
        tie=rows["tie_key"].rank("ordinal").to_numpy().astype(np.int64),
    )
