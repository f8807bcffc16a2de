"""The outreach list: as long as the service's capacity, cut per unit, checked by the gate, frozen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, Fault
from features.cohort import build_cohort, had_events
from features.spec import EventRule
from models.rescoring import rescored, rescoring
from scoring.below_the_line import MARGIN, SAMPLE, chance, first_by_lot
from scoring.cohort_columns import CohortColumns
from scoring.contacts import Refusals
from scoring.hygiene import ERASED, OBJECTED, Circumstances, Erased, Past, counted, nobody_erased, screened
from scoring.list_cut import Rules, cut
from scoring.list_evidence import Surroundings, list_facts
from scoring.list_gate import ask_gate
from scoring.list_records import ROWS, ListRow, OutreachList, UnitPart, new_list_id
from scoring.reason_jitter import reason_stability
from scoring.reasons import Reason, Typical, Words, explain
from scoring.row_hashes import RowKeys
from scoring.scorer import sort_key_of
from scoring.units import unit_of_persons, unit_places, units_of

if TYPE_CHECKING:
    from ethics.gate import Policy
    from ethics.objections import ObjectionRegister
    from ethics.stop_switch import StopSwitch
    from features.city import City
    from features.matrix import Matrix
    from models.need_parts import Contraindication, Helper
    from scoring.scorer import Scorer, Scores

__all__ = ["ROWS", "DrawnUp", "ListRow", "OutreachList", "Standing", "UnitPart", "draw_up", "outreach_list"]


@dataclass(frozen=True, eq=False)
class DrawnUp:
    """A list as it is drawn up, before the gate is asked: everybody the need covers has a place or a reason.

    Attributes
    ----------
    people : polars.DataFrame
        Everybody scored, first rank first: the columns of ``Scores.frame`` with ``unit_id``, ``reason`` (null: may be
        listed), ``kind`` (null: not listed), ``is_carried``, ``is_held_out``, ``chance``.
    units : polars.DataFrame
        From :func:`scoring.units.units_of`.
    shares : mapping
        Unit → people it may list.
    excluded : mapping
        Reason → people on no list for it, in the order of :data:`scoring.hygiene.REASONS`.
    covered : polars.DataFrame
        ``person_id`` of everybody the need covers who does not object and was not erased.
    """

    people: pl.DataFrame
    units: pl.DataFrame
    shares: Mapping[str, int]
    excluded: Mapping[str, int]
    covered: pl.DataFrame

    @property
    def listed(self) -> pl.DataFrame:
        """People to contact, first rank first."""
        return self.people.filter(pl.col("kind").is_not_null())

    @property
    def below(self) -> pl.DataFrame:
        """People of a unit below its line, first rank first."""
        return self.people.filter(pl.col("reason").is_null() & pl.col("kind").is_null())

    def standing(self, person_id: str) -> Standing:
        """Where one person stands: on the list, below the line, excluded with the reason, or not among the scored.

        Whoever objects or was erased before the scoring is not among the scored; :func:`serving.list_work.why_not`
        tells them apart.
        """
        own = self.people.filter(pl.col("person_id") == person_id)
        if own.is_empty():
            return Standing("not scored")
        row = own.row(0, named=True)
        if row["reason"] is not None:
            return Standing("excluded", row["reason"], row["unit_id"])
        unit = self.people.filter((pl.col("unit_id") == row["unit_id"]) & pl.col("reason").is_null())
        place = int(unit["person_id"].index_of(person_id) or 0) + 1
        what = "listed" if row["kind"] is not None else "held out" if row["is_held_out"] else "below the line"
        return Standing(what, None, row["unit_id"], row["rank_band"], place, self.shares[row["unit_id"]])


class Standing(NamedTuple):
    """Why somebody is, or is not, on a list.

    ``what`` is "listed", "below the line", "held out" (the lot at the cut left the person below it), "excluded" (with
    ``reason``) or "not scored". ``place`` counts from 1 among the people of the unit who may be listed; ``k`` of them
    have a place.
    """

    what: str
    reason: str | None = None
    unit_id: str | None = None
    rank_band: str | None = None
    place: int | None = None
    k: int | None = None


def draw_up(
    scores: Scores,
    scorer: Scorer,
    city: City,
    *,
    objections: ObjectionRegister,
    past: Past = Past(),  # noqa: B008 frozen
    erased: Erased = nobody_erased,
    elsewhere: Collection[str] = (),
    guardians: Mapping[str, str] | None = None,
) -> DrawnUp:
    """Screen a ranking and cut it at the units' places; the same arguments give the same people.

    Parameters
    ----------
    scores : Scores
        From ``scorer``.
    city : City
        The city that was scored, for its units, districts and events.
    objections : ObjectionRegister
        Asked again: who objected since the scores were made is on no list.
    past : Past
        Who rests and who is carried over, from :func:`scoring.hygiene.past_of`.
    erased : callable
        :meth:`scoring.store.Store.is_erased`.
    elsewhere : collection of str
        Whom another need contacts, from :func:`scoring.contention.settled`.
    guardians : mapping, optional
        Person → guardian, from the contact book; needed where the need merges siblings.

    Raises
    ------
    BadInput
        The scores are of another model; siblings are to be merged, and nobody said who their guardians are.
    """
    need = scorer.need
    faults = []
    if scores.model_digest != scorer.model.digest:
        faults.append(Fault("scores", "were made by another model than the scorer's", "Score with this scorer"))
    if need.list.merge == "guardian" and guardians is None:
        wrong = "asks for one contact per guardian, and nothing says who the guardians are"
        faults.append(Fault("list.merge", wrong, 'Give the city a contact book, or write merge = "none"'))
    if faults:
        raise BadInput(*faults)
    units = units_of(city, need)
    ranked = scores.frame.join(unit_of_persons(city, units, scores), on="person_id", how="left", maintain_order="left")
    everybody = build_cohort(city, need.cohort, [scores.as_of_date], label=need.label)["person_id"]
    masked = objections.objecting(everybody.to_list(), need.id)
    gone = np.asarray(erased(everybody.to_list()), dtype=np.bool_)
    objecting, erased_now = everybody.filter(pl.Series(masked & ~gone)), everybody.filter(pl.Series(gone))
    around = Circumstances(objecting.to_list(), erased_now.to_list(), past, elsewhere, guardians or {})
    people = screened(ranked, city, need, scores.as_of_date, around)
    shares = unit_places(people.filter(pl.col("reason").is_null()), units, need)
    rules = Rules(need.list.margin, need.list.churn_cap, past.last)
    people = cut(people, shares, rules, lambda ids: scorer.lots(MARGIN, ids, scores.as_of_date))
    n_erased = len(set(erased_now) - set(ranked["person_id"]))
    before = {ERASED: n_erased, OBJECTED: scores.cohort_n - ranked.height - n_erased}
    covered = everybody.filter(pl.Series(~(masked | gone))).to_frame()
    return DrawnUp(people, units, shares, counted(people, before), covered)


def outreach_list(
    scores: Scores,
    scorer: Scorer,
    city: City,
    *,
    objections: ObjectionRegister,
    policy: Policy,
    stop_switch: StopSwitch,
    surroundings: Surroundings,
    row_keys: RowKeys,
    issued_at: datetime,
    past: Past = Past(),  # noqa: B008 frozen
    erased: Erased = nobody_erased,
    elsewhere: Collection[str] = (),
    guardians: Mapping[str, str] | None = None,
    language: str = "en",
) -> OutreachList:
    """Cut a ranking at the service's capacity, unit by unit, explain it, and let the gate judge it.

    Parameters
    ----------
    scores, scorer, city, objections, past, erased, elsewhere, guardians
        As in :func:`draw_up`.
    policy : Policy
    stop_switch : StopSwitch
    surroundings : Surroundings
        The groups of the city, the cells of the verdict and what lies stored: what the gate compares the list with.
    row_keys : callable
        Person ids → keys of their row hashes: :meth:`scoring.store.Store.row_keys`.
    issued_at : datetime
        Now, with a timezone.
    language : str

    Raises
    ------
    Blocked, NotTrusted
        The gate blocks the list, or could not judge it; there is then no list.
    """
    Words.of(language)
    need, as_of = scorer.need, scores.as_of_date
    drawn = draw_up(
        scores,
        scorer,
        city,
        objections=objections,
        past=past,
        erased=erased,
        elsewhere=elsewhere,
        guardians=guardians,
    )
    listed = drawn.listed
    columns = CohortColumns.of(scores.matrix, need, scorer.verified.verdict.record.get("reference"))
    told = scores.matrix.take(listed["row"].to_numpy())
    reasons, max_error = _reasons(listed, told, scorer, city, columns.typical, language)
    refused = partial(objections.refused_channels, need_id=need.id)
    rows = _rows(drawn, scorer, city, as_of, past, reasons, language, refused)
    checks = ask_gate(
        scorer,
        policy,
        stop_switch,
        n_objectors=int(objections.objecting(listed["person_id"].to_list(), need.id).sum()),
        columns=scores.matrix.names,
        sort_key=sort_key_of(listed),
        max_error=max_error,
        moment=issued_at,
        determinism=_scored_again(scores, scorer),
        about_the_list=list_facts(
            scores,
            scorer,
            city,
            surroundings,
            covered=drawn.covered,
            people=drawn.people,
            rows=[row for told in rows.values() for part in told for row in part],
            column_counts=columns.counts,
            reasons=(
                (str(unit), reasons[person]) for unit, person in listed.select("unit_id", "person_id").iter_rows()
            ),
            language=language,
        ),
    )
    frozen = OutreachList(
        list_id=new_list_id(issued_at),
        list_digest="",
        need=need,
        as_of_date=as_of,
        capacity_k=need.capacity.k,
        cohort_n=scores.cohort_n,
        parts=_parts(drawn, rows, row_keys),
        excluded=drawn.excluded,
        model_digest=scores.model_digest,
        verdict_id=scores.verdict_id,
        expires_at=scorer.verified.verdict.expires_at.isoformat(timespec="seconds"),
        matrix_digest=scores.matrix_digest,
        checks=checks,
        banners=_banners(scorer),
        language=language,
        reason_stability=reason_stability(scorer.model, told, np.arange(listed.height), columns, reader=need.service),
        attempts_per_person=need.list.attempts_per_person,
        allocation=need.list.allocation,
    )
    return replace(frozen, list_digest=sha256(canonical_json(frozen.said())))


def _banners(scorer: Scorer) -> tuple[str, ...]:
    verdict = scorer.verified.verdict
    banners = {"demonstration": verdict.demonstration, "invented": bool(verdict.scope.get("invented"))}
    return tuple(banner for banner, is_shown in banners.items() if is_shown)


def _rows(
    drawn: DrawnUp,
    scorer: Scorer,
    city: City,
    as_of_date: date,
    past: Past,
    reasons: Mapping[str, tuple[Reason, ...]],
    language: str,
    refusals: Refusals,
) -> dict[str, tuple[list[ListRow], list[ListRow]]]:
    """Every unit's rows: those to contact, carried over first, with the sample; and, apart, those held out at the cut.

    They have no hashes yet: the gate looks at them before the store makes a key for anybody.
    """
    need = scorer.need
    cautions = _told_by_events(drawn.listed, city, need.list.contraindications, as_of_date, language)
    helpers = _told_by_events(drawn.listed, city, need.list.helpers, as_of_date, language)
    sample, probability = _sampled(drawn, scorer, as_of_date)
    refused = refusals([*drawn.listed["person_id"], *(person for _, person in sample)])
    not_by = {person: tuple(channels) for person, channels in refused.items()}
    rows: dict[str, list[ListRow]] = {unit: [] for unit in drawn.units["unit_id"]}
    in_order = drawn.listed.sort(pl.col("kind") != "carried", maintain_order=True)
    for row in in_order.iter_rows(named=True):
        person, told = row["person_id"], rows[row["unit_id"]]
        more: dict[str, Any] = {"kind": row["kind"], "chance": row["chance"], "cautions": cautions.get(person, ())}
        if "attempts" in need.list.columns:
            more["attempts"] = past.attempts.get(person, 0)
        if need.list.helpers:
            more["who_helps"] = helpers.get(person, ())
        more["not_by"] = not_by.get(person, ())
        told.append(ListRow(len(told) + 1, person, row["rank_band"], reasons[person], **more))
    for unit, person in sample:
        place, said_no = len(rows[unit]) + 1, not_by.get(person, ())
        rows[unit].append(ListRow(place, person, None, (), kind=SAMPLE, chance=probability, not_by=said_no))
    aside: dict[str, list[ListRow]] = {unit: [] for unit in rows}
    for row in drawn.people.filter("is_held_out").iter_rows(named=True):
        unit, person = row["unit_id"], row["person_id"]
        place = len(rows[unit]) + len(aside[unit]) + 1
        lot = {"kind": MARGIN, "chance": row["chance"], "is_held_out": True}
        aside[unit].append(ListRow(place, person, row["rank_band"], (), **lot))
    return {unit: (rows[unit], aside[unit]) for unit in rows}


def _parts(
    drawn: DrawnUp, rows: Mapping[str, tuple[list[ListRow], list[ListRow]]], row_keys: RowKeys
) -> tuple[UnitPart, ...]:
    """The units' parts, each row with its hash."""
    keys = row_keys([row.person_id for told in rows.values() for part in told for row in part])
    eligible = dict(drawn.people.filter(pl.col("reason").is_null()).group_by("unit_id").len().iter_rows())

    def hashed(unit: str, told: Sequence[ListRow]) -> tuple[ListRow, ...]:
        return tuple(row.hashed(unit, keys[row.person_id]) for row in told)

    return tuple(
        UnitPart(unit, name, drawn.shares[unit], eligible.get(unit, 0), *(hashed(unit, part) for part in rows[unit]))
        for unit, name in drawn.units.sort("unit_id").select("unit_id", "name").iter_rows()
    )


def _sampled(drawn: DrawnUp, scorer: Scorer, as_of_date: date) -> tuple[list[tuple[str, str]], str]:
    """Unit and person of those drawn from below the line, in the order of their lots; and each one's probability."""
    frame = drawn.below.filter(~pl.col("is_held_out")).select("unit_id", "person_id")
    n = min(scorer.need.list.sample, frame.height)
    if not n:
        return [], ""
    at = first_by_lot(scorer.lots(SAMPLE, frame["person_id"].to_list(), as_of_date), n)
    return list(frame[at].iter_rows()), chance(n, frame.height)


def _told_by_events(
    listed: pl.DataFrame,
    city: City,
    declared: Sequence[Contraindication | Helper],
    as_of_date: date,
    language: str,
) -> dict[str, tuple[str, ...]]:
    """What events say of a person beside the reasons, as the need words it: what to know first, or who helps."""
    found: dict[str, tuple[str, ...]] = {}
    keys = listed.select("person_id", as_of_date=pl.lit(as_of_date))
    for one in declared:
        has = had_events(city, keys, EventRule(codes=one.codes, window=one.window))
        for person in listed.filter(pl.Series(has))["person_id"]:
            found[person] = (*found.get(person, ()), str(getattr(one.plain, language)))
    return found


def _scored_again(scores: Scores, scorer: Scorer) -> dict[str, int]:
    """Whether the model gives the people of a list the same scores again."""
    frame = scores.frame.select("row", "raw").sort("row")
    if scorer.model.kind != "rule":  # only the rows that are scored again need be in memory
        frame = frame[rescored(frame.height)]
        few = scores.matrix.take(frame["row"].to_numpy())
        return rescoring(scorer.model, few.X, frame["raw"].to_numpy())
    whole = scores.matrix.take(np.arange(scores.matrix.keys.height))
    return rescoring(scorer.model, whole.X, frame["raw"].to_numpy(), at=frame["row"].to_numpy())


def _reasons(
    listed: pl.DataFrame, told: Matrix, scorer: Scorer, city: City, typical: Typical, language: str
) -> tuple[dict[str, tuple[Reason, ...]], float]:
    """Reasons of the listed (whose rows are ``told``) as their own unit may see them, and the largest gap to their
    scores."""
    reasons: dict[str, tuple[Reason, ...]] = {}
    errors = [0.0]
    for (unit_id,), people in listed.with_columns(at=pl.int_range(pl.len())).group_by("unit_id", maintain_order=True):
        rows = people["at"].to_numpy()
        why, error = explain(scorer.model, told, rows, typical, reader=str(unit_id), language=language, city=city)
        reasons |= {person: tuple(one) for person, one in zip(people["person_id"], why, strict=True)}
        errors.append(error)
    return reasons, max(errors)
