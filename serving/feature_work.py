"""The stories of a need's features: build, plan, explain a cell, look for what is not needed, look for leaks."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault
from serving.home import Home
from serving.opening import open_city_for, open_need
from serving.progress import Step, silent

if TYPE_CHECKING:
    import polars as pl

    from features.cache import FeatureCache
    from features.city import City
    from features.matrix import Matrix
    from models.need import Need

PURPOSES = ("not-said", "resident", "audit", "fault")
"""Why somebody reads one person's events: the resident asks, an audit, or the search for a fault."""
_CELLS_AT_ONCE = 2**27
"""Cells of the matrix held at a time while a cached build writes: 512 MB, and as much again to turn them round."""


def open_both(home: Home, city: str | Path, need: Path, step: Step) -> tuple[Need, City]:
    """The need, nothing in it unbuilt, and the city as its limits allow."""
    opened = open_need(home, need)
    return opened, open_city_for(home, city, opened, step)


def feature_cache(home: Home, step: Step = silent) -> FeatureCache:
    """The columns that this home has computed before, under a secret of its own."""
    from features.cache import FeatureCache

    return FeatureCache(home.root / "feature_cache", secret=home.settings.secret("feature-cache"), progress=step)


def days_to_build(city: City, need: Need, as_of: date | None = None) -> list[date]:
    """The day asked for, or the cohort's own as far as the city knows them.

    Raises
    ------
    BadInput
        The city does not know the day yet, or any of them.
    """
    from features.cohort import as_of_dates

    asked = as_of_dates(city, need.cohort) if as_of is None else [as_of]
    known = [day for day in asked if day <= city.extract_date]
    if not known:
        where = "cohort.as_of" if as_of is None else "--as-of"
        wrong = f"is {asked[0]}, after the extract date {city.extract_date}: the city does not know that day yet"
        raise BadInput(Fault(where, wrong, f"Give {city.extract_date} or earlier"))
    return known


# ---- build and plan --------------------------------------------------------------------------------------------


def build_features(
    home: Home,
    city: str | Path,
    need: Path,
    as_of: date | None = None,
    out: Path | None = None,
    *,
    use_cache: bool = True,
    threads: int = 1,
    step: Step = silent,
) -> dict[str, Any]:
    """Build a need's matrix day by day into a Parquet file, which is there whole or not at all.

    What was computed stays in the home's cache, also when the build is stopped: the next begins where it ended.
    """
    from features.cohort import build_cohort

    if out is not None:
        _refuse_target(out)
    opened, world = open_both(home, city, need, step)
    days = days_to_build(world, opened, as_of)
    path = out or home.root / "matrices" / opened.id / f"{days[0]}_{days[-1]}.parquet"
    step(f"{opened.id}: who is eligible")
    keys = build_cohort(world, opened.cohort, days, label=opened.label)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    build = _build_with_cache if use_cache else _build_in_blocks
    result = build(home, world, opened, keys, path, threads, step)
    home.audit_log.append("build features", "data scientist", need=opened.id, matrix=result["digest"], n=result["rows"])
    return {
        "need": opened.id,
        "path": str(path),
        "columns": len(opened.columns),
        "as_of_dates": [str(day) for day in days],
        **result,
    }


def _refuse_target(path: Path) -> None:
    """A file somebody asks for is new, and stands in a folder that exists."""
    if path.suffix != ".parquet":
        raise BadInput(Fault("--out", f"'{path.name}' does not end in .parquet", "Give the path of a Parquet file"))
    if path.exists():
        raise BadInput(Fault(str(path), "exists already", "Give the path of a new file"))
    if not path.parent.is_dir():
        raise BadInput(Fault(str(path.parent), "is not a folder", "Give a path in a folder that exists"))


def _build_in_blocks(
    home: Home, city: City, need: Need, keys: pl.DataFrame, path: Path, threads: int, step: Step
) -> dict[str, Any]:
    """Compute and write block by block: no more than a few blocks are in memory at a time."""
    from features.blocks import write_matrix

    step(f"{need.id}: computing {keys.height:,} rows")
    written = write_matrix(
        path, city, need.features, keys, objections=home.objections, need_id=need.id, threads=threads
    )
    return {"rows": written.n_rows, "digest": written.digest, "columns_cached": None, "columns_computed": None}


def _build_with_cache(
    home: Home, city: City, need: Need, keys: pl.DataFrame, path: Path, threads: int, step: Step
) -> dict[str, Any]:
    """Take from the cache what is there, compute the rest and keep it; some as-of dates at a time."""
    from features.blocks import write_blocks
    from features.matrix import build_matrix

    cache = feature_cache(home, step)
    n_cached = n_computed = 0

    def matrices() -> Iterator[Matrix]:
        nonlocal n_cached, n_computed
        done = 0
        for some in _dates_at_a_time(keys, len(need.columns)):
            step(f"{need.id}: computing features", done, keys.height)
            yield build_matrix(
                city,
                need.features,
                some,
                objections=home.objections,
                need_id=need.id,
                cache=cache,
                threads=threads,
            )
            n_cached, n_computed = n_cached + cache.last_use.n_cached, n_computed + cache.last_use.n_computed
            done += some.height
        step(f"{need.id}: computing features", done, keys.height)

    written = write_blocks(path, matrices(), threads=threads)
    return {
        "rows": written.n_rows,
        "digest": written.digest,
        "columns_cached": n_cached,
        "columns_computed": n_computed,
    }


def _dates_at_a_time(keys: pl.DataFrame, n_columns: int) -> Iterator[pl.DataFrame]:
    """The keys in turn, whole as-of dates together: as many as make a matrix that fits in memory, and one at least."""
    import polars as pl

    days: list[date] = []
    n_cells = 0
    for day, n_rows in keys.group_by("as_of_date").len().sort("as_of_date").iter_rows():
        if days and n_cells + n_rows * n_columns > _CELLS_AT_ONCE:
            yield keys.filter(pl.col("as_of_date").is_in(days))
            days, n_cells = [], 0
        days.append(day)
        n_cells += n_rows * n_columns
    yield keys.filter(pl.col("as_of_date").is_in(days))


def plan_build(
    home: Home, city: str | Path, need: Path, as_of: date | None = None, step: Step = silent
) -> dict[str, Any]:
    """What a build would take from the cache and what it would compute, per feature and as-of date, and why."""
    from features.cohort import build_cohort
    from features.plan import plan_features

    opened, world = open_both(home, city, need, step)
    days = days_to_build(world, opened, as_of)
    step(f"{opened.id}: who is eligible")
    keys = build_cohort(world, opened.cohort, days, label=opened.label)
    step(f"{opened.id}: comparing with the cache")
    planned = plan_features(world, opened.features, keys, feature_cache(home, step))
    feature_of = {column: feature.name for feature in opened.features for column in feature.columns()}
    columns = [
        {
            "feature": feature_of[column.column],
            "column": column.column,
            "as_of_date": str(column.as_of_date),
            "action": column.action,
            "why": column.why,
            "persons": column.n_persons,
            "persons_to_compute": column.n_to_compute,
        }
        for column in planned
    ]
    n_cells, n_to_compute = sum(c.n_persons for c in planned), sum(c.n_to_compute for c in planned)
    return {
        "need": opened.id,
        "as_of_dates": [str(day) for day in days],
        "columns": columns,
        "totals": {"cells": n_cells, "cells_cached": n_cells - n_to_compute, "cells_to_compute": n_to_compute},
    }


# ---- explain ---------------------------------------------------------------------------------------------------


def explain_to_reader(
    home: Home,
    city: str | Path,
    need: Path,
    person_id: str,
    as_of: date,
    column: str,
    *,
    purpose: str = PURPOSES[0],
    step: Step = silent,
) -> dict[str, Any]:
    """The events that made one cell, for somebody whose reading is recorded, with whose they are as a keyed hash.

    Raises
    ------
    BadInput
        The person objects to the need: nothing is computed for them, not even to explain it; that it was asked is
        recorded all the same.
    SpecError
        No such column; said before the city is opened.
    """
    from features.columns import masked_persons
    from features.explanation import _feature_of, explain_cell

    opened = open_need(home, need)
    _feature_of(opened.features, column)
    facts = {
        "need": opened.id,
        "column": column,
        "as_of": str(as_of),
        "purpose": purpose,
        "person": hmac.digest(
            home.settings.secret("audit-persons"), person_id.encode("utf-8", "surrogatepass"), "sha256"
        ).hex(),
    }
    world = open_city_for(home, city, opened, step)
    if home.objections.objecting([person_id], opened.id)[0]:
        home.audit_log.append("explain", "data scientist", **facts, outcome="refused: objects")
        wrong = "objects to this need: nothing is computed for them, so there is nothing to explain"
        mend = "Tell the resident just that; whoever withdraws the objection can ask again"
        raise BadInput(Fault("person", wrong, mend))
    asked = [feature for feature in opened.features if column in feature.columns()]
    step(f"{opened.id}: explaining {column}")
    explanation = explain_cell(
        world,
        opened.features,
        person_id,
        as_of,
        column,
        masked=masked_persons(world, asked, home.objections, opened.id),
    )
    home.audit_log.append("explain", "data scientist", **facts, outcome="told")
    return {"need": opened.id, **explanation.as_facts()}


# ---- data minimisation -----------------------------------------------------------------------------------------


def look_at_minimisation(
    home: Home, city: str | Path, need: Path, as_of: date | None = None, step: Step = silent
) -> dict[str, Any]:
    """What the need reads beside what the city hands over, at one day (the cohort's latest that the city knows)."""
    from features.cohort import build_cohort
    from features.matrix import build_matrix
    from features.minimisation import minimisation

    opened, world = open_both(home, city, need, step)
    day = days_to_build(world, opened, as_of)[-1]
    step(f"{opened.id}: computing the features of {day}")
    keys = build_cohort(world, opened.cohort, [day], label=opened.label)
    matrix = build_matrix(world, opened.features, keys, objections=home.objections, need_id=opened.id)
    step(f"{opened.id}: comparing with what the city hands over")
    parts = [opened.cohort, *opened.indicators, *([] if opened.label is None else [opened.label])]
    found = minimisation(world, opened.features, matrix, also_read=parts)
    return {"need": opened.id, "as_of_date": str(day), **found.as_facts(), "story": found.sentences()}


# ---- leaks -----------------------------------------------------------------------------------------------------


def check_for_leaks(home: Home, city: str | Path, need: Path, seed: int = 0, step: Step = silent) -> dict[str, Any]:
    """Poison the future of a real city, and say how optimistic a build by event dates alone would be."""
    from features.cohort import build_cohort
    from features.leakcheck import by_event_date_only, is_all_known_at_once, leakcheck, poisoned
    from models.experiment import run_experiment

    opened, world = open_both(home, city, need, step)
    known = run_experiment(world, opened, home.objections, seed, step)
    day = known.split.judged_dates[-1]
    step(f"rewriting all that became known from {day} on")
    keys = build_cohort(world, opened.cohort, [day], label=opened.label)
    check = leakcheck(world, opened.features, keys, objections=home.objections, need_id=opened.id, seed=seed)
    same_cohort = build_cohort(poisoned(world, day, seed)[0], opened.cohort, [day], label=opened.label).equals(keys)
    identical = check.identical and same_cohort
    told = "is the same to the byte" if identical else "CHANGES: the future leaks"
    story = [
        f"{check.n_rewritten:,} events and entries became known on or after {day}. With all of them rewritten the "
        f"cohort of that day is {'the same' if same_cohort else 'ANOTHER'}, and its matrix {told}.",
    ]
    result: dict[str, Any] = {
        "identical": identical,
        "same_cohort": same_cohort,
        "as_of_date": str(day),
        "n_rewritten": check.n_rewritten,
        "before": check.before,
        "after": check.after,
    }
    if opened.label is not None and not is_all_known_at_once(world):
        naive = run_experiment(by_event_date_only(world), opened, home.objections, seed, step)
        honest_auc, naive_auc = known.metrics["auc"], naive.metrics["auc"]
        gap = naive_auc.value - honest_auc.value
        story.append(
            f"AUC with what was known: {honest_auc.value:.3f} ({honest_auc.low:.3f} to {honest_auc.high:.3f}); by "
            f"event dates alone: {naive_auc.value:.3f} ({naive_auc.low:.3f} to {naive_auc.high:.3f}). A build that "
            f"ignores knowledge dates would have promised {gap:+.3f}."
        )
        result |= {"auc": honest_auc._asdict(), "auc_by_event_date": naive_auc._asdict(), "gap": gap}
    elif opened.label is not None:
        story.append("In this city every event is known on the day it happens, so event dates alone give the same.")
    return {**result, "story": story}
