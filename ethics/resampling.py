"""Bootstrap of cells: every replicate weighs the cells anew *and cuts the ranking anew*.

A person bootstrap with Poisson weights needs only counts: the weights of the n alike persons of a cell add up to one
Poisson(n) draw. Neighbouring bins in which no replicate's cut can fall are drawn as one, which changes nothing (a sum
of Poisson draws is a Poisson draw) except that probabilities inside such a bin are taken at their mean.

Small groups: a group that happens to show no found (or no missed) person has no spread under any bootstrap. So each
replicate adds a Gamma(1/2) draw to a group's found and missed persons, which at a fixed cut has the mean and the
variance of the Jeffreys Beta(found + ½, missed + ½) posterior; observed ÷ expected and need-at-score (its others too)
get the same half. Point estimates are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ethics.cells import VENTILES, Block

if TYPE_CHECKING:
    from ethics.cells import Bools, Floats, Ints

_CELLS_AT_ONCE = 500_000  # 4 MB of weights in flight, whatever the size of the city
_COARSE_BINS = 60
_WINDOW_SDS = 9.0
_NOBODY = np.zeros((1, 1, 1))


@dataclass(frozen=True)
class AtCut:
    """Per replicate and group at one cut, shape (r, g): selected, found, observed and expected above the cut."""

    selected: Floats
    found: Floats
    expected: Floats | None


@dataclass(frozen=True)
class Replicate:
    """What a block says under given weights, shape (r, g); ``at`` has one entry per cut."""

    persons: Floats
    need: Floats
    expected: Floats | None
    at: tuple[AtCut, ...]


def tally(count: Floats, expected: Floats | None, shares: tuple[float, ...], fixed: bool) -> Replicate:
    """Add up weighted cells above and below each cut, cutting where each replicate's own ranking says.

    Parameters
    ----------
    count, expected : float (r, g, b, 2)
    shares : float
        Each cut as a share of everyone; inside the bin where a cut falls, every person is selected in part.
    fixed : bool
        True when the selection was given: bin 0 is selected, whatever the weights.
    """
    by_bin = count.sum(axis=(1, 3))
    before = np.cumsum(by_bin, axis=1) - by_bin
    total = by_bin.sum(axis=1, keepdims=True)
    at = []
    for share in shares:
        if fixed:
            taken = np.zeros_like(by_bin)
            taken[:, 0] = 1.0
        else:
            room = share * total - before
            with np.errstate(divide="ignore", invalid="ignore"):
                taken = np.where(by_bin > 0, np.clip(room / by_bin, 0.0, 1.0), room > 0)
        above = np.einsum("rgbl,rb->rgl", count, taken)
        expected_above = None if expected is None else np.einsum("rgbl,rb->rg", expected, taken)
        at.append(AtCut(above.sum(axis=2), above[:, :, 1], expected_above))
    whole = count.sum(axis=2)
    return Replicate(
        whole.sum(axis=2), whole[:, :, 1], None if expected is None else expected.sum(axis=(2, 3)), tuple(at)
    )


def replicates(
    block: Block, shares: tuple[float, ...], *, fixed: bool, n: int, design_effect: Floats, rng: np.random.Generator
) -> Iterator[Replicate]:
    """``n`` replicates in chunks of bounded memory. A design effect d draws as if there were 1/d as many persons.

    Parameters
    ----------
    design_effect : float (g,)
        Each group's.
    """
    persons = block.count.sum(axis=(0, 2))
    starts = np.arange(persons.size) if fixed else _merged_bins(persons, shares, float(design_effect.max()))
    effect = design_effect[:, None, None]
    count = np.add.reduceat(block.count, starts, axis=1)
    mean = None
    if block.expected is not None:
        expected = np.add.reduceat(block.expected, starts, axis=1)
        mean = np.divide(expected, count, out=np.zeros_like(expected), where=count > 0)
    chunk = max(1, _CELLS_AT_ONCE // count.size)
    for first in range(0, n, chunk):
        shape = (min(chunk, n - first), *count.shape)
        weight = rng.poisson(count / effect, size=shape) * effect
        yield tally(weight, None if mean is None else weight * mean, shares, fixed)


def jeffreys(rng: np.random.Generator, shape: tuple[int, ...], design_effect: Floats) -> Floats:
    """The half a person that keeps a small group's spread honest; see the module's text.

    ``design_effect`` is of the last axis of ``shape``, or broadcasts to it.
    """
    half: Floats = rng.standard_gamma(0.5, size=shape) * design_effect
    return half


def need_at_score(
    block: Block, k_audit: int, *, n: int, design_effect: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """M5: need of a group ÷ need of the others at the same scores, around k*.

    The others are weighted to the group's own mix of ventiles, over the ventile that holds k* and two on either side.
    Ventiles stay where they are in every replicate: the ratio compares people inside them and is not moved by the cut.

    Returns
    -------
    value, expected_events : float (g, j)
        ``expected_events`` is what the others' rate would give in the group's place; NaN where nothing compares.
    drawn : float (n, g, j)
    """
    window = ventiles_around(block, k_audit)
    people, events = block.by_ventile[:, window], block.events[:, window]
    value, expected_events = _ratio_to_others(people[None], events[None])
    drawn = np.empty((n, events.shape[0], events.shape[2]))
    chunk = max(1, _CELLS_AT_ONCE // max(events.size, 1))
    effect = design_effect[:, None, None]
    for first in range(0, n, chunk):
        size = min(chunk, n - first)
        hits = rng.poisson(events / effect, size=(size, *events.shape)) * effect
        misses = rng.poisson((people[:, :, None] - events) / effect, size=(size, *events.shape)) * effect
        for j in range(events.shape[2]):
            halves = [jeffreys(rng, (size, events.shape[0], 1), effect[:, 0]) for _ in range(4)]
            drawn[first : first + size, :, j] = _ratio_to_others(
                hits[..., j] + misses[..., j], hits[..., j : j + 1], (halves[0], halves[1]), (halves[2], halves[3])
            )[0][..., 0]
    return value[0], expected_events[0], drawn


def ventiles_around(block: Block, k_audit: int) -> slice:
    """The ventile that holds the audit cut, and two on either side."""
    middle = min(int((k_audit - 0.5) * VENTILES / block.by_ventile.sum()), VENTILES - 1)
    return slice(max(0, middle - 2), middle + 3)


def _ratio_to_others(
    people: Floats,
    events: Floats,
    more_ours: tuple[Floats, Floats] = (_NOBODY, _NOBODY),
    more_theirs: tuple[Floats, Floats] = (_NOBODY, _NOBODY),
) -> tuple[Floats, Floats]:
    """people (r, g, v), events (r, g, v, j) → ratio and expected events (r, g, j).

    ``more_ours``, ``more_theirs`` are what is added to hits and misses of the group and of the others, (r, g, j); the
    others' is spread over the ventiles as they are, for a few others with no event are not people without need.
    """
    others = people.sum(axis=1, keepdims=True) - people
    others_events = events.sum(axis=1, keepdims=True) - events
    comparable = (others > 0) & (people > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = others / np.where(comparable, others, 0.0).sum(axis=2, keepdims=True)
        their_hits, their_misses = (more[:, :, None] * spread[..., None] for more in more_theirs)
        rate = (others_events + their_hits) / (others[..., None] + their_hits + their_misses)
        rate = np.where(comparable[..., None], rate, 0.0)
        expected = (people[..., None] * rate).sum(axis=2)
        mine = np.where(comparable, people, 0.0).sum(axis=2)[..., None]
        hits = np.where(comparable[..., None], events, 0.0).sum(axis=2) + more_ours[0]
        ratio = (hits / (mine + more_ours[0] + more_ours[1])) / (expected / mine)
    return ratio, np.where(mine > 0, expected, np.nan)


def bins_near_cuts(persons: Floats, shares: tuple[float, ...], design_effect: float) -> Bools:
    """First bins that must stay apart, because a replicate's cut may fall just there; persons (b,) → (b,)."""
    end = np.cumsum(persons)
    total = end[-1]
    keep = np.zeros(persons.size, dtype=bool)
    for share in shares:
        reach = _WINDOW_SDS * np.sqrt(design_effect * total * share * (1 - share)) + 1
        near = (end >= share * total - reach) & (end - persons <= share * total + reach)
        keep |= near
        keep[1:] |= near[:-1]
    keep[0] = True
    return keep


def _merged_bins(persons: Floats, shares: tuple[float, ...], design_effect: float) -> Ints:
    """First bins of the groups of bins to draw as one: fine wherever a replicate's cut may fall, coarse elsewhere."""
    keep = bins_near_cuts(persons, shares, design_effect)
    keep[:: max(1, persons.size // _COARSE_BINS)] = True
    return np.flatnonzero(keep)
