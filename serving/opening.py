"""What every story begins with: a need that may be used, and the city it is used on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, did_you_mean
from serving.home import Home
from serving.progress import Step

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need


def open_need(home: Home, need: Path) -> Need:
    """A need file, or the id of one that comes with Ennakko: within the policy, all of it built and founded."""
    from models.need import load_need

    opened = load_need(need_path(need))
    opened.check_against(home.policy.limits.model_dump())
    opened.require_built()
    refuse_unfounded(home, opened)
    if overdue := opened.review_fault(datetime.now(UTC).date()):
        raise BadInput(overdue)
    return opened


def refuse_unfounded(home: Home, need: Need, city: str | None = None) -> None:
    """Refuse a need that speaks of benefit while nothing in this home founds the word, in this city where one is named.

    The evidence table is read only where a text has the word: a slip in it stops no other need.

    Raises
    ------
    BadInput
        Each word, with its place.
    """
    from models.benefit_report import refuse_unfounded_wording, unfounded_words

    if unfounded_words(need):
        today = datetime.now(UTC).date()
        refuse_unfounded_wording(need, city, table=home.effects, trial=home.trial_of(need.id), today=today)


def refuse_misfitting_effects(home: Home, need: Need) -> None:
    """Refuse effects about the need whose conditions look at columns it does not have, before anything is trained."""
    from models.benefit import column_faults

    table = home.effects
    if table is None:
        return
    columns = dict.fromkeys(need.columns)
    where = str(home.effects_path)
    faults = [
        fault for effect in table.effects if need.id in effect.needs for fault in column_faults(effect, columns, where)
    ]
    if faults:
        raise BadInput(*faults)


def need_path(need: Path) -> Path:
    """The file that a path or a bundled need's id means."""
    from models.need import NEEDS

    if need.is_file():
        return need
    bundled = sorted(path.stem for path in NEEDS.glob("*.toml"))
    if str(need) in bundled:
        return NEEDS / f"{need}.toml"
    raise BadInput(
        Fault(
            f"need '{need}'", "is neither a file nor a need that comes with Ennakko", did_you_mean(str(need), bundled)
        )
    )


def open_city_for(home: Home, place: str | Path, need: Need, step: Step) -> City:
    """The city, with no more rejects than policy and need allow; the last one opened is kept while its files rest.

    A city in a database is read anew each time: nothing tells whether its rows rest.
    """
    return open_city_within(min(home.policy.limits.max_reject_share, need.limits.max_reject_share or 1.0), place, step)


def open_city_within(share: float, place: str | Path, step: Step) -> City:
    """The city, if no more than a share of its rows is rejected; kept as :func:`open_city_for` does."""
    from features.city import open_city

    if isinstance(place, str) or _lies_in_a_database(place):
        step("opening the city")
        return open_city(place, max_reject_share=share)
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else []
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino) for path in files)
    return _open_folder(place, share, stamps, step)


def _lies_in_a_database(folder: Path) -> bool:
    toml = folder / "city.toml"
    return toml.is_file() and b"sql" in toml.read_bytes()  # a false hit only reads the city anew


def folder_of(place: str | Path) -> Path:
    """The city folder where one is needed: the gate's groups lie in a folder, never in the city's database."""
    if isinstance(place, str):
        mend = "Make a folder with groups.parquet and a city.toml that says [sql] url, and give that folder"
        raise BadInput(Fault("--city", "names a database, which has no place for the groups of the gate", mend))
    if not place.is_dir():
        raise BadInput(Fault(str(place), "is not a folder", "Give the path of a city folder"))
    return place


_last_opened: dict[tuple[Any, ...], City] = {}


def _open_folder(folder: Path, share: float, stamps: tuple[Any, ...], step: Step) -> City:
    from features.city import open_city

    key = (folder, share, stamps)
    if key not in _last_opened:
        step("opening the city")
        _last_opened.clear()
        _last_opened[key] = open_city(folder, max_reject_share=share)
    return _last_opened[key]
