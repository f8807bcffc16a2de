"""The story of a trial: whom help helped, from a table of a randomised trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, did_you_mean
from ethics.whole_file import write_whole
from serving.home import Home
from serving.opening import need_path
from serving.progress import Step
from serving.saying import Result, counted, table

if TYPE_CHECKING:
    import polars as pl

    from models.metrics import Estimate


def judge_trial(
    home: Home,
    file: Path,
    *,
    need: Path | None,
    treated: str,
    outcome: str,
    outcome_is: Literal["wanted", "unwanted"],
    share: float,
    person: str | None,
    columns: Sequence[str] | None,
    learner: Literal["t", "dr"],
    seed: int,
    step: Step,
) -> dict[str, Any]:
    """Learn from a randomised trial whom the help helps, and say how far that can be relied on.

    Parameters
    ----------
    home : Home
    need : Path or None
        The need whose action was tried: the result is kept in the home, and may then be a ground for the word.
    file : Path
        Parquet or CSV, one row per person, or several with ``person`` naming whose.
    treated, outcome : str
        Columns of 0 and 1: drawn to be offered the help, and what followed.
    outcome_is : "wanted" or "unwanted"
    share : float
        Planned probability of being offered the help.
    person : str or None
        Column of who, or which household, was drawn; None: each row is a person of its own.
    columns : sequence of str or None
        Columns known before the draw; None: every further column of numbers.

    Raises
    ------
    BadInput
        A file or column that cannot be read, or data that are no randomised trial: all at once.
    """
    import numpy as np

    from models.need import load_need
    from models.uplift_learning import uplift
    from models.uplift_trial import randomised_trial

    step("reading the trial")
    rows = _table(file)
    known = _known_before(rows, [treated, outcome, *([person] if person else [])], columns, file)
    trial = randomised_trial(
        rows.select(known).cast(dict.fromkeys(known, _float())).to_numpy().astype(np.float32),
        rows[treated].to_numpy(),
        rows[outcome].to_numpy(),
        share=share,
        person=np.arange(rows.height) if person is None else rows[person].to_numpy(),
        outcome_is=outcome_is,
    )
    step("learning effects, fold by fold")
    found = uplift(trial, learner=learner, seed=seed)
    worth = found.worth
    result: dict[str, Any] = {
        "file": str(file),
        "rows": len(trial),
        "columns": known,
        "learner": learner,
        "average": _numbers(found.average),
        "fifths": [_numbers(fifth) for fifth in worth.fifths],
        "top_minus_bottom": _numbers(worth.top_minus_bottom),
        "qini": _numbers(worth.qini),
        "autoc": _numbers(worth.autoc),
        "p_value": float(worth.p_value),
        "heterogeneous": worth.heterogeneous,
        "shows_benefit": found.shows_benefit,
        "n_judged": found.n_judged,
    }
    if need is not None:
        tried = load_need(need_path(need)).id
        result |= {"need": tried, "trial_sha256": sha256(file.read_bytes())}
        write_whole(home.trials / f"{tried}.json", json.dumps(result, indent=1).encode("utf-8"))
        home.audit_log.append("uplift", "data scientist", need=tried, trial=result["trial_sha256"])
    return result


def say_uplift(result: Result) -> None:
    """The trial in words and a table."""
    columns = result["columns"]
    named = ", ".join(columns[:12]) + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")
    print(f"{counted(result['rows'], 'row')}; taken as known before the draw: {named}")
    places = ("first fifth", "second fifth", "third fifth", "fourth fifth", "last fifth")
    rows = [("everybody, by the draw alone", result["average"])]
    rows += list(zip(places, result["fifths"], strict=True))
    rows += [
        ("first less last fifth", result["top_minus_bottom"]),
        ("Qini", result["qini"]),
        ("AUTOC", result["autoc"]),
    ]
    said = [(name, f"{part['value']:+.4f}", f"{part['low']:+.4f} to {part['high']:+.4f}") for name, part in rows]
    table(said, ("effect on the outcome", "value", "95 % interval"))
    if result["heterogeneous"]:
        print("Some are helped more than others, and the order finds them.")
    else:
        print("Not shown that some are helped more than others: offer the help by need, or to everybody alike.")
    if not result["shows_benefit"]:
        print("No benefit is shown; do not speak of one.")
    if "need" in result:
        print(f"Kept in the home as the trial of {result['need']}.")


def _table(file: Path) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        wrong = f"cannot be read as a table ({type(error).__name__})"
        raise BadInput(Fault(str(file), wrong, "Give a Parquet or CSV file with one row per person")) from None


def _known_before(rows: pl.DataFrame, named: Sequence[str], columns: Sequence[str] | None, file: Path) -> list[str]:
    """Columns to learn from; all that is wrong with the names at once."""
    wanted = [*named, *(columns or [])]
    faults = [
        Fault(str(file), f"has no column '{name}'", did_you_mean(name, rows.columns))
        for name in dict.fromkeys(wanted)
        if name not in rows.columns
    ]
    known = list(
        dict.fromkeys(columns)
        if columns
        else [name for name, kind in rows.schema.items() if kind.is_numeric() and name not in named]
    )
    faults += [
        Fault(str(file), f"column '{name}' holds no numbers", "Leave it out, or write it as numbers")
        for name in known
        if name in rows.columns and not (rows.schema[name].is_numeric() or rows.schema[name] == _boolean())
    ]
    faults += [
        Fault("--columns", f"'{name}' is not known before the draw", "Leave it out") for name in known if name in named
    ]
    if not known:
        faults.append(Fault(str(file), "has no column of numbers known before the draw", "Add what was known"))
    if faults:
        raise BadInput(*faults)
    return known


def _float() -> Any:
    import polars as pl

    return pl.Float64


def _boolean() -> Any:
    import polars as pl

    return pl.Boolean


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {name: float(value) for name, value in estimate._asdict().items()}
