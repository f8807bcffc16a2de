"""What the commands do for those who ask afterwards: reports, verification of verdicts, the audit log."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from ethics.refusals import BadInput, Fault
from serving.judging import VERDICT_EXIT
from serving.saying import Result, home_of, say, settings_of


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
