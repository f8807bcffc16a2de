"""What is put before the gate: the plain tables about a model (G1) and about a list (G2).

The judge knows no defendant: nothing here depends on how the scores were made, so a rule, a learned model and another
vendor's scores are judged alike.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import polars as pl

SORT_KEY = ("rank_score desc", "tie_key")
COMPARED = ("model", "need", "policy", "code", "environment")
SUBJECTS = (*COMPARED, "training_matrix", "test_matrix")
TEXTS = ("title", "question", "action", "benefit", "alternative")
LANGUAGES = ("fi", "sv", "en")

Texts = Mapping[str, Mapping[str, str]]


def names_holder(actor: str, *names: str) -> bool:
    """Whether an actor goes by one of a key's names (holder, role or key id), however it is written.

    >>> names_holder("auditor  anna", "Auditor Anna", "auditor"), names_holder("data scientist", "Anna", "auditor")
    (True, False)
    """

    def plain(name: str) -> str:
        return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())

    return bool(plain(actor)) and plain(actor) in map(plain, names)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything the gate asks about a model or a rule.

    Parameters
    ----------
    kind : "model", "rule" or "scores"
        A rule has no probabilities and no trees; checks that need them do not apply. Scores alone have neither city
        nor model: only what scores and groups can show is asked, and nothing can be approved on their strength.
    texts : mapping
        ``title``, ``question``, ``action``, ``benefit``, ``alternative``, each in fi, sv and en.
    owner : mapping
        ``name`` (a role), ``email``, ``phone``: whom a resident or an auditor asks.
    subject, recorded : mapping of subject name to SHA-256
        What would be used now, and what was recorded at training: model, need, policy, code, environment,
        training_matrix, test_matrix. Take ``subject`` from elsewhere than ``recorded`` (bytes in use, the run's log):
        C701 compares the two, and a table compared with itself says nothing.
    rows : polars.DataFrame
        What :meth:`ethics.GroupRegister.measure` takes; never stored in a verdict.
    duel : sequence of {rival, ours, theirs, difference, low, high}
        Found needs at k*, paired, against "chance" and, where the need has one, "unit_rule".
    auc : {value, low, high}
    single_columns : sequence of {column, auc}
    additivity_max_error : float
        Largest gap between base + contributions and the raw score.
    features : sequence of {column, feature, source, purpose, basis, plain: {fi, sv, en}}
    signing_keys : sequence of {keyid, role, valid_from, valid_to, demonstration, name}
        The trusted keys that are to sign the verdict.
    stop_switch_tested_at : datetime or None
    trained_by : str
        Name (or role) of whoever trained, as the caller knows it; the auditor must be somebody else.
    invented : bool
        True when the city is invented; every page then says so.

    What follows is None where it was not gathered; a check that asks for it then is an error, never a pass.

    stated : mapping of str
        Of scores alone: how they were read, and what was assumed. The report tells it; nothing decides by it.
    """

    need_id: str
    kind: Literal["model", "rule", "scores"]
    service: str
    use: str
    texts: Texts
    owner: Mapping[str, str]
    model_digest: str
    subject: Mapping[str, str]
    recorded: Mapping[str, str]
    rows: pl.DataFrame = field(repr=False)
    indicator_names: Sequence[str]
    capacity_k: int
    period_days: int
    eligible_n: int
    n_objectors_in_rows: int
    duel: Sequence[Mapping[str, Any]]
    auc: Mapping[str, float] | None
    plausible_auc_max: float | None
    single_columns: Sequence[Mapping[str, Any]]
    additivity_max_error: float | None
    features: Sequence[Mapping[str, Any]]
    model_columns: Sequence[str]
    sort_key: Sequence[str]
    stop_switch_tested_at: datetime | None
    signing_keys: Sequence[Mapping[str, Any]]
    seed: int
    trained_by: str
    units: Sequence[str] = ()
    invented: bool = False
    # P1–P2
    label_choice: Mapping[str, Any] | None = None
    register: Mapping[str, Any] | None = None
    # P3
    reason_stability: Mapping[str, Any] | None = None
    monotone: Sequence[Mapping[str, Any]] | None = None
    # P4
    observability: Mapping[str, Any] | None = None
    flips: Sequence[Mapping[str, Any]] | None = None
    missingness: Sequence[Mapping[str, Any]] | None = None
    coverage: Sequence[Mapping[str, Any]] | None = None
    # P5
    responsible: Mapping[str, Any] | None = None
    # P6
    forbidden: Sequence[Mapping[str, Any]] | None = None
    group_proxies: Sequence[Mapping[str, Any]] | None = None
    column_proxies: Sequence[Mapping[str, Any]] | None = None
    feature_value: Sequence[Mapping[str, Any]] | None = None
    membership: Sequence[Mapping[str, Any]] | None = None
    leaves: Mapping[str, Any] | None = None
    # P7
    drift: Mapping[str, Any] | None = None
    determinism: Mapping[str, Any] | None = None
    robustness: Mapping[str, Any] | None = None
    # P8
    override: Mapping[str, Any] | None = None
    # what later lists are compared with, from ethics.population_stability
    reference: Mapping[str, Any] | None = None
    # of scores alone
    stated: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class ListEvidence:
    """Everything the gate asks about one list, or one online score, before it leaves.

    Parameters
    ----------
    n_objectors : int
        Persons among the scored or listed who object to this need, asked afresh.
    columns, allowed_columns : sequence of str
        What the scores were made from, and what the verdict's feature list allows.
    expected, actual : mapping of subject name to SHA-256
        The verdict's digests, and those of the bytes in use.
    signing_keys : sequence as in :class:`Evidence`
        The keys that did sign the verdict.
    verdict_expires_at : datetime

    What follows is asked of lists only, and None where it was not gathered: an error then, never a pass.

    notice : mapping of contact channel to str or None
        The text by which a person reached that way is told, for each channel the list uses; None: there is none.
    reasons : sequence of {unit, text, source, feature}
        Each different reason shown to a unit; ``feature`` is null for what names no source.
    reason_words : collection of str
        Casefolded words that templates, plain names and declared categories are made of.
    declared_attributes : collection of str
        Attributes that the need declares as features (dual-use), and so may name.
    shown_columns, list_columns : sequence of str
        Columns the list has, and those the need's ``[list] columns`` name.
    visible_to : mapping of feature to readers
        Who may read reasons from it; nobody named means everybody who works the list. Features not judged are absent.
    service : str
    week, ties : from :func:`ethics.list_composition.week_columns`, added up by :meth:`GroupRegister.sums`
    audited : polars.DataFrame
        From :func:`ethics.list_composition.audited_composition`, of the verdict's own cells.
    design_effect : float
        The verdict's.
    reference, today : mapping
        What :mod:`ethics.population_stability` kept of the judged rows, and today's people in the same bins.
    stored : sequence of {kind, where, n, oldest_days}
        Per kind of stored personal data (keys of the policy's ``[retention]``, without ``_days``), the oldest.
    purposes : sequence of {source, allowed}
        Per source register of the need: the purposes the city declares for it; None where it declares none.
    run_purposes : sequence of str
        Names any of which a register may allow: the service and the need.
    """

    kind: Literal["model", "rule"]
    use: str
    n_objectors: int
    sort_key: Sequence[str]
    group_attributes: Sequence[str]
    columns: Sequence[str]
    allowed_columns: Sequence[str]
    expected: Mapping[str, str]
    actual: Mapping[str, str]
    additivity_max_error: float | None
    signing_keys: Sequence[Mapping[str, Any]]
    verdict_expires_at: datetime
    stop_switch_set: bool
    stop_switch_tested_at: datetime | None
    moment: datetime
    notice: Mapping[str, str | None] | None = None
    reasons: Sequence[Mapping[str, Any]] | None = None
    reason_words: Collection[str] | None = None
    declared_attributes: Collection[str] = ()
    shown_columns: Sequence[str] | None = None
    list_columns: Sequence[str] | None = None
    visible_to: Mapping[str, Sequence[str]] | None = None
    service: str = ""
    week: pl.DataFrame | None = field(default=None, repr=False)
    ties: Mapping[str, tuple[int, int]] | None = None
    audited: pl.DataFrame | None = field(default=None, repr=False)
    design_effect: float = 1.0
    reference: Mapping[str, Any] | None = None
    today: Mapping[str, Any] | None = None
    stored: Sequence[Mapping[str, Any]] | None = None
    purposes: Sequence[Mapping[str, Any]] | None = None
    run_purposes: Sequence[str] = ()
