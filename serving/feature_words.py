"""What the commands of features say in words: plans, explanations and the view of data minimisation."""

from __future__ import annotations

from itertools import groupby

from serving.saying import Result, number, table

_MOST_CODES = 15
_LONGEST_RUN = 5


def say_planned(result: Result) -> None:
    """What a build would take from the cache and what it would compute, with totals."""
    together: dict[tuple[str, ...], list[Result]] = {}
    for column in result["columns"]:
        key = tuple(column[part] for part in ("feature", "as_of_date", "action", "why"))
        together.setdefault(key, []).append(column)
    rows = [
        (
            feature,
            as_of_date,
            f"{len(columns):,}",
            f"{columns[0]['persons']:,}",
            f"{columns[0]['persons_to_compute']:,}",
            action,
            why,
        )
        for (feature, as_of_date, action, why), columns in together.items()
    ]
    table(rows, ("feature", "as-of date", "columns", "persons", "to compute", "what", "why"))
    totals = result["totals"]
    print(
        f"{totals['cells_to_compute']:,} of {totals['cells']:,} cells are to be computed, "
        f"{totals['cells_cached']:,} are cached."
    )


def say_explained(result: Result) -> None:
    """The sentence of one cell, and its events or entries in a table."""
    print(result["sentence"])
    if not result["agrees"]:
        print(f"The rows below give {number(result['recounted'])}: a fault of the program. Tell the maintainers.")
    if result["events"]:
        runs = groupby(result["events"], key=lambda event: event["why_not"])
        rows = [row for why_not, events in runs for row in _shown(list(events), why_not)]
        table(rows, ("happened", "known", "code", "value", "counted"))


def _shown(events: list[Result], why_not: str | None) -> list[tuple[str, ...]]:
    """A row for each event; of a long run that does not count for one reason, one row for all."""
    if why_not is not None and len(events) > _LONGEST_RUN:
        days = f"{events[0]['event_date'][:10]} to {events[-1]['event_date'][:10]}"
        return [(days, "", f"{len(events):,} rows (--json lists all)", "", f"no: {why_not}")]
    return [
        (
            event["event_date"],
            event["knowledge_date"],
            f"{event['plain']} ({event['code']})" if event["plain"] else event["code"],
            "–" if event["value"] is None else str(event["value"]),
            "yes" if why_not is None else f"no: {why_not}",
        )
        for event in events
    ]


def say_minimised(result: Result) -> None:
    """The columns, the codes that nobody reads, and what follows from them."""
    rows = []
    for use in result["columns"]:
        share = "–" if use["share"] is None else f"{use['share']:.1%}"
        quantiles = [_figure(value) for value in use["quantiles"].values()]
        rows.append((use["column"], _tally(use["n_persons"]), share, *quantiles, use["sketch"]))
    heads = [f"{float(q):.0%}" for q in result["columns"][0]["quantiles"]]
    names = ("column", "persons", "rows with a value", *heads, "spread")
    table(rows, names, unbroken=(0, len(names) - 1))  # blanks within a spread are bars that are not told
    if result["unread"]:
        codes = [(code["code"], _tally(code["n_events"])) for code in result["unread"]]
        if len(codes) > _MOST_CODES:
            codes = [*codes[:_MOST_CODES], ("…", f"{len(codes) - _MOST_CODES:,} more (--json lists all)")]
        table(codes, ("code that the need does not read", "events"))
    print("\n".join(result["story"]))


def _tally(n: int | str) -> str:
    """A number of persons or events to read; "fewer than 5" as it is."""
    return n if isinstance(n, str) else f"{n:,}"


def _figure(value: float | None) -> str:
    """A quantile, which is told to three figures."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
