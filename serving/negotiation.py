"""Which kind of answer somebody asks for, by the header ``Accept`` (RFC 9110 §12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from ethics.refusals import Fault
from serving.exchange import Unanswered


def chosen_kind(accept: str, kinds: Sequence[str]) -> str:
    """The kind of answer that is wanted most; of those wanted alike, the first.

    Parameters
    ----------
    accept : str
        The header's value; empty where it was not sent, which means: whatever there is.
    kinds : sequence of str
        Content types without parameters, in the order in which we would rather send them.

    Raises
    ------
    Unanswered
        406: none of them is wanted.

    >>> chosen_kind("text/html,application/xml;q=0.9,*/*;q=0.8", ["application/json", "text/html"])
    'text/html'
    >>> chosen_kind("*/*", ["application/json", "text/html"])
    'application/json'
    """
    ranges = dict(map(_weighed, filter(None, map(str.strip, accept.lower().split(",")))))
    wanted = [_wanted(kind, ranges) if ranges else 1.0 for kind in kinds]
    best = max(wanted)
    if best <= 0:
        wrong, mend = "asks for no kind of answer that there is", f"Accept {' or '.join(dict.fromkeys(kinds))}"
        raise Unanswered(406, "No such kind of answer", Fault("header: accept", wrong, mend))
    return kinds[wanted.index(best)]


def _weighed(part: str) -> tuple[str, float]:
    """A media range and how much it is wanted; a weight that is no number wants nothing."""
    name, *parameters = (text.strip() for text in part.split(";"))
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return name, min(max(float(weight), 0.0), 1.0)
    except ValueError:
        return name, 0.0


def _wanted(kind: str, ranges: dict[str, float]) -> float:
    """How much a kind is wanted, by the range that names it most exactly."""
    for name in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0
