"""A policy that a city signs: what its officers may decide, what nobody may, and that the verdict tells."""

import io
import json
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import timedelta

import pytest
from ethics_cases import NOW, evidence, fair_table, key_ring, people

from ethics import BadInput, NotTrusted, Policy, judge, judge_list, measure
from ethics.policy import DEFAULT_PATH
from ethics.policy_envelope import POLICY_TYPE, is_envelope, read_policy, sign_policy
from ethics.policy_floor import FLOOR, FLOOR_WHEN_SIGNED, SIGNED_BOUNDS
from ethics.signing import sign_payload
from serving.cli import main
from serving.home import Home
from serving.settings import Settings

LOOSE = DEFAULT_PATH.read_text("utf-8").replace("min_recall_ratio = 0.80", "min_recall_ratio = 0.70")
ROLES = ("service_owner", "equality_officer")


@pytest.fixture
def ring(tmp_path):
    return key_ring(tmp_path / "keys", (*ROLES, "gate", "auditor"))


def by_both(ring, text=LOOSE):
    envelope = sign_policy(text.encode(), "p", ring.signer(ROLES[0]))
    return sign_policy(envelope, "p", ring.signer(ROLES[1]))


def refused(content, ring, now=NOW, trust=None):
    with pytest.raises(NotTrusted) as refusal:
        read_policy(content, "p", ring.trust() if trust is None else trust, now)
    return [str(fault) for fault in refusal.value.faults]


def test_a_looser_threshold_needs_both_signatures_and_is_told(ring):
    with pytest.raises(BadInput, match="a policy that is not signed may only be stricter"):
        read_policy(LOOSE.encode(), "p", {}, NOW)
    policy = read_policy(by_both(ring), "p", ring.trust(), NOW)
    assert policy.thresholds.min_recall_ratio == 0.70
    assert policy.looser_than_template() == [{"key": "thresholds.min_recall_ratio", "value": "0.7", "template": "0.8"}]
    assert sorted(signer["role"] for signer in policy.signed_by) == sorted(ROLES)
    assert policy.demonstration


def test_the_digest_is_of_what_is_demanded_whoever_signed(ring):
    assert (
        read_policy(by_both(ring), "p", ring.trust(), NOW).digest
        == Policy._parsed(LOOSE.encode(), "p", signed=True).digest
    )
    template = DEFAULT_PATH.read_text("utf-8")
    assert read_policy(by_both(ring, template), "p", ring.trust(), NOW).digest == Policy.load().digest


def test_a_verdict_under_demonstration_signatures_is_one_and_tells_what_is_looser(ring):
    policy = read_policy(by_both(ring), "p", ring.trust(), NOW)
    table = measure(**people(), seed=7, replicates=200, thresholds=policy.fairness)
    case = evidence()
    case = replace(case, subject={**case.subject, "policy": policy.digest})
    verdict = judge(case, table, policy, issued_at=NOW)
    assert verdict.demonstration and verdict.expires_at == NOW + timedelta(days=7)
    assert verdict.scope["looser_than_template"] == policy.looser_than_template()
    assert {signer["role"] for signer in verdict.scope["policy_signed_by"]} == set(ROLES)
    assert {check.threshold for check in verdict.checks if check.statistic == "recall_ratio_at_k_audit"} == {0.70}


def test_the_template_is_looser_nowhere_and_signed_by_nobody():
    verdict = judge(evidence(), fair_table(), Policy.load(), issued_at=NOW)
    assert verdict.scope["looser_than_template"] == [] == verdict.scope["policy_signed_by"]
    assert not verdict.demonstration


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('uses = ["outreach_ranking"]', 'uses = ["outreach_ranking", "sanction"]', "uses"),
        ('  "C102",\n', "", "required"),  # severity B
        ('  "C401",\n', "", "required"),  # core
        ('  "C605",\n', "", "required"),  # core: a feature of health that is worth nothing asks for AT-03
        ('  "C502",\n', "", "required"),  # asks for the statements that every need must have
        ("max_additivity_error = 1e-6", "max_additivity_error = 1e-3", "thresholds.max_additivity_error"),
        ("stop_switch_days = 30", "stop_switch_days = 90", "thresholds.stop_switch_days"),
        ("min_indicators = 2", "min_indicators = 1", "thresholds.min_indicators"),
        ('sign_roles = ["gate", "auditor"]', 'sign_roles = ["gate", "dpo"]', "sign_roles"),
        ("replicates = 1000", "replicates = 200", "replicates"),
        ('roles = ["dpo", "lawyer"]', 'roles = ["dpo"]', "attestations.AT-02.roles"),
        ('"equality_officer"]\ndays = 183', '"equality_officer"]\ndays = 365', "attestations.AT-06.days"),
    ],
)
def test_what_nobody_can_sign_away(ring, old, new, where):
    text = DEFAULT_PATH.read_text("utf-8")
    assert old in text
    with pytest.raises(BadInput) as refusal:
        sign_policy(text.replace(old, new, 1).encode(), "p", ring.signer("service_owner"))
    assert f"p: {where}" in {fault.where for fault in refusal.value.faults}
    assert "not even a signed policy may be looser here" in str(refusal.value)


@pytest.mark.parametrize("key", SIGNED_BOUNDS)
def test_no_signature_goes_beyond_the_outer_bounds(key):
    section, _, name = key.rpartition(".")
    for bound, beyond in zip(SIGNED_BOUNDS[key], (0.5, 2), strict=True):
        if bound is None:
            continue
        whole = isinstance(bound, int)
        wild = int(bound * beyond) if whole else bound * beyond if bound * beyond < 1 or bound >= 1 else (1 + bound) / 2
        assert set_to(key, section, name, bound) == []
        assert set_to(key, section, name, wild) == [f"p: {key}"]


def set_to(key, section, name, value):
    """Where a policy that sets one number is refused, though it is signed."""
    data = tomllib.loads(DEFAULT_PATH.read_text("utf-8"))
    (data[section] if section else data)[name] = value
    head = {name: part for name, part in data.items() if not isinstance(part, dict)}
    lines = [f"{name} = {json.dumps(part)}" for name, part in head.items()]
    for table in ("thresholds", "limits", "retention"):
        lines += [f"[{table}]", *(f"{name} = {part}" for name, part in data[table].items())]
    for id, rule in data["attestations"].items():
        lines += [f"[attestations.{id}]", *(f"{name} = {json.dumps(part)}" for name, part in rule.items())]
    try:
        Policy._parsed("\n".join(lines).encode(), "p", signed=True)
    except BadInput as refusal:
        return [fault.where for fault in refusal.faults]
    return []


def test_every_number_is_held_by_the_floor_or_by_outer_bounds_around_the_template():
    assert set(FLOOR) == {*SIGNED_BOUNDS, *FLOOR_WHEN_SIGNED}
    assert not set(SIGNED_BOUNDS) & set(FLOOR_WHEN_SIGNED)
    for key, (least, most) in SIGNED_BOUNDS.items():
        assert (least is None or least < FLOOR[key][1]) and (most is None or FLOOR[key][1] < most), key


@pytest.mark.parametrize("number", ["inf", "nan"])
def test_no_threshold_is_infinite_or_not_a_number(number):
    text = DEFAULT_PATH.read_text("utf-8").replace("max_need_ratio = 1.25", f"max_need_ratio = {number}")
    for signed in (False, True):
        with pytest.raises(BadInput, match="max_need_ratio"):
            Policy._parsed(text.encode(), "p", signed=signed)


def test_a_check_that_is_neither_core_nor_b_can_be_signed_off_and_is_told_not_run(ring):
    text = DEFAULT_PATH.read_text("utf-8").replace('  "C404",\n', "")
    policy = read_policy(by_both(ring, text), "p", ring.trust(), NOW)
    assert policy.looser_than_template() == [{"key": "required", "value": "without C404", "template": "with C404"}]
    case = evidence(indicator_names=("one",))
    verdict = judge(
        replace(case, subject={**case.subject, "policy": policy.digest}), fair_table(), policy, issued_at=NOW
    )
    assert "C404" not in {check.id for check in verdict.checks}
    assert judge_list  # lists ask nothing that was signed off either: tests/test_gate.py


def test_one_officer_two_roles_of_one_person_and_other_types_do_not_sign(ring):
    alone = sign_policy(LOOSE.encode(), "p", ring.signer("service_owner"))
    assert refused(alone, ring) == [
        "p: has no valid signature by a key of role equality_officer. Have a trusted equality_officer key sign it: "
        "ennakko sign --policy FILE --role equality_officer [V29]"
    ]
    for spelt in ("One person", "one  PERSON", "one_person"):
        names = {"service_owner": "One person", "equality_officer": spelt}
        trust = {id: key.model_copy(update={"name": names.get(key.role, "")}) for id, key in ring.trust().items()}
        assert refused(by_both(ring), ring, trust=trust) == [
            "p: is signed twice by the same person. Two different holders must sign [V06]"
        ]
    signers = [ring.signer(role) for role in ROLES]
    other = sign_payload(LOOSE.encode(), "text/plain", signers)
    assert refused(other, ring)[0].endswith("[V01]")
    wild = sign_payload(LOOSE.replace("outreach_ranking", "sanction").encode(), POLICY_TYPE, signers)
    assert "uses" in refused(wild, ring)[0]


def test_the_signers_keys_are_in_date_when_it_is_read(ring):
    envelope = by_both(ring)
    assert any(fault.endswith("[V09]") for fault in refused(envelope, ring, NOW + timedelta(days=6)))
    ring.rotate("service_owner", days=7, now=NOW)
    assert any(fault.endswith("[V12]") for fault in refused(envelope, ring, NOW + timedelta(hours=1)))
    renewed = read_policy(by_both(ring), "p", ring.trust(), NOW + timedelta(hours=1))
    assert renewed.thresholds.min_recall_ratio == 0.70
    ring.revoke(ring.signer("equality_officer").public_key.keyid, "lost", NOW)
    assert any(fault.endswith("[V11]") for fault in refused(by_both_of(ring, envelope), ring))


def by_both_of(_ring, envelope):
    return envelope


@pytest.mark.parametrize("place", [40, 400, -200])
def test_one_byte_changed_is_not_trusted(ring, place):
    flipped = bytearray(by_both(ring))
    flipped[place] ^= 1
    assert refused(bytes(flipped), ring)


def test_the_command_signs_and_the_home_obeys_once_both_have(tmp_path):
    def run(*words):
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            code = main([*map(str, words), "--home", str(tmp_path / "home"), "--json"])
        return code, json.loads(out.getvalue())

    path = tmp_path / "city-policy.toml"
    path.write_text(LOOSE, "utf-8")
    run("keys", "demo")
    code, said = run("sign", "--policy", path, "--role", "service_owner")
    assert (code, said["in_force"], said["path"]) == (0, False, str(path.with_suffix(".json")))
    home = Home(Settings(home=tmp_path / "home"))
    assert home.policy.digest == Policy.load().digest
    code, said = run("sign", "--policy", said["path"], "--role", "service_owner")
    assert code == 30 and said["errors"][0]["code"] == "V05"
    code, said = run("sign", "--policy", path.with_suffix(".json"), "--role", "equality_officer")
    assert (code, said["in_force"], said["demonstration"]) == (0, True, True)
    assert said["looser_than_template"][0]["key"] == "thresholds.min_recall_ratio"
    obeyed = Home(Settings(home=tmp_path / "home"))
    assert obeyed.policy.thresholds.min_recall_ratio == 0.70
    assert is_envelope(obeyed.policy_path.read_bytes())
    assert run("sign", "--policy", path, "--role", "lawyer")[0] == 2
    assert run("sign")[0] == 2
