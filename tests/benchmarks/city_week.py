"""The city and the need of ``bench_city.py``: invented residents whose need is foretold by some of their events.

Most events are those of ``event_world.py``, which say nothing. Beside them, before each as-of date, stand a few signs,
the more of them the likelier a need, and after it the need and two independent marks of it. So a model can be taught,
judged and approved on a small city drawn in the same way as the large one that it then scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from event_world import AS_OF_DATES, BLOCKS, DAY_US, ROW_GROUP, SEED, Shape, person_names, write_world

NEED_ID = "bench_city"
LIST_DAY = AS_OF_DATES[-1]
ORIGINS = tuple(LIST_DAY - timedelta(days=182 * back) for back in (3, 2, 1, 0))
"""Days before which signs stand: two to learn from, one to be judged by, and the day of the list."""
SIGN, NEED, MARKS = "g19.h19.sign", "status.need", ("mark.one", "mark.two")
UNITS = 12
_PERSONS_AT_ONCE = 50_000
_EPOCH = date(1970, 1, 1)
_SIGNS_PER_RISK, _SIGN_DAYS, _HORIZON = 1.2, 200, 150
_BY_MARK = (0.08, 0.45)
"""Share of those without and with a need who bear each mark."""


def write_city(folder: Path, n_persons: int, n_events: int, n_files: int) -> int:
    """Write the whole folder of a city; returns how many events it has."""
    signs = round(len(ORIGINS) * (_SIGNS_PER_RISK + 0.35) * n_persons)
    write_world(folder, Shape(max(n_events - signs, n_persons), n_persons, n_files=n_files))
    (folder / "city.toml").write_text(f"invented = true\nextract_date = {LIST_DAY.isoformat()}\n", encoding="utf-8")
    names = person_names(n_persons)
    if n_files == 1:  # a folder in either case, so that the signs can stand beside
        (folder / "events").mkdir()
        (folder / "events.parquet").rename(folder / "events" / "part-0000.parquet")
    n_signs = 0
    for number, table in enumerate(_sign_tables(names)):
        pq.write_table(table, folder / "events" / f"signs-{number:04d}.parquet", row_group_size=ROW_GROUP)
        n_signs += table.num_rows
    _write_people(folder, names)
    return max(n_events - signs, n_persons) + n_signs


def _sign_tables(names: np.ndarray) -> Iterator[pa.Table]:
    """Signs, needs and marks of so many persons at a time, in the form of the other events."""
    for block, start in enumerate(range(0, names.size, _PERSONS_AT_ONCE)):
        rng, ids = np.random.default_rng([SEED, 7, block]), names[start : start + _PERSONS_AT_ONCE]
        who, day, code = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()

        def add(persons: np.ndarray, days: np.ndarray, number: int) -> None:
            who.append(persons), day.append(days), code.append(np.full(persons.size, number))  # noqa: B023

        for origin in ((at - _EPOCH).days for at in ORIGINS):
            risk = rng.gamma(1.0, 1.0, ids.size)
            signs = np.repeat(np.arange(ids.size), rng.poisson(_SIGNS_PER_RISK * risk))
            add(signs, origin - rng.integers(1, _SIGN_DAYS, signs.size), 0)
            after, is_past = origin + rng.integers(1, _HORIZON - 30, ids.size), origin < (LIST_DAY - _EPOCH).days
            in_need = rng.random(ids.size) < 1 / (1 + np.exp(4.2 - 1.6 * risk))
            for number, has in enumerate((in_need, *(_marked(in_need, rng) for _ in MARKS)), start=1):
                persons = np.flatnonzero(has & is_past)
                add(persons, after[persons], number)
        person, days = np.concatenate(who), np.concatenate(day)
        codes = pa.array([SIGN, NEED, *MARKS])
        yield pa.table(
            {
                "person_id": pa.DictionaryArray.from_arrays(pa.array(person), pa.array(ids)).cast(pa.string()),
                "event_date": pa.array(days.astype(np.int64) * DAY_US).cast(pa.timestamp("us")),
                "code": pa.DictionaryArray.from_arrays(pa.array(np.concatenate(code)), codes).cast(pa.string()),
                "value": pa.array(np.ones(person.size, dtype=np.float32)),
            }
        )


def _marked(in_need: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.random(in_need.size) < np.where(in_need, _BY_MARK[1], _BY_MARK[0])


def _write_people(folder: Path, names: np.ndarray) -> None:
    """Where they live, their audit groups, the units, and how they can be reached."""
    rng, n = np.random.default_rng([SEED, 8]), names.size
    ids = pa.array(names)

    def drawn(values: list[str], shares: list[float] | None = None) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(rng.choice(len(values), n, p=shares)), pa.array(values)).cast(
            pa.string()
        )

    districts = [f"district {number:02d}" for number in range(4 * UNITS)]
    since = pa.array(np.full(n, (date(2015, 1, 1) - _EPOCH).days, dtype=np.int32)).cast(pa.date32())
    attribute = pa.array(["district"]).take(pa.array(np.zeros(n, dtype=np.int8)))
    history = {"person_id": ids, "attribute": attribute, "value": drawn(districts), "from_date": since}
    pq.write_table(pa.table(history), folder / "history.parquet")
    groups = {"person_id": ids, "sex": drawn(["f", "m"]), "language": drawn(["fi", "other", "sv"], [0.72, 0.2, 0.08])}
    pq.write_table(pa.table(groups), folder / "groups.parquet")
    units = {
        "unit_id": [f"unit-{number:02d}" for number in range(UNITS)],
        "name": [f"Unit {number:02d}" for number in range(UNITS)],
        "districts": [districts[4 * number : 4 * number + 4] for number in range(UNITS)],
    }
    pq.write_table(pa.table(units), folder / "units.parquet")
    contacts = {
        "person_id": ids,
        "name": pa.array(np.char.add("Person ", np.char.mod("%06d", np.arange(n)))),
        "channel": drawn(["digital", "phone", "letter", "visit"], [0.7, 0.2, 0.07, 0.03]),
        "phone": pa.array(np.char.mod("+358 000 %07d", np.arange(n))),
        "language": drawn(["fi", "sv", "ar"], [0.8, 0.08, 0.12]),
        "interpreter": pa.array(rng.random(n) < 0.04),
        "guardian": pa.nulls(n, pa.string()),
        "secrecy_order": pa.array(rng.random(n) < 0.004),
    }
    pq.write_table(pa.table(contacts), folder / "contacts.parquet")


def write_need(folder: Path) -> Path:
    """The need file: 480 columns of twenty kinds of events, 5 000 attempts a week."""
    path = folder / f"{NEED_ID}.toml"
    texts = "\n".join(f"{name} = {_said(text)}" for name, text in _TEXTS.items())
    told = "\n".join(f"{name} = {_said('An invented city, to time its week.')}" for name in _REGISTERED)
    features = "\n".join(map(_feature, BLOCKS["A"].prefixes))
    path.write_text(f"{_HEAD}{texts}\n{_people()}\n{_RULES}{told}\n{features}", encoding="utf-8")
    return path


def _said(text: str) -> str:
    return f'{{ fi = "{text}", sv = "{text}", en = "{text}" }}'


def _people() -> str:
    return "\n".join(
        f'{role} = {{ name = "{role.upper()}", email = "{role}@example.invalid", phone = "+358 9 000 000{number}" }}'
        for number, role in enumerate(("owner", "deputy", "dpo"))
    )


def _feature(prefix: str) -> str:
    name, block = prefix.strip("."), BLOCKS["A"]
    return f"""
[[features]]
name = "{name}"
codes = ["{prefix}*"]
windows = {json.dumps(block.windows)}
measures = {json.dumps(block.measures)}
plain = {{ fi = "tapahtumia {name}", sv = "händelser {name}", en = "events {name}" }}
source = "register {name}"
purpose = "To time the week of a city."
basis = "None: everybody in it is invented."
changeable = true
"""


_HEAD = """schema = 1
kind = "model"
service = "outreach"
use = "outreach_ranking"
review_by = 2099-01-01
"""
_TEXTS = {
    "title": "An invented need",
    "question": "Who of an invented city will have an invented need?",
    "action": "Somebody calls and offers a meeting",
    "benefit": "Nobody exists who could be helped",
    "alternative": "Anyone can get in touch",
}
_REGISTERED = (
    "organisation",
    "department",
    "area",
    "summary",
    "decision_process",
    "human_intervention",
    "lawful_basis",
    "impact",
    "proportionality",
    "risks",
)
_RULES = f"""
[cohort]
as_of = {{ first = {ORIGINS[0]}, last = {ORIGINS[-1]}, every_days = {(ORIGINS[1] - ORIGINS[0]).days} }}
[label]
codes = ["{NEED}"]
contact_codes = []
horizon_days = {_HORIZON}
[[indicators]]
name = "first mark"
codes = ["{MARKS[0]}"]
[[indicators]]
name = "second mark"
codes = ["{MARKS[1]}"]
[splits]
kind = "temporal"
[baseline]
rule = "g00.count.365d desc"
[capacity]
workers = 100
attempts_per_worker_per_period = 50
contact_success = 0.6
period_days = 7
[list]
columns = ["rank_band", "reasons", "action", "who_helps", "channel", "contact"]
cooldown_days = 90
sample = 200
[notice]
phone = "+358 9 000 0004"
letter = "outreach/a-meeting"
[model]
n_estimators = 200
num_leaves = 31
[register]
status = "development"
domain = "family, youth and households"
risk_category = "high risk"
"""
