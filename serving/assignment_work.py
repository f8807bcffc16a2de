"""The story of pre-school place proposals: tables in, proposals beside the nearest-unit rule out; people decide."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, NotTrusted, read_toml
from serving.home import Home, whole_folder
from serving.opening import folder_of, need_path
from serving.progress import Step

if TYPE_CHECKING:
    from scoring.assignment import PlaceProposals, Summary
    from scoring.place_tables import PlaceTables

PLACES = "preschool_places"
"""The secret of the home by which a neutral lot decides between equals."""


def assign_places(
    home: Home,
    city: str | Path,
    as_of: date,
    *,
    need: Path,
    settings: Path | None,
    out: Path | None,
    seed: int,
    step: Step,
) -> dict[str, Any]:
    """Propose pre-school places and write them for coordinators.

    Parameters
    ----------
    home : Home
        Its objections and its stop switch are obeyed.
    city : path
        A city folder with ``preschool_units``, ``preschool_children`` and perhaps ``preschool_offers``.
    as_of : date
    need : Path
        Whoever objects to this need, or to every need, is proposed nothing automatically.
    settings : Path or None
        The weights; None: those that come with Ennakko.
    out : Path or None
        A folder that a folder of the result is made in; None: ``places`` of the home.
    seed : int
        Of intervals.

    Raises
    ------
    BadInput
        Tables or settings that cannot be used, a day the city does not know yet, or nobody who begins that year.
    NotTrusted
        The stop switch is set.
    """
    from features.city_file import CityFile
    from scoring.assignment import propose_places
    from scoring.place_settings import load_settings
    from scoring.place_tables import read_tables

    folder = folder_of(city)
    if home.stop_switch.is_set():
        raise NotTrusted(home.stop_switch.fault())
    weights, need_id = load_settings(settings), need_path(need).stem
    toml = folder / "city.toml"
    about = read_toml(toml, CityFile) if toml.exists() else CityFile()
    if about.extract_date and as_of > about.extract_date:
        wrong = f"is {as_of}, after the extract date {about.extract_date}: the city does not know that day yet"
        raise BadInput(Fault("--as-of", wrong, f"Give {about.extract_date} or earlier"))
    step("reading units, children and earlier offers")
    tables = read_tables(folder)
    ids = tables.children["person_id"].to_list()
    said_no = home.objections.objecting(ids, need_id)
    step("proposing places")
    found = propose_places(
        tables,
        as_of,
        weights,
        secret=home.tie_secret(PLACES),
        objecting=[person for person, objects in zip(ids, said_no, strict=True) if objects],
        erased=_erased(home, tables),
        seed=seed,
    )
    if not found.ours.children + found.exceptions.height:
        wrong = f"holds nobody who begins in {found.start_year}"
        raise BadInput(Fault("preschool_children: start_year", wrong, "Give another --as-of, or add the children"))
    step("comparing, and writing")
    return _write(home, folder, found, out, invented=about.invented)


def _erased(home: Home, tables: PlaceTables) -> list[str]:
    """People of the tables who were erased."""
    tables_of_people = [tables.children] + ([] if tables.offers is None else [tables.offers])
    ids = sorted({person for table in tables_of_people for person in table["person_id"]})
    return [person for person, is_gone in zip(ids, home.objections.erased(ids), strict=True) if is_gone]


def _write(home: Home, city: Path, found: PlaceProposals, out: Path | None, *, invented: bool) -> dict[str, Any]:
    """Files in a folder named by day and content: proposing the same again finds them there."""
    from ethics.groups import GroupRegister
    from scoring.place_comparison import by_group
    from scoring.place_files import write_tables
    from serving.gate_question import groups_file

    facts = _facts(found) | {"invented": invented}
    groups: list[dict[str, Any]] = []
    if found.settings.compare_by:
        register = GroupRegister.open(groups_file(city))
        groups = by_group(found, register, found.settings.compare_by, home.policy.min_persons_public)
    content = sha256(json.dumps([facts, groups], sort_keys=True).encode("utf-8"))
    target = (out or home.root / "places") / f"places-{found.as_of_date}-{content[:12]}"
    if not target.exists():
        with whole_folder(target) as draft:
            write_tables(found, groups, facts, draft)
    home.audit_log.append("propose places", "coordinator", digest=found.digest, n=found.ours.placed)
    files = sorted(str(path) for path in target.iterdir())
    return {**facts, "by_group": groups, "path": str(target), "files": files}


def _facts(found: PlaceProposals) -> dict[str, Any]:
    learned = found.acceptance
    return {
        "as_of_date": str(found.as_of_date),
        "start_year": found.start_year,
        "children": found.ours.children + found.exceptions.height,
        "places": int(found.units["places"].sum()),
        "held": int(found.units["held"].sum()),
        "proposed": found.ours.placed,
        "exceptions": {reason: n for reason, n in found.excepted.items() if n},
        "no_place": dict(sorted(found.no_place["reason"].value_counts().iter_rows())),
        "ours": _summary(found.ours),
        "nearest_unit_rule": _summary(found.nearest),
        "over_places_if_all_went_to_the_nearest": found.over_places,
        "acceptance": {
            "kind": learned.kind,
            "n_offers": learned.n_offers,
            "rate": _estimate(learned.rate),
            "measures": {name: _estimate(one) for name, one in learned.measures.items()},
        },
        "price_metres": found.price,
        "is_cheapest": found.is_cheapest,
        "settings": found.settings.model_dump(mode="json"),
        "digest": found.digest,
    }


def _summary(one: Summary) -> dict[str, Any]:
    return {**one._asdict(), "expected_acceptances": _estimate(one.expected_acceptances)}


def _estimate(estimate: Any) -> dict[str, float | None]:
    """JSON has no NaN: what is not known is null."""
    return {name: None if value != value else float(value) for name, value in estimate._asdict().items()}
