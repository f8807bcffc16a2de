"""The command ``ennakko simulate``, and what it says."""

from __future__ import annotations

import argparse

from serving.saying import Result, home_of, say, steps, table


def simulate(options: argparse.Namespace) -> int:
    """What other capacities, orders and allocations would have found."""
    from serving.simulation_work import simulate_run

    with steps(options) as step:
        result = simulate_run(
            home_of(options),
            options.run_id,
            compare=options.compare,
            capacities=options.capacity,
            attempt_cost=options.attempt_cost,
            by=options.by,
            city_folder=options.city,
            out=options.out,
            step=step,
        )
    return say(options, result, lambda: say_simulation(result, options.lang))


def say_simulation(result: Result, language: str) -> None:
    """Scenarios as a table, what a worker is worth in words, and where the pages are."""
    from scoring.simulation_page import PageWords, scenario_heads, scenario_rows, worth_sentences

    words = PageWords(language)
    known, n = words.number(result["known"]), words.number(result["people"])
    print(words("intro", n=n, run=result["run_id"][:8], known=known))
    table(scenario_rows(result, words), scenario_heads(words))
    for sentence in worth_sentences(result, words):
        print(sentence)
    print(result["path"])
