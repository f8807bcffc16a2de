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


def holder(name: str) -> str:
    """A holder's name as it is compared: case, spacing, underscores and forms of letters make nobody another person.

    >>> holder("Service_Owner "), holder("service  owner")
    ('service owner', 'service owner')
    """
    # Folding case can leave letters decomposed, so the form is made twice.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.replace("_", " ").split())


def names_holder(actor: str, *names: str) -> bool:
    """Whether an actor goes by one of a key's names (holder, role or key id), however it is written.

    >>> names_holder("auditor  anna", "Auditor Anna", "auditor"), names_holder("data scientist", "Anna", "auditor")
    (True, False)
    """

    return bool(holder(actor)) and holder(actor) in map(holder, names)


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
    rivals_due : sequence of str
        Whom the need and the data make it meet, known otherwise than from the duels: one that is missing is an error.
    auc : {value, low, high}
    single_columns : sequence of {column, auc}
    additivity_max_error : float
        Largest gap between base + contributions and the raw score.
    features : sequence of {column, feature, source, purpose, basis, plain: {fi, sv, en}, changeable}
    signing_keys : sequence of {keyid, role, valid_from, valid_to, demonstration, name}
        The trusted keys that are to sign the verdict.
    stop_switch_tested_at : datetime or None
    trained_by : str
        Name (or role) of whoever trained, as the caller knows it; the auditor must be somebody else.
    invented : bool
        True when the city is invented; every page then says so.

    What follows is None where it was not gathered; a check that asks for it then is an error, never a pass. Where a
    part could not be done (too few persons to refit, say), its figures are null and ``not_done`` says why.

    reason_stability : {overlap, low, high, refits, people, rows, of_rows, …}
        Mean Jaccard index, in [0, 1], of people's first three reasons by the model and by bootstrap refits (C303).
    monotone : sequence of {column, direction, probes, violations, largest, proved}
        Per column with a declared direction; ``proved`` by the trees themselves (C304). Empty: none is declared.
    flips : sequence of {feature, columns, people, values, median, low, high}
        Per feature that is also a ground of discrimination: percentiles that people move when it is another (C410).
    forbidden : sequence of {feature, names, source, special_category}
        Per feature the attribute or codes it reads (C602).
    feature_value : sequence of {feature, columns, used, worth, low, high}
        Per feature: recall at the audit cut lost without it; null for those that were not left out (C605).
    membership : sequence of {group, members, held_out, auc, low, high}
        How well a threshold of the loss tells who was learnt from, at the same as-of dates (C606).
    leaves : {smallest_leaf, trees, levels: [{column, level, rows}]}
        Training rows of the smallest leaf, and of every category that a split names (C607).
    determinism : {rows, different}
        Rows scored again, and those of them that got another score (C704).
    robustness : {overlap, low, high, draws, rows, cut}
        Share of the first rows that stay so when inputs are one quantum off (C705).
    register : mapping
        :func:`ethics.register_record.register_record`: what the city's AI register would say of this need, with the
        digests of what it describes (C201–C203).
    responsible : {owner, deputy, dpo: {name, email, phone}, review_by}
        Who answers for the need, by role, and the ISO day of its next review; empty where not written (C501).
    impact : mapping
        Question → answer in fi, sv and en (empty where nobody answered), for the drafts of FRIA and DPIA; no check
        reads it.
    group_proxies : sequence of {group, n, features, features_low, features_high, score, score_low, score_high, ...}
        How well each group of at least 100 people is told from the features, and from the score alone among people
        with the same label and indicators: areas under the curve, 0.5 to 1, null where there are no labels;
        ``score_implied`` is that of a calibrated score (C603).
    column_proxies : sequence of {column, group, auc, auc_low, auc_high, gain}
        The group that each column tells best, and the column's share of the trees' gain (C604).
    missingness : sequence of {feature, kind, group, value, low, high}
        By how much larger a share of the group's cells are "missing" or "old"; the largest gaps of each group (C412).
    observability : {groups: [{group, value, low, high}], untested: [group], labels, from_contacts, declared}
        Labels known in the group ÷ among everybody; how many labels are 1, and {value, low, high}, the share of them
        that earlier contacts produced, null where the need does not say (C406).
    label_choice : {kind, k, compared, lists, shifts, concentration}
        Who is listed at k* under each label, as :func:`ethics.label_audit.label_choice` gives it (C414).
    exploration : {places, by_lot, sample, below, margin}
        As the need declares it: people a list may hold, those of them drawn by lot around the cut, people drawn from
        below the line for human review, people below the line, and the declared share of the margin (C407).
    override : {added, removed, needs_reason, nothing_kept}
        What :func:`scoring.override_rehearsal.rehearsed_overrides` found, each true or false (C802).
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
    rivals_due: Sequence[str] | None = None
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
    exploration: Mapping[str, Any] | None = None
    # P5
    responsible: Mapping[str, Any] | None = None
    impact: Mapping[str, Mapping[str, str]] | None = None
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
    determinism : {rows, different} or None
        Scored rows that were scored again, and those of them that got another score. None is an error.
    register : mapping
        The verdict's register record (C202); None is an error.
    attestations : sequence of {id, check, given_at, expires_at}
        Those by which the verdict passed (C502, C407); None is an error.

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
    told_from : sequence of {column, feature}
        For each column beside the reasons that is told from events: the features that read the same events.
    service : str
    places : sequence of {unit, eligible, due, listed}
        Per unit of the service: people the need covers there who may be listed, the places due to them, and the list's.
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
    exploration : as in :class:`Evidence`
        Counted in the rows as they are to be stored: only who has a probability beside the name was drawn by lot.
    override : as in :class:`Evidence`
        Of the store in which the list is to be kept.
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
    determinism: Mapping[str, Any] | None = None
    register: Mapping[str, Any] | None = None
    attestations: Sequence[Mapping[str, Any]] | None = None
    notice: Mapping[str, str | None] | None = None
    reasons: Sequence[Mapping[str, Any]] | None = None
    reason_words: Collection[str] | None = None
    declared_attributes: Collection[str] = ()
    shown_columns: Sequence[str] | None = None
    list_columns: Sequence[str] | None = None
    visible_to: Mapping[str, Sequence[str]] | None = None
    told_from: Sequence[Mapping[str, str]] | None = None
    service: str = ""
    week: pl.DataFrame | None = field(default=None, repr=False)
    ties: Mapping[str, tuple[int, int]] | None = None
    places: Sequence[Mapping[str, Any]] | None = None
    audited: pl.DataFrame | None = field(default=None, repr=False)
    design_effect: float = 1.0
    reference: Mapping[str, Any] | None = None
    today: Mapping[str, Any] | None = None
    stored: Sequence[Mapping[str, Any]] | None = None
    purposes: Sequence[Mapping[str, Any]] | None = None
    run_purposes: Sequence[str] = ()
    exploration: Mapping[str, Any] | None = None
    override: Mapping[str, Any] | None = None
