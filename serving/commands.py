"""What each command does: finds the function that a command names; here are those by which a model is used."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ethics.refusals import BadInput
from serving import (
    answering,
    assignment_words,
    erasure_words,
    happened_words,
    judging,
    list_words,
    looking,
    outcome_words,
    resident_words,
    shadow_words,
    simulation_words,
    token_words,
    vouching,
    week_words,
)
from serving.home import Home
from serving.saying import home_of, say, settings_of, steps


def run(options: argparse.Namespace) -> int:
    """Run the command that ``options.run`` names; returns the exit code."""
    story = function_of(options.run)
    with _beside_others(options):
        return story(options)


@contextmanager
def _beside_others(options: argparse.Namespace) -> Iterator[None]:
    """Says that a command works in its home, while there is one: erasing waits for it."""
    try:
        settings = None if options.run in _NOT_WITH_OTHERS else settings_of(options)
    except BadInput:  # for the command to refuse, if it needs them
        settings = None
    if settings is None or not settings.home.is_dir():
        yield
        return
    with Home(settings).in_use():
        yield


def function_of(name: str) -> Callable[[argparse.Namespace], int]:
    """The function of a command, from the module that holds it."""
    stories = {key: value for room in _ROOMS for key, value in vars(room).items()} | globals()
    story: Callable[[argparse.Namespace], int] = stories[name]
    return story


_ROOMS = (
    looking,
    judging,
    vouching,
    answering,
    list_words,
    outcome_words,
    happened_words,
    assignment_words,
    simulation_words,
    resident_words,
    week_words,
    erasure_words,
    token_words,
    shadow_words,
)
"""Modules that hold the functions of commands."""


_NOT_WITH_OTHERS = ("erase", "serve")
"""Erasing waits until the other commands have ended. A service would be waited for in vain: it holds the lock only
while it writes the file of a job."""


# ---- use -------------------------------------------------------------------------------------------------------


def score(options: argparse.Namespace) -> int:
    """Score a cohort with the approved model, here; or people, by a service elsewhere."""
    from serving import client_words, flows

    client_words.refuse_mixed(options)
    if options.server is not None:
        return client_words.score_by_service(options)
    with steps(options) as step:
        result = flows.score_need(home_of(options), options.city, options.need, options.as_of, step)
    return say(options, result, lambda: print(f"{result['n']:,} scores in {result['path']}"))


def serve(options: argparse.Namespace) -> int:
    """Answer over HTTP until told to stop."""
    from serving import flows

    given = {name: getattr(options, name) for name in ("host", "port", "workers", "without_tokens")}
    settings = settings_of(options, **given)
    return flows.serve_champions(Home(settings), options.city, options.need or ())
