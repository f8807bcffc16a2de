"""The label itself, asked about by group: whose is known, what made it, and who would be listed under another one.

Called inside :meth:`ethics.GroupRegister.examine` only; what it gives back are names and numbers of groups large
enough to be shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ethics.influence import NOTHING, around, around_ratio

if TYPE_CHECKING:
    from ethics.influence import Bools, Bounds, Floats, Ints
    from ethics.proxies import Joined

RANKED_BY = "by:"
"""Column of judged rows with the rank score that an indicator would have given, had it been the label."""
FROM_CONTACT = "label_from_contact"
"""Column of judged rows: an event that only an earlier contact produces counts towards the label (bool)."""
VALUE = "label_value"
"""Column of judged rows: the sum of values behind a label that sums them up."""
TOPS = (1, 5, 10)
"""Shares of people, in per cent, whose part of each outcome is told."""
LABEL = "label"


@dataclass(frozen=True)
class Cohort:
    """The judged people, in one order for every array (n,).

    Attributes
    ----------
    label : float
        1, 0, NaN where not known.
    order : name → rank score
        ``label``: the model's own; then each indicator's, had it been the label.
    indicators : name → bool
    outcomes : name → float
        What is concentrated in whom: label, or the values behind it, and the indicators.
    clusters : int
    k : int
        Places: the audit cut.
    tie : int
        Place of each person in the order of tie keys.
    """

    label: Floats
    order: Mapping[str, Floats]
    indicators: Mapping[str, Bools]
    outcomes: Mapping[str, Floats]
    clusters: Ints
    k: int
    tie: Ints

    @property
    def known(self) -> Bools:
        """Whose label, and so whose indicators, are known."""
        return np.isfinite(self.label)


# ---- whose label is known ------------------------------------------------------------------------------------------


def observability(
    attributes: Sequence[Joined], label: Floats, from_contact: Bools | None, clusters: Ints, min_persons: int
) -> dict[str, Any]:
    """How often the label is known in a group, against everybody, and how many labels earlier contacts produced.

    Returns
    -------
    dict
        ``groups``: {group, value, low, high}, the ratio of shares known. ``untested``: groups too small to compare.
        ``labels``: how many are 1. ``from_contacts``: {value, low, high} of them, or None where the need does not
        say which codes are of contacts (``declared`` False) or no label is 1. Counts of fewer than ``min_persons``
        unknown labels count as that many.
    """
    known = np.isfinite(label)
    everyone = known.mean()
    rows = []
    for name, member in (pair for joined in attributes for pair in joined.each()):
        n = member.sum()
        unknown = n - known[member].sum()
        share = (n - max(unknown, min_persons)) / n if unknown else 1.0
        exact = known[member].mean()
        found = NOTHING
        if everyone and exact:
            log = member * (known - exact) / (n * exact) - (known - everyone) / (known.size * everyone)
            found = around_ratio(float(share / everyone), log, clusters)
        elif everyone:
            found = around(0.0, np.zeros(known.size), clusters)
        rows.append({"group": name, **found._asdict()})
    positive = label == 1
    contacts = None
    if from_contact is not None and positive.any():
        made = from_contact & positive
        share = made.sum() / positive.sum()
        contacts = around(float(share), (made - share * positive) / positive.sum(), clusters)._asdict()
    untested = [f"{joined.attribute}={group}" for joined in attributes for group in joined.untested]
    return {
        "groups": rows,
        "untested": untested,
        "labels": int(positive.sum()),
        "from_contacts": contacts,
        "declared": from_contact is not None,
    }


# ---- who is listed under another label -----------------------------------------------------------------------------


def label_choice(
    attributes: Sequence[Joined], people: Cohort, *, kind: str, min_expected: int, min_persons: int
) -> dict[str, Any]:
    """Who stands above the audit cut under each label, by group; and in whom each outcome is concentrated.

    Parameters
    ----------
    kind : "need", "use" or "spending"
        What the label stands for.
    min_expected : int
        Fewest people of a group on the other label's list for the two lists to be compared.

    Returns
    -------
    dict
        ``kind``, ``k``; ``compared``: indicators that a ranking was learnt for; ``lists``: {label, group, n, share}
        (people listed, null below ``min_persons``, and the group's share of the list); ``shifts``: {group, indicator,
        value, low, high, need, need_low, need_high, compared} (see :func:`_shift`); ``concentration``: {label,
        outcome, top, share}.
    """
    rank = {name: _rank(score, people) for name, score in people.order.items()}
    listed = {name: places < people.k for name, places in rank.items()}
    lists, shifts = [], []
    for joined in attributes:
        for group, member in joined.each():
            for name, above in listed.items():
                n = int((member & above).sum())
                shown = n >= min_persons
                share = n / people.k if shown else None
                lists.append({"label": name, "group": group, "n": n if shown else None, "share": share})
            for name in listed:
                if name != LABEL:
                    found = _shift(member, name, people, rank, min_expected)
                    shifts.append({"group": group, "indicator": name, **found})
    return {
        "kind": kind,
        "k": people.k,
        "compared": [name for name in listed if name != LABEL],
        "lists": lists,
        "shifts": shifts,
        "concentration": _concentration(people),
    }


def _rank(score: Floats, people: Cohort) -> Ints:
    rank = np.empty(score.size, dtype=np.int64)
    rank[np.lexsort((people.tie, -score))] = np.arange(score.size)
    return rank


def _shift(
    member: Bools, name: str, people: Cohort, rank: Mapping[str, Ints], min_expected: int
) -> dict[str, float | bool | None]:
    """The group's share of the label's list ÷ its share of an indicator's; and the need of those who change places.

    The first ratio alone proves nothing against a label: where two signs of need differ in kind, or one of them can
    hardly be foretold, lists differ in whom they hold. So people are compared who change places: the group's whom the
    indicator's list would add (A), and others whom it would drop for them (B). ``need`` is how many of the *other*
    indicators A had ÷ how many B had. The ranking knows nothing of those, so that it proves nothing about itself: one
    that is noise adds people with less need than it drops.
    """
    ours, theirs = (rank[label] < people.k for label in (LABEL, name))
    n_theirs = int((member & theirs).sum())
    ratio, need = NOTHING, NOTHING
    compared = n_theirs >= min_expected
    if compared:
        ratio = _ratio_of_shares(member, name, people, rank)
        others = [hit for other, hit in people.indicators.items() if other != name]
        if others:
            signs = np.stack(others).sum(axis=0).astype(np.float64)
            added = member & theirs & ~ours & people.known
            dropped = ~member & ours & ~theirs & people.known
            need = _ratio_of_means(signs, added, dropped, people.clusters)
    numbers = {**ratio._asdict(), **dict(zip(("need", "need_low", "need_high"), need, strict=True))}
    return {key: None if np.isnan(value) else float(value) for key, value in numbers.items()} | {"compared": compared}


def _ratio_of_shares(member: Bools, name: str, people: Cohort, rank: Mapping[str, Ints]) -> Bounds:
    """Both lists have as many places, so shares are compared as counts; half a person keeps their logarithms finite.

    A place that somebody takes is one that moves the cut: whoever stands there loses it, and is of the group with the
    share that the group has about the cut.
    """
    counts, influences = [], []
    for label in (LABEL, name):
        at_cut = member[np.abs(rank[label] - people.k) <= max(50, people.k // 10)].mean()
        above = rank[label] < people.k
        count = (member & above).sum() + 0.5
        moved = (member & above) - at_cut * (above - people.k / member.size)
        influences.append((moved - moved.mean()) / count)
        counts.append(count)
    return around_ratio(float(counts[0] / counts[1]), influences[0] - influences[1], people.clusters)


def _ratio_of_means(x: Floats, ours: Bools, theirs: Bools, clusters: Ints) -> Bounds:
    """Half an event on either side keeps the logarithms finite where one of them had none, the extreme of all cases."""
    counts = [float(x[some].sum()) + 0.5 for some in (ours, theirs)]
    if not ours.any() or not theirs.any() or max(counts) < 1:
        return NOTHING
    a, b = (count / some.sum() for count, some in zip(counts, (ours, theirs), strict=True))
    log = ours * (x - a) / (ours.sum() * a) - theirs * (x - b) / (theirs.sum() * b)
    # The half events are of nobody; their own spread is added as that of two more households, or none would be shown
    # where nobody had an event.
    halves = [np.sqrt(0.5) / count for count in counts]
    own = clusters.max() + 1 + np.arange(2)
    return around_ratio(float(a / b), np.append(log, halves), np.append(clusters, own))


def _concentration(people: Cohort) -> list[dict[str, Any]]:
    """The share of each outcome that the first 1, 5 and 10 % hold, in the order of each label (known labels only)."""
    known = people.known
    rows = []
    for label, score in people.order.items():
        order = np.lexsort((people.tie[known], -score[known]))
        for outcome, values in people.outcomes.items():
            amount = np.nan_to_num(values[known])[order]
            total = amount.sum()
            for top in TOPS:
                n = max(1, round(known.sum() * top / 100))
                share = float(amount[:n].sum() / total) if total > 0 else None
                rows.append({"label": label, "outcome": outcome, "top": top, "share": share})
    return rows
