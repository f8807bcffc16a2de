"""Other ways to learn the same need from the same rows: another label, other weights, fewer features.

A run's matrix is laid out once more from its city, and must be the one that the run was learnt from, byte for byte.
Every variant keeps its people, days, cells, seed and parameters; what it changes is the label, the weights or the
columns, so that a difference between two variants is made by that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ethics.refusals import BadInput, Fault
from features.arrays import read_only
from features.keyed_rows import keyed_rows
from features.label import outcome_of
from models.baseline_orders import learn_orders
from models.bounded_refits import parameters_of
from models.experiment_layout import Layout, lay_out
from models.training import NeedModel, train

if TYPE_CHECKING:
    import polars as pl

    from ethics.objections import ObjectionRegister
    from features.city import City
    from features.matrix import Matrix
    from features.spec import LabelSpec
    from models.need import Need

Floats = NDArray[np.float64]
Kind = Literal["as it is", "label", "weights", "features", "cut"]


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to learn the need.

    Attributes
    ----------
    name : str
        Short, and different from every other's: "label: ambulance call-out".
    kind : str
    change : str
        What is changed, in words, for whoever would change the need file.
    laid : Layout
        The run's, with the changed need and matrix.
    """

    name: str
    kind: Kind
    change: str
    laid: Layout


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a variant taught, and what is gathered for the gate of it; the attributes are an ``Experiment``'s."""

    need: Need
    model: NeedModel
    judged: Matrix
    train_matrix: Matrix
    train_weights: Floats | None
    seen_in_training: NDArray[np.bool_]
    orders: Mapping[str, Floats]
    weight: Floats | None
    k: int


def laid_out_again(
    city: City,
    model: NeedModel,
    objections: ObjectionRegister,
    step: Callable[..., None],
    *,
    test_matrix: str,
    contacted: pl.DataFrame | None = None,
) -> Layout:
    """The layout that a model was learnt from and is judged on.

    Parameters
    ----------
    test_matrix : str
        Digest of the judged matrix, as it was logged with the run.
    contacted : polars.DataFrame, optional
        As :func:`models.experiment_layout.lay_out` takes it.

    Raises
    ------
    BadInput
        City, objections or contacts have changed since: the rows are others.
    """
    laid = lay_out(city, model.need, objections, int(model.facts["seed"]), step, contacted)
    made = {
        "what the run was learnt from": (laid.taught(laid.split.candidate), model.facts["training"]["matrix_digest"]),
        "what it is judged on": (laid.judged, test_matrix),
    }
    changed = "its data, the objections or the contacts have changed"
    faults = [
        Fault("city", f"does not give {what} any more: {changed}", "Train again")
        for what, (rows, digest) in made.items()
        if laid.matrix.rows(rows).digest != digest
    ]
    if faults:
        raise BadInput(*faults)
    return laid


# ---- another label -------------------------------------------------------------------------------------------------


def label_variants(laid: Layout) -> list[Variant]:
    """Each independent sign of need in the label's place; where there are two or more, all of them together too.

    A label that counts events stays among those of "any sign"; one that sums up values (cost, say) cannot be told in
    one breath with events, and is left out. What becomes the label is an independent sign no longer.
    """
    label = laid.need.label
    assert label is not None
    found = []
    for indicator in laid.need.indicators:
        others = tuple(other.name for other in laid.need.indicators if other.name != indicator.name)
        change = f"[label] codes = {_written(indicator.codes)}{_left_out(label)}, and no indicator '{indicator.name}'"
        found.append(
            Variant(
                f"label: {indicator.name}",
                "label",
                change,
                _with_label(laid, _any_event(label, indicator.codes), others),
            )
        )
    if len(laid.need.indicators) >= 2:
        signs = tuple(code for indicator in laid.need.indicators for code in indicator.codes)
        counts = label.measure == "days" and label.at_least == 1
        codes = (*label.codes, *signs) if counts else signs
        name = "label: the label or any indicator" if counts else "label: any indicator"
        spec = _any_event(label, codes)
        if counts:
            spec = spec.model_copy(update={"kind": label.kind, "contact_codes": label.contact_codes})
        change = f"[label] codes = {_written(codes)}{_left_out(label)}, and no [[indicators]] of the same codes"
        found.append(Variant(name, "label", change, _with_label(laid, spec, ())))
    return found


def _any_event(label: LabelSpec, codes: Sequence[str]) -> LabelSpec:
    """A label by any event of some codes, in the window and under the rules of another."""
    counted = {"measure": "days", "at_least": 1.0, "at_most": None, "kind": "need", "contact_codes": None}
    return label.model_copy(update={"codes": tuple(codes), **counted})


def _left_out(label: LabelSpec) -> str:
    """What the label has to lose in the file to be one of any event."""
    if label.measure == "days" and label.at_least == 1:
        return ""
    lines = [f'measure = "{label.measure}"'] if label.measure != "days" else []
    lines += [f"{name} = {value:g}" for name in ("at_least", "at_most") if (value := getattr(label, name)) is not None]
    return f", without {' and '.join(lines)}"


def _written(codes: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{code}"' for code in codes) + "]"


def _with_label(laid: Layout, label: LabelSpec, indicators: Sequence[str]) -> Layout:
    """The layout with another label, and with only some of its indicators, as a need file that says so would have."""
    outcome = outcome_of(laid.city, keyed_rows(laid.city, laid.matrix.keys), label)
    matrix = replace(
        laid.matrix,
        y=read_only(outcome.y),
        followed_days=read_only(outcome.followed_days),
        censored=read_only(outcome.censored),
        indicators={name: laid.matrix.indicators[name] for name in indicators},
        attrition=None,
    )
    kept = tuple(indicator for indicator in laid.need.indicators if indicator.name in indicators)
    need = laid.need.model_copy(update={"label": label, "indicators": kept})
    return laid.with_label(need, matrix)


# ---- fewer features ------------------------------------------------------------------------------------------------


def kept_features(need: Need) -> list[str]:
    """Features that cannot be left out: the unit's written order reads them, or there is no other."""
    read = {term.column for term in need.order}
    names = [feature.name for feature in need.features if read & set(feature.columns())]
    every = list(dict.fromkeys(feature.name for feature in need.features))
    return every if len(every) == 1 else names


def feature_variants(laid: Layout, chosen: Sequence[tuple[str, str]]) -> list[Variant]:
    """The run without each of some features, and without all of them together; ``chosen`` are names and why."""
    names = [name for name, _ in chosen]
    parts: list[tuple[tuple[str, ...], str]] = [((name,), why) for name, why in chosen]
    if len(names) > 1 and len(names) < len({feature.name for feature in laid.need.features}):
        parts.append((tuple(names), "all of them together"))
    return [
        Variant(
            f"without {', '.join(some)}", "features", f"no [[features]] {', '.join(some)} ({why})", _without(laid, some)
        )
        for some, why in parts
    ]


def _without(laid: Layout, names: Sequence[str]) -> Layout:
    left = tuple(feature for feature in laid.need.features if feature.name not in names)
    need = laid.need.model_copy(update={"features": left})
    columns = np.flatnonzero(np.isin(laid.need.columns, need.columns))
    matrix = replace(laid.matrix, X=read_only(np.ascontiguousarray(laid.matrix.X[:, columns])), names=need.columns)
    return replace(laid, need=need, matrix=matrix)


# ---- learning ------------------------------------------------------------------------------------------------------


def learnt(variant: Variant, of_run: NeedModel, more_weights: Callable[[Matrix], Floats] | None = None) -> Candidate:
    """Train a variant as its run was trained, with the run's seed and parameters.

    Parameters
    ----------
    variant : Variant
    of_run : NeedModel
    more_weights : callable, optional
        Weights (m,) of the training rows, which those of censoring are multiplied by.

    Raises
    ------
    BadInput
        Nothing can be learnt from this label (:func:`models.training.train`).
    """
    laid = variant.laid
    need, origin = laid.need, laid.split.candidate
    taught = laid.taught(origin)
    matrix, weights = laid.matrix.rows(taught), laid.weights(taught)
    if more_weights is not None:
        more = more_weights(matrix)
        weights = more if weights is None else weights * more
    model = train(matrix, need, laid.seed, weights=weights, parameters=parameters_of(of_run))
    judged = laid.matrix.rows(laid.judged)
    orders = learn_orders(laid.city, matrix, need.listed_k, laid.seed, laid.weights(taught))
    people = judged.keys["person_id"]
    weight = laid.test_weights
    return Candidate(
        need=need,
        model=model,
        judged=judged,
        train_matrix=matrix,
        train_weights=weights,
        seen_in_training=people.is_in(matrix.keys["person_id"].unique().implode()).to_numpy(),
        orders=orders.scores(laid.city, judged),
        weight=None if weight is None else weight[laid.judged],
        k=laid.k,
    )
