"""What came of a training: one JSON object (contracts.md §6), and the same in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serving.saying import Result, count, counted, interval, number, table

if TYPE_CHECKING:
    import polars as pl

    from models.experiment import Experiment
    from models.run_contents import Further
    from models.selection import SearchResult

_MOST_COLUMNS = 10
_BY_PERSON = "a split of persons shows what a model could do at best, and says nothing about a later date"


def trained_result(
    run_id: str, experiment: Experiment, further: Further, rows: pl.DataFrame, findings: Sequence[str]
) -> dict[str, Any]:
    """Everything ``ennakko train`` answers, as JSON values; a figure that is not determined is null.

    Parameters
    ----------
    run_id : str
    experiment : Experiment
    further : Further
    rows : polars.DataFrame
        The judged rows of the gate's evidence, on which the duel at capacity is fought.
    findings : sequence of str
        In one sentence each.
    """
    from models.baselines import UNIT_RULE, duels

    need, split = experiment.need, experiment.split
    test: dict[str, Any] = _estimates(experiment.metrics)
    test["by_date"] = {str(day): _estimates(figures) for day, figures in experiment.by_date.items()}
    fought = [] if need.label is None else duels(rows, (experiment.k,), 0, orders=(UNIT_RULE,))
    return {
        "run_id": run_id,
        "need": need.id,
        "model_digest": experiment.model.digest,
        "train_as_of_dates": [str(day) for day in split.train_dates],
        "test_as_of_dates": [str(day) for day in split.test_dates],
        "judged_as_of_dates": [str(day) for day in split.judged_dates],
        "n_train": 0 if experiment.train_matrix is None else len(experiment.train_matrix.keys),
        "n_judged": len(experiment.judged.keys),
        "k": experiment.k,
        "test": test,
        "unseen": _estimates(experiment.unseen),
        "n_unseen": experiment.n_unseen,
        "k_unseen": experiment.k_unseen,
        "duel": [
            {
                "rival": duel.rival,
                "k": duel.cut,
                "ours": number_or_null(duel.ours.value),
                "theirs": number_or_null(duel.theirs.value),
                "difference": number_or_null(duel.difference.value),
                "low": number_or_null(duel.difference.low),
                "high": number_or_null(duel.difference.high),
            }
            for duel in fought
        ],
        "baselines": _records(experiment.baselines),
        "findings": list(findings),
        "not_for_approval": _BY_PERSON if split.kind == "person" else None,
        "advice": experiment.advice,
        "single_columns": _records(experiment.columns.head(_MOST_COLUMNS)),
        "hold_outs": _records(experiment.hold_outs),
        "censoring": _records(experiment.censoring),
        "contacts": experiment.contacts,
        "attrition": _records(experiment.attrition),
        "search": None if further.search is None else _searched(further.search),
        "learning_curve": _records(further.learning_curve),
        "feature_value": _records(further.feature_value),
    }


def _searched(search: SearchResult) -> dict[str, Any]:
    return {
        "study": search.study,
        "trials": search.trials["trial"].n_unique(),
        "parameters": dict(search.parameters),
        "method": search.method,
        "difference": None if search.difference is None else _estimate(search.difference),
    }


def _estimates(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _estimate(figure) for name, figure in figures.items()}


def _estimate(figure: Any) -> dict[str, float | None]:
    return {part: number_or_null(value) for part, value in figure._asdict().items()}


def _records(frame: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Rows as JSON values: what is not finite is null, a day is text."""
    rows = [] if frame is None else frame.to_dicts()
    return [{name: _json_value(value) for name, value in row.items()} for row in rows]


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return number_or_null(value)
    return value if value is None or isinstance(value, int | str) else str(value)


def number_or_null(value: float | None) -> float | None:
    """A figure as JSON can hold it: what was not measured is null."""
    return value if value is not None and math.isfinite(value) else None


# ---- in words ------------------------------------------------------------------------------------------------------


def say_trained(result: Result) -> None:
    """The result on the terminal: measures, every rival at the same capacity, advice, who was left out, MLflow."""
    print(f"run {result['run_id']}, model {result['model_digest'][:12]}")
    learnt = _dates(result["train_as_of_dates"]) or "nothing: a written rule"
    print(f"learnt from {learnt}; tested on {_dates(result['test_as_of_dates'])}")
    print("\n".join(("", *(f"- {line}" for line in result["findings"]))))
    _say_measures(result)
    _say_baselines(result)
    if result["advice"]:
        print(f"\nAdvice: {result['advice']}")
    _say_hold_outs(result)
    _say_censoring(result)
    _say_attrition(result)
    if searched := result["search"]:
        chosen = ", ".join(f"{name} {number(value)}" for name, value in searched["parameters"].items())
        print(f"\nParameters after {counted(searched['trials'], 'trial')}: {chosen or 'the defaults'}")
    if result["benefit"] is not None:
        _say_benefit(result["benefit"])
    place = result["mlflow"]
    alias = "" if result["not_for_approval"] else ", alias candidate"
    print(f"\nMLflow: experiment {place['experiment']}{alias}; plots, tables and model card: {place['show']}")
    if result["not_for_approval"]:
        print(f'measured, not for approval: {result["not_for_approval"]}. For approval, train with kind = "temporal".')
    else:
        print(f"Next: ennakko judge --run {result['run_id']}")


def _dates(days: list[str]) -> str:
    return ", ".join(days) if len(days) <= 6 else f"{len(days)} dates from {days[0]} to {days[-1]}"


def _say_measures(result: Result) -> None:
    unseen = result["unseen"]
    rows = [
        (name.replace("_", " "), number(m["value"]), interval(m), *_beside(unseen.get(name)))
        for name, m in result["test"].items()
        if name != "by_date" and m["value"] is not None
    ]
    if rows:
        who = f"{counted(result['n_unseen'], 'person')} never seen in training"
        if result["n_unseen"]:
            who += f" (in {counted(result['k_unseen'], 'place')})"
        table(rows, ("measure", "value", "95 % interval", who, "95 % interval"))


def _beside(figure: Result | None) -> tuple[str, str]:
    return ("–", "–") if figure is None or figure["value"] is None else (number(figure["value"]), interval(figure))


def _part(row: Result, name: str) -> dict[str, float | None]:
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def _say_baselines(result: Result) -> None:
    if not result["baselines"]:
        return
    judged = counted(result["n_judged"], "judged person")
    print(f"\nIn the same {counted(result['k'], 'place')}, of {judged} ({_dates(result['judged_as_of_dates'])})")
    rows = []
    for i, row in enumerate(result["baselines"]):
        found, more = _part(row, "found_at_capacity"), _part(row, "difference_found")
        itself = i == 0 or more["value"] is None
        difference = ("–", "–") if itself else (count(more["value"], signed=True), interval(more, signed=True))
        within = interval(found, people=True)
        said = (row["order"].replace("_", " "), number(row["auc"]), count(found["value"]), within)
        rows.append((*said, *difference, row["what"]))
    heads = ("order", "AUC", "in need found", "95 %", f"{rows[0][0]} finds more by", "95 %", "what it is")
    table(rows, heads)


def _say_hold_outs(result: Result) -> None:
    if not result["hold_outs"]:
        return
    print("\nLeft out of training, one at a time")
    rows = [
        (str(row["value"]), count(row["n"]), count(row["in_need"]), number(row["auc"]), interval(_part(row, "auc")))
        for row in result["hold_outs"]
    ]
    table(rows, ("left out", "rows", "in need", "AUC", "95 % interval"))


def _say_benefit(benefit: Result) -> None:
    print(f"\nBy the evidence table {benefit['table_version']}")
    heads = ("effect", "ratio", "95 %", "eligible", "not known", "not eligible", "contra-indicated", "source")
    people = ("eligible", "not_known", "not_eligible", "contra_indicated")
    rows = [
        (
            e["id"],
            f"{e['value']:g}",
            f"{e['low']:g} to {e['high']:g}",
            *(f"{e[part]:,}" for part in people),
            e["source"],
        )
        for e in benefit["effects"]
    ]
    table(rows, heads)
    if (lists := benefit["lists"]) is None:
        print("Not ranked by benefit: an effect names no minutes of work.")
        return
    parts = [("by risk", "avoided_by_risk", "attempts_per_event_by_risk")]
    parts += [("by benefit per minute", "avoided_by_benefit", "attempts_per_event_by_benefit")]
    said = [
        (name, number(lists[avoided]["value"]), interval(lists[avoided]), count(lists[attempts]["value"]))
        for name, avoided, attempts in parts
    ]
    table(said, (f"the first {lists['k']}", "expected events avoided", "95 % of the effect", "attempts per event"))
    print(f"{lists['overlap_share']:.0%} of the list by risk is also on the list by benefit. Modelled, not measured.")


def _say_censoring(result: Result) -> None:
    """How much it matters what is made of those who left: the measures that a list is judged by."""
    shown = ("share_in_need", "auc", "precision_at_capacity", "recall_at_capacity")
    rows = []
    for name in shown:
        told = [row for row in result["censoring"] if row["measure"] == name and row["value"] is not None]
        if told:
            rows.append((name.replace("_", " "), *(number(row["value"]) for row in told), interval(told[0])))
    if not rows:
        return
    treatments = list(dict.fromkeys(row["censoring"] for row in result["censoring"]))
    print("\nBy what is made of those who left before the outcome was decided")
    table(rows, ("measure", *treatments, f"95 % of {treatments[0]}"))


def _say_attrition(result: Result) -> None:
    """Each part from everyone to the rows that serve, by the steps that took anybody away."""
    for part in dict.fromkeys(row["part"] for row in result["attrition"]):
        steps = [row for row in result["attrition"] if row["part"] == part]
        left = f"{steps[-1]['rows']:,} of {counted(steps[0]['rows'], 'row')} left"
        print(f"\n{part}: {left}, {counted(steps[-1]['persons'], 'person')}")
        told = [steps[0], *(row for row in steps[1:] if row["rows_lost"])]
        rows = [(row["rule"], *(count(row[name]) for name in ("rows", "persons", "rows_lost"))) for row in told]
        table(rows, ("kept", "rows left", "persons", "rows lost"))
