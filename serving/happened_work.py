"""The story of what happened: lists of a need in some time, what came of them, what they missed, what they changed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault
from serving.home import Home
from serving.opening import folder_of, need_path, open_city_for, open_need
from serving.progress import Step, silent

if TYPE_CHECKING:
    import polars as pl

    from ethics.groups import GroupRegister
    from features.city import City
    from models.need import Need


def what_happened(
    home: Home,
    need: Path,
    *,
    list_id: str | None = None,
    since: date | None = None,
    city: Path | None = None,
    by: tuple[str, ...] = (),
    seed: int = 0,
    step: Step = silent,
) -> dict[str, Any]:
    """Reach, yield, uptake, missed need and the effect of a place, of published lists of a need.

    Parameters
    ----------
    list_id : str, optional
        Only this list; without it, several lists of one day count as one (:func:`scoring.worked_lists.work_of`).
    since : date, optional
        Only lists from this as-of date on.
    city : Path, optional
        A city folder: groups, and what followed by its registers. Without it, only what workers reported is told.
    by : tuple of str
        Attributes to count by; none means all.
    seed : int
        Of redrawing the lots.

    Raises
    ------
    BadInput
        The list is not one of the need's, or groups are asked for without a city.
    """
    from scoring.what_happened import by_channel, crossovers, effect_of_a_place, missed_need, shares_of
    from scoring.worked_lists import work_of

    need_id = need_path(need).stem
    if by and city is None:
        raise BadInput(Fault("--by", "needs the city's groups", "Give --city with it"))
    lists = home.store.lists(need_id, since)
    if list_id is not None:
        lists = lists.filter(lists["list_id"] == list_id)
        if lists.is_empty():
            raise BadInput(Fault("--list", "is no published list of this need in that time", "Give its list_id"))
    if lists.is_empty():
        return {"need": need_id, "lists": [], "channels": [], "groups": []}
    step("counting what came of the lists")
    work = work_of(
        lists,
        home.store.rows(list_id, need_id=need_id, first=since),
        home.store.changes(list_id),
        home.store.attempts(list_id, need_id=need_id),
        home.store.outcomes(list_id, need_id=need_id),
    )
    worked = work.rows
    result: dict[str, Any] = {"need": need_id, "lists": work.lists, "channels": [], "groups": []}
    result |= {"first": str(lists["as_of_date"].min()), "last": str(lists["as_of_date"].max())}
    listed = worked.filter("is_listed")
    least = home.policy.min_persons_public
    result |= numbers(shares_of(listed)._asdict())
    result["channels"] = by_channel(listed, least)
    followed = _followed(home, need, city, worked, step)
    sample = followed.filter(followed["kind"] == "sample").with_columns(in_need=reviewed_first())
    lots = followed.filter(followed["kind"] == "margin").with_columns(in_need="by_register")
    result["missed"] = numbers(missed_need(sample)._asdict())
    result["effect"] = {**numbers(effect_of_a_place(lots, seed)._asdict()), "crossovers": crossovers(worked)}
    if city is not None:
        result |= _by_groups(home, Path(city), listed, by, least)
    home.audit_log.append("what happened", "service unit", need=need_id, lists=lists.height)
    return result


def reviewed_first() -> pl.Expr:
    """What a worker saw; where nobody said, what registers show."""
    import polars as pl

    return pl.coalesce("reviewed", "by_register")


def _followed(home: Home, need: Path, city: Path | None, worked: pl.DataFrame, step: Step) -> pl.DataFrame:
    """The rows with what registers show of need after the list's day (``by_register``; null where not known)."""
    import polars as pl

    nothing = worked.with_columns(by_register=pl.lit(None, dtype=pl.Float64))
    if city is None or _by_lot(worked).is_empty():
        return nothing
    opened = open_need(home, need)
    if opened.label is None:
        return nothing
    found = open_city_for(home, folder_of(city), opened, step)
    step("looking at what followed by registers")
    return with_registers(worked, found, opened)


def with_registers(worked: pl.DataFrame, city: City, need: Need) -> pl.DataFrame:
    """Rows with what registers show of the need of those drawn by lot: ``by_register``, null where not known (yet)."""
    import polars as pl

    from features.label import build_label

    keys = _by_lot(worked).select("person_id", "as_of_date").unique(maintain_order=True)
    keys = keys.filter(keys["person_id"].is_in(city.persons["person_id"].implode()))
    if need.label is None or keys.is_empty():
        return worked.with_columns(by_register=pl.lit(None, dtype=pl.Float64))
    label = pl.Series("by_register", build_label(city, keys, need.label)).fill_nan(None)
    return worked.join(keys.with_columns(label), on=["person_id", "as_of_date"], how="left", maintain_order="left")


def _by_lot(worked: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return worked.filter(pl.col("kind").is_in(["sample", "margin"]) & pl.col("person_id").is_not_null())


def _by_groups(home: Home, city: Path, listed: pl.DataFrame, by: tuple[str, ...], least: int) -> dict[str, Any]:
    from ethics.check_register import Context
    from ethics.groups import GroupRegister
    from ethics.outcome_checks import OUTCOME_CHECKS, OutcomeTables
    from scoring.what_happened import by_channel, by_group, uptake_table
    from serving.gate_question import groups_file

    register: GroupRegister = GroupRegister.open(groups_file(city))
    groups = by_group(listed, register, by, least)
    # A warning about a group tells its numbers: only of those whose numbers are told anyway.
    told = (*groups, *by_channel(listed, least))
    shown = {f"{row['attribute']}={row['group']}" for row in told if row["uptake"] is not None}
    tables: Any = OutcomeTables(uptake=uptake_table(listed, register))
    checks = OUTCOME_CHECKS["C413"].run(tables, Context(home.policy, datetime.now(UTC)))
    warned = [
        {"group": one.group, "value": one.value, "low": one.low, "high": one.high, "threshold": one.threshold}
        for one in checks
        if one.state == "warn" and one.group in shown
    ]
    return {"groups": groups, "low_uptake": warned}


def numbers(values: dict[str, Any]) -> dict[str, Any]:
    """JSON values: intervals as objects, what is not known as null."""
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return numbers(value._asdict())
    return None if isinstance(value, float) and value != value else value
