"""``ennakko demo``: the main job on an invented city, from what a city knows to gated, explained lists."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from ethics.verdict import OPEN_STATES
from serving import approval, flows, upkeep
from serving.home import Home
from serving.opening import open_city_for, open_need
from serving.progress import Step

NEEDS = ("youth_exclusion", "health_benefit", "health_by_cost", "cervical_screening")
PASSED = ("PASS", "PASS_ATTESTED")
ENOUGH_PERSONS = 50_000
"""From this size on, `make trials` shows, the planted unfairness can be proved."""
REASONS = "DEMONSTRATION on INVENTED PEOPLE: signed to show the way through the gate; nobody has vouched for anything."


def run_demo(home: Home, n_persons: int, seed: int, step: Step) -> dict[str, Any]:
    """Invent a city, then train, judge, attest, approve and list each need; returns what came of it, and the story."""
    city = demonstration_city(home, n_persons, seed, step)
    ensure_demonstration_keys(home)
    outcomes = {need: take_through(home, city, Path(need), seed, step) for need in NEEDS}
    blocked, honest = outcomes["health_by_cost"], outcomes["health_benefit"]
    sentence = ""
    if blocked["judged"]["state"] == "BLOCK":
        step("counting whom the blocked need would have missed")
        sentence = who_was_missed(home, city, blocked, honest)
    result = {
        "city": str(city),
        "needs": [_summary(need, outcome) for need, outcome in outcomes.items()],
        "missed": sentence,
    }
    return {**result, "story": _story(home, city, outcomes, sentence)}


def demonstration_city(home: Home, n_persons: int, seed: int, step: Step) -> Path:
    """The invented city of this size and seed, made once."""
    folder = home.root / "demo" / f"city-{n_persons}-{seed}"
    if not folder.exists():
        upkeep.invent_city(folder, n_persons, seed, step)
    return folder


def ensure_demonstration_keys(home: Home) -> None:
    """Make demonstration keys where there are none in date."""
    now = datetime.now(UTC)
    in_date = {key.role for key in home.key_ring.trust().values() if key.valid_to > now}
    if not set(upkeep.DEMONSTRATION_NAMES) <= in_date:
        upkeep.make_demonstration_keys(home, now)


def take_through(home: Home, city: Path, need: Path, seed: int, step: Step) -> dict[str, Any]:
    """One need from training to list; where the gate says no, that is where it ends."""
    trained, judged = flows.train_and_judge(home, city, need, seed, step)
    judged = attest_and_judge_again(home, judged, step)
    outcome: dict[str, Any] = {"trained": trained, "judged": judged, "listed": None}
    if judged["state"] in PASSED:
        verdict = Path(judged["verdict_path"])
        approval.sign_verdict(home, verdict)
        approval.approve_verdict(home, verdict)
        as_of = open_city_for(home, city, open_need(home, need), step).extract_date
        outcome["scored"], outcome["listed"] = flows.score_and_list(home, city, need, as_of, step)
    return outcome


def attest_and_judge_again(home: Home, judged: dict[str, Any], step: Step) -> dict[str, Any]:
    """Sign, with demonstration keys, every statement that a verdict asks for, and judge again."""
    asking = [check for check in judged["checks"] if check["state"] in OPEN_STATES and not check["attested_by"]]
    statements = sorted({check["needs"] for check in asking if check["needs"]})
    for statement in statements:
        approval.give_attestation(home, Path(judged["verdict_path"]), statement, REASONS)
    return flows.judge_run(home, judged["run_id"], step=step) if statements else judged


def who_was_missed(home: Home, city: Path, blocked: Mapping[str, Any], honest: Mapping[str, Any]) -> str:
    """The people whom the blocked need's list would have passed over, by the other need's label, in one sentence.

    Both models rank the same people of the same day; whoever later was in hospital for a cause that timely care could
    have prevented is counted, in the group that the gate named, above and below the same audit cut.
    """
    attribute, _, group = _blocked_group(blocked["judged"]["checks"]).partition("=")
    measured = {
        name: upkeep.measure_by_other_label(home, city, run["trained"]["run_id"], honest["trained"]["run_id"])
        for name, run in (("cost", blocked), ("need", honest))
    }
    found = {name: table.get(attribute, group, "recall", "k_audit") for name, table in measured.items()}
    in_need, cut = found["cost"].n, measured["cost"].cuts.k_audit
    missed = {name: estimate.n - estimate.people for name, estimate in found.items()}
    words = f"{attribute.replace('_', ' ')} “{group}”"
    return (
        f"In the same {cut:,} attempts, reading need from cost would have passed over {missed['cost']:,} of the "
        f"{in_need:,} residents of {words} who then needed hospital care that could have been prevented; "
        f"health_benefit passes over {missed['need']:,} of them."
    )


def _blocked_group(checks: Sequence[Mapping[str, Any]]) -> str:
    blocking = [check["group"] for check in checks if check["state"] == "block" and check["group"]]
    return str(blocking[0]) if blocking else "all=all"


def _summary(need: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    rule = next((duel for duel in outcome["trained"]["duel"] if duel["rival"] == "unit_rule"), None)
    return {
        "need": need,
        "attempts": rule["k"] if rule else None,
        "rule_finds": rule["theirs"] if rule else None,
        "ennakko_finds": rule["ours"] if rule else None,
        "difference": [rule["low"], rule["high"]] if rule else None,
        "state": outcome["judged"]["state"],
        "report": outcome["judged"]["report_path"],
        "list": outcome["listed"]["files"] if outcome["listed"] else [],
    }


def _story(home: Home, city: Path, outcomes: Mapping[str, Any], missed: str) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = StringIO()
    console = Console(file=out, width=110, highlight=False)
    console.print("DEMONSTRATION · INVENTED PEOPLE · no score here is about anyone who exists\n", style="bold")
    table = Table(
        "need",
        "attempts",
        "today's rule finds",
        "Ennakko finds",
        "difference, 95 %",
        "verdict",
        box=box.SIMPLE,
        pad_edge=False,
        title="People in need found in the same number of attempts (test date; counted, not promised)",
        title_justify="left",
    )
    for need, outcome in outcomes.items():
        row = _summary(need, outcome)
        numbers = ("–", "it is the rule", "–", "–")
        if row["attempts"] is not None:
            low, high = row["difference"]
            numbers = (
                f"{row['attempts']}",
                f"{row['rule_finds']:.0f}",
                f"{row['ennakko_finds']:.0f}",
                f"{low:+.0f} to {high:+.0f}",
            )
        table.add_row(need, *numbers, row["state"])
    console.print(table)
    if missed:
        console.print(f"Why health_by_cost is blocked: {missed}\n")
    else:
        console.print(
            f"health_by_cost is not blocked here: among so few people the gate cannot prove that cost hides need. Run "
            f"the demonstration with --persons {ENOUGH_PERSONS} or more.\n"
        )
    card = _card(outcomes)
    if card:
        console.print(card + "\n", soft_wrap=True)
    for need, outcome in outcomes.items():
        console.print(f"{need}: report {_short(outcome['judged']['report_path'])}", soft_wrap=True)
        if outcome["listed"]:
            page = next(file for file in outcome["listed"]["files"] if file.endswith(".html"))
            console.print(f"{' ' * len(need)}  list   {_short(page)}", soft_wrap=True)
    console.print("\nTry next:", style="bold")
    for command in _next_commands(home, city, outcomes):
        console.print(f"  .venv/bin/ennakko {command}", soft_wrap=True)
    return out.getvalue()


def _next_commands(home: Home, city: Path, outcomes: Mapping[str, Any]) -> list[str]:
    """Three commands that work on what the demonstration left behind."""
    listed = [(need, outcome["listed"]) for need, outcome in outcomes.items() if outcome["listed"]]
    where = "" if home.root == Path("var").resolve() else f" --home {_short(home.root)}"
    commands = [f"features leakcheck --city {_short(city)} --need youth_exclusion{where}"]
    if listed:
        need, facts = listed[0]
        commands += [
            f"list --city {_short(city)} --need {need} --as-of {facts['as_of_date']}{where}",
            f"serve --city {_short(city)} --need {need} --without-tokens{where}",
        ]
    return [*commands, f"audit verify{where}"][:3]


def _card(outcomes: Mapping[str, Any]) -> str:
    """The first person of the first list, as the unit's page shows them."""
    listed = next((outcome["listed"] for outcome in outcomes.values() if outcome["listed"]), None)
    if listed is None:
        return ""
    path = next(Path(file) for file in listed["files"] if file.endswith(".csv"))
    with path.open(encoding="utf-8-sig", newline="") as file:
        row = next(csv.DictReader(file), None)
    if row is None:
        return ""
    lines = []
    for name, told in row.items():
        value = told.removeprefix("'")  # which keeps a spreadsheet from reading a telephone number as a formula
        several = value.splitlines()
        lines += [f"  {name}: {value}"] if len(several) < 2 else [f"  {name}:", *(f"    · {line}" for line in several)]
    return f"As a caseworker reads it (first row of the list for {listed['need']}):\n" + "\n".join(lines)


def _short(path: Path | str) -> str:
    """A path as one would type it from here."""
    path = Path(path)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
