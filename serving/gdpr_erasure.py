"""Erasure as Helsinki Profile asks for it: done at once or not begun, and refused where a law says to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ethics.refusals import BadInput
from serving.erasure_work import Duty, duties_to_keep, erase_person
from serving.gdpr import Erase, Kept, NotNow, messages
from serving.guardian_lists import city_with_contacts

if TYPE_CHECKING:
    from serving.home import Home

_ACTOR, _REASON = "resident", "asked for it through Helsinki Profile"
_HOME_ZONE = ZoneInfo("Europe/Helsinki")
_DAY = {"fi": "{d.day}.{d.month}.{d.year}", "sv": "{d.day}.{d.month}.{d.year}", "en": "{d:%-d %B %Y}"}


def eraser_of(home: Home) -> Erase:
    """The erasure of a home, for :class:`serving.gdpr.GdprDesk`.

    Whoever asks over HTTP is not kept waiting for a training run to end: the erasure is then not begun.
    """

    def erase(person_id: str, dry_run: bool, begun: Callable[[], object]) -> Sequence[Kept]:
        kept = _kept(home, person_id)
        if kept or dry_run:
            return kept
        try:
            city = city_with_contacts(home)
            erase_person(home, person_id, by=_ACTOR, reason=_REASON, city=city, wait=False, begun=begun)
        except BlockingIOError:
            raise NotNow from None
        except BadInput:
            if kept := _kept(home, person_id):  # listed between the two looks
                return kept
            raise
        return ()

    return erase


def _kept(home: Home, person_id: str) -> list[Kept]:
    today = datetime.now(UTC).astimezone(_HOME_ZONE).date()
    return [_told(duty) for duty in duties_to_keep(home, person_id, today)]


def _told(duty: Duty) -> Kept:
    until = date.fromisoformat(duty.until)
    return Kept(
        "statutory_duty",
        {
            language: text.format(until=_DAY[language].format(d=until), law=duty.law[language].rstrip("."))
            for language, text in messages()["statutory_duty"].items()
        },
    )
