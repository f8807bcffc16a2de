"""The one table of what can be asked over HTTP: routes, roles, limits, and the OpenAPI document are read from it.

What is not a row here is not found. A handler is named, not imported, so that the table can be read without BentoML,
polars or a city: ``answers.score`` is the function ``score`` of :mod:`serving.answers`.
"""

from __future__ import annotations

from serving.endpoint_shape import PROFILE_PATH, PROFILES, ROLES, Endpoint
from serving.endpoints_of_audit import AUDIT
from serving.endpoints_of_lists import LISTS
from serving.endpoints_of_residents import RESIDENTS
from serving.endpoints_of_scores import SCORES
from serving.endpoints_of_watching import WATCHING

__all__ = ["ENDPOINTS", "PROFILES", "PROFILE_PATH", "ROLES", "Endpoint"]

ENDPOINTS: tuple[Endpoint, ...] = (*SCORES, *LISTS, *AUDIT, *RESIDENTS, *WATCHING)
