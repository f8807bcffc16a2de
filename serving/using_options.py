"""The commands that use what was approved: scores, lists, outcomes, the service, and what residents ask."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from serving.command_options import (
    ANY_CITY,
    CITY_WITH_GROUPS,
    LANGUAGES,
    add_city_and_need,
    amount_of_euros,
    at_least_one,
    calendar_day,
    city_place,
    declare,
    declare_group,
    seed_number,
)

_CHANNELS = ("digital", "phone", "letter", "visit")
_OUTCOMES = ("reached", "declined", "already_served", "helped", "not_relevant", "wrong_person", "not_reached")


def add_residents(commands: Any) -> None:
    """What residents ask for."""
    what = "record a resident's objection: in force at once; files that hold the person are recalled"
    objection = declare(commands, "object", what, "objection")
    objection.add_argument("person_id")
    objection.add_argument("--need", default="*", help="the id of one need (default: all)")
    what = f"only to being contacted in this way: {', '.join(_CHANNELS)} (default: to being ranked and listed at all)"
    objection.add_argument("--channel", help=what)
    objection.add_argument("--withdraw", action="store_true", help="the resident takes the objection back")
    what = "who brings it in: resident, or service_point for the resident (default)"
    objection.add_argument("--by", default="service_point", help=what)
    what = "a city folder, to find whose guardian the person is on lists: those files are recalled too"
    objection.add_argument("--city", type=Path, help=what)

    what = "what was used about a person, scores, lists, contacts, who looked, and how to object; the look is recorded"
    person = declare(commands, "person", what, "person")
    person.add_argument("person_id", help="a pseudonym")
    person.add_argument("--lang", choices=LANGUAGES, default="en", help="the language of the page (default en)")
    person.add_argument("--city", type=city_place, help=f"{ANY_CITY} (default: the one the model was trained on)")
    person.add_argument("--numbers", action="store_true", help="also the estimates as numbers, not their bands alone")
    person.add_argument("--html", type=Path, metavar="FILE", help="also write an accessible page to a new file")
    person.add_argument("--actor", required=True, help="who looks, by role: the resident, or who helps them")
    person.add_argument("--purpose", required=True, help="what for, in a few words")

    _add_erase(commands)


def _add_erase(commands: Any) -> None:
    what = "forget a person for good: database, files and cache; a statutory duty to keep answers with its reason"
    erase = declare(commands, "erase", what, "erase")
    erase.add_argument("person_id", nargs="?", default="", help="a person_id, which is a pseudonym")
    erase.add_argument("--by", default="", help="who erases, by role")
    erase.add_argument("--reason", default="", help="why, without naming anybody; kept in the audit log")
    erase.add_argument("--city", type=Path, help="a city folder, to find whose guardian the person is on lists")
    what = "after files or database came back from a backup: everybody who was ever erased goes again"
    erase.add_argument("--restored", action="store_true", help=what)
    what = "scores and lists that lie longer than the policy's retention lets them, in files and database"
    erase.add_argument("--overdue", action="store_true", help=what)
    erase.add_argument("--lang", choices=LANGUAGES, default="en", help="the language of a duty's reason (default en)")


def add_use(commands: Any) -> None:
    """Scores, lists, outcomes, places, simulation, the service."""
    for name, what, run in (
        ("score", "score a need's cohort with the approved model", "score"),
        ("list", "the outreach list of each service unit", "outreach"),
    ):
        command = declare(commands, name, what, run)
        add_city_and_need(command, required=name == "list")
        command.add_argument("--as-of", type=calendar_day, required=True, help="the day, as 2026-06-01")
        if name == "score":
            _add_service(command)
        else:
            command.add_argument("--unit", help="only this unit's list is written")
            command.add_argument("--lang", choices=LANGUAGES, default="en", help="the list's language (default en)")

    what = "every approved need's lists of a day, the leader's page, the area table; run again, it goes on"
    week = declare(commands, "week", what, "week")
    week.add_argument("--city", type=city_place, required=True, help=CITY_WITH_GROUPS)
    week.add_argument("--as-of", type=calendar_day, help="the day, as 2026-06-01 (default: the city's extract date)")
    what = "a need file or id (may be repeated; default: every need with an approved model)"
    week.add_argument("--need", type=Path, action="append", default=[], help=what)
    week.add_argument("--again", action="store_true", help="new lists, though there are lists of that day")
    what = "refuse an extract older than so many days (default: any age, which is told)"
    week.add_argument("--max-age", type=at_least_one, metavar="DAYS", help=what)
    week.add_argument("--lang", choices=LANGUAGES, default="en", help="the lists' language (default en)")
    week.add_argument("--quiet", action="store_true", help="say nothing but why a need has no list: for cron")

    _add_lists(commands)

    what = "propose pre-school places within units' places, beside the nearest-unit rule; people decide"
    assign = declare(commands, "assign", what, "assign")
    assign.add_argument("--city", type=city_place, required=True, help="a city folder with the preschool_ tables")
    assign.add_argument("--as-of", type=calendar_day, required=True, help="the day, as 2026-01-08")
    what = "whoever objects to this need is proposed nothing automatically (default: preschool_reach)"
    assign.add_argument("--need", type=Path, default=Path("preschool_reach"), help=what)
    assign.add_argument("--settings", type=Path, help="a TOML file of weights (default: scoring/assignment.toml)")
    assign.add_argument("--out", type=Path, help="where the folder of files is made (default: places in the home)")
    assign.add_argument("--seed", type=seed_number, default=0, help="of the intervals (default 0)")

    _add_outcomes(commands)

    what = "what other capacities, orders and allocations would have found, on people whose outcome is known"
    simulate = declare(commands, "simulate", what, "simulate")
    simulate.add_argument("--run", dest="run_id", required=True, help="the run_id that train printed")
    what = "another run of the same need on the same people, as another order (may be repeated)"
    simulate.add_argument("--compare", action="append", default=[], metavar="RUN", help=what)
    what = "attempts in a period to try (may be repeated; default: today's, with one more worker, and twice today's)"
    simulate.add_argument("--capacity", type=at_least_one, action="append", default=[], help=what)
    simulate.add_argument(
        "--attempt-cost", type=amount_of_euros, help="what one attempt to reach a person costs, in euros"
    )
    what = "an attribute of groups.parquet to count by (may be repeated; default: all)"
    simulate.add_argument("--by", action="append", default=[], metavar="ATTRIBUTE", help=what)
    simulate.add_argument("--city", type=Path, help="the city folder, if it has moved since training")
    simulate.add_argument("--out", type=Path, help="a folder for the pages and simulation.json (default: in the home)")
    simulate.add_argument("--lang", choices=LANGUAGES, default="en", help="the language of the words printed")

    serve = declare(commands, "serve", "answer POST /score over HTTP, on loopback unless told", "serve")
    serve.add_argument("--city", type=city_place, required=True, help=CITY_WITH_GROUPS)
    serve.add_argument("--need", type=Path, action="append", help="a need file (default: every approved need)")
    serve.add_argument("--host", default=None)
    serve.add_argument("--port", type=at_least_one, default=None)
    what = "answer whoever is on this machine, to try things out: by demonstration keys only"
    serve.add_argument("--without-tokens", action="store_true", default=None, help=what)
    what = "processes that answer (default: ENNAKKO_WORKERS, or 1); more than one needs PostgreSQL"
    serve.add_argument("--workers", type=at_least_one, default=None, help=what)


def _add_lists(commands: Any) -> None:
    lists = declare_group(commands, "lists", "past lists: what they rest on, rebuilding them, changes by hand")

    def one(name: str, what: str, run: str, **defaults: str) -> argparse.ArgumentParser:
        command = declare(lists, name, what, run, **defaults)
        command.add_argument("--list", dest="list_id", required=True, help="the list_id that list printed")
        return command

    show = one("show", "what a list rests on, what became of it, and who looked", "lists_show")
    show.add_argument("--unit", help="also this unit's people; who looks is recorded")
    show.add_argument("--by", default="", help="who looks, by role (with --unit)")
    show.add_argument("--purpose", default="", help="what for (with --unit)")
    show.add_argument("--city", type=Path, help="a city folder: what guardians refuse counts for their children too")
    rebuild = one("rebuild", "a list out of the store, as it was published, proved row by row", "lists_rebuild")
    rebuild.add_argument("--by", required=True, help="who asks for it, by role; recorded")
    rebuild.add_argument("--purpose", required=True, help="what for, without naming anybody; recorded")
    rebuild.add_argument("--out", type=Path, help="where to write it (default: <list_id>.jsonl here)")
    for name, act, what in (
        ("add", "added", "put somebody on a unit's list by hand"),
        ("remove", "removed", "take somebody off a unit's list"),
        ("assign", "assigned", "give somebody on the list to a worker"),
    ):
        change = one(name, what, "lists_change", act=act)
        change.add_argument("person_id")
        change.add_argument("--unit", required=True, help="whose list")
        change.add_argument("--by", required=True, help="who makes the change, by role")
        if act == "assigned":
            change.add_argument("--worker", required=True, help="who takes the person on")
        else:
            change.add_argument("--reason", required=True, help="why; kept until the person is erased")
    why = declare(lists, "why", "why somebody is, or is not, on a need's list of a day", "lists_why")
    why.add_argument("person_id")
    add_city_and_need(why)
    why.add_argument("--as-of", type=calendar_day, required=True, help="the day, as 2026-06-01")


def _add_outcomes(commands: Any) -> None:
    outcome = declare_group(commands, "outcome", "what came of attempts to reach people")
    add = declare(outcome, "add", "one attempt to reach a person, and what came of it", "outcome_add")
    add.add_argument("--list", dest="list_id", required=True, help="the list_id of the list the person is on")
    add.add_argument("--person", required=True, help="a person_id, which is a pseudonym")
    add.add_argument("--outcome", required=True, help=f"one of: {', '.join(_OUTCOMES)}")
    add.add_argument("--at", help="a day or a local time, as 2026-06-01 or 2026-06-01T09:30 (default: now)")
    add.add_argument("--channel", help="e.g. phone, letter, visit")
    add.add_argument("--worker", help="who tried")

    what = "every attempt of a file, or none: CSV, Parquet, or the filled workbook"
    read = declare(outcome, "import", what, "outcome_import")
    what = "columns list_id, person_id, at, channel, worker, outcome; or the .xlsx as it was handed out"
    read.add_argument("file", type=Path, help=what)
    read.add_argument("--list", dest="list_id", help="the list_id of rows that name none")
    read.add_argument("--dry-run", action="store_true", help="read and check everything, and keep nothing")
    for command in (add, read):
        command.add_argument("--by", default="caseworker", help="who brings it in, by role (default caseworker)")
        what = "the language of what is said (default: a workbook's own, otherwise en)"
        command.add_argument("--lang", choices=LANGUAGES, help=what)

    what = "what came of a need's lists: reach, yield, uptake, need missed below the line, the effect of a place"
    happened = declare(commands, "outcomes", what, "outcomes")
    happened.add_argument("--need", type=Path, required=True, help="a need file, or the id of one that comes along")
    happened.add_argument("--list", dest="list_id", help="only this list")
    happened.add_argument("--since", type=calendar_day, help="only lists from this as-of date on, as 2026-06-01")
    what = "a city folder: groups, and what followed by its registers (default: only what workers reported)"
    happened.add_argument("--city", type=Path, help=what)
    what = "an attribute of groups.parquet to count by (may be repeated; default: all)"
    happened.add_argument("--by", action="append", default=[], metavar="ATTRIBUTE", help=what)
    happened.add_argument("--seed", type=seed_number, default=0, help="of drawing the lots again (default 0)")
    happened.add_argument("--lang", choices=LANGUAGES, default="en", help="the language of the words printed")


def _add_service(score: argparse.ArgumentParser) -> None:
    service = score.add_argument_group("by a service", "people are scored by `ennakko serve` elsewhere, not here")
    service.add_argument("--server", metavar="ADDRESS", help="its address; http:// only for this machine")
    what = "a CSV or Parquet file with the column person_id, or ids with commas between (default: the whole cohort)"
    service.add_argument("--persons", metavar="FILE|IDS", help=what)
    service.add_argument("--purpose", help="what for, in a few words; the service's audit log keeps it")
    service.add_argument("--output", type=Path, metavar="FILE", help="a new Parquet file")
    what = "a file that holds the token alone (default: ENNAKKO_TOKEN, or the file ENNAKKO_TOKEN_FILE)"
    service.add_argument("--token-file", type=Path, metavar="FILE", help=what)
