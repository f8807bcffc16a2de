"""What the clock alone ends while a service runs: verdict, signers' keys, policy officers' keys, the evidence table."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from sealed_world import MODEL_NEED, NOW, World

from ethics.keys import KeyRing
from ethics.policy import DEFAULT_PATH
from ethics.policy_envelope import read_policy, sign_policy
from ethics.refusals import BadInput, NotTrusted
from models.need import parse_need
from serving.approval import open_champion
from serving.champions import Guarded
from serving.endings import endings_of
from serving.home import Home
from serving.opening import refuse_unfounded
from serving.settings import Settings

EFFECTS = """
schema = 1
version = "test-1"
review_by = {review_by}
[[effects]]
id = "meeting"
needs = ["youth"]
label_codes = ["status.neet"]
action = "An invented action"
source = "Invented for this test"
size = {{ measure = "risk_ratio", value = 0.8, low = 0.75, high = 0.9 }}
eligible = []
contra_indications = []
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.verdict_path = world.approve()
    return world


@pytest.mark.parametrize("role", ["gate", "auditor"])
def test_a_signer_s_key_that_expires_while_the_service_runs_ends_trust(world, role):
    now = datetime.now(UTC)
    keys = json.loads(world.home.trust_path.read_bytes())
    kept = world.home.trust_path.read_bytes()
    keys[world.keys.signer(role).public_key.keyid]["valid_to"] = (now + timedelta(hours=1)).isoformat()
    world.home.trust_path.write_text(json.dumps(keys))
    try:
        guarded = Guarded(lambda: open_champion(world.home, "youth"))
        verdict_id = guarded.champion.verified.verdict.verdict_id
        assert guarded.champion.holds_until == now + timedelta(hours=1)
        assert guarded.still_holds(verdict_id, now) and guarded.still_trusted(now) is guarded.scorer
        later = now + timedelta(hours=2)
        assert guarded.if_unchanged(later) is None and not guarded.still_holds(verdict_id, later)
        for asked in (lambda: guarded.still_trusted(later), lambda: guarded.require(verdict_id, later)):
            with pytest.raises(NotTrusted) as refusal:
                asked()
            assert {fault.code for fault in refusal.value.faults} == {"V09"}
    finally:
        world.home.trust_path.write_bytes(kept)


def test_the_keys_of_the_officers_who_signed_the_policy_end_it_too(world, tmp_path):
    ring, text = KeyRing(tmp_path / "keys"), DEFAULT_PATH.read_bytes()
    for role in ("service_owner", "equality_officer"):
        ring.make(role, f"Demonstration {role}", demonstration=True, days=7, now=NOW)
        text = sign_policy(text, "p", ring.signer(role))
    champion, trust = open_champion(world.home, "youth"), ring.trust()
    soonest = min(champion.verified.verdict.expires_at, *(key.valid_to for key in trust.values()))
    keyid = ring.signer("equality_officer").public_key.keyid
    trust = {**trust, keyid: trust[keyid].model_copy(update={"valid_to": soonest - timedelta(hours=1)})}
    policy = read_policy(text, "p", trust, NOW)
    first = endings_of(world.home, champion.verified, policy, trust, champion.need)[0]
    assert first.at == soonest - timedelta(hours=1)
    assert (first.fault.code, first.fault.where) == ("V09", f"key {keyid[:12]} of {trust[keyid].name}")


def test_the_review_day_of_the_effects_ends_a_need_that_speaks_of_benefit_by_them_alone(world, tmp_path):
    home = Home(Settings(home=tmp_path / "home"))
    verified = open_champion(world.home, "youth").verified
    today = NOW.date()
    home.effects_path.write_text(EFFECTS.format(review_by=today))
    need = parse_need(MODEL_NEED.replace('en = "Help in time"', 'en = "Of much benefit"').encode(), "youth.toml")
    first = endings_of(home, verified, None, {}, need)[0]
    assert first.at == datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)
    assert "was to be reviewed" in first.fault.wrong
    plain = parse_need(MODEL_NEED.encode(), "youth.toml")
    assert endings_of(home, verified, None, {}, plain)[0].fault.code == "V07", "it does not speak of benefit"
    home.trials.mkdir()
    shown = {"average": {"value": 0.2, "low": 0.1, "high": 0.3}, "shows_benefit": True}
    (home.trials / "youth.json").write_text(json.dumps(shown))
    assert endings_of(home, verified, None, {}, need)[0].fault.code == "V07", "a trial founds it as well"


def test_effects_and_trials_are_read_anew_and_a_change_of_either_means_verify_again(world, tmp_path):
    guarded = Guarded(lambda: open_champion(world.home, "youth"))
    home = Home(Settings(home=world.home.root))
    need = parse_need(MODEL_NEED.replace('en = "Help in time"', 'en = "Of much benefit"').encode(), "youth.toml")
    home.trials.mkdir(exist_ok=True)
    for path, content in (
        (home.effects_path, EFFECTS.format(review_by="2099-01-01")),
        (home.trial_path("youth"), '{"average": {"value": 0.2, "low": 0.1, "high": 0.3}, "shows_benefit": true}'),
    ):
        with pytest.raises(BadInput, match="says 'benefit'"):
            refuse_unfounded(home, need)
        path.write_text(content)
        try:
            refuse_unfounded(home, need)
            before = guarded.champion
            guarded.still_trusted(datetime.now(UTC))
            assert guarded.champion is not before
        finally:
            path.unlink()
        guarded.still_trusted(datetime.now(UTC))
    home.effects_path.write_text("rubbish")
    try:
        with pytest.raises(BadInput):
            refuse_unfounded(home, need)
        assert Guarded(lambda: open_champion(world.home, "youth")).may_score(datetime.now(UTC)), "it needs no effects"
    finally:
        home.effects_path.unlink()


def test_the_gauge_counts_down_to_whatever_ends_first(world):
    from types import SimpleNamespace

    from serving.service_metrics import _OfDesk

    guarded = Guarded(lambda: open_champion(world.home, "youth"))
    registry = CollectorRegistry()
    registry.register(_OfDesk(SimpleNamespace(guarded={"youth": guarded}, city=world.city)))
    left = registry.get_sample_value("ennakko_verdict_seconds_left", {"need": "youth"})
    assert left == pytest.approx((guarded.champion.holds_until - datetime.now(UTC)).total_seconds(), abs=5)
