"""Rows of the table of endpoints: whether the service is well, its measures, its description."""

from __future__ import annotations

from serving.endpoint_shape import PLAIN, PROMETHEUS, Endpoint

WATCHING: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/livez",
        handler="answers.livez",
        title="Whether the process answers",
        says="Always 200 while it does; says nothing of trust.",
        answer_kinds=(PLAIN,),
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        handler="answers.readyz",
        title="Whether scores can leave",
        says="200 only while every need is trusted and the database answers.",
        answer_kinds=(PLAIN,),
        problems={503: ("Not ready",)},
    ),
    Endpoint(
        method="GET",
        path="/healthz",
        handler="answers.livez",
        title="Whether the process answers",
        says="The same as `/livez`, by the name older watchers ask for.",
        answer_kinds=(PLAIN,),
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handler="answers.metrics",
        title="Measures for Prometheus",
        says="Open on loopback; elsewhere it needs the bearer token of `ENNAKKO_METRICS_TOKEN`.",
        answer_kinds=(PROMETHEUS,),
        problems={404: ("Not Found",)},
    ),
)
