"""The commands that build: cities, needs, features, models, what they are measured with, and the judging of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.command_options import (
    ANY_CITY,
    LANGUAGES,
    add_city_and_need,
    at_least_one,
    calendar_day,
    city_place,
    declare,
    declare_group,
    seed_number,
)
from serving.gate_options import add_judged_scores

_NEED_ANSWERS = (
    ("title", "what the need is called"),
    ("service", "the service that works the list"),
    ("age", "the ages, as 16-28"),
    ("label-codes", "codes that say the need has appeared, commas between"),
    ("horizon-days", "how far ahead it is looked"),
    ("feature-codes", "codes that may be read, commas between"),
    ("workers", "how many workers call"),
    ("attempts", "attempts of each worker in a week"),
)


def add_looking(commands: Any) -> None:
    """The demonstration, cities, needs, features."""
    demo = declare(commands, "demo", "the main job on an invented city", "demo")
    demo.add_argument(
        "--persons", type=at_least_one, default=100_000, help="how many invented persons (default 100000)"
    )
    demo.add_argument("--seed", type=seed_number, default=0, help="which invented world (default 0)")

    city = declare_group(commands, "city", "look at a city folder, or invent one")
    check = declare(city, "check", "persons, events, period, codes and rejects of a city folder", "city_check")
    check.add_argument("folder", type=city_place, help=ANY_CITY)
    check.add_argument("--rejects", type=Path, help="a new CSV file for the rows rejected: file, row, column, reason")
    synth = declare(city, "synth", "write an invented city with known truth", "city_synth")
    synth.add_argument("folder", type=Path)
    synth.add_argument("--persons", type=at_least_one, default=10_000)
    synth.add_argument("--seed", type=seed_number, default=0)

    needs = declare_group(commands, "needs", "the needs that are defined")
    declare(needs, "list", "the needs that come with Ennakko", "needs_list")
    check = declare(
        needs, "check", "everything that is wrong with a need file, and what an auditor would miss", "needs_check"
    )
    check.add_argument("need", type=Path)
    check.add_argument("--city", type=city_place, help=f"also say what its data tell: {ANY_CITY}")
    new = declare(needs, "new", "a draft of a need file from a few questions, what is missing marked", "needs_new")
    new.add_argument("path", type=Path, help="the new file, e.g. youth_exclusion.toml; its name is the need's id")
    new.add_argument("--city", type=city_place, help=f"compare the codes with {ANY_CITY}")
    for option, what in _NEED_ANSWERS:
        new.add_argument(f"--{option}", help=f"{what} (asked for if left out)")

    _add_features(commands)


def _add_features(commands: Any) -> None:
    features = declare_group(commands, "features", "the features of a need")
    build = declare(features, "build", "build the matrix into a Parquet file; what is cached stays", "features_build")
    add_city_and_need(build, ANY_CITY)
    build.add_argument(
        "--as-of", type=calendar_day, help="one day, as 2026-06-01 (default: every as-of date of the cohort)"
    )
    build.add_argument("--out", type=Path, help="a new Parquet file (default: in the home, named by its dates)")
    build.add_argument("--no-cache", action="store_true", help="neither read nor write the home's feature cache")
    build.add_argument("--threads", type=at_least_one, default=1, help="the bytes are the same with any number")

    plan = declare(features, "plan", "what a build would compute, what is cached, and why", "features_plan")
    add_city_and_need(plan, ANY_CITY)
    plan.add_argument(
        "--as-of", type=calendar_day, help="one day, as 2026-06-01 (default: every as-of date of the cohort)"
    )

    explain = declare(features, "explain", "the events that made one cell", "features_explain")
    explain.add_argument("person", help="a person_id, which is a pseudonym")
    explain.add_argument("as_of", metavar="date", type=calendar_day, help="the as-of date, as 2026-06-01")
    explain.add_argument("column", help="e.g. absence.count.30d")
    add_city_and_need(explain, ANY_CITY)
    purposes = ("not-said", "resident", "audit", "fault")
    explain.add_argument("--purpose", choices=purposes, default="not-said", help="why it is read, for the audit log")

    minimise = declare(features, "minimise", "what the need reads beside what the city hands over", "features_minimise")
    add_city_and_need(minimise, ANY_CITY)
    minimise.add_argument("--as-of", type=calendar_day, help="the day looked at (default: the cohort's latest)")

    leak = declare(features, "leakcheck", "poison the future, prove that no byte changes", "leakcheck")
    add_city_and_need(leak, ANY_CITY)
    leak.add_argument("--seed", type=seed_number, default=0)


def add_models(commands: Any) -> None:
    """Training, experiments, runs, and what becomes of capacity and benefit."""
    train = declare(commands, "train", "train and measure a need's model; logged to MLflow", "train")
    add_city_and_need(train)
    train.add_argument("--seed", type=seed_number, default=0)
    train.add_argument("--by", default="data scientist", help="who trains, by role; may not be the auditor")
    what = "try N settings of the trees on the past, and keep the best unless the defaults do as well; resumable"
    train.add_argument("--search", type=at_least_one, default=0, metavar="N", help=what)
    train.add_argument(
        "--workers", type=at_least_one, default=1, help="processes of the search; the result is the same"
    )
    what = "also what each feature is worth, and whether more persons would help (refits)"
    train.add_argument("--thorough", action="store_true", help=what)

    uplift = declare(commands, "uplift", "whom the help helped, from the table of a randomised trial", "uplift")
    uplift.add_argument("file", type=Path, help="a Parquet or CSV file, one row per person")
    uplift.add_argument("--treated", required=True, help="the column of 0 and 1: drawn to be offered the help")
    uplift.add_argument("--outcome", required=True, help="the column of 0 and 1: what followed")
    uplift.add_argument("--outcome-is", choices=("wanted", "unwanted"), required=True)
    uplift.add_argument("--share", type=float, required=True, help="planned probability of being offered the help")
    uplift.add_argument("--person", help="the column of who, or which household, was drawn (default: each row alone)")
    uplift.add_argument("--columns", help="columns known before the draw, commas between (default: all of numbers)")
    uplift.add_argument("--need", type=Path, help="the need whose action was tried: keep the result as its trial")
    uplift.add_argument("--learner", choices=("dr", "t"), default="dr", help="doubly robust, or one model per arm")
    uplift.add_argument("--seed", type=seed_number, default=0)

    judge = declare(commands, "judge", "let the ethics gate judge a run: verdict, cells and report", "judge")
    judge.add_argument("--run", dest="run_id", help="the run_id that train printed")
    judge.add_argument("--city", type=city_place, help="the city folder, if it has moved since training")
    what = "show what the gate would say, in aggregates: no key, no verdict, no person"
    judge.add_argument("--rehearse", action="store_true", help=what)
    judge.add_argument("--lang", choices=LANGUAGES, default="en", help="the language of report.html (default en)")
    add_judged_scores(judge)
