"""The digest of each part of a verdict, signed with it: an edit is named by its place, not only noticed.

Signatures and the verdict's id show that something was edited. Where the numbers cannot be computed again, only a
digest for each part can show what.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ethics.digests import canonical_json, sha256
from ethics.refusal_ids import CONTRADICTION, SUBJECT
from ethics.refusals import Fault

PARTS, ID = "parts", "verdict_id"
_OPENED = ("subject", "scope", "purpose", "record", "coverage")
"""Tables of which each entry is a part."""
_DIGITS = 16
_AS_SIGNED = "Take the verdict as it was signed; a verdict is never edited"


def part_digests(content: Mapping[str, Any]) -> dict[str, str]:
    """Place → the first 16 digits of its SHA-256, for everything in a verdict but its id and this table.

    >>> sorted(part_digests({"use": "x", "scope": {"kind": "rule"}, "checks": [{"id": "C101"}]}))
    ['checks', 'checks: C101', 'scope', 'scope: kind', 'use']
    """
    return {place: _digest(value)[:_DIGITS] for place, value in _places(content)}


def touched_parts(data: Mapping[str, Any]) -> list[Fault]:
    """Every part of a written verdict that is not what its digest says, or its id where that alone is not.

    A subject has its own id (:data:`ethics.refusal_ids.SUBJECT`), every other part that of a contradiction.
    """
    said = data.get(PARTS)
    said = said if isinstance(said, Mapping) else {}
    found = part_digests(data)
    faults = []
    for place in dict.fromkeys((*said, *found)):
        if said.get(place) == found.get(place):
            continue
        wrong = "was added" if place not in said else "was taken away" if place not in found else "was changed"
        code = SUBJECT.get(place.removeprefix("subject: "), CONTRADICTION)
        faults.append(Fault(f"verdict: {place}", f"{wrong} after the verdict was made", _AS_SIGNED, code))
    if not isinstance(data.get(PARTS), Mapping):
        faults = [Fault(f"verdict: {PARTS}", "was taken away", _AS_SIGNED, CONTRADICTION)]
    rest = {name: value for name, value in data.items() if name != ID}
    if not faults and data.get(ID) != f"v-{_digest(rest)[:20]}":
        faults.append(Fault(f"verdict: {ID}", "is not what the content gives", _AS_SIGNED, CONTRADICTION))
    return faults


def _places(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every part with its place. Of a table that is opened, the table itself stands for its names and their order."""
    for name, value in content.items():
        if name in (PARTS, ID):
            continue
        if name in _OPENED and isinstance(value, Mapping):
            yield name, sorted(value)
            for inner, held in value.items():
                yield f"{name}: {inner}", held
        elif name == "checks" and isinstance(value, list):
            named = list(_named(value))
            yield name, [place for place, _ in named]
            for place, check in named:
                yield f"{name}: {place}", check
        else:
            yield name, value


def _named(checks: list[Any]) -> Iterator[tuple[str, Any]]:
    """Checks by id and group, and by their turn where one answers several times."""
    turns: dict[str, int] = {}
    for check in checks:
        is_table = isinstance(check, Mapping)
        name = " ".join(str(check[key]) for key in ("id", "group") if check.get(key)) if is_table else "?"
        turns[name] = turns.get(name, 0) + 1
        yield (name if turns[name] == 1 else f"{name} #{turns[name]}"), check


def _digest(value: Any) -> str:
    """SHA-256 of the canonical form; of what no verdict holds (a fraction, say), of its JSON."""
    try:
        return sha256(canonical_json(value))
    except (TypeError, ValueError):
        return sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass"))
