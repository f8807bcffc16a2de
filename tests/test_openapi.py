"""The OpenAPI document says what the table of endpoints says, and its examples are true."""

import json
from pathlib import Path

import pytest

from serving.endpoints import ENDPOINTS, ROLES
from serving.exchange import JSON, PROBLEM
from serving.openapi import document
from serving.schemas import Problem

DOCUMENT = json.loads(document(ENDPOINTS))
OPEN = json.loads(document(ENDPOINTS, without_tokens=True))


def operation_of(endpoint, whole=DOCUMENT):
    return whole["paths"][endpoint.path][endpoint.method.lower()]


def test_it_has_every_endpoint_and_no_other():
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    assert DOCUMENT["openapi"] == "3.1.0"
    assert document(ENDPOINTS) == document(ENDPOINTS)


def test_operation_ids_are_unique_and_every_reference_leads_somewhere():
    ids = [operation_of(endpoint)["operationId"] for endpoint in ENDPOINTS]
    assert len(set(ids)) == len(ids)
    text = json.dumps(DOCUMENT)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.removeprefix("#/components/schemas/") in DOCUMENT["components"]["schemas"], reference


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_examples_are_bodies_that_are_read_and_answers_that_are_given(endpoint):
    if endpoint.body is not None:
        endpoint.body.model_validate_json(json.dumps(endpoint.example))
        assert operation_of(endpoint)["requestBody"]["content"][JSON]["example"] == endpoint.example
        assert tuple(operation_of(endpoint)["requestBody"]["content"]) == endpoint.body_kinds
    if endpoint.answer is not None:
        endpoint.answer.model_validate_json(json.dumps(endpoint.answer_example))
    for status in endpoint.successes:
        kinds = () if status in (204, 304) else endpoint.answer_kinds
        assert tuple(operation_of(endpoint)["responses"][str(status)].get("content", ())) == kinds


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_refusal_is_a_problem_with_its_titles(endpoint):
    responses = operation_of(endpoint)["responses"]
    assert set(responses) == {*map(str, endpoint.successes), *map(str, endpoint.all_problems)}
    for status, titles in endpoint.all_problems.items():
        told = responses[str(status)]
        assert all(title in told["description"] for title in titles)
        if endpoint.scope:  # in the city's own form
            assert told["content"][JSON]["schema"]["$ref"].endswith("/GdprErrors")
            continue
        Problem.model_validate(told["content"][PROBLEM]["example"], strict=False)
        assert told["content"][PROBLEM]["example"]["status"] == status


def test_who_may_ask_and_for_what_purpose_is_said():
    for endpoint in ENDPOINTS:
        locked, unlocked = operation_of(endpoint), operation_of(endpoint, OPEN)
        assert set(endpoint.roles) <= set(ROLES)
        knows = bool(endpoint.roles or endpoint.scope)
        assert ("security" in locked) == knows
        assert ("security" in unlocked) == (knows and not endpoint.on_trial)
        assert {401, 403} <= endpoint.all_problems.keys() if knows else 401 not in endpoint.all_problems
        headers = [p for p in locked.get("parameters", ()) if p["name"] == "X-Purpose"]
        assert [header["required"] for header in headers] == [True] * endpoint.purpose
        told = any(p["name"] == "X-Purpose" for p in unlocked.get("parameters", ()))
        assert told == (endpoint.purpose and not endpoint.on_trial)


def test_each_handler_is_there():
    for endpoint in ENDPOINTS:
        assert endpoint.function().__name__ == endpoint.handler.rpartition(".")[2]


def told_in_words():
    """The table of docs/http.md, from the table of endpoints."""
    rows = ["| path | what | roles | purpose |", "|---|---|---|---|"]
    for endpoint in ENDPOINTS:
        scope = f"scope {endpoint.scope}" if endpoint.scope else "anyone"
        roles = ", ".join(endpoint.roles).replace("_", " ") or scope
        purpose = "required" if endpoint.purpose else ""
        rows.append(f"| `{endpoint.method} {endpoint.path}` | {endpoint.title} | {roles} | {purpose} |")
    return "\n".join(rows)


def test_the_table_in_the_documentation_is_the_table_of_endpoints():
    text = (Path(__file__).resolve().parent.parent / "docs" / "http.md").read_text(encoding="utf-8")
    between = text.partition("<!-- table -->\n")[2].partition("\n<!-- end of table -->")[0]
    assert between == told_in_words(), f"docs/http.md: write\n{told_in_words()}"
