"""The commands ``ennakko keys issuer``, ``ennakko token`` and ``ennakko profiles``, and what they say."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from serving.saying import counted, home_of, say


def keys_issuer(options: argparse.Namespace) -> int:
    """Make the home's own issuer of tokens, or a new key for it."""
    from serving.local_issuer import make_issuer

    result = make_issuer(home_of(options), datetime.now(UTC), demonstration=options.demonstration, anew=options.anew)

    def in_words() -> None:
        print(f"token issuer {result['issuer']} with key {result['kid']}")
        if result["anew"]:
            print("No token made before counts any more.")
        if result["demonstration"]:
            print("A demonstration: a server that others than this machine can reach refuses to start with it.")

    return say(options, result, in_words)


def token(options: argparse.Namespace) -> int:
    """Make a token; alone on standard output, so that a shell can take it."""
    from serving.local_issuer import issue_token

    result = issue_token(
        home_of(options),
        options.role,
        needs=options.need,
        units=options.unit,
        person_id=options.person,
        subject=options.subject,
        minutes=options.minutes,
        now=datetime.now(UTC),
    )

    def in_words() -> None:
        print(f"{result['role']}, until {result['expires_at']}", file=sys.stderr)
        print(result["token"])

    return say(options, result, in_words)


def profiles_import(options: argparse.Namespace) -> int:
    """Link profiles of Helsinki Profile to people."""
    from serving.profile_links import import_links

    result = import_links(home_of(options), options.file, by=options.by)

    def in_words() -> None:
        print(f"{counted(result['rows'], 'row')} read: {counted(result['linked'], 'link')} new", end="")
        print(f", {result['known_before']:,} known before.")
        if result["erased"]:
            print(f"{counted(result['erased'], 'row')} of people who were erased: nothing is kept of them.")

    return say(options, result, in_words)


def profiles_unlink(options: argparse.Namespace) -> int:
    """Take a link away."""
    from serving.profile_links import take_link_away

    result = take_link_away(home_of(options), options.profile, by=options.by)
    return say(options, result, lambda: print("The profile is linked to nobody any more."))
