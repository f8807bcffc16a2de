"""What a resident gets who asks for their data through Helsinki Profile: the view that they could have had anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serving.gdpr import View
from serving.person_work import look_at_person

if TYPE_CHECKING:
    from features.city import City
    from serving.home import Home

_ACTOR, _PURPOSE = "resident", "right of access (GDPR 15), through Helsinki Profile"
_ABOUT_THE_ANSWER = ("html", "invented", "language")
_HELD = ("standing", "history", "contacts_outside")


def viewer_of(home: Home, language: str = "fi", city: City | None = None) -> View:
    """The person view of a home, for :class:`serving.gdpr.GdprDesk`; ``city`` is the served one, where it is open.

    Scores come as numbers too: who asks for a copy of their data gets all of it (GDPR 15.3). Helsinki Profile does not
    say which language the resident reads.
    """

    def view(person_id: str) -> Mapping[str, Any] | None:
        place = city or home.settings.city
        found = look_at_person(
            home, person_id, actor=_ACTOR, purpose=_PURPOSE, language=language, city=place, numbers=True
        )
        if found["state"] == "erased" or not (found["state"] == "known" or any(found[name] for name in _HELD)):
            return None
        return {name: value for name, value in found.items() if name not in _ABOUT_THE_ANSWER}

    return view
