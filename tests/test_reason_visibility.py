"""What a unit may not see is in none of its files, byte by byte: no name, no register, no code, no day, no size."""

from dataclasses import replace
from datetime import date, timedelta
from zipfile import ZipFile

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sealed_world import AS_OF, MODEL_NEED, World

from models.need import parse_need
from scoring.list_files import render_json
from scoring.pages import render_csv, render_page
from scoring.reason_events import Behind
from scoring.reasons import Explainer, Reason, Typical, Words, source_of

LANGUAGES = ("fi", "sv", "en")
CANARIES = ("kanarialukema", "kanarievärde", "canary reading", "Canary register", "health.pressure", "pressure")
SECRET_NEED = MODEL_NEED.replace(
    'fi = "a", sv = "b", en = "blood pressure reading"',
    'fi = "kanarialukema", sv = "kanarievärde", en = "canary reading"',
).replace('source = "health register"', 'source = "Canary register"')


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    assert all(canary in SECRET_NEED for canary in CANARIES)
    return World(tmp_path_factory.mktemp("world"), need_text=SECRET_NEED, units=True)


def written(day):
    """A day in every way a file may write it."""
    return {day.isoformat(), *(Words.of(language).day(day) for language in LANGUAGES)}


def unpacked(path):
    """What a packed file says: the values of a table, the parts of a workbook."""
    if path.suffix == ".parquet":
        return str(pl.read_parquet(path).to_dicts()).encode()
    if path.suffix == ".xlsx":
        with ZipFile(path) as parts:
            return b"".join(parts.read(name) for name in parts.namelist())
    return b""


def own_days(world, person, codes):
    """Days of a person's own events that were known before the as-of date."""
    events = pl.read_parquet(world.folder / "city" / "events.parquet")
    return set(
        events.filter(
            (pl.col("person_id") == person) & pl.col("code").str.starts_with(codes) & (pl.col("event_date") < AS_OF)
        )["event_date"]
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_byte_of_any_file_tells_of_what_the_unit_may_not_see(world, tmp_path, language):
    listed = world.list(language=language)
    told = [reason for part in listed.parts for row in part.rows for reason in row.reasons]
    hidden = Words.of(language)("reasons.hidden")
    assert sum(reason.text == hidden for reason in told) > 0, "or nothing is tested"
    for path in listed.write(tmp_path):
        text = (path.read_bytes() + unpacked(path)).decode("utf-8", errors="replace").casefold()
        for canary in CANARIES:
            assert canary.casefold() not in text, (path.name, canary)
    for part in listed.parts:
        for row in part.rows:
            page = render_page(replace(listed, parts=(replace(part, rows=(row,)),)), replace(part, rows=(row,)))
            rows = render_csv(listed, replace(part, rows=(row,)))
            open_days = own_days(world, row.person_id, "school.absence")
            for day in own_days(world, row.person_id, "health.") - open_days - {AS_OF}:
                assert not any(said in page or said in rows for said in written(day))
            for reason in row.reasons:
                assert reason.day is None or (reason.feature == "absence" and reason.day in open_days)


def test_who_may_see_reads_what_others_may_not(world):
    """The canaries do sing where the reader is named, so that their silence elsewhere says something."""
    scores = world.score()
    typical, X = Typical.of(scores.matrix), scores.matrix.X
    contributions = np.zeros(X.shape[1])
    contributions[world.need.columns.index("pressure.last.ever")] = 1.0
    at = int(np.flatnonzero(~np.isnan(X[:, world.need.columns.index("pressure.last.ever")]))[0])
    (open_,) = Explainer(world.need, typical, "clinic").of_contributions(X[at], contributions)
    assert open_.text.startswith("last canary reading: ") and open_.source == "Canary register"
    (closed,) = Explainer(world.need, typical, "north").of_contributions(X[at], contributions)
    assert closed == Reason(Words.of("en")("reasons.hidden"), None, None)


FEATURES = ("absence", "pressure", "age")


def need_visible_to(readers):
    """The need with a ``visible_to`` of each feature of its own, and a canary for each name and register."""
    text = MODEL_NEED.replace('visible_to = ["clinic"]\n', "")
    plain = {"absence": "absences from school", "pressure": "blood pressure reading", "age": "age"}
    head, *parts = text.split("[[features]]\n")
    changed = []
    for name, part in zip(FEATURES, parts, strict=True):
        texts = f'fi = "a", sv = "b", en = "{plain[name]}"'
        own = f'fi = "canary{name}fi", sv = "canary{name}sv", en = "canary{name}en"'
        assert texts in part
        part = part.replace(texts, own)
        lines = [f'source = "Canary register {name}"' if s.startswith("source = ") else s for s in part.splitlines()]
        at = next(i for i, line in enumerate(lines) if line.startswith("plain = "))
        lines.insert(at, f"visible_to = {sorted(readers[name])!r}".replace("'", '"'))
        changed.append("\n".join(lines) + "\n")
    return parse_need("[[features]]\n".join([head, *changed]).encode(), "youth.toml")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(FEATURES, st.sets(st.sampled_from(["clinic", "north", "youth-work"])))),
    st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6),
    st.sampled_from(["north", "east", "clinic"]),
    st.sampled_from(LANGUAGES),
)
def test_whatever_is_hidden_leaves_no_trace_in_page_or_table(world, readers, contributions, reader, language):
    need = need_visible_to(readers)
    listed = seen(world)
    days = {j: date(2023, 1, 1) + timedelta(days=40 * j) for j in range(len(need.columns))}
    typical = Typical(dict.fromkeys(need.columns, 1.0))
    values = np.arange(3, 3 + len(need.columns), dtype=np.float32)
    strength = np.array(contributions[: len(need.columns)])
    told = Explainer(need, typical, reader, language).of_contributions(
        values, strength, lambda j: Behind(days[j], "latest")
    )
    row = replace(listed.parts[0].rows[0], reasons=tuple(told))
    part = replace(listed.parts[0], rows=(row,))
    shown = replace(listed, parts=(part,), language=language)
    text = render_page(shown, part) + render_csv(shown, part) + render_json(shown, part).decode("utf-8")
    is_hidden = {name: bool(who) and not who & {reader, need.service} for name, who in readers.items()}
    for name, hidden in is_hidden.items():
        columns = [j for j, column in enumerate(need.columns) if column.startswith(name)]
        if hidden:
            assert f"canary{name}" not in text
            assert f"Canary register {name}" not in text
            assert not any(said in text for j in columns for said in written(days[j]))
    texts = [reason.text for reason in told]
    hidden_text = Words.of(language)("reasons.hidden")
    assert texts.count(hidden_text) <= 1
    assert hidden_text not in texts or texts[-1] == hidden_text, "last, whatever its size"
    for reason in told:
        if reason.feature is None:
            assert (reason.source, reason.changeable, reason.behind, source_of(reason, language)) == (None,) * 3 + ("",)


SEEN = {}


def seen(world):
    """One list, made once."""
    return SEEN.setdefault("listed", world.list())
