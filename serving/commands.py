"""What each command does: calls one story of flows.py and says what came of it, in words or as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ethics.refusals import BadInput, Fault
from serving.assignment_words import assign as assign
from serving.happened_words import outcomes as outcomes
from serving.home import Home
from serving.list_words import lists_change as lists_change
from serving.list_words import lists_rebuild as lists_rebuild
from serving.list_words import lists_show as lists_show
from serving.list_words import lists_why as lists_why
from serving.list_words import outreach as outreach
from serving.outcome_words import outcome_add as outcome_add
from serving.outcome_words import outcome_import as outcome_import
from serving.saying import Result, counted, home_of, interval, number, say, settings_of, steps, table
from serving.simulation_words import simulate as simulate

VERDICT_EXIT = {"PASS": 0, "PASS_ATTESTED": 0, "INCONCLUSIVE": 10, "BLOCK": 20, "ERROR": 30}


def run(options: argparse.Namespace) -> int:
    """Run the command that ``options.run`` names; returns the exit code."""
    story = globals()[options.run]
    code: int = story(options)
    return code


def not_built(options: argparse.Namespace) -> int:
    """A command of the contract whose part is still to come."""
    raise BadInput(Fault(options.unbuilt.partition(":")[0], "is not built yet", "ennakko --help lists what is"))


# ---- looking ---------------------------------------------------------------------------------------------------


def demo(options: argparse.Namespace) -> int:
    """The main job on an invented city."""
    from serving.demo import run_demo

    with steps(options) as step:
        result = run_demo(home_of(options), options.persons, options.seed, step)
    return say(options, result, lambda: print(result["story"]))


def city_check(options: argparse.Namespace) -> int:
    """What a city folder holds, and what the door rejected."""
    from serving import upkeep

    with steps(options) as step:
        result = upkeep.look_at_city(home_of(options), options.folder, step, rejects_to=options.rejects)
    return say(options, result, lambda: table(_city_rows(result), ("", "")))


def _city_rows(result: Result) -> list[tuple[str, str]]:
    codes = result["codes"]
    rows = [
        ("persons", f"{result['persons']:,}"),
        ("events", f"{result['events']:,}"),
        ("period", f"{result['first_event']} to {result['last_event']}"),
        ("extract date", result["extract_date"]),
        ("codes", f"{len(codes):,}"),
        *((f"  {code}", f"{n:,}") for code, n in list(codes.items())[:15]),
    ]
    if len(codes) > 15:
        rows.append(("  …", f"{len(codes) - 15} more (--json lists all)"))
    rows.append(("rejected rows", f"{result['rejected']:,}"))
    rows.extend((f"  {reason}", f"{n:,}") for reason, n in result["rejects_by_reason"].items())
    return rows


def city_synth(options: argparse.Namespace) -> int:
    """Write an invented city."""
    from serving import upkeep

    with steps(options) as step:
        result = upkeep.invent_city(options.folder, options.persons, options.seed, step)
    return say(options, result, lambda: print(f"{result['persons']:,} invented persons in {result['folder']}"))


def needs_list(options: argparse.Namespace) -> int:
    """The needs that come with Ennakko."""
    from models.need import list_needs

    rows = [(need.id, need.kind, need.title.en) for need in list_needs()]
    result = {"needs": [dict(zip(("id", "kind", "title"), row, strict=True)) for row in rows]}
    return say(options, result, lambda: table(rows, ("need", "kind", "title")))


def needs_check(options: argparse.Namespace) -> int:
    """Read a need file: everything that is wrong at once, or else what an auditor would miss."""
    from serving.need_work import check_need

    with steps(options) as step:
        result = check_need(home_of(options), options.need, options.city, step)
    return say(options, result, lambda: _say_checked(result))


def _say_checked(result: Result) -> None:
    k = result["k"]
    print(f"{result['id']}: can be read. {counted(len(result['columns']), 'column')}, {k} attempts in a period.")
    if city := result["city"]:
        print(f"In this city: {counted(city['as_of_dates'], 'as-of date')}, {city['mature']} of them mature.")
        if "eligible" in city:
            share = city.get("in_need_share")
            in_need = "" if share is None else f", {share:.1%} of those known were in need afterwards"
            print(f"On {city['latest']}: {counted(city['eligible'], 'person')} eligible{in_need}.")
    _say_remarks("What an auditor would miss", result["remarks"])


def _say_remarks(title: str, remarks: Sequence[Result]) -> None:
    from models.need_review import MEANING

    if not remarks:
        print(f"{title}: nothing.")
        return
    print(f"\n{title}")
    for weight, meaning in MEANING.items():
        rows = [(r["where"], r["missing"], r["mend"], r["check"]) for r in remarks if r["weight"] == weight]
        if rows:
            print(f"\n{meaning[0].upper()}{meaning[1:]}:")
            table(rows, ("where", "what", "mend", "check"))


def needs_new(options: argparse.Namespace) -> int:
    """Draft a need file from a few answers."""
    from serving.need_work import QUESTIONS, new_need

    city = None
    if options.city is not None:
        from features.city import open_city

        with steps(options) as step:
            step("opening the city")
            city = open_city(options.city)
    given = {question.option: getattr(options, question.option.replace("-", "_")) for question in QUESTIONS}
    result = new_need(options.path, given, city)

    def in_words() -> None:
        print(f"{result['path']}: a draft that can be read, with {counted(len(result['columns']), 'column')}.")
        _say_remarks("Still missing", result["missing"])
        print(f"\nNext: ennakko needs check {result['path']}")

    return say(options, result, in_words)


# ---- features --------------------------------------------------------------------------------------------------


def features_build(options: argparse.Namespace) -> int:
    """Build a need's matrix into a file."""
    from serving import feature_work

    with steps(options) as step:
        result = feature_work.build_features(
            home_of(options),
            options.city,
            options.need,
            options.as_of,
            options.out,
            use_cache=not options.no_cache,
            threads=options.threads,
            step=step,
        )
    size = f"{counted(result['rows'], 'row')} × {counted(result['columns'], 'column')}"
    said = f"{size} in {result['path']}\ndigest {result['digest']}"
    return say(options, result, lambda: print(said))


def features_plan(options: argparse.Namespace) -> int:
    """What a build would compute, and why."""
    from serving import feature_words, feature_work

    with steps(options) as step:
        result = feature_work.plan_build(home_of(options), options.city, options.need, options.as_of, step)
    return say(options, result, lambda: feature_words.say_planned(result))


def features_explain(options: argparse.Namespace) -> int:
    """The events that made one cell."""
    from serving import feature_words, feature_work

    with steps(options) as step:
        result = feature_work.explain_to_reader(
            home_of(options),
            options.city,
            options.need,
            options.person,
            options.as_of,
            options.column,
            purpose=options.purpose,
            step=step,
        )
    say(options, result, lambda: feature_words.say_explained(result))
    return 0 if result["agrees"] else 1


def features_minimise(options: argparse.Namespace) -> int:
    """What a need reads beside what the city hands over."""
    from serving import feature_words, feature_work

    with steps(options) as step:
        result = feature_work.look_at_minimisation(home_of(options), options.city, options.need, options.as_of, step)
    return say(options, result, lambda: feature_words.say_minimised(result))


def leakcheck(options: argparse.Namespace) -> int:
    """Poison the future of a city and see that nothing changes."""
    from serving import feature_work

    with steps(options) as step:
        result = feature_work.check_for_leaks(home_of(options), options.city, options.need, options.seed, step)
    say(options, result, lambda: print("\n".join(result["story"])))
    return 0 if result["identical"] else 1


# ---- models and gate -------------------------------------------------------------------------------------------


def train(options: argparse.Namespace) -> int:
    """Train and measure a need's model."""
    from serving.training_flow import train_need
    from serving.training_result import say_trained

    with steps(options) as step:
        result = train_need(
            home_of(options),
            options.city,
            options.need,
            options.seed,
            step,
            options.by,
            trials=options.search,
            workers=options.workers,
            thorough=options.thorough,
        )
    return say(options, result, lambda: say_trained(result))


def uplift(options: argparse.Namespace) -> int:
    """Whom the help helped, from a randomised trial."""
    from serving.benefit_work import judge_trial, say_uplift

    names = None if options.columns is None else [name.strip() for name in options.columns.split(",")]
    with steps(options) as step:
        result = judge_trial(
            home_of(options),
            options.file,
            need=options.need,
            treated=options.treated,
            outcome=options.outcome,
            outcome_is=options.outcome_is,
            share=options.share,
            person=options.person,
            columns=names,
            learner=options.learner,
            seed=options.seed,
            step=step,
        )
    return say(options, result, lambda: say_uplift(result))


def judge(options: argparse.Namespace) -> int:
    """Let the gate judge a run, or anybody's scores."""
    from serving import flows

    of_scores = [name for name in _OF_SCORES if getattr(options, name) is not None]
    if of_scores and options.run_id:
        wrong = f"--run does not go with --{', --'.join(of_scores)}"
        raise BadInput(Fault("ennakko judge", wrong, "Give --run, or --scores with --groups and --capacity"))
    if of_scores:
        return _judge_scores(options)
    if not options.run_id:
        mend = "Give the run_id that ennakko train printed, or --scores, --groups and --capacity"
        raise BadInput(Fault("ennakko judge", "--run is missing", mend))
    _refuse_url(options.city)
    with steps(options) as step:
        asked = {"rehearse": options.rehearse, "language": options.lang}
        result = flows.judge_run(home_of(options), options.run_id, options.city, step, **asked)
    return _say_rehearsal(options, result) if options.rehearse else _say_verdict(options, result)


def _refuse_url(city: Path | str | None) -> None:
    if isinstance(city, str):  # a URL, which may hold a password: it is not said again
        mend = "Give the path of the city folder, in which the groups of the gate lie"
        raise BadInput(Fault("--city", "names a database, which has no place for the groups of the gate", mend))


def mitigate(options: argparse.Namespace) -> int:
    """Try what could mend a run, and show the trade."""
    from serving.mitigation_words import say_mitigated
    from serving.mitigation_work import mitigate_run

    _refuse_url(options.city)
    with steps(options) as step:
        asked = {"attribute": options.attribute, "out": options.out}
        result = mitigate_run(home_of(options), options.run_id, options.city, step, **asked)
    return say(options, result, lambda: say_mitigated(result))


def rehearse(options: argparse.Namespace) -> int:
    """Train a need and rehearse its judging."""
    from serving import flows

    with steps(options) as step:
        home = home_of(options)
        _, result = flows.train_and_judge(home, options.city, options.need, options.seed, step, rehearse=True)
    return _say_rehearsal(options, result)


def _say_rehearsal(options: argparse.Namespace, result: Result) -> int:
    from serving.rehearsal import say_rehearsed

    say(options, result, lambda: say_rehearsed(result))
    return VERDICT_EXIT[result["would_be"]]


def _say_verdict(options: argparse.Namespace, result: Result) -> int:
    say(options, result, lambda: _say_judged(result))
    return VERDICT_EXIT[result["state"]]


_OF_SCORES = (
    *("scores", "groups", "capacity", "periods"),
    *("use", "service", "title", "seed", "out"),
)


def _judge_scores(options: argparse.Namespace) -> int:
    """Judge anybody's scores: no home is opened, and nothing is signed."""
    from serving.flows import check_as_json
    from serving.score_judging import NOT_STATED, Question, judge_scores
    from serving.score_words import say_scores

    missing = [name for name in ("scores", "groups", "capacity") if getattr(options, name) is None]
    if missing:
        mend = "Give --scores FILE --groups FILE --capacity K"
        raise BadInput(*(Fault("ennakko judge", f"--{name} is missing", mend) for name in missing))
    question = Question(
        scores=options.scores,
        groups=options.groups,
        capacity_k=options.capacity,
        periods=options.periods or 1,
        seed=options.seed or 0,
        use=options.use,
        service=options.service or NOT_STATED,
        title=options.title or "",
        language=options.lang or "en",
    )
    with steps(options) as step:
        result = judge_scores(question, options.out or Path("judged-scores"), options.policy, step)
    result["checks"] = [check_as_json(check) for check in result["checks"]]
    say(options, result, lambda: say_scores(result, options.scores.name))
    return VERDICT_EXIT[result["state"]]


def _say_judged(result: Result) -> None:
    print(f"{result['need']}: {result['state']}")
    together: dict[tuple[str, ...], list[Result]] = {}
    for check in result["checks"]:
        if check["state"] not in ("pass", "warn"):
            lifted_by = (check["needs"] or "nothing") + (" (given)" if check["attested_by"] else "")
            key = (check["id"], check["state"].replace("_", " "), check["statistic"].replace("_", " "), lifted_by)
            together.setdefault(key, []).append(check)
    rows = []
    for (check_id, state, statistic, lifted_by), checks in together.items():
        values = [f"{number(c['value'])} ({interval(c)})" for c in checks if c["value"] is not None]
        groups = [c["group"] for c in checks if c["group"]]
        more = f" and {len(groups) - 3} more" if len(groups) > 3 else ""
        rows.append(
            (check_id, state, ", ".join(groups[:3]) + more, statistic, values[0] if len(values) == 1 else "", lifted_by)
        )
    if rows:
        table(rows, ("check", "state", "groups", "statistic", "value (interval)", "lifted by"))
    _say_changes(result.get("changes"))
    print(f"verdict {result['verdict_path']}\nreport  {result['report_path']}")


_MOST_CHANGES_SAID = 12


def _say_changes(changes: Result | None) -> None:
    """What changed since the last verdict: all but the numbers, which the report holds."""
    if changes is None:
        return
    rows = [row for row in changes["rows"] if row["what"] != "value"]
    values = len(changes["rows"]) - len(rows)
    print(f"since {changes['since']}: {counted(len(rows), 'change')}, and {counted(values, 'number')} moved")
    if rows:
        told = [(row["what"], row["name"], row["before"], row["after"]) for row in rows[:_MOST_CHANGES_SAID]]
        table(told, ("changed", "what", "before", "after"))
    if len(rows) > _MOST_CHANGES_SAID:
        print(f"… and {len(rows) - _MOST_CHANGES_SAID} more, in the report")


def attest(options: argparse.Namespace) -> int:
    """Sign a statement that lifts what names it."""
    from serving import approval

    result = approval.give_attestation(
        home_of(options),
        options.verdict,
        options.statement,
        options.reasons,
        check=options.check,
        role=options.role,
        organisation=options.organisation,
    )
    said = f"{result['id']} given by {result['role']} for {', '.join(result['checks'])}. Judge the run again."
    return say(options, result, lambda: print(said))


def sign(options: argparse.Namespace) -> int:
    """The auditor's signature on a verdict, or an officer's on a policy."""
    from serving import approval

    if options.verdict is None:
        return _sign_policy(options)
    if options.role not in (None, "auditor"):
        raise BadInput(Fault("--role", f"'{options.role}' does not sign verdicts", "Leave it out: the auditor signs"))
    result = approval.sign_verdict(home_of(options), options.verdict)
    return say(options, result, lambda: print(f"{result['verdict_path']}: signed by {', '.join(result['signed_by'])}"))


def _sign_policy(options: argparse.Namespace) -> int:
    from serving.key_work import sign_policy

    if options.policy is None or options.role is None:
        mend = "Give --verdict FILE for the auditor's signature, or --policy FILE --role ROLE for an officer's"
        raise BadInput(Fault("ennakko sign", "nothing to sign is named", mend))
    result = sign_policy(home_of(options), options.policy, options.role, datetime.now(UTC))

    def in_words() -> None:
        print(f"{result['path']}: signed by {result['role']}")
        if not result["in_force"]:
            print(f"Not in force yet: it {'; '.join(result['missing'])}.")
            return
        print(f"In force from now on, as {result['in_force_at']}.")
        rows = [(row["key"], row["value"], row["template"]) for row in result["looser_than_template"]]
        if rows:
            print("Looser than the template, and said so on every report:")
            table(rows, ("key", "here", "template"))

    return say(options, result, in_words)


def revoke(options: argparse.Namespace) -> int:
    """Take a verdict back."""
    from serving.key_work import revoke_verdict

    result = revoke_verdict(home_of(options), options.verdict, options.reason)
    said = f"{result['verdict_id']} of {result['need']} is revoked: no score leaves on its strength"
    return say(options, result, lambda: print(said))


def approve(options: argparse.Namespace) -> int:
    """Make a model the one in use."""
    from serving import approval

    result = approval.approve_verdict(home_of(options), options.verdict)
    said = f"{result['need']}: model {result['model_digest'][:12]} is now in use, until {result['expires_at']}"
    return say(options, result, lambda: print(said))


def report(options: argparse.Namespace) -> int:
    """Render every form of the report again."""
    from serving.report_work import report_verdict

    result = report_verdict(lambda: home_of(options), options.verdict, options.lang, options.out)
    return say(options, result, lambda: _say_reports(result))


def _say_reports(result: Result) -> None:
    print("\n".join(result["files"]))
    for missing in result["unanswered"]:
        print(f"NOT ANSWERED: {missing['question']} · {missing['who']} · {missing['where']}")


def audit_verify(options: argparse.Namespace) -> int:
    """Verify a verdict from files alone, or what this home recorded."""
    from serving.records_audit import verify_records

    if options.file is not None:
        return _audit_files(options)
    if options.trust or options.cells or options.attestations:
        mend = "Name the verdict first: ennakko audit verify VERDICT --trust FILE"
        wrong = "--trust, --cells and --attestations go with a VERDICT"
        raise BadInput(Fault("ennakko audit verify", wrong, mend))
    result = verify_records(settings_of(options), options.verdict)
    return say(options, result, lambda: print(f"VERIFIED: {result['what']}"))


def _audit_files(options: argparse.Namespace) -> int:
    from serving.audit_work import audit_files, say_audited

    if options.verdict is not None:
        mend = "Give VERDICT to verify files alone, or --verdict to verify against this home"
        raise BadInput(Fault("ennakko audit verify", "names two verdicts", mend))
    settings = settings_of(options)  # a home is not made for this: an auditor has none
    found = audit_files(
        options.file,
        trust=options.trust,
        cells=options.cells,
        home=settings.home,
        now=datetime.now(UTC),
        policy=settings.policy,
        attestations=options.attestations,
    )
    result = found.facts()
    say(options, result, lambda: say_audited(result))
    return 0 if found.verified else VERDICT_EXIT["INCONCLUSIVE"] if found.consistent else 30


def audit_log(options: argparse.Namespace) -> int:
    """What was recorded, oldest first."""
    from serving.audit_work import read_log, say_log
    from serving.records_audit import standing_home

    home = standing_home(settings_of(options))
    result = read_log(home, need=options.need, person=options.person, since=options.since)
    return say(options, result, lambda: say_log(result))


def keys_demo(options: argparse.Namespace) -> int:
    """Make demonstration keys and test the stop switch."""
    from serving import upkeep

    result = upkeep.make_demonstration_keys(home_of(options), datetime.now(UTC))
    said = (
        f"Demonstration keys for {', '.join(result['roles'])} until {result['valid_to']}; the stop switch was tested."
    )
    return say(options, result, lambda: print(said))


def keys_list(options: argparse.Namespace) -> int:
    """The keys this home trusts."""
    from serving.key_work import list_keys

    keys = list_keys(home_of(options), datetime.now(UTC))
    rows = [
        (
            *(k["keyid"][:12], k["role"], k["name"], k["valid_from"], k["valid_to"], k["state"]),
            "demonstration" if k["demonstration"] else "",
        )
        for k in keys
    ]
    heads = ("key", "role", "holder", "valid from", "valid to", "state", "")
    none = "no keys yet: ennakko keys make, or ennakko keys demo to try things out"
    return say(options, {"keys": keys}, lambda: table(rows, heads) if rows else print(none))


def keys_make(options: argparse.Namespace) -> int:
    """Make a key for a role."""
    from serving.key_work import make_key

    result = make_key(home_of(options), options.role, options.name, options.days, datetime.now(UTC))
    said = f"{result['role']} key {result['keyid'][:12]} of {result['name']}, until {result['valid_to']}"
    return say(options, result, lambda: print(said))


def keys_rotate(options: argparse.Namespace) -> int:
    """Put a new key in the place of a role's key."""
    from serving.key_work import rotate_key

    result = rotate_key(home_of(options), options.role, options.days, datetime.now(UTC))
    said = (
        f"{result['role']}: key {result['retired'][:12]} is retired and its private part destroyed; "
        f"{result['keyid'][:12]} signs from now on, until {result['valid_to']}"
    )
    return say(options, result, lambda: print(said))


def keys_revoke(options: argparse.Namespace) -> int:
    """Believe a key no more."""
    from serving.key_work import revoke_key

    result = revoke_key(home_of(options), options.key, options.reason, datetime.now(UTC))
    said = f"key {result['keyid'][:12]} of {result['name']} is revoked: nothing that it signed counts any more"
    return say(options, result, lambda: print(said))


def keys_export(options: argparse.Namespace) -> int:
    """The public keys as a file."""
    from serving.key_work import export_trust

    result = export_trust(home_of(options), options.to)
    return say(options, result, lambda: print(f"{counted(result['keys'], 'public key')} in {result['path']}"))


def stop(options: argparse.Namespace) -> int:
    """Set, clear, test or look at the stop switch."""
    from serving import upkeep

    result = upkeep.use_stop_switch(home_of(options), options.action, options.reason, datetime.now(UTC))
    state = "SET: no score leaves" if result["set"] else "clear"
    return say(options, result, lambda: print(f"stop switch: {state}; last tested {result['tested_at'] or 'never'}"))


def objection(options: argparse.Namespace) -> int:
    """Record or withdraw an objection."""
    from serving import upkeep

    result = upkeep.record_objection(home_of(options), options.person_id, options.need, options.withdraw)
    said = "withdrawn" if options.withdraw else "recorded: masked in every matrix, score and list from now on"
    return say(options, result, lambda: print(f"objection {said}"))


# ---- use -------------------------------------------------------------------------------------------------------


def score(options: argparse.Namespace) -> int:
    """Score a cohort with the approved model."""
    from serving import flows

    with steps(options) as step:
        result = flows.score_need(home_of(options), options.city, options.need, options.as_of, step)
    return say(options, result, lambda: print(f"{result['n']:,} scores in {result['path']}"))


def serve(options: argparse.Namespace) -> int:
    """Answer over HTTP until told to stop."""
    from serving import flows

    settings = settings_of(options, host=options.host, port=options.port)
    return flows.serve_champions(Home(settings), options.city, options.need or ())
