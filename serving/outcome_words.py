"""The commands ``ennakko outcome add``, ``outcome import`` and ``outcomes``, and what they say."""

from __future__ import annotations

import argparse

from serving.saying import Result, home_of, say, table


def outcome_add(options: argparse.Namespace) -> int:
    """One attempt, and what came of it."""
    from serving.outcome_work import add_outcome, moment_of_now

    cells = {
        "list_id": options.list_id,
        "person_id": options.person,
        "at": options.at or moment_of_now(),
        "outcome": options.outcome,
        "channel": options.channel or "",
        "worker": options.worker or "",
    }
    language = options.lang or "en"
    result = add_outcome(home_of(options), cells, by=options.by, language=language)
    return say(options, result, lambda: say_kept(result, language))


def outcome_import(options: argparse.Namespace) -> int:
    """Every attempt of a file, or none."""
    from serving.outcome_work import import_outcomes

    result = import_outcomes(
        home_of(options),
        options.file,
        list_id=options.list_id,
        dry_run=options.dry_run,
        by=options.by,
        language=options.lang,
    )
    return say(options, result, lambda: say_kept(result, options.lang or "en"))


def say_kept(result: Result, language: str) -> None:
    """How many rows were new, known before, or of people who were erased."""
    from scoring.import_words import ImportWords
    from scoring.reason_words import Words

    words, outcome = ImportWords(language), Words.of(language)
    new = words.said(
        "new" if result["kept"] else "would", result["attempts"], known=words.number(result["known_before"])
    )
    print(words.said("read", result["rows"]), new)
    if result["erased"]:
        print(words.said("erased", result["erased"]))
    rows = [(outcome(f"outcomes.{name}"), words.number(n)) for name, n in result["by_outcome"].items()]
    table(rows, (words.said("column_outcome"), words.said("column_rows")))
    if not result["kept"]:
        print(words.said("tried"))
