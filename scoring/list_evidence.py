"""What the gate is shown of a list before it leaves: its groups, reasons, columns, sources, and what is stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ethics.cells import cells_from_bytes
from ethics.digests import sha256
from ethics.list_composition import audited_composition, week_columns
from ethics.population_stability import counts_like
from ethics.refusals import Fault, NotTrusted
from models.need_misfits import Told, features_behind
from models.need_parts import written
from scoring.below_the_line import MARGIN, SAMPLE
from scoring.hygiene import CHURN
from scoring.reason_sentences import plain_of
from scoring.reasons import Reason, Words
from scoring.units import unit_of_persons, unit_places, units_of

if TYPE_CHECKING:
    from ethics.groups import GroupRegister
    from features.city import City
    from models.need import Need
    from scoring.list_records import ListRow
    from scoring.scorer import Scorer, Scores

_TEMPLATES = ("measures", "windows", "typical", "reasons")
_READ = ("person_id", "raw", "score", "unit_id", "reason", "kind", "is_held_out")
_PLACEHOLDER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True)
class Surroundings:
    """What a list is compared with beyond its own scores.

    Attributes
    ----------
    groups : GroupRegister
        The city's audit groups, opened for the gate alone; only counts leave it.
    cells : bytes
        The file of cells of the verdict in use.
    stored : sequence of {kind, where, n, oldest_days}
        What lies stored of persons, by kind (check C610).
    override : mapping, optional
        What :func:`scoring.override_rehearsal.rehearsed_overrides` found of the store; without it C802 is an error.
    """

    groups: GroupRegister
    cells: bytes
    stored: Sequence[Mapping[str, Any]]
    override: Mapping[str, bool] | None = None


def list_facts(
    scores: Scores,
    scorer: Scorer,
    city: City,
    surroundings: Surroundings,
    *,
    covered: pl.DataFrame,
    people: pl.DataFrame,
    rows: Sequence[ListRow],
    column_counts: Mapping[str, list[int]],
    reasons: Iterable[tuple[str, Sequence[Reason]]],
    language: str,
) -> dict[str, Any]:
    """The fields of :class:`ethics.case.ListEvidence` that only a list has.

    Parameters
    ----------
    covered : polars.DataFrame
        Everybody the need covers who does not object, found anew from the city: ``person_id``.
    people : polars.DataFrame
        Everybody scored, first rank first, as :class:`scoring.outreach.DrawnUp` holds them. Who is excluded for a known
        reason, or carried over, is no part of the comparison with the ranking; whoever is missing without one is.
    rows : sequence of ListRow
        Every row that the store is to keep, those held out and the sample among them.
    column_counts : mapping of column to counts
        The cohort in the bins of the verdict's reference (:class:`scoring.cohort_columns.CohortColumns`).
    reasons : iterable of (unit_id, reasons of one person)

    Raises
    ------
    NotTrusted
        The cells are not those of the verdict.
    """
    need, verdict = scorer.need, scorer.verified.verdict
    judged = verdict.subject.get("cells")
    found = sha256(surroundings.cells)
    if found != judged:
        wrong = f"have SHA-256 {found[:12]}…, and {str(judged)[:12]}… were judged"
        raise NotTrusted(Fault("cells", wrong, "Restore the file of cells that was written with the verdict"))
    scope = verdict.scope
    units = units_of(city, need)
    people = _with_unranked(people.select(_READ), covered, units, scores, city)
    places = _places(people, units, need)
    is_carried = pl.col("kind").eq_missing("carried")
    week = _alike_where_by_lot(people).with_columns(
        is_out=pl.col("reason").is_not_null() | pl.col("unit_id").is_null() | is_carried,
        is_listed=pl.col("kind").is_not_null() & ~is_carried,
    )
    week, columns, ties = week_columns(week, int(scope["measured_k_audit"]) / int(scope["measured_n"]))
    reference = verdict.record.get("reference")
    return {
        "notice": _notice(need),
        "reasons": _distinct(reasons),
        "reason_words": reason_words(need, language),
        "declared_attributes": [feature.attribute for feature in need.features if feature.attribute],
        "shown_columns": shown_columns(need),
        "list_columns": declared_columns(need),
        "visible_to": {feature.name: tuple(feature.visible_to or ()) for feature in need.features},
        "told_from": told_from(need),
        "service": need.service,
        "week": surroundings.groups.sums(week, columns),
        "ties": ties,
        "places": places,
        "exploration": recorded_lots(rows, people, need),
        "override": surroundings.override,
        "audited": audited_composition(cells_from_bytes(surroundings.cells), int(scope["measured_k_audit"])),
        "design_effect": float(verdict.subject["design_effect"]),
        "reference": reference,
        "today": None if reference is None else _today(scores, reference, column_counts),
        "stored": surroundings.stored,
        "purposes": [
            {"source": source, "allowed": city.purposes.get(source)}
            for source in dict.fromkeys(feature.source for feature in need.features if feature.source)
        ],
        "run_purposes": (need.service, need.id),
    }


def recorded_lots(rows: Sequence[ListRow], people: pl.DataFrame, need: Need) -> dict[str, Any]:
    """How many were drawn by lot, counted in the rows as the store is to keep them (check C407).

    Only a row that tells with which probability the lot drew it counts: without one nothing can be learnt from it.
    """
    drawn = {
        kind: sum(bool(row.payload.get(kind, {}).get("probability")) for row in rows if not row.is_held_out)
        for kind in (MARGIN, SAMPLE)
    }
    is_below = pl.col("reason").is_null() & pl.col("kind").is_null() & pl.col("unit_id").is_not_null()
    return {
        "places": need.list.places(need.capacity.k),
        "by_lot": drawn[MARGIN],
        "sample": drawn[SAMPLE],
        "below": people.filter(is_below & ~pl.col("is_held_out").fill_null(False)).height,
        "margin": need.list.margin,
    }


def _with_unranked(
    ranked: pl.DataFrame, covered: pl.DataFrame, units: pl.DataFrame, scores: Scores, city: City
) -> pl.DataFrame:
    """The people ranked, and after them those whom the need covers and who were not: they have no score."""
    absent = covered.join(ranked, on="person_id", how="anti").select("person_id")
    if absent.is_empty():
        return ranked
    living = unit_of_persons(city, units, replace(scores, frame=absent))
    return pl.concat([ranked, living], how="diagonal")


def _places(people: pl.DataFrame, units: pl.DataFrame, need: Need) -> list[dict[str, Any]]:
    """Per unit: who may be listed there, the places due to them, and those on the list.

    Places are due by everybody whom nothing kept from the list before it was cut; whom the churn cap passes over counts
    there, and cannot fill a place.
    """
    free = people.filter((pl.col("reason").is_null() | (pl.col("reason") == CHURN)) & pl.col("unit_id").is_not_null())
    may = dict(free.filter(pl.col("reason").is_null()).group_by("unit_id").len().iter_rows())
    listed = dict(people.filter(pl.col("kind").is_not_null()).group_by("unit_id").len().iter_rows())
    due = unit_places(free, units, need)
    return [
        {
            "unit": unit,
            "eligible": may.get(unit, 0),
            "due": min(due[unit], may.get(unit, 0)),
            "listed": listed.get(unit, 0),
        }
        for unit in units["unit_id"]
    ]


def _alike_where_by_lot(people: pl.DataFrame) -> pl.DataFrame:
    """The same people, equal in raw score where a lot decided among them: there chance decides, as among equals."""
    by_lot = (pl.col("kind") == "margin") | pl.col("is_held_out")
    if not people.select(by_lot.any()).item():
        return people
    low, high = (getattr(pl.col("raw").filter(by_lot), which)().over("unit_id") for which in ("min", "max"))
    is_tied = pl.col("raw").is_between(low, high).fill_null(False)
    return people.with_columns(raw=pl.when(is_tied).then(high).otherwise(pl.col("raw")))


def shown_columns(need: Need) -> list[str]:
    """The columns a unit sees: place, person, why it is there, and what the need's ``[list]`` names (check C609)."""
    return ["rank", "person", "kind", *declared_columns(need)]


def declared_columns(need: Need) -> list[str]:
    """The need's ``[list] columns``, and a column for its contraindications where it declares any."""
    return [*need.list.columns, *(["contraindications"] if need.list.contraindications else [])]


def told_from(need: Need) -> list[dict[str, str]]:
    """Each column that the list tells from events, not from reasons, with every feature that reads such events."""
    columns: dict[str, Sequence[Told]] = {
        "who_helps": need.list.helpers,
        "contraindications": need.list.contraindications,
    }
    return [
        {"column": column, "feature": feature.name}
        for column, entries in columns.items()
        for feature in features_behind([code for entry in entries for code in entry.codes], need.features)
    ]


def reason_words(need: Need, language: str) -> frozenset[str]:
    """Every word a reason of this need may be made of: templates, plain names, declared categories (check C305).

    >>> from types import SimpleNamespace
    >>> "typical" in reason_words(SimpleNamespace(features=()), "en")
    True
    """
    texts = [
        _PLACEHOLDER.sub(" ", text)
        for key, text in Words.of(language).texts.items()
        if key.partition(".")[0] in _TEMPLATES
    ]
    for feature in need.features:
        texts += [plain_of(feature, language), *(feature.categories or ())]
    words: set[str] = set()
    for text in texts:
        for token in text.split():
            bare = token.strip("():,.;!?%\"'").casefold()
            words |= {bare, *re.findall(r"[^\W\d_]+", bare)}
    return frozenset(words - {""})


def _notice(need: Need) -> dict[str, str | None]:
    """Channel → text. No register of contacts is opened, so a unit may call or write: both are asked for."""
    notice = need.notice
    return {
        "phone": None if notice is None else written(notice.phone),
        "letter": None if notice is None else written(notice.letter),
    }


def _distinct(reasons: Iterable[tuple[str, Sequence[Reason]]]) -> list[dict[str, Any]]:
    names = ("unit", "text", "source", "feature", "dated")
    seen = dict.fromkeys(
        (unit, reason.text, reason.source, reason.feature, reason.day is not None)
        for unit, told in reasons
        for reason in told
    )
    return [dict(zip(names, said, strict=True)) for said in seen]


def _today(scores: Scores, reference: Mapping[str, Any], column_counts: Mapping[str, list[int]]) -> dict[str, Any]:
    """Today's people in the bins of the reference, as :func:`ethics.population_stability.counts_like` gives them."""
    nobody = np.empty((0, 0), dtype=np.float32)
    of_score = counts_like({**reference, "columns": {}}, scores.frame["raw"].to_numpy(), scores.matrix.names, nobody)
    return {**of_score, "columns": dict(column_counts)}
