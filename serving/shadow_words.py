"""What the commands about shadows do: models watched beside a champion and never served."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from serving.saying import Result, home_of, say, table


def shadow_set(options: argparse.Namespace) -> int:
    """Watch the model of a run beside its need's champion."""
    from serving.shadows import begin_shadow

    result = begin_shadow(home_of(options), options.run_id)
    said = f"{result['need']}: model {result['model_digest'][:12]} is watched beside the champion; it serves no score"
    return say(options, result, lambda: print(said))


def shadow_end(options: argparse.Namespace) -> int:
    """Watch it no more."""
    from serving.shadows import stop_shadow

    result = stop_shadow(home_of(options), options.need_id)
    return say(options, result, lambda: print(f"{result['need']}: no model is watched beside the champion any more"))


def shadow_show(options: argparse.Namespace) -> int:
    """How shadows stood to champions, oldest first."""
    from serving.shadows import kept_comparisons

    rows = kept_comparisons(home_of(options), options.need_id)
    return say(options, {"comparisons": rows}, lambda: _say_compared(rows))


def _say_compared(rows: Sequence[Result]) -> None:
    if not rows:
        print("Nothing was compared yet: a running service compares a day once it has its scores ready.")
        return
    cells = [
        (
            *(str(row["need"]), str(row["as_of_date"]), str(row["champion"])[:12], str(row["shadow"])[:12]),
            *(f"{row['n']:,}", _figure(row["rank_correlation"]), f"{row['overlap']:.1%} of {row['k']}"),
            _figure(row["mean_difference"]),
        )
        for row in rows
    ]
    heads = ("need", "day", "champion", "shadow", "people", "rank correlation", "same first", "mean difference")
    table(cells, heads, unbroken=range(len(heads)))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
