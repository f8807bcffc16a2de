"""The state of a week's run: what it began with, and the counts behind its pages; one file, written whole.

Which lists there are is told by the store alone, so a run that was killed between a list and this file is no other run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ethics.refusals import BadInput, Fault, NotTrusted, faults_of
from ethics.whole_file import write_whole

if TYPE_CHECKING:
    from serving.home import Home

FOLDER = "week"
_Count = Field(ge=0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Expected(_Part):
    """People in need expected among some who are listed, with the interval of their number."""

    value: float = _Count
    low: float = _Count
    high: float = _Count


class UnitExpected(_Part):
    """A unit's part."""

    unit_id: str
    name: str
    expected: Expected | None


class DistrictCounts(_Part):
    """People of a district (None: not known) whom the need covers, of them listed, and expected in need."""

    district: str | None
    n: int = _Count
    listed: int = _Count
    expected: float | None


class NeedCounts(_Part):
    """The counts of one need's list, from :func:`scoring.week_counts.counts_of_week`."""

    list_digest: str
    expected: Expected | None
    units: tuple[UnitExpected, ...]
    districts: tuple[DistrictCounts, ...]


class WeekState(_Part):
    """What is remembered of the runs of one as-of date.

    Attributes
    ----------
    as_of_date : str
    run : int
        Counts from 1; ``--again`` begins the next.
    before : mapping
        Need → lists of that day that stood before this run began: they are not this run's.
    is_finished : bool
        Whether every need had its list when a run ended.
    counts : mapping
        Need → counts of the list last made.
    """

    form: Literal["ennakko-week/1"] = "ennakko-week/1"
    as_of_date: str
    run: int = Field(default=1, ge=1)
    begun_at: str
    before: Mapping[str, tuple[str, ...]] = {}
    is_finished: bool = False
    counts: Mapping[str, NeedCounts] = {}

    def with_counts(self, need_id: str, counts: NeedCounts) -> WeekState:
        """The state that also knows these."""
        return self.model_copy(update={"counts": {**self.counts, need_id: counts}})


def week_folder(home: Home, as_of: date) -> Path:
    """Where the pages of a week lie; its state is the file ``<as_of>.json`` beside it."""
    return home.root / FOLDER / as_of.isoformat()


def begun(as_of: date, run: int = 1, before: Mapping[str, tuple[str, ...]] | None = None) -> WeekState:
    """The state of a run that begins now."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    return WeekState(as_of_date=as_of.isoformat(), run=run, begun_at=moment, before=dict(before or {}))


def read_state(path: Path, as_of: date) -> WeekState | None:
    """The state that a file holds; None where there is none yet.

    Raises
    ------
    NotTrusted
        The file is not as it was written, or is of another day.
    """
    if not path.exists():
        return None
    mend = "Restore it from the backup, or delete it: lists that were published stand in the store"
    try:
        state = WeekState.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise NotTrusted(*(fault._replace(mend=mend) for fault in _told(error, str(path)))) from None
    except RecursionError:
        raise NotTrusted(Fault(str(path), "is nested too deeply", mend)) from None
    if state.as_of_date != as_of.isoformat():
        raise NotTrusted(Fault(str(path), f"is of {state.as_of_date}, not of {as_of}", mend))
    return state


def _told(error: ValidationError, where: str) -> list[Fault]:
    if any(problem["type"] == "json_invalid" for problem in error.errors(include_url=False)):
        return [Fault(where, "is no readable JSON", "")]
    return faults_of(error, where, WeekState)


def write_state(path: Path, state: WeekState) -> None:
    """Write the state whole."""
    write_whole(path, (state.model_dump_json(indent=1) + "\n").encode("utf-8"))


def refuse_old_extract(extract_date: date, today: date, most_days: int | None) -> None:
    """Refuse an extract older than so many days; None: any age will do. Raises BadInput."""
    age = (today - extract_date).days
    if most_days is not None and age > most_days:
        wrong = f"is of {extract_date}, {age} days ago, and at most {most_days} are allowed"
        raise BadInput(Fault("the city's extract", wrong, "Fetch a new extract, or allow more with --max-age"))
