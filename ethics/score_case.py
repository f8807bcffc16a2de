"""Anybody's scores as a case for the gate: what can be asked of scores, groups and outcomes with nothing else.

No city and no model stand behind such a verdict, so nothing in it can be approved: there are no bytes that a later list
could be compared with. :func:`no_model_fault` is the one reason every door gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ethics.case import LANGUAGES, SORT_KEY, Evidence
from ethics.cells import INDICATOR
from ethics.refusals import Fault

if TYPE_CHECKING:
    import polars as pl

SCORES = "scores"
"""The kind of a verdict on scores alone, in its scope."""


def neutral_tie_keys(person_ids: Sequence[str], seed: int) -> list[str]:
    """A tie key per person: a keyed hash of the id, which knows nothing of the person and is the same on every run.

    The key is the seed, which is no secret: somebody who chooses ids and seed could choose the order of equals. A model
    in use has a secret instead (``models.ties``).

    >>> neutral_tie_keys(["a", "b"], 0) == neutral_tie_keys(["a", "b"], 0) != neutral_tie_keys(["a", "b"], 1)
    True
    """
    key = f"ennakko scores {seed}".encode()
    return [hashlib.blake2b(person.encode(), key=key, digest_size=8).hexdigest() for person in person_ids]


def score_evidence(
    rows: pl.DataFrame,
    *,
    use: str,
    service: str,
    title: str,
    capacity_k: int,
    duel: Sequence[Mapping[str, Any]],
    rivals_due: Sequence[str],
    subject: Mapping[str, str],
    seed: int,
    stated: Mapping[str, str],
) -> Evidence:
    """Evidence of kind "scores".

    Parameters
    ----------
    rows : polars.DataFrame
        What :meth:`ethics.GroupRegister.measure` takes.
    use, service, title : str
        What the caller says the scores are for; whose they are; what they are called.
    duel : sequence
        As in :class:`Evidence`; empty where no outcome is known.
    rivals_due : sequence of str
        As in :class:`Evidence`.
    subject : mapping of name to SHA-256
        The files of scores and groups, the policy, code and environment.
    stated : mapping of str
        What the report tells of how the scores were read and what was assumed.
    """
    return Evidence(
        need_id=SCORES,
        kind="scores",
        service=service,
        use=use,
        texts={"title": dict.fromkeys(LANGUAGES, title)},
        owner={},
        model_digest=subject["scores"],
        subject=dict(subject),
        recorded={},
        rows=rows,
        indicator_names=[name.removeprefix(INDICATOR) for name in rows.columns if name.startswith(INDICATOR)],
        capacity_k=capacity_k,
        period_days=0,
        eligible_n=rows.height,
        n_objectors_in_rows=0,
        duel=duel,
        rivals_due=rivals_due,
        auc=None,
        plausible_auc_max=None,
        single_columns=(),
        additivity_max_error=None,
        features=(),
        model_columns=(),
        sort_key=SORT_KEY,
        stop_switch_tested_at=None,
        signing_keys=(),
        seed=seed,
        trained_by="",
        stated=dict(stated),
    )


def no_model_fault(where: str = "verdict") -> Fault:
    """Why a verdict on scores alone permits nothing."""
    wrong = "judges scores alone: no city and no model stand behind it, so it can never be signed into use"
    return Fault(where, wrong, "Train a need on a city, and judge that run: ennakko train, ennakko judge --run")


def judges_scores_alone(verdict: Any) -> bool:
    """Whether a verdict, as its JSON holds it, is one on scores alone.

    >>> judges_scores_alone({"scope": {"kind": "scores"}}), judges_scores_alone(["x"])
    (True, False)
    """
    scope = verdict.get("scope") if isinstance(verdict, Mapping) else None
    return isinstance(scope, Mapping) and scope.get("kind") == SCORES
