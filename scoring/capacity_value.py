"""What the places of a list are worth: what one more worker would find, and what a better order would.

Counted on the people whom the model in use was judged on, where need is known, so it says what lists would have found
then. The better order is a perfect one: no model can be worth more. Their quotient is the prediction-access
ratio: above 1, one more worker finds more than any better model could (:mod:`scoring.simulation` names the sources).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from models.baselines import floats
from models.metrics import Estimate, interval
from scoring.simulation import MODEL, PERFECT, RULE, History, Scenario, worth_of_a_worker

if TYPE_CHECKING:
    import polars as pl

    from models.need import Need

SEED = 0


def value_of_places(rows: pl.DataFrame, need: Need, k: int, least: int) -> dict[str, Any] | None:
    """What today's places find, and what more workers or a better order would add.

    Parameters
    ----------
    rows : polars.DataFrame
        The judged rows: ``person_id``, ``rank_score``, ``tie_key``, ``label``, ``probability``, perhaps ``rule_score``
        and ``weight``.
    need : Need
    k : int
        Places judged: people, not attempts.
    least : int
        Fewest people that may be told apart: so many places at least are added, or a single outcome could be read.

    Returns
    -------
    dict or None
        ``judged`` people, ``k``, ``workers_added``, ``places_added``; estimates {value, low, high} of people in need
        ``found_now``, ``found_with_more``, found by ``one_more_worker``, by a ``perfect_order`` in today's places, and
        (where the need has a baseline) by ``this_order_beyond_the_rule``; ``access_ratio``. What is not known is null.
        None where nobody's label is known.
    """
    if rows["label"].null_count() == rows.height or k < least or k >= rows.height:
        return None
    worker = max(1, need.list.places(need.capacity.attempts_per_worker_per_period))
    workers = math.ceil(least / worker)
    orders = {MODEL: floats(rows["rank_score"])}
    if "rule_score" in rows.columns and not rows["rule_score"].null_count():
        orders[RULE] = floats(rows["rule_score"])
    history = History(
        rows=rows,
        orders=orders,
        k=k,
        attempts_of_a_worker=workers * worker,
        contact_success=need.reach,
        expected=None,
        units=None,
        capacity={},
        attempt_cost=None,
        seed=SEED,
    )
    worth = worth_of_a_worker(history, MODEL, PERFECT)
    per_worker = Estimate(*(part / workers for part in worth.one_more_worker))
    ratio = Estimate(*(part / workers for part in worth.access_ratio))
    told = {
        "found_now": interval(history.drawn(history.now)),
        "found_with_more": interval(history.drawn(Scenario(MODEL, k + workers * worker))),
        "one_more_worker": per_worker,
        "perfect_order": worth.better_order,
        "access_ratio": ratio,
    }
    if RULE in orders:
        told["this_order_beyond_the_rule"] = worth_of_a_worker(history, RULE, MODEL).better_order
    return {
        "judged": rows.height,
        "k": k,
        "workers_added": workers,
        "places_added": workers * worker,
        **{name: _estimate(one) for name, one in told.items()},
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    """JSON has no NaN: what is not known is null."""
    return {name: float(value) if math.isfinite(value) else None for name, value in estimate._asdict().items()}
