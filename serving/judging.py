"""What the commands do that train a need, let the gate judge it, and try what could mend it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ethics.refusals import BadInput, Fault
from serving.saying import Result, counted, home_of, interval, number, say, steps, table

VERDICT_EXIT = {"PASS": 0, "PASS_ATTESTED": 0, "INCONCLUSIVE": 10, "BLOCK": 20, "ERROR": 30}


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
