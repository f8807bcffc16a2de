"""M4: what recall would be at one common cut if the scores were calibrated in every group.

A calibrated score with unequal base rates has unequal recall at any cut. To tell that part from the model's own error,
each group's log odds are shifted by its calibration intercept (what is needed for its expected need to equal the
observed), everyone is ranked anew, and the expected recall of each group is read off the same share of people.
Expected recall from the model's *own* probabilities would not do: where the model halves a group's probabilities, it
halves numerator and denominator alike, and its error would pass for a base rate.

Draws take each intercept from its normal approximation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ethics.group_calibration import log_odds

if TYPE_CHECKING:
    from ethics.cells import Floats

_BINS = 250
DRAWS = 200


def calibrated_recall(
    count: Floats, expected: Floats, shift: Floats, shares: tuple[float, ...]
) -> list[tuple[Floats, Floats]]:
    """Expected recall of each group and of everyone when every group's log odds are shifted.

    Parameters
    ----------
    count, expected : float (g, b, 2)
        Persons and summed probabilities by group, bin and label.
    shift : float (r, g)
        Added to the log odds, one row per draw.
    shares : float
        Each cut as a share of everyone.

    Returns
    -------
    list of (float (r, g), float (r, 1))
        One pair per cut.

    >>> n = np.array([[[10.0, 0.0], [10.0, 0.0]]])
    >>> recall, everyone = calibrated_recall(n, n * [[[0.6], [0.2]]], np.zeros((1, 1)), (0.5,))[0]
    >>> float(recall[0, 0]), float(everyone[0, 0])
    (0.75, 0.75)
    """
    starts = np.arange(0, count.shape[1], max(1, count.shape[1] // _BINS))
    n = np.add.reduceat(count.sum(axis=2), starts, axis=1)
    odds = log_odds(n, np.add.reduceat(expected.sum(axis=2), starts, axis=1))
    n_groups = n.shape[0]
    member = np.repeat(np.arange(n_groups), n.shape[1])
    found = [np.empty((shift.shape[0], n_groups)) for _ in shares]
    for draw, moved in enumerate(shift):
        rate = 1 / (1 + np.exp(-(odds + moved[:, None]))).ravel()
        need = n.ravel() * rate
        order = np.argsort(-rate, kind="stable")
        persons = n.ravel()[order]
        before = np.cumsum(persons) - persons
        for place, share in enumerate(shares):
            room = share * persons.sum() - before
            taken = np.clip(np.divide(room, persons, out=np.zeros_like(room), where=persons > 0), 0.0, 1.0)
            found[place][draw] = np.bincount(member[order], weights=taken * need[order], minlength=n_groups)
    rates = 1 / (1 + np.exp(-(odds[None] + shift[:, :, None])))
    whole = (n[None] * rates).sum(axis=2)
    return [(part / whole, part.sum(axis=1, keepdims=True) / whole.sum(axis=1, keepdims=True)) for part in found]
