"""Cases to put before the gate: plain evidence that passes, invented people, and a ring of keys."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl

from ethics import Cuts, Evidence, KeyRing, ListEvidence, Policy, StopSwitch, measure
from ethics.attestation import Attestation, read_attestation, sign_attestation
from ethics.keys import trust_bytes
from ethics.register_record import ANSWERED, register_record

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
POLICY = Policy.load()
LANGUAGES = ("fi", "sv", "en")
DIGESTS = {
    name: f"{number:x}" * 64
    for number, name in enumerate(
        ("model", "need", "policy", "code", "environment", "training_matrix", "test_matrix"), start=1
    )
} | {"policy": POLICY.digest}
DRAWN = {"places": 60, "by_lot": 0, "sample": 3, "below": 39_940, "margin": 0.0}
OVERRIDDEN = dict.fromkeys(("added", "removed", "needs_reason", "nothing_kept"), True)
INTERVAL = {"value": 0.74, "low": 0.72, "high": 0.76}


def texts(**named):
    return {
        name: {language: f"{named.get(name, name)} {language}" for language in LANGUAGES}
        for name in ("title", "question", "action", "benefit", "alternative")
    }


def key_facts(role, name=None, **changes):
    return {
        "keyid": f"{role}-key",
        "role": role,
        "name": name or f"Demonstration {role}",
        "valid_from": NOW - timedelta(days=1),
        "valid_to": NOW + timedelta(days=6),
        "demonstration": True,
        **changes,
    }


def feature(column="absence.count.90d", **changes):
    return {
        "column": column,
        "feature": column.split(".")[0],
        "source": "school register",
        "purpose": "to see who is losing touch",
        "basis": "Youth Act 1285/2016",
        "plain": dict.fromkeys(LANGUAGES, "absences"),
        "changeable": True,
        **changes,
    }


def register(digests=DIGESTS, **changes):
    """A register record in which nothing is missing."""
    named = {
        "need_id": "youth_exclusion",
        "kind": "model",
        "service": "outreach-youth-work",
        "texts": texts(),
        "owner": {"name": "Service owner", "email": "owner@example.org", "phone": "09 000 0000"},
        "notice_phone": "09 000 0004",
        "capacity_k": 60,
        "period_days": 7,
        "features": [{"source": "school register", "plain": dict.fromkeys(LANGUAGES, "absences")}],
    }
    answers = {name: {language: f"We help. {language}." for language in LANGUAGES} for name in ANSWERED}
    answers |= {"domain": "family, youth and households", "status": "pilot", "risk_category": "high risk"}
    answers["sources"] = {"school register": {"fi": "koulut", "sv": "skolor", "en": "school register"}}
    revision = changes.pop("revision_date", "2027-06-30")
    return register_record(need=named, answers={**answers, **changes}, digests=digests, revision_date=revision)


def responsible(**changes):
    people = {
        role: {"name": f"Demonstration {role}", "email": f"{role}@example.org", "phone": "09 000 0000"}
        for role in ("owner", "deputy", "dpo")
    }
    return {**people, "review_by": "2027-06-30", **changes}


def proxy_row(group="language=fi", **changes):
    row = {"group": group, "n": 4000, "features": 0.6, "features_low": 0.58, "features_high": 0.62, "score": 0.52}
    return row | {"score_low": 0.5, "score_high": 0.54, "score_implied": 0.5} | changes


def gap_row(feature="absence", gap=0.02, group="language=other", kind="missing"):
    return {"feature": feature, "kind": kind, "group": group, "value": gap, "low": gap - 0.01, "high": gap + 0.01}


def shift_row(indicator, value=1.0, need=1.0, group="language=other", compared=True):
    ratios = {"value": value, "low": 0.9 * value, "high": 1.1 * value}
    needs = {"need": need, "need_low": 0.9 * need, "need_high": 1.1 * need}
    return {"group": group, "indicator": indicator, "compared": compared, **ratios, **needs}


PASSING = Evidence(
    need_id="youth_exclusion",
    kind="model",
    service="outreach-youth-work",
    use="outreach_ranking",
    texts=texts(),
    owner={"name": "Demonstration service owner", "email": "owner@example.org", "phone": "09 000 0000"},
    model_digest=DIGESTS["model"],
    subject=DIGESTS,
    recorded=DIGESTS,
    rows=pl.DataFrame(),
    indicator_names=("psychiatric care", "child welfare"),
    capacity_k=60,
    period_days=7,
    eligible_n=40_000,
    n_objectors_in_rows=0,
    duel=(
        {"rival": "chance", "ours": 900, "theirs": 300, "difference": 600, "low": 540, "high": 660},
        {"rival": "unit_rule", "ours": 900, "theirs": 700, "difference": 200, "low": 120, "high": 280},
    ),
    rivals_due=("unit_rule",),
    auc=INTERVAL,
    plausible_auc_max=0.90,
    single_columns=({"column": "absence.count.90d", "auc": 0.66},),
    additivity_max_error=1e-12,
    features=(feature(),),
    model_columns=("absence.count.90d",),
    sort_key=("rank_score desc", "tie_key"),
    stop_switch_tested_at=NOW - timedelta(days=3),
    signing_keys=(key_facts("gate"), key_facts("auditor")),
    seed=7,
    trained_by="Demonstration data scientist",
    reason_stability={"overlap": 0.82, "low": 0.76, "high": 0.88, "refits": 5, "people": 100},
    monotone=(
        {
            "column": "absence.count.90d",
            "direction": 1,
            "probes": 3000,
            "violations": 0,
            "largest": 0.0,
            "proved": True,
        },
    ),
    flips=(),
    forbidden=(
        {
            "feature": "absence",
            "names": ["school.absence.*"],
            "source": "school register",
            "special_category": False,
        },
    ),
    feature_value=({"feature": "absence", "columns": 1, "used": True, "worth": 0.1, "low": 0.06, "high": 0.14},),
    membership=({"group": "everyone", "members": 4000, "held_out": 2000, "auc": 0.52, "low": 0.50, "high": 0.54},),
    leaves={"smallest_leaf": 40, "trees": 100, "levels": []},
    determinism={"rows": 1000, "different": 0},
    robustness={"overlap": 0.95, "low": 0.93, "high": 0.97, "draws": 10, "rows": 20_000, "cut": 2600},
    register=register(),
    responsible=responsible(),
    impact={},
    group_proxies=tuple(proxy_row(f"language={group}") for group in ("fi", "other")),
    column_proxies=(
        {"column": "absence.count.90d", "group": "sex=f", "auc": 0.6, "auc_low": 0.5, "auc_high": 0.7, "gain": 1.0},
    ),
    missingness=(gap_row("absence", 0.02),),
    observability={
        "groups": ({"group": "language=fi", "value": 1.0, "low": 0.98, "high": 1.02},),
        "untested": (),
        "labels": 900,
        "from_contacts": {"value": 0.1, "low": 0.08, "high": 0.12},
    },
    label_choice={
        "kind": "need",
        "k": 5200,
        "compared": ("psychiatric care", "child welfare"),
        "lists": (),
        "shifts": tuple(shift_row(name) for name in ("psychiatric care", "child welfare")),
        "concentration": (),
    },
    exploration=DRAWN,
    override=OVERRIDDEN,
)

_HALVES = {"edges": ["0"], "counts": ["500", "500"]}


def week_of(**changes):
    """This week's sums of two groups: 60 listed, of whom four were drawn from ten at the cut."""
    rows = {
        "attribute": ["sex", "sex"],
        "group": ["f", "m"],
        "n": [5000, 5000],
        "eligible": [5000.0, 5000.0],
        "covered": [5000.0, 4990.0],
        "unranked": [0.0, 0.0],
        "listed": [30.0, 30.0],
        "must": [28.0, 28.0],
        "above": [400.0, 400.0],
        "need": [400.0, 400.0],
        "need_above": [140.0, 140.0],
        "squares": [90.0, 90.0],
        "squares_above": [60.0, 60.0],
        "tied:0": [5.0, 5.0],
    }
    return pl.DataFrame({**rows, **changes})


def audited_of(**changes):
    """What was judged: twice as many of the same."""
    rows = {
        "attribute": ["sex", "sex"],
        "group": ["f", "m"],
        "n": [10_000, 10_000],
        "above": [800, 800],
        "need": [800.0, 800.0],
        "need_above": [280.0, 280.0],
        "squares": [180.0, 180.0],
        "squares_above": [120.0, 120.0],
    }
    return pl.DataFrame({**rows, **changes})


LIST = ListEvidence(
    kind="model",
    use="outreach_ranking",
    n_objectors=0,
    sort_key=("rank_score desc", "tie_key"),
    group_attributes=("sex", "language"),
    columns=("absence.count.90d",),
    allowed_columns=("absence.count.90d", "visits.count.90d"),
    expected=DIGESTS,
    actual=DIGESTS,
    additivity_max_error=1e-12,
    signing_keys=(key_facts("gate"), key_facts("auditor")),
    verdict_expires_at=NOW + timedelta(days=5),
    stop_switch_set=False,
    stop_switch_tested_at=NOW - timedelta(days=3),
    moment=NOW,
    determinism={"rows": 1000, "different": 0},
    register=register(),
    attestations=[
        {"id": id, "check": "C502", "given_at": NOW - timedelta(hours=1), "expires_at": NOW + timedelta(days=60)}
        for id in POLICY.required_attestations
    ],
    notice={"phone": "+358 9 000", "letter": "youth-work/a-meeting"},
    reasons=(
        {
            "unit": "north",
            "text": "absences: 12 in the last 90 days",
            "source": "school register",
            "feature": "absence",
        },
        {"unit": "north", "text": "absences in the last days", "source": None, "feature": None},
    ),
    reason_words=frozenset(("absences", "in", "the", "last", "days")),
    shown_columns=("rank", "person", "rank_band", "reasons"),
    list_columns=("rank_band", "reasons", "action"),
    visible_to={"absence": ("north",), "visits": ()},
    told_from=({"column": "who_helps", "feature": "visits"},),
    service="outreach-youth-work",
    week=week_of(),
    ties={"tied:0": (10, 4)},
    places=({"unit": "north", "eligible": 10_000, "due": 60, "listed": 60},),
    audited=audited_of(),
    reference={"schema": ["x"], "score": {"edges": ["0"], "counts": ["500", "500"]}, "columns": {"x": _HALVES}},
    today={"schema": ["x"], "score": [60, 60], "columns": {"x": [60, 60]}},
    stored=({"kind": "lists", "where": "lists", "n": 3, "oldest_days": 20.0},),
    purposes=({"source": "school register", "allowed": None},),
    run_purposes=("outreach-youth-work", "youth_exclusion"),
    exploration=DRAWN,
    override=OVERRIDDEN,
)


def evidence(**changes):
    return replace(PASSING, **changes)


def people(n=40_000, seed=1, base=0.08, *, drop_label=0.0, shift=0.0, small=0.002):
    """Invented people with a calibrated score. ``drop_label`` hides that share of the need of language other from the
    model's probabilities (its scores are too low); ``shift`` gives the group that much more need, seen by the model.
    """
    rng = np.random.default_rng(seed)
    language = rng.choice(["fi", "sv", "other", "rare"], n, p=[0.78 - small, 0.06, 0.16, small])
    odds = np.exp(rng.normal(0, 1.1, n) + shift * (language == "other"))
    truth = np.clip(odds * base / odds.mean(), 0, 0.95)
    label = rng.random(n) < truth
    seen = np.where(language == "other", truth * (1 - drop_label), truth)
    return {
        "label": label.astype(float),
        "groups": {"sex": rng.choice(["f", "m"], n), "language": language},
        "score": seen,
        "probability": seen,
        "indicators": {
            "psychiatric care": rng.random(n) < 0.3 * truth**0.5,
            "child welfare": rng.random(n) < 0.2 * truth**0.5,
        },
        "cuts": Cuts(60, int(n * 0.13)),
    }


@cache
def fair_table(**changes):
    world = people(**changes)
    return measure(**world, seed=7, replicates=400)


def attestation(check="C401", id="AT-07", role="service_owner", **changes):
    return Attestation(
        id=id,
        check=check,
        role=role,
        **{
            "need_id": PASSING.need_id,
            "group": None,
            "model_digest": PASSING.model_digest,
            "policy_digest": POLICY.digest,
            "reasons": "Two more years of outcomes will be pooled by the end of next year.",
            "name": f"Demonstration {role}",
            "organisation": "City of Examples",
            "given_at": NOW - timedelta(hours=1),
            "expires_at": NOW + timedelta(days=60),
            **changes,
        },
    )


def key_ring(folder, roles=("gate", "auditor"), *, demonstration=True, now=NOW):
    ring = KeyRing(folder)
    for role in roles:
        ring.make(role, f"Demonstration {role}", demonstration=demonstration, days=7, now=now - timedelta(days=1))
    return trusting(ring) if "gate" in roles and len(roles) > 1 else ring


@cache
def vouching():
    """The keys of :func:`vouched`: real ones, of no test's own ring."""
    ring = KeyRing(Path(mkdtemp()) / "keys")
    for role in ("dpo", "lawyer", "service_owner", "ethics_board"):
        ring.make(role, f"Vouching {role}", demonstration=False, days=3650, now=NOW - timedelta(days=365))
    return ring


def trusting(ring):
    """The ring, with those whose word :func:`vouched` gives in its trust."""
    (ring.folder / "trust.json").write_bytes(trust_bytes({**ring.trust(), **vouching().trust()}))
    return ring


def stop_switch(folder):
    return StopSwitch(folder)


@cache
def vouched(need_id=PASSING.need_id, model_digest=PASSING.model_digest, policy_digest=POLICY.digest, now=NOW, also=()):
    """What the policy demands of every need (C502), and what ``also`` names, signed by those who may give it."""
    ring = vouching()
    names = {"need_id": need_id, "model_digest": model_digest, "policy_digest": policy_digest}
    names |= {"given_at": now - timedelta(hours=1), "expires_at": now + timedelta(days=300)}
    signed = []
    for check, id in (*(("C502", id) for id in POLICY.required_attestations), *also):
        roles = POLICY.attestations[id].roles
        content = sign_attestation(attestation(check, id, roles[0], **names), *map(ring.signer, roles))
        signed.append(read_attestation(content, id, ring.trust(), now))
    return tuple(signed)
