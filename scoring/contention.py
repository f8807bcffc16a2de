"""One resident wanted by several needs in the same period: contacted once, with the most fitting offer.

What an offer is worth is the probability of need relative to the one at that list's cut, so someone far above the line
of one need and just above that of another is contacted for the first. A written rule has no
probabilities: there the place stands for them, from 2 at the top to 1 at the cut. Equal worth is decided by a key that
is neutral between people and needs. Whoever is taken off a list leaves a place for the next person, who may be wanted
elsewhere too, so lists are cut again until nobody is on two (deferred acceptance: it ends, for exclusions only grow).

Source: Gale & Shapley 1962, "College admissions and the stability of marriage", American Mathematical Monthly 69: 9-15.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

import polars as pl

Cut = Callable[[frozenset[str]], pl.DataFrame]
"""People to leave out → who would then be listed, first first: ``person_id``, ``score`` (null for a rule)."""


def settled(cuts: Mapping[str, Cut], secret: bytes) -> dict[str, frozenset[str]]:
    """Whom each need leaves to another.

    Parameters
    ----------
    cuts : mapping
        Need id → how its list would be cut.
    secret : bytes
        A secret of the home, for the order among equal offers.

    Returns
    -------
    dict
        Need id → people who are on no list of it because another need contacts them.

    Examples
    --------
    >>> def cut(**score):
    ...     def first(out):
    ...         left = {person: s for person, s in score.items() if person not in out}
    ...         return pl.DataFrame({"person_id": list(left)[:2], "score": list(left.values())[:2]})
    ...     return first
    >>> settled({"a": cut(x=0.9, y=0.3, z=0.2), "b": cut(x=0.5, w=0.4, v=0.3)}, b"secret")
    {'a': frozenset(), 'b': frozenset({'x'})}
    """
    left: dict[str, frozenset[str]] = {need: frozenset() for need in cuts}
    while True:
        worth = {need: _worth(cuts[need](left[need])) for need in cuts}
        wanted: dict[str, list[str]] = {}
        for need in sorted(worth):
            for person in worth[need]:
                wanted.setdefault(person, []).append(need)
        twice = {person: needs for person, needs in wanted.items() if len(needs) > 1}
        if not twice:
            return left
        for person, needs in twice.items():
            best = max(needs, key=lambda need: (worth[need][person], _key(secret, person, need)))
            for need in needs:
                if need != best:
                    left[need] |= {person}


def _worth(listed: pl.DataFrame) -> dict[str, float]:
    """Per person the probability relative to the lowest on the list; by place where there is none."""
    n = listed.height
    by_place = {person: 1 + (n - place) / n for place, person in enumerate(listed["person_id"], 1)}
    lowest = listed["score"].min() if n and not listed["score"].null_count() else None
    if not isinstance(lowest, float) or lowest <= 0:
        return by_place
    return {person: score / lowest for person, score in listed.select("person_id", "score").iter_rows()}


def _key(secret: bytes, person: str, need: str) -> bytes:
    return hmac.digest(secret, f"ennakko contention|{need}|{person}".encode(), "sha256")
