"""What each command does: finds the function that a command names; here are those by which a model is used."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ethics.refusals import BadInput, Fault
from serving import (
    answering,
    assignment_words,
    happened_words,
    judging,
    list_words,
    looking,
    outcome_words,
    simulation_words,
    token_words,
    vouching,
)
from serving.home import Home
from serving.saying import home_of, say, settings_of, steps


def run(options: argparse.Namespace) -> int:
    """Run the command that ``options.run`` names; returns the exit code."""
    return function_of(options.run)(options)


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
    token_words,
)
"""Modules that hold the functions of commands."""


def not_built(options: argparse.Namespace) -> int:
    """A command of the contract whose part is still to come."""
    raise BadInput(Fault(options.unbuilt.partition(":")[0], "is not built yet", "ennakko --help lists what is"))


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
