"""Pre-school place proposals: who could go where, within places, at the lowest total price; people decide.

A proposal weighs the way on foot, the chance that the family accepts, brothers and sisters, and the language of
instruction (``scoring/assignment.toml``). Children whose case needs a person stand in the exceptions and are never
proposed a place; those for whom no place is left are named too. Beside it stands the nearest-unit rule under the same
places, so that everybody sees what the weighing buys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethics.digests import canonical_json, sha256
from models.metrics import Estimate
from models.ties import tie_keys
from scoring.acceptance import Acceptance, learn_acceptance
from scoring.place_exceptions import REASONS, exceptions_of, protected_families
from scoring.place_settings import AssignmentSettings
from scoring.place_tables import PlaceTables
from scoring.transport import NO_PLACE, Floats, Ints, cheapest_placing, families_of
from scoring.units import split_capacity

Bools = NDArray[np.bool_]
_FIRST_OF_AUGUST = (8, 1)


class Summary(NamedTuple):
    """What a placing comes to, over the children who may be proposed a place."""

    children: int
    placed: int
    walking_metres: float
    expected_acceptances: Estimate
    with_siblings: int
    siblings_together: int
    other_language: int
    beyond_2_km: int


@dataclass(frozen=True, eq=False)
class PlaceProposals:
    """Proposals of one day.

    Attributes
    ----------
    as_of_date : date
    start_year : int
    proposals : polars.DataFrame
        ``person_id``, ``unit_id``, ``unit``, ``metres`` (on foot, estimated), ``acceptance`` (chance; null where not
        known), ``siblings`` ("together", "apart" or null), ``own_language``, ``nearest`` (whether it is the unit that
        the nearest-unit rule gives); by unit and person.
    exceptions, no_place : polars.DataFrame
        ``person_id``, ``reason``.
    units : polars.DataFrame
        ``unit_id``, ``name``, ``places``, ``held`` (kept free for exceptions), ``proposed``, ``nearest``.
    ours, nearest : Summary
        Of the proposals, and of the nearest-unit rule under the same places.
    over_places : int
        Children whom the nearest unit could not take, if everybody went to the nearest.
    acceptance : Acceptance
    is_cheapest : bool
        Whether the solver proved that no placing has a lower price.
    people : polars.DataFrame
        Per child who may be proposed a place, what :mod:`scoring.place_comparison` adds up by group.
    """

    as_of_date: date
    start_year: int
    settings: AssignmentSettings
    proposals: pl.DataFrame
    exceptions: pl.DataFrame
    no_place: pl.DataFrame
    units: pl.DataFrame
    ours: Summary
    nearest: Summary
    over_places: int
    acceptance: Acceptance
    price: float
    is_cheapest: bool
    people: pl.DataFrame

    @property
    def excepted(self) -> dict[str, int]:
        """Children in the exceptions by reason, gravest first."""
        return {reason: int((self.exceptions["reason"] == reason).sum()) for reason in REASONS}

    @property
    def digest(self) -> str:
        """SHA-256 of who is proposed what: the same for the same tables in any order, settings and home."""
        rows = [
            frame.rows() for frame in (self.proposals.select("person_id", "unit_id"), self.exceptions, self.no_place)
        ]
        facts = {"as_of_date": str(self.as_of_date), "settings": self.settings.model_dump_json(), "rows": rows}
        return sha256(canonical_json(facts))


def start_year_of(as_of_date: date) -> int:
    """The year whose August comes next.

    >>> start_year_of(date(2026, 1, 8)), start_year_of(date(2026, 8, 1))
    (2026, 2027)
    """
    return as_of_date.year + ((as_of_date.month, as_of_date.day) >= _FIRST_OF_AUGUST)


def propose_places(
    tables: PlaceTables,
    as_of_date: date,
    settings: AssignmentSettings,
    *,
    secret: bytes,
    objecting: Sequence[str] = (),
    erased: Sequence[str] = (),
    seed: int = 0,
) -> PlaceProposals:
    """Propose places for the children who begin in the coming August.

    Parameters
    ----------
    tables : PlaceTables
        Children of every year: a ban on one who begins in another year protects brothers and sisters too.
    as_of_date : date
        Offers answered by then teach the chance of acceptance.
    settings : AssignmentSettings
    secret : bytes
        Of the home: among equally good proposals a neutral lot decides, never the order of a file.
    objecting : sequence of str
        Persons who said no to automatic proposals.
    erased : sequence of str
        Persons who stand in no queue and whose offers teach nothing; what protected their family still does.
    seed : int
        Of intervals.
    """
    year, protected = start_year_of(as_of_date), protected_families(tables.children)
    tables = _without(tables, erased)
    children = _in_neutral_order(tables.children.filter(pl.col("start_year") == year), secret, as_of_date)
    taught = tables.units["languages"].explode().drop_nulls().unique().to_list()
    said_no = children["person_id"].is_in(list(objecting))
    children = children.with_columns(reason=exceptions_of(children, said_no.to_list(), taught, protected))
    able = children.filter(pl.col("reason").is_null())
    excepted = children.filter(pl.col("reason").is_not_null())
    held = held_places(tables.units, excepted.height, children.height) if settings.hold_for_exceptions else None
    places: Ints = tables.units["places"].to_numpy().astype(np.int64) - (0 if held is None else held)
    acceptance = learn_acceptance(
        tables.offers, as_of_date, answer_days=settings.answer_days, at_least=settings.offers_at_least, seed=seed
    )
    pairs = _Pairs(able, tables.units, acceptance, settings)
    family = _numbers(able["family"])
    placing = cheapest_placing(
        pairs.price(settings),
        places,
        family=family,
        apart=settings.sibling_metres,
        no_place=settings.no_place_metres,
    )
    by_rule = nearest_placing(pairs.metres, pairs.other_language, settings.max_metres, places)
    return PlaceProposals(
        as_of_date=as_of_date,
        start_year=year,
        settings=settings,
        proposals=_proposals(able, tables.units, pairs, placing.unit, by_rule, family),
        exceptions=excepted.select("person_id", "reason").sort("person_id"),
        no_place=_no_place(able, pairs, placing.unit, settings),
        units=_units(tables.units, places, placing.unit, by_rule),
        ours=_summary(pairs, placing.unit, family),
        nearest=_summary(pairs, by_rule, family),
        over_places=_over_places(pairs, places),
        acceptance=acceptance,
        price=placing.price,
        is_cheapest=placing.is_cheapest,
        people=_people(able, pairs, placing.unit, by_rule),
    )


def _without(tables: PlaceTables, erased: Sequence[str]) -> PlaceTables:
    """An objector stands in the queue for people, an erased child in none."""
    is_kept = ~pl.col("person_id").is_in(list(erased))
    offers = None if tables.offers is None else tables.offers.filter(is_kept)
    return tables._replace(children=tables.children.filter(is_kept), offers=offers)


def _in_neutral_order(children: pl.DataFrame, secret: bytes, as_of_date: date) -> pl.DataFrame:
    """By a keyed hash that says nothing about the child: the only thing that decides between equals."""
    keys = tie_keys(secret, children["person_id"].to_list(), "preschool places", as_of_date)
    return children.with_columns(pl.Series("lot", keys, dtype=pl.String)).sort("lot").drop("lot")


def held_places(units: pl.DataFrame, n_exceptions: int, n_children: int) -> Ints:
    """Places kept free for children placed by hand, in proportion to the units' places; fewer where all are too few."""
    places = dict(units.select("unit_id", "places").iter_rows())
    k = n_exceptions if not n_children else round(n_exceptions * min(1.0, sum(places.values()) / n_children))
    shares = split_capacity(k, list(places), places, {})
    return np.array([shares[unit] for unit in places], dtype=np.int64)


def nearest_placing(metres: Floats, other_language: Bools, max_metres: float, places: Ints) -> Ints:
    """The nearest-unit rule: in the order of the rows, each child to the nearest unit of its language with a place."""
    left = places.copy()
    unit = np.full(metres.shape[0], NO_PLACE, dtype=np.int64)
    near = np.where(other_language | (metres > max_metres), np.inf, metres)
    for child, order in enumerate(np.argsort(near, axis=1, kind="stable")):
        free = order[(left[order] > 0) & np.isfinite(near[child, order])]
        if free.size:
            unit[child] = free[0]
            left[free[0]] -= 1
    return unit


class _Pairs:
    """Every child beside every unit: (n_children, n_units) each."""

    def __init__(
        self, children: pl.DataFrame, units: pl.DataFrame, acceptance: Acceptance, settings: AssignmentSettings
    ) -> None:
        home, at = (frame.select("x", "y").to_numpy().reshape(-1, 2) for frame in (children, units))
        apart = home[:, None, :] - at[None, :, :]
        self.metres: Floats = np.round(settings.detour_factor * np.hypot(apart[..., 0], apart[..., 1]))
        spoken = children["language"].str.to_lowercase().to_numpy()
        teaches = [set(languages) for languages in units["languages"].to_list()]
        of_language = {one: np.array([one not in unit for unit in teaches]) for one in set(spoken.tolist())}
        other = [of_language[one] for one in spoken.tolist()]
        self.other_language: Bools = np.array(other, dtype=np.bool_).reshape(self.metres.shape)
        at_unit = {unit: number for number, unit in enumerate(units["unit_id"])}
        self.sibling_unit = np.array([at_unit.get(unit, NO_PLACE) for unit in children["sibling_unit"]], dtype=np.int64)
        self.sibling: Bools = self.sibling_unit[:, None] == np.arange(units.height)
        self.acceptance = acceptance
        self.chance = acceptance.chance(self.metres, self.sibling, self.other_language)

    def price(self, settings: AssignmentSettings) -> Floats:
        """Whole metres; infinite beyond the longest way. What is not known of acceptance costs nothing."""
        refusal = np.nan_to_num(settings.refusal_metres * (1 - self.chance), nan=0.0)
        away = (self.sibling_unit >= 0)[:, None] & ~self.sibling
        price = self.metres + refusal + settings.sibling_metres * away + settings.language_metres * self.other_language
        whole: Floats = np.where(self.metres > settings.max_metres, np.inf, np.round(price))
        return whole

    def at(self, values: NDArray[Any], unit: Ints) -> NDArray[Any]:
        """The values of the placed children at their units."""
        placed = np.flatnonzero(unit >= 0)
        chosen: NDArray[Any] = values[placed, unit[placed]]
        return chosen


def _numbers(family: pl.Series) -> Ints:
    """Families as numbers; -1 for a child that has none on record."""
    numbers = family.cast(pl.Categorical).to_physical().cast(pl.Int64).fill_null(-1)
    return numbers.to_numpy()


def _siblings(pairs: _Pairs, unit: Ints, family: Ints) -> tuple[Bools, Bools]:
    """Which children have a brother or sister in a unit or among the children, and which of them go to the same."""
    with_sibling = pairs.sibling_unit >= 0
    together = ~with_sibling | (pairs.sibling_unit == unit)
    for members in families_of(family):
        with_sibling[members] = True
        together[members] &= np.unique(unit[members]).size == 1
    return with_sibling, with_sibling & together & (unit >= 0)


def _summary(pairs: _Pairs, unit: Ints, family: Ints) -> Summary:
    metres, other = pairs.at(pairs.metres, unit), pairs.at(pairs.other_language, unit)
    with_sibling, together = _siblings(pairs, unit, family)
    expected = pairs.acceptance.expected(metres, pairs.at(pairs.sibling, unit), other)
    return Summary(
        children=unit.size,
        placed=int((unit >= 0).sum()),
        walking_metres=float(metres.sum()),
        expected_acceptances=expected,
        with_siblings=int(with_sibling.sum()),
        siblings_together=int(together.sum()),
        other_language=int(other.sum()),
        beyond_2_km=int((metres > 2_000).sum()),
    )


def _over_places(pairs: _Pairs, places: Ints) -> int:
    near = np.where(pairs.other_language, np.inf, pairs.metres)
    wanted = np.bincount(np.argmin(near, axis=1), minlength=places.size) if near.size else np.zeros(places.size)
    return int(np.maximum(wanted - places, 0).sum())


def _proposals(
    able: pl.DataFrame, units: pl.DataFrame, pairs: _Pairs, unit: Ints, by_rule: Ints, family: Ints
) -> pl.DataFrame:
    placed = np.flatnonzero(unit >= 0)
    with_sibling, together = _siblings(pairs, unit, family)
    siblings = np.where(with_sibling, np.where(together, "together", "apart"), "")[placed]
    rows = {
        "person_id": able["person_id"].gather(placed),
        "unit_id": units["unit_id"].gather(unit[placed]),
        "unit": units["name"].gather(unit[placed]),
        "metres": pairs.at(pairs.metres, unit).astype(np.int64),
        "acceptance": pl.Series(pairs.at(pairs.chance, unit).astype(np.float64), dtype=pl.Float64).fill_nan(None),
        "siblings": pl.Series(siblings, dtype=pl.String).replace("", None),
        "own_language": ~pairs.at(pairs.other_language, unit).astype(np.bool_),
        "nearest": (unit == by_rule)[placed],
    }
    return pl.DataFrame(rows).sort("unit_id", "person_id")


def _no_place(able: pl.DataFrame, pairs: _Pairs, unit: Ints, settings: AssignmentSettings) -> pl.DataFrame:
    near = (pairs.metres <= settings.max_metres).any(axis=1)
    left = unit < 0
    reason = np.where(near, "places_full", "no_unit_near")[left]
    rows = {"person_id": able["person_id"].filter(pl.Series(left)), "reason": pl.Series(reason, dtype=pl.String)}
    return pl.DataFrame(rows).sort("person_id")


def _units(units: pl.DataFrame, places: Ints, unit: Ints, by_rule: Ints) -> pl.DataFrame:
    counts = {name: np.bincount(one[one >= 0], minlength=places.size) for name, one in (("p", unit), ("n", by_rule))}
    return units.select(
        "unit_id",
        "name",
        "places",
        held=pl.col("places") - pl.Series(places),
        proposed=pl.Series(counts["p"], dtype=pl.Int64),
        nearest=pl.Series(counts["n"], dtype=pl.Int64),
    )


def _people(able: pl.DataFrame, pairs: _Pairs, unit: Ints, by_rule: Ints) -> pl.DataFrame:
    """Numbers per child to be added up by group: of ours and of the nearest-unit rule."""
    columns: dict[str, pl.Series | Floats] = {"person_id": able["person_id"]}
    for name, one in (("ours", unit), ("nearest", by_rule)):
        placed = one >= 0
        columns[f"{name}.placed"] = placed.astype(np.float64)
        for measure, values in (("metres", pairs.metres), ("acceptances", pairs.chance)):
            each = np.zeros(one.size)
            each[placed] = pairs.at(values, one)
            columns[f"{name}.{measure}"] = each
    return pl.DataFrame(columns)
