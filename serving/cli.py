"""The command ``ennakko``: reads words, calls a story, says what came of it.

Only the standard library is imported before a command is known, so ``ennakko --help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from serving.unexpected import file_fault, own_fault

if TYPE_CHECKING:
    from ethics.refusals import Fault

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
_LANGUAGES = ("fi", "sv", "en")
_CHANNELS = ("digital", "phone", "letter", "visit")
_OUTCOMES = ("reached", "declined", "already_served", "helped", "not_relevant", "wrong_person", "not_reached")
_ANY_CITY = "a city folder, a MEDS folder, or the URL of a database"
_LAST_SEED = 2**31 - 1
_SEED_DIGITS = 40
_CITY_WITH_GROUPS = "a city folder; the gate's groups lie in it"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are refusals like any other, also as JSON."""

    def error(self, message: str) -> NoReturn:
        from ethics.refusals import BadInput, Fault

        raise BadInput(Fault(self.prog, message, f"See {self.prog} --help"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the contract's (0, 1, 2, 10, 20, 30)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    from ethics.refusals import Refusal

    try:
        with _stopped_in_order():
            code = _run(words)
            sys.stdout.flush()
        return code
    except Refusal as refusal:
        _say_no(refusal.faults, as_json)
        return refusal.exit_code
    except KeyboardInterrupt:
        print("Stopped; nothing half-written was kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _write_nowhere()
        return 1
    except OSError as error:
        _say_no([file_fault(error)], as_json)
        return 2
    except Exception as error:
        _say_no([own_fault(error)], as_json)
        return 1


def _run(words: Sequence[str]) -> int:
    parser = _parser()
    if words[:1] == ["keys"] and (len(words) == 1 or (words[1].startswith("-") and words[1] not in ("-h", "--help"))):
        words = ["keys", "list", *words[1:]]
    options = parser.parse_args(words)
    if not hasattr(options, "run"):
        parser.parse_args([*words, "--help"])
    from serving import commands

    return commands.run(options)


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does; a service sets a handler of its own."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _write_nowhere() -> None:
    """Nobody reads any more: what is still to be written at the end goes nowhere, and raises nothing again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say_no(faults: Sequence[Fault], as_json: bool) -> None:
    """Say what was refused, and never a personal identity code that somebody typed."""
    from serving.progress import masked

    faults = [fault._replace(**{part: masked(str(text)) for part, text in fault._asdict().items()}) for fault in faults]
    if as_json:
        print(json.dumps({"errors": [fault.facts() for fault in faults]}, ensure_ascii=False))
    for fault in faults:
        print(fault, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ennakko",
        description="Estimates who needs which service, refuses to do so unfairly, and hands short, explained lists "
        "to people who then decide.",
        epilog="Start with: ennakko demo",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_looking(commands)
    _add_models(commands)
    _add_gate(commands)
    _add_use(commands)
    return parser


def _add_looking(commands: Any) -> None:
    demo = _command(commands, "demo", "the main job on an invented city", "demo")
    demo.add_argument("--persons", type=_positive, default=100_000, help="how many invented persons (default 100000)")
    demo.add_argument("--seed", type=_seed, default=0, help="which invented world (default 0)")

    city = _group(commands, "city", "look at a city folder, or invent one")
    check = _command(city, "check", "persons, events, period, codes and rejects of a city folder", "city_check")
    check.add_argument("folder", type=_city, help=_ANY_CITY)
    check.add_argument("--rejects", type=Path, help="a new CSV file for the rows rejected: file, row, column, reason")
    synth = _command(city, "synth", "write an invented city with known truth", "city_synth")
    synth.add_argument("folder", type=Path)
    synth.add_argument("--persons", type=_positive, default=10_000)
    synth.add_argument("--seed", type=_seed, default=0)

    needs = _group(commands, "needs", "the needs that are defined")
    _command(needs, "list", "the needs that come with Ennakko", "needs_list")
    check = _command(
        needs, "check", "everything that is wrong with a need file, and what an auditor would miss", "needs_check"
    )
    check.add_argument("need", type=Path)
    check.add_argument("--city", type=_city, help=f"also say what its data tell: {_ANY_CITY}")
    new = _command(needs, "new", "a draft of a need file from a few questions, what is missing marked", "needs_new")
    new.add_argument("path", type=Path, help="the new file, e.g. youth_exclusion.toml; its name is the need's id")
    new.add_argument("--city", type=_city, help=f"compare the codes with {_ANY_CITY}")
    for option, what in _NEED_ANSWERS:
        new.add_argument(f"--{option}", help=f"{what} (asked for if left out)")

    _add_features(commands)


def _add_features(commands: Any) -> None:
    features = _group(commands, "features", "the features of a need")
    build = _command(features, "build", "build the matrix into a Parquet file; what is cached stays", "features_build")
    _city_and_need(build, _ANY_CITY)
    build.add_argument("--as-of", type=_day, help="one day, as 2026-06-01 (default: every as-of date of the cohort)")
    build.add_argument("--out", type=Path, help="a new Parquet file (default: in the home, named by its dates)")
    build.add_argument("--no-cache", action="store_true", help="neither read nor write the home's feature cache")
    build.add_argument("--threads", type=_positive, default=1, help="the bytes are the same with any number")

    plan = _command(features, "plan", "what a build would compute, what is cached, and why", "features_plan")
    _city_and_need(plan, _ANY_CITY)
    plan.add_argument("--as-of", type=_day, help="one day, as 2026-06-01 (default: every as-of date of the cohort)")

    explain = _command(features, "explain", "the events that made one cell", "features_explain")
    explain.add_argument("person", help="a person_id, which is a pseudonym")
    explain.add_argument("as_of", metavar="date", type=_day, help="the as-of date, as 2026-06-01")
    explain.add_argument("column", help="e.g. absence.count.30d")
    _city_and_need(explain, _ANY_CITY)
    purposes = ("not-said", "resident", "audit", "fault")
    explain.add_argument("--purpose", choices=purposes, default="not-said", help="why it is read, for the audit log")

    minimise = _command(
        features, "minimise", "what the need reads beside what the city hands over", "features_minimise"
    )
    _city_and_need(minimise, _ANY_CITY)
    minimise.add_argument("--as-of", type=_day, help="the day looked at (default: the cohort's latest)")

    leak = _command(features, "leakcheck", "poison the future, prove that no byte changes", "leakcheck")
    _city_and_need(leak, _ANY_CITY)
    leak.add_argument("--seed", type=_seed, default=0)


def _add_models(commands: Any) -> None:
    train = _command(commands, "train", "train and measure a need's model; logged to MLflow", "train")
    _city_and_need(train)
    train.add_argument("--seed", type=_seed, default=0)
    train.add_argument("--by", default="data scientist", help="who trains, by role; may not be the auditor")
    what = "try N settings of the trees on the past, and keep the best unless the defaults do as well; resumable"
    train.add_argument("--search", type=_positive, default=0, metavar="N", help=what)
    train.add_argument("--workers", type=_positive, default=1, help="processes of the search; the result is the same")
    what = "also what each feature is worth, and whether more persons would help (refits)"
    train.add_argument("--thorough", action="store_true", help=what)

    uplift = _command(commands, "uplift", "whom the help helped, from the table of a randomised trial", "uplift")
    uplift.add_argument("file", type=Path, help="a Parquet or CSV file, one row per person")
    uplift.add_argument("--treated", required=True, help="the column of 0 and 1: drawn to be offered the help")
    uplift.add_argument("--outcome", required=True, help="the column of 0 and 1: what followed")
    uplift.add_argument("--outcome-is", choices=("wanted", "unwanted"), required=True)
    uplift.add_argument("--share", type=float, required=True, help="planned probability of being offered the help")
    uplift.add_argument("--person", help="the column of who, or which household, was drawn (default: each row alone)")
    uplift.add_argument("--columns", help="columns known before the draw, commas between (default: all of numbers)")
    uplift.add_argument("--need", type=Path, help="the need whose action was tried: keep the result as its trial")
    uplift.add_argument("--learner", choices=("dr", "t"), default="dr", help="doubly robust, or one model per arm")
    uplift.add_argument("--seed", type=_seed, default=0)

    judge = _command(commands, "judge", "let the ethics gate judge a run: verdict, cells and report", "judge")
    judge.add_argument("--run", dest="run_id", help="the run_id that train printed")
    judge.add_argument("--city", type=_city, help="the city folder, if it has moved since training")
    what = "show what the gate would say, in aggregates: no key, no verdict, no person"
    judge.add_argument("--rehearse", action="store_true", help=what)
    judge.add_argument("--lang", choices=_LANGUAGES, default="en", help="the language of report.html (default en)")
    _add_judged_scores(judge)


def _add_judged_scores(judge: argparse.ArgumentParser) -> None:
    alone = judge.add_argument_group("anybody's scores", "two files and a capacity; no city, no model, no keys")
    what = "CSV or Parquet: person_id, score; label, probability, rule_score, household, indicator:<name> if known"
    alone.add_argument("--scores", type=Path, help=what)
    alone.add_argument("--groups", type=Path, help="CSV or Parquet: person_id and a column per attribute")
    alone.add_argument("--capacity", type=_positive, help="people contacted in a period")
    alone.add_argument("--periods", type=_positive, help="periods the answer is to hold for (default 1)")
    alone.add_argument("--use", help="what the scores are for (default: outreach_ranking, and the report says assumed)")
    alone.add_argument("--service", help="whose scores they are")
    alone.add_argument("--title", help="what the report calls them")
    alone.add_argument("--seed", type=_seed, help="of the intervals and of the order of equals (default 0)")
    alone.add_argument("--out", type=Path, help="folder for the verdict's folder (default: judged-scores)")


def _add_gate(commands: Any) -> None:
    what = "train and judge a need without any key: aggregates only, and no verdict"
    rehearse = _command(commands, "rehearse", what, "rehearse")
    _city_and_need(rehearse)
    rehearse.add_argument("--seed", type=_seed, default=0)

    what = "try another label, weights, fewer features and a cut by group; judge each, and show the trade"
    mitigate = _command(commands, "mitigate", what, "mitigate")
    mitigate.add_argument("--run", dest="run_id", required=True, help="the run_id that train printed")
    mitigate.add_argument("--city", type=_city, help="the city folder, if it has moved since training")
    what = "by which attribute to weigh and cut (default: that of the gravest finding)"
    mitigate.add_argument("--attribute", help=what)
    mitigate.add_argument("--out", type=Path, help="a folder for mitigation.json (default: in the home)")

    attest = _command(commands, "attest", "sign what only a person can vouch for", "attest")
    attest.add_argument("--verdict", type=Path, required=True, help="the verdict that asks for it")
    attest.add_argument("--id", dest="statement", required=True, help="the statement, e.g. AT-07")
    attest.add_argument("--reasons", required=True, help="why, in your own words")
    attest.add_argument("--check", help="only for this check, e.g. C401 (default: all that ask for the statement)")
    attest.add_argument("--organisation", help="on whose behalf; demonstration keys speak for nobody and need none")
    attest.add_argument("--role", help="whose key signs (default: the role the policy names)")

    what = "the auditor's signature on a verdict (AT-10), or an officer's on a policy"
    sign = _command(commands, "sign", what, "sign")
    sign.add_argument("--verdict", type=Path, help="the verdict that the auditor signs")
    what = "with --policy FILE and no --verdict: whose key signs it, service_owner or equality_officer"
    sign.add_argument("--role", help=what)

    revoke = _command(commands, "revoke", "take a verdict back: from now on it lets no score leave", "revoke")
    revoke.add_argument("--verdict", required=True, help="the verdict's file, or its id")
    revoke.add_argument("--reason", required=True, help="why it no longer holds; kept in the audit log")

    approve = _command(commands, "approve", "make a model the one in use; only with a verified verdict", "approve")
    approve.add_argument("--verdict", type=Path, required=True)

    shadow = _group(commands, "shadow", "a model that is watched beside the champion, and never served")
    begin = _command(shadow, "set", "watch the model of a run; it needs no verdict", "shadow_set")
    begin.add_argument("--run", dest="run_id", required=True, help="the run_id that train printed")
    end = _command(shadow, "end", "watch it no more", "shadow_end")
    end.add_argument("--need", dest="need_id", required=True, help="id of the need")
    compared = _command(shadow, "show", "how it stood to the champion, day by day", "shadow_show")
    compared.add_argument("--need", dest="need_id", help="only of this need")

    what = "render the report again from verdict and cells: pages in fi, sv and en, JSON and CSV"
    report = _command(commands, "report", what, "report")
    report.add_argument("verdict", type=Path, help="the verdict file; its cells lie beside it")
    report.add_argument("--lang", choices=_LANGUAGES, action="append", help="only this page (default: all three)")
    report.add_argument("--out", type=Path, help="a folder to write into (default: the verdict's own)")

    audit = _group(commands, "audit", "check what was recorded")
    what = (
        "verify a verdict from files alone (VERDICT), or against this home (--verdict), or all of this home's records"
    )
    verify = _command(audit, "verify", what, "audit_verify")
    verify.add_argument("file", metavar="VERDICT", nargs="?", type=Path, help="a verdict file: offline, with its cells")
    verify.add_argument("--trust", type=Path, help="the city's public keys (default: those of the home)")
    verify.add_argument("--cells", type=Path, help="the file of cells (default: beside the verdict)")
    what = "a folder of signed statements (default: attestations beside the verdict, or the home's)"
    verify.add_argument("--attestations", type=Path, help=what)
    what = "a verdict of this home, against the bytes that would be used now"
    verify.add_argument("--verdict", type=Path, help=what)
    log = _command(audit, "log", "who did what, and who looked at whom; verifies the chain", "audit_log")
    log.add_argument("--need", help="only acts about this need, by its id")
    log.add_argument("--person", help="only acts upon this person: a pseudonym, or its keyed hash; never printed")
    log.add_argument("--since", type=_day, help="only from this day on, as 2026-06-01")

    keys = _group(commands, "keys", "signing keys (lists them, unless another command follows)")
    _command(keys, "demo", "make demonstration keys (seven days, loopback only) and test the stop switch", "keys_demo")
    _command(keys, "list", "the keys this home trusts: role, holder, dates, state", "keys_list")
    make = _command(keys, "make", "make a key for a role, and trust it; the private part never leaves", "keys_make")
    make.add_argument("--role", required=True, help="e.g. gate, auditor, service_owner, equality_officer")
    make.add_argument("--name", required=True, help='who holds it, by role, e.g. "Head of internal audit"')
    make.add_argument("--days", type=_positive, default=365, help="how long it holds (default 365)")
    rotate = _command(keys, "rotate", "a new key in the place of a role's key; what that signed stays", "keys_rotate")
    rotate.add_argument("--role", required=True)
    rotate.add_argument("--days", type=_positive, help="how long the new key holds (default 365; demonstration 7)")
    revoke = _command(keys, "revoke", "believe a key no more: nothing that it ever signed counts", "keys_revoke")
    revoke.add_argument("--key", required=True, help="the key's id, or the beginning of it")
    revoke.add_argument("--reason", required=True, help="kept in trust.json and in the audit log")
    export = _command(keys, "export", "the public keys as a file for an auditor", "keys_export")
    export.add_argument("--to", type=Path, default=Path("trust.json"), help="a new file (default: trust.json here)")

    what = "the home's own issuer of tokens, where the city has no OpenID provider"
    issuer = _command(keys, "issuer", what, "keys_issuer")
    what = "put a new key in the place of the issuer's: no token made before counts any more"
    issuer.add_argument("--anew", action="store_true", help=what)
    what = "for trying things out: a server that others can reach refuses to start with it"
    issuer.add_argument("--demonstration", action="store_true", help=what)
    _add_tokens(commands)

    stop = _command(commands, "stop", "the stop switch: while it is set, no score leaves", "stop")
    stop.add_argument("action", choices=("on", "off", "test", "status"))
    stop.add_argument("--reason", default="set from the command line")

    _add_residents(commands)


def _add_residents(commands: Any) -> None:
    what = "record a resident's objection: in force at once; files that hold the person are recalled"
    objection = _command(commands, "object", what, "objection")
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
    person = _command(commands, "person", what, "person")
    person.add_argument("person_id", help="a pseudonym")
    person.add_argument("--lang", choices=_LANGUAGES, default="en", help="the language of the page (default en)")
    person.add_argument("--city", type=_city, help=f"{_ANY_CITY} (default: the one the model was trained on)")
    person.add_argument("--numbers", action="store_true", help="also the estimates as numbers, not their bands alone")
    person.add_argument("--html", type=Path, metavar="FILE", help="also write an accessible page to a new file")
    person.add_argument("--actor", required=True, help="who looks, by role: the resident, or who helps them")
    person.add_argument("--purpose", required=True, help="what for, in a few words")

    _add_erase(commands)


def _add_erase(commands: Any) -> None:
    what = "forget a person for good: database, files and cache; a statutory duty to keep answers with its reason"
    erase = _command(commands, "erase", what, "erase")
    erase.add_argument("person_id", nargs="?", default="", help="a person_id, which is a pseudonym")
    erase.add_argument("--by", default="", help="who erases, by role")
    erase.add_argument("--reason", default="", help="why, without naming anybody; kept in the audit log")
    erase.add_argument("--city", type=Path, help="a city folder, to find whose guardian the person is on lists")
    what = "after files or database came back from a backup: everybody who was ever erased goes again"
    erase.add_argument("--restored", action="store_true", help=what)
    what = "scores and lists that lie longer than the policy's retention lets them, in files and database"
    erase.add_argument("--overdue", action="store_true", help=what)
    erase.add_argument("--lang", choices=_LANGUAGES, default="en", help="the language of a duty's reason (default en)")


def _add_tokens(commands: Any) -> None:
    what = "make a token by the home's own issuer; it is printed once and kept nowhere"
    token = _command(commands, "token", what, "token")
    token.add_argument("--role", required=True, help="unit, data_scientist, auditor, resident, service_point, system")
    what = "a need the token is for (may be repeated); a system's may be '*', all of them"
    token.add_argument("--need", action="append", default=[], help=what)
    token.add_argument("--unit", action="append", default=[], help="a unit the token is for (may be repeated)")
    token.add_argument("--person", help="whose token a resident's is: a person_id, which is a pseudonym")
    what = "who is to use it, so that the log can tell them apart (default: the role)"
    token.add_argument("--for", dest="subject", metavar="WHO", help=what)
    token.add_argument("--minutes", type=_positive, default=60, help="how long it counts (default 60, at most 480)")

    profiles = _group(commands, "profiles", "who is who between Helsinki Profile and this home")
    read = _command(profiles, "import", "link profiles to people: every row of a file, or none", "profiles_import")
    read.add_argument("file", type=Path, help="CSV or Parquet with columns profile_uuid and person_id")
    unlink = _command(profiles, "unlink", "take a profile's link away", "profiles_unlink")
    unlink.add_argument("profile", help="the profile's UUID")
    for command in (read, unlink):
        command.add_argument("--by", default="service owner", help="who does it, by role (default service owner)")


def _add_use(commands: Any) -> None:
    for name, what, run in (
        ("score", "score a need's cohort with the approved model", "score"),
        ("list", "the outreach list of each service unit", "outreach"),
    ):
        command = _command(commands, name, what, run)
        _city_and_need(command, required=name == "list")
        command.add_argument("--as-of", type=_day, required=True, help="the day, as 2026-06-01")
        if name == "score":
            _add_service(command)
        else:
            command.add_argument("--unit", help="only this unit's list is written")
            command.add_argument("--lang", choices=_LANGUAGES, default="en", help="the list's language (default en)")

    what = "every approved need's lists of a day, the leader's page, the area table; run again, it goes on"
    week = _command(commands, "week", what, "week")
    week.add_argument("--city", type=_city, required=True, help=_CITY_WITH_GROUPS)
    week.add_argument("--as-of", type=_day, help="the day, as 2026-06-01 (default: the city's extract date)")
    what = "a need file or id (may be repeated; default: every need with an approved model)"
    week.add_argument("--need", type=Path, action="append", default=[], help=what)
    week.add_argument("--again", action="store_true", help="new lists, though there are lists of that day")
    what = "refuse an extract older than so many days (default: any age, which is told)"
    week.add_argument("--max-age", type=_positive, metavar="DAYS", help=what)
    week.add_argument("--lang", choices=_LANGUAGES, default="en", help="the lists' language (default en)")
    week.add_argument("--quiet", action="store_true", help="say nothing but why a need has no list: for cron")

    _add_lists(commands)

    what = "propose pre-school places within units' places, beside the nearest-unit rule; people decide"
    assign = _command(commands, "assign", what, "assign")
    assign.add_argument("--city", type=_city, required=True, help="a city folder with the preschool_ tables")
    assign.add_argument("--as-of", type=_day, required=True, help="the day, as 2026-01-08")
    what = "whoever objects to this need is proposed nothing automatically (default: preschool_reach)"
    assign.add_argument("--need", type=Path, default=Path("preschool_reach"), help=what)
    assign.add_argument("--settings", type=Path, help="a TOML file of weights (default: scoring/assignment.toml)")
    assign.add_argument("--out", type=Path, help="where the folder of files is made (default: places in the home)")
    assign.add_argument("--seed", type=_seed, default=0, help="of the intervals (default 0)")

    _add_outcomes(commands)

    what = "what other capacities, orders and allocations would have found, on people whose outcome is known"
    simulate = _command(commands, "simulate", what, "simulate")
    simulate.add_argument("--run", dest="run_id", required=True, help="the run_id that train printed")
    what = "another run of the same need on the same people, as another order (may be repeated)"
    simulate.add_argument("--compare", action="append", default=[], metavar="RUN", help=what)
    what = "attempts in a period to try (may be repeated; default: today's, with one more worker, and twice today's)"
    simulate.add_argument("--capacity", type=_positive, action="append", default=[], help=what)
    simulate.add_argument("--attempt-cost", type=_euros, help="what one attempt to reach a person costs, in euros")
    what = "an attribute of groups.parquet to count by (may be repeated; default: all)"
    simulate.add_argument("--by", action="append", default=[], metavar="ATTRIBUTE", help=what)
    simulate.add_argument("--city", type=Path, help="the city folder, if it has moved since training")
    simulate.add_argument("--out", type=Path, help="a folder for the pages and simulation.json (default: in the home)")
    simulate.add_argument("--lang", choices=_LANGUAGES, default="en", help="the language of the words printed")

    serve = _command(commands, "serve", "answer POST /score over HTTP, on loopback unless told", "serve")
    serve.add_argument("--city", type=_city, required=True, help=_CITY_WITH_GROUPS)
    serve.add_argument("--need", type=Path, action="append", help="a need file (default: every approved need)")
    serve.add_argument("--host", default=None)
    serve.add_argument("--port", type=_positive, default=None)
    what = "answer whoever is on this machine, to try things out: by demonstration keys only"
    serve.add_argument("--without-tokens", action="store_true", default=None, help=what)
    what = "processes that answer (default: ENNAKKO_WORKERS, or 1); more than one needs PostgreSQL"
    serve.add_argument("--workers", type=_positive, default=None, help=what)


def _add_lists(commands: Any) -> None:
    lists = _group(commands, "lists", "past lists: what they rest on, rebuilding them, changes by hand")

    def one(name: str, what: str, run: str, **defaults: str) -> argparse.ArgumentParser:
        command = _command(lists, name, what, run, **defaults)
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
    why = _command(lists, "why", "why somebody is, or is not, on a need's list of a day", "lists_why")
    why.add_argument("person_id")
    _city_and_need(why)
    why.add_argument("--as-of", type=_day, required=True, help="the day, as 2026-06-01")


def _add_outcomes(commands: Any) -> None:
    outcome = _group(commands, "outcome", "what came of attempts to reach people")
    add = _command(outcome, "add", "one attempt to reach a person, and what came of it", "outcome_add")
    add.add_argument("--list", dest="list_id", required=True, help="the list_id of the list the person is on")
    add.add_argument("--person", required=True, help="a person_id, which is a pseudonym")
    add.add_argument("--outcome", required=True, help=f"one of: {', '.join(_OUTCOMES)}")
    add.add_argument("--at", help="a day or a local time, as 2026-06-01 or 2026-06-01T09:30 (default: now)")
    add.add_argument("--channel", help="e.g. phone, letter, visit")
    add.add_argument("--worker", help="who tried")

    what = "every attempt of a file, or none: CSV, Parquet, or the filled workbook"
    read = _command(outcome, "import", what, "outcome_import")
    what = "columns list_id, person_id, at, channel, worker, outcome; or the .xlsx as it was handed out"
    read.add_argument("file", type=Path, help=what)
    read.add_argument("--list", dest="list_id", help="the list_id of rows that name none")
    read.add_argument("--dry-run", action="store_true", help="read and check everything, and keep nothing")
    for command in (add, read):
        command.add_argument("--by", default="caseworker", help="who brings it in, by role (default caseworker)")
        what = "the language of what is said (default: a workbook's own, otherwise en)"
        command.add_argument("--lang", choices=_LANGUAGES, help=what)

    what = "what came of a need's lists: reach, yield, uptake, need missed below the line, the effect of a place"
    happened = _command(commands, "outcomes", what, "outcomes")
    happened.add_argument("--need", type=Path, required=True, help="a need file, or the id of one that comes along")
    happened.add_argument("--list", dest="list_id", help="only this list")
    happened.add_argument("--since", type=_day, help="only lists from this as-of date on, as 2026-06-01")
    what = "a city folder: groups, and what followed by its registers (default: only what workers reported)"
    happened.add_argument("--city", type=Path, help=what)
    what = "an attribute of groups.parquet to count by (may be repeated; default: all)"
    happened.add_argument("--by", action="append", default=[], metavar="ATTRIBUTE", help=what)
    happened.add_argument("--seed", type=_seed, default=0, help="of drawing the lots again (default 0)")
    happened.add_argument("--lang", choices=_LANGUAGES, default="en", help="the language of the words printed")


# ---- how commands are declared -------------------------------------------------------------------------------


def _command(commands: Any, name: str, what: str, run: str, **defaults: str) -> argparse.ArgumentParser:
    """A command that calls the function ``run`` of commands.py, which is imported only then."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what)
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    command.add_argument("--home", type=Path, help="where all state lives (default: ENNAKKO_HOME, or var/)")
    command.add_argument("--policy", type=Path, help="the policy file (default: the one that comes with Ennakko)")
    command.set_defaults(run=run, **defaults)
    return command


def _group(commands: Any, name: str, what: str) -> Any:
    parser = commands.add_parser(name, help=what, description=what)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _add_service(score: argparse.ArgumentParser) -> None:
    service = score.add_argument_group("by a service", "people are scored by `ennakko serve` elsewhere, not here")
    service.add_argument("--server", metavar="URL", help="its address; http:// only for this machine")
    what = "a CSV or Parquet file with the column person_id, or ids with commas between (default: the whole cohort)"
    service.add_argument("--persons", metavar="FILE|IDS", help=what)
    service.add_argument("--purpose", help="what for, in a few words; the service's audit log keeps it")
    service.add_argument("--output", type=Path, metavar="FILE", help="a new Parquet file")
    what = "a file that holds the token alone (default: ENNAKKO_TOKEN, or the file ENNAKKO_TOKEN_FILE)"
    service.add_argument("--token-file", type=Path, metavar="FILE", help=what)


def _city_and_need(command: argparse.ArgumentParser, city: str = _CITY_WITH_GROUPS, *, required: bool = True) -> None:
    command.add_argument("--city", type=_city, required=required, help=city)
    command.add_argument(
        "--need", type=Path, required=True, help="a need file, or the id of one that comes with Ennakko"
    )


def _city(text: str) -> str | Path:
    """A folder's path, or a database URL as it is written: a path would lose slashes of ``sqlite:///city.db``."""
    return text if "://" in text else Path(text)


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number; give 1 or more") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"is {text}, but must be 1 or more")
    return number


def _seed(text: str) -> int:
    """What every generator takes, LightGBM's 32 bits too, and what a signed file can hold."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _SEED_DIGITS and int(text) <= _LAST_SEED):
        raise argparse.ArgumentTypeError(f"'{text[:_SEED_DIGITS]}' is no seed: give 0 or more, at most {_LAST_SEED}")
    return int(text)


def _euros(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 < amount < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of euros; give a number above 0, e.g. 25")
    return amount


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
        if day.isoformat() != text:  # Python reads weeks and digits without hyphens too
            raise ValueError
        return day
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a day; write it as 2026-06-01") from None
