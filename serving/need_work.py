"""The stories of a need file: a draft from a few answers, and a check that says what an auditor would miss."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics.refusals import BadInput, Fault
from ethics.whole_file import write_whole
from serving.home import Home
from serving.progress import Step

if TYPE_CHECKING:
    from features.city import City


class Question(NamedTuple):
    """One question of ``needs new``: its option, what is asked, an example, and how an answer is read."""

    option: str
    asked: str
    example: str
    read: Callable[[str], Any]


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if not text.strip().isprintable():
        raise ValueError("holds a line break or another sign that cannot be seen")
    return text.strip()


def _ages(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d{1,3})\s*(?:-|–|,|to)\s*(\d{1,3})\s*", text)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError("is not two ages, the younger first")
    return int(found[1]), int(found[2])


def _codes(text: str) -> list[str]:
    codes = [code.strip() for code in text.split(",") if code.strip()]
    if not codes:
        raise ValueError("names no code")
    return codes


def _whole(text: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,6}\s*", text) or int(text) < 1:
        raise ValueError("is not a whole number above 0")
    return int(text)


QUESTIONS = (
    Question("title", "What is the need called, in plain words?", "Young people losing touch with school", _words),
    Question("service", "Which service works the list?", "outreach-youth-work", _words),
    Question("age", "Between which ages?", "16-28", _ages),
    Question("label-codes", "Which event codes say that the need has appeared?", "status.neet", _codes),
    Question("horizon-days", "Within how many days?", "180", _whole),
    Question(
        "feature-codes", "Which event codes may be read? (commas between)", "school.absence.*,school.grade", _codes
    ),
    Question("workers", "How many workers call?", "4", _whole),
    Question("attempts", "How many attempts does each make in a week?", "15", _whole),
)


def new_need(path: Path, given: Mapping[str, str | None], city: City | None) -> dict[str, Any]:
    """Write a draft of a need file.

    Parameters
    ----------
    path : Path
        A new file; its name is the need's id.
    given : mapping
        Option → answer, as typed; what is not given is asked, where somebody is there to answer.
    city : City, optional
        Its codes are compared with the answers, and its extract date bounds the as-of dates.

    Raises
    ------
    BadInput
        The file exists, or an answer is missing, cannot be read or fits no code of the city: all at once.
    """
    from models.benefit_report import unfounded_words
    from models.need import parse_need
    from models.need_draft import DraftAnswers, draft_need
    from models.need_review import review_need

    today = datetime.now(UTC).date()
    faults = _path_faults(path)
    answers, unread = _answers(given)
    faults += unread
    if city is not None:
        faults += _unknown_codes(city, answers)
    if faults:
        raise BadInput(*faults)
    text = draft_need(
        DraftAnswers(
            title=answers["title"],
            service=answers["service"],
            age=answers["age"],
            label_codes=answers["label-codes"],
            horizon_days=answers["horizon-days"],
            feature_codes=answers["feature-codes"],
            workers=answers["workers"],
            attempts=answers["attempts"],
            today=today if city is None else city.extract_date,
        )
    )
    need = parse_need(text.encode("utf-8"), str(path))  # what the answers say may not fit together
    if words := unfounded_words(need):
        raise BadInput(*words)
    write_whole(path, text.encode("utf-8"))
    return {
        "path": str(path),
        "id": need.id,
        "columns": list(need.columns),
        "missing": [remark._asdict() for remark in review_need(need, today)],
    }


def check_need(home: Home, need_file: Path, place: str | Path | None, step: Step) -> dict[str, Any]:
    """Read a need file, and say what an auditor would miss in it; with a city, also what its data tell."""
    from models.need_review import MEANING, Remark, review_in_city, review_need
    from serving.opening import open_city_for, open_need

    need = open_need(home, need_file)
    remarks = review_need(need, datetime.now(UTC).date())
    for name in home.policy.nearly_strict(need.service):
        missing = f"is nearly '{name}', in which the policy lets one alarm alone block: here it takes two"
        mend = "Write the service in the need file and in the policy's strict_services alike, if it is the same"
        remarks.append(Remark("weak", "service", missing, mend, "C401"))
    facts: dict[str, Any] = {}
    if place is not None:
        city = open_city_for(home, place, need, step)
        found, facts = review_in_city(need, city)
        remarks = sorted([*remarks, *found], key=lambda remark: list(MEANING).index(remark.weight))
    return {
        "id": need.id,
        "kind": need.kind,
        "digest": need.digest,
        "columns": list(need.columns),
        "k": need.capacity.k,
        "remarks": [remark._asdict() for remark in remarks],
        "city": facts,
    }


def _path_faults(path: Path) -> list[Fault]:
    faults = []
    if path.suffix != ".toml" or not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        mend = "Name it with a–z, digits and _, e.g. youth_exclusion.toml; its name is the need's id"
        faults.append(Fault(str(path), "cannot be the file of a need", mend))
    if path.exists():
        faults.append(Fault(str(path), "exists already", "Give the path of a new file, or edit this one"))
    if not path.absolute().parent.is_dir():
        faults.append(Fault(str(path), "lies in a folder that does not exist", "Make the folder first"))
    return faults


def _answers(given: Mapping[str, str | None]) -> tuple[dict[str, Any], list[Fault]]:
    """Answers as they are read, and what is wrong with them or missing."""
    answers: dict[str, Any] = {}
    faults = []
    somebody_is_there = sys.stdin.isatty() and sys.stderr.isatty()
    for question in QUESTIONS:
        text = given.get(question.option)
        where = f"--{question.option}"
        if text is None and somebody_is_there:
            answers[question.option] = _ask(question)
        elif text is None:
            faults.append(Fault(where, "is missing", f"{question.asked} E.g. {where} '{question.example}'"))
        else:
            try:
                answers[question.option] = question.read(text)
            except ValueError as error:
                faults.append(Fault(where, f"'{text}' {error}", f"E.g. {where} '{question.example}'"))
    return answers, faults


def _ask(question: Question) -> Any:
    while True:
        print(f"{question.asked} E.g. {question.example}", file=sys.stderr)
        try:
            return question.read(input("> "))
        except EOFError:
            mend = f"Answer, or give --{question.option} '{question.example}'"
            raise BadInput(Fault(f"--{question.option}", "was asked for and not answered", mend)) from None
        except ValueError as error:
            print(f"That {error}.", file=sys.stderr)


def _unknown_codes(city: City, answers: Mapping[str, Any]) -> list[Fault]:
    from difflib import get_close_matches

    from features.event_log import matches

    faults = []
    for option in ("label-codes", "feature-codes"):
        for pattern in answers.get(option, []):
            if not any(matches(code, [pattern]) for code in city.events.codes):
                near = get_close_matches(pattern, city.events.codes, n=3)
                mend = f"Did you mean {', '.join(near)}?" if near else "ennakko city check lists the codes of the city"
                faults.append(Fault(f"--{option}", f"'{pattern}' is not in the event log", mend))
    return faults
