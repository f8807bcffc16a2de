"""Who is eligible when, what was known of them then, and what followed: cohort, features, label (contracts.md §3).

Objectors to the need are masked here, so no model ever meets them. A row sees only what the city knew before the
local midnight of its as-of date; the label of a row is known only when its window and reporting delay have passed.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.digests import canonical_json
from ethics.refusals import Fault, did_you_mean
from features.city import DAY_US, City, DataError, hash_table, matches
from features.event_log import read_only
from features.kernels import EVER, MEASURE_NUMBERS, frozen, label_windows, window_features
from features.spec import (
    AttributeRule,
    CohortSpec,
    EventRule,
    FeatureSpec,
    IndicatorSpec,
    LabelSpec,
    Spec,
    Window,
    column_names,
    require_built,
)

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister

_KEYS = {"person_id": pl.String(), "as_of_date": pl.Date()}
_EPOCH = date(1970, 1, 1)
_DIGEST_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Matrix:
    """(person, as-of date) × features, in the order of as-of date and person.

    Attributes
    ----------
    keys : pl.DataFrame (n,)
        person_id, as_of_date.
    X : float32 (n, p), read-only
    names : tuple of str (p,)
    y : float64 (n,) or None
        1, 0, or NaN where the label is not known.
    indicators : name → bool (n,)
        Whether the independent sign of need appeared; meaningless where ``y`` is NaN.
    n_objectors : int
        Persons left out because they object.
    """

    keys: pl.DataFrame
    X: NDArray[np.float32]
    names: tuple[str, ...]
    y: NDArray[np.float64] | None = None
    indicators: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    n_objectors: int = 0

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the schema and the hash of each column's little-endian bytes."""
        keys = hashlib.sha256()
        hash_table(keys, self.keys)
        columns = [hashlib.sha256() for _ in self.names]
        for start in range(0, self.X.shape[0], _DIGEST_ROWS):
            block = np.ascontiguousarray(self.X[start : start + _DIGEST_ROWS].T, dtype="<f4")
            for column, values in zip(columns, block, strict=True):
                column.update(values.data)
        facts: dict[str, Any] = {
            "keys": keys.hexdigest(),
            "columns": [[name, "<f4", column.hexdigest()] for name, column in zip(self.names, columns, strict=True)],
            "label": None if self.y is None else hashlib.sha256(self.y.astype("<f8").tobytes()).hexdigest(),
            "indicators": [
                [name, hashlib.sha256(seen.astype("u1").tobytes()).hexdigest()]
                for name, seen in self.indicators.items()
            ],
        }
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    def rows(self, mask: NDArray[np.bool_]) -> Matrix:
        """The rows where ``mask`` (n,) holds, in the same order."""
        return replace(
            self,
            keys=self.keys.filter(pl.Series(mask)),
            X=read_only(self.X[mask]),
            y=None if self.y is None else read_only(self.y[mask]),
            indicators={name: read_only(seen[mask]) for name, seen in self.indicators.items()},
        )


def as_of_dates(city: City, cohort: CohortSpec) -> list[date]:
    """The days a cohort is looked at from, earliest first."""
    return _own_dates(city, cohort)


def _own_dates(city: City, cohort: CohortSpec) -> list[date]:
    if cohort.table is not None:
        return city.cohort_table(cohort.table)["as_of_date"].unique().sort().to_list()
    require_built([cohort])
    days = cohort.as_of
    assert days is not None and days.first is not None and days.last is not None and days.every_days is not None
    return [days.first + timedelta(days=i * days.every_days) for i in range(days.n_days)]


def build_cohort(city: City, cohort: CohortSpec, as_of_dates: Sequence[date] | None = None) -> pl.DataFrame:
    """Who is eligible at which as-of dates: person_id, as_of_date, in the order of date and person.

    Parameters
    ----------
    as_of_dates : sequence of date, optional
        Look from these days instead of the cohort's own (a table keeps those it has).

    Raises
    ------
    DataError
        Nobody is eligible (with how many each rule left), or a rule asks for an attribute the city does not have.
    SpecError
        A part that is not built yet.
    """
    require_built([cohort])
    days = sorted(set(_own_dates(city, cohort) if as_of_dates is None else as_of_dates))
    if cohort.table is not None:
        table = city.cohort_table(cohort.table)
        found = table if as_of_dates is None else table.filter(pl.col("as_of_date").is_in(days))
        left = [(f"table '{cohort.table}'", found.height)]
    else:
        found, left = _eligible(city, cohort, days)
    if found.is_empty():
        span = f"{len(days)} as-of dates from {days[0]} to {days[-1]}" if days else "no as-of date at all"
        steps = ", ".join(f"{name} leaves {n:,}" for name, n in left)
        raise DataError(Fault("cohort", f"nobody is eligible at {span} ({steps})", "Widen the rules or the dates"))
    return found.select(*_KEYS)


def build_label(city: City, keys: pl.DataFrame, label: LabelSpec) -> NDArray[np.float64]:
    """Whether the need appeared after each key's as-of date: 1, 0, or NaN where that is not known.

    Not known: the window and its reporting delay reach past the extract date; or, where ``censoring`` is ``drop``, a
    censoring event came on an earlier day than the label was decided. What happened up to the day of the first
    censoring event is taken into account: ``at_least`` reached by then is 1, ``at_most`` exceeded by then is 0.

    Parameters
    ----------
    keys : person_id, as_of_date; in any order, which the result follows

    Returns
    -------
    float64 (n,)
    """
    require_built([label])
    return _label(city, _place(city, keys), label)


def build_matrix(
    city: City,
    features: Sequence[FeatureSpec],
    keys: pl.DataFrame,
    *,
    objections: ObjectionRegister,
    need_id: str,
    label: LabelSpec | None = None,
    indicators: Sequence[IndicatorSpec] = (),
) -> Matrix:
    """Features, and with ``label`` what followed, for every key whose person does not object to the need.

    Raises
    ------
    DataError
        No rows; persons the city does not have; repeated keys; everyone objects; a label that is never known, or
        never appears; ``age`` asked of a city without birth dates.
    SpecError
        Column names that clash, or a part that is not built yet.
    """
    names = column_names(features)
    require_built([*features, *indicators, *([label] if label else [])])
    if indicators and label is None:
        wrong = "are looked for in the label's window, and there is no label"
        raise DataError(Fault("indicators", wrong, "Give a label, or leave the indicators out"))
    place = _place(city, keys, in_order=True)
    place, n_objectors = _without_objectors(place, objections, need_id)
    X = _features(city, features, place, len(names))
    y = None if label is None else _label(city, place, label)
    if y is not None and label is not None:
        _refuse_empty_label(city, place, label, y)
    seen = {} if label is None else {i.name: _look_ahead(city, place, label, i.codes).days > 0 for i in indicators}
    return Matrix(
        keys=place.keys,
        X=read_only(X),
        names=names,
        y=None if y is None else read_only(y),
        indicators={name: read_only(found) for name, found in seen.items()},
        n_objectors=n_objectors,
    )


def unseen_codes(city: City, specs: Iterable[Spec]) -> list[Fault]:
    """Codes that specs ask for and no event of the city has: usually a slip of the pen, so each with its likeness."""
    faults = []
    for spec in specs:
        for where, codes in _codes_of(spec):
            for pattern in codes:
                if not any(matches(code, [pattern]) for code in city.events.codes):
                    near = difflib.get_close_matches(pattern, city.events.codes, n=1)
                    guess = f"Did you mean '{near[0]}'? " if near else ""
                    mend = f"{guess}The city's event log has {len(city.events.codes):,} codes"
                    faults.append(Fault(where, f"'{pattern}' is not in the event log", mend))
    return faults


def _codes_of(spec: Spec) -> list[tuple[str, Sequence[str]]]:
    if isinstance(spec, FeatureSpec):
        return [(f"features '{spec.name}'.codes", spec.codes)]
    if isinstance(spec, IndicatorSpec):
        return [(f"indicators '{spec.name}'.codes", spec.codes)]
    if isinstance(spec, LabelSpec):
        return [("label.codes", spec.codes), ("label.censored_by", spec.censored_by)]
    if isinstance(spec, CohortSpec):
        rules = (("with", spec.with_), ("without", spec.without))
        return [(f"cohort.{key}[{i}].codes", rule.codes) for key, entries in rules for i, rule in enumerate(entries)]
    return []


# -- keys


class _Place(NamedTuple):
    """Keys, with each row's dense person index and the µs of its as-of midnight."""

    keys: pl.DataFrame
    person: NDArray[np.uint32]
    as_of: NDArray[np.int64]


def _place(city: City, keys: pl.DataFrame, *, in_order: bool = False) -> _Place:
    """Check keys and find their persons; ``in_order`` sorts them by as-of date and person."""
    wrong_types = [name for name, dtype in _KEYS.items() if keys.schema.get(name) != dtype]
    if wrong_types:
        wrong = f"{', '.join(wrong_types)} is missing or of a wrong type"
        raise DataError(Fault("keys", wrong, "Give person_id as text and as_of_date as a day"))
    keys = keys.select(*_KEYS).sort("as_of_date", "person_id") if in_order else keys.select(*_KEYS)
    everyone = pl.DataFrame({"person_id": city.events.person_ids}).with_row_index("person")
    person = keys.join(everyone, on="person_id", how="left", maintain_order="left")["person"]
    faults = []
    if keys.is_empty():
        faults.append(Fault("keys", "hold no rows", "Give at least one person and as-of date"))
    if n_dateless := keys["as_of_date"].null_count():
        faults.append(Fault("keys", f"{n_dateless:,} rows have no as-of date", "Give each row its day"))
    if n_unknown := person.null_count():
        wrong = f"{n_unknown:,} of {keys.height:,} rows name persons who are not in the city '{city.name}'"
        faults.append(Fault("keys", wrong, "Ask for persons of its persons table"))
    if n_repeated := keys.height - keys.n_unique():
        wrong = f"{n_repeated:,} of {keys.height:,} rows repeat a person and as-of date"
        faults.append(Fault("keys", wrong, "Give each person one row per as-of date"))
    if faults:
        raise DataError(*faults)
    as_of = keys["as_of_date"].cast(pl.Int32).to_numpy().astype(np.int64) * DAY_US
    return _Place(keys, person.to_numpy().astype(np.uint32), as_of)


def _without_objectors(place: _Place, objections: ObjectionRegister, need_id: str) -> tuple[_Place, int]:
    persons = place.keys["person_id"].unique(maintain_order=True)
    objects = np.asarray(objections.objecting(persons.to_list(), need_id), dtype=np.bool_)
    n_objectors = int(objects.sum())
    if n_objectors == 0:
        return place, 0
    if n_objectors == len(persons):
        wrong = f"all {n_objectors:,} persons object to '{need_id}'"
        raise DataError(Fault("cohort", wrong, "There is nobody left to compute for; nothing was computed"))
    keep = ~place.keys["person_id"].is_in(persons.filter(pl.Series(objects)).implode())
    mask = keep.to_numpy()
    return _Place(place.keys.filter(keep), place.person[mask], place.as_of[mask]), n_objectors


# -- features


class _Group(NamedTuple):
    """What the sweep computes together: measures of the events with certain codes over some windows."""

    codes: Sequence[str]
    windows: Sequence[Window]
    measures: Sequence[str]
    first_column: int


def _features(city: City, features: Sequence[FeatureSpec], place: _Place, n_columns: int) -> NDArray[np.float32]:
    groups, ages, column = [], [], 0
    for feature in features:
        if feature.attribute is None:
            groups.append(_Group(feature.codes, feature.windows, feature.measures, column))
        else:
            ages.append(column)
        column += len(feature.columns())
    X = _sweep(city, groups, place, n_columns)
    for column in ages:
        X[:, column] = _age(city, place)
    return X


def _sweep(city: City, groups: Sequence[_Group], place: _Place, n_columns: int) -> NDArray[np.float32]:
    """Lay the groups out as the kernel wants them, and run it."""
    lengths = sorted({_length(w) for group in groups for w in group.windows})
    empty_row = np.full(n_columns, np.nan, dtype=np.float32)
    first_column = np.full((len(lengths), len(groups) + 1), -1, dtype=np.int32)
    measures, measure_start = [], [0]
    for g, group in enumerate(groups):
        numbers = [MEASURE_NUMBERS[measure] for measure in group.measures]
        for i, window in enumerate(group.windows):
            start = group.first_column + i * len(numbers)
            first_column[lengths.index(_length(window)), g] = start
            empty_row[[start + k for k, m in enumerate(group.measures) if m in {"count", "n_values"}]] = 0.0
        measures += numbers
        measure_start.append(len(measures))
    group_of, more_start, more_groups = _groups_of_codes(city.events.codes, groups)
    order = np.lexsort((place.as_of, place.person))
    out = np.empty((place.person.size, n_columns), dtype=np.float32)
    window_features(
        *_log(city),
        frozen(place.person[order]),
        frozen(place.as_of[order]),
        frozen(order),
        frozen(np.array(lengths, dtype=np.int64)),
        group_of,
        more_start,
        more_groups,
        frozen(first_column),
        frozen(np.array([*measure_start, measure_start[-1]], dtype=np.int32)),
        frozen(np.array(measures, dtype=np.uint8)),
        frozen(empty_row),
        out,
    )
    return out


def _length(window: Window) -> int:
    return int(EVER) if window.unit == "ever" else window.far * DAY_US


def _groups_of_codes(
    codes: Sequence[str], groups: Sequence[_Group]
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None, NDArray[np.int32] | None]:
    """The first group of each code, and the further ones where features share codes."""
    of = [[g for g, group in enumerate(groups) if matches(code, group.codes)] for code in codes]
    first = np.array([found[0] if found else len(groups) for found in of], dtype=np.int32)
    more = [found[1:] for found in of]
    if not any(more):
        return frozen(first), None, None
    starts = np.cumsum([0, *map(len, more)]).astype(np.int32)
    return frozen(first), frozen(starts), frozen(np.array([g for found in more for g in found], dtype=np.int32))


def _log(city: City) -> tuple[Any, ...]:
    log = city.events
    return frozen(log.time), _frozen(log.known), frozen(log.code), frozen(log.value), frozen(log.offsets)


def _frozen(array: NDArray[Any] | None) -> Any:
    return None if array is None else frozen(array)


def _age(city: City, place: _Place) -> NDArray[np.float64]:
    """Years since birth, whole on birthdays; NaN without a birth date or before birth.

    Who was born on 29 February has the birthday on 1 March in other years.
    """
    if "birth_date" not in city.persons.columns:
        wrong = "age is asked for, and the city's persons have no birth_date"
        raise DataError(Fault("persons", wrong, "Add the column, or leave age out of the need"))
    birth = city.persons["birth_date"].to_numpy().astype("datetime64[D]")[place.person]
    as_of = (place.as_of // DAY_US).astype("datetime64[D]")
    years = as_of.astype("datetime64[Y]").astype(np.int64) - birth.astype("datetime64[Y]").astype(np.int64)
    years = years - (as_of < _birthday(birth, years))
    last, following = _birthday(birth, years), _birthday(birth, years + 1)
    with np.errstate(invalid="ignore"):
        part = (as_of - last).astype(np.float64) / (following - last).astype(np.float64)
    return np.where(np.isnat(birth) | (as_of < birth), np.nan, years + part)


def _birthday(birth: NDArray[np.datetime64], years: NDArray[np.int64]) -> NDArray[np.datetime64]:
    months = birth.astype("datetime64[M]")
    days = birth - months.astype("datetime64[D]")
    shifted: NDArray[np.datetime64] = (months + 12 * years).astype("datetime64[D]") + days
    return shifted


# -- cohort


def _eligible(city: City, cohort: CohortSpec, days: Sequence[date]) -> tuple[pl.DataFrame, list[tuple[str, int]]]:
    """Persons for whom every rule holds at each day, and how many rows each rule left."""
    _refuse_unknown_attributes(city, cohort.where)
    ids, left, found = city.events.person_ids, dict[str, int](), []
    for day in days:
        everyone = np.arange(len(ids), dtype=np.uint32)
        keys = pl.DataFrame({"person_id": ids}).with_columns(as_of_date=pl.lit(day))
        place = _Place(keys, everyone, np.full(len(ids), (day - _EPOCH).days * DAY_US))
        holds = np.ones(len(ids), dtype=np.bool_)
        left["everyone"] = left.get("everyone", 0) + len(ids)
        for name, rule in _rules(city, cohort):
            holds &= rule(place)
            left[name] = left.get(name, 0) + int(holds.sum())
        found.append(keys.filter(pl.Series(holds)))
    return pl.concat([pl.DataFrame(schema=_KEYS), *found]), list(left.items())


_Rule = Callable[[_Place], NDArray[np.bool_]]


def _rules(city: City, cohort: CohortSpec) -> list[tuple[str, _Rule]]:
    rules: list[tuple[str, _Rule]] = []
    if cohort.age is not None:
        youngest, oldest = cohort.age

        def of_age(place: _Place) -> NDArray[np.bool_]:
            years = np.floor(_age(city, place))
            return (years >= youngest) & (years <= oldest)

        rules.append((f"age {youngest}-{oldest}", of_age))
    rules += [(f"where {rule.attribute}", _attribute_rule(city, rule)) for rule in cohort.where]
    rules += [(f"with {', '.join(rule.codes)}", _event_rule(city, rule)) for rule in cohort.with_]
    for rule in cohort.without:
        rules.append((f"without {', '.join(rule.codes)}", _negated(_event_rule(city, rule))))
    return rules


def _negated(rule: _Rule) -> _Rule:
    return lambda place: ~rule(place)


def _event_rule(city: City, rule: EventRule) -> _Rule:
    group = _Group(rule.codes, [rule.window], ["count"], 0)
    return lambda place: _sweep(city, [group], place, 1)[:, 0] >= rule.at_least


def _attribute_rule(city: City, rule: AttributeRule) -> _Rule:
    wanted = pl.Series([str(value) for value in rule.one_of])
    if rule.attribute in city.fixed:
        fits = city.persons[rule.attribute].is_in(wanted.implode()).fill_null(False).to_numpy()
        return lambda place: fits[place.person]

    def on_the_day(place: _Place) -> NDArray[np.bool_]:
        now = _attribute_on(city, rule.attribute, int(place.as_of[0]))
        persons = now.filter(pl.col("value").is_in(wanted.implode()))["person_id"]
        return place.keys["person_id"].is_in(persons.implode()).to_numpy()

    return on_the_day


def attribute_on(city: City, attribute: str, as_of_date: date) -> pl.DataFrame | None:
    """What the city held for an attribute of each person when a day began: ``person_id``, ``value``.

    Read from the fixed columns of ``persons``, or from ``history`` as it was known; None where neither has it.
    """
    if attribute in city.fixed:
        return city.persons.select("person_id", pl.col(attribute).alias("value"))
    if city.history is None or attribute not in city.history["attribute"]:
        return None
    midnight = int(np.datetime64(as_of_date, "us").astype(np.int64))
    return _attribute_on(city, attribute, midnight).select("person_id", "value")


def _attribute_on(city: City, attribute: str, as_of: int) -> pl.DataFrame:
    """What the city then held for an attribute: the latest beginning before the day, as last known before the day."""
    assert city.history is not None
    midnight = pl.lit(as_of).cast(pl.Datetime("us"))
    seen = (pl.col("from_date") < midnight) & (pl.col("knowledge_date") < midnight)
    rows = city.history.filter((pl.col("attribute") == attribute) & seen)
    ordered = rows.sort("person_id", "from_date", "knowledge_date", "value", nulls_last=False)
    return ordered.unique("person_id", keep="last", maintain_order=True)


def _refuse_unknown_attributes(city: City, rules: Sequence[AttributeRule]) -> None:
    changing = [] if city.history is None else city.history["attribute"].unique().to_list()
    known = [*city.fixed, *changing]
    faults = [
        Fault(
            f"cohort.where[{i}].attribute",
            f"'{rule.attribute}' is neither a fixed column of persons nor in history",
            did_you_mean(rule.attribute, known),
        )
        for i, rule in enumerate(rules)
        if rule.attribute not in known
    ]
    if faults:
        raise DataError(*faults)


# -- label


class _Ahead(NamedTuple):
    """What happened in the windows of some rows; see :func:`features.kernels.label_windows`."""

    days: NDArray[np.int64]
    totals: NDArray[np.float64]
    first_time: NDArray[np.int64]


def _look_ahead(
    city: City, place: _Place, label: LabelSpec, codes: Sequence[str], stop: NDArray[np.int64] | None = None
) -> _Ahead:
    """Events of some codes in the label's window, or until ``stop`` if that comes first, under its knowledge rule."""
    wanted = np.array([matches(code, codes) for code in city.events.codes], dtype=np.bool_)
    end = place.as_of + label.horizon_days * DAY_US
    n = place.person.size
    ahead = _Ahead(np.empty(n, dtype=np.int64), np.empty((3, n)), np.empty(n, dtype=np.int64))
    label_windows(
        *_log(city),
        frozen(place.person),
        frozen(place.as_of),
        frozen(end if stop is None else np.minimum(end, stop)),
        frozen(end + label.reporting_delay_days * DAY_US),
        frozen(wanted),
        *ahead,
    )
    return ahead


def _label(city: City, place: _Place, label: LabelSpec) -> NDArray[np.float64]:
    y = _decide(label, _look_ahead(city, place, label, label.codes))
    if label.censored_by:
        leaves = _look_ahead(city, place, label, label.censored_by).first_time
        censored = leaves < EVER
        # Which came first within one day is not known, so the day of leaving still counts.
        day_after = np.where(censored, (leaves // DAY_US + 1) * DAY_US, EVER)
        by_then = _decide(label, _look_ahead(city, place, label, label.codes, stop=day_after))
        decided = by_then == (0.0 if label.at_least is None else 1.0)
        y = np.where(censored & decided, by_then, y)
        y = np.where(censored & ~decided, np.nan if label.censoring == "drop" else 0.0, y)
    return np.where(place.as_of <= _last_mature(city, label), y, np.nan)


def _decide(label: LabelSpec, ahead: _Ahead) -> NDArray[np.float64]:
    if label.measure == "days":
        measured = ahead.days.astype(np.float64)
    else:
        measured = ahead.totals[("sum", "max", "min").index(label.measure)]
    # A measure without any value is NaN, and reaches neither bound.
    if label.at_most is not None:
        return (measured <= label.at_most).astype(np.float64)
    assert label.at_least is not None  # a label is born with one of the two
    return (measured >= label.at_least).astype(np.float64)


def _last_mature(city: City, label: LabelSpec) -> int:
    """µs of the last as-of date whose window and reporting delay have passed by the extract date."""
    return ((city.extract_date - _EPOCH).days - label.horizon_days - label.reporting_delay_days) * DAY_US


def _refuse_empty_label(city: City, place: _Place, label: LabelSpec, y: NDArray[np.float64]) -> None:
    known = ~np.isnan(y)
    if not known.any():
        last = _EPOCH + timedelta(days=_last_mature(city, label) // DAY_US)
        wrong = (
            f"is known for none of {y.size:,} rows; as-of dates up to {last} are mature by {city.extract_date}, and "
            f"the first is {place.keys['as_of_date'].to_list()[0]}"
        )
        raise DataError(Fault("label", wrong, "Look from earlier days, or shorten horizon_days or the delay"))
    if not (y[known] == 1).any():
        wrong = f"never occurs: {', '.join(label.codes)} in none of {int(known.sum()):,} rows whose label is known"
        raise DataError(Fault("label", wrong, "Mend its codes or its bound, or look from other days"))
