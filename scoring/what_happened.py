"""What came of lists: whom they reached and found, whom they missed, and what a place changed.

Functions over the store's frames (``rows``, ``attempts``, ``outcomes``), so that worlds can be simulated without a
city. Where somebody's need is known of a review or of registers it stands in a column ``in_need``; what is not known
is null, and is said to be so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ethics.disclosure import suppress
from ethics.report_tables import CountTable
from scoring.drawn_shares import NOTHING, Effect, Interval, drawn_share, effect_of_lot

if TYPE_CHECKING:
    from ethics.groups import GroupRegister

REACHED = ("reached", "declined", "already_served", "helped", "not_relevant")
"""Outcomes in which the person was met."""
FOUND = ("helped", "already_served")
"""Outcomes that show need: help was taken up, or is being given already."""
NO_NEED = ("not_relevant",)
HELPED = "helped"
_KEY = ["list_id", "person_ref"]
_COUNTS = ("listed", "reached", "taken_up")
_TO_CONTACT = ("ranked", "carried", "margin", "added")


class Shares(NamedTuple):
    """Counts of people on lists (once per list), and shares with intervals by person.

    Attributes
    ----------
    listed, tried, reached, found, taken_up : int
    reach : Interval
        Reached of listed.
    found_share : Interval
        Yield: need found, of reached. Who was reached without a word on need counts as not found.
    uptake : Interval
        Help taken up, of reached.
    """

    listed: int
    tried: int
    reached: int
    found: int
    taken_up: int
    reach: Interval
    found_share: Interval
    uptake: Interval


class MissedNeed(NamedTuple):
    """Need below the line, as its random sample shows it.

    Attributes
    ----------
    share : Interval
        In need, of those below the line.
    people : Interval
        In need below the line, over all lists (a person once per list).
    below_n : float
        People below the line that the samples were drawn from.
    drawn, known : int
        Sampled, and of those whose need is known.
    """

    share: Interval
    people: Interval
    below_n: float
    drawn: int
    known: int


def with_lots(rows: pl.DataFrame) -> pl.DataFrame:
    """The store's rows with what the lots made of them.

    Returns
    -------
    polars.DataFrame
        With ``is_listed``: whether the row was there to be contacted; False for the sample and for those whom the lot
        at the cut left below the line.
    """
    return rows.with_columns(is_listed=pl.col("kind").is_in(_TO_CONTACT) & ~pl.col("is_held_out"))


def worked_rows(rows: pl.DataFrame, attempts: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Each row with what came of it.

    Parameters
    ----------
    rows : polars.DataFrame
        ``list_id``, ``person_ref``, and whatever else.
    attempts : polars.DataFrame
        ``list_id``, ``person_ref``, ``at``, ``channel``.
    outcomes : polars.DataFrame
        ``list_id``, ``person_ref``, ``at``, ``outcome``.

    Returns
    -------
    polars.DataFrame
        In the same order, with bool ``tried``, ``reached``, ``found``, ``taken_up``; ``channel`` (of the attempt by
        which the person was reached, else of the last one; null: not said) and ``reviewed`` (1.0 where a worker found
        need, 0.0 where none, null where nothing was said of it).
    """
    came = outcomes.group_by(_KEY).agg(
        reached=pl.col("outcome").is_in(REACHED).any(),
        found=pl.col("outcome").is_in(FOUND).any(),
        taken_up=(pl.col("outcome") == HELPED).any(),
        dismissed=pl.col("outcome").is_in(NO_NEED).any(),
        met_at=pl.col("at").filter(pl.col("outcome").is_in(REACHED)).min(),
    )
    tries = attempts.join(came.select(*_KEY, "met_at"), on=_KEY, how="left").sort("at", maintain_order=True)
    by_then = pl.col("at") <= pl.col("met_at").fill_null(pl.col("at"))
    tried = tries.group_by(_KEY).agg(channel=pl.col("channel").filter(by_then).drop_nulls().last(), tried=pl.lit(True))
    known = rows.join(came, on=_KEY, how="left", maintain_order="left").join(
        tried, on=_KEY, how="left", maintain_order="left"
    )
    flags = ("reached", "found", "taken_up", "dismissed")
    known = known.with_columns(*(pl.col(name).fill_null(False) for name in flags))
    reviewed = pl.when("found").then(1.0).when("dismissed").then(0.0)
    tried_at_all = pl.col("tried").fill_null(False) | pl.col("met_at").is_not_null()
    return known.with_columns(tried=tried_at_all, reviewed=reviewed).drop("dismissed", "met_at")


def shares_of(worked: pl.DataFrame) -> Shares:
    """Reach, yield and uptake of rows that were there to be contacted; intervals by person.

    Parameters
    ----------
    worked : polars.DataFrame
        From :func:`worked_rows`.
    """
    person = _codes(worked, ["person_ref"])
    reached = worked["reached"].to_numpy()

    def of_reached(name: str) -> Interval:
        return drawn_share(worked[name].to_numpy()[reached].astype(np.float64), person[reached])

    counted = {name: int(worked[name].sum()) for name in ("tried", "reached", "found", "taken_up")}
    reach = drawn_share(reached.astype(np.float64), person)
    return Shares(worked.height, **counted, reach=reach, found_share=of_reached("found"), uptake=of_reached("taken_up"))


def missed_need(sample: pl.DataFrame) -> MissedNeed:
    """Need below the line, from people who were drawn there with known probabilities.

    Those whose need did not become known are taken to be like the others; the number of them is told.

    Parameters
    ----------
    sample : polars.DataFrame
        ``person_ref``, ``probability`` in (0, 1] (null: not known, so the row tells nothing), ``in_need`` (1, 0, or
        null).

    Source: Horvitz & Thompson 1952, J Am Stat Assoc 47: 663-685; Hájek 1971 for the share.
    """
    sample = sample.filter(pl.col("probability").is_not_null())
    below = float((1 / sample["probability"]).sum()) if sample.height else 0.0
    known = sample.filter(pl.col("in_need").is_not_null())
    if known.is_empty():
        return MissedNeed(NOTHING, NOTHING, below, sample.height, 0)
    # Of those drawn with certainty something is still unseen if others of the sample stayed unknown.
    probability = known["probability"].to_numpy() * (known.height / sample.height)
    share = drawn_share(known["in_need"].cast(pl.Float64).to_numpy(), _codes(known, ["person_ref"]), probability)
    people = Interval(*(below * part for part in share))
    return MissedNeed(share, people, below, sample.height, known.height)


def effect_of_a_place(drawn: pl.DataFrame, seed: int = 0, draws: int = 2000) -> Effect:
    """What being given a place at the cut changed in need later on, among people between whom a lot decided.

    Parameters
    ----------
    drawn : polars.DataFrame
        ``list_id``, ``unit_id``, ``person_ref``, ``probability``, ``is_held_out`` (as the lot had it, whatever was
        changed by hand later), ``in_need`` (1, 0, or null: left out), the last of registers, for those placed and
        those not alike.
    seed, draws : int
        Of redrawing the lots for the p-value.
    """
    known = drawn.filter(pl.col("in_need").is_not_null() & pl.col("probability").is_not_null())
    return effect_of_lot(
        known["in_need"].cast(pl.Float64).to_numpy(),
        ~known["is_held_out"].to_numpy(),
        known["probability"].to_numpy(),
        _codes(known, ["person_ref"]),
        _codes(known, ["list_id", "unit_id"]),
        seed=seed,
        draws=draws,
    )


def crossovers(worked: pl.DataFrame) -> int:
    """People whom the lot left below the line and who were to be contacted all the same, by hand: once per list.

    They stay on the side of the lot that drew them (intention to treat): many of them make the effect of a place look
    smaller than it is, and leave it without bias as the effect of being drawn.

    Parameters
    ----------
    worked : polars.DataFrame
        From :func:`scoring.worked_lists.work_of`, whose ``is_listed`` knows what was changed by hand.

    Source: Hollis & Campbell 1999, BMJ 319: 670-674.
    """
    return worked.filter(pl.col("is_held_out") & pl.col("is_listed")).height


# ---- by group ------------------------------------------------------------------------------------------------------


def by_group(worked: pl.DataFrame, register: GroupRegister, wanted: Sequence[str], least: int) -> list[dict[str, Any]]:
    """People listed, reached and helped by group, and by the channel that was used; small numbers withheld.

    Parameters
    ----------
    worked : polars.DataFrame
        From :func:`worked_rows`, with ``person_id``; rows of the erased (null) are left out.
    register : GroupRegister
    wanted : sequence of str
        Attributes; none means all.
    least : int
        No number of people below this can be read or worked out.

    Returns
    -------
    list of dict
        ``attribute``, ``group``, ``listed``, ``reached``, ``taken_up``, and ``reach`` and ``uptake`` with ``value``,
        ``low``, ``high``; None where withheld. A person counts once, whatever number of lists.
    """
    for attribute in wanted:
        register.only(attribute)  # refuses what the register does not have
    sums = register.sums(_of_people(worked), _COUNTS)
    sums = sums.filter(sums["attribute"].is_in(list(wanted or register.attributes)))
    return _told(sums, least)


def by_channel(worked: pl.DataFrame, least: int) -> list[dict[str, Any]]:
    """The same by the channel by which people were tried; people who were not tried are left out."""
    return _told(_sums_by_channel(worked), least)


def uptake_table(worked: pl.DataFrame, register: GroupRegister) -> pl.DataFrame:
    """What C413 asks (:class:`ethics.outcome_checks.OutcomeTables`): contacted and taken up, by group and channel."""
    sums = register.sums(_of_people(worked), _COUNTS)
    both = pl.concat([_sums_by_channel(worked), sums.select("attribute", "group", *_COUNTS)])
    return both.select(
        "attribute", "group", n=pl.col("reached").cast(pl.Int64), taken_up=pl.col("taken_up").cast(pl.Int64)
    )


def _of_people(worked: pl.DataFrame) -> pl.DataFrame:
    known = worked.filter(pl.col("person_id").is_not_null())
    return known.group_by("person_id", maintain_order=True).agg(
        pl.lit(1.0).alias("listed"),
        pl.col("reached").any().cast(pl.Float64),
        pl.col("taken_up").any().cast(pl.Float64),
    )


def _sums_by_channel(worked: pl.DataFrame) -> pl.DataFrame:
    tried = worked.filter(pl.col("tried"))
    one = tried.with_columns(group=pl.col("channel").fill_null("unknown")).group_by("group", "person_ref")
    people = one.agg(pl.col("reached").any(), pl.col("taken_up").any())
    counted = people.group_by("group").agg(
        listed=pl.len().cast(pl.Float64),
        reached=pl.col("reached").sum().cast(pl.Float64),
        taken_up=pl.col("taken_up").sum().cast(pl.Float64),
    )
    return counted.sort("group").select(pl.lit("channel").alias("attribute"), "group", *_COUNTS)


def _told(sums: pl.DataFrame, least: int) -> list[dict[str, Any]]:
    answer = []
    for table in suppress([_table(part) for part in sums.partition_by("attribute", maintain_order=True)], least=least):
        for at, group in enumerate(table.groups):
            shown = {name: None if table.is_hidden(name, group) else table.counts[name][at] for name in _COUNTS}
            reach = _rate(shown["reached"], shown["listed"])
            uptake = _rate(shown["taken_up"], shown["reached"])
            answer.append({"attribute": table.attribute, "group": group, **shown, "reach": reach, "uptake": uptake})
    return answer


def _table(sums: pl.DataFrame) -> CountTable:
    counts: dict[str, tuple[int, ...]] = {name: tuple(int(n) for n in sums[name]) for name in _COUNTS}
    for rest, whole, part in (("unreached", "listed", "reached"), ("not_taken_up", "reached", "taken_up")):
        counts[rest] = tuple(all_ - some for all_, some in zip(counts[whole], counts[part], strict=True))
    return CountTable(
        name="groups",
        attribute=str(sums["attribute"][0]),
        groups=tuple(sums["group"].to_list()),
        counts=counts,
        totals={name: sum(values) for name, values in counts.items()},
        shown=tuple(counts),
        sums=(("listed", ("reached", "unreached")), ("reached", ("taken_up", "not_taken_up"))),
    )


def _rate(some: int | None, all_: int | None) -> Mapping[str, float] | None:
    if some is None or not all_:
        return None
    found = np.zeros(all_)
    found[:some] = 1
    return drawn_share(found, np.arange(all_))._asdict()


def _codes(frame: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """A number for each value of some columns together: int64 (n,)."""
    codes: np.ndarray = frame.select(pl.struct(columns).rank("dense"))[columns[0]].to_numpy().astype(np.int64)
    return codes
