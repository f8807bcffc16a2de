"""The OpenAPI 3.1 document, made from the table of endpoints and the bodies' own schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.endpoints import Endpoint
from serving.exchange import ARROW, HTML, JSON, PARQUET, PROBLEM, REQUEST_ID_FORM, WITHOUT_BODY
from serving.gdpr_schemas import GdprErrors
from serving.schemas import Problem

_REF = "#/components/schemas/{model}"
_REQUEST_ID = {
    "X-Request-ID": {
        "description": "The request's id: the asker's own, where it is a UUID or 16 to 64 hexadecimal digits, or a new "
        "one. It stands in log and audit log.",
        "schema": {"type": "string", "pattern": f"^({REQUEST_ID_FORM})$"},
    }
}
_PURPOSE = {
    "name": "X-Purpose",
    "in": "header",
    "required": True,
    "description": "What the answer is for, in a few words; it is kept in the audit log.",
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,198}[!-~])?$"},
    "example": "weekly list of the youth workers",
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token of the issuer that this service is configured with (OpenID Connect).",
}
_ABOUT = (
    "Scores of one person or of many, and what they rest on. Without a verified verdict no score leaves: 503. "
    "Refusals are problem details (RFC 9457), with every fault as where, wrong and mend."
)


def document(endpoints: Iterable[Endpoint], *, without_tokens: bool = False) -> bytes:
    """The document as JSON, the same bytes for the same table.

    Parameters
    ----------
    endpoints : iterable of Endpoint
    without_tokens : bool
        Whether this service is on trial: its rows that are so ask nobody for a token or a purpose; see
        :class:`serving.access.Access`.
    """
    endpoints = tuple(endpoints)
    used: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization")]
    used += [(GdprErrors, "serialization") for endpoint in endpoints if endpoint.scope]
    used += [(endpoint.body, "validation") for endpoint in endpoints if endpoint.body is not None]
    used += [(endpoint.answer, "serialization") for endpoint in endpoints if endpoint.answer is not None]
    names, schemas = models_json_schema(list(dict.fromkeys(used)), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, names, without_tokens)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Ennakko", "version": "1", "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"bearer": _BEARER}},
    }
    return json.dumps(whole, ensure_ascii=False, sort_keys=False).encode()


def _operation(endpoint: Endpoint, names: Mapping[Any, dict[str, str]], without_tokens: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.title,
        "description": _with_roles(endpoint),
    }
    parameters = [_parameter(parameter) for parameter in endpoint.query]
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _path_names(endpoint.path)
    ]
    asks_nobody = without_tokens and endpoint.on_trial
    if endpoint.purpose and not asks_nobody:
        parameters.append(_PURPOSE)
    if parameters:
        operation["parameters"] = parameters
    if endpoint.scope or (endpoint.roles and not asks_nobody):
        operation["security"] = [{"bearer": []}]
    if endpoint.body is not None:
        body = _content(endpoint.body_kinds, names[(endpoint.body, "validation")], endpoint.example)
        operation["requestBody"] = {"required": True, "content": body}
    schema = {"type": "string"} if endpoint.answer is None else names[(endpoint.answer, "serialization")]
    if endpoint.path == "/openapi.json":
        schema = {"type": "object"}
    content = _content(endpoint.answer_kinds, schema, endpoint.answer_example)
    responses: dict[str, Any] = {}
    for status in endpoint.successes:
        told = {"content": content} if status not in WITHOUT_BODY else {}
        responses[str(status)] = {"description": endpoint.title, "headers": _REQUEST_ID, **told}
    for status, titles in endpoint.all_problems.items():
        if endpoint.scope:
            responses[str(status)] = _gdpr_problem(status, titles, names[(GdprErrors, "serialization")])
        else:
            responses[str(status)] = _problem(status, titles, names[(Problem, "serialization")])
    operation["responses"] = responses
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    """The handler's name, where one handler has one row."""
    if endpoint.scope:
        return f"{endpoint.method.lower()}_profile"
    return endpoint.handler.rpartition(".")[2] + ("" if endpoint.path != "/healthz" else "_healthz")


def _with_roles(endpoint: Endpoint) -> str:
    if endpoint.scope:
        return f"{endpoint.says} Scope: {endpoint.scope}."
    asked = f"Roles: {', '.join(endpoint.roles)}." if endpoint.roles else "Asks for no token."
    return f"{endpoint.says} {asked}"


def _path_names(path: str) -> list[str]:
    return [part.partition("}")[0].partition(":")[0] for part in path.split("{")[1:]]


def _parameter(parameter: Any) -> dict[str, Any]:
    found = {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.says,
        "schema": dict(parameter.schema),
    }
    return {**found, "example": parameter.example} if parameter.example else found


def _content(kinds: Iterable[str], schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for kind in kinds:
        content[kind] = {"schema": _schema_of(kind, schema)}
        if kind == JSON and example is not None:
            content[kind]["example"] = example
    return content


def _schema_of(kind: str, of_json: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a content: the schema of JSON, or that it is text, or bytes of that kind."""
    if kind in (ARROW, PARQUET):
        return {"type": "string", "contentMediaType": kind}
    return {"type": "string"} if kind == HTML else dict(of_json)


def _problem(status: int, titles: tuple[str, ...], schema: Mapping[str, str]) -> dict[str, Any]:
    headers: dict[str, Any] = dict(_REQUEST_ID)
    for name, when in (("WWW-Authenticate", (401,)), ("Retry-After", (429, 503))):
        if status in when:
            headers[name] = {"schema": {"type": "string"}}
    example = {"type": "about:blank", "title": titles[-1], "status": status, "errors": []}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(titles)}",
        "headers": headers,
        "content": {PROBLEM: {"schema": dict(schema), "example": example}},
    }


def _gdpr_problem(status: int, titles: tuple[str, ...], schema: Mapping[str, str]) -> dict[str, Any]:
    """A refusal as Helsinki Profile reads it."""
    told = _problem(status, titles, schema)
    return {**told, "content": {JSON: {"schema": dict(schema)}}}
