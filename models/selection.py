"""Search the parameters of the trees on the past, and choose among them by regret over time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ethics.digests import canonical_json, decimal, sha256
from ethics.refusals import BadInput, Fault
from models.inner_origins import InnerOrigin, inner_origins, learnable_rows, periods_of
from models.metrics import Estimate
from models.parameter_ranges import Range, search_space, untuned
from models.refits import Figure, Parameters, n_taught, ranking_difference, refuse_unlearnable
from models.regret import DEFAULT, of_the_best
from models.regret import choose as choose
from models.tree_fitting import parameters_for
from models.trial_workers import Task, TrialData, Trials, trials_in

if TYPE_CHECKING:
    import optuna

    from features.matrix import Matrix
    from models.need import Need
    from models.splits import Split

BATCH = 4
"""Trials asked for together, whatever the number of workers, so that the number changes no result."""

_FORMAT = 1  # of what is asked and stored; another number never resumes an old study
_RANDOM_TRIALS = 8  # before the optimiser has seen enough to prefer anything
_ATTEMPTS = 10  # of the optimiser at a setting that was not tried before, then as many tens by chance
_DAYS_APART = 10_000_000


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    study : str
        Name of the study in the store: the need, and a digest of the question that was asked.
    parameters : dict
        For ``train(parameters=…)``; empty where the defaults stay.
    trials : pl.DataFrame
        ``trial``, the searched parameters, ``origin``, ``figure`` (recall at capacity), ``average_precision``: a row
        per trial and inner origin. Trial 0 has the defaults.
    groups : pl.DataFrame
        ``group``, ``mean_regret``, ``worst_regret``, ``chosen``; see :func:`choose`.
    method : str
        In words, how trials were compared and why the choice fell so.
    difference : Estimate or None
        Recall at capacity of the best group less the default's, pooled over the inner origins, with a 95 % interval
        that allows for its being the best of many; None where the default is the best. The value itself is flattered:
        only the judged date, which no trial saw, says what the choice is worth.
    """

    study: str
    parameters: dict[str, int | float]
    trials: pl.DataFrame
    groups: pl.DataFrame
    method: str
    difference: Estimate | None


def search(
    matrix: Matrix,
    need: Need,
    split: Split,
    seed: int,
    *,
    trials: int,
    store: Path,
    workers: int = 1,
    step: Callable[..., None] | None = None,
    weights: np.ndarray | None = None,
) -> SearchResult:
    """Search the parameters of a need's trees on dates before the first judged one.

    A trial is one setting, tried on every inner origin (:func:`models.inner_origins.inner_origins`); its figure is
    the recall at capacity there, its average precision breaks ties. Trial 0 has the default parameters. What the
    need's ``[model]`` sets is not searched. The optimiser is the tree-structured Parzen estimator (Source: Bergstra
    et al. 2011, NeurIPS 24; Optuna).

    Every trial follows from the question and the batches of four before its own: neither the number of workers, nor a
    kill at any moment, nor asking for more trials later changes one. Each is stored whole when it is known.

    Parameters
    ----------
    matrix : Matrix
        With labels; only rows the candidate may learn from are looked at, so the test dates may be among them.
    need : Need
    split : Split
        Where several dates are tested, the pooled figures over the dates before the first judged one are no longer
        those of dates unseen by the search; the judged figures are.
    seed : int
    trials : int
        At least 1, trial 0 included; those in the store already are not tried again. A small space
        may hold fewer.
    store : Path
        SQLite file of Optuna, made if it is not there. Holds parameters and figures, no persons.
    workers : int
        Processes; LightGBM has one thread in each. They start afresh, so a script needs
        ``if __name__ == "__main__":``.
    step : callable, optional
        ``step(text, done, total)``.
    weights : float64 (n,), optional
        Of the matrix's rows, beside what the need says about weights.

    Raises
    ------
    BadInput
        Fewer than one trial or worker; a rule; no label, or one class only; no date to compare on and too few persons;
        nothing left to search; a store that cannot be used or is being used.
    """
    _refuse_unaskable(matrix, need, trials, workers, weights)
    rows = learnable_rows(matrix, split, seed)
    known = matrix if rows.all() else matrix.rows(rows)
    weights = None if weights is None else np.asarray(weights, dtype=np.float64)[rows]
    origins, method = inner_origins(known, need, split, seed)
    n_rows = n_taught(known, need, weights)
    space = search_space(need, n_rows)
    question = _question(known, need, split, seed, space, weights)
    data = TrialData(known, need, origins, seed, periods_of(known, need), weights)
    with (
        _quiet(),
        trials_in(data, workers, store) as places,
        _open_study(store, question) as study,
    ):
        _run(study, places, data, space, n_rows, trials, step or _unwatched)
        table = _table(study, space, origins, trials)
        groups, difference, why = _chosen(table, places, data, space, n_rows)
    number = _number(groups["group"][0])
    chosen = {} if number == 0 else _setting(table, number, space)
    return SearchResult(question, chosen, table, groups, f"{method}; {why}", difference)


def _refuse_unaskable(matrix: Matrix, need: Need, trials: int, workers: int, weights: np.ndarray | None) -> None:
    faults = []
    if trials < 1:
        faults.append(Fault("trials", f"is {trials}", "Give at least 1: the default parameters"))
    if workers < 1:
        faults.append(Fault("workers", f"is {workers}", "Give at least 1"))
    if need.kind == "rule":
        faults.append(Fault(f"{need.id}.toml: kind", 'is "rule", which has no parameters', "Train it without a search"))
    if faults:
        raise BadInput(*faults)
    refuse_unlearnable(matrix, need)
    n_taught(matrix, need, weights)


def _question(
    matrix: Matrix, need: Need, split: Split, seed: int, space: Mapping[str, Range], weights: np.ndarray | None
) -> str:
    """Name of the study: it changes with anything that could change a trial."""
    facts = {
        "format": _FORMAT,
        "need": need.digest,
        "matrix": matrix.digest,
        "split": [split.kind, [day.isoformat() for day in (*split.train_dates, *split.judged_dates)]],
        "seed": seed,
        "space": {
            name: [decimal(values.low, 17), decimal(values.high, 17), *values[2:]] for name, values in space.items()
        },
        "weights": None if weights is None else sha256(weights.astype("<f8").tobytes()),
        "made_by": {name: version(name) for name in ("lightgbm", "optuna")},
    }
    return f"{need.id}-{sha256(canonical_json(facts))[:16]}"


# ---- trials --------------------------------------------------------------------------------------------------------


def _run(
    study: optuna.Study,
    places: Trials,
    data: TrialData,
    space: Mapping[str, Range],
    n_rows: int,
    wanted: int,
    step: Callable[..., None],
) -> None:
    """Try what was not tried yet, batch by batch, and store each trial whole, in the order of their numbers."""
    need, n_origins = data.need, len(data.origins)
    default, what = untuned(need, n_rows, space), f"{need.id}: searching parameters"
    while (done := len(study.get_trials(deepcopy=False))) < wanted:
        step(what, done, wanted)
        start = done - done % BATCH
        settings = _asked(study, space, default, start, data.seed)[done - start : wanted - start]
        if not settings:
            return  # everything there is was tried
        tasks = [Task(parameters_for(need, n_rows, setting), i) for setting in settings for i in range(n_origins)]
        scores = places.scores(tasks)
        for number, setting in enumerate(settings, start=done + 1):
            _tell(study, space, setting, [data.figure(next(scores), i) for i in range(n_origins)])
            step(what, number, wanted)


def _asked(
    study: optuna.Study, space: Mapping[str, Range], default: Parameters, start: int, seed: int
) -> list[dict[str, int | float]]:
    """The settings of the batch that starts with trial ``start``.

    They are asked of a study in memory that knows the trials of the batches before and nothing else, each by a sampler
    started with seed and number, so they are the same whenever they are asked again. Fewer than a batch where the
    space holds no more.
    """
    import optuna

    distributions = _distributions(space)
    memory = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    earlier = [trial for trial in study.get_trials(deepcopy=False) if trial.number < start]
    memory.add_trials(earlier)
    tried = [trial.params for trial in earlier]
    batch: list[dict[str, int | float]] = []
    while len(batch) < BATCH:
        number = start + len(batch)
        if number == 0:
            memory.enqueue_trial(dict(default))
        for attempt in range(11 * _ATTEMPTS):
            memory.sampler = _sampler(int(sha256(f"{seed} {number} {attempt}".encode())[:8], 16), attempt)
            trial = memory.ask(distributions)
            if trial.params not in tried:
                break
            memory.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            return batch
        tried.append(trial.params)
        batch.append(trial.params)
    return batch


def _sampler(seed: int, attempt: int) -> optuna.samplers.BaseSampler:
    """The optimiser, or chance where it insists on what was tried."""
    from optuna.samplers import RandomSampler, TPESampler

    if attempt >= _ATTEMPTS:
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS, multivariate=True, constant_liar=True)


def _distributions(space: Mapping[str, Range]) -> dict[str, optuna.distributions.BaseDistribution]:
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        name: IntDistribution(int(values.low), int(values.high), log=values.log)
        if values.whole
        else FloatDistribution(values.low, values.high, log=values.log)
        for name, values in space.items()
    }


def _tell(study: optuna.Study, space: Mapping[str, Range], setting: Parameters, figures: Sequence[Figure]) -> None:
    """Store a trial with all that is known of it, in one transaction: a kill leaves all of it or nothing."""
    import optuna

    recall = [figure.recall for figure in figures]
    precision = [figure.average_precision for figure in figures]
    # Smaller than one more person found, so it only breaks ties.
    value = float(np.mean(recall)) + 1e-6 * float(np.mean(precision))
    study.add_trial(
        optuna.trial.create_trial(
            params=dict(setting),
            distributions=_distributions(space),
            value=value,
            user_attrs={"recall_at_capacity": recall, "average_precision": precision},
        )
    )


def _unwatched(what: str, done: float | None = None, total: float | None = None) -> None:
    """Progress that nobody watches."""


def _table(
    study: optuna.Study, space: Mapping[str, Range], origins: Sequence[InnerOrigin], wanted: int
) -> pl.DataFrame:
    """The first trials, as the store holds them."""
    rows = [
        {"trial": trial.number, **trial.params, "origin": origin.name, "figure": recall, "average_precision": precision}
        for trial in study.get_trials(deepcopy=False)[:wanted]
        for origin, recall, precision in zip(
            origins, trial.user_attrs["recall_at_capacity"], trial.user_attrs["average_precision"], strict=True
        )
    ]
    types = {name: pl.Int64 if values.whole else pl.Float64 for name, values in space.items()}
    schema = {"trial": pl.Int64, **types, "origin": pl.String, "figure": pl.Float64, "average_precision": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


# ---- the choice ----------------------------------------------------------------------------------------------------


def _chosen(
    table: pl.DataFrame,
    places: Trials,
    data: TrialData,
    space: Mapping[str, Range],
    n_rows: int,
) -> tuple[pl.DataFrame, Estimate | None, str]:
    """Groups, the best less the default, and in words why the first was chosen."""
    number = pl.col("trial").cast(pl.String).str.zfill(3)
    figures = table.select(
        group=pl.when(pl.col("trial") == 0).then(pl.lit(DEFAULT)).otherwise(pl.lit("trial ") + number),
        origin=pl.col("origin"),
        figure=pl.col("figure"),
        tie_break=pl.col("average_precision"),
    )
    n_trials = table["trial"].n_unique()
    groups = choose(figures)
    best = groups["group"][0]
    if best == DEFAULT:
        return groups, None, f"none of {n_trials} trials had less mean regret than the default parameters"
    settings = [_setting(table, 0, space), _setting(table, _number(best), space)]
    difference = _difference([parameters_for(data.need, n_rows, setting) for setting in settings], places, data)
    difference = of_the_best(difference, n_trials - 1)
    said = f"{best} of {n_trials} finds {difference.value:+.4f} of those in need more than the default parameters"
    interval = f"95 % interval for the best of so many {difference.low:+.4f} to {difference.high:+.4f}"
    if difference.low > 0:
        return groups, difference, f"{said} ({interval})"
    return choose(figures, tied=[DEFAULT]), difference, f"{said} ({interval}), which is a tie: the default stays"


def _difference(settings: Sequence[Parameters], places: Trials, data: TrialData) -> Estimate:
    """Recall at capacity by the second setting less the first's, over the test rows of all origins together."""
    tasks = [Task(setting, i) for setting in settings for i in range(len(data.origins))]
    scores = list(places.scores(tasks))
    n = len(data.origins)
    rows = [np.flatnonzero(origin.test) for origin in data.origins]
    every = np.concatenate(rows)
    assert data.matrix.y is not None
    # Rows of one origin are ranked within their period, and never among those of another origin.
    period = np.concatenate([i * _DAYS_APART + data.period[some] for i, some in enumerate(rows)])
    return ranking_difference(
        label=data.matrix.y[every],
        ours=np.concatenate(scores[n:]),
        theirs=np.concatenate(scores[:n]),
        person=data.matrix.keys["person_id"].to_numpy()[every],
        period=period,
        k=data.origins[0].k,
        seed=data.seed,
        weight=None if data.weights is None else data.weights[every],
    ).recall


def _setting(table: pl.DataFrame, number: int, space: Mapping[str, Range]) -> dict[str, int | float]:
    found: dict[str, int | float] = table.filter(pl.col("trial") == number).select(*space).row(0, named=True)
    return found


def _number(group: str) -> int:
    return 0 if group == DEFAULT else int(group.removeprefix("trial "))


# ---- the store -----------------------------------------------------------------------------------------------------


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's own log is silent meanwhile, and as it was afterwards."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _open_study(store: Path, name: str) -> Iterator[optuna.Study]:
    """The study of that name, begun where there is none.

    The tables are made step by step, each step for good, so a new store gets its name when it is whole.
    """
    import optuna
    from sqlalchemy.exc import DatabaseError

    try:
        if not store.exists():
            draft = store.with_name(f".{store.name}.draft")
            for left in draft.parent.glob(f"{draft.name}*"):  # by a search that was killed
                left.unlink()
            _storage(draft).engine.dispose()
            draft.replace(store)
        storage = _storage(store)
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        found = study.get_trials(deepcopy=False)
    except (DatabaseError, optuna.exceptions.OptunaError, RuntimeError) as error:
        wrong = f"cannot be read as a store of searches ({type(error).__name__})"
        raise BadInput(Fault(str(store), wrong, "Give another file, or move this one away")) from None
    try:
        if any(trial.state != optuna.trial.TrialState.COMPLETE or trial.number != i for i, trial in enumerate(found)):
            wrong = f"holds trials of the study {name} that were not written by a search of Ennakko"
            raise BadInput(Fault(str(store), wrong, "Give another file"))
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _storage(file: Path) -> Any:
    import optuna
    from sqlalchemy import URL

    url = URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)
    return optuna.storages.RDBStorage(url)
