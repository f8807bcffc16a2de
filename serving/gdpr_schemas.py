"""What the GDPR interface of Helsinki Profile answers, for the description of the service (see serving/gdpr.py)."""

from __future__ import annotations

from pydantic import BaseModel


class GdprNode(BaseModel):
    """A key, and its value as text or the nodes below it."""

    key: str
    value: str | None = None
    children: list[GdprNode] | None = None


class GdprMessage(BaseModel):
    """What the resident is told, in each language."""

    fi: str
    sv: str
    en: str


class GdprError(BaseModel):
    """One reason why something was not done."""

    code: str
    message: GdprMessage


class GdprErrors(BaseModel):
    """Every reason."""

    errors: list[GdprError]
