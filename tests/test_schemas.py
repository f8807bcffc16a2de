"""Bodies of requests: everything wrong at once, nothing guessed, no identifier in any answer."""

import difflib
import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethics.refusals import BadInput, Fault
from serving.endpoints import ENDPOINTS
from serving.list_schemas import MAX_WORK_ROWS
from serving.schemas import MAX_EVENTS, Problem, ScoreRequest, ScoreResponse, parse_request

GOOD = {"need": "youth", "as_of_date": "2024-06-03", "person_id": "000005"}
PERSON = {"need": "youth", "as_of_date": "2024-06-03", "person": {"person_id": "x"}, "events": []}
IDENTITY_CODE = "131052-308T"


def faults_of(body):
    with pytest.raises(BadInput) as refusal:
        parse_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    return list(refusal.value.faults)


def with_event(**changes):
    return {**PERSON, "events": [{"event_date": "2024-01-01", "code": "a", **changes}]}


def test_a_good_body_is_read():
    request = parse_request(json.dumps(GOOD).encode())
    assert (request.need, request.as_of_date, request.whose) == ("youth", date(2024, 6, 3), "000005")


def test_whole_numbers_name_persons_in_decimal():
    assert parse_request(json.dumps({**GOOD, "person_id": 5}).encode()).whose == "5"
    assert parse_request(json.dumps({**PERSON, "person": {"person_id": 7}}).encode()).whose == "7"


def test_a_person_in_the_body_may_have_the_citys_own_columns():
    person = {"person_id": "x", "birth_date": "2005-01-31", "language": "fi", "floor": 3, "gone": None}
    request = parse_request(json.dumps({**PERSON, "person": person}).encode())
    assert request.person.birth_date == date(2005, 1, 31)
    assert request.person.model_extra == {"language": "fi", "floor": 3, "gone": None}


@pytest.mark.parametrize(
    "moment",
    ["2025-01-31", "2025-01-31T10:00", "2025-01-31 10:00:00", "2025-01-31T10:00:00.5Z", "2025-01-31T10:00:00+02:00"],
)
def test_a_day_or_a_moment_is_read_as_it_is_documented(moment):
    assert parse_request(json.dumps(with_event(event_date=moment)).encode()).events[0].event_date == moment


DAY = "Write it as 2026-06-01"
TEXT = ("is not text", "Put it in quotes")
MOMENT = "Write 2026-06-01 or 2026-06-01T14:30:00"
OUTSIDE = "outside the years 1900-2200"
WHO = "Give person_id alone, or person together with events (an empty list when there are none)"


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (b"", [("body", "is not JSON that can be read", "Send one JSON object")]),
        (b"{", [("body", "is not JSON that can be read", "Send one JSON object")]),
        (b"\xff\xfe", [("body", "is not JSON that can be read", "Send one JSON object")]),
        (b"[" * 100_000, [("body", "is not JSON that can be read", "Send one JSON object")]),
        (b"[]", [("body", "is not a JSON object", "Send {...} with need, as_of_date and person_id")]),
        (b"null", [("body", "is not a JSON object", "Send {...} with need, as_of_date and person_id")]),
        ({}, [("body: need", "is missing", "Add it"), ("body: as_of_date", "is missing", "Add it")]),
        ({**GOOD, "need": 1, "as_of_date": 2}, [("body: need", *TEXT), ("body: as_of_date", "is 2: not a day", DAY)]),
        ({**GOOD, "as_of_date": "2024-02-30"}, [("body: as_of_date", "is '2024-02-30': not a day", DAY)]),
        ({**GOOD, "as_of_date": "1717372800"}, [("body: as_of_date", "is '1717372800': not a day", DAY)]),
        ({**GOOD, "as_of_date": "2024-06-03T00:00"}, [("body: as_of_date", "is '2024-06-03T00:00': not a day", DAY)]),
        ({**GOOD, "language": "se"},
         [("body: language", "is 'se': not a language of the reasons", "Give one of: fi, sv, en")]),
        ({**GOOD, "person_id": True}, [("body: person_id", *TEXT)]),
        ({**GOOD, "person_id": 1.5}, [("body: person_id", *TEXT)]),
        ({**GOOD, "person_id": ""}, [("body: person_id", "is empty", "Say it, or leave the key out")]),
        ({**GOOD, "person_id": None}, [("body", "does not say who is to be scored", WHO)]),
        ({**GOOD, "events": []}, [("body", "person_id stands beside person or events", WHO)]),
        ({**PERSON, "events": None}, [("body", "does not say who is to be scored", WHO)]),
        (
            {**GOOD, "persn": 1},
            [("body: persn", "is not a key here", "Did you mean 'person'? "
              "Allowed: as_of_date, events, language, need, person, person_id, reasons")],
        ),
        ({**PERSON, "person": {"person_id": "x", "sex": [1]}},
         [("body: person.sex", "is list of 3 characters: not a plain value", "Give a text, a number or null")]),
        (with_event(value="1"),
         [("body: events[0].value", "is not a number", "Give a number without quotes, or null for none")]),
        (with_event(value=True),
         [("body: events[0].value", "is not a number", "Give a number without quotes, or null for none")]),
        (with_event(event_date="yesterday"),
         [("body: events[0].event_date", "is 'yesterday': not a day or a moment", MOMENT)]),
        *(
            (with_event(event_date=day), [("body: events[0].event_date", f"is '{day}': not a day or a moment", MOMENT)])
            for day in ("2025-W40", "2025-W40-1", "20250101", "2025-01-01T10", "2025-02-30", "2025-01-01T25:00")
        ),
        *(
            (with_event(**{key: moment}), [(f"body: events[0].{key}", f"is '{moment}': {OUTSIDE}", MOMENT)])
            for key in ("event_date", "knowledge_date")
            for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1899-12-31")
        ),
        ({**GOOD, "person_id": "  "},
         [("body: person_id", "is str of 2 characters: only blanks", "Say it, or leave the key out")]),
        ({**PERSON, "person": {"person_id": "\t"}},
         [("body: person.person_id", "is str of 1 characters: only blanks", "Say it, or leave the key out")]),
        (with_event(code=""), [("body: events[0].code", "is empty", "Say it, or leave the key out")]),
    ],
)  # fmt: skip
def test_a_bad_body_is_told_where_what_and_how_to_mend(body, faults):
    assert [fault[:3] for fault in faults_of(body)] == faults


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_is_infinite_or_none(number):
    body = json.dumps(with_event(value=0)).replace('"value": 0', f'"value": {number}').encode()
    assert [fault[:3] for fault in faults_of(body)] == [
        ("body: events[0].value", "is not a finite number", "Give a number, or null for none"),
    ]


def test_everything_wrong_is_told_at_once():
    body = {**with_event(event_date="x", value="y"), "as_of_date": "z"}
    assert [fault.where for fault in faults_of(body)] == [
        "body: as_of_date", "body: events[0].event_date", "body: events[0].value",
    ]  # fmt: skip


def test_too_many_events_are_refused():
    event = {"event_date": "2024-01-01", "code": "a"}
    (fault,) = faults_of({**PERSON, "events": [event] * (MAX_EVENTS + 1)})
    assert (fault.where, fault.wrong) == ("body: events", f"has more than {MAX_EVENTS} entries")


def test_of_many_faults_twenty_are_put_into_words(monkeypatch):
    """Guessing what was meant takes longest; it is done for those alone that are told, and for no endless word."""
    guessed = []
    guess = difflib.get_close_matches
    monkeypatch.setattr(
        difflib, "get_close_matches", lambda word, *a, **k: guessed.append(word) or guess(word, *a, **k)
    )
    found = faults_of({**GOOD, **{f"key{number}": 1 for number in range(3000)}})
    assert (len(found), found[-1].wrong, len(guessed)) == (21, "has 2980 more faults", 20)
    del guessed[:]
    (fault,) = faults_of({**GOOD, "k" * 100_000: 1})
    assert (guessed, fault.where, fault.wrong) == ([], "body", "holds a key that is not one")
    (fault,) = faults_of({**PERSON, "person": {"person_id": "x", "k" * 100_000: []}})
    assert len(str(fault)) < 200


def test_a_huge_value_is_not_written_out():
    """Not even to be shortened: a line is what is shown of it."""
    (fault,) = faults_of({**PERSON, "person": {"person_id": "x", "sex": [[]] * 6000}})
    assert (fault.where, fault.wrong) == ("body: person.sex", "is list of more than can be shown: not a plain value")
    (fault,) = faults_of({**GOOD, "language": ["en"] * 6000})
    assert fault.wrong == "is not text"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_no_column_of_a_person_is_infinite_or_no_number(number):
    body = json.dumps({**PERSON, "person": {"person_id": "x", "floor": 0}}).replace('"floor": 0', f'"floor": {number}')
    assert [fault.where for fault in faults_of(body.encode())] == ["body: person.floor"]


@pytest.mark.parametrize(
    "body",
    [
        {**GOOD, "person_id": [IDENTITY_CODE]},
        {**GOOD, "person_id": {"hetu": IDENTITY_CODE}},
        {**GOOD, "person_id": IDENTITY_CODE * 30},
        {**GOOD, IDENTITY_CODE: 1},
        {**GOOD, "as_of_date": IDENTITY_CODE},
        {**PERSON, "person": {"person_id": "x", "birth_date": IDENTITY_CODE}},
        {**PERSON, "person": {"person_id": "x", "name": [IDENTITY_CODE]}},
        with_event(event_date=IDENTITY_CODE),
    ],
)
def test_no_refusal_shows_a_personal_identity_code(body):
    assert IDENTITY_CODE not in str(faults_of(body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "person", "events", "more"]), json_values))
def test_any_json_is_read_or_refused_in_words(body):
    content = json.dumps(body).encode("utf-8", "surrogatepass")
    try:
        assert isinstance(parse_request(content), ScoreRequest)
    except BadInput as refusal:
        assert all(fault.where and fault.wrong and fault.mend for fault in refusal.faults)


def test_an_answer_has_exactly_the_keys_of_the_contract():
    answer = ScoreResponse(
        person_id="x",
        as_of_date=date(2024, 6, 3),
        score=None,
        rank_band="rest",
        reasons=(),
        model_digest="d",
        verdict_id="v",
    )
    assert json.loads(answer.model_dump_json()) == {
        "person_id": "x", "as_of_date": "2024-06-03", "score": None, "rank_band": "rest", "reasons": [],
        "model_digest": "d", "verdict_id": "v",
    }  # fmt: skip


def test_a_problem_is_as_rfc_9457_has_it():
    problem = Problem.of(422, "The body cannot be used", Fault("body: need", "is missing", "Add it"))
    assert problem.model_dump(mode="json") == {
        "type": "about:blank",
        "title": "The body cannot be used",
        "status": 422,
        "errors": [{"where": "body: need", "wrong": "is missing", "mend": "Add it"}],
    }


def test_bodies_of_few_words_are_short_and_of_many_rows_long_enough():
    most = {(row.method, row.path): row.max_body_bytes for row in ENDPOINTS if row.body is not None}
    assert most["POST", "/objections"] == most["POST", "/jobs"] == 8_000
    longest = {"need": "\u00f6" * 200, "channel": "phone", "person_id": "\u00f6" * 200}
    assert len(json.dumps(longest)) < 8_000
    row = {"person_id": "p" * 36, "at": "2024-06-05T09:30:00+03:00", "outcome": "wrong_contact", "channel": "phone"}
    rows = json.dumps({"rows": [{**row, "worker": "w" * 36}] * MAX_WORK_ROWS, "language": "fi"})
    for path in ("/lists/{list_id}/attempts", "/lists/{list_id}/outcomes"):
        assert len(rows) < most["POST", path] <= 1_200_000
