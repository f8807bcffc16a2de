"""The commands of the gate: judging, attesting, signing, keys, the stop switch, audit and tokens."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from serving.command_options import (
    LANGUAGES,
    add_city_and_need,
    at_least_one,
    calendar_day,
    city_place,
    declare,
    declare_group,
    seed_number,
)
from serving.using_options import add_residents


def add_judged_scores(judge: argparse.ArgumentParser) -> None:
    """How scores that anybody made are judged."""
    alone = judge.add_argument_group("anybody's scores", "two files and a capacity; no city, no model, no keys")
    what = "CSV or Parquet: person_id, score; label, probability, rule_score, household, indicator:<name> if known"
    alone.add_argument("--scores", type=Path, help=what)
    alone.add_argument("--groups", type=Path, help="CSV or Parquet: person_id and a column per attribute")
    alone.add_argument("--capacity", type=at_least_one, help="people contacted in a period")
    alone.add_argument("--periods", type=at_least_one, help="periods the answer is to hold for (default 1)")
    alone.add_argument("--use", help="what the scores are for (default: outreach_ranking, and the report says assumed)")
    alone.add_argument("--service", help="whose scores they are")
    alone.add_argument("--title", help="what the report calls them")
    alone.add_argument("--seed", type=seed_number, help="of the intervals and of the order of equals (default 0)")
    alone.add_argument("--out", type=Path, help="folder for the verdict's folder (default: judged-scores)")


def add_gate(commands: Any) -> None:
    """Judging, vouching, signing, keys, the stop switch, audit, tokens."""
    what = "train and judge a need without any key: aggregates only, and no verdict"
    rehearse = declare(commands, "rehearse", what, "rehearse")
    add_city_and_need(rehearse)
    rehearse.add_argument("--seed", type=seed_number, default=0)

    what = "try another label, weights, fewer features and a cut by group; judge each, and show the trade"
    mitigate = declare(commands, "mitigate", what, "mitigate")
    mitigate.add_argument("--run", dest="run_id", required=True, help="the run_id that train printed")
    mitigate.add_argument("--city", type=city_place, help="the city folder, if it has moved since training")
    what = "by which attribute to weigh and cut (default: that of the gravest finding)"
    mitigate.add_argument("--attribute", help=what)
    mitigate.add_argument("--out", type=Path, help="a folder for mitigation.json (default: in the home)")

    attest = declare(commands, "attest", "sign what only a person can vouch for", "attest")
    attest.add_argument("--verdict", type=Path, required=True, help="the verdict that asks for it")
    attest.add_argument("--id", dest="statement", required=True, help="the statement, e.g. AT-07")
    attest.add_argument("--reasons", required=True, help="why, in your own words")
    attest.add_argument("--check", help="only for this check, e.g. C401 (default: all that ask for the statement)")
    attest.add_argument("--organisation", help="on whose behalf; demonstration keys speak for nobody and need none")
    attest.add_argument("--role", help="whose key signs (default: the role the policy names)")

    what = "the auditor's signature on a verdict (AT-10), or an officer's on a policy"
    sign = declare(commands, "sign", what, "sign")
    sign.add_argument("--verdict", type=Path, help="the verdict that the auditor signs")
    what = "with --policy FILE and no --verdict: whose key signs it, service_owner or equality_officer"
    sign.add_argument("--role", help=what)

    revoke = declare(commands, "revoke", "take a verdict back: from now on it lets no score leave", "revoke")
    revoke.add_argument("--verdict", required=True, help="the verdict's file, or its id")
    revoke.add_argument("--reason", required=True, help="why it no longer holds; kept in the audit log")

    approve = declare(commands, "approve", "make a model the one in use; only with a verified verdict", "approve")
    approve.add_argument("--verdict", type=Path, required=True)

    shadow = declare_group(commands, "shadow", "a model that is watched beside the champion, and never served")
    begin = declare(shadow, "set", "watch the model of a run; it needs no verdict", "shadow_set")
    begin.add_argument("--run", dest="run_id", required=True, help="the run_id that train printed")
    end = declare(shadow, "end", "watch it no more", "shadow_end")
    end.add_argument("--need", dest="need_id", required=True, help="id of the need")
    compared = declare(shadow, "show", "how it stood to the champion, day by day", "shadow_show")
    compared.add_argument("--need", dest="need_id", help="only of this need")

    what = "render the report again from verdict and cells: pages in fi, sv and en, JSON and CSV"
    report = declare(commands, "report", what, "report")
    report.add_argument("verdict", type=Path, help="the verdict file; its cells lie beside it")
    report.add_argument("--lang", choices=LANGUAGES, action="append", help="only this page (default: all three)")
    report.add_argument("--out", type=Path, help="a folder to write into (default: the verdict's own)")

    audit = declare_group(commands, "audit", "check what was recorded")
    what = (
        "verify a verdict from files alone (VERDICT), or against this home (--verdict), or all of this home's records"
    )
    verify = declare(audit, "verify", what, "audit_verify")
    verify.add_argument("file", metavar="VERDICT", nargs="?", type=Path, help="a verdict file: offline, with its cells")
    verify.add_argument("--trust", type=Path, help="the city's public keys (default: those of the home)")
    verify.add_argument("--cells", type=Path, help="the file of cells (default: beside the verdict)")
    what = "a folder of signed statements (default: attestations beside the verdict, or the home's)"
    verify.add_argument("--attestations", type=Path, help=what)
    what = "a verdict of this home, against the bytes that would be used now"
    verify.add_argument("--verdict", type=Path, help=what)
    log = declare(audit, "log", "who did what, and who looked at whom; verifies the chain", "audit_log")
    log.add_argument("--need", help="only acts about this need, by its id")
    log.add_argument("--person", help="only acts upon this person: a pseudonym, or its keyed hash; never printed")
    log.add_argument("--since", type=calendar_day, help="only from this day on, as 2026-06-01")

    keys = declare_group(commands, "keys", "signing keys (lists them, unless another command follows)")
    declare(keys, "demo", "make demonstration keys (seven days, loopback only) and test the stop switch", "keys_demo")
    declare(keys, "list", "the keys this home trusts: role, holder, dates, state", "keys_list")
    make = declare(keys, "make", "make a key for a role, and trust it; the private part never leaves", "keys_make")
    make.add_argument("--role", required=True, help="e.g. gate, auditor, service_owner, equality_officer")
    make.add_argument("--name", required=True, help='who holds it, by role, e.g. "Head of internal audit"')
    make.add_argument("--days", type=at_least_one, default=365, help="how long it holds (default 365)")
    rotate = declare(keys, "rotate", "a new key in the place of a role's key; what that signed stays", "keys_rotate")
    rotate.add_argument("--role", required=True)
    rotate.add_argument("--days", type=at_least_one, help="how long the new key holds (default 365; demonstration 7)")
    revoke = declare(keys, "revoke", "believe a key no more: nothing that it ever signed counts", "keys_revoke")
    revoke.add_argument("--key", required=True, help="the key's id, or the beginning of it")
    revoke.add_argument("--reason", required=True, help="kept in trust.json and in the audit log")
    export = declare(keys, "export", "the public keys as a file for an auditor", "keys_export")
    export.add_argument("--to", type=Path, default=Path("trust.json"), help="a new file (default: trust.json here)")

    what = "the home's own issuer of tokens, where the city has no OpenID provider"
    issuer = declare(keys, "issuer", what, "keys_issuer")
    what = "put a new key in the place of the issuer's: no token made before counts any more"
    issuer.add_argument("--anew", action="store_true", help=what)
    what = "for trying things out: a server that others can reach refuses to start with it"
    issuer.add_argument("--demonstration", action="store_true", help=what)
    _add_tokens(commands)

    stop = declare(commands, "stop", "the stop switch: while it is set, no score leaves", "stop")
    stop.add_argument("action", choices=("on", "off", "test", "status"))
    stop.add_argument("--reason", default="set from the command line")

    add_residents(commands)


def _add_tokens(commands: Any) -> None:
    what = "make a token by the home's own issuer; it is printed once and kept nowhere"
    token = declare(commands, "token", what, "token")
    token.add_argument("--role", required=True, help="unit, data_scientist, auditor, resident, service_point, system")
    what = "a need the token is for (may be repeated); a system's may be '*', all of them"
    token.add_argument("--need", action="append", default=[], help=what)
    token.add_argument("--unit", action="append", default=[], help="a unit the token is for (may be repeated)")
    token.add_argument("--person", help="whose token a resident's is: a person_id, which is a pseudonym")
    what = "who is to use it, so that they can be told apart: must be said for a unit, a system and a service point"
    token.add_argument("--for", dest="subject", metavar="WHO", help=what)
    token.add_argument("--minutes", type=at_least_one, default=60, help="how long it counts (default 60, at most 480)")

    profiles = declare_group(commands, "profiles", "who is who between Helsinki Profile and this home")
    read = declare(profiles, "import", "link profiles to people: every row of a file, or none", "profiles_import")
    read.add_argument("file", type=Path, help="CSV or Parquet with columns profile_uuid and person_id")
    unlink = declare(profiles, "unlink", "take a profile's link away", "profiles_unlink")
    unlink.add_argument("profile", help="the profile's UUID")
    for command in (read, unlink):
        command.add_argument("--by", default="service owner", help="who does it, by role (default service owner)")
