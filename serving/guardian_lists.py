"""What a guardian's no means for the lists that their children stand on: the city's contact book says whose they are.

The store knows no guardians, so a city folder is needed; nothing of the book is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ethics.objections import CHANNELS
from ethics.refusals import BadInput, Fault
from serving.home import Home
from serving.opening import folder_of

if TYPE_CHECKING:
    from scoring.contacts import ContactBook


def listed_children(home: Home, person_id: str, city: Path | None) -> list[str]:
    """Children who ever stood on a list and whose guardian a person is, under a secrecy order too; none without a city.

    Raises
    ------
    BadInput
        The city is no folder, or has no contact book: nobody would be found, unnoticed.
    """
    if city is None:
        return []
    children = _book(city).children_of(person_id)
    listed = {*home.store.rows()["person_id"], *home.store.changes()["person_id"]}
    return sorted(children & listed)


def refused_by_guardians(home: Home, need_id: str, people: Sequence[str], city: Path) -> dict[str, tuple[str, ...]]:
    """Child → the channels that their guardian refuses; all of them where the guardian objects or was erased."""
    return channels_refused(home, need_id, _book(city).guardians(people, secret=True))


def channels_refused(home: Home, need_id: str, guardians: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The same by child → guardian; whose guardian refuses nothing is left out."""
    answering = sorted({*guardians.values()})
    masked = dict(zip(answering, home.objections.objecting(answering, need_id), strict=True))
    refused = home.objections.refused_channels(answering, need_id)
    found = {child: CHANNELS if masked[one] else refused.get(one, ()) for child, one in guardians.items()}
    return {child: channels for child, channels in found.items() if channels}


def has_contact_book(city: Path) -> bool:
    """Whether a city's lists can have been written with a contact book of its own."""
    from scoring.contacts import contacts_file

    return contacts_file(folder_of(city)) is not None


def city_with_contacts(home: Home) -> Path | None:
    """The city that is served, where its contact book tells whose guardian somebody is; many have none."""
    city = home.settings.city
    return city if city is not None and has_contact_book(city) else None


def _book(city: Path) -> ContactBook:
    from scoring.contacts import ContactBook, contacts_file

    path = contacts_file(folder_of(city))
    if path is None:
        mend = "Give the folder of the city whose contact book the lists were written with"
        raise BadInput(Fault("--city", "has no contact book, so nobody's guardian is known", mend))
    return ContactBook.open(path)
