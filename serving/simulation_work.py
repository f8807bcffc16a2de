"""The story of a simulation: a run's judged people, listed anew in other ways; aggregates alone, no verdict needed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault
from ethics.whole_file import write_whole
from serving.home import Home
from serving.progress import Step

if TYPE_CHECKING:
    import polars as pl

    from models.evidence_files import GatheredEvidence
    from models.need import Need
    from scoring.simulation import History, Outcome, Scenario, Worth

SEED = 0


def simulate_run(
    home: Home,
    run_id: str,
    *,
    compare: Sequence[str],
    capacities: Sequence[int],
    attempt_cost: float | None,
    by: Sequence[str],
    city_folder: Path | None,
    out: Path | None,
    step: Step,
) -> dict[str, Any]:
    """Compare capacities, orders and allocations on the people whom a run was judged on.

    Parameters
    ----------
    home : Home
    run_id : str
    compare : sequence of str
        Further runs of the same need, judged on the same people: other orders.
    capacities : sequence of int
        Attempts of a period; none: today's, with one more worker, and twice today's. They must lie as many people
        apart as the policy lets nobody be told from: between two nearer ones a single outcome could be read.
    attempt_cost : float or None
        Euros.
    by : sequence of str
        Attributes to count by; none means all.
    city_folder : Path or None
        Where the city lies now, if it has moved.
    out : Path or None

    Returns
    -------
    dict
        ``scenarios``, ``worth``, ``by_group``, ``curves`` and where it was written; counts and figures, no person.

    Raises
    ------
    BadInput
        No such run, a need without a label, capacities too near, runs of other people: all that can be said at once.
    NotTrusted
        The run's evidence or the groups are not those of the training.
    """
    from ethics.groups import GroupRegister
    from scoring.simulation import simulate
    from scoring.simulation_groups import found_by_group
    from scoring.simulation_page import LANGUAGES, curves_of
    from serving.gate_question import groups_of

    record = home.run_record(run_id)
    step("reading the run")
    need, gathered = _run(home, run_id)
    least = home.policy.min_persons_public
    k, places = int(gathered.facts["capacity_k"]), sorted({need.list.places(attempts) for attempts in capacities})
    # Of a split of persons only a share of the people is judged, in the same share of the places.
    worker = max(1, round(need.capacity.attempts_per_worker_per_period * k / need.capacity.k))
    n_workers = math.ceil(least / worker)
    places = places or [k, k + n_workers * worker, 2 * k]
    _refuse(need, places, k, least, given=bool(capacities))
    gathered = _without_objectors(home, need, gathered)
    others = {other: _order_of(home, other, need, gathered.rows) for other in compare}
    register = GroupRegister.open(groups_of(record, city_folder))
    units, capacity = _units(home, Path(city_folder or record["city"]), need, gathered.rows, step)
    history = _history(gathered, need, k, n_workers * worker, others, units, capacity, attempt_cost)
    scenarios = _scenarios(history, sorted({k, *places}))
    step("listing anew")
    outcomes = simulate(history, scenarios)
    told = [one for one in scenarios if one.k == k and one.order in ("model", "rule")]
    told += [one for one in scenarios if one.k > k and one == scenarios[_last(scenarios, "model")]]
    step("counting by group")
    result: dict[str, Any] = {
        "run_id": run_id,
        "need": need.id,
        "title": {language: getattr(need.title, language) for language in LANGUAGES},
        "invented": bool(record["invented"]),
        "people": history.rows.height,
        "known": int(gathered.rows["label"].is_not_null().sum()),
        "k": k,
        "attempts_per_person": need.list.attempts_per_person,
        "workers_added": n_workers,
        "scenarios": [_outcome(one) for one in outcomes],
        "worth": _worth_of(history, others),
        "group_scenarios": [scenario._asdict() for scenario in told],
        "by_group": found_by_group(history, told, register, by, least),
        "curves": curves_of(history, max(places)),
    }
    home.audit_log.append("simulate", "leader", need=need.id, run=run_id, n=len(scenarios))
    return {**result, "path": _written(result, out or home.root / "simulations" / need.id / run_id)}


def _written(result: dict[str, Any], folder: Path) -> str:
    """Write the numbers and a page in each language; where."""
    from scoring.simulation_page import LANGUAGES, render_page

    content = json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / "simulation.json", content.encode("utf-8"))
    for language in LANGUAGES:
        write_whole(folder / f"simulation.{language}.html", render_page(result, language).encode("utf-8"))
    return str(folder)


def _run(home: Home, run_id: str) -> tuple[Need, GatheredEvidence]:
    """The need of a run, and the people it was judged on, as they were when it was trained."""
    import polars as pl

    from models.evidence_files import read_evidence
    from models.registry import logged_digests, run_model
    from serving.gate_question import refuse_other_evidence

    home.run_record(run_id)
    model = run_model(home.registry, run_id)
    refuse_other_evidence(home.runs / run_id, logged_digests(home.registry, run_id))
    gathered = read_evidence(home.runs / run_id)
    # Taken out of the rows at erasure already; a backup of the run's folder may have brought somebody back.
    gone = home.objections.erased(gathered.rows["person_id"].to_list())
    return model.need, replace(gathered, rows=gathered.rows.filter(~pl.Series(gone, dtype=pl.Boolean)))


def _without_objectors(home: Home, need: Need, gathered: GatheredEvidence) -> GatheredEvidence:
    """The judged people without those who object by now, or were erased: they are on no list, not even a tried one.

    Raises
    ------
    BadInput
        Nobody is left.
    """
    import polars as pl

    gone = pl.Series(home.objections.objecting(gathered.rows["person_id"].to_list(), need.id))
    rows = gathered.rows.filter(~gone)
    if rows.is_empty():
        raise BadInput(
            Fault("--run", "was judged on people who all object by now", "Train again, and simulate that run")
        )
    return replace(gathered, rows=rows)


def _refuse(need: Need, places: Sequence[int], k: int, least: int, *, given: bool) -> None:
    faults = []
    if need.label is None:
        mend = "Simulate a need with a [label]: without one nobody knows who was in need"
        faults.append(Fault("--run", f"is of {need.id}, which has no label", mend))
    if given:
        asked = sorted({k, *places})
        for nearer, farther in zip([0, *asked], asked, strict=False):
            if farther - nearer < least:
                wrong = f"{farther} lies {farther - nearer} people from {nearer or 'nobody'}: an outcome could be read"
                faults.append(Fault("--capacity", wrong, f"Keep capacities, today's {k} too, {least} apart"))
    if faults:
        raise BadInput(*faults)


def _order_of(home: Home, run_id: str, need: Need, rows: pl.DataFrame) -> Any:
    """Another run's rank scores of the same people, in the order of the rows."""
    from models.baselines import floats

    other, gathered = _run(home, run_id)
    gathered = _without_objectors(home, other, gathered)
    joined = rows.select("person_id", "as_of_date").join(
        gathered.rows.select("person_id", "as_of_date", "rank_score"),
        on=["person_id", "as_of_date"],
        how="left",
        maintain_order="left",
    )
    faults = []
    if other.id != need.id:
        faults.append(Fault("--compare", f"is a run of {other.id}, not of {need.id}", "Give a run of the same need"))
    elif joined["rank_score"].null_count() or gathered.rows.height != rows.height:
        mend = "Give a run judged on the same people and days"
        faults.append(Fault("--compare", "was judged on other people, so its lists do not compare", mend))
    if faults:
        raise BadInput(*faults)
    return floats(joined["rank_score"])


def _units(
    home: Home, folder: Path, need: Need, rows: pl.DataFrame, step: Step
) -> tuple[pl.Series | None, dict[str, int | None]]:
    """The unit of each judged person on the day judged; None where the service has but one."""
    import polars as pl

    from features.attributes import attribute_on
    from scoring.units import units_of
    from serving.opening import open_city_for

    city = open_city_for(home, folder, need, step)
    units = units_of(city, need)
    if units.height < 2:
        return None, {}
    served = units.select("unit_id", pl.col("districts").alias("district")).explode("district").drop_nulls()
    parts = []
    for day in rows["as_of_date"].unique().sort():
        living = attribute_on(city, "district", day)
        if living is None:
            return None, {}
        parts.append(living.rename({"value": "district"}).with_columns(as_of_date=pl.lit(day)))
    known = pl.concat(parts).join(served, on="district", how="left")
    unit = rows.select("person_id", "as_of_date").join(
        known, on=["person_id", "as_of_date"], how="left", maintain_order="left"
    )
    capacity = units.select("unit_id", "capacity").iter_rows()
    return unit["unit_id"], {one: None if most is None else need.list.places(most) for one, most in capacity}


def _history(
    gathered: GatheredEvidence,
    need: Need,
    k: int,
    worker: int,
    others: dict[str, Any],
    units: pl.Series | None,
    capacity: dict[str, int | None],
    attempt_cost: float | None,
) -> History:
    from models.baselines import floats
    from scoring.simulation import MODEL, RULE, History

    rows = gathered.rows
    orders = {MODEL: floats(rows["rank_score"])}
    for name, column in ((RULE, "rule_score"), ("area", "area")):
        if column in rows.columns and not rows[column].null_count():
            orders[name] = floats(rows[column])
    expected = None if rows["probability"].null_count() else floats(rows["probability"])
    return History(
        rows=rows,
        orders=orders | others,
        k=k,
        attempts_of_a_worker=worker,
        contact_success=need.reach,
        expected=expected,
        units=units,
        capacity=capacity,
        attempt_cost=None if attempt_cost is None else attempt_cost * need.list.attempts_per_person,
        seed=SEED,
    )


def _scenarios(history: History, places: Sequence[int]) -> list[Scenario]:
    """Every order in today's places, the model in all places, and in today's places shared in other ways."""
    from scoring.simulation import CHANCE, MODEL, PERFECT, Scenario

    scenarios = [Scenario(MODEL, k) for k in places]
    scenarios += [Scenario(order, history.k) for order in (*history.orders, CHANCE, PERFECT) if order != MODEL]
    if history.units is not None:
        scenarios.append(Scenario(MODEL, history.k, "proportional"))
        if history.expected is not None:
            scenarios.append(Scenario(MODEL, history.k, "need"))
    return scenarios


def _last(scenarios: Sequence[Scenario], order: str) -> int:
    """The scenario of most places."""
    return max((at for at, one in enumerate(scenarios) if one.order == order), key=lambda at: scenarios[at].k)


def _worth_of(history: History, others: dict[str, Any]) -> list[dict[str, Any]]:
    from scoring.simulation import MODEL, PERFECT, RULE, worth_of_a_worker

    pairs = [(RULE, MODEL)] if RULE in history.orders else []
    pairs += [(MODEL, other) for other in others] + [(MODEL, PERFECT)]
    return [_worth(worth_of_a_worker(history, worse, better)) for worse, better in pairs]


def _worth(worth: Worth) -> dict[str, Any]:
    equal = worth.workers_equal
    return {
        **{name: getattr(worth, name) for name in ("worse", "better")},
        **{name: _estimate(getattr(worth, name)) for name in ("one_more_worker", "better_order", "access_ratio")},
        "workers_equal": equal if math.isfinite(equal) else None,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    facts = outcome._asdict()
    scenario: Scenario = facts.pop("scenario")
    return {**scenario._asdict(), **{name: _estimate(one) for name, one in facts.items()}}


def _estimate(estimate: Any) -> dict[str, float | None]:
    """JSON has no NaN: what is not known is null."""
    return {name: float(value) if math.isfinite(value) else None for name, value in estimate._asdict().items()}
