"""Words of an asker's choosing that are kept for years: none of them may name anybody."""

import asyncio
import json
from datetime import date

import pyarrow as pa
import pytest
from outcome_cases import home_with_list, outcome_file
from store_cases import FIRST

from ethics.refusals import BadInput
from scoring.outcomes import ReadRow, keep_outcomes
from serving.audit_queue import AuditQueue
from serving.batch_schemas import parse_batch
from serving.batches import read_batch
from serving.exchange import ARROW, Act, Unanswered
from serving.http_door import _request_id
from serving.kept_purposes import KeptPurposes
from serving.list_schemas import OutcomesRequest, parse_work
from serving.outcome_work import add_outcome, import_outcomes
from serving.schemas import parse_request


@pytest.mark.parametrize("own", ["0f" * 8, "A" * 32, "5c1b" * 16, "7d444840-9dc0-41d1-b245-5ffdce74fad2"])
def test_an_id_of_a_request_that_can_name_nobody_is_kept(own):
    assert _request_id({"x-request-id": own}) == own


@pytest.mark.parametrize("own", ["", "131052-308T", "000547", "sister.of.000547", "0f" * 7, "0f" * 33, "0f" * 8 + "\n"])
def test_any_other_word_is_no_id_of_a_request(own):
    made = _request_id({"x-request-id": own})
    assert made != own and len(made) == 16 and int(made, 16) >= 0


# ---- purposes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["sister of p003", "call 131052-308T"])
def test_a_purpose_that_names_somebody_is_not_accepted_also_when_they_are_erased(home, purpose):
    purposes = KeptPurposes(home)
    for _ in range(2):
        with pytest.raises(Unanswered) as refused:
            purposes.accept(purpose)
        assert (refused.value.problem.status, refused.value.problem.title) == (422, "The purpose cannot be kept")
        assert "p003" not in str(refused.value.problem) and "131052" not in str(refused.value.problem)
        assert purpose not in purposes
        home.store.erase("p003")


def test_an_accepted_purpose_is_asked_about_again_when_people_become_known(home):
    purposes = KeptPurposes(home)
    for number in range(300):
        purposes.accept(f"list {number}")
    purposes.accept("asked with newcomer")
    purposes.look_again()
    assert "asked with newcomer" in purposes and len(purposes) == 256  # as many as are kept in memory
    home.store.refer(["newcomer"])
    purposes.look_again()
    assert "asked with newcomer" not in purposes and len(purposes) == 255


# ---- ids of persons -------------------------------------------------------------------------------------------------

NO_IDS = ["131052-308T", "x010190a123b", "a\x00b", "a\u202eb", "a\xa0b"]


@pytest.mark.parametrize("person", NO_IDS)
def test_what_is_no_pseudonym_is_refused_in_every_body_and_not_shown(person):
    one = {"need": "youth", "as_of_date": "2024-06-03"}
    born, arrow = {"person_id": person, "birth_date": "2004-01-01"}, {**one}
    bodies = [
        (parse_request, {**one, "person_id": person}),
        (parse_request, {**one, "person": born, "events": []}),
        (parse_batch, {**one, "person_ids": ["000123", person]}),
        (parse_batch, {**one, "persons": [born], "events": []}),
        (
            lambda body: parse_work(body, OutcomesRequest),
            {"rows": [{**born, "at": "2024-06-05", "outcome": "reached"}]},
        ),
    ]
    tables = [[{"person_id": person}, {"person_id": "000123"}]], [[born], [{"person_id": person, "code": "x"}]]
    for read, body in bodies:
        with pytest.raises(BadInput, match="pseudonym") as refusal:
            read(json.dumps(body).encode())
        assert person not in str(refusal.value)
    for frames in tables:
        streams = b"".join(as_stream(pa.Table.from_pylist(rows)) for rows in frames)
        with pytest.raises(BadInput, match="is no pseudonym in 1 rows") as refusal:
            read_batch(streams, ARROW, arrow)
        assert person not in str(refusal.value)


def as_stream(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_asking_about_people_makes_nobody(home):
    home.store.refer(["seen-before"])
    people = home.store.summary()["people"]
    queue = AuditQueue(home, lambda person: person == "in-city")
    who = {"role": "system", "subject": "s", "request": "r"}
    asked = ("in-city", "seen-before", *(f"made-up-{number}" for number in range(30)))
    asyncio.run(queue.keep([Act("score batch", {"n": 32}, asked)], who))
    queue.close()
    assert home.store.summary()["people"] == people + 1
    facts = json.loads(home.audit_log.rows()[-1]["facts"])
    refs = home.store.refs(asked)
    assert facts["persons"].split() == [refs["in-city"], refs["seen-before"]]
    assert (facts["n"], facts["not_in_city"]) == (32, 30)


# ---- what units say of their work -----------------------------------------------------------------------------------

TODAY = date(2024, 7, 1)


@pytest.fixture
def home(tmp_path):
    return home_with_list(tmp_path / "home", people=8)[0]


def told(home, *people, unit=None, **more):
    cells = {"list_id": FIRST, "at": "2024-06-04", "outcome": "reached", **more}
    rows = [ReadRow(f"row {number}", {**cells, "person_id": person}) for number, person in enumerate(people, 1)]
    return keep_outcomes(home.store, rows, "unit", TODAY, unit=unit)


@pytest.mark.parametrize("said", ["p003", "sister of p003", "p003/p001"])
@pytest.mark.parametrize("name", ["worker", "channel"])
def test_a_worker_or_channel_that_names_somebody_is_refused_and_the_erased_are_named_nowhere(home, name, said):
    with pytest.raises(BadInput, match=f"row 1: has a {name} that names a person") as refusal:
        told(home, "p000", **{name: said})
    assert "p003" not in str(refusal.value)
    cells = {"list_id": FIRST, "person_id": "p000", "at": "2024-06-04", "outcome": "reached", name: said}
    with pytest.raises(BadInput, match="names a person"):
        add_outcome(home, cells, by="head", today=TODAY)
    home.store.erase("p003")
    with pytest.raises(BadInput, match="names a person"):  # the erased are still somebody
        told(home, "p000", **{name: said})
    assert home.store.attempts().is_empty()
    assert told(home, "p000", **{name: "A12"}).attempts == 1


def test_a_file_with_an_identity_code_as_the_worker_is_refused(home, tmp_path):
    path = outcome_file(tmp_path / "west.csv", [(FIRST, "p000", "2024-06-04", "phone", "131052-308T", "reached")])
    with pytest.raises(BadInput, match="row 2: worker") as refusal:
        import_outcomes(home, path, list_id=None, dry_run=False, by="head", today=TODAY)
    assert "131052" not in str(refusal.value) and home.store.attempts().is_empty()


def test_nobody_learns_of_an_erasure_by_naming_people_of_another_list(home):
    def refused(person):
        with pytest.raises(BadInput) as refusal:
            told(home, person, unit="east")
        return str(refusal.value)

    before = refused("p000")  # of the west
    home.store.erase("p000")
    assert refused("p000") == before == refused("p999")
    assert told(home, "p000", "p002", unit="west").by_outcome == {"reached": 1}
    home.store.erase("p001")  # of the east, which has one erased row now and no second
    assert told(home, "p001", unit="east").erased == 1
    with pytest.raises(BadInput, match="not on this list"):
        told(home, "p000", "p001", unit="east")
